//! Where the data directory is.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::DATA_DIR;
use super::env::Env;
use super::error::{ConfigError, invalid, shown};

pub(super) fn data_dir_of(
    env: &Env<'_>,
    argument: Option<&OsStr>,
    current_dir: impl FnOnce() -> io::Result<PathBuf>,
) -> Result<PathBuf, ConfigError> {
    let (variable, path) = if let Some(argument) = argument {
        ("--data-dir", PathBuf::from(argument))
    } else if let Some(value) = env.get(DATA_DIR) {
        (DATA_DIR, PathBuf::from(value))
    } else {
        let home = env.get("HOME").ok_or(ConfigError::NoHome)?;
        if !Path::new(&home).is_absolute() {
            // It would be another mesh in each directory.
            return Err(invalid("HOME", &home, "an absolute path".to_owned()));
        }
        ("HOME", Path::new(&home).join(".slm-mesh"))
    };
    let first = path.components().next();
    // A shell expands `~`, a configuration file of an agent does not; a directory of that name in
    // the project is not what anyone wants.
    let tilde = first.is_some_and(|part| part.as_os_str().as_encoded_bytes().starts_with(b"~"));
    if first.is_none() || tilde {
        let allowed = "a path, with ~ written out (an absolute one is best)".to_owned();
        return Err(invalid(variable, path.as_os_str(), allowed));
    }
    let path = if path.is_absolute() {
        path
    } else {
        let current = current_dir().map_err(|source| ConfigError::NoWorkingDirectory {
            variable,
            value: shown(path.as_os_str()),
            source,
        })?;
        current.join(path)
    };
    // Taken apart and put together again, a path has no `.`, `//` or final `/` in it. `..` stays:
    // what it means depends on symbolic links.
    Ok(path.components().collect())
}
