//! Where a command is run.

use std::path::PathBuf;

use super::{Failure, Result};
use crate::agent::git;
use crate::api::GitPlace;

/// The working directory.
pub(super) fn working_directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| {
        Failure::other("no_directory", format!("the working directory cannot be read: {error}"))
    })
}

/// The working directory, as peers are registered with theirs.
pub(super) fn directory() -> Result<Box<str>> {
    Ok(working_directory()?.to_string_lossy().into())
}

/// The repository that we are in.
pub(super) fn repository() -> Result<GitPlace> {
    let here = working_directory()?;
    let Some(repository) = git::repository(&here) else {
        let message = format!("{} is in no git repository", here.display());
        return Err(Failure::other("no_repository", message));
    };
    Ok(GitPlace {
        git_root: Some(repository.root.to_string_lossy().into()),
        repo_id: Some(repository.id.into()),
        repo_hash: repository.hash,
    })
}
