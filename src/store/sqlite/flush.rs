//! Brings the write-ahead log to the disk ahead of a checkpoint.
//!
//! A checkpoint begins with an fsync of the log, which takes as long as the disk needs for all that
//! was written since the last one: the longest pause of a busy broker. So a thread of its own does
//! an fsync first, and the checkpoint's finds little left to do.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// More than an fsync needs.
const STACK_BYTES: usize = 64 * 1024;

/// An fsync under way in a thread of its own, or done.
#[derive(Debug)]
pub(super) struct Flush {
    done: Arc<AtomicBool>,
}

impl Flush {
    /// Begins one. None if that cannot be: the checkpoint then waits for the disk itself.
    ///
    /// SQLite holds no POSIX locks on the log, so opening and closing it here takes none away. An
    /// error of the disk is told to each open descriptor, hence to SQLite's, too, when it syncs
    /// (Linux's `errseq_t`): here it can be ignored.
    pub(super) fn begin(log: &Path) -> Option<Self> {
        let log = File::options().write(true).open(log).ok()?;
        let done = Arc::new(AtomicBool::new(false));
        let finished = Arc::clone(&done);
        thread::Builder::new()
            .name("log-flush".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _ = log.sync_data();
                finished.store(true, Ordering::Release);
            })
            .ok()?;
        Some(Self { done })
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
}
