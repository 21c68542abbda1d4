//! What the hub says.

use super::requests::AnswerKind;
use super::ways::Given;
use super::{Answered, Output, State, Uplink};
use crate::api::PushFrame;
use crate::mesh::{Abandoned, Departed, Push, PushTarget, WatchAgent};
use crate::model::{LeaveReason, Monotonic, PeerId, Seq, Timestamp};
use crate::wire::frames::{Answer, Hello, Look, ToHub, ToRelay};

impl<A: Copy + Ord> Uplink<A> {
    pub(super) fn hello(&self, wall: Timestamp) -> Hello<'static> {
        Hello {
            version: env!("CARGO_PKG_VERSION").into(),
            name: self.name.to_string().into(),
            time: wall,
            you: None,
        }
    }

    /// A frame of the hub has come.
    pub fn frame(&mut self, text: &str, now: Monotonic) {
        if !matches!(self.state, State::Greeting { .. } | State::Stands { .. }) {
            // It was ended here.
            return;
        }
        match ToRelay::decode(text) {
            Err(error) => self.hang_up(&error.to_string(), now),
            Ok(None) => {}
            Ok(Some(ToRelay::Hello(hello))) => self.greeted(&hello, now),
            Ok(Some(_)) if !matches!(self.state, State::Stands { .. }) => {
                self.hang_up("the first frame must be `hello`", now);
            }
            Ok(Some(frame)) => self.take(frame, now),
        }
    }

    fn greeted(&mut self, hello: &Hello<'_>, now: Monotonic) {
        if !matches!(self.state, State::Greeting { .. }) {
            self.hang_up("`hello` is said once", now);
            return;
        }
        if let Err(words) = same_major(&hello.version) {
            self.hang_up_for_good(&format!("the hub {words}"), now);
            return;
        }
        self.hub = Some((&*hello.name).into());
        self.you = hello.you;
        self.state = State::Stands { since: now };
        self.since = now;
        self.error = None;
        self.is_refused = false;
        let got = self.requests.got();
        for frame in self.ways.name_all(got) {
            self.put_first(&frame);
        }
    }

    fn take(&mut self, frame: ToRelay<'_>, now: Monotonic) {
        let effects = &mut self.effects;
        match frame {
            ToRelay::Hello(_) => {}
            ToRelay::Answer(answer) => self.answered(&answer, now),
            ToRelay::Push { to, push, seq } => self.push(to, push, seq),
            ToRelay::Announced { peer, link } => {
                if self.ways.announced(peer, link) {
                    self.announced.push(peer);
                }
            }
            ToRelay::Connect { peer, path } => {
                self.ways.connect(peer, &path);
                effects.connect.push((peer, (&*path).into()));
            }
            ToRelay::Disconnect { peer } => {
                self.ways.disconnect(peer);
                self.announced.retain(|other| *other != peer);
                effects.connect.retain(|(other, _)| *other != peer);
                effects.disconnect.push(peer);
            }
            ToRelay::Watch { peer, pid } => {
                self.ways.watch(peer);
                effects.watch.push((peer, pid));
            }
            ToRelay::WatchAgent { peer, pid, start } => {
                self.ways.watch_agent(peer);
                effects.agents.push(WatchAgent { peer, pid, start: (&*start).into() });
            }
            ToRelay::Departed { peer, reason, path } => {
                self.ways.departed(peer);
                self.announced.retain(|other| *other != peer);
                // What was asked for it before is over.
                effects.connect.retain(|(other, _)| *other != peer);
                effects.watch.retain(|(other, _)| *other != peer);
                effects.agents.retain(|watch| watch.peer != peer);
                effects.departed.push(Departed {
                    peer,
                    machine: None,
                    reason: reason_of(&reason),
                    uds_path: path.map(|path| (&*path).into()),
                });
            }
            ToRelay::Abandoned { path } => {
                effects.abandoned.push(Abandoned { machine: None, path: (&*path).into() });
            }
            ToRelay::Look(look) => self.outputs.push_back(Output::Look(owned(look))),
        }
    }

    fn push(&mut self, to: PeerId, push: &str, seq: Option<Seq>) {
        match self.ways.push(to, seq) {
            Given::Now => {
                let frame = PushFrame::passed_on(push, seq);
                self.effects.pushes.push(Push { to: PushTarget::One(to), frame });
            }
            Given::Nowhere => {}
            Given::Before { confirmed, written } => {
                if let Some(message) = confirmed {
                    self.say(&ToHub::Ack { message, by: to });
                }
                if let Some(seq) = seq.filter(|_| written) {
                    self.say(&ToHub::Written { seq, to });
                }
            }
        }
    }

    fn answered(&mut self, answer: &Answer<'_>, now: Monotonic) {
        let Some(open) = self.requests.answered(answer.id) else {
            self.hang_up("an answer to what was not asked", now);
            return;
        };
        match (open.kind, &open.token) {
            (AnswerKind::Register, _) if answer.status == 200 => self.tokens.learn(answer.body),
            (_, Some(token)) if answer.status == 401 => self.tokens.forget(token),
            _ => {}
        }
        let holds = open.kind == AnswerKind::Lock && answer.status == 200;
        if holds {
            self.requests.note_got(answer.id);
        }
        let Some(asker) = open.asker else {
            if holds {
                self.say(&ToHub::Lost { id: answer.id, after: None });
            }
            return;
        };
        if holds {
            self.requests.note_given(asker, answer.id, now);
        }
        let answered = Answered {
            status: answer.status,
            body: answer.body.into(),
            retry_after: answer.retry_after,
            allow: answer.allow.as_deref().map(Into::into),
            now: Some(answer.now),
        };
        self.outputs.push_back(Output::Answer(asker, answered));
    }
}

/// Whether the other end's version goes with this one's.
///
/// # Errors
/// It does not: what it runs, and what to do.
pub(in crate::broker) fn same_major(theirs: &str) -> Result<(), String> {
    let ours = env!("CARGO_PKG_VERSION");
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(theirs) == major(ours) {
        return Ok(());
    }
    let shown: String = theirs.chars().filter(char::is_ascii_graphic).take(16).collect();
    Err(format!("runs version {shown}, this machine {ours}: update the older one"))
}

/// A word that is not known removes nothing.
fn reason_of(word: &str) -> LeaveReason {
    let all = [LeaveReason::CleanExit, LeaveReason::Crashed, LeaveReason::Timeout];
    all.into_iter().find(|reason| reason.as_str() == word).unwrap_or(LeaveReason::Timeout)
}

fn owned(look: Look<'_>) -> Look<'static> {
    Look {
        id: look.id,
        agent_pid: look.agent_pid,
        socket: look.socket.into_owned().into(),
        former_pid: look.former_pid,
        former_start: look.former_start.into_owned().into(),
        former_socket: look.former_socket.map(|socket| socket.into_owned().into()),
    }
}
