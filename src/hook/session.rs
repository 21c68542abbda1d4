//! Which peer a hook, or a command that an agent runs, acts for.

use std::path::Path;

use crate::agent::detect;
use crate::api::{ListPeers, PeerInfo, PeersReply, Request};
use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::files::read_bounded;
use crate::limits::TAG_CHARS_MAX;
use crate::platform;

/// Longest file of a token, bytes.
const TOKEN_BYTES_MAX: usize = 1024;

/// The peer of the agent's session: that of the session's name if the agent gives one and the mesh
/// knows it, else that of an agent among the processes above this one. `agent` is the type of agent
/// that asks; a peer of another type is not its session. `None`: there is none to be found.
///
/// # Errors
/// Any [`ClientError`].
pub fn find(
    client: &mut Client,
    session: Option<&str>,
    agent: Option<&str>,
) -> Result<Option<PeerInfo>, ClientError> {
    let fits = |session: &&str| (1..=TAG_CHARS_MAX).contains(&session.chars().count());
    if let Some(session) = session.filter(fits) {
        let ask = ListPeers { session_id: Some(session.into()), ..ListPeers::default() };
        if let Some(peer) = newest(ask_peers(client, ask)?) {
            return Ok(Some(peer));
        }
    }
    let above = up_to_agent(platform::ancestors(std::process::id()), detect::is_agent);
    if above.is_empty() {
        return Ok(None);
    }
    let of_agent = |peers: Vec<PeerInfo>| -> Vec<PeerInfo> {
        peers.into_iter().filter(|peer| may_be(&peer.agent_type, agent)).collect()
    };
    let ask = ListPeers { agent_pids: above.clone(), ..ListPeers::default() };
    let peers = of_agent(ask_peers(client, ask)?);
    if peers.len() < 2 {
        return Ok(peers.into_iter().next());
    }
    // The answer does not say which belongs to which process, and the nearest is meant.
    for pid in above {
        let ask = ListPeers { agent_pids: vec![pid], ..ListPeers::default() };
        if let Some(peer) = newest(of_agent(ask_peers(client, ask)?)) {
            return Ok(Some(peer));
        }
    }
    Ok(None)
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

fn ask_peers(client: &mut Client, mut ask: ListPeers) -> Result<Vec<PeerInfo>, ClientError> {
    // A session that was silent for a while is the same session.
    ask.include_stale = true;
    let reply: PeersReply = client.call(&Request::Peers(ask))?;
    Ok(reply.peers)
}

/// Of several under one session the last one that came: an agent that starts its MCP server again
/// may leave the old one to the broker's patience.
fn newest(peers: Vec<PeerInfo>) -> Option<PeerInfo> {
    peers.into_iter().max_by_key(|peer| peer.started_at)
}

/// The processes as far as the first agent among them: what lies above that one is another session,
/// which has started this one.
fn up_to_agent(mut above: Vec<u32>, is_agent: impl Fn(u32) -> bool) -> Vec<u32> {
    if let Some(at) = above.iter().position(|pid| is_agent(*pid)) {
        above.truncate(at + 1);
    }
    above
}

/// Whether a peer of the type `peer` may be the session of `agent`. A type that is not known may be
/// any agent's.
fn may_be(peer: &str, agent: Option<&str>) -> bool {
    agent.is_none_or(|agent| agent == peer || super::Agent::find(peer).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_agent_is_the_last_that_counts() {
        assert_eq!(up_to_agent(vec![5, 4, 3, 1], |pid| pid == 4 || pid == 3), [5, 4]);
        assert_eq!(up_to_agent(vec![5, 4, 1], |_| false), [5, 4, 1]);
        assert_eq!(up_to_agent(vec![], |_| true), [0; 0]);
    }

    #[test]
    fn another_agents_peer_is_not_ours() {
        assert!(may_be("codex", Some("codex")));
        assert!(may_be("my-agent", Some("codex")));
        assert!(!may_be("claude-code", Some("codex")));
        assert!(may_be("claude-code", None));
    }
}
