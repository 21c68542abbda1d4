//! Standard input and output, which never block the loop and are never made non-blocking.
//!
//! Both are inherited and may be shared with other processes, which `O_NONBLOCK` would affect as well.
//! Instead poll(2) is called before each read, and before each write of no more than a pipe takes at once.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::limits::{READ_BYTES_MAX, RPC_WRITE_BYTES_MAX};
use crate::platform::{poll_readable, poll_writable};
use crate::wire::ndjson::{LineDecoder, LineTooLong};

const NOW: Option<Duration> = Some(Duration::ZERO);

/// A descriptor without a buffer. A write is of no more than a writable pipe takes at once.
#[derive(Debug)]
struct Raw(BorrowedFd<'static>);

impl Read for Raw {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, bytes)?)
    }
}

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes.get(..RPC_WRITE_BYTES_MAX).unwrap_or(bytes))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Registers an inherited descriptor. Returns whether the poll will report when it is ready; epoll refuses
/// regular files and `/dev/null` (EPERM), which always are.
fn watch(fd: BorrowedFd<'_>, registry: &Registry, token: Token, interest: Interest) -> bool {
    registry.register(&mut SourceFd(&fd.as_raw_fd()), token, interest).is_ok()
}

/// The lines of whoever started this process.
#[derive(Debug)]
pub(crate) struct Input {
    raw: Raw,
    lines: LineDecoder,
    is_watched: bool,
    /// There may be something to read.
    is_ready: bool,
    has_ended: bool,
}

impl Input {
    /// Standard input, registered with `registry` if that is possible, in lines of at most `line_max`
    /// bytes.
    pub(crate) fn new(registry: &Registry, token: Token, line_max: usize) -> Self {
        let raw = Raw(rustix::stdio::stdin());
        let is_watched = watch(raw.0, registry, token, Interest::READABLE);
        Self {
            raw,
            lines: LineDecoder::new(line_max),
            is_watched,
            is_ready: true,
            has_ended: false,
        }
    }

    /// The poll has reported that there is something to read.
    pub(crate) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Whether a read may bring something.
    pub(crate) fn is_ready(&self) -> bool {
        !self.has_ended && (self.is_ready || !self.is_watched)
    }

    /// Whether the end has been read.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Reads once, if there is something; returns whether there was. An error counts as the end.
    pub(crate) fn read(&mut self) -> bool {
        if self.has_ended || !poll_readable(self.raw.0, NOW).unwrap_or(true) {
            self.is_ready = false;
            return false;
        }
        match self.lines.read_from(&mut self.raw, READ_BYTES_MAX) {
            Ok(1..) => true,
            // The descriptor was non-blocking already, and someone else has read.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_ready = false;
                false
            }
            Ok(0) | Err(_) => {
                self.has_ended = true;
                false
            }
        }
    }

    /// The next line, if there is one.
    ///
    /// # Errors
    /// That line is too long; the next one is not affected.
    pub(crate) fn next_line(&mut self) -> Option<Result<&[u8], LineTooLong>> {
        self.lines.next_line()
    }

    /// What stands behind the last newline, once all is read.
    pub(crate) fn finish(&mut self) -> Option<&[u8]> {
        self.lines.finish()
    }
}

/// Lines for whoever started this process.
#[derive(Debug)]
pub(crate) struct Output {
    raw: Raw,
}

impl Output {
    /// Standard output, registered with `registry` if that is possible.
    pub(crate) fn new(registry: &Registry, token: Token) -> Self {
        let raw = Raw(rustix::stdio::stdout());
        watch(raw.0, registry, token, Interest::WRITABLE);
        Self { raw }
    }

    /// Whether a write of what a pipe takes at once would not block.
    pub(crate) fn is_ready(&self) -> bool {
        poll_writable(self.raw.0, NOW).unwrap_or(false)
    }

    /// What to write to.
    pub(crate) fn writer(&mut self) -> &mut impl Write {
        &mut self.raw
    }
}
