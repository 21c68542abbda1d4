//! Why settings cannot be used.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::io;

use super::DATA_DIR;
use crate::limits;

/// Why the settings cannot be used. The text names the variable, the value and what is allowed.
#[derive(Debug)]
pub enum ConfigError {
    /// A value that is none of those allowed.
    Invalid {
        /// The variable, or `--data-dir`.
        variable: &'static str,
        /// The value as shown: quoted, cut, and hidden if it is secret.
        value: String,
        /// What would have been taken.
        allowed: String,
    },
    /// Values that are good each alone and not together.
    Conflict {
        /// The variables with the values in force, defaults included.
        settings: Vec<(&'static str, u32)>,
        /// The rule they break.
        rule: &'static str,
    },
    /// Neither a data directory is set nor a home directory to put one in.
    NoHome,
    /// The data directory is a relative path and the working directory is not to be had.
    NoWorkingDirectory {
        /// The variable, or `--data-dir`.
        variable: &'static str,
        /// The relative path, as shown.
        value: String,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { variable, value, allowed } => {
                write!(f, "{variable} is {value}; allowed: {allowed}")
            }
            Self::Conflict { settings, rule } => {
                for (i, (variable, value)) in settings.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{variable} is {value}")?;
                }
                write!(f, ": {rule}")
            }
            Self::NoHome => {
                write!(
                    f,
                    "HOME is not set, so there is no place for the data; set HOME or {DATA_DIR}"
                )
            }
            Self::NoWorkingDirectory { variable, value, source } => write!(
                f,
                "{variable} is {value}, a relative path, and the working directory cannot be \
                 read ({source}); allowed: an absolute path"
            ),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoWorkingDirectory { source, .. } => Some(source),
            _ => None,
        }
    }
}

pub(super) fn invalid(variable: &'static str, value: &OsStr, allowed: String) -> ConfigError {
    ConfigError::Invalid { variable, value: shown(value), allowed }
}

/// A value as it stands in an error: quoted, control characters escaped, cut to a sensible length.
pub(super) fn shown(value: &OsStr) -> String {
    let text = value.to_string_lossy();
    match text.char_indices().nth(limits::SHOWN_VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
