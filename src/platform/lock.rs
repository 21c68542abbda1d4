//! The lock that makes a process the one broker of a data directory.
//!
//! A POSIX record lock (fcntl(2), `F_SETLK`): the kernel drops it when its process ends, however it
//! ends, and others can ask who holds it without taking it, so that a question never makes a
//! broker's start fail.
//!
//! Such locks have a trap: they belong to the process, not to the descriptor. A second lock by the
//! same process succeeds, and closing *any* descriptor of the file drops the lock. So in the whole
//! program nothing but this file opens the lock file, and here a list of the files held keeps a
//! process from opening one of them again; a child process inherits neither lock nor descriptor.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// The files this process holds the lock of. Whoever opens, locks or closes a lock file does so
/// with this list in hand.
static HELD: Mutex<Vec<FileId>> = Mutex::new(Vec::new());

/// A file, by whatever path: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub struct BrokerLock {
    /// `None` only while it is dropped.
    file: Option<File>,
    id: FileId,
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id; `None` if it cannot be seen from here (another process id namespace, or
    /// another machine with the same file system).
    pub pid: Option<u32>,
}

impl BrokerLock {
    /// Takes the lock on the file `path`, which is made if it is missing (mode 0600) and never
    /// removed. `None` if it is held already, be it by this process.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, is no regular file, or its file system has no locks.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let mut held = held();
        if is_held(&held, path)? {
            return Ok(None);
        }
        let file = open(path, Access::Take)?;
        let metadata = file.metadata()?;
        let id = FileId::of(&metadata);
        if held.contains(&id) {
            // Someone has put a file of ours in this place since we looked. Closing it would drop
            // our lock on it.
            let _never_closed = file.into_raw_fd();
            return Ok(None);
        }
        if metadata.permissions().mode() & 0o777 != 0o600 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                held.push(id);
                Ok(Some(Self { file: Some(file), id }))
            }
            // POSIX allows either.
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for BrokerLock {
    fn drop(&mut self) {
        let mut held = held();
        held.retain(|id| *id != self.id);
        // Closed before the list is given back: a lock taken in between would go with it.
        drop(self.file.take());
    }
}

/// Asks who holds the lock on the file `path`, without taking it. `None`: nobody, or there is no
/// such file.
///
/// # Errors
///
/// The file is there and cannot be opened, is no regular file, or its file system has no locks.
pub fn lock_holder(path: &Path) -> io::Result<Option<LockHolder>> {
    let held = held();
    if is_held(&held, path)? {
        return Ok(Some(LockHolder { pid: Some(std::process::id()) }));
    }
    // To ask needs less than to take: the directory may be mounted to be read only.
    let file = match open(path, Access::Ask) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if held.contains(&FileId::of(&file.metadata()?)) {
        let _never_closed = file.into_raw_fd();
        return Ok(Some(LockHolder { pid: Some(std::process::id()) }));
    }
    // What would keep us from locking for writing is any lock there may be.
    let lock = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
    Ok(lock.map(|lock| LockHolder { pid: lock.pid.and_then(super::process::from_pid) }))
}

fn held() -> MutexGuard<'static, Vec<FileId>> {
    // The list is whole at every moment, so a panic elsewhere does not spoil it.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `path` is a file held by this process, without opening it.
fn is_held(held: &[FileId], path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not a regular file", path.display()),
        )),
        Ok(metadata) => Ok(held.contains(&FileId::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a lock file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// To take the lock, which needs write access (fcntl(2), `F_WRLCK`), and the file.
    Take,
    /// To ask who has it.
    Ask,
}

/// Opens a lock file; close-on-exec as always with std.
fn open(path: &Path, access: Access) -> io::Result<File> {
    let take = access == Access::Take;
    let mut options = OpenOptions::new();
    options.read(true).write(take).create(take).truncate(false).mode(0o600);
    crate::files::open_regular(path, &mut options, OFlags::NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, ChildStdout, Command, Stdio};

    use super::*;
    use crate::files::tests::TempDir;

    const CHILD_PATH: &str = "SLM_MESH_TEST_LOCK_PATH";

    /// Not a test of its own: the other process of the tests below.
    #[test]
    fn helper_process() {
        let Some(path) = std::env::var_os(CHILD_PATH) else { return };
        let lock = BrokerLock::try_acquire(Path::new(&path)).unwrap();
        println!("\n{}", if lock.is_some() { "locked" } else { "busy" });
        // Until the test closes the pipe or kills this process.
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    }

    /// A process that tries to take the lock, once it has tried; and whether it has got it.
    fn other_process(path: &Path) -> (Child, bool, BufReader<ChildStdout>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "platform::lock::tests::helper_process", "--nocapture"])
            .env(CHILD_PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(out.read_line(&mut line).unwrap(), 0);
            match line.trim() {
                "locked" => return (child, true, out),
                "busy" => return (child, false, out),
                _ => {}
            }
        }
    }

    fn ends(mut child: Child) {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn another_process_is_kept_out_while_the_lock_lives() {
        let dir = TempDir::new();
        let path = dir.path().join("broker.lock");
        let lock = BrokerLock::try_acquire(&path).unwrap().unwrap();
        let (child, locked, _out) = other_process(&path);
        assert!(!locked);
        ends(child);
        drop(lock);
        let (child, locked, _out) = other_process(&path);
        assert!(locked);
        ends(child);
        assert!(path.exists());
    }

    #[test]
    fn holder_is_told_without_taking_the_lock() {
        let dir = TempDir::new();
        let path = dir.path().join("broker.lock");
        assert_eq!(lock_holder(&path).unwrap(), None);
        assert!(!path.exists());
        let (mut child, locked, _out) = other_process(&path);
        assert!(locked);
        assert_eq!(lock_holder(&path).unwrap(), Some(LockHolder { pid: Some(child.id()) }));
        assert!(BrokerLock::try_acquire(&path).unwrap().is_none());
        assert_eq!(lock_holder(&path).unwrap(), Some(LockHolder { pid: Some(child.id()) }));
        // A crash frees it.
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(lock_holder(&path).unwrap(), None);
        assert!(BrokerLock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn own_questions_do_not_drop_the_own_lock() {
        let dir = TempDir::new();
        let path = dir.path().join("broker.lock");
        let link = dir.path().join("link");
        let lock = BrokerLock::try_acquire(&path).unwrap().unwrap();
        std::fs::hard_link(&path, &link).unwrap();
        for path in [&path, &link] {
            let us = Some(LockHolder { pid: Some(std::process::id()) });
            assert_eq!(lock_holder(path).unwrap(), us);
            assert!(BrokerLock::try_acquire(path).unwrap().is_none());
        }
        let (child, locked, _out) = other_process(&path);
        assert!(!locked, "the lock is still held");
        ends(child);
        drop(lock);
        let lock = BrokerLock::try_acquire(&path).unwrap();
        assert!(lock.is_some());
    }

    #[test]
    fn many_threads_get_one_lock() {
        let dir = TempDir::new();
        let path = dir.path().join("broker.lock");
        let locks: Vec<Option<BrokerLock>> = std::thread::scope(|scope| {
            let take = || BrokerLock::try_acquire(&path).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(locks.iter().flatten().count(), 1);
    }

    #[test]
    fn locks_of_two_data_dirs_are_two() {
        let dir = TempDir::new();
        let one = BrokerLock::try_acquire(&dir.path().join("1")).unwrap();
        let two = BrokerLock::try_acquire(&dir.path().join("2")).unwrap();
        assert!(one.is_some() && two.is_some());
        drop(one);
        assert!(lock_holder(&dir.path().join("1")).unwrap().is_none());
        assert!(lock_holder(&dir.path().join("2")).unwrap().is_some());
    }

    #[test]
    fn lock_file_is_private() {
        let dir = TempDir::new();
        let path = dir.path().join("broker.lock");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _lock = BrokerLock::try_acquire(&path).unwrap().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let dir = TempDir::new();
        assert!(BrokerLock::try_acquire(dir.path()).is_err());
        assert!(lock_holder(dir.path()).is_err());
        assert!(lock_holder(Path::new("/dev/null")).is_err());
        let missing = dir.path().join("missing/broker.lock");
        assert!(BrokerLock::try_acquire(&missing).is_err());
        assert_eq!(lock_holder(&missing).unwrap(), None);
    }
}
