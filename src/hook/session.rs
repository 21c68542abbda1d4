//! Which peer a hook, or a command that an agent runs, acts for. That is decided by the session id that
//! the agent gives, together with the type of the agent, and then by the agent's place among the
//! processes above. If two peers could be meant, neither is taken.

use std::path::{Path, PathBuf};

use crate::agent::above::{self, Above};
use crate::agent::{codex, variables};
use crate::agents::{self, Agent};
use crate::api::{ListPeers, PeerInfo, PeersReply, Request};
use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::files::read_bounded;
use crate::limits::TAG_CHARS_MAX;
use crate::model::Party;
use crate::platform;

/// The maximum size of a token file, in bytes.
const TOKEN_BYTES_MAX: usize = 1024;

/// The peer whose session this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This peer.
    One(Box<PeerInfo>),
    /// Possibly one of these, but which one, if any, cannot be determined.
    Several(Vec<PeerInfo>),
    /// No peer is known to have it, but one of these still might.
    Nobody(Vec<PeerInfo>),
}

impl Found {
    /// The peer, if it is certain.
    #[must_use]
    pub fn one(&self) -> Option<&PeerInfo> {
        if let Self::One(peer) = self { Some(peer) } else { None }
    }

    /// All peers that it may be.
    #[must_use]
    pub fn possible(&self) -> &[PeerInfo] {
        match self {
            Self::One(peer) => std::slice::from_ref(peer),
            Self::Several(peers) | Self::Nobody(peers) => peers,
        }
    }

    /// Whether it may be `party`.
    #[must_use]
    pub fn may_be(&self, party: &Party) -> bool {
        party.peer().is_some_and(|id| self.possible().iter().any(|peer| peer.id == id))
    }

    fn of(peers: Vec<PeerInfo>) -> Self {
        match <[PeerInfo; 1]>::try_from(peers) {
            Ok([peer]) => Self::One(Box::new(peer)),
            Err(peers) if peers.is_empty() => Self::Nobody(peers),
            Err(peers) => Self::Several(peers),
        }
    }
}

/// What is known about the caller.
#[derive(Clone, Debug, Default)]
pub struct Asker<'a> {
    /// The agent's name for its session.
    pub session: Option<&'a str>,
    /// The type of the agent. A peer of another type is not its session.
    pub agent: Option<&'a str>,
    /// Where the agent works.
    pub cwd: Option<&'a Path>,
    /// The session id comes from a variable, which may be inherited from an agent further up.
    pub inherited: bool,
    /// The session has just begun in the agent's process, which may have had another one before.
    pub begins: bool,
}

/// The agent that runs this process as a command, in its shell tool. The agent's variables and the
/// processes above have to agree on that.
#[must_use]
pub fn agent_of_command() -> Option<&'static Agent> {
    let agent = above::above(std::process::id()).nearest?.agent;
    variables::is_of_commands(agent).then_some(agent)
}

/// The session of the agent above, if there is one, for a command that is run in it.
///
/// # Errors
/// Any [`ClientError`].
pub fn find_of_command(client: &mut Client, cwd: Option<&Path>) -> Result<Found, ClientError> {
    let agent = above::above(std::process::id()).nearest.map(|nearest| nearest.agent.agent_type);
    let session = agent.and_then(variables::session);
    let session = session.as_deref();
    find(client, &Asker { session, agent, cwd, inherited: true, begins: false })
}

/// The peer of the session of `asker`.
///
/// # Errors
/// Any [`ClientError`].
pub fn find(client: &mut Client, asker: &Asker<'_>) -> Result<Found, ClientError> {
    let mut search = Search { client, asker, above: above::above(std::process::id()) };
    let session = asker.session.filter(|session| is_id(session));
    if asker.begins && !search.is_shared() {
        let found = search.by_process(session)?;
        if found.one().is_some() {
            return Ok(found);
        }
    }
    if let Some(session) = session {
        let named =
            search.ask(ListPeers { session_id: Some(session.into()), ..ListPeers::default() })?;
        // A forked or nested session inherits the variables of the one above it.
        let nearest = search.nearest(&named);
        match named.len() {
            0 => {}
            _ if nearest.len() == 1 => return Ok(Found::of(nearest)),
            1 if !asker.inherited || named.iter().all(|peer| peer.agent_pid.is_none()) => {
                return Ok(Found::of(named));
            }
            1 => {}
            _ => return Ok(Found::Several(named)),
        }
    }
    match search.by_process(session)? {
        Found::Nobody(_) => search.anyone(session),
        found => Ok(found),
    }
}

/// The main session, if this command is run by a subagent that is a session of its own.
///
/// # Errors
/// Any [`ClientError`].
pub fn find_main_of_command(client: &mut Client) -> Result<Option<PeerInfo>, ClientError> {
    let agent = above::above(std::process::id()).nearest.map(|nearest| nearest.agent.agent_type);
    match agent.and_then(|agent| Some((agent, variables::main_session(agent)?))) {
        Some((agent, id)) => find_named(client, &id, agent),
        None => Ok(None),
    }
}

/// The only peer with the session `id`, which may be that of a subagent.
///
/// # Errors
/// Any [`ClientError`].
pub fn find_named(
    client: &mut Client,
    id: &str,
    agent: &str,
) -> Result<Option<PeerInfo>, ClientError> {
    if !is_id(id) {
        return Ok(None);
    }
    let asker = Asker { agent: Some(agent), ..Asker::default() };
    let mut search = Search { client, asker: &asker, above: Above::default() };
    let named = search.ask(ListPeers { session_id: Some(id.into()), ..ListPeers::default() })?;
    Ok(Found::of(named).one().cloned())
}

/// Whether this is a valid session id.
fn is_id(session: &str) -> bool {
    (1..=TAG_CHARS_MAX).contains(&session.chars().count())
}

struct Search<'a> {
    client: &'a mut Client,
    asker: &'a Asker<'a>,
    above: Above,
}

impl Search<'_> {
    /// The peers in the answer to `list` that are of the agent's type and whose processes are alive.
    fn ask(&mut self, list: ListPeers) -> Result<Vec<PeerInfo>, ClientError> {
        // Stale peers too: a session that was silent for a while is still the same session.
        let list = ListPeers { include_stale: true, agents: true, ..list };
        let PeersReply { mut peers, .. } = self.client.call(&Request::Peers(list))?;
        peers.retain(|peer| may_be(&peer.agent_type, self.asker.agent));
        if peers.len() > 1 {
            peers.retain(|peer| peer.host.is_some() || platform::start_mark(peer.pid).is_some());
        }
        Ok(peers)
    }

    /// The processes above, up to and including the agent.
    fn pids(&self) -> Vec<u32> {
        let agent = self.above.nearest.map(|nearest| nearest.pid);
        self.above.below.iter().copied().chain(agent).collect()
    }

    /// Whether sessions of several terminals run in the agent's process.
    fn is_shared(&self) -> bool {
        self.above.nearest.is_some_and(|nearest| codex::is_shared(nearest.pid))
    }

    /// The `peers` whose agent is the nearest among the processes above.
    fn nearest(&self, peers: &[PeerInfo]) -> Vec<PeerInfo> {
        let pids = self.pids();
        let place = |peer: &PeerInfo| {
            let agent = peer.agent_pid?;
            pids.iter().position(|pid| *pid == agent)
        };
        let first = peers.iter().filter_map(place).min();
        let is_first = |peer: &&PeerInfo| first.is_some() && place(peer) == first;
        peers.iter().filter(is_first).cloned().collect()
    }

    /// By the agent's place among the processes above.
    fn by_process(&mut self, session: Option<&str>) -> Result<Found, ClientError> {
        let agent_pids = self.pids();
        if agent_pids.is_empty() {
            return Ok(Found::Nobody(Vec::new()));
        }
        let there = self.ask(ListPeers { agent_pids, ..ListPeers::default() })?;
        let mut there = self.nearest(&there);
        let is_shared = self.is_shared();
        if is_shared {
            // A peer that is known to have another session is no candidate.
            there.retain(|peer| peer.session_id.is_none() || peer.session_id.as_deref() == session);
        }
        if let Some(cwd) = self.asker.cwd.map(canonical) {
            // All windows of an editor share one process, and this one may not be in the mesh. A server
            // is not always started in the directory of its window, but never in that of another.
            let is_editor = self.above.nearest.is_some_and(|nearest| nearest.agent.is_editor());
            let is_exact = is_shared || there.len() > 1;
            there.retain(|peer| {
                let project = canonical(Path::new(&*peer.project_path));
                let is_near = cwd.starts_with(&project) || project.starts_with(&cwd);
                (!is_exact || project == cwd) && (!is_editor || is_near)
            });
        }
        if is_shared && !there.is_empty() {
            return Ok(self.by_window(there));
        }
        Ok(Found::of(there))
    }

    /// Among sessions that share a process and a directory, the one that the only terminal there has
    /// started. With a second terminal this cannot be told: its session may not be in the mesh yet.
    fn by_window(&self, mut there: Vec<PeerInfo>) -> Found {
        let windows = self.asker.cwd.and_then(codex::windows).unwrap_or_default();
        let [window] = windows[..] else { return Found::Several(there) };
        there.retain(|peer| codex::started(peer.pid).is_some_and(|at| at >= window.started));
        Found::of(there)
    }

    /// Nobody for certain, but possibly any peer that is not known to have another session.
    fn anyone(&mut self, session: Option<&str>) -> Result<Found, ClientError> {
        let mut peers = self.ask(ListPeers::default())?;
        peers.retain(|peer| peer.session_id.is_none() || session.is_none());
        Ok(Found::Nobody(peers))
    }
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The token that the peer has left beside its socket for its own hooks.
#[must_use]
pub fn token(config: &Config, peer: &PeerInfo) -> Option<String> {
    let socket = Path::new(peer.uds_path.as_deref()?);
    // The broker accepts sockets in this directory only, so nothing elsewhere is opened.
    if socket.extension()? != "sock" || socket.parent()? != config.paths.peers() {
        return None;
    }
    let bytes = read_bounded(&socket.with_extension("token"), TOKEN_BYTES_MAX).ok()?;
    let token = String::from_utf8(bytes).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Whether a peer of the type `peer` may be a session of `agent`. An unknown type may belong to any
/// agent.
fn may_be(peer: &str, agent: Option<&str>) -> bool {
    agent.is_none_or(|agent| agent == peer || agents::of_type(peer).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_agents_peer_is_not_ours() {
        assert!(may_be("codex", Some("codex")));
        assert!(may_be("my-agent", Some("codex")));
        for other in ["claude-code", "opencode", "pi", "zed"] {
            assert!(!may_be(other, Some("codex")), "{other}");
        }
        assert!(may_be("claude-code", None));
    }
}
