//! `slm-mesh events` and `emit`

use std::io::Write;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::value::RawValue;

use super::command::new_id;
use super::messages::read_text;
use super::out::{Out, Paint, note};
use super::table::{Cell, Table, cut, elastic, fixed};
use super::text::{escape, short_id};
use super::{Context, Emit, Exit, Failure, Result, Since, Text};
use crate::api::{Code, EmittedReply, EventInfo, Events, ReadEvents, Request};
use crate::client::blocking::read_reply;
use crate::client::{Client, ClientError, StartPolicy};
use crate::config::Config;
use crate::limits::{LIST_LIMIT_MAX, WAIT_SECONDS_MAX};
use crate::model::Seq;

/// Past events shown before those to come, when the command line does not say.
const FOLLOW_LIMIT: u32 = 10;
/// How often a broker is looked for that has gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a broker that cannot serve now is left alone, when it does not say.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
/// Columns of the type of an event that is followed.
const TYPE_WIDTH: usize = 16;

pub(super) fn run(context: &mut Context, events: &super::Events) -> Result<Exit> {
    let since = events.since.map(|since| match since {
        Since::At(time) => time,
        Since::Ago(ms) => context.out.now.plus_ms(ms.saturating_neg()),
    });
    let default = if events.follow { Some(FOLLOW_LIMIT) } else { None };
    let read = ReadEvents {
        types: events.types.iter().map(|kind| kind.as_str().into()).collect(),
        since,
        limit: events.limit.or(default),
        ..ReadEvents::default()
    };
    let mut client = context.client(StartPolicy::IfNeeded)?;
    if events.follow {
        end_with_reader();
        // A broker that stops from now on is waited for, not started: someone has stopped it.
        client.set_start_policy(StartPolicy::Never);
        return Follower::new(context, client, read).run();
    }
    let body = client.call_bytes(&Request::ReadEvents(read))?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    let reply: Events = read_reply(&body)?;
    let out = &mut context.out;
    if reply.events.is_empty() {
        writeln!(out, "No such events are kept.")?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        fixed("SEQ"),
        fixed("WHEN"),
        elastic("TYPE", 12),
        elastic("BY", 8),
        elastic("PAYLOAD", 10),
    ]);
    for event in &reply.events {
        table.push([
            Cell::painted(event.seq.to_string(), Paint::Dim),
            out.age(event.created_at).into(),
            Cell::painted(escape(&event.kind), Paint::Bold),
            emitted_by(event).into(),
            escape(&event.payload).into(),
        ]);
    }
    table.write(out, &out.style.clone())?;
    Ok(Exit::Done)
}

/// Ends this process when nobody reads its output any more, however long nothing happens: with
/// `| head` there may be no next write to fail.
fn end_with_reader() {
    std::thread::spawn(|| {
        let stdout = std::io::stdout();
        loop {
            // Nothing is waited for but what is always told: that the other end is gone.
            let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut polled, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return,
            }
            let [stdout] = polled;
            if stdout.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                std::process::exit(0);
            }
            // Something that cannot be polled.
            return;
        }
    });
}

fn emitted_by(event: &EventInfo) -> String {
    let by = event.emitted_by.as_ref().map(ToString::to_string).unwrap_or_default();
    escape(short_id(&by)).into_owned()
}

/// Events as they come, until it is interrupted.
struct Follower<'a> {
    config: &'a Config,
    out: &'a mut Out,
    client: Option<Client>,
    read: ReadEvents,
    /// Where to go on; none: nothing was read yet.
    cursor: Option<Seq>,
    /// Said that the broker has gone.
    told: bool,
}

impl<'a> Follower<'a> {
    fn new(context: &'a mut Context, client: Client, read: ReadEvents) -> Self {
        Self {
            config: &context.config,
            out: &mut context.out,
            client: Some(client),
            read,
            cursor: None,
            told: false,
        }
    }

    fn run(mut self) -> Result<Exit> {
        loop {
            match self.next() {
                Ok(events) => self.show(&events)?,
                Err(error) => self.handle(error)?,
            }
        }
    }

    fn next(&mut self) -> std::result::Result<Events, ClientError> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::open(self.config, StartPolicy::Never)?),
        };
        let mut read = self.read.clone();
        if let Some(cursor) = self.cursor {
            read.after = Some(cursor);
            read.limit = Some(LIST_LIMIT_MAX);
            read.wait = WAIT_SECONDS_MAX;
        } else {
            // None of the past ones: one is read all the same, to know where to go on.
            read.limit = read.limit.map(|limit| limit.max(1));
        }
        let events = client.call(&Request::ReadEvents(read))?;
        if std::mem::take(&mut self.told) {
            self.note("the broker is back");
        }
        Ok(events)
    }

    fn show(&mut self, reply: &Events) -> Result<()> {
        let is_past = self.cursor.is_none();
        if self.cursor.is_some_and(|cursor| cursor.next() < reply.first_seq) {
            self.note("some events were not kept long enough to be shown");
        }
        self.cursor = Some(reply.last_seq);
        // Only the first read is of past events.
        self.read.since = None;
        if is_past && self.read.limit == Some(0) {
            return Ok(());
        }
        for event in &reply.events {
            self.write(event)?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn write(&mut self, event: &EventInfo) -> Result<()> {
        if self.out.json {
            let line = serde_json::to_vec(event).map_err(std::io::Error::from)?;
            self.out.document(&line)?;
            return Ok(());
        }
        // A time, not an age: it stays true on a screen that stays.
        let time = event.created_at.to_string();
        let kind = escape(&event.kind);
        let kind = format!("{kind:<TYPE_WIDTH$}");
        let rest = format!("  {kind}  {}  {}", emitted_by(event), escape(&event.payload));
        let left = self.out.style.width.map(|width| width.saturating_sub(time.len()));
        let rest = left.map_or_else(|| rest.trim_end().to_owned(), |left| cut(&rest, left));
        let time = self.out.style.paint(&time, Paint::Dim).into_owned();
        writeln!(self.out, "{time}{rest}")?;
        Ok(())
    }

    /// Goes on after an error, if that makes sense, and after a pause.
    fn handle(&mut self, error: ClientError) -> Result<()> {
        let pause = match (&error, error.code()) {
            (ClientError::Refused(refused), Some(Code::RateLimited | Code::Unavailable)) => {
                refused.retry_after.unwrap_or(BUSY_INTERVAL)
            }
            // The database is another than before, and has not come so far yet.
            (_, Some(Code::InvalidRequest)) if self.cursor.is_some() => {
                self.note("the broker has begun anew; going on from what it has");
                self.cursor = None;
                self.read.limit = Some(0);
                Duration::ZERO
            }
            (
                ClientError::NoBroker
                | ClientError::Unreachable { .. }
                | ClientError::TimedOut { .. }
                | ClientError::InDoubt { .. }
                | ClientError::NotOurs { .. },
                _,
            ) => {
                if !std::mem::replace(&mut self.told, true) {
                    self.note("the broker has stopped; waiting until it is back");
                }
                self.client = None;
                LOOK_INTERVAL
            }
            _ => return Err(error.into()),
        };
        std::thread::sleep(pause);
        Ok(())
    }

    /// For people only.
    fn note(&self, text: &str) {
        if !self.out.json {
            note(text);
        }
    }
}

pub(super) fn emit(context: &mut Context, event: &Emit) -> Result<Exit> {
    let payload = match &event.payload {
        Some(text) => payload(text)?,
        None => "null".into(),
    };
    let mut acting = context.acting(None, StartPolicy::IfNeeded)?;
    let request = Request::Emit {
        peer_id: acting.peer_id,
        kind: event.kind.as_str().into(),
        payload,
        id: new_id(),
    };
    let body = acting.client.call_bytes(&request)?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    let reply: EmittedReply = read_reply(&body)?;
    writeln!(context.out, "Emitted {} (event {}).", escape(&event.kind), reply.seq)?;
    Ok(Exit::Done)
}

fn payload(text: &Text) -> Result<Box<str>> {
    let text = read_text(text)?;
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(json) => Ok(json.get().into()),
        Err(error) => Err(Failure::usage(format!(
            "the payload is not JSON ({error}); a plain text needs quotes of its own: '\"text\"'"
        ))),
    }
}
