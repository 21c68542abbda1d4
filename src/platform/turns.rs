//! Taking turns: one process after the other does what must not be done by two at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::files::flags;

/// A lock on a directory (flock(2)), waited for, and held as long as the value lives or its process.
/// None where a directory cannot be locked: not each file system of a network can.
///
/// # Errors
/// The directory is not there, or cannot be opened.
///
/// For what takes no longer than a moment, or ends by itself: whoever has it is waited for.
pub fn lock_dir(dir: &Path) -> io::Result<Option<File>> {
    let flags = flags(OFlags::DIRECTORY);
    let dir = OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
    loop {
        match flock(&dir, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(Some(dir)),
            Err(Errno::INTR) => {}
            Err(_) => return Ok(None),
        }
    }
}
