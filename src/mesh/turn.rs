//! What goes into the core and what comes out of it in a turn.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use crate::api::{Code, PushFrame, Refusal, Reply};
use crate::model::{LeaveReason, MachineName, Monotonic, PeerId, Recipient};
use crate::store::StoreError;

/// Where the core gets its random bytes from: ids, tokens.
pub trait Entropy {
    /// Fills `bytes`; must not fail.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// What the core is told once, at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often peers are asked to send a heartbeat.
    pub heartbeat: Duration,
    /// Without heartbeat for so long: stale.
    pub stale: Duration,
    /// Without heartbeat and known process for so long: removed.
    pub dead: Duration,
    /// Lock time when a request does not say, minutes.
    pub lock_ttl_minutes: u32,
    /// Requests per [`crate::limits::RATE_WINDOW`] of one peer; 0: no limits of rate.
    pub rate_limit: u32,
    /// Wakes of one peer by another in [`crate::limits::WAKE_WINDOW`] before they are damped; 0: they
    /// never are.
    pub wake_limit: u32,
    /// For `status`: the broker's process.
    pub pid: u32,
    /// For `status`: its HTTP port.
    pub port: u16,
    /// Which running of the machine this is, if that is known.
    pub boot_id: Option<Uuid>,
    /// For `health`: the random id of the data dir.
    pub mesh_id: Box<str>,
    /// What this machine is called by others that have joined it; none: `hub`.
    pub machine_name: Option<MachineName>,
    /// Whether other machines can join it.
    pub is_hub: bool,
}

/// The defaults of the configuration, but without limits of rate.
impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            stale: Duration::from_secs(30),
            dead: Duration::from_secs(60),
            lock_ttl_minutes: 10,
            rate_limit: 0,
            wake_limit: 12,
            pid: 1,
            port: 1,
            boot_id: None,
            mesh_id: "".into(),
            machine_name: None,
            is_hub: false,
        }
    }
}

/// Whose token a request came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The broker token, which the person and scripts use.
    Broker,
    /// The broker token of another machine, which has its own.
    Operator(MachineName),
    /// The token of this present peer.
    Peer(PeerId),
    /// A token of no present peer of its machine: at best of one that comes back.
    Unknown {
        /// SHA-256 of the token.
        hash: [u8; 32],
        /// The machine it came from; none for the hub's own.
        from: Option<MachineName>,
    },
}

impl Caller {
    /// Whether it is the person or a script of a machine.
    #[must_use]
    pub fn is_operator(self) -> bool {
        matches!(self, Self::Broker | Self::Operator(_))
    }
}

/// What a held request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// A message in this inbox.
    Inbox(Recipient),
    /// An event of the types that it asks for.
    Events,
    /// Its turn for a lock.
    Lock(Ticket),
    /// The end of this peer's server.
    Gone(PeerId),
    /// Something that may be told to this peer's agent.
    Claim {
        /// The peer.
        peer: PeerId,
        /// Its place among the peer's claims that wait.
        place: usize,
        /// When it is answered in any case; it may be looked at again before.
        until: Monotonic,
    },
}

/// A place in the queue for locks; one with a lower number came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A request that is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedAgain {
    /// What it waits for.
    pub on: Interest,
    /// When its time is over.
    pub until: Monotonic,
    /// Its client has hung up and would not get the answer.
    pub hung_up: bool,
}

/// How the answer to a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It was not written, or not to its end.
    Unwritten,
    /// It was written, and its connection was reset later: the client may have ended without having
    /// read it.
    Reset {
        /// The time from the write to the reset.
        after: Duration,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The answer, which holds once the turn has committed.
    Reply(Reply),
    /// There is nothing to answer yet: ask again when `on` has news, and at the latest at `until`.
    Hold {
        /// What it waits for.
        on: Interest,
        /// How long.
        until: Monotonic,
    },
}

/// Why a request came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// The mesh says no; nothing was written.
    Refused(Refusal),
    /// The store failed: the whole turn must be aborted.
    Store(StoreError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StoreError> for Refusal {
    /// How a failed turn is answered.
    fn from(error: StoreError) -> Self {
        let (code, what) = match &error {
            StoreError::Full(_) => {
                (Code::StorageFull, "nothing of the request was kept: make room on the disk")
            }
            StoreError::Failed(_) => (
                Code::Unavailable,
                "nothing of the request was kept: see the broker's log, then try again",
            ),
            StoreError::Unsure(_) => (
                Code::OutcomeUnknown,
                "the request may be kept all the same: look before you repeat it",
            ),
        };
        Self::new(code, format!("{error}; {what}"))
    }
}

/// What comes of a request.
pub(super) type Handled = Result<Outcome, Failure>;

/// What comes of a request that is answered at once.
pub(super) type Replied = Result<Reply, Failure>;

/// To whom a frame goes. Only peers whose link is up get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushTarget {
    /// One peer.
    One(PeerId),
    /// Every present peer but one.
    AllBut(Option<PeerId>),
}

/// A frame to be written once the turn has committed.
#[derive(Clone, Debug)]
pub struct Push {
    /// Who gets it.
    pub to: PushTarget,
    /// What it tells.
    pub frame: Rc<PushFrame>,
}

/// A peer that is no longer present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The peer.
    pub peer: PeerId,
    /// The machine it was on; none for the hub's own.
    pub machine: Option<MachineName>,
    /// Why.
    pub reason: LeaveReason,
    /// Its socket, to be removed after a crash.
    pub uds_path: Option<Box<str>>,
}

/// The socket of a server that has crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// The machine it is on; none for the hub's own.
    pub machine: Option<MachineName>,
    /// Where it is.
    pub path: Box<str>,
}

/// A process of an agent that is to be watched for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchAgent {
    /// The peer.
    pub peer: PeerId,
    /// The process.
    pub pid: u32,
    /// When it started, which tells it from a later process with the same id.
    pub start: Box<str>,
}

/// What the shell has to do after a turn. What is about a peer is to be done on its machine, see
/// [`super::Mesh::machine_of`].
#[derive(Debug, Default)]
pub struct Effects {
    /// Frames, in order.
    pub pushes: Vec<Push>,
    /// Peers whose connection is to be closed, since they have no socket any more, or another one. To be
    /// done before `connect`, in which they may be as well.
    pub disconnect: Vec<PeerId>,
    /// Peers to whose sockets a connection should stand and is not known to: connect to them. Given at
    /// registration and with each heartbeat.
    pub connect: Vec<(PeerId, Box<str>)>,
    /// Peers, and the process that each claims to be: to be watched where no connection tells the real
    /// one. Given at registration.
    pub watch: Vec<(PeerId, u32)>,
    /// Processes of agents to be watched: what the shell finds out about them it tells with
    /// [`super::Mesh::agent_lives`] and [`super::Mesh::agent_ended`]. Given at registration.
    pub agents: Vec<WatchAgent>,
    /// Sockets of peers that stay, whose server has crashed: to be removed.
    pub abandoned: Vec<Abandoned>,
    /// Peers whose server has gone, for held requests.
    pub gone: Vec<PeerId>,
    /// Peers whose link is to be closed.
    pub departed: Vec<Departed>,
    /// Inboxes that have news, for held requests.
    pub inboxes: Vec<Recipient>,
    /// The types of the new events, for held requests; each once.
    pub events: Vec<Cow<'static, str>>,
    /// Machines that were removed: their connections are to be closed.
    pub removed: Vec<MachineName>,
    /// The settings of helpers in the data directory are to be read again.
    pub reload: bool,
    /// The broker is asked to stop.
    pub shutdown: bool,
}
