//! Who this session is: its project, its repository, its agent.

use std::path::{Path, PathBuf};

use crate::agent::{detect, git};
use crate::api::Register;
use crate::limits::{PATH_BYTES_MAX, TAG_CHARS_MAX};
use crate::platform;

/// Where the agent works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Project {
    /// An absolute path.
    pub(super) path: PathBuf,
    /// The repository it is in.
    pub(super) repository: Option<git::Repository>,
}

impl Project {
    /// The project in `path`.
    pub(super) fn at(path: PathBuf) -> Self {
        let repository = git::repository(&path);
        Self { path, repository }
    }

    /// Where this process was started, unless the agent says otherwise.
    pub(super) fn of_process() -> Self {
        let named = std::env::var_os("CLAUDE_PROJECT_DIR").map(PathBuf::from);
        let path = named
            .filter(|path| path.is_absolute())
            .or_else(|| std::env::current_dir().ok())
            .unwrap_or_else(|| "/".into());
        Self::at(path)
    }

    /// Reads the repository again: another branch may be checked out now.
    pub(super) fn refresh(&mut self) {
        self.repository = git::repository(&self.path);
    }

    /// The path as the broker takes it.
    pub(super) fn path_text(&self) -> Box<str> {
        text_of(&self.path).unwrap_or_else(|| "/".into())
    }

    /// Root of the git work tree.
    pub(super) fn git_root(&self) -> Option<Box<str>> {
        self.repository.as_ref().and_then(|repository| text_of(&repository.root))
    }

    /// The branch checked out.
    pub(super) fn git_branch(&self) -> Option<Box<str>> {
        self.repository.as_ref().and_then(|repository| repository.branch.as_deref()).map(Into::into)
    }

    /// What all work trees of the repository have in common.
    pub(super) fn repository_id(&self) -> Option<Box<str>> {
        self.repository.as_ref().map(|repository| repository.id.as_str().into())
    }
}

/// A path as text; none if the broker would not take it.
fn text_of(path: &Path) -> Option<Box<str>> {
    path.to_str().filter(|path| path.len() <= PATH_BYTES_MAX).map(Into::into)
}

/// What a session is registered with, but for what only its connection knows.
pub(super) fn introduction(project: &Project, client: Option<&str>) -> Register {
    let agent_type = detect::agent_type(client);
    // Another agent that runs inside of Claude Code inherits its variables; Codex tells its own id.
    let session_id = std::env::var("CLAUDE_CODE_SESSION_ID").ok().filter(|_| agent_type != "codex");
    Register {
        pid: std::process::id(),
        project_path: project.path_text(),
        agent_type: Some(agent_type.into()),
        git_root: project.git_root(),
        git_branch: project.git_branch(),
        repo_id: project.repository_id(),
        session_id: session_id
            .filter(|id| (1..=TAG_CHARS_MAX).contains(&id.chars().count()))
            .map(Into::into),
        agent_pid: platform::parent(),
        private: true,
        acks: true,
        ..Register::default()
    }
}
