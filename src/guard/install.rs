//! The hook's place: put in, taken out, and what was there before kept as it was.

use std::fmt;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::git::{self, GitError};
use super::script::{self, KEPT_SUFFIX, Owner};
use super::status::{State, Tree, is_husky, shared_scope, status};
use crate::files::read_bounded;
use crate::limits::SETUP_FILE_BYTES_MAX;

/// The hook that git runs before it makes a commit; githooks(5).
pub(super) const HOOK: &str = "pre-commit";

/// What an installation has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The hook.
    pub hook: PathBuf,
    /// It was there already, and is as it was.
    pub already: bool,
    /// The hook that was there before it, and is run first.
    pub kept: Option<PathBuf>,
    /// Working trees of the repository that have hooks of their own and no guard among them.
    pub unreached: Vec<Tree>,
}

/// What taking it out has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uninstalled {
    /// The hook.
    pub hook: PathBuf,
    /// It was not there.
    pub absent: bool,
    /// The hook of before is back in its place.
    pub restored: bool,
}

/// Why the hook was left alone.
#[derive(Debug)]
pub enum InstallError {
    /// Git could not say where hooks are.
    Git(GitError),
    /// The hook is the guard, with changes by someone.
    Changed(PathBuf),
    /// There is a hook that is not the guard, and one that was kept from before it.
    InTheWay {
        /// The present hook.
        hook: PathBuf,
        /// The kept one.
        kept: PathBuf,
    },
    /// The hooks are made by Husky, which would overwrite it.
    Husky(PathBuf),
    /// The hooks are those of all repositories.
    Shared {
        /// Where they are.
        hooks: PathBuf,
        /// For whom, as git calls it: `global` or `system`.
        scope: String,
        /// Where those of this repository alone could be.
        own: PathBuf,
    },
    /// A file could not be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(error @ GitError::NotRun(_)) => error.fmt(f),
            Self::Git(error) => {
                write!(f, "{error}; run this in the working tree that is to be guarded")
            }
            Self::Changed(hook) => write!(
                f,
                "{} is the guard with changes that are not its own: edit it yourself, or remove it \
                 and install the guard again",
                hook.display()
            ),
            Self::InTheWay { hook, kept } => write!(
                f,
                "{} is another hook now, and {} is still there from before the guard: keep one of \
                 them, as {0}, and remove the other",
                hook.display(),
                kept.display()
            ),
            Self::Husky(dir) => write!(
                f,
                "Husky writes the hooks in {}: add the line `slm-mesh guard check --quiet` to its \
                 pre-commit hook instead",
                dir.display()
            ),
            Self::Shared { hooks, scope, own } => write!(
                f,
                "core.hooksPath is set for all repositories ({scope}), to {}: run this with `--global` \
                 to have the guard there for all of them, or first give this repository hooks of its \
                 own, with `git config core.hooksPath '{}'`",
                hooks.display(),
                own.display()
            ),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for InstallError {}

impl From<GitError> for InstallError {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

/// Puts the guard, which runs `program`, into the repository of `dir`; into hooks that all repositories
/// share only if `global` is set. A hook that is there is kept beside it and run first. Done already is
/// done.
///
/// # Errors
/// See [`InstallError`]; nothing has changed then.
pub fn install(
    dir: &Path,
    program: &Path,
    data_dir: Option<&Path>,
    global: bool,
) -> Result<Installed, InstallError> {
    let top = git::top(dir)?;
    let hooks = git::hooks_dir(&top)?;
    if is_husky(&hooks) {
        return Err(InstallError::Husky(hooks));
    }
    if let Some(scope) = shared_scope(&top).filter(|_| !global) {
        let own = git::shared_hooks_dir(&top)?;
        return Err(InstallError::Shared { hooks, scope, own });
    }
    let installed = put(&hooks, program, data_dir)?;
    let trees = status(dir)?.trees;
    let unreached = trees.into_iter().filter(|tree| tree.state != State::Guarded).collect();
    Ok(Installed { unreached, ..installed })
}

fn put(hooks: &Path, program: &Path, data_dir: Option<&Path>) -> Result<Installed, InstallError> {
    let unreached = Vec::new();
    let (hook, kept) = places(hooks);
    let wanted = script::text(program, data_dir);
    match read(&hook)? {
        Some(present) => match script::owner(&present) {
            Owner::Guard if present == wanted && is_executable(&hook) => {
                let kept = exists(&kept).then_some(kept);
                return Ok(Installed { hook, already: true, kept, unreached });
            }
            Owner::Guard => {}
            Owner::Changed => return Err(InstallError::Changed(hook)),
            Owner::Other if exists(&kept) => return Err(InstallError::InTheWay { hook, kept }),
            Owner::Other => {
                let new = write_beside(&hook, &wanted)?;
                rename(&hook, &kept).inspect_err(|_| drop(fs::remove_file(&new)))?;
                rename(&new, &hook)?;
                return Ok(Installed { hook, already: false, kept: Some(kept), unreached });
            }
        },
        None => fs::create_dir_all(hooks).map_err(at(hooks))?,
    }
    let new = write_beside(&hook, &wanted)?;
    rename(&new, &hook)?;
    let kept = exists(&kept).then_some(kept);
    Ok(Installed { hook, already: false, kept, unreached })
}

/// Takes the guard out of the repository of `dir`; the hook that was there before it is there again.
///
/// # Errors
/// See [`InstallError`]; nothing has changed then.
pub fn uninstall(dir: &Path) -> Result<Uninstalled, InstallError> {
    let hooks = git::hooks_dir(&git::top(dir)?)?;
    let (hook, kept) = places(&hooks);
    let present = read(&hook)?;
    match present.as_deref().map(script::owner) {
        Some(Owner::Changed) => return Err(InstallError::Changed(hook)),
        Some(Owner::Other) => {
            return Ok(Uninstalled { hook, absent: true, restored: false });
        }
        Some(Owner::Guard) | None => {}
    }
    let restored = exists(&kept);
    if restored {
        // Over the guard, so that there is a hook at every moment.
        rename(&kept, &hook)?;
    } else if present.is_some() {
        fs::remove_file(&hook).map_err(at(&hook))?;
    }
    Ok(Uninstalled { hook, absent: present.is_none(), restored })
}

pub(super) fn places(hooks: &Path) -> (PathBuf, PathBuf) {
    (hooks.join(HOOK), hooks.join(format!("{HOOK}{KEPT_SUFFIX}")))
}

/// What the hook has in it; none if there is no hook. One that leads nowhere is a hook, too.
pub(super) fn read(hook: &Path) -> Result<Option<Vec<u8>>, InstallError> {
    match read_bounded(hook, SETUP_FILE_BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(exists(hook).then(Vec::new)),
        Err(error) => Err(at(hook)(error)),
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 == 0o111)
}

/// Writes an executable file that is to take the place of `hook`.
fn write_beside(hook: &Path, text: &[u8]) -> Result<PathBuf, InstallError> {
    let new = hook.with_file_name(format!("{HOOK}.new-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&new).and_then(
        |mut file| {
            file.write_all(text)?;
            // The umask may have taken bits away.
            file.set_permissions(Permissions::from_mode(0o755))
        },
    );
    match written {
        Ok(()) => Ok(new),
        Err(error) => {
            if error.kind() != io::ErrorKind::AlreadyExists {
                let _ = fs::remove_file(&new);
            }
            Err(at(&new)(error))
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), InstallError> {
    fs::rename(from, to).map_err(at(to))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    |error| InstallError::File { path, error }
}
