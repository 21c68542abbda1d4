//! The data directory: made, checked, and closed to everyone else.
//!
//! Whoever can write to it can put a socket or a token of his own in place of ours, so what others
//! can write to is refused and not mended: it may have been used already. What others could only
//! read is closed to them.

use std::error::Error;
use std::fmt;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use uuid::Uuid;

use crate::config::DATA_DIR;
use crate::limits::SOCKET_PATH_BYTES_MAX;
use crate::paths::Paths;
use crate::platform::current_uid;

/// Mode bits of group and others.
const OTHERS: u32 = 0o077;
/// Mode bits by which group or others may write.
const OTHERS_WRITE: u32 = 0o022;

/// Why the data directory cannot be used. The text says what to do about it.
#[derive(Debug)]
pub enum DataDirError {
    /// The path is too long for sockets in it.
    TooLong {
        /// The data directory.
        dir: PathBuf,
        /// Length of a socket's path in it, bytes.
        bytes: usize,
    },
    /// There is something else under this name.
    NotADirectory(PathBuf),
    /// It belongs to another user.
    NotOurs {
        /// The directory.
        dir: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// Group or others may write to it.
    OpenToOthers {
        /// The directory.
        dir: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// It cannot be made, looked at or written to.
    Io {
        /// The directory.
        dir: PathBuf,
        /// What was tried: "make", "look at", ...
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { dir, bytes } => write!(
                f,
                "the path of the data directory {} is too long: a socket in it would have a path \
                 of {bytes} bytes, and the limit is {SOCKET_PATH_BYTES_MAX}; set {DATA_DIR} to a \
                 path of at most {} bytes",
                dir.display(),
                dir_bytes_max(),
            ),
            Self::NotADirectory(dir) => {
                write!(f, "{} is not a directory; set {DATA_DIR} to another", dir.display())
            }
            Self::NotOurs { dir, owner } => write!(
                f,
                "{} belongs to another user (uid {owner}, this is uid {}); set {DATA_DIR} to a \
                 directory of your own",
                dir.display(),
                current_uid(),
            ),
            Self::OpenToOthers { dir, mode } => write!(
                f,
                "{} can be written to by others (mode {mode:03o}); look at what is in it, then \
                 close it: chmod 700 {0}",
                dir.display(),
            ),
            Self::Io { dir, action, source } => {
                write!(f, "cannot {action} the directory {}: {source}", dir.display())?;
                write!(f, "; mend it or set {DATA_DIR} to another")
            }
        }
    }
}

impl Error for DataDirError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Makes the data directory and `peers/` in it, if they are missing, and checks both: directories
/// of ours (or links to such), of mode 0700 whatever the umask, writable, with a path short enough
/// for sockets.
///
/// # Errors
///
/// The first rule that is broken. Nothing that exists has been changed then, but that a directory
/// of ours which others could only read is closed to them.
pub fn prepare(paths: &Paths) -> Result<(), DataDirError> {
    check_socket_paths(paths)?;
    for dir in [paths.dir(), &paths.peers()] {
        make(dir)?;
        close(dir)?;
    }
    Ok(())
}

/// Checks what there is of the data directory and of `peers/` in it by the same rules, and changes
/// nothing: before a file in it is believed, by whoever only looks. What is missing is no fault.
///
/// # Errors
///
/// The first rule that is broken.
pub fn check(paths: &Paths) -> Result<(), DataDirError> {
    for dir in [paths.dir(), &paths.peers()] {
        match trusted_mode(dir) {
            Err(DataDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// Checks that the path of a peer's socket is not too long for this platform.
///
/// # Errors
///
/// [`DataDirError::TooLong`].
pub fn check_socket_paths(paths: &Paths) -> Result<(), DataDirError> {
    let bytes = socket_bytes(paths);
    if bytes <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    Err(DataDirError::TooLong { dir: paths.dir().to_owned(), bytes })
}

/// Length of the path of a peer's socket, bytes: the same for each.
fn socket_bytes(paths: &Paths) -> usize {
    paths.peer_socket(Uuid::nil()).as_os_str().as_bytes().len()
}

/// The longest path a data directory can have, bytes.
fn dir_bytes_max() -> usize {
    let below = socket_bytes(&Paths::new("/d".into())) - "/d".len();
    SOCKET_PATH_BYTES_MAX - below
}

/// Makes `dir`, and what is missing above it, with mode 0700.
fn make(dir: &Path) -> Result<(), DataDirError> {
    let failed = |source| DataDirError::Io { dir: dir.to_owned(), action: "make", source };
    match DirBuilder::new().mode(0o700).create(dir) {
        // The umask may have taken bits away.
        Ok(()) => std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed),
        // Whatever it is, `close` looks at it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => match (error.kind(), dir.parent()) {
            (io::ErrorKind::NotFound, Some(parent)) if !parent.exists() => {
                make(parent)?;
                make(dir)
            }
            _ => Err(failed(error)),
        },
    }
}

/// The mode bits of the existing `dir`, which is a directory of ours, or our link to one, and which
/// nobody else can write to.
fn trusted_mode(dir: &Path) -> Result<u32, DataDirError> {
    let failed = |source| DataDirError::Io { dir: dir.to_owned(), action: "look at", source };
    let not_ours = |owner| DataDirError::NotOurs { dir: dir.to_owned(), owner };
    let mut metadata = std::fs::symlink_metadata(dir).map_err(failed)?;
    if metadata.is_symlink() {
        // Whoever made it can make it lead elsewhere.
        if ![current_uid(), 0].contains(&metadata.uid()) {
            return Err(not_ours(metadata.uid()));
        }
        // The data may well lie on another disk.
        metadata = std::fs::metadata(dir).map_err(failed)?;
    }
    if !metadata.is_dir() {
        return Err(DataDirError::NotADirectory(dir.to_owned()));
    }
    if metadata.uid() != current_uid() {
        return Err(not_ours(metadata.uid()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        return Err(DataDirError::OpenToOthers { dir: dir.to_owned(), mode: mode & 0o777 });
    }
    Ok(mode)
}

/// Checks the existing `dir`, and closes it to others.
fn close(dir: &Path) -> Result<(), DataDirError> {
    let io = |action| move |source| DataDirError::Io { dir: dir.to_owned(), action, source };
    let mode = trusted_mode(dir)?;
    if mode & OTHERS != 0 {
        let mode = Permissions::from_mode(mode & !OTHERS);
        std::fs::set_permissions(dir, mode).map_err(io("close"))?;
    }
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    access(dir, all).map_err(|errno| io("write to")(errno.into()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::files::tests::TempDir;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn missing_directories_are_made_private() {
        let temp = TempDir::new();
        let paths = Paths::new(temp.path().join("a/b/mesh"));
        for _ in 0..2 {
            prepare(&paths).unwrap();
            for dir in [paths.dir(), &paths.peers(), paths.dir().parent().unwrap()] {
                assert_eq!(mode(dir), 0o700);
            }
        }
    }

    /// Not a test of its own: the umask belongs to a whole process.
    #[test]
    fn helper_process() {
        let Some(dir) = std::env::var_os("SLM_MESH_TEST_UMASK_DIR") else { return };
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
        let paths = Paths::new(dir.into());
        prepare(&paths).unwrap();
        crate::files::write_private(&paths.port(), b"1").unwrap();
    }

    #[test]
    fn umask_does_not_matter() {
        let temp = TempDir::new();
        let paths = Paths::new(temp.path().join("a/mesh"));
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "data_dir::tests::helper_process"])
            .env("SLM_MESH_TEST_UMASK_DIR", paths.dir())
            .output()
            .unwrap()
            .status;
        assert!(status.success());
        assert_eq!(mode(paths.dir()), 0o700);
        assert_eq!(mode(&paths.peers()), 0o700);
        assert_eq!(mode(&paths.port()), 0o600);
    }

    #[test]
    fn directory_that_others_can_write_to_is_refused_as_it_is() {
        let temp = TempDir::new();
        let paths = Paths::new(temp.path().join("mesh"));
        prepare(&paths).unwrap();
        for bad in [0o720, 0o702, 0o777, 0o730, 0o1777] {
            for dir in [paths.dir().to_owned(), paths.peers()] {
                set_mode(&dir, bad);
                let error = prepare(&paths).unwrap_err();
                assert!(matches!(error, DataDirError::OpenToOthers { .. }), "{error}");
                assert!(error.to_string().contains(&format!("chmod 700 {}", dir.display())));
                assert_eq!(mode(&dir), bad);
                set_mode(&dir, 0o700);
            }
        }
    }

    #[test]
    fn directory_that_others_can_read_is_closed() {
        let temp = TempDir::new();
        let paths = Paths::new(temp.path().join("mesh"));
        prepare(&paths).unwrap();
        for readable in [0o755, 0o750, 0o711, 0o704, 0o701] {
            set_mode(paths.dir(), readable);
            set_mode(&paths.peers(), readable);
            prepare(&paths).unwrap();
            assert_eq!((mode(paths.dir()), mode(&paths.peers())), (0o700, 0o700));
        }
    }

    #[test]
    fn what_is_not_a_directory_of_ours_is_refused() {
        let temp = TempDir::new();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = prepare(&Paths::new(file.clone())).unwrap_err();
        assert!(matches!(error, DataDirError::NotADirectory(_)), "{error}");
        assert!(error.to_string().contains(DATA_DIR));
        // Below a file nothing can be made.
        let error = prepare(&Paths::new(file.join("mesh"))).unwrap_err();
        assert!(matches!(error, DataDirError::Io { action: "make", .. }), "{error}");
        // `peers` is a file.
        let paths = Paths::new(temp.path().join("mesh"));
        prepare(&paths).unwrap();
        std::fs::remove_dir(paths.peers()).unwrap();
        std::fs::write(paths.peers(), "").unwrap();
        assert!(matches!(prepare(&paths), Err(DataDirError::NotADirectory(_))));

        // Whoever runs the tests, this one is another's.
        let other = if current_uid() == 0 { nobodys(&temp) } else { "/".into() };
        let error = prepare(&Paths::new(other)).unwrap_err();
        assert!(matches!(error, DataDirError::NotOurs { .. }), "{error}");
    }

    fn nobodys(temp: &TempDir) -> PathBuf {
        let dir = temp.path().join("nobodys");
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(65_534), None).unwrap();
        dir
    }

    #[test]
    fn a_look_goes_by_the_same_rules_and_changes_nothing() {
        let temp = TempDir::new();
        let paths = Paths::new(temp.path().join("mesh"));
        check(&paths).unwrap();
        assert!(!paths.dir().exists());
        prepare(&paths).unwrap();
        for fine in [0o700, 0o500, 0o755] {
            set_mode(paths.dir(), fine);
            check(&paths).unwrap();
            assert_eq!(mode(paths.dir()), fine);
        }
        for dir in [paths.dir().to_owned(), paths.peers()] {
            set_mode(paths.dir(), 0o700);
            set_mode(&dir, 0o770);
            assert!(matches!(check(&paths), Err(DataDirError::OpenToOthers { .. })));
            set_mode(&dir, 0o700);
        }
        std::fs::remove_dir(paths.peers()).unwrap();
        check(&paths).unwrap();
        std::fs::write(paths.peers(), "").unwrap();
        assert!(matches!(check(&paths), Err(DataDirError::NotADirectory(_))));
    }

    #[test]
    fn a_link_that_someone_else_made_is_not_followed() {
        if current_uid() != 0 {
            eprintln!("NOT TESTED: only root can make what belongs to another user");
            return;
        }
        let temp = TempDir::new();
        let (paths, link) = (Paths::new(temp.path().join("mesh")), temp.path().join("link"));
        prepare(&paths).unwrap();
        std::os::unix::fs::symlink(paths.dir(), &link).unwrap();
        let linked = Paths::new(link.clone());
        check(&linked).unwrap();
        std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
        for result in [check(&linked), prepare(&linked)] {
            assert!(matches!(result, Err(DataDirError::NotOurs { owner: 65_534, .. })));
        }
    }

    #[test]
    fn unwritable_directory_is_refused_and_stays_so() {
        let temp = TempDir::new();
        let paths = Paths::new(temp.path().join("mesh"));
        prepare(&paths).unwrap();
        set_mode(paths.dir(), 0o555);
        let result = prepare(&paths);
        assert_eq!(mode(paths.dir()), 0o500);
        // Root may write everywhere.
        if current_uid() != 0 {
            let error = result.unwrap_err();
            assert!(matches!(error, DataDirError::Io { action: "write to", .. }), "{error}");
        }
        set_mode(paths.dir(), 0o700);
        let error = prepare(&Paths::new("/proc/slm-mesh".into())).unwrap_err();
        assert!(matches!(error, DataDirError::Io { action: "make", .. }), "{error}");
    }

    #[test]
    fn link_is_as_good_as_its_target() {
        let temp = TempDir::new();
        let (target, link) = (temp.path().join("target"), temp.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let paths = Paths::new(link);
        let error = prepare(&paths).unwrap_err();
        assert!(matches!(error, DataDirError::Io { action: "look at", .. }), "{error}");
        std::fs::create_dir(&target).unwrap();
        set_mode(&target, 0o755);
        prepare(&paths).unwrap();
        assert_eq!(mode(&target), 0o700);
        set_mode(&target, 0o777);
        assert!(prepare(&paths).is_err());
    }

    #[test]
    fn socket_path_has_room_or_the_error_says_how_much_there_is() {
        let max = dir_bytes_max();
        assert_eq!(max + "/peers/".len() + 36 + ".sock".len(), SOCKET_PATH_BYTES_MAX);
        let of_length = |bytes: usize| Paths::new(format!("/{}", "x".repeat(bytes - 1)).into());
        check_socket_paths(&of_length(max)).unwrap();
        let text = check_socket_paths(&of_length(max + 1)).unwrap_err().to_string();
        let lengths = [SOCKET_PATH_BYTES_MAX + 1, SOCKET_PATH_BYTES_MAX, max];
        for length in lengths {
            assert!(text.contains(&length.to_string()), "{text}");
        }
        assert!(text.contains(DATA_DIR));
        // Bytes count, not characters.
        let umlauts = Paths::new(format!("/{}", "ü".repeat(max / 2)).into());
        assert!(check_socket_paths(&umlauts).is_err() || max % 2 == 1);
        assert!(
            check_socket_paths(&Paths::new(format!("/{}", "ü".repeat(max / 2 + 1)).into()))
                .is_err()
        );
        // What is allowed really binds.
        let temp = TempDir::new();
        let room = max - temp.path().as_os_str().len() - 1;
        let paths = Paths::new(temp.path().join("x".repeat(room)));
        prepare(&paths).unwrap();
        std::os::unix::net::UnixListener::bind(paths.peer_socket(Uuid::max())).unwrap();
        let paths = Paths::new(temp.path().join("x".repeat(room + 1)));
        assert!(matches!(prepare(&paths), Err(DataDirError::TooLong { .. })));
        assert!(!paths.dir().exists());
    }
}
