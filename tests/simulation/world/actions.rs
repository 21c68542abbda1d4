//! What happens to a mesh, and what could be seen of it from outside.

use slm_mesh::api::{Endpoint, Refusal, Reply};
use slm_mesh::mesh::Lost;
use slm_mesh::model::{MachineId, MachineName, MessageId, PeerId, Seq};

/// The machine of whoever asks; none for the hub's own.
pub(crate) type Home = Option<MachineName>;

/// Whose token a request carries, and from which machine it comes.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    /// The person there.
    Person(Home),
    Peer(String, Home),
}

impl Token {
    pub(crate) fn home(&self) -> Home {
        match self {
            Self::Person(home) | Self::Peer(_, home) => *home,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Input {
    Request {
        token: Token,
        endpoint: Endpoint,
        body: String,
    },
    /// A process listens on a peer's socket again, if none does.
    Listen(PeerId),
    /// A peer closes its connection.
    HangUpLink(PeerId),
    /// A peer takes so many frames from its socket and acknowledges the messages in them.
    Read {
        peer: PeerId,
        frames: usize,
    },
    /// The process ends that listens on a peer's socket.
    ProcessEnded(PeerId),
    /// The process ends that a peer has said it is.
    NamedEnded(PeerId),
    AgentEnded(PeerId),
    /// A machine connects, which is let in if it was not removed.
    Dial(MachineId),
    /// The connection of a machine ends.
    CutOff(MachineName),
    Tick,
    /// The client of a held request goes away.
    HangUp(usize),
    /// An answer that gave a lock to someone who had waited is lost: it was not written, or its
    /// connection is reset now.
    AnswerLost {
        nth: usize,
        written: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    /// The commit fails: nothing of the turn may be seen again.
    Abort,
    /// The broker dies before the commit.
    KilledBefore,
    /// The broker dies after the commit, before anyone was told.
    KilledAfter,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Turn(Vec<Input>, End),
    /// A turn after one whose store has failed: nothing is written but by what is asked.
    BareTurn(Vec<Input>, End),
    /// Time passes; the wall clock may jump, too.
    Time {
        ms: u64,
        jump_ms: i64,
    },
    /// The machine sleeps: the monotonic clock stands still.
    Sleep {
        ms: u64,
    },
    /// The broker ends and starts again after a while, perhaps with the machine.
    Restart {
        ms: u64,
        reboot: bool,
        jump_ms: i64,
    },
    Maintain,
}

/// What a request came to, as its sender saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Reply(Reply),
    Refused(Refusal),
    Held,
    /// It was not asked: its machine has no connection.
    Unsent,
}

/// What could be seen of an action from outside; both backends must show the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// Requests that were answered, by their place in the turn.
    pub(crate) answers: Vec<(usize, Answer)>,
    /// Requests held in former turns and answered in this.
    pub(crate) late: Vec<(Home, String, Answer)>,
    /// Frames that peers took from their sockets.
    pub(crate) pushed: Vec<(PeerId, String)>,
    /// The messages in them.
    pub(crate) taken: Vec<(PeerId, MessageId)>,
    pub(crate) departed: Vec<PeerId>,
    /// Answers that were lost, by the fence of the lock that they gave.
    pub(crate) lost: Vec<(Seq, Lost)>,
    /// Those that did not arrive, whether or not the broker has told the core.
    pub(crate) missed: Vec<(Seq, Lost)>,
    /// Machines that were let in, or not.
    pub(crate) admitted: Vec<(MachineId, Option<MachineName>)>,
    pub(crate) down: bool,
}
