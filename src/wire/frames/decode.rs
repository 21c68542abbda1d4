//! Reading frames.
//!
//! All fields of a direction are found in one pass that makes nothing of their values; then those of
//! the frame that it is are read.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    Answer, As, EndedProcess, FrameError, Hello, Here, Look, OPERATOR, Request, ToHub, ToRelay,
};
use crate::api::Facts;
use crate::limits::{
    BODY_BYTES_MAX, CONFIRMED_KEPT_MAX, FRAME_PATH_BYTES_MAX, FRAME_PEERS_MAX,
    FRAME_TOKEN_BYTES_MAX, MACHINE_FRAME_BYTES_MAX, METHOD_BYTES_MAX, PATH_BYTES_MAX,
    TAG_CHARS_MAX, UPLINK_GRANTS_MAX,
};
use crate::model::{MachineName, MessageId, PeerId, Seq, Timestamp};

type Result<T> = std::result::Result<T, FrameError>;
type Raw<'a> = Option<&'a RawValue>;

/// A text, which borrows where nothing in it is escaped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// `null` is a body, too.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Raw<'a>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    if text.len() > MACHINE_FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge);
    }
    // A struct may be read from an array, too.
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return Err(FrameError::Malformed);
    }
    serde_json::from_str(text).map_err(|_| FrameError::Malformed)
}

fn wrong(name: &'static str, expected: &'static str) -> FrameError {
    FrameError::Field { name, expected }
}

fn some<'a, T: Deserialize<'a>>(
    raw: Raw<'a>,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<T>> {
    raw.map(|raw| serde_json::from_str(raw.get()).map_err(|_| wrong(name, expected))).transpose()
}

fn need<'a, T: Deserialize<'a>>(
    raw: Raw<'a>,
    name: &'static str,
    expected: &'static str,
) -> Result<T> {
    some(raw, name, expected)?.ok_or_else(|| wrong(name, expected))
}

fn some_text<'a>(raw: Raw<'a>, name: &'static str, max: usize) -> Result<Option<Cow<'a, str>>> {
    const EXPECTED: &str = "a text that is not too long";
    let text: Option<Text<'a>> = some(raw, name, EXPECTED)?;
    match text {
        Some(Text(text)) if text.len() > max => Err(wrong(name, EXPECTED)),
        text => Ok(text.map(|Text(text)| text)),
    }
}

fn text<'a>(raw: Raw<'a>, name: &'static str, max: usize) -> Result<Cow<'a, str>> {
    some_text(raw, name, max)?.ok_or_else(|| wrong(name, "there"))
}

fn peer(raw: Raw<'_>, name: &'static str) -> Result<PeerId> {
    need(raw, name, "the id of a peer")
}

fn number<'a, T: Deserialize<'a>>(raw: Raw<'a>, name: &'static str) -> Result<T> {
    need(raw, name, "a whole number")
}

fn flag(raw: Raw<'_>, name: &'static str) -> Result<bool> {
    need(raw, name, "true or false")
}

fn list<'a, T: Deserialize<'a>>(raw: Raw<'a>, name: &'static str, max: usize) -> Result<Vec<T>> {
    let list: Vec<T> = some(raw, name, "a list")?.unwrap_or_default();
    if list.len() > max { Err(wrong(name, "a shorter list")) } else { Ok(list) }
}

/// What only says that something is so.
fn said(raw: Raw<'_>, name: &'static str) -> Result<()> {
    if flag(raw, name)? { Ok(()) } else { Err(wrong(name, "true")) }
}

fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

impl<'a> Hello<'a> {
    fn read(raw: &'a RawValue) -> Result<Self> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            version: Raw<'a>,
            #[serde(borrow)]
            name: Raw<'a>,
            #[serde(borrow)]
            time: Raw<'a>,
            #[serde(borrow)]
            you: Raw<'a>,
        }
        let wire: Wire<'a> = need(Some(raw), "hello", "an object")?;
        let you = some_text(wire.you, "you", MachineName::BYTES_MAX)?
            .map(|you| MachineName::new(&you).ok_or(wrong("you", "the name of a machine")))
            .transpose()?;
        Ok(Self {
            version: text(wire.version, "version", TAG_CHARS_MAX)?,
            name: text(wire.name, "name", TAG_CHARS_MAX)?,
            time: Timestamp(number(wire.time, "time")?),
            you,
        })
    }
}

/// The fields of a way to a peer, but the peer.
#[derive(Deserialize)]
struct Way<'a> {
    #[serde(borrow)]
    peer: Raw<'a>,
    #[serde(borrow)]
    path: Raw<'a>,
    #[serde(borrow)]
    link: Raw<'a>,
    #[serde(borrow)]
    process: Raw<'a>,
    #[serde(borrow)]
    confirmed: Raw<'a>,
    #[serde(borrow)]
    written: Raw<'a>,
}

impl Way<'_> {
    fn read(&self) -> Result<Here> {
        let confirmed: Vec<MessageId> = list(self.confirmed, "confirmed", CONFIRMED_KEPT_MAX)?;
        let written: Vec<Seq> = list(self.written, "written", CONFIRMED_KEPT_MAX)?;
        Ok(Here {
            peer: peer(self.peer, "peer")?,
            path: (&*path(self.path)?).into(),
            link: number(self.link, "link")?,
            process: flag(self.process, "process")?,
            confirmed,
            written,
        })
    }
}

/// A process that has ended.
#[derive(Deserialize)]
struct Process<'a> {
    #[serde(borrow)]
    peer: Raw<'a>,
    #[serde(borrow)]
    path: Raw<'a>,
}

impl Process<'_> {
    fn read(&self) -> Result<EndedProcess> {
        Ok(EndedProcess { peer: peer(self.peer, "peer")?, path: (&*path(self.path)?).into() })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HubFields<'a> {
    #[serde(borrow)]
    hello: Raw<'a>,
    #[serde(borrow)]
    id: Raw<'a>,
    #[serde(borrow, rename = "as")]
    by: Raw<'a>,
    #[serde(borrow)]
    method: Raw<'a>,
    #[serde(borrow)]
    path: Raw<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    body: Raw<'a>,
    #[serde(borrow)]
    agent_start: Raw<'a>,
    #[serde(borrow)]
    gone: Raw<'a>,
    #[serde(borrow)]
    cancel: Raw<'a>,
    #[serde(borrow)]
    lost: Raw<'a>,
    #[serde(borrow)]
    after: Raw<'a>,
    #[serde(borrow)]
    facts: Raw<'a>,
    #[serde(borrow)]
    peers: Raw<'a>,
    #[serde(borrow)]
    ended: Raw<'a>,
    #[serde(borrow)]
    got: Raw<'a>,
    #[serde(borrow)]
    up: Raw<'a>,
    #[serde(borrow)]
    link: Raw<'a>,
    #[serde(borrow)]
    process: Raw<'a>,
    #[serde(borrow)]
    confirmed: Raw<'a>,
    #[serde(borrow)]
    written: Raw<'a>,
    #[serde(borrow)]
    down: Raw<'a>,
    #[serde(borrow)]
    ack: Raw<'a>,
    #[serde(borrow, rename = "by")]
    acked_by: Raw<'a>,
    #[serde(borrow)]
    to: Raw<'a>,
    #[serde(borrow)]
    known: Raw<'a>,
    #[serde(borrow)]
    named_ended: Raw<'a>,
    #[serde(borrow)]
    agent_lives: Raw<'a>,
    #[serde(borrow)]
    agent_ended: Raw<'a>,
}

impl<'a> ToHub<'a> {
    /// Reads a frame; none if it is one that is not known.
    ///
    /// # Errors
    /// [`FrameError`]; then the connection is to be closed.
    pub fn decode(frame: &'a str) -> Result<Option<Self>> {
        let it: HubFields<'a> = fields(frame)?;
        Ok(Some(if let Some(hello) = it.hello {
            Self::Hello(Hello::read(hello)?)
        } else if it.by.is_some() {
            Self::Request(Request::read(&it)?)
        } else if it.cancel.is_some() {
            said(it.cancel, "cancel")?;
            Self::Cancel { id: number(it.id, "id")? }
        } else if it.lost.is_some() {
            said(it.lost, "lost")?;
            let after = some(it.after, "after", "a whole number")?;
            Self::Lost { id: number(it.id, "id")?, after }
        } else if it.facts.is_some() {
            Self::Facts { id: number(it.id, "id")?, facts: facts(it.facts)? }
        } else if it.peers.is_some() {
            let here: Vec<Way<'a>> = list(it.peers, "peers", FRAME_PEERS_MAX)?;
            let here = here.iter().map(Way::read).collect::<Result<_>>()?;
            let ended: Vec<Process<'a>> = list(it.ended, "ended", FRAME_PEERS_MAX)?;
            let ended = ended.iter().map(Process::read).collect::<Result<_>>()?;
            let got = it.got.map(|_| list(it.got, "got", UPLINK_GRANTS_MAX)).transpose()?;
            Self::Peers { here, ended, got }
        } else if it.up.is_some() {
            let HubFields { up, path, link, process, confirmed, written, .. } = it;
            Self::Up(Way { peer: up, path, link, process, confirmed, written }.read()?)
        } else if it.down.is_some() {
            Self::Down { peer: peer(it.down, "down")? }
        } else if it.ack.is_some() {
            let message = need(it.ack, "ack", "the id of a message")?;
            Self::Ack { message, by: peer(it.acked_by, "by")? }
        } else if it.written.is_some() {
            Self::Written { seq: number(it.written, "written")?, to: peer(it.to, "to")? }
        } else if it.ended.is_some() {
            Self::Ended { peer: peer(it.ended, "ended")? }
        } else if it.process.is_some_and(is_text) {
            Self::Process { peer: peer(it.process, "process")?, known: flag(it.known, "known")? }
        } else if it.named_ended.is_some() {
            Self::NamedEnded { peer: peer(it.named_ended, "namedEnded")? }
        } else if it.agent_lives.is_some() {
            Self::AgentLives { peer: peer(it.agent_lives, "agentLives")? }
        } else if it.agent_ended.is_some() {
            Self::AgentEnded { peer: peer(it.agent_ended, "agentEnded")? }
        } else {
            return Ok(None);
        }))
    }
}

impl<'a> Request<'a> {
    fn read(it: &HubFields<'a>) -> Result<Self> {
        let by = text(it.by, "as", FRAME_TOKEN_BYTES_MAX)?;
        let body = it.body.map(RawValue::get);
        if body.is_some_and(|body| body.len() > BODY_BYTES_MAX) {
            return Err(wrong("body", "shorter"));
        }
        Ok(Self {
            id: number(it.id, "id")?,
            by: if by == OPERATOR { As::Operator } else { As::Token(by) },
            method: text(it.method, "method", METHOD_BYTES_MAX)?,
            path: text(it.path, "path", FRAME_PATH_BYTES_MAX)?,
            body,
            agent_start: some_text(it.agent_start, "agentStart", TAG_CHARS_MAX)?,
            has_gone: it.gone.is_some() && flag(it.gone, "gone")?,
        })
    }
}

fn facts(raw: Raw<'_>) -> Result<Facts> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        descends: bool,
        former_gone: bool,
        former_ended: bool,
    }
    let wire: Wire = need(raw, "facts", "what was asked for")?;
    Ok(Facts {
        agent_start: None,
        descends: wire.descends,
        former_gone: wire.former_gone,
        former_ended: wire.former_ended,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RelayFields<'a> {
    #[serde(borrow)]
    hello: Raw<'a>,
    #[serde(borrow)]
    id: Raw<'a>,
    #[serde(borrow)]
    status: Raw<'a>,
    #[serde(borrow)]
    now: Raw<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    body: Raw<'a>,
    #[serde(borrow)]
    retry_after: Raw<'a>,
    #[serde(borrow)]
    allow: Raw<'a>,
    #[serde(borrow)]
    to: Raw<'a>,
    #[serde(borrow)]
    push: Raw<'a>,
    #[serde(borrow)]
    seq: Raw<'a>,
    #[serde(borrow)]
    announced: Raw<'a>,
    #[serde(borrow)]
    link: Raw<'a>,
    #[serde(borrow)]
    connect: Raw<'a>,
    #[serde(borrow)]
    path: Raw<'a>,
    #[serde(borrow)]
    disconnect: Raw<'a>,
    #[serde(borrow)]
    watch: Raw<'a>,
    #[serde(borrow)]
    pid: Raw<'a>,
    #[serde(borrow)]
    watch_agent: Raw<'a>,
    #[serde(borrow)]
    start: Raw<'a>,
    #[serde(borrow)]
    departed: Raw<'a>,
    #[serde(borrow)]
    reason: Raw<'a>,
    #[serde(borrow)]
    abandoned: Raw<'a>,
    #[serde(borrow)]
    look: Raw<'a>,
}

impl<'a> ToRelay<'a> {
    /// Reads a frame; none if it is one that is not known.
    ///
    /// # Errors
    /// [`FrameError`]; then the connection is to be closed.
    pub fn decode(frame: &'a str) -> Result<Option<Self>> {
        let it: RelayFields<'a> = fields(frame)?;
        Ok(Some(if let Some(hello) = it.hello {
            Self::Hello(Hello::read(hello)?)
        } else if it.status.is_some() {
            Self::Answer(Answer::read(&it)?)
        } else if let Some(push) = it.push {
            Self::Push {
                to: peer(it.to, "to")?,
                push: push.get(),
                seq: some(it.seq, "seq", "a whole number")?,
            }
        } else if it.announced.is_some() {
            let link = number(it.link, "link")?;
            Self::Announced { peer: peer(it.announced, "announced")?, link }
        } else if it.connect.is_some() {
            let path = path(it.path)?;
            Self::Connect { peer: peer(it.connect, "connect")?, path }
        } else if it.disconnect.is_some() {
            Self::Disconnect { peer: peer(it.disconnect, "disconnect")? }
        } else if it.watch.is_some() {
            Self::Watch { peer: peer(it.watch, "watch")?, pid: number(it.pid, "pid")? }
        } else if it.watch_agent.is_some() {
            Self::WatchAgent {
                peer: peer(it.watch_agent, "watchAgent")?,
                pid: number(it.pid, "pid")?,
                start: text(it.start, "start", TAG_CHARS_MAX)?,
            }
        } else if it.departed.is_some() {
            Self::Departed {
                peer: peer(it.departed, "departed")?,
                reason: text(it.reason, "reason", TAG_CHARS_MAX)?,
                path: some_text(it.path, "path", PATH_BYTES_MAX)?,
            }
        } else if it.abandoned.is_some() {
            Self::Abandoned { path: text(it.abandoned, "abandoned", PATH_BYTES_MAX)? }
        } else if it.look.is_some() {
            Self::Look(Look::read(&it)?)
        } else {
            return Ok(None);
        }))
    }
}

fn path(raw: Raw<'_>) -> Result<Cow<'_, str>> {
    text(raw, "path", PATH_BYTES_MAX)
}

impl<'a> Answer<'a> {
    fn read(it: &RelayFields<'a>) -> Result<Self> {
        let status = number(it.status, "status")?;
        if !(200..600).contains(&status) {
            return Err(wrong("status", "one of an answer"));
        }
        Ok(Self {
            id: number(it.id, "id")?,
            status,
            now: Timestamp(number(it.now, "now")?),
            body: it.body.map(RawValue::get).ok_or(wrong("body", "there"))?,
            retry_after: some(it.retry_after, "retryAfter", "a whole number")?,
            allow: some_text(it.allow, "allow", TAG_CHARS_MAX)?,
        })
    }
}

impl<'a> Look<'a> {
    fn read(it: &RelayFields<'a>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            agent_pid: u32,
            #[serde(borrow)]
            socket: Raw<'a>,
            #[serde(borrow)]
            former: Former<'a>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Former<'a> {
            agent_pid: u32,
            #[serde(borrow)]
            agent_start: Raw<'a>,
            #[serde(borrow)]
            socket: Raw<'a>,
        }
        let Wire { agent_pid, socket, former } =
            need(it.look, "look", "a newcomer and a former peer")?;
        Ok(Self {
            id: number(it.id, "id")?,
            agent_pid,
            socket: text(socket, "socket", PATH_BYTES_MAX)?,
            former_pid: former.agent_pid,
            former_start: text(former.agent_start, "agentStart", TAG_CHARS_MAX)?,
            former_socket: some_text(former.socket, "socket", PATH_BYTES_MAX)?,
        })
    }
}
