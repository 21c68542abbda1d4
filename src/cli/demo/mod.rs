//! `slm-mesh demo`: three agents and a working morning, on a broker of their own in a temporary
//! directory. Everything is real but the agents: the MCP servers are child processes over stdio, as an
//! agent would start them. It ends by itself and leaves nothing behind.

mod play;
mod session;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use unicode_width::UnicodeWidthStr;

use super::Exit;
use super::command::{Entry, Group, Standalone, Task};
use super::failure::Failure;
use super::out::{Out, Paint};
use super::text::wrap;

pub(super) const ENTRY: Entry = Entry {
    name: "demo",
    group: Group::Other,
    summary: "see three agents work together, on a broker of their own",
    usage: &["demo"],
    about: &[
        "Starts a broker in a temporary directory and three real MCP servers, as agents would \
         start them, and lets them find each other, lock a file, share state, talk and crash. \
         Prints what happens with measured times, takes a few seconds at most, and leaves \
         nothing behind. Your own broker and its files are not touched.",
    ],
    options: &[],
    examples: &[("demo", "")],
    parse: |words| {
        words.end()?;
        Ok(Task::standalone(Demo))
    },
};

#[derive(Debug)]
struct Demo;

impl Standalone for Demo {
    fn run(&self, out: &mut Out) -> super::Result<Exit> {
        play(out)?;
        Ok(Exit::Done)
    }
}

/// Why the demo ended early.
#[derive(Debug)]
enum Fault {
    /// Something did not work.
    Failed(String),
    /// Ctrl-C, or a request to end.
    Interrupted,
    /// The timeline could not be written.
    Output(io::Error),
}

impl Fault {
    fn new(what: &str) -> Self {
        Self::Failed(what.to_owned())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Output(error) => Self::Output(error),
            Fault::Interrupted => Self::Interrupted,
            Fault::Failed(what) => Self::other("demo_failed", format!("the demo failed: {what}")),
        }
    }
}

/// Whether someone wants the demo to end. Looked at between steps, so that everything is cleaned up.
#[derive(Clone, Debug, Default)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn watch() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.0.load(Ordering::Relaxed) { Err(Fault::Interrupted) } else { Ok(()) }
    }
}

/// Where the demo happens: a directory of its own, with a broker in it, until dropped.
struct Stage {
    root: PathBuf,
    project: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl Stage {
    fn build() -> Result<Self, Fault> {
        let failed = |path: &Path, error: io::Error| {
            Fault::Failed(format!("{} cannot be made: {error}", path.display()))
        };
        let root = env::temp_dir().join(format!("slm-mesh-demo-{}", std::process::id()));
        std::fs::create_dir(&root).map_err(|error| failed(&root, error))?;
        let stage = Self {
            project: root.join("webapp"),
            environment: vec![
                ("SLM_MESH_DATA_DIR", root.join("mesh").into()),
                ("SLM_MESH_PORT", "0".into()),
                // If this process is killed, its broker does not stay for long.
                ("SLM_MESH_IDLE_TIMEOUT", "5000".into()),
                ("HOME", root.clone().into()),
            ],
            root,
        };
        let sources = stage.project.join("src");
        std::fs::create_dir_all(&sources).map_err(|error| failed(&sources, error))?;
        Ok(stage)
    }

    /// Starts the broker; gives the time until it served.
    fn start_broker(&self) -> Result<Duration, Fault> {
        let begun = Instant::now();
        let output = own_command(&self.environment)?
            .args(["start", "--detached"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Fault::Failed(format!("the broker cannot be started: {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Fault::Failed(format!("the broker did not start: {}", said.trim())));
        }
        Ok(begun.elapsed())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let stopped = own_command(&self.environment).and_then(|mut command| {
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.arg("stop").status().map(drop).map_err(Fault::from)
        });
        // Without a broker there is none to stop; what is left of it goes with its directory.
        drop(stopped);
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// This program, with an environment in which nothing of the user's own mesh or agent is left.
fn own_command(environment: &[(&str, OsString)]) -> Result<Command, Fault> {
    let program = env::current_exe()
        .map_err(|error| Fault::Failed(format!("this program cannot be found: {error}")))?;
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "LANG", "TMPDIR"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
    Ok(command)
}

/// Columns before what happens: when, and to whom.
const INDENT: usize = 25;

/// What has happened so far, a line each, as it happens.
struct Timeline<'a> {
    out: &'a mut Out,
    begun: Instant,
}

impl Timeline<'_> {
    /// Something happened; `took` is what was measured.
    fn tell(&mut self, who: &str, what: &str, took: Option<Duration>) -> Result<(), Fault> {
        let at = self.begun.elapsed();
        if self.out.json {
            let line = json!({
                "atMs": millis(at),
                "who": who,
                "what": what,
                "tookMs": took.map(millis),
            });
            self.out.document(&line)?;
        } else {
            let style = self.out.style;
            let at = format!("{:>6.0} ms", at.as_secs_f64() * 1e3);
            let took = took.map_or_else(String::new, |took| format!("  [{}]", duration(took)));
            let mut lines = wrap(what, style.width.map(|width| width.saturating_sub(INDENT)));
            let last = lines.last().map_or(0, |line| INDENT + line.width() + took.width());
            let took = if style.width.is_some_and(|width| last > width) {
                lines.push(String::new());
                took.trim_start()
            } else {
                &took
            };
            write!(
                self.out,
                "{}  {} {}{}",
                style.paint(&at, Paint::Dim),
                style.paint(&format!("{who:<13}"), Paint::Bold),
                lines.join(&format!("\n{:INDENT$}", "")),
                style.paint(took, Paint::Good),
            )?;
            writeln!(self.out)?;
        }
        // A line is seen when it happens, in a pipe too.
        Ok(self.out.flush()?)
    }

    fn title(&mut self, text: &str) -> Result<(), Fault> {
        if !self.out.json {
            writeln!(self.out, "\n{}", self.out.style.paint(text, Paint::Dim).into_owned())?;
        }
        Ok(())
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn duration(time: Duration) -> String {
    match millis(time) {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

/// Plays the demo.
///
/// # Errors
/// When something did not work, or the person wants it to end.
fn play(out: &mut Out) -> Result<(), Fault> {
    let interrupt = Interrupt::watch()
        .map_err(|error| Fault::Failed(format!("signals cannot be watched: {error}")))?;
    if !out.json {
        writeln!(out, "A working morning of three agents, on a broker of their own.")?;
        writeln!(out, "The times in brackets were measured just now, on this machine.")?;
    }
    let stage = Stage::build()?;
    let mut timeline = Timeline { out, begun: Instant::now() };
    play::morning(&stage, &mut timeline, &interrupt)?;
    drop(stage);
    if !timeline.out.json {
        writeln!(timeline.out, "\nDone. The broker is stopped, and nothing is left behind.")?;
        timeline.out.flush()?;
    }
    Ok(())
}
