//! Peers: what is kept of one, when its agent learns of a message, and why it leaves.

use super::ids::PeerId;
use super::machine::MachineName;
use super::repo::{RepoHash, RepoPlace};
use super::time::{MeshTime, Timestamp};
use super::written::words;

/// The words of `reach` that the mesh knows: when an agent learns of a message, the soonest first. A
/// peer may say another word; it is shown as it is.
pub mod reach {
    /// At once, even if it is idle.
    pub const WAKES: &str = "wakes";
    /// When its next turn begins, or within a running one.
    pub const NEXT_TURN: &str = "next-turn";
    /// With the result of its next call of a tool of the mesh.
    pub const NEXT_CALL: &str = "next-call";
    /// When its user allows it: its program keeps what comes from other sessions.
    pub const HELD: &str = "held";
    /// When it looks.
    pub const NONE: &str = "none";
}

/// The type of agent of a peer that `slm-mesh doctor` makes for a moment, to send it a message. It is
/// nobody, and listed only while it is there.
pub const OF_DOCTOR: &str = "doctor";

words! {
    /// Why a peer left.
    LeaveReason {
        /// It unregistered.
        CleanExit = "clean_exit",
        /// Its process ended without a word.
        Crashed = "crashed",
        /// No heartbeat came, and no process is known.
        Timeout = "timeout",
        /// Its machine was removed from the mesh.
        Removed = "removed",
    }
}

/// A peer as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a record: each stands for itself")]
pub struct PeerRecord {
    /// Its id, for as long as its record lives.
    pub id: PeerId,
    /// Unique among present peers.
    pub name: Box<str>,
    /// Whether the mesh made the name (such names stay reserved for a while).
    pub name_is_automatic: bool,
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// The form of a name: `claude-code`, `codex`, `unknown`.
    pub agent_type: Box<str>,
    /// For display only.
    pub pid: u32,
    /// Absolute path of its project.
    pub project_path: Box<str>,
    /// Root of the git work tree.
    pub git_root: Option<Box<str>>,
    /// Branch checked out there.
    pub git_branch: Option<Box<str>>,
    /// The git common directory: the same for all work trees of one repository.
    pub repo_id: Option<Box<str>>,
    /// What that repository has in common with its clones elsewhere, if it has any.
    pub repo_hash: Option<RepoHash>,
    /// The socket on which it takes pushes.
    pub uds_path: Option<Box<str>>,
    /// What it says it is working on.
    pub summary: Option<Box<str>>,
    /// The machine it runs on; none for the hub's own.
    pub host: Option<MachineName>,
    /// How its agent can be told, in the peer's own words.
    pub reach: Option<Box<str>>,
    /// The agent's session.
    pub session_id: Option<Box<str>>,
    /// The agent's process.
    pub agent_pid: Option<u32>,
    /// When that process started, in the words of the system, where it tells: another that is given
    /// the same id has another start.
    pub agent_start: Option<Box<str>>,
    /// Only its own token speaks for it.
    pub private: bool,
    /// It confirms message frames.
    pub acks: bool,
    /// Event types it subscribed to.
    pub subscriptions: Vec<Box<str>>,
    /// When it first registered.
    pub started_at: Timestamp,
    /// The last heartbeat that was stored (later ones are only in memory).
    pub last_heartbeat: Timestamp,
    /// Since when its server is gone while its agent goes on; none while it is here, or has left.
    pub away_at: Option<MeshTime>,
    /// When it left; none while it is present.
    pub left_at: Option<Timestamp>,
    /// It may come back under this id (not after it unregistered).
    pub resumable: bool,
}

impl PeerRecord {
    /// Whether it is a session of an agent's process, and so can be known again.
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.session_id.is_some() && self.agent_start.is_some()
    }

    /// The repository that it is in, as far as it says. One without an id is known by its root.
    #[must_use]
    pub fn repository(&self) -> RepoPlace<'_> {
        let path = self.repo_id.as_deref().or(self.git_root.as_deref());
        RepoPlace { machine: self.host, path, hash: self.repo_hash }
    }
}
