//! Writing frames.

use std::fmt::{Display, Write};

use serde::Serialize;

use super::{Answer, As, Hello, Here, Look, OPERATOR, Request, ToHub, ToRelay};
use crate::model::{MachineName, PeerId};

/// An object that is being written. JSON that is raw already stays as it is.
struct Object(String);

impl Object {
    fn new(capacity: usize) -> Self {
        let mut text = String::with_capacity(capacity);
        text.push('{');
        Self(text)
    }

    fn key(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn raw(mut self, name: &str, json: &str) -> Self {
        self.key(name);
        self.0.push_str(json);
        self
    }

    fn some_raw(self, name: &str, json: Option<&str>) -> Self {
        match json {
            Some(json) => self.raw(name, json),
            None => self,
        }
    }

    fn number(mut self, name: &str, number: impl Display) -> Self {
        self.key(name);
        // Into memory: cannot fail.
        let _ = write!(self.0, "{number}");
        self
    }

    fn text(mut self, name: &str, text: &str) -> Self {
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if text.bytes().all(is_plain) {
            self.key(name);
            self.0.push('"');
            self.0.push_str(text);
            self.0.push('"');
            return self;
        }
        self.value(name, text)
    }

    fn some_text(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    fn value<T: Serialize + ?Sized>(self, name: &str, value: &T) -> Self {
        // Plain data: cannot fail. If it did, the other end would find a field that is not what it
        // should be.
        let json = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
        self.raw(name, &json)
    }

    fn peer(self, name: &str, peer: PeerId) -> Self {
        self.text(name, peer.0.as_hyphenated().encode_lower(&mut [0; 36]))
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// What the fields around a raw text may take, bytes: no more than a guess.
const AROUND: usize = 160;

impl ToHub<'_> {
    /// The text of the frame. A body that is no JSON makes a text that is none.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Hello(hello) => hello.text(),
            Self::Request(request) => request.text(),
            Self::Cancel { id } => Object::new(32).number("id", *id).raw("cancel", "true").end(),
            Self::Lost { id, after } => {
                let lost = Object::new(48).number("id", *id).raw("lost", "true");
                match after {
                    Some(after) => lost.number("after", *after).end(),
                    None => lost.end(),
                }
            }
            Self::Facts { id, facts } => {
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Wire {
                    descends: bool,
                    former_gone: bool,
                    former_ended: bool,
                }
                let wire = Wire {
                    descends: facts.descends,
                    former_gone: facts.former_gone,
                    former_ended: facts.former_ended,
                };
                Object::new(AROUND).number("id", *id).value("facts", &wire).end()
            }
            Self::Peers { here, ended, got } => {
                let list: Vec<String> = here
                    .iter()
                    .map(|here| here.fields(Object::new(AROUND), "peer").end())
                    .collect();
                let list = format!("[{}]", list.join(","));
                let ended: Vec<String> = (ended.iter())
                    .map(|it| {
                        Object::new(AROUND).peer("peer", it.peer).text("path", &it.path).end()
                    })
                    .collect();
                let ended = format!("[{}]", ended.join(","));
                let frame = Object::new(list.len() + ended.len() + AROUND);
                let frame = frame.raw("peers", &list).raw("ended", &ended);
                match got {
                    Some(got) => frame.value("got", got).end(),
                    None => frame.end(),
                }
            }
            Self::Up(here) => here.fields(Object::new(AROUND), "up").end(),
            Self::Down { peer } => of_peer("down", *peer),
            Self::Ack { message, by } => {
                Object::new(AROUND).value("ack", message).peer("by", *by).end()
            }
            Self::Written { seq, to } => {
                Object::new(AROUND).number("written", seq.0).peer("to", *to).end()
            }
            Self::Ended { peer } => of_peer("ended", *peer),
            Self::Process { peer, known } => {
                Object::new(AROUND).peer("process", *peer).value("known", known).end()
            }
            Self::NamedEnded { peer } => of_peer("namedEnded", *peer),
            Self::AgentLives { peer } => of_peer("agentLives", *peer),
            Self::AgentEnded { peer } => of_peer("agentEnded", *peer),
        }
    }
}

impl ToRelay<'_> {
    /// The text of the frame. A body that is no JSON makes a text that is none.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Hello(hello) => hello.text(),
            Self::Answer(answer) => answer.text(),
            Self::Push { to, push, seq } => {
                let frame = Object::new(push.len() + AROUND).peer("to", *to).raw("push", push);
                match seq {
                    Some(seq) => frame.number("seq", seq.0).end(),
                    None => frame.end(),
                }
            }
            Self::Announced { peer, link } => {
                Object::new(AROUND).peer("announced", *peer).number("link", *link).end()
            }
            Self::Connect { peer, path } => {
                Object::new(AROUND).peer("connect", *peer).text("path", path).end()
            }
            Self::Disconnect { peer } => of_peer("disconnect", *peer),
            Self::Watch { peer, pid } => {
                Object::new(AROUND).peer("watch", *peer).number("pid", *pid).end()
            }
            Self::WatchAgent { peer, pid, start } => {
                let frame = Object::new(AROUND).peer("watchAgent", *peer).number("pid", *pid);
                frame.text("start", start).end()
            }
            Self::Departed { peer, reason, path } => {
                let frame = Object::new(AROUND).peer("departed", *peer).text("reason", reason);
                frame.some_text("path", path.as_deref()).end()
            }
            Self::Abandoned { path } => Object::new(AROUND).text("abandoned", path).end(),
            Self::Look(look) => look.text(),
        }
    }
}

fn of_peer(name: &str, peer: PeerId) -> String {
    Object::new(AROUND).peer(name, peer).end()
}

impl Hello<'_> {
    fn text(&self) -> String {
        let hello = Object::new(AROUND).text("version", &self.version).text("name", &self.name);
        let hello = hello.number("time", self.time.0);
        let hello = hello.some_text("you", self.you.as_ref().map(MachineName::as_str));
        Object::new(AROUND).raw("hello", &hello.end()).end()
    }
}

impl Request<'_> {
    fn text(&self) -> String {
        let by = match &self.by {
            As::Operator => OPERATOR,
            As::Token(token) => token,
        };
        let frame = Object::new(self.body.map_or(0, str::len) + 2 * AROUND).number("id", self.id);
        let frame = frame.text("as", by).text("method", &self.method).text("path", &self.path);
        let frame = frame.some_text("agentStart", self.agent_start.as_deref());
        let frame = if self.has_gone { frame.raw("gone", "true") } else { frame };
        frame.some_raw("body", self.body).end()
    }
}

impl Answer<'_> {
    fn text(&self) -> String {
        let frame = Object::new(self.body.len() + AROUND).number("id", self.id);
        let mut frame = frame.number("status", self.status).number("now", self.now.0);
        if let Some(seconds) = self.retry_after {
            frame = frame.number("retryAfter", seconds);
        }
        frame.some_text("allow", self.allow.as_deref()).raw("body", self.body).end()
    }
}

impl Here {
    fn fields(&self, object: Object, name: &str) -> Object {
        let object = object.peer(name, self.peer).text("path", &self.path);
        let object = object.number("link", self.link);
        let object = object.value("process", &self.process).value("confirmed", &self.confirmed);
        if self.written.is_empty() { object } else { object.value("written", &self.written) }
    }
}

impl Look<'_> {
    fn text(&self) -> String {
        let former = Object::new(AROUND).number("agentPid", self.former_pid);
        let former = former.text("agentStart", &self.former_start);
        let former = former.some_text("socket", self.former_socket.as_deref()).end();
        let look = Object::new(AROUND).number("agentPid", self.agent_pid);
        let look = look.text("socket", &self.socket).raw("former", &former).end();
        Object::new(2 * AROUND).number("id", self.id).raw("look", &look).end()
    }
}
