//! Groups: messages to the peers of a repository, of a directory, of a topic, or to all.

use super::Mesh;
use super::roster::in_scope;
use super::turn::Failure;
use super::who::Actor;
use crate::api::{Code, GitPlace, Place, Refusal, Scope};
use crate::model::{PeerId, PeerRecord};
use crate::names;
use crate::store::Store;

/// Several peers that a message can be sent to at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group<'a> {
    /// Every present peer.
    All,
    /// Those of the sender's repository.
    Repo,
    /// Those of the sender's directory.
    Directory,
    /// Those that subscribed to this topic, which is written with its `#`.
    Topic(&'a str),
}

impl<'a> Group<'a> {
    /// The group that `text` names, if it names one.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        match text {
            all if all.eq_ignore_ascii_case(names::ALL) => Some(Self::All),
            repo if repo.eq_ignore_ascii_case(names::REPO) => Some(Self::Repo),
            directory if directory.eq_ignore_ascii_case(names::DIRECTORY) => Some(Self::Directory),
            topic if topic.starts_with(names::TOPIC) => Some(Self::Topic(topic)),
            _ => None,
        }
    }

    /// How it is written.
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::All => names::ALL,
            Self::Repo => names::REPO,
            Self::Directory => names::DIRECTORY,
            Self::Topic(topic) => topic,
        }
    }
}

impl<S: Store> Mesh<S> {
    /// The present peers of a group except the sender. `place` is where the sender is, unless it is a
    /// peer.
    pub(super) fn members(
        &self,
        group: &Group<'_>,
        actor: &Actor,
        place: &Place,
    ) -> Result<Vec<PeerId>, Failure> {
        let me = actor.party.peer();
        let record = me.and_then(|id| self.peers.get(&id)).map(|present| &present.record);
        let scope = match group {
            Group::All | Group::Topic(_) => Scope::Mesh,
            Group::Directory => {
                let path = record.map(|record| &record.project_path);
                let Some(path) = path.or(place.project_path.as_ref()) else {
                    return Err(nowhere(names::DIRECTORY, "`projectPath`"));
                };
                Scope::Directory { project_path: path.clone() }
            }
            Group::Repo => {
                let git = record.map_or_else(
                    || place.git.clone(),
                    |record| GitPlace {
                        git_root: record.git_root.clone(),
                        repo_id: record.repo_id.clone(),
                        repo_hash: record.repo_hash,
                    },
                );
                if git == GitPlace::default() {
                    return Err(match record {
                        Some(_) => no_repository(),
                        None => nowhere(names::REPO, "`repoId` or `gitRoot`"),
                    });
                }
                Scope::Repo(git)
            }
        };
        let home = self.home_of(&actor.party);
        let is_member = |record: &PeerRecord| match group {
            Group::Topic(topic) => record.subscriptions.iter().any(|it| **it == **topic),
            _ => in_scope(record, &scope, home),
        };
        let others = self.peers.iter().filter(|(id, _)| Some(**id) != me);
        Ok(others.filter(|(_, it)| is_member(&it.record)).map(|(id, _)| *id).collect())
    }
}

fn nowhere(group: &str, fields: &str) -> Failure {
    let message = format!(
        "`toPeer`: `{group}` is that of the sender, and nothing is known of where you are: send \
         {fields} too, or to a peer, a `#topic` or `all`"
    );
    Refusal::new(Code::InvalidRequest, message).into()
}

fn no_repository() -> Failure {
    let message = "`toPeer`: you are in no git repository, so `repo` reaches nobody: send to \
                   `directory`, a peer, a `#topic` or `all`";
    Refusal::new(Code::InvalidRequest, message).into()
}
