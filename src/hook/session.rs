//! Which peer a hook, or a command that an agent runs, acts for. It is told by facts, in this order: the
//! session that the agent names, together with the agent's kind; the agent's place among the processes
//! above. Where two could be meant, none is.

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

/// Longest file of a token, bytes.
const TOKEN_BYTES_MAX: usize = 1024;

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This peer's.
    One(Box<PeerInfo>),
    /// Of one of these perhaps, and it cannot be told of which, or whether.
    Several(Vec<PeerInfo>),
    /// Of nobody who is known to be it. It may be one of these all the same.
    Nobody(Vec<PeerInfo>),
}

impl Found {
    /// The one it is.
    #[must_use]
    pub fn one(&self) -> Option<&PeerInfo> {
        if let Self::One(peer) = self { Some(peer) } else { None }
    }

    /// Those it may be.
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

/// What is known of who asks.
#[derive(Clone, Debug, Default)]
pub struct Asker<'a> {
    /// The agent's name for its session.
    pub session: Option<&'a str>,
    /// The type of the agent. A peer of another type is not its session.
    pub agent: Option<&'a str>,
    /// Where the agent works.
    pub cwd: Option<&'a Path>,
    /// The session is known from a variable, which may be that of an agent further above.
    pub inherited: bool,
    /// The session has just begun in the agent's process, which may have been in another before.
    pub begins: bool,
}

/// Whether this process is a command that an agent runs for itself, in the shell it has as a tool: the
/// agent's variables and the processes above agree. Which agent that is.
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
        // A forked or nested session has the variables of the one above it.
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

/// The session whose subagent runs this command, where a subagent is a session of its own.
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

/// The one peer of the session `id`: also of a subagent, where that is a session of its own.
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

/// Whether a session may be called this.
fn is_id(session: &str) -> bool {
    (1..=TAG_CHARS_MAX).contains(&session.chars().count())
}

struct Search<'a> {
    client: &'a mut Client,
    asker: &'a Asker<'a>,
    above: Above,
}

impl Search<'_> {
    /// Peers of the agent's type that answer to `list` and whose processes are there.
    fn ask(&mut self, list: ListPeers) -> Result<Vec<PeerInfo>, ClientError> {
        // A session that was silent for a while is the same session.
        let list = ListPeers { include_stale: true, agents: true, ..list };
        let PeersReply { mut peers, .. } = self.client.call(&Request::Peers(list))?;
        peers.retain(|peer| may_be(&peer.agent_type, self.asker.agent));
        if peers.len() > 1 {
            peers.retain(|peer| peer.host.is_some() || platform::start_mark(peer.pid).is_some());
        }
        Ok(peers)
    }

    /// The processes above, as far as the agent.
    fn pids(&self) -> Vec<u32> {
        let agent = self.above.nearest.map(|nearest| nearest.pid);
        self.above.below.iter().copied().chain(agent).collect()
    }

    /// Whether sessions of several terminals run in the agent's process.
    fn is_shared(&self) -> bool {
        self.above.nearest.is_some_and(|nearest| codex::is_shared(nearest.pid))
    }

    /// Of `peers`, those whose agent is the nearest above.
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
            // A session that is known to be another is no candidate.
            there.retain(|peer| peer.session_id.is_none() || peer.session_id.as_deref() == session);
        }
        if let Some(cwd) = self.asker.cwd.map(canonical) {
            // An editor has its windows in one process, and this one may not be in the mesh. Where a
            // server is started is not always where its window works, but never in another's place.
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

    /// Of sessions in one process and one directory, the one that was started by the only terminal
    /// there. If there is another terminal, its session may just not be in the mesh yet.
    fn by_window(&self, mut there: Vec<PeerInfo>) -> Found {
        let windows = self.asker.cwd.and_then(codex::windows).unwrap_or_default();
        let [window] = windows[..] else { return Found::Several(there) };
        there.retain(|peer| codex::started(peer.pid).is_some_and(|at| at >= window.started));
        Found::of(there)
    }

    /// Nobody, but it may be one who is not known to be in another session.
    fn anyone(&mut self, session: Option<&str>) -> Result<Found, ClientError> {
        let mut peers = self.ask(ListPeers::default())?;
        peers.retain(|peer| peer.session_id.is_none() || session.is_none());
        Ok(Found::Nobody(peers))
    }
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The token that the peer has left beside its socket, for such as us.
#[must_use]
pub fn token(config: &Config, peer: &PeerInfo) -> Option<String> {
    let socket = Path::new(peer.uds_path.as_deref()?);
    // The broker takes no other socket; what lies elsewhere is not opened.
    if socket.extension()? != "sock" || socket.parent()? != config.paths.peers() {
        return None;
    }
    let bytes = read_bounded(&socket.with_extension("token"), TOKEN_BYTES_MAX).ok()?;
    let token = String::from_utf8(bytes).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Whether a peer of the type `peer` may be the session of `agent`. A type that is not known may be
/// any agent's.
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
