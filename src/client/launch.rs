//! Starting a broker: runs `slm-mesh start --detached`, which says `ready <port>` on its standard
//! output and exits once a broker of the data directory serves, or exits with the reason on its
//! standard error. That process is not the broker: the broker is a child of nobody here.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::error::ClientError;
use crate::config::{Config, DATA_DIR};
use crate::platform::{self, own_executable};
use crate::role;

/// Most bytes kept of its output.
const SAID_BYTES_MAX: u64 = 4096;

/// A start under way. Wait until [`Launch::as_fd`] is readable, then call [`Launch::advance`].
/// Dropping it before its end aborts the start; a broker that already runs stays.
#[derive(Debug)]
pub(crate) struct Launch {
    child: Child,
    stdout: ChildStdout,
    over: bool,
}

impl Launch {
    /// Begins to start a broker for `config`'s data directory.
    ///
    /// # Errors
    /// [`ClientError::StartFailed`]; [`ClientError::Settings`] and [`ClientError::OtherRole`] if with
    /// these variables none could be started.
    pub(crate) fn spawn(config: &Config) -> Result<Self, ClientError> {
        role::of(config)?;
        let failed = |error: &io::Error| start_failed(&format!("it cannot be run: {error}"));
        let mut command = Command::new(own_executable().map_err(|error| failed(&error))?);
        command
            .args(["start", "--detached"])
            .env(DATA_DIR, config.paths.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if config.paths.dir().is_dir() {
            command.current_dir(config.paths.dir());
        }
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let Some(stdout) = child.stdout.take() else {
            return Err(start_failed("it has no standard output"));
        };
        Ok(Self { child, stdout, over: false })
    }

    /// The result, once there is one. Never blocks.
    ///
    /// # Errors
    /// [`ClientError::StartFailed`] with what the broker said.
    pub(crate) fn advance(&mut self) -> Option<Result<(), ClientError>> {
        let mut chunk = [0; 256];
        loop {
            match platform::poll_readable(&self.stdout, Some(Duration::ZERO)) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(start_failed(&error.to_string()))),
            }
            match self.stdout.read(&mut chunk) {
                // Its output is for people; its end and its exit status are what counts.
                Ok(1..) => {}
                Ok(0) => return Some(self.finish()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(start_failed(&error.to_string()))),
            }
        }
    }

    /// Its output has ended, so the process is about to exit.
    fn finish(&mut self) -> Result<(), ClientError> {
        self.over = true;
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // Whatever could be read is shown.
            let _ = stderr.take(SAID_BYTES_MAX).read_to_end(&mut said);
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(start_failed(&reason(&String::from_utf8_lossy(&said), status))),
            Err(error) => Err(start_failed(&error.to_string())),
        }
    }
}

impl AsFd for Launch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        if !self.over {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Starts the broker of `config`'s data directory and waits until it serves, or until `deadline`.
///
/// # Errors
/// [`ClientError::StartFailed`].
pub(crate) fn start_and_wait(config: &Config, deadline: Instant) -> Result<(), ClientError> {
    let mut launch = Launch::spawn(config)?;
    loop {
        if let Some(result) = launch.advance() {
            return result;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(start_failed("it was not ready in time"));
        }
        platform::poll_readable(&launch, Some(left))
            .map_err(|error| start_failed(&error.to_string()))?;
    }
}

/// The environment of a broker: what it needs, and nothing of the agent that happened to be first.
pub(crate) fn broker_environment(config: &Config) -> Vec<(OsString, OsString)> {
    let wanted = |name: &OsString| {
        let name = name.to_string_lossy();
        matches!(&*name, "HOME" | "PATH" | "LANG") || name.starts_with("SLM_MESH_")
    };
    let mut environment: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| wanted(name) && name.as_os_str() != DATA_DIR)
        .collect();
    environment.push((DATA_DIR.into(), config.paths.dir().into()));
    environment
}

/// What the process said, without the program's name before it, or how it ended.
fn reason(said: &str, status: ExitStatus) -> String {
    let said = said.trim();
    match said.strip_prefix("slm-mesh: ").unwrap_or(said) {
        "" => format!("`slm-mesh start --detached` ended with {status} and said nothing"),
        said => said.to_owned(),
    }
}

fn start_failed(reason: &str) -> ClientError {
    ClientError::StartFailed { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_reason_is_what_was_said() {
        let failed = ExitStatus::from_raw(1 << 8);
        assert_eq!(reason("slm-mesh: no port is free\n", failed), "no port is free");
        assert!(reason("", failed).contains("exit status: 1"));
    }

    #[test]
    fn a_broker_gets_what_it_needs() {
        let lookup = |_: &str| None;
        let dir = std::ffi::OsStr::new("/d");
        let config = Config::from_lookup(lookup, Some(dir), std::env::current_dir).unwrap();
        let environment = broker_environment(&config);
        assert!(environment.iter().all(|(name, _)| {
            let name = name.to_str().unwrap();
            ["HOME", "PATH", "LANG"].contains(&name) || name.starts_with("SLM_MESH_")
        }));
        let data_dir: Vec<_> = environment.iter().filter(|(name, _)| name == DATA_DIR).collect();
        assert_eq!(data_dir, [&(DATA_DIR.into(), "/d".into())]);
    }
}
