//! The program that runs, to be run again.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The name of the program.
const PROGRAM: &str = "slm-mesh";
/// The program of the process that looks, even when its file has been removed: proc(5).
const RUNNING: &str = "/proc/self/exe";

/// The program that runs now, to be run again: under its own path, where its successor is if an
/// update has replaced it; else by the name it was called by, which may be a link to the newest of
/// several versions; else as the shell would find it. If all of them are gone, Linux still has what
/// this process runs.
///
/// # Errors
/// There is none of them.
pub fn own_executable() -> io::Result<PathBuf> {
    let own = super::executable(std::process::id()).or_else(|| std::env::current_exe().ok());
    let called = std::env::args_os().next();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = find_program(own, called.as_deref(), &path);
    found.ok_or_else(|| {
        let words = "its program is not there any more, and there is no other on the PATH";
        io::Error::new(io::ErrorKind::NotFound, words)
    })
}

fn find_program(own: Option<PathBuf>, called: Option<&OsStr>, path: &OsStr) -> Option<PathBuf> {
    let by_name = |name: &OsStr| {
        let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute());
        dirs.map(|dir| dir.join(name)).find(|program| is_program(program))
    };
    let by_call = |called: &OsStr| {
        if !called.as_encoded_bytes().contains(&b'/') {
            return by_name(called);
        }
        let program = std::path::absolute(called).ok()?;
        is_program(&program).then_some(program)
    };
    own.filter(|program| is_program(program))
        .or_else(|| called.and_then(by_call))
        .or_else(|| by_name(OsStr::new(PROGRAM)))
        .or_else(|| Some(PathBuf::from(RUNNING)).filter(|program| is_program(program)))
}

/// Whether `path` is a file that can be run.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn a_program_is_found_by_its_path_its_call_its_name() {
        let temp = TempDir::new();
        let make = |name: &str| {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy("/bin/sh", &path).unwrap();
            path
        };
        let own = make("v1/slm-mesh");
        let newer = make("v2/slm-mesh");
        let link = temp.path().join("mesh");
        std::os::unix::fs::symlink(&newer, &link).unwrap();
        let on_path = make("bin/slm-mesh");
        let path = std::env::join_paths([Path::new("relative"), &temp.path().join("bin")]).unwrap();
        let find = |called: &OsStr| find_program(Some(own.clone()), Some(called), &path);

        assert_eq!(find(link.as_os_str()), Some(own.clone()));
        std::fs::remove_dir_all(temp.path().join("v1")).unwrap();
        assert_eq!(find(link.as_os_str()), Some(link.clone()));
        assert_eq!(find(OsStr::new("slm-mesh")), Some(on_path.clone()));
        std::fs::remove_file(&newer).unwrap();
        assert_eq!(find(link.as_os_str()), Some(on_path.clone()));
        // What cannot be run is none.
        std::fs::write(&on_path, "").unwrap();
        std::fs::set_permissions(&on_path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let last = Some(PathBuf::from(RUNNING)).filter(|path| path.exists());
        assert_eq!(find(link.as_os_str()), last);
        assert_eq!(find_program(None, None, OsStr::new("")), last);
    }
}
