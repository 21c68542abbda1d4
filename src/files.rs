//! Small files: written whole or not at all, and read up to a bound.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Names tried for a temporary file; a second one is needed only after a crash, or when two
/// processes with the same id (in two containers) write here.
const NAMES_TRIED: u32 = 16;
/// Longest of the files that hold a number or a word, bytes.
const SMALL_FILE_BYTES_MAX: usize = 256;

/// Writes the file `path` with mode 0600, whatever the umask. A reader finds the old content or the
/// new, never a part: it is written beside its place and renamed.
///
/// It is not forced to disk: what is written so is of use only as long as the process lives, or can
/// be made again.
///
/// # Errors
///
/// The directory cannot be written to, or the disk is full; `path` is as it was then.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fill = |file: &mut File| {
        // The umask may have taken bits away from the mode it was made with.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)
    };
    write_beside(path, fill, |temporary| std::fs::rename(temporary, path))
}

/// Writes the file `path`, which may be someone else's to read, with these mode bits. It is on the
/// disk when this returns: what is replaced so may be the only one of its kind.
///
/// # Errors
///
/// The directory cannot be written to, or the disk is full; `path` is as it was then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fill = |file: &mut File| {
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    };
    write_beside(path, fill, |temporary| std::fs::rename(temporary, path))
}

/// Makes the file `path` with mode 0600 if it is not there, and says whether it did. It is there whole
/// or not at all, and on the disk when this returns: for what is made once and kept.
///
/// # Errors
///
/// The directory cannot be written to, or the disk is full; nothing was made then.
pub fn create_private(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let fill = |file: &mut File| {
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    let put = |temporary: &Path| {
        // Unlike a rename, this replaces nothing.
        std::fs::hard_link(temporary, path)?;
        // Its other name stays.
        let _ = std::fs::remove_file(temporary);
        Ok(())
    };
    match write_beside(path, fill, put) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    }
}

/// Removes a file. Gives whether there was one.
///
/// # Errors
///
/// It is there and cannot be removed.
pub fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads the regular file `path`, which must not be longer than `bytes_max`.
///
/// # Errors
///
/// The file cannot be read, is not a regular file ([`io::ErrorKind::InvalidInput`]) or is too long
/// ([`io::ErrorKind::FileTooLarge`]).
pub fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = open_regular(path, OpenOptions::new().read(true), OFlags::empty())?;
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// The text of a small file, without white space around it, if there is any.
pub(crate) fn read_small(path: &Path) -> Option<String> {
    let text = String::from_utf8(read_bounded(path, SMALL_FILE_BYTES_MAX).ok()?).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The number in a small file, if there is one.
pub(crate) fn small_number<T: FromStr>(path: &Path) -> Option<T> {
    read_small(path)?.parse().ok()
}

/// Opens `path` if it is a regular file, or was made just now, with these flags beside those of
/// `options`. Nothing else that may have this name makes it wait: a named pipe without anyone at its
/// other end, a device.
///
/// # Errors
///
/// It cannot be opened, or it is no regular file ([`io::ErrorKind::InvalidInput`]).
pub fn open_regular(path: &Path, options: &mut OpenOptions, more: OFlags) -> io::Result<File> {
    let not_regular = || io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
    // Means nothing to a regular file.
    let opened = options.custom_flags(flags(more | OFlags::NONBLOCK)).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        // A pipe that nobody reads or a socket, a device that is not there, a link that is not to
        // be followed: open(2).
        Some(Errno::NXIO | Errno::NODEV | Errno::LOOP) => not_regular(),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// Flags of open(2) as std takes them.
pub(crate) fn flags(flags: OFlags) -> i32 {
    // The highest bit is not in use on any system.
    i32::try_from(flags.bits()).unwrap_or_default()
}

/// Fills a new file in the directory of `path`, and then puts it in its place. Nothing of it stays if
/// that fails.
fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path)?;
    let written = write(&mut file).and_then(|()| put(&temporary));
    if written.is_err() {
        // The first error is the one that counts.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Makes a new, empty file in the directory of `path`.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);

    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    for _ in 0..NAMES_TRIED {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{name}.{}.{count}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// A directory of its own for one test, removed at its end.
    pub(crate) struct TempDir(PathBuf);

    impl TempDir {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("slm-mesh-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            // Of a run that was killed, whose process had the same id.
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
            Self(path.canonicalize().unwrap())
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A named pipe with nobody at either end.
    pub(crate) fn make_pipe(path: &Path) {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn written_file_is_private_and_alone() {
        let dir = TempDir::new();
        let path = dir.path().join("port");
        write_private(&path, b"7899").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"7899");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        write_private(&path, b"").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), ["port"]);
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let dir = TempDir::new();
        let (path, target) = (dir.path().join("token"), dir.path().join("target"));
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"kept");
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn failed_write_leaves_nothing() {
        let dir = TempDir::new();
        let path = dir.path().join("port");
        std::fs::create_dir(&path).unwrap();
        assert!(write_private(&path, b"7899").is_err(), "a file does not replace a directory");
        assert_eq!(names(dir.path()), ["port"]);
        assert!(write_private(&dir.path().join("missing/port"), b"").is_err());
        assert!(write_private(Path::new("/"), b"").is_err());
    }

    #[test]
    fn leftovers_of_a_crash_are_no_obstacle() {
        let dir = TempDir::new();
        let path = dir.path().join("port");
        let (leftover, _) = create_beside(&path).unwrap();
        write_private(&path, b"1").unwrap();
        assert!(leftover.exists());
        assert_eq!(std::fs::read(&path).unwrap(), b"1");
    }

    #[test]
    fn what_is_made_once_is_not_replaced() {
        let dir = TempDir::new();
        let path = dir.path().join("key");
        assert!(create_private(&path, b"first").unwrap());
        assert!(!create_private(&path, b"second").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), ["key"]);
        assert!(create_private(&dir.path().join("missing/key"), b"").is_err());
    }

    #[test]
    fn reading_has_a_bound() {
        let dir = TempDir::new();
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert_eq!(read_bounded(&path, 6).unwrap(), b"12345");
        assert_eq!(read_bounded(&path, usize::MAX).unwrap(), b"12345");
        assert_eq!(read_bounded(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        std::fs::write(&path, "").unwrap();
        assert_eq!(read_bounded(&path, 0).unwrap(), b"");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_regular_files_are_read() {
        let dir = TempDir::new();
        let pipe = dir.path().join("pipe");
        make_pipe(&pipe);
        let write = open_regular(&pipe, OpenOptions::new().append(true), OFlags::empty());
        assert_eq!(write.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/null")] {
            assert_eq!(read_bounded(path, 9).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        let missing = dir.path().join("missing");
        assert_eq!(read_bounded(&missing, 9).unwrap_err().kind(), io::ErrorKind::NotFound);
        let link = dir.path().join("link");
        std::fs::write(&missing, "").unwrap();
        std::os::unix::fs::symlink(&missing, &link).unwrap();
        let mut reading = OpenOptions::new();
        assert!(open_regular(&link, reading.read(true), OFlags::empty()).is_ok());
        let refused = open_regular(&link, &mut reading, OFlags::NOFOLLOW).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
