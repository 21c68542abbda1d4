//! Questions to git. It is run with our own environment, since in a hook git uses that to say which
//! repository and index are meant (`GIT_DIR`, `GIT_INDEX_FILE`; githooks(5)).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why git gave no answer.
#[derive(Debug)]
pub enum GitError {
    /// It cannot be run.
    NotRun(io::Error),
    /// It failed with this message.
    Refused(String),
}

impl fmt::Display for GitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(error) => write!(f, "git cannot be run: {error}"),
            Self::Refused(words) => write!(f, "git says: {words}"),
        }
    }
}

impl std::error::Error for GitError {}

/// The root of the working tree that contains `dir`.
///
/// # Errors
/// There is none, or git cannot be run.
pub fn top(dir: &Path) -> Result<PathBuf, GitError> {
    git(dir, &["rev-parse", "--show-toplevel"]).map(|bytes| path(&bytes))
}

/// The directory of the hooks that git runs for the working tree `top`: `core.hooksPath`, or the one
/// that all working trees of the repository share.
///
/// # Errors
/// Git cannot be run.
pub fn hooks_dir(top: &Path) -> Result<PathBuf, GitError> {
    // A relative path is relative to where git is run, and git runs hooks there too.
    git(top, &["rev-parse", "--git-path", "hooks"]).map(|bytes| top.join(path(&bytes)))
}

/// The directory of hooks that all working trees of the repository with `top` share, whatever
/// `core.hooksPath` says.
///
/// # Errors
/// Git cannot be run.
pub fn shared_hooks_dir(top: &Path) -> Result<PathBuf, GitError> {
    let common_dir = git(top, &["rev-parse", "--git-common-dir"])?;
    Ok(top.join(path(&common_dir)).join("hooks"))
}

/// The scope in which `core.hooksPath` is set, as git calls it (`system`, `global`, `local`, `worktree`,
/// `command`); `None` if it is not set.
#[must_use]
pub fn hooks_path_scope(top: &Path) -> Option<String> {
    let bytes = git(top, &["config", "--show-scope", "--get", "core.hooksPath"]).ok()?;
    let scope = bytes.split(|byte| *byte == b'\t').next()?;
    String::from_utf8(scope.to_vec()).ok()
}

/// The working trees of the repository of `top`, the main one first, without those whose directories are
/// gone.
///
/// # Errors
/// Git cannot be run.
pub fn working_trees(top: &Path) -> Result<Vec<PathBuf>, GitError> {
    const LIST: [&str; 3] = ["worktree", "list", "--porcelain"];
    // `-z` came with git 2.36.
    let (bytes, end) = match git(top, &["worktree", "list", "--porcelain", "-z"]) {
        Ok(bytes) => (bytes, 0),
        Err(_) => (git(top, &LIST)?, b'\n'),
    };
    let mut trees: Vec<PathBuf> = Vec::new();
    for line in bytes.split(|byte| *byte == end) {
        if let Some(tree) = line.strip_prefix(b"worktree ") {
            trees.push(OsStr::from_bytes(tree).into());
        } else if line == b"bare" {
            trees.pop();
        }
    }
    trees.retain(|tree| tree.is_dir());
    Ok(trees)
}

/// Whether the commit that is being made is a merge.
#[must_use]
pub fn is_merging(dir: &Path) -> bool {
    git(dir, &["rev-parse", "--quiet", "--verify", "MERGE_HEAD"]).is_ok()
}

/// The files in which the index differs from the last commit, relative to the root of the working tree:
/// new, changed and removed ones, and both names of a renamed one.
///
/// # Errors
/// Git cannot be run, or does not understand the index.
pub fn staged(dir: &Path) -> Result<Vec<PathBuf>, GitError> {
    let arguments = [
        "-c",
        "diff.relative=false",
        "diff",
        "--cached",
        "--name-only",
        "--no-renames",
        "--no-ext-diff",
        "--ignore-submodules=none",
        "-z",
    ];
    let bytes = git(dir, &arguments)?;
    let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsStr::from_bytes(name).into()).collect())
}

fn git(dir: &Path, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(dir)
        // Nothing here may write, not even a refreshed index.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(GitError::NotRun)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(GitError::Refused(words.trim().trim_start_matches("fatal: ").to_owned()))
}

/// The path in an answer of one line. The path itself may contain line breaks.
fn path(line: &[u8]) -> PathBuf {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    OsString::from_vec(line.to_vec()).into()
}
