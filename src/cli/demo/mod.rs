//! `slm-mesh demo`: three agents and a working morning, on a broker of their own in a temporary
//! directory. Everything is real but the agents: the MCP servers are child processes over stdio, as an
//! agent would start them. It ends by itself and leaves nothing behind.

mod play;
mod session;

use std::env;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use unicode_width::UnicodeWidthStr;

use super::command::{Entry, Group, Standalone, standalone};
use super::out::{COLUMNS_MAX, Out, Paint};
use super::text::wrap;
use super::{Failure, Result};

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
    parse: standalone::<Demo>,
};

#[derive(Debug, Default)]
struct Demo;

impl Standalone for Demo {
    fn run(&self, out: &mut Out) -> Result<()> {
        let mut stage = Stage::build(out)?;
        stage.say("A working morning of three agents, on a broker of their own.")?;
        stage.say("The times in brackets were measured just now, on this machine.")?;
        play::morning(&mut stage)?;
        drop(stage);
        if !out.json {
            writeln!(out, "\nDone. The broker is stopped, and nothing is left behind.")?;
        }
        Ok(())
    }
}

/// Something did not work.
fn failed(what: impl Display) -> Failure {
    Failure::other("demo_failed", format!("the demo failed: {what}"))
}

/// Columns before what happens: when, and to whom.
const INDENT: usize = 25;

/// Where the demo happens: a directory of its own, with a broker in it, until dropped. What happens
/// is told line by line.
struct Stage<'a> {
    out: &'a mut Out,
    begun: Instant,
    root: PathBuf,
    /// Someone wants the demo to end. Looked at between steps, so that everything is cleaned up.
    interrupted: Arc<AtomicBool>,
}

impl<'a> Stage<'a> {
    fn build(out: &'a mut Out) -> Result<Self> {
        let interrupted = Arc::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(failed)?;
        }
        let root = env::temp_dir().join(format!("slm-mesh-demo-{}", std::process::id()));
        let cannot = |error| failed(format_args!("{} cannot be made: {error}", root.display()));
        std::fs::create_dir(&root).map_err(cannot)?;
        std::fs::create_dir_all(root.join("webapp/src")).map_err(cannot)?;
        Ok(Self { out, begun: Instant::now(), root, interrupted })
    }

    /// This program in the project, with nothing of the user's own mesh or agent around it.
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        let kept = ["PATH", "LANG", "TMPDIR"];
        let kept = kept.into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
        command
            .env_clear()
            .envs(kept)
            .env("SLM_MESH_DATA_DIR", self.root.join("mesh"))
            .env("SLM_MESH_PORT", "0")
            // If this process is killed, its broker does not stay for long.
            .env("SLM_MESH_IDLE_TIMEOUT", "5000")
            .env("HOME", &self.root)
            .current_dir(self.root.join("webapp"))
            .stdin(Stdio::null());
        Ok(command)
    }

    fn start_broker(&mut self) -> Result<()> {
        let begun = Instant::now();
        let output = self.command()?.args(["start", "--detached"]).output().map_err(failed)?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim()));
        }
        self.tell("broker", "started: one process, one database file", Some(begun.elapsed()))
    }

    /// Something for people to read.
    fn say(&mut self, text: &str) -> Result<()> {
        if self.out.json {
            return Ok(());
        }
        writeln!(self.out, "{}", self.out.style.paint(text, Paint::Dim))
    }

    /// Something happened; `took` is what was measured.
    fn tell(&mut self, who: &str, what: &str, took: Option<Duration>) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        let at = self.begun.elapsed();
        if self.out.json {
            let took = took.map(millis);
            let line = json!({"atMs": millis(at), "who": who, "what": what, "tookMs": took});
            self.out.document(&line)?;
            return self.out.flush();
        }
        let style = self.out.style;
        let width = style.width.map_or(COLUMNS_MAX, |width| width.min(COLUMNS_MAX));
        let at = style.paint(&format!("{:>6.0} ms", millis(at)), Paint::Dim).into_owned();
        let who = style.paint(&format!("{who:<13}"), Paint::Bold).into_owned();
        let mut lines = wrap(what, Some(width.saturating_sub(INDENT)));
        if let (Some(took), Some(last)) = (took, lines.last_mut()) {
            let took = match millis(took) {
                ms if ms < 10.0 => format!("[{ms:.2} ms]"),
                ms => format!("[{ms:.0} ms]"),
            };
            let fits = INDENT + last.width() + 2 + took.width() <= width;
            let took = style.paint(&took, Paint::Good);
            if fits {
                *last = format!("{last}  {took}");
            } else {
                lines.push(took.into_owned());
            }
        }
        writeln!(self.out, "{at}  {who} {}", lines.join(&format!("\n{:INDENT$}", "")))?;
        // A line is seen when it happens, in a pipe too.
        self.out.flush()
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // If there is no broker, this fails; its files go with the directory.
        if let Ok(mut stop) = self.command() {
            let _ = stop.arg("stop").stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
