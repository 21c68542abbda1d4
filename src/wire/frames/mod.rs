//! Frames between a hub and a relay: one JSON object each, a text message of a WebSocket.
//!
//! Each direction has its own enum. Fields that are not known are ignored, and so is a frame of which
//! no field is known: it is one of a later minor version. A frame that is known and has something else
//! in it than it should is an error, which ends the connection.
//!
//! Bodies of requests, answers and push frames are JSON that somebody else reads: they are passed on as
//! they came, as texts that borrow from the frame.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use crate::api::Facts;
use crate::model::{MachineName, MessageId, PeerId, Seq, Timestamp};

/// The first frame each way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The version of the program: `major.minor.patch`.
    pub version: Cow<'a, str>,
    /// What the sender calls itself.
    pub name: Cow<'a, str>,
    /// The sender's wall clock.
    pub time: Timestamp,
    /// From a hub: the name of the machine that it speaks to.
    pub you: Option<MachineName>,
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum As<'a> {
    /// The person on that machine: `"operator"`.
    Operator,
    /// Whoever has this token.
    Token(Cow<'a, str>),
}

/// The word for [`As::Operator`]. No token may be this.
pub const OPERATOR: &str = "operator";

/// A request of a local client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Names it on this connection, until it is answered.
    pub id: u64,
    /// Who asks.
    pub by: As<'a>,
    /// `GET`, `POST` or whatever the client said.
    pub method: Cow<'a, str>,
    /// Without its query.
    pub path: Cow<'a, str>,
    /// The JSON text of the body; none where it was empty.
    pub body: Option<&'a str>,
    /// Of a registration: when the agent's process that it names started, as that machine's kernel says.
    pub agent_start: Option<Cow<'a, str>>,
    /// The client has hung up, and would not get what it is given.
    pub has_gone: bool,
}

/// A peer to which there is a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Which.
    pub peer: PeerId,
    /// The socket there, as the hub has named it.
    pub path: Box<str>,
    /// Which of the ways to it that there have been: echoed by [`ToRelay::Announced`].
    pub link: u64,
    /// Its process is watched.
    pub process: bool,
    /// Messages that it has acknowledged, which the hub may not know.
    pub confirmed: Vec<MessageId>,
    /// Messages that were written out to it, which the hub may not know.
    pub written: Vec<Seq>,
}

/// A process that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedProcess {
    /// Whose.
    pub peer: PeerId,
    /// Its socket, as the hub has named it.
    pub path: Box<str>,
}

/// A frame of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToHub<'a> {
    /// The first.
    Hello(Hello<'a>),
    /// To be answered once, by [`ToRelay::Answer`].
    Request(Request<'a>),
    /// The client of a request has gone. It is answered all the same.
    Cancel {
        /// Which.
        id: u64,
    },
    /// The client of a request did not get its answer.
    Lost {
        /// Which.
        id: u64,
        /// It was written, and its connection was reset so long after, ms.
        after: Option<u64>,
    },
    /// What was asked for by [`ToRelay::Look`].
    Facts {
        /// The id of the registration.
        id: u64,
        /// All but the start of the agent, which came with the request.
        facts: Facts,
    },
    /// The second: how it stands with the machine's peers.
    Peers {
        /// Those with a way to them.
        here: Vec<Here>,
        /// Those whose process has ended, which the hub may not know.
        ended: Vec<EndedProcess>,
        /// The last requests for locks whose answers have come on connections before; none where there
        /// was no connection before. What the hub has answered since the first of these and is not among
        /// them was lost.
        got: Option<Vec<u64>>,
    },
    /// There is a way to a peer.
    Up(Here),
    /// There is none any more.
    Down {
        /// Which.
        peer: PeerId,
    },
    /// Its process has acknowledged a message.
    Ack {
        /// The message.
        message: MessageId,
        /// Which.
        by: PeerId,
    },
    /// A push frame with a message was written out to it.
    Written {
        /// The message's number.
        seq: Seq,
        /// Which.
        to: PeerId,
    },
    /// Its process has ended.
    Ended {
        /// Which.
        peer: PeerId,
    },
    /// Whether its process is watched has changed. That it is not is also said of each
    /// [`ToRelay::Disconnect`] and [`ToRelay::Departed`], when it is done.
    Process {
        /// Which.
        peer: PeerId,
        /// It is.
        known: bool,
    },
    /// The process that it said it is has ended.
    NamedEnded {
        /// Which.
        peer: PeerId,
    },
    /// The process of its agent is above its own.
    AgentLives {
        /// Which.
        peer: PeerId,
    },
    /// The process of its agent has ended.
    AgentEnded {
        /// Which.
        peer: PeerId,
    },
}

/// The peer that a newcomer might continue, of which a relay is to find out what it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look<'a> {
    /// The id of the newcomer's registration.
    pub id: u64,
    /// The process of the newcomer's agent.
    pub agent_pid: u32,
    /// The newcomer's socket.
    pub socket: Cow<'a, str>,
    /// The process of the former one's agent.
    pub former_pid: u32,
    /// When that started.
    pub former_start: Cow<'a, str>,
    /// The former one's socket, if anybody may listen there.
    pub former_socket: Option<Cow<'a, str>>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Which.
    pub id: u64,
    /// As of HTTP.
    pub status: u16,
    /// When it was given, by the hub's wall clock.
    pub now: Timestamp,
    /// Its JSON text.
    pub body: &'a str,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u64>,
    /// `Allow`.
    pub allow: Option<Cow<'a, str>>,
}

/// A frame of a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToRelay<'a> {
    /// The first.
    Hello(Hello<'a>),
    /// The answer to a request.
    Answer(Answer<'a>),
    /// A push frame.
    Push {
        /// For whom.
        to: PeerId,
        /// Its JSON text, without a newline.
        push: &'a str,
        /// The number of the message in it; one without may be dropped.
        seq: Option<Seq>,
    },
    /// The mesh knows of the way to a peer: it is pushed to from here on.
    Announced {
        /// Which.
        peer: PeerId,
        /// That of [`Here::link`].
        link: u64,
    },
    /// There should be a way to a peer.
    Connect {
        /// Which.
        peer: PeerId,
        /// Its socket.
        path: Cow<'a, str>,
    },
    /// It has no socket any more, or another.
    Disconnect {
        /// Which.
        peer: PeerId,
    },
    /// The process that it says it is, to be watched where no connection tells which it is.
    Watch {
        /// Which.
        peer: PeerId,
        /// Its process.
        pid: u32,
    },
    /// The process of its agent, to be watched.
    WatchAgent {
        /// Which.
        peer: PeerId,
        /// The process.
        pid: u32,
        /// When it started.
        start: Cow<'a, str>,
    },
    /// It is no longer present.
    Departed {
        /// Which.
        peer: PeerId,
        /// Why: a word of [`crate::model::LeaveReason`].
        reason: Cow<'a, str>,
        /// Its socket.
        path: Option<Cow<'a, str>>,
    },
    /// The socket of a server that has crashed, to be removed.
    Abandoned {
        /// Which.
        path: Cow<'a, str>,
    },
    /// To be answered by [`ToHub::Facts`].
    Look(Look<'a>),
}

/// Why a text is no frame. Its words fit into the reason of a close frame (RFC 6455, 5.5.1: 123
/// bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It is longer than [`crate::limits::MACHINE_FRAME_BYTES_MAX`].
    TooLarge,
    /// It is no JSON object, or one that has a field twice.
    Malformed,
    /// A field of a known frame is missing or not what it should be.
    Field {
        /// Which.
        name: &'static str,
        /// What was expected.
        expected: &'static str,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("a frame is too large"),
            Self::Malformed => f.write_str("a frame is not one JSON object"),
            Self::Field { name, expected } => write!(f, "`{name}` of a frame must be {expected}"),
        }
    }
}

impl std::error::Error for FrameError {}
