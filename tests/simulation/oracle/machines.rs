//! Machines: what one of them may ask and do, and where things are.

use serde_json::Value;
use slm_mesh::api::{Code, Detail, Endpoint, Refusal};
use slm_mesh::limits::{RATE_WINDOW, STRANGERS_PER_WINDOW};
use slm_mesh::mesh::Caller;
use slm_mesh::model::{MachineName, Monotonic, PeerId};
use slm_mesh::store::Store;

use super::Oracle;
use crate::generate::Known;
use crate::world::{Answer, Backend, Input, Seen, Token, World};

impl Oracle {
    /// Machines that were let in: no two under one name, and none that was removed.
    pub(super) fn let_in(&mut self, inputs: &[Input], seen: &Seen, known: &mut Known) {
        for input in inputs {
            let Input::Request { token: Token::Person(None), endpoint: Endpoint::Machines, body } =
                input
            else {
                continue;
            };
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            if body["action"] == "remove" {
                self.to_remove.extend(body["name"].as_str().and_then(MachineName::new));
            }
        }
        for (id, name) in &seen.admitted {
            let before = self.machines.get(id).copied();
            let Some(name) = *name else {
                let removed = before.filter(|name| self.to_remove.contains(name));
                known.remove(removed.expect("only who was removed is refused"));
                self.met.insert("a removed machine was refused".to_owned());
                continue;
            };
            assert!(!known.removed.contains(&name), "{name} was removed");
            assert!(before.is_none_or(|before| before == name), "{name} was {before:?}");
            if before.is_none() {
                let taken = self.machines.values().any(|other| *other == name);
                assert!(!taken, "two machines are called {name}");
                self.machines.insert(*id, name);
                known.machines.push(name);
            }
        }
    }

    /// What a machine is answered: nothing with a token of another, or in the name of someone there;
    /// and not that it asks too much because of others.
    pub(super) fn reach(
        &mut self,
        (token, endpoint, body): (&Token, Endpoint, &Value),
        answer: &Answer,
        known: &mut Known,
        now: Monotonic,
    ) {
        if *answer == Answer::Unsent {
            return;
        }
        let (home, given) = (token.home(), matches!(answer, Answer::Reply(_) | Answer::Held));
        while self.requests.front().is_some_and(|(at, _)| now.since(*at) >= RATE_WINDOW) {
            self.requests.pop_front();
        }
        self.requests.push_back((now, home));
        if let Answer::Refused(Refusal { detail: Detail::Lock(lock), .. }) = answer {
            let holder = lock.locked_by.peer().and_then(|id| known.home_of(id));
            if lock.file_path.starts_with("repo:") && holder.is_some_and(|of| of != home) {
                self.met.insert("locked on all machines".to_owned());
            }
        }
        let actor = body["peerId"].as_str().or(body["fromPeer"].as_str());
        if let Token::Peer(token, _) = token {
            let mut owners = known.clients.iter().filter(|client| client.token == *token);
            if owners.any(|client| client.home != home) && endpoint != Endpoint::Health {
                assert!(!given, "a token of another machine than {home:?}");
                self.met.insert("a token of another machine".to_owned());
            }
            let mut owners = known.clients.iter().filter(|client| client.token == *token);
            let is_open = [Endpoint::Health, Endpoint::Register].contains(&endpoint);
            if !is_open && owners.any(|client| self.roster.has_left(client.id)) {
                assert!(!given, "a token of a peer that has left");
                self.met.insert("a token of who has left".to_owned());
            }
            return;
        }
        let of = actor.and_then(|text| match PeerId::parse(text) {
            Some(id) => known.home_of(id),
            None => known.person(text, home),
        });
        let acts = match endpoint {
            Endpoint::Send | Endpoint::Heartbeat | Endpoint::Summary => true,
            Endpoint::State => body["action"] == "set" || body["action"] == "delete",
            Endpoint::Lock => body["action"] == "lock",
            Endpoint::Events => body["action"] != "read",
            // The person at the hub looks after all.
            Endpoint::Messages | Endpoint::Rename | Endpoint::Unregister => home.is_some(),
            _ => false,
        };
        if acts && of.is_some_and(|of| of != home) {
            assert!(!given, "{home:?} acts for {actor:?} on another machine");
            self.met.insert("in the name of another machine".to_owned());
        }
        let has_left = actor.and_then(PeerId::parse).is_some_and(|id| self.roster.has_left(id));
        if (acts || endpoint == Endpoint::Rename) && has_left {
            assert!(!given, "{actor:?} has left, and {home:?} acts for it");
            self.met.insert("in the name of who has left".to_owned());
        }
        let is_owner = home.is_none();
        assert!(!given || is_owner || endpoint != Endpoint::Machines, "machines are the hub's");
        if endpoint == Endpoint::Machines && given && body["action"] == "remove" {
            let name = body["name"].as_str().and_then(MachineName::new).unwrap();
            known.remove(name);
            self.met.insert("a machine was removed".to_owned());
        }
        // One that is named asks for itself.
        let is_peer = actor.is_some_and(|text| {
            let text = text.to_lowercase();
            known.clients.iter().any(|it| it.name == text || it.id.to_string().starts_with(&text))
        });
        if let Answer::Refused(Refusal { code: Code::RateLimited, .. }) = answer
            && of.is_none()
            && !is_peer
        {
            let own = self.requests.iter().filter(|(_, from)| *from == home).count();
            assert!(own > STRANGERS_PER_WINDOW as usize, "{home:?} pays for what others ask");
        }
    }

    /// A path is one on its machine: nobody holds another's, and what is removed with a machine is
    /// gone.
    pub(crate) fn check_machines<B: Backend>(&mut self, world: &mut World<B>, known: &Known) {
        let store = world.mesh().store_mut();
        for record in store.present_peers().unwrap() {
            assert!(!record.host.is_some_and(|of| known.is_removed(of)), "{} is here", record.name);
        }
        let locks = store.locks().unwrap();
        for lock in &locks {
            let of = lock.holder.peer().map_or(Some(lock.holder.machine()), |id| known.home_of(id));
            let Some(of) = of else { continue };
            assert!(!of.is_some_and(|of| known.is_removed(of)), "{lock:?} is held");
            assert!(lock.host == of || lock.is_repo_wide(), "{lock:?} is on another machine");
        }
        let alone: Vec<_> = locks.iter().filter(|it| !it.shared && !it.is_repo_wide()).collect();
        for (at, lock) in alone.iter().enumerate() {
            for other in alone.iter().skip(at + 1).filter(|other| other.path == lock.path) {
                assert!(other.host != lock.host, "two have {lock:?}");
                self.met.insert("one path on two machines".to_owned());
            }
        }
    }

    /// A token that has ended is nobody's, and one of another machine neither.
    pub(crate) fn check_tokens<B: Backend>(&self, world: &mut World<B>, known: &Known) {
        let ended = self.ended_tokens.iter().map(|token| (token, None));
        let living = known.clients.iter().map(|client| (&client.token, Some(client.home)));
        for (token, home) in ended.chain(living) {
            for from in known.homes().filter(|from| Some(*from) != home) {
                let caller = world.mesh().authenticate(token, from);
                assert!(matches!(caller, Caller::Unknown { .. }), "{token} from {from:?}");
            }
        }
    }
}
