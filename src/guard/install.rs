//! Puts the hook in its place and takes it out again, keeping a hook that was there before.

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

/// What installing the guard has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The hook.
    pub hook: PathBuf,
    /// The guard was already there, and has not been changed.
    pub already: bool,
    /// The hook that was there before it, and is run first.
    pub kept: Option<PathBuf>,
    /// Working trees of the repository that use other hooks, without the guard.
    pub unreached: Vec<Tree>,
}

/// What uninstalling the guard has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uninstalled {
    /// The hook.
    pub hook: PathBuf,
    /// The guard was not there.
    pub absent: bool,
    /// The previous hook is back in its place.
    pub restored: bool,
}

/// Why the hook was left alone.
#[derive(Debug)]
pub enum InstallError {
    /// Git could not say where the hooks are.
    Git(GitError),
    /// The hook is the guard, but someone has edited it.
    Changed(PathBuf),
    /// The hook is not the guard, and a hook from before the guard is still kept beside it.
    InTheWay {
        /// The current hook.
        hook: PathBuf,
        /// The kept one.
        kept: PathBuf,
    },
    /// The hooks are made by Husky, which would overwrite it.
    Husky(PathBuf),
    /// The hooks are shared by all repositories.
    Shared {
        /// Where they are.
        hooks: PathBuf,
        /// The scope, as git calls it: `global` or `system`.
        scope: String,
        /// The directory for hooks of this repository alone.
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

/// Installs the guard, which runs `program`, in the repository of `dir`; in hooks that are shared by all
/// repositories only if `global` is set. An existing hook is kept beside it and runs first. Does nothing
/// if the guard is already there.
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
    let (hook, kept) = places(hooks);
    let wanted = script::text(program, data_dir);
    let present = read(&hook)?;
    let owner = present.as_deref().map(script::owner);
    match owner {
        Some(Owner::Changed) => return Err(InstallError::Changed(hook)),
        Some(Owner::Other) if exists(&kept) => return Err(InstallError::InTheWay { hook, kept }),
        Some(Owner::Guard | Owner::Other) => {}
        None => fs::create_dir_all(hooks).map_err(at(hooks))?,
    }
    let already = present.as_ref() == Some(&wanted) && is_executable(&hook);
    if !already {
        let new = write_beside(&hook, &wanted)?;
        if owner == Some(Owner::Other) {
            rename(&hook, &kept).inspect_err(|_| drop(fs::remove_file(&new)))?;
        }
        rename(&new, &hook)?;
    }
    let kept = exists(&kept).then_some(kept);
    Ok(Installed { hook, already, kept, unreached: Vec::new() })
}

/// Removes the guard from the repository of `dir`, and restores the hook that was there before.
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

/// The contents of the hook; `None` if there is none. A dangling link counts as a hook.
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

/// Writes an executable file beside `hook`, to be renamed over it.
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
