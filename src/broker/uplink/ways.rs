//! What a relay knows of the ways to its peers: it names them to the hub after each cut, and gives a
//! peer nothing twice.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::{CONFIRMED_KEPT_MAX, FRAME_PEERS_MAX, RELAY_PUSHED_KEPT_MAX};
use crate::model::{MessageId, PeerId, Seq};
use crate::wire::frames::{EndedProcess, Here, ToHub};

/// What is known of the way to one peer.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
struct Way {
    /// Which of all the ways it is, if it stands, and whether the process is watched.
    link: Option<(u64, bool)>,
    /// The socket that the hub has named.
    path: Option<Box<str>>,
    /// The hub has taken note of this link.
    announced: bool,
    /// Ends that the hub may not know of: of the process, of the one that the peer said it is, and of
    /// its agent's.
    ended: bool,
    named_ended: bool,
    agent_ended: bool,
    /// What the hub may not know of was named on this connection.
    named: bool,
    /// Messages that this link was given, the last of them, and which of them are not acknowledged.
    pushed: VecDeque<Seq>,
    confirmed: VecDeque<MessageId>,
    written: VecDeque<Seq>,
}

/// Keeps the last of them only.
fn keep<T>(list: &mut VecDeque<T>, item: T, max: usize) {
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(item);
}

impl Way {
    fn here(&mut self, peer: PeerId) -> Option<Here> {
        let (link, process) = self.link?;
        let path = self.path.clone()?;
        let named = std::mem::replace(&mut self.named, true);
        let (confirmed, written) = if named {
            (Vec::new(), Vec::new())
        } else {
            (self.confirmed.iter().copied().collect(), self.written.iter().copied().collect())
        };
        Some(Here { peer, path, link, process, confirmed, written })
    }
}

/// What becomes of a push frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It is for the socket.
    Now,
    /// There is no way that the hub could mean.
    Nowhere,
    /// The peer has had it: what is known of that is said again.
    Before {
        /// It has acknowledged it.
        confirmed: Option<MessageId>,
        /// It was written.
        written: bool,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ways {
    peers: BTreeMap<PeerId, Way>,
    links: u64,
}

impl Ways {
    /// What is to be said of all after a cut, in this order.
    /// `got`: see [`ToHub::Peers`].
    pub(super) fn name_all(&mut self, got: Option<Vec<u64>>) -> Vec<ToHub<'static>> {
        let mut frames = Vec::new();
        let (mut here, mut ended) = (Vec::new(), Vec::new());
        for (peer, way) in &mut self.peers {
            way.named = false;
            way.announced = false;
            here.extend(way.here(*peer));
            if way.ended
                && let Some(path) = way.path.clone()
            {
                ended.push(EndedProcess { peer: *peer, path });
            }
            if way.named_ended {
                frames.push(ToHub::NamedEnded { peer: *peer });
            }
            if way.agent_ended {
                frames.push(ToHub::AgentEnded { peer: *peer });
            }
        }
        // More than any machine may have.
        here.truncate(FRAME_PEERS_MAX);
        ended.truncate(FRAME_PEERS_MAX);
        frames.insert(0, ToHub::Peers { here, ended, got });
        frames
    }

    // What happens here

    pub(super) fn up(&mut self, peer: PeerId, process: bool) -> Option<Here> {
        let way = self.peers.get_mut(&peer)?;
        self.links += 1;
        way.link = Some((self.links, process));
        way.announced = false;
        way.ended = false;
        way.pushed.clear();
        way.here(peer)
    }

    pub(super) fn down(&mut self, peer: PeerId) {
        if let Some(way) = self.peers.get_mut(&peer) {
            way.link = None;
            way.announced = false;
            way.pushed.clear();
        }
    }

    pub(super) fn process(&mut self, peer: PeerId, known: bool) {
        if let Some((_, process)) = self.peers.get_mut(&peer).and_then(|way| way.link.as_mut()) {
            *process = known;
        }
    }

    pub(super) fn ended(&mut self, peer: PeerId) {
        if let Some(way) = self.peers.get_mut(&peer) {
            way.ended = true;
        }
    }

    pub(super) fn named_ended(&mut self, peer: PeerId) {
        if let Some(way) = self.peers.get_mut(&peer) {
            way.named_ended = true;
        }
    }

    pub(super) fn agent_ended(&mut self, peer: PeerId) {
        if let Some(way) = self.peers.get_mut(&peer) {
            way.agent_ended = true;
        }
    }

    /// Gives whether that is news: of each message that the link was given there is one.
    pub(super) fn confirmed(&mut self, peer: PeerId, id: MessageId) -> bool {
        let Some(way) = self.peers.get_mut(&peer) else { return false };
        if !way.pushed.contains(&id.seq()) || way.confirmed.contains(&id) {
            return false;
        }
        keep(&mut way.confirmed, id, CONFIRMED_KEPT_MAX);
        true
    }

    pub(super) fn written(&mut self, peer: PeerId, seq: Seq) {
        if let Some(way) = self.peers.get_mut(&peer) {
            keep(&mut way.written, seq, CONFIRMED_KEPT_MAX);
        }
    }

    // What the hub says

    /// Gives whether it means the link that stands.
    pub(super) fn announced(&mut self, peer: PeerId, link: u64) -> bool {
        let Some(way) = self.peers.get_mut(&peer) else { return false };
        way.announced |= way.link.is_some_and(|(number, _)| number == link);
        way.announced
    }

    /// Takes note of a message that is to be pushed.
    pub(super) fn push(&mut self, peer: PeerId, message: Option<Seq>) -> Given {
        let Some(way) = self.peers.get_mut(&peer).filter(|way| way.announced) else {
            return Given::Nowhere;
        };
        let Some(seq) = message else { return Given::Now };
        let confirmed = way.confirmed.iter().find(|id| id.seq() == seq).copied();
        if confirmed.is_some() || way.pushed.contains(&seq) {
            return Given::Before { confirmed, written: way.written.contains(&seq) };
        }
        keep(&mut way.pushed, seq, RELAY_PUSHED_KEPT_MAX);
        Given::Now
    }

    /// The hub wants a way to this socket.
    pub(super) fn connect(&mut self, peer: PeerId, path: &str) {
        let way = self.peers.entry(peer).or_default();
        if way.path.as_deref() != Some(path) {
            way.path = Some(path.into());
            way.ended = false;
        }
    }

    /// What was known of the process is about a former one.
    pub(super) fn disconnect(&mut self, peer: PeerId) {
        if let Some(way) = self.peers.get_mut(&peer) {
            way.announced = false;
            way.ended = false;
            way.path = None;
        }
    }

    pub(super) fn watch(&mut self, peer: PeerId) {
        self.peers.entry(peer).or_default().named_ended = false;
    }

    pub(super) fn watch_agent(&mut self, peer: PeerId) {
        self.peers.entry(peer).or_default().agent_ended = false;
    }

    pub(super) fn departed(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// How many peers are known of.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }
}
