//! Telling the person of messages to them: by the desktop, or by a program of theirs.
//!
//! | module | what it does |
//! |---|---|
//! | `pace` | how many are shown one by one, and when the rest is told together; no clock |
//! | `show` | what the program is run with |
//!
//! What others wrote is an argument, a variable or the standard input of a program, and never part of
//! a command line that something parses.

mod pace;
mod show;

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::helper::program::{Environment, find};
pub use pace::Pace;
pub use show::{Notification, show};

/// The form of the settings that this version reads and writes.
const VERSION: u32 = 1;
/// The variables that a program needs to reach the desktop, and its user's other programs.
const VARIABLES: [&str; 9] = [
    "HOME",
    "PATH",
    "LANG",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "TMPDIR",
];
/// Any of these leads to a desktop on Linux.
const OF_DESKTOP: [&str; 2] = ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"];

/// By what a person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notifier {
    /// The desktop's own on Linux and the BSDs, of libnotify.
    NotifySend,
    /// That of macOS.
    Osascript,
    /// A program of the person's.
    Command,
}

impl Notifier {
    /// That of this system.
    const OF_SYSTEM: Self =
        if cfg!(target_os = "macos") { Self::Osascript } else { Self::NotifySend };

    /// The name of its program, if that is known.
    #[must_use]
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::NotifySend => Some("notify-send"),
            Self::Osascript => Some("osascript"),
            Self::Command => None,
        }
    }
}

/// How the person is told. It is stored with what was in the environment of whoever switched it on: the
/// broker's own is that of whichever agent has started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    version: u32,
    /// By what.
    pub kind: Notifier,
    /// The program.
    pub program: PathBuf,
    environment: Environment,
}

impl Settings {
    /// By the environment `lookup` gives, and `wanted`, a program of the person's or the path of one.
    ///
    /// # Errors
    /// There is no such program: its name.
    pub fn of(
        lookup: impl Fn(&str) -> Option<OsString>,
        wanted: Option<&str>,
    ) -> Result<Self, Box<str>> {
        let kind = if wanted.is_some() { Notifier::Command } else { Notifier::OF_SYSTEM };
        let name = wanted.or(kind.program()).unwrap_or_default();
        let path = lookup("PATH").unwrap_or_default();
        let program = find(name, &path).ok_or(name)?;
        let environment = Environment::of(lookup, &VARIABLES);
        Ok(Self { version: VERSION, kind, program, environment })
    }

    /// Whether the program can be expected to find the desktop.
    #[must_use]
    pub fn has_desktop(&self) -> bool {
        self.kind != Notifier::NotifySend
            || OF_DESKTOP.iter().any(|name| self.environment.get(name).is_some())
    }
}
