//! Whether commits are guarded: in which working trees of a repository, and why not in others.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::git::{self, GitError};
use super::install::{HOOK, InstallError, places, read};
use super::script::{self, Owner};

/// How it stands with the commits of a working tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// They are guarded.
    Guarded,
    /// The guard is there, and cannot run: it may not be executed, or its program has gone.
    Broken,
    /// The guard is there with changes by someone.
    Changed,
    /// There is another hook.
    Other,
    /// There is no hook.
    None,
    /// It cannot be told: git or the file system says no.
    Unknown,
}

/// A working tree and its hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Its top.
    pub path: PathBuf,
    /// The hook that git runs for it, whether there is one or not; none if that is not known.
    pub hook: Option<PathBuf>,
    /// How it stands with that.
    pub state: State,
}

/// How it stands with a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its working trees, the main one first.
    pub trees: Vec<Tree>,
    /// Its hooks are those of all repositories of the user (`global`), or of everybody (`system`).
    pub shared: Option<String>,
}

/// How it stands with the repository of `dir`.
///
/// # Errors
/// Git could not say.
pub fn status(dir: &Path) -> Result<Status, GitError> {
    let top = git::top(dir)?;
    let trees = git::working_trees(&top)?
        .into_iter()
        .map(|path| match state_of(&path) {
            Ok((hook, state)) => Tree { path, hook: Some(hook), state },
            Err(_) => Tree { path, hook: None, state: State::Unknown },
        })
        .collect();
    Ok(Status { trees, shared: shared_scope(&top) })
}

fn state_of(top: &Path) -> Result<(PathBuf, State), InstallError> {
    let hooks = git::hooks_dir(top)?;
    if is_husky(&hooks) {
        // What Husky runs, which people write themselves.
        let hook = top.join(".husky").join(HOOK);
        let text = read(&hook)?.unwrap_or_default();
        let is_there = String::from_utf8_lossy(&text).contains("slm-mesh guard check");
        return Ok((hook, if is_there { State::Guarded } else { State::None }));
    }
    let (hook, _) = places(&hooks);
    let state = match read(&hook)? {
        None => State::None,
        Some(text) => match script::owner(&text) {
            Owner::Other => State::Other,
            Owner::Changed => State::Changed,
            Owner::Guard if can_run(&hook) && has_program(&text) => State::Guarded,
            Owner::Guard => State::Broken,
        },
    };
    Ok((hook, state))
}

/// Whether there is what the guard `text` would run: its program, or another of its name in the path.
fn has_program(text: &[u8]) -> bool {
    let in_path = |name: &str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|dir| can_run(&dir.join(name)))
    };
    script::program(text).is_some_and(|program| can_run(&program)) || in_path("slm-mesh")
}

/// Whether `core.hooksPath` is set for more than this repository, and for whom.
pub(super) fn shared_scope(top: &Path) -> Option<String> {
    git::hooks_path_scope(top).filter(|scope| matches!(&**scope, "global" | "system"))
}

pub(super) fn is_husky(hooks: &Path) -> bool {
    hooks.ends_with(".husky/_")
}

fn can_run(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}
