//! The programs that helpers run: where they are, in which environment, and for how long.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::limits::MEMORY_ANSWER_BYTES_MAX;
use crate::platform::kill_group;

/// How often a program that was started is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The environment of a program: what it needs of that in which the helper was switched on. The
/// broker's own is that of whichever agent has started it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment(BTreeMap<Box<str>, Box<str>>);

impl Environment {
    /// These variables, as `lookup` gives them.
    #[must_use]
    pub fn of(lookup: impl Fn(&str) -> Option<OsString>, names: &[&str]) -> Self {
        let variable = |name: &&str| {
            let value = lookup(name)?.into_string().ok().filter(|value| !value.is_empty())?;
            Some(((*name).into(), value.into()))
        };
        Self(names.iter().filter_map(variable).collect())
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of a variable, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// The absolute path of a program, by its name or a path.
#[must_use]
pub fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    if name.contains('/') {
        let program = std::path::absolute(name).ok()?;
        return program.is_file().then_some(program);
    }
    let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute() && !name.is_empty());
    dirs.map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// A program that is run to its end.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its path.
    pub program: &'a Path,
    /// Its arguments.
    pub words: &'a [String],
    /// Its environment.
    pub environment: &'a Environment,
    /// Whether its output is read. If not, nothing waits for processes that it leaves behind.
    pub reads_output: bool,
    /// How long it may take.
    pub time_max: Duration,
}

/// How a program has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output, if that is read, at most [`MEMORY_ANSWER_BYTES_MAX`].
    pub output: Vec<u8>,
}

impl Run<'_> {
    /// Runs it, with something on its standard input.
    ///
    /// # Errors
    /// It cannot be run, or takes too long: then it is killed.
    pub fn to_end(&self, input: Option<Vec<u8>>) -> io::Result<Ended> {
        let mut child = Command::new(self.program)
            .args(self.words)
            .env_clear()
            .envs(self.environment.iter())
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(if self.reads_output { Stdio::piped() } else { Stdio::null() })
            .stderr(Stdio::null())
            // So that its own children can be killed with it.
            .process_group(0)
            .spawn()?;
        // Threads, since a program that does not read, or whose own children keep its output open,
        // would keep whoever writes or reads.
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            thread::spawn(move || stdin.write_all(&input));
        }
        let reader = child.stdout.take().map(|stdout| {
            thread::spawn(move || {
                let mut output = Vec::new();
                let _ = stdout.take(MEMORY_ANSWER_BYTES_MAX as u64).read_to_end(&mut output);
                output
            })
        });
        let until = Instant::now() + self.time_max;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() < until => sleep(LOOK_INTERVAL),
                None => {
                    // Until it is waited for, its id is that of its group.
                    let _ = kill_group(child.id());
                    child.wait()?;
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        };
        while reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < until
        {
            sleep(LOOK_INTERVAL);
        }
        let finished = reader.filter(thread::JoinHandle::is_finished);
        let output = finished.and_then(|reader| reader.join().ok()).unwrap_or_default();
        Ok(Ended { status, output })
    }
}
