//! What helpers have in common: processes beside the broker that follow what happens and bring it
//! somewhere else, such as to the desktop. The broker starts them and ends with them; here is what
//! each has in the data directory.
//!
//! A helper keeps the number of the last message or event that it is done with. So it goes on where
//! it was after anything, as long as the mesh still keeps what it missed.

pub mod program;

use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::files::{read_bounded, remove, write_private};
use crate::limits::HELPER_FILE_BYTES_MAX;
use crate::model::Seq;
use crate::paths::Paths;
use crate::platform::{BrokerLock, lock_holder};

/// How long a former process of a helper is waited for.
const FORMER_TIME_MAX: Duration = Duration::from_secs(5);
/// How often its lock is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The helpers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    /// Tells the person of messages to them.
    Notify,
    /// Gives what happens to a memory.
    Memory,
}

impl Helper {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Notify, Self::Memory];

    /// The command that it is, and how its files are called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Memory => "memory",
        }
    }
}

/// What is stored of how a helper is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredSettings<T> {
    /// Nothing: a variable of the broker may still switch it on.
    Nothing,
    /// That it is off, whatever a variable says.
    Off,
    /// How.
    On(T),
}

impl<T> StoredSettings<T> {
    /// How, if it is on.
    #[must_use]
    pub fn on(self) -> Option<T> {
        match self {
            Self::On(settings) => Some(settings),
            Self::Nothing | Self::Off => None,
        }
    }
}

/// How far a helper has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// It is done with everything up to here.
    pub seq: Seq,
    /// The mesh that the number is of, and the recipient, if there may be several: the number says
    /// nothing about others.
    pub of: Box<str>,
}

/// What the file of settings holds for [`StoredSettings::Off`].
const OFF: &str = "\"off\"";

/// A helper's files in a data directory. While the helper is switched off none of them exists, except
/// that of one which a variable could switch on, the settings say that it is off.
#[derive(Clone, Debug)]
pub struct HelperFiles {
    helper: Helper,
    settings: PathBuf,
    position: PathBuf,
    lock: PathBuf,
}

impl HelperFiles {
    /// The files of `helper` in the data directory of `paths`.
    #[must_use]
    pub fn of(helper: Helper, paths: &Paths) -> Self {
        let file = |kind| paths.of_helper(helper.name(), kind);
        Self { helper, settings: file("json"), position: file("seq"), lock: file("lock") }
    }

    /// Whether it is switched on.
    #[must_use]
    pub fn is_wanted(&self, config: &Config) -> bool {
        match self.settings::<serde::de::IgnoredAny>() {
            Ok(StoredSettings::Nothing) => self.helper == Helper::Memory && config.memory.is_some(),
            Ok(StoredSettings::Off) => false,
            // The helper says what is wrong with it.
            Ok(StoredSettings::On(_)) | Err(_) => true,
        }
    }

    /// The bytes of the settings, to see whether they have changed; none if nothing is stored.
    #[must_use]
    pub fn stored(&self) -> Option<Vec<u8>> {
        read_bounded(&self.settings, HELPER_FILE_BYTES_MAX).ok()
    }

    /// What is stored of how it is to be.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn settings<T: DeserializeOwned>(&self) -> io::Result<StoredSettings<T>> {
        match read_bounded(&self.settings, HELPER_FILE_BYTES_MAX) {
            Ok(bytes) if bytes.trim_ascii() == OFF.as_bytes() => Ok(StoredSettings::Off),
            Ok(bytes) => Ok(StoredSettings::On(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(StoredSettings::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Stores how it is to be: readable by this user alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_settings<T: Serialize>(&self, settings: &T) -> io::Result<()> {
        let mut text = serde_json::to_vec(settings)?;
        text.push(b'\n');
        write_private(&self.settings, &text)
    }

    /// How far it has come; none if that cannot be read.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let bytes = read_bounded(&self.position, HELPER_FILE_BYTES_MAX).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Stores how far it has come.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_position(&self, position: &Position) -> io::Result<()> {
        write_private(&self.position, &serde_json::to_vec(position)?)
    }

    /// Makes this process the helper, once a former one has ended. Gives none if that does not end.
    ///
    /// # Errors
    /// The lock cannot be taken at all.
    pub fn take(&self) -> io::Result<Option<BrokerLock>> {
        let until = Instant::now() + FORMER_TIME_MAX;
        loop {
            match BrokerLock::try_acquire(&self.lock)? {
                None if Instant::now() < until => sleep(LOCK_PAUSE),
                lock => return Ok(lock),
            }
        }
    }

    /// Whether a process is this helper now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        lock_holder(&self.lock).is_ok_and(|holder| holder.is_some())
    }

    /// Switches it off, so that no broker starts it any more. Gives whether it may have been on.
    ///
    /// # Errors
    /// The file cannot be removed or written.
    pub fn switch_off(&self) -> io::Result<bool> {
        match self.helper {
            Helper::Notify => remove(&self.settings),
            // The variable may be in the environment of a broker: it is not known here.
            Helper::Memory => {
                write_private(&self.settings, format!("{OFF}\n").as_bytes())?;
                Ok(true)
            }
        }
    }

    /// Removes the rest of its files, once no process is the helper any more. Gives whether it did.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn clear(&self) -> io::Result<bool> {
        let Some(lock) = self.take()? else { return Ok(false) };
        remove(&self.position)?;
        self.remove_parts();
        remove(&self.lock)?;
        drop(lock);
        Ok(true)
    }

    /// Removes what it was writing when it was killed.
    fn remove_parts(&self) {
        let (Some(dir), Some(name)) = (self.position.parent(), self.position.file_name()) else {
            return;
        };
        let beginning = format!(".{}.", name.to_string_lossy());
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&beginning) && name.ends_with(".tmp") {
                // If it stays, it does no harm.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
