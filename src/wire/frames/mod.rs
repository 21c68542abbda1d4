//! Frames between a hub and a relay: one JSON object each, a text message of a WebSocket.
//!
//! Each direction has its own enum. Fields that are not known are ignored, and so is a frame of which
//! no field is known: it is one of a later minor version. A frame that is known and has something else
//! in it than it should is an error, which ends the connection; so are a field that stands twice, and too
//! many fields.
//!
//! Bodies of requests, answers and push frames are JSON that somebody else reads: they are passed on as
//! they came, as texts that borrow from the frame.

mod declare;
mod fields;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use self::declare::{frames, object};
use self::fields::{Fields, Object, Result, ToldBy, Writer, wrong};
use crate::api::ProcessFacts;
use crate::limits::{
    BODY_BYTES_MAX, CONFIRMED_KEPT_MAX, FRAME_PATH_BYTES_MAX, FRAME_PEERS_MAX,
    FRAME_TOKEN_BYTES_MAX, METHOD_BYTES_MAX, PATH_BYTES_MAX, TAG_CHARS_MAX, UPLINK_GRANTS_MAX,
};
use crate::model::{MachineName, MessageId, PeerId, Seq, Timestamp};

object! { 'a;
    /// The first frame each way.
    pub struct Hello<'a> {
        /// The version of the program: `major.minor.patch`.
        version "version": Cow<'a, str>[TAG_CHARS_MAX],
        /// What the sender calls itself.
        name "name": Cow<'a, str>[TAG_CHARS_MAX],
        /// The sender's wall clock.
        time "time": Timestamp,
        /// From a hub: the name of the machine that it speaks to.
        you "you": Option<MachineName>,
    }
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

object! { 'a;
    /// A request of a local client.
    pub struct Request<'a> {
        /// Names it on this connection, until it is answered.
        id "id": u64,
        /// Who asks.
        by "as": As<'a>[FRAME_TOKEN_BYTES_MAX],
        /// `GET`, `POST` or whatever the client said.
        method "method": Cow<'a, str>[METHOD_BYTES_MAX],
        /// Without its query.
        path "path": Cow<'a, str>[FRAME_PATH_BYTES_MAX],
        /// Of a registration: when the agent's process that it names started, as that machine's kernel
        /// says.
        agent_start "agentStart": Option<Cow<'a, str>>[TAG_CHARS_MAX],
        /// The client has hung up, and would not get what it is given.
        has_gone "gone": bool = false,
        /// The JSON text of the body; none where it was empty.
        body "body": Option<&'a str>[BODY_BYTES_MAX],
    }
}

object! { 'a;
    /// A peer to which there is a way.
    pub struct Here {
        /// Which.
        peer "peer": PeerId,
        /// The socket there, as the hub has named it.
        path "path": Box<str>[PATH_BYTES_MAX],
        /// Which of the ways to it that there have been: echoed by [`ToRelay::Announced`].
        link "link": u64,
        /// Its process is watched.
        process "process": bool,
        /// Messages that it has acknowledged, which the hub may not know.
        confirmed "confirmed": Vec<MessageId>[CONFIRMED_KEPT_MAX],
        /// Messages that were written out to it, which the hub may not know.
        written "written": Vec<Seq>[CONFIRMED_KEPT_MAX] = Vec::new(),
    }
}

object! { 'a;
    /// A process that has ended.
    pub struct EndedProcess {
        /// The peer that it was.
        peer "peer": PeerId,
        /// Its socket, as the hub has named it.
        path "path": Box<str>[PATH_BYTES_MAX],
    }
}

frames! { 'a;
    /// A frame of a relay.
    pub enum ToHub {
        /// The first.
        Object "hello" => Hello(hello: Hello<'a>),
        /// To be answered once, by [`ToRelay::Answer`].
        Field "as" => Request(request: Request<'a>),
        /// The client of a request has gone. It is answered all the same.
        True "cancel" => Cancel {
            /// Which.
            id "id": u64,
        },
        /// The client of a request did not get its answer.
        True "lost" => Lost {
            /// Which.
            id "id": u64,
            /// It was written, and its connection was reset so long after, ms.
            after "after": Option<u64>,
        },
        /// What was asked for by [`ToRelay::Look`].
        Field "facts" => Facts {
            /// The id of the registration.
            id "id": u64,
            /// All but the start of the agent, which came with the request.
            facts "facts": ProcessFacts,
        },
        /// The second: the ways to the machine's peers, and which of them have ended.
        Field "peers" => Peers {
            /// Those with a way to them.
            here "peers": Vec<Here>[FRAME_PEERS_MAX],
            /// Those whose process has ended, which the hub may not know.
            ended "ended": Vec<EndedProcess>[FRAME_PEERS_MAX],
            /// The last requests for locks whose answers have come on connections before; none where
            /// there was no connection before. What the hub has answered since the first of these and
            /// is not among them was lost.
            got "got": Option<Vec<u64>>[UPLINK_GRANTS_MAX],
        },
        /// There is a way to a peer.
        Peer "up" => Up(here: Here),
        /// There is no longer a way to a peer.
        Field "down" => Down {
            /// Which.
            peer "down": PeerId,
        },
        /// The process of a peer has acknowledged a message.
        Field "ack" => Ack {
            /// The message.
            message "ack": MessageId,
            /// Which peer.
            by "by": PeerId,
        },
        /// A push frame with a message was written out to a peer.
        Field "written" => Written {
            /// The message's number.
            seq "written": Seq,
            /// Which peer.
            to "to": PeerId,
        },
        /// The process of a peer has ended.
        Field "ended" => Ended {
            /// Which.
            peer "ended": PeerId,
        },
        /// Whether the process of a peer is watched has changed. That it is not is also said of each
        /// [`ToRelay::Disconnect`] and [`ToRelay::Departed`], when it is done.
        Text "process" => Process {
            /// Which.
            peer "process": PeerId,
            /// It is watched.
            known "known": bool,
        },
        /// The process that a peer said it is has ended.
        Field "namedEnded" => NamedEnded {
            /// Which.
            peer "namedEnded": PeerId,
        },
        /// The process of a peer's agent is above its own.
        Field "agentLives" => AgentLives {
            /// Which.
            peer "agentLives": PeerId,
        },
        /// The process of a peer's agent has ended.
        Field "agentEnded" => AgentEnded {
            /// Which.
            peer "agentEnded": PeerId,
        },
    }
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

object! { 'a;
    struct Newcomer<'a> {
        agent_pid "agentPid": u32,
        socket "socket": Cow<'a, str>[PATH_BYTES_MAX],
        former "former": Former<'a>,
    }
}

object! { 'a;
    struct Former<'a> {
        agent_pid "agentPid": u32,
        agent_start "agentStart": Cow<'a, str>[TAG_CHARS_MAX],
        socket "socket": Option<Cow<'a, str>>[PATH_BYTES_MAX],
    }
}

impl<'a> Object<'a> for Look<'a> {
    fn take(fields: &Fields<'a>) -> Result<Self> {
        let newcomer: Result<Newcomer<'a>> = fields.take("look", usize::MAX, None);
        let newcomer = newcomer.map_err(|_| wrong("look", "a newcomer and a former peer"))?;
        let Newcomer { agent_pid, socket, former } = newcomer;
        Ok(Self {
            id: fields.take("id", usize::MAX, None)?,
            agent_pid,
            socket,
            former_pid: former.agent_pid,
            former_start: former.agent_start,
            former_socket: former.socket,
        })
    }

    fn put(&self, out: &mut Writer) {
        let former = Former {
            agent_pid: self.former_pid,
            agent_start: self.former_start.clone(),
            socket: self.former_socket.clone(),
        };
        out.put("id", &self.id, None);
        let newcomer = Newcomer { agent_pid: self.agent_pid, socket: self.socket.clone(), former };
        out.put("look", &newcomer, None);
    }
}

object! { 'a;
    /// The answer to a request.
    pub struct Answer<'a> {
        /// Which.
        id "id": u64,
        /// As of HTTP.
        status "status": u16,
        /// When it was given, by the hub's wall clock.
        now "now": Timestamp,
        /// `Retry-After`, seconds.
        retry_after "retryAfter": Option<u64>,
        /// `Allow`.
        allow "allow": Option<Cow<'a, str>>[TAG_CHARS_MAX],
        /// Its JSON text.
        body "body": &'a str,
    }
}

frames! { 'a;
    /// A frame of a hub.
    pub enum ToRelay {
        /// The first.
        Object "hello" => Hello(hello: Hello<'a>),
        /// The answer to a request.
        Field "status" => Answer(answer: Answer<'a>),
        /// A push frame.
        Field "push" => Push {
            /// For whom.
            to "to": PeerId,
            /// Its JSON text, without a newline.
            push "push": &'a str,
            /// The number of the message in it; one without may be dropped.
            seq "seq": Option<Seq>,
        },
        /// The mesh knows of the way to a peer: it is pushed to from here on.
        Field "announced" => Announced {
            /// Which.
            peer "announced": PeerId,
            /// That of [`Here::link`].
            link "link": u64,
        },
        /// There should be a way to a peer.
        Field "connect" => Connect {
            /// Which.
            peer "connect": PeerId,
            /// Its socket.
            path "path": Cow<'a, str>[PATH_BYTES_MAX],
        },
        /// A peer has no socket any more, or another.
        Field "disconnect" => Disconnect {
            /// Which.
            peer "disconnect": PeerId,
        },
        /// The process that a peer says it is, to be watched where no connection tells which it is.
        Field "watch" => Watch {
            /// Which.
            peer "watch": PeerId,
            /// Its process.
            pid "pid": u32,
        },
        /// The process of a peer's agent, to be watched.
        Field "watchAgent" => WatchAgent {
            /// Which.
            peer "watchAgent": PeerId,
            /// The process.
            pid "pid": u32,
            /// When it started.
            start "start": Cow<'a, str>[TAG_CHARS_MAX],
        },
        /// A peer is no longer present.
        Field "departed" => Departed {
            /// Which.
            peer "departed": PeerId,
            /// Why: a word of [`crate::model::LeaveReason`].
            reason "reason": Cow<'a, str>[TAG_CHARS_MAX],
            /// Its socket.
            path "path": Option<Cow<'a, str>>[PATH_BYTES_MAX],
        },
        /// The socket of a server that has crashed, to be removed.
        Field "abandoned" => Abandoned {
            /// Which.
            path "abandoned": Cow<'a, str>[PATH_BYTES_MAX],
        },
        /// To be answered by [`ToHub::Facts`].
        Field "look" => Look(look: Look<'a>),
    }
}

/// Why a text is no frame. Its words fit into the reason of a close frame (RFC 6455, 5.5.1: 123
/// bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It is longer than [`crate::limits::MACHINE_FRAME_BYTES_MAX`].
    TooLarge,
    /// It is no JSON object, or one that has a field twice, or too many.
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
