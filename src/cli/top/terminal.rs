//! The terminal: taken over, and given back as it was, however this process ends.

use std::io::{self, Write};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::screen::{ENTER, LEAVE};
use crate::platform::{poll_readable, poll_writable};

/// Most bytes written at once: a terminal that can be written to has room for about so many.
const WRITE_BYTES_MAX: usize = 1024;
/// How long a terminal that takes nothing is waited for when it is given back.
const LEAVE_TIME_MAX: Duration = Duration::from_millis(500);

/// The modes of the terminal before it was taken over; none while it is not.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal at standard input and output, for as long as this lives.
#[derive(Debug)]
pub(super) struct Terminal {
    /// What is still to be written.
    pending: Vec<u8>,
}

impl Terminal {
    /// Takes it over.
    ///
    /// # Errors
    /// It is none, or has gone.
    pub(super) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            // What the hook before this prints is to be read on the screen that stays.
            std::panic::set_hook(Box::new(move |info| {
                leave();
                before(info);
            }));
        });
        let mut this = Self { pending: Vec::new() };
        this.enter_again()?;
        Ok(this)
    }

    /// Takes it over again, after [`Terminal::suspend`] or when someone else has had it.
    pub(super) fn enter_again(&mut self) -> io::Result<()> {
        let stdin = io::stdin();
        {
            let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
            let modes = before.get_or_insert(tcgetattr(&stdin)?);
            let mut raw = modes.clone();
            raw.make_raw();
            tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        }
        self.pending.clear();
        self.pending.extend_from_slice(ENTER);
        self.flush().map(drop)
    }

    /// Gives it back for a while.
    pub(super) fn suspend(&mut self) {
        self.pending.clear();
        leave();
    }

    /// Columns and lines.
    pub(super) fn size() -> (u16, u16) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
            // One that does not know; what most are.
            _ => (80, 24),
        }
    }

    /// Where to append what is to be written; write it with [`Terminal::flush`].
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Whether everything was written.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Writes as much as the terminal takes without being waited for, so that one that has stopped
    /// taking anything keeps this from nothing else.
    ///
    /// # Errors
    /// It has gone.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while !self.pending.is_empty() {
            if !poll_writable(io::stdout(), Some(Duration::ZERO))? {
                return Ok(false);
            }
            let chunk = self.pending.get(..WRITE_BYTES_MAX).unwrap_or(&self.pending);
            match rustix::io::write(io::stdout(), chunk) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// What has been typed since the last call; `None` if the terminal is gone.
    pub(super) fn read() -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while matches!(poll_readable(io::stdin(), Some(Duration::ZERO)), Ok(true)) {
            let mut buffer = [0; 1024];
            match rustix::io::read(io::stdin(), &mut buffer) {
                Ok(0) => return None,
                Ok(len) => bytes.extend_from_slice(buffer.get(..len).unwrap_or_default()),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => break,
                Err(_) => return None,
            }
            if bytes.len() > 4 * 1024 * 1024 {
                break;
            }
        }
        Some(bytes)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back as it was; if it was not taken over, nothing happens.
fn leave() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(before) = before else { return };
    let until = Instant::now() + LEAVE_TIME_MAX;
    let left = until.saturating_duration_since(Instant::now());
    if matches!(poll_writable(io::stdout(), Some(left)), Ok(true)) {
        // One that has gone needs nothing.
        let _ = io::stdout().write_all(LEAVE).and_then(|()| io::stdout().flush());
    }
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs::{File, OpenOptions};
    use std::io::Read;
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// Run on a terminal, by the test below.
    #[test]
    #[ignore = "panics, for the test below"]
    fn panics() {
        let _terminal = Terminal::enter().unwrap();
        panic!("on purpose");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = master.unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = OsString::from_vec(ptsname(&master, Vec::new()).unwrap().into_bytes());
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let modes = || format!("{:?}", tcgetattr(&slave).unwrap());
        let before = modes();
        let end = || slave.try_clone().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["cli::top::terminal::tests::panics", "--exact", "--ignored", "--nocapture"])
            .env_remove("RUST_BACKTRACE")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .status()
            .unwrap();
        assert!(!status.success());
        assert_eq!(modes(), before);
        drop(slave);
        let mut out = Vec::new();
        let mut bytes = [0; 4096];
        // The end of a pseudo terminal is an error.
        while let Ok(len @ 1..) = File::from(master.try_clone().unwrap()).read(&mut bytes) {
            out.extend_from_slice(&bytes[..len]);
        }
        let text = String::from_utf8(out).unwrap();
        let at = |what: &[u8]| text.find(std::str::from_utf8(what).unwrap()).unwrap();
        assert!(at(ENTER) < at(LEAVE) && at(LEAVE) < at(b"on purpose"), "{text:?}");
    }
}
