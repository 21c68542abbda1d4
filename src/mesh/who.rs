//! Who is meant and who is calling: names, prefixes, labels, and what a token allows.

use super::Mesh;
use super::rate_limit::Lane;
use super::turn::Caller;
use crate::api::{Code, Refusal, refuse};
use crate::limits::ID_PREFIX_CHARS_MIN;
use crate::model::{MachineName, Now, Party, PeerId, Recipient};
use crate::names;
use crate::store::Store;

type Result<T> = std::result::Result<T, Refusal>;

/// What is asked for in the name of a peer, which may be private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Only its own token: sending, marking read, unlocking ...
    Speak,
    /// The person too: looking, and ending it.
    Oversee,
}

/// Someone who acts.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) party: Party,
    pub(super) name: Box<str>,
}

impl<S: Store> Mesh<S> {
    /// Who has this token on the machine that it came from (none: the hub's own): one of its present
    /// peers, or nobody known.
    #[must_use]
    pub fn authenticate(&self, token: &str, from: Option<MachineName>) -> Caller {
        let hash = hash_token(token);
        match self.tokens.get(&hash) {
            Some(id) if self.machine_of(*id) == from => Caller::Peer(*id),
            _ => Caller::Unknown { hash, from },
        }
    }

    /// The machine that a present peer is on; none for the hub's own, and for a peer that is not present.
    #[must_use]
    pub fn machine_of(&self, peer: PeerId) -> Option<MachineName> {
        self.peers.get(&peer).and_then(|present| present.record.host)
    }

    /// The machine that someone is on.
    pub(super) fn home_of(&self, party: &Party) -> Option<MachineName> {
        party.peer().map_or_else(|| party.machine(), |id| self.machine_of(id))
    }

    /// The machine that a request comes from.
    pub(super) fn home(&self, caller: Caller) -> Option<MachineName> {
        match caller {
            Caller::Broker => None,
            Caller::Operator(machine) => Some(machine),
            Caller::Peer(id) => self.machine_of(id),
            Caller::Unknown { from, .. } => from,
        }
    }

    /// The person at a command line that `text` names for someone on the machine `home`: `cli` is the
    /// one of that machine, `cli@NAME` that of another.
    fn person(&self, text: &str, home: Option<MachineName>) -> Result<Option<Party>> {
        if text.eq_ignore_ascii_case("cli") {
            return Ok(Some(Party::cli_of(home)));
        }
        match text.split_once('@') {
            Some((who, machine)) if who.eq_ignore_ascii_case("cli") => {
                self.machine_called(machine).map(|machine| Some(Party::cli_of(machine)))
            }
            _ => Ok(None),
        }
    }

    /// The script that `text` names for someone on the machine `home`, if it is the name of one.
    fn script(&self, text: &str, home: Option<MachineName>) -> Option<Party> {
        let (name, machine) = match text.split_once('@') {
            Some((name, machine)) => (name, self.machine_called(machine).ok()?),
            None => (text, home),
        };
        names::check(name).ok()?;
        Some(Party::Label(match machine {
            Some(machine) => format!("{name}@{machine}").into(),
            None => name.into(),
        }))
    }

    /// The present peer that `text` names: by id, by name, by an unambiguous prefix of its id.
    pub(super) fn find_peer(&self, text: &str) -> Result<Option<PeerId>> {
        if let Some(id) = PeerId::parse(text) {
            return Ok(self.peers.contains_key(&id).then_some(id));
        }
        if let Some(id) = self.names.get(&names::key(text)) {
            return Ok(Some(*id));
        }
        let prefix = text.to_ascii_lowercase();
        let is_prefix = prefix.len() >= ID_PREFIX_CHARS_MIN
            && prefix.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if !is_prefix {
            return Ok(None);
        }
        let mut found = self.peers.keys().filter(|id| id.to_string().starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => refuse(
                Code::AmbiguousPeer,
                format!("`{text}` begins the ids of several peers: give more of it, or a name"),
            ),
            (first, _) => Ok(first.copied()),
        }
    }

    /// Someone who is here and whom a message can be sent to, as someone on the machine `home` names
    /// them.
    pub(super) fn find_recipient(
        &self,
        text: &str,
        home: Option<MachineName>,
    ) -> Result<Option<Recipient>> {
        match self.person(text, home)? {
            Some(person) => Ok(person.inbox()),
            None => Ok(self.find_peer(text)?.map(Recipient::Peer)),
        }
    }

    /// Someone whose messages are looked for: need not be present.
    pub(super) fn correspondent(&self, text: &str, home: Option<MachineName>) -> Result<Party> {
        if let Some(person) = self.person(text, home)? {
            return Ok(person);
        }
        Ok(match self.find_peer(text)? {
            Some(id) => Party::Peer(id),
            None => PeerId::parse(text)
                .map(Party::Peer)
                .or_else(|| self.script(text, home))
                .unwrap_or_else(|| Party::parse(text)),
        })
    }

    /// Who acts in a request, given what its `peerId` or `fromPeer` says; `field` is its name.
    pub(super) fn actor(
        &self,
        caller: Caller,
        given: Option<&str>,
        field: &str,
        right: Right,
    ) -> Result<Actor> {
        let home = self.home(caller);
        let party = match (caller, given) {
            (Caller::Peer(me), None) => Party::Peer(me),
            (Caller::Peer(me), Some(text)) => {
                if self.find_peer(text)? != Some(me) {
                    let message =
                        format!("this token acts for its own peer only, not for `{text}`");
                    return refuse(Code::Forbidden, message);
                }
                Party::Peer(me)
            }
            (_, None) => {
                return refuse(
                    Code::InvalidRequest,
                    format!("`{field}` is missing: it must be a peer, `cli`, or a label"),
                );
            }
            (_, Some(text)) => match self.person(text, home)? {
                Some(person) => person,
                None => match self.find_peer(text)? {
                    Some(id) => Party::Peer(id),
                    None => self.script(text, home).ok_or_else(|| not_found(text))?,
                },
            },
        };
        let name: Box<str> = match &party {
            Party::Peer(id) => {
                let Some(present) = self.peers.get(id) else { return Err(not_found("this peer")) };
                present.record.name.clone()
            }
            other => other.to_string().into(),
        };
        if party.peer().is_none_or(|id| caller != Caller::Peer(id)) {
            self.check_right(caller, (&party, &name), right)?;
        }
        Ok(Actor { party, name })
    }

    /// Checks whether someone else may act in the name of this party. The person on a machine may act for
    /// its peers and scripts; the person at the hub may oversee those of all machines.
    fn check_right(
        &self,
        caller: Caller,
        (party, name): (&Party, &str),
        right: Right,
    ) -> Result<()> {
        let oversees = right == Right::Oversee;
        let is_near = self.home_of(party) == self.home(caller);
        let may = is_near || (oversees && caller == Caller::Broker);
        if !may {
            return refuse(
                Code::Forbidden,
                format!("{name} is on another machine: only that one may do this in its name"),
            );
        }
        let present = party.peer().and_then(|id| self.peers.get(&id));
        if present.is_some_and(|present| present.record.private) && !oversees {
            return refuse(
                Code::Forbidden,
                format!("{name} speaks for itself: only its own token may do this in its name"),
            );
        }
        Ok(())
    }

    /// Who acts in a request, and counts the request against the actor's rate; if nobody may act, against
    /// the caller's.
    pub(super) fn acting(
        &mut self,
        caller: Caller,
        given: Option<&str>,
        field: &str,
        right: Right,
    ) -> Result<Actor> {
        let actor = self.actor(caller, given, field, right);
        self.count(caller, actor.as_ref().ok().map(|actor| &actor.party))?;
        actor
    }

    /// The same for a request that only peers can make.
    pub(super) fn acting_peer(
        &mut self,
        caller: Caller,
        given: Option<&str>,
        right: Right,
    ) -> Result<PeerId> {
        let actor = self.acting(caller, given, "peerId", right)?;
        actor.party.peer().ok_or_else(|| not_found(given.unwrap_or_default()))
    }

    /// Counts a request that the shell refuses before the mesh sees it.
    ///
    /// # Errors
    /// There were too many.
    pub fn count_refused(&mut self, caller: Caller, now: Now) -> Result<()> {
        self.now = now;
        self.count(caller, None)
    }

    /// Counts a request against the rate of its actor, or else of its caller.
    pub(super) fn count(&mut self, caller: Caller, actor: Option<&Party>) -> Result<()> {
        let lane = match (actor, caller) {
            (Some(Party::Peer(id)), _) if self.of_hook => Lane::Hook(*id),
            (None, Caller::Peer(id)) if self.of_hook => Lane::Hook(id),
            (None, Caller::Broker | Caller::Operator(_)) if self.of_hook => {
                Lane::Lookup(self.home(caller))
            }
            (Some(Party::Peer(id)), _) => Lane::Peer(*id),
            (None, Caller::Peer(id)) => Lane::Peer(id),
            _ => Lane::Shared(self.home(caller)),
        };
        self.rates.take(lane, self.now.mono)
    }
}

/// What is kept of a token.
pub(super) fn hash_token(token: &str) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(token.as_bytes()).into()
}

/// No such peer.
pub(super) fn not_found(text: &str) -> Refusal {
    Refusal::new(
        Code::PeerNotFound,
        format!("no peer `{text}` is here: list the peers to see who is"),
    )
}
