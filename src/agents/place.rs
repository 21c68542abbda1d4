//! Where a person's files are.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where this person's files are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The home directory.
    pub home: PathBuf,
    /// The project whose files are meant, instead of the person's own.
    pub project: Option<PathBuf>,
    /// Where programs are.
    pub search: Vec<PathBuf>,
    lookup: fn(&str) -> Option<OsString>,
}

impl Place {
    /// From the environment. `project`: the files of this directory instead of the person's own.
    ///
    /// # Errors
    /// The name of the variable without which there is no place.
    pub fn new(
        lookup: fn(&str) -> Option<OsString>,
        project: Option<PathBuf>,
    ) -> Result<Self, &'static str> {
        let search = lookup("PATH").unwrap_or_default();
        let search = std::env::split_paths(&search).filter(|dir| dir.is_absolute()).collect();
        let place = Self { home: PathBuf::new(), project, search, lookup };
        let home = place.absolute("HOME").ok_or("HOME")?;
        Ok(Self { home, ..place })
    }

    fn absolute(&self, variable: &str) -> Option<PathBuf> {
        (self.lookup)(variable).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// What `variable` says, or `usual` below the home directory.
    #[must_use]
    pub fn dir(&self, variable: &str, usual: &str) -> PathBuf {
        self.absolute(variable).unwrap_or_else(|| self.home.join(usual))
    }

    /// A folder of `XDG_CONFIG_HOME`, or of `~/.config`.
    #[must_use]
    pub fn config(&self, name: &str) -> PathBuf {
        self.dir("XDG_CONFIG_HOME", ".config").join(name)
    }
}
