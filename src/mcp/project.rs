//! Who this session is: its project, its repository, its agent.

use std::path::{Path, PathBuf};

use crate::agent::{above, git, variables};
use crate::agents::Said;
use crate::api::Register;
use crate::limits::PATH_BYTES_MAX;
use crate::model::RepoHash;

/// Where the agent works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Project {
    /// An absolute path.
    pub(super) path: PathBuf,
    /// The repository it is in.
    pub(super) repository: Option<git::Repository>,
}

impl Project {
    /// The project in `path`. Reached by a link, it is the one that the link leads to.
    pub(super) fn at(path: PathBuf) -> Self {
        let path = path.canonicalize().unwrap_or(path);
        let repository = git::repository(&path);
        Self { path, repository }
    }

    /// Where this process was started.
    pub(super) fn of_process() -> Self {
        Self::at(std::env::current_dir().unwrap_or_else(|_| "/".into()))
    }

    /// Where an agent of this type says, in a variable, that it works.
    pub(super) fn of_agent(agent: &str) -> Option<Self> {
        let said = variables::said(agent, Said::Project).map(PathBuf::from)?;
        said.is_absolute().then(|| Self::at(said))
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

    /// What all clones of the repository have in common.
    pub(super) fn repository_hash(&self) -> Option<RepoHash> {
        self.repository.as_ref().and_then(|repository| repository.hash)
    }
}

/// A path as text; none if the broker would not take it.
fn text_of(path: &Path) -> Option<Box<str>> {
    path.to_str().filter(|path| path.len() <= PATH_BYTES_MAX).map(Into::into)
}

/// The registration of a session of an agent of this type, without what only its connection knows.
pub(super) fn introduction(project: &Project, agent_type: &str) -> Register {
    Register {
        pid: std::process::id(),
        project_path: project.path_text(),
        agent_type: Some(agent_type.into()),
        git_root: project.git_root(),
        git_branch: project.git_branch(),
        repo_id: project.repository_id(),
        repo_hash: project.repository_hash(),
        session_id: variables::session(agent_type),
        agent_pid: above::above(std::process::id()).agent_pid(agent_type),
        private: true,
        acks: true,
        ..Register::default()
    }
}
