//! Peers: what they are called, what lists say of them, and that nobody acts for one that has left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use slm_mesh::api::{PeerInfo, PeerStatus, Reply};
use slm_mesh::model::{PeerId, reach};
use slm_mesh::store::Store;

use super::Oracle;
use crate::generate::Known;
use crate::world::{Action, Answer, Backend, Home, Seen, Token, World};

/// Who is here, as far as clients can tell.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// What each was told last that it is called.
    names: BTreeMap<PeerId, String>,
    /// Those that have left and have not come back.
    left: BTreeSet<PeerId>,
    /// Those that leave in the turn that is looked at.
    leaving: BTreeSet<PeerId>,
    /// Those that may have left unseen.
    may_have_left: BTreeSet<PeerId>,
}

impl Roster {
    pub(super) fn has_left(&self, peer: PeerId) -> bool {
        self.left.contains(&peer)
    }
}

impl Oracle {
    /// Takes into account who has come and left, before what was answered is looked at.
    pub(super) fn come_and_go(&mut self, action: &Action, seen: &Seen, known: &Known) {
        let roster = &mut self.roster;
        roster.left.append(&mut roster.leaving);
        let answers = seen.answers.iter().map(|(_, answer)| answer);
        let answers = answers.chain(seen.late.iter().map(|(.., answer)| answer));
        let came: BTreeSet<PeerId> = answers
            .filter_map(|answer| match answer {
                Answer::Reply(Reply::Registered(registered)) => Some(registered.peer_id),
                _ => None,
            })
            .collect();
        roster.left.retain(|id| !came.contains(id));
        roster.may_have_left.retain(|id| !came.contains(id));
        roster.may_have_left.extend(&seen.departed);
        roster.leaving.extend(seen.departed.iter().filter(|id| !came.contains(id)));
        roster.names.retain(|id, _| !seen.departed.contains(id));
        if seen.down {
            roster.may_have_left.extend(known.clients.iter().map(|client| client.id));
        }
        if seen.down && !matches!(action, Action::Restart { .. }) {
            // A broker that was killed may have let somebody in, or given a name, unseen.
            roster.names.clear();
            roster.left.clear();
            roster.leaving.clear();
        }
    }

    /// A peer was told what it is called.
    pub(super) fn named(&mut self, peer: PeerId, name: &str) {
        self.roster.names.insert(peer, name.to_owned());
    }

    /// A peer was given another name.
    pub(super) fn renamed(&mut self, token: &Token, body: &Value, known: &mut Known) {
        self.met.insert("renamed".to_owned());
        let is_it = |id, owner: &str| match token {
            Token::Peer(token, _) => owner == token,
            Token::Person(_) => body["peerId"].as_str().and_then(PeerId::parse) == Some(id),
        };
        let name = body["name"].as_str().unwrap();
        if let Some(client) = known.clients.iter_mut().find(|it| is_it(it.id, &it.token)) {
            name.clone_into(&mut client.name);
            let id = client.id;
            self.named(id, name);
        } else {
            // It was called by a name or a prefix, and may be anyone.
            self.roster.names.clear();
        }
    }

    /// A list has the peers of its scope, or those with the ids that it is for, each once, and says
    /// where each is.
    pub(super) fn list(&mut self, peers: &[PeerInfo], home: Home, body: &Value, known: &Known) {
        let ids = body["ids"].as_array().into_iter().flatten();
        let ids: BTreeSet<PeerId> = ids.filter_map(|id| PeerId::parse(id.as_str()?)).collect();
        let by_id = !ids.is_empty();
        let listed: BTreeSet<PeerId> = peers.iter().map(|peer| peer.id).collect();
        assert_eq!(listed.len(), peers.len(), "each is listed once");
        if by_id {
            assert!(listed.is_subset(&ids), "only these were asked for");
            let unsure = &self.roster.may_have_left;
            let here = |id: &PeerId| known.home_of(*id).is_some() && !unsure.contains(id);
            let missing: Vec<_> =
                ids.iter().filter(|id| here(id) && !listed.contains(id)).collect();
            assert!(missing.is_empty(), "{missing:?} are here");
            self.met.insert("a list by ids".to_owned());
        }
        let scope = body["scope"].as_str().unwrap_or("machine");
        let is_near_scope = ["machine", "directory"].contains(&scope);
        let is_lookup = !body["agentPids"].is_null() || !body["sessionId"].is_null();
        let (project, root) = (body["projectPath"].as_str(), body["gitRoot"].as_str());
        for peer in peers {
            let has_left = peer.status == PeerStatus::Left;
            assert_eq!(has_left, peer.left_at.is_some(), "{} has left", peer.name);
            assert!(!has_left || by_id || body["includeDeparted"] == true, "{} is here", peer.name);
            if has_left {
                self.met.insert("a list with who has left".to_owned());
            }
            assert!(has_left || body["unread"] != true || peer.unread.is_some(), "is counted");
            if scope == "directory" && !by_id {
                // Compared by their parts: a mesh takes `/w/./` for `/w`.
                let same = Path::new(project.unwrap()) == Path::new(&*peer.project_path);
                assert!(same, "{} is in {}", peer.name, peer.project_path);
                self.met.insert(format!("a list of {}", peer.project_path));
            }
            let only_root = body["repoId"].is_null() && body["repoHash"].is_null();
            if scope == "repo" && !by_id && only_root {
                let same = peer.git_root.as_deref().map(Path::new) == root.map(Path::new);
                assert!(same, "{} is in {:?}", peer.name, peer.git_root);
            }
            let Some(of) = known.home_of(peer.id) else { continue };
            // Who is looked up by session or process is here.
            let near = !by_id && (is_near_scope || (is_lookup && !has_left));
            assert!(of == home || !near, "{} is not on {home:?}", peer.name);
            assert!(of == home || peer.uds_path.is_none(), "the socket of {}", peer.name);
            let said = peer.host.map(|host| Some(host).filter(|it| it.as_str() != "hub"));
            assert!(said.is_none_or(|said| said == of), "{} is on {of:?}: {said:?}", peer.name);
            if of != home {
                self.met.insert("a list of all machines".to_owned());
            }
        }
        let here = |peer: &&PeerInfo| ![PeerStatus::Away, PeerStatus::Left].contains(&peer.status);
        for peer in peers.iter().filter(here).filter(|peer| self.with_hooks.contains(&peer.id)) {
            let told = [reach::WAKES, reach::NEXT_TURN].contains(&&*peer.reach);
            assert!(told, "{} has hooks: {}", peer.name, peer.reach);
        }
        if peers.iter().any(|peer| peer.status == PeerStatus::Away) {
            self.met.insert("away".to_owned());
        }
    }

    /// Each is called what it was told.
    pub(crate) fn check_names<B: Backend>(&self, world: &mut World<B>) {
        for record in world.mesh().store_mut().present_peers().unwrap() {
            let told = self.roster.names.get(&record.id);
            assert!(told.is_none_or(|told| **told == *record.name), "{told:?}: {}", record.name);
        }
    }
}
