//! In which working trees of a repository commits are guarded, and why not in the others.

use std::env;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::git::{self, GitError};
use super::install::{HOOK, InstallError, places, read};
use super::script::{self, Owner};
use crate::platform::is_program;

/// Whether the commits of a working tree are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// They are guarded.
    Guarded,
    /// The guard is there but cannot run: it is not executable, or its program is gone.
    Broken,
    /// The guard is there, but someone has edited it.
    Changed,
    /// There is another hook.
    Other,
    /// There is no hook.
    None,
    /// Unknown: git or the file system gave an error.
    Unknown,
}

/// A working tree and its hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Its root directory.
    pub path: PathBuf,
    /// The path of the hook that git runs for it, whether it exists or not; `None` if unknown.
    pub hook: Option<PathBuf>,
    /// Whether it is guarded.
    pub state: State,
}

/// The state of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its working trees, the main one first.
    pub trees: Vec<Tree>,
    /// The scope of its hooks, if they are shared by all repositories of the user (`global`) or of the
    /// machine (`system`).
    pub shared: Option<String>,
}

/// The state of the repository of `dir`.
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
            Owner::Guard if is_program(&hook) && has_program(&text) => State::Guarded,
            Owner::Guard => State::Broken,
        },
    };
    Ok((hook, state))
}

/// Whether the program that the guard `text` runs exists, there or under its name on `PATH`.
fn has_program(text: &[u8]) -> bool {
    let in_path = |name: &str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|dir| is_program(&dir.join(name)))
    };
    script::program(text).is_some_and(|program| is_program(&program)) || in_path("slm-mesh")
}

/// The scope of `core.hooksPath`, if it is set for more than this repository.
pub(super) fn shared_scope(top: &Path) -> Option<String> {
    git::hooks_path_scope(top).filter(|scope| matches!(&**scope, "global" | "system"))
}

pub(super) fn is_husky(hooks: &Path) -> bool {
    hooks.ends_with(".husky/_")
}
