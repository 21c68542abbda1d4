//! `slm-mesh events`

use super::Result;
use super::command::{Command, Context, Entry, Group, Task};
use super::follow::Patient;
use super::out::{Out, Paint};
use super::peer_names::PeerNames;
use super::said::{self, Teller};
use super::table::{Cell, cut, cut_middle, elastic, fixed};
use super::text::{escape, time_of_day};
use super::values::{self, Since};
use super::words::{self, Words};
use crate::api::{Code, EventInfo, Events, ReadEvents, Request};
use crate::client::{Client, ClientError, StartPolicy};
use crate::limits::{LIST_LIMIT_MAX, WAIT_SECONDS_MAX};
use crate::model::{Party, Seq};

/// Past events shown with `--follow`, unless `--limit` says otherwise.
const FOLLOW_LIMIT: u32 = 10;

pub(super) const ENTRY: Entry = Entry {
    name: "events",
    group: Group::Shared,
    summary: "what has happened, and what is happening",
    usage: &["events [--type T]... [--since T] [--limit N] [--follow]"],
    about: &[
        "Shows the newest events, oldest first, in sentences; --json has them as they are kept. \
         With --follow it goes on until interrupted, also over a restart of the broker; --json \
         then prints one line for each event.",
    ],
    options: &[
        ("--type T", "only this type, or those of a prefix: 'build.*'; may be repeated"),
        ("--since T", "only later ones: 10m, 2h, or 2026-04-08T10:30:00Z"),
        ("--limit N", "at most N past events, 1 to 1000 (default: 50, with --follow 10)"),
        ("-f, --follow", "and then those to come"),
    ],
    examples: &[
        ("events --since 1h", ""),
        ("events --follow --type 'build.*' --json", "for scripts"),
    ],
    parse,
};

/// What is said where there is nothing to show.
const NOTHING: &str = "Nothing has happened that is still kept.";
const NO_SUCH: &str = "No such events are kept.";

#[derive(Debug, Default, PartialEq, Eq)]
struct ShowEvents {
    /// Only these types.
    types: Vec<String>,
    /// Only later ones.
    since: Option<Since>,
    /// At most so many of those that have been.
    limit: Option<u32>,
    /// Also those to come.
    follow: bool,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let types = words.texts("--type")?;
    let since = values::since(words)?;
    let follow = words.flag(["-f", "--follow"]);
    let limit = values::limit(words, u32::from(!follow))?;
    words.end()?;
    Ok(Task::command(ShowEvents { types, since, limit, follow }))
}

impl Command for ShowEvents {
    fn run(&self, context: &mut Context) -> Result<()> {
        let since = self.since.map(|since| since.before(context.out.now));
        let default = if self.follow { Some(FOLLOW_LIMIT) } else { None };
        let read = ReadEvents {
            types: self.types.iter().map(|kind| kind.as_str().into()).collect(),
            since,
            limit: self.limit.or(default),
            ..ReadEvents::default()
        };
        let mut client = context.client(StartPolicy::IfNeeded)?;
        if self.follow {
            let (patient, names) = (Patient::new(client, context.out.json), PeerNames::default());
            return Follower { out: &mut context.out, patient, read, cursor: None, names }.run();
        }
        let out = &mut context.out;
        let reply: Option<Events> = out.ask(&mut client, &Request::ReadEvents(read))?;
        let Some(Events { events, .. }) = reply else { return Ok(()) };
        if events.is_empty() {
            let is_all = self.types.is_empty() && self.since.is_none();
            return writeln!(out, "{}", if is_all { NOTHING } else { NO_SUCH });
        }
        let names = names(&mut client, PeerNames::default(), &events)?;
        let columns = [fixed("WHEN"), elastic("TYPE", 10).less(1), elastic("EVENT", 60)];
        out.table(columns, &events, |out, event| {
            [
                Cell::painted(out.age(event.created_at), Paint::Dim),
                escape(&event.kind).into(),
                sentence(out, &names, event).into(),
            ]
        })
    }
}

/// Adds the names of the parties to these events; none is looked up twice.
fn names(client: &mut Client, known: PeerNames, events: &[EventInfo]) -> Result<PeerNames> {
    let parties: Vec<Party> =
        events.iter().flat_map(said::parties).filter(|party| !known.knows(party)).collect();
    if parties.is_empty() {
        return Ok(known);
    }
    Ok(known.with(PeerNames::of(client, &parties)?))
}

fn sentence(out: &Out, names: &PeerNames, event: &EventInfo) -> String {
    said::sentence(
        event,
        &Teller {
            name: &|party| names.shown(party),
            text: &|text| escape(text).into_owned(),
            path: &|path| match out.style.width {
                // Keep the end of a path visible, and what follows it.
                Some(width) => cut_middle(&out.path(path), (width * 2 / 5).max(20)),
                None => out.path(path),
            },
        },
    )
}

/// Events as they come, until it is interrupted.
struct Follower<'a> {
    out: &'a mut Out,
    patient: Patient,
    read: ReadEvents,
    /// Where to continue; none before the first read.
    cursor: Option<Seq>,
    names: PeerNames,
}

impl Follower<'_> {
    fn run(mut self) -> Result<()> {
        loop {
            match self.next() {
                Ok(events) => self.show(&events)?,
                // The database has been replaced, and has fewer events.
                Err(error)
                    if error.code() == Some(Code::InvalidRequest) && self.cursor.is_some() =>
                {
                    self.patient.note("the broker has begun anew; going on from what it has");
                    self.cursor = None;
                    self.read.limit = Some(0);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn next(&mut self) -> std::result::Result<Events, ClientError> {
        let mut read = self.read.clone();
        if let Some(cursor) = self.cursor {
            read.after = Some(cursor);
            read.limit = Some(LIST_LIMIT_MAX);
            read.wait = WAIT_SECONDS_MAX;
        } else {
            // With `--limit 0` one is read nevertheless, to know where to continue.
            read.limit = read.limit.map(|limit| limit.max(1));
        }
        self.patient.ask(&Request::ReadEvents(read))
    }

    fn show(&mut self, reply: &Events) -> Result<()> {
        let is_past = self.cursor.is_none();
        if self.cursor.is_some_and(|cursor| cursor.next() < reply.first_seq) {
            self.patient.note("some events were not kept long enough to be shown");
        }
        self.cursor = Some(reply.last_seq);
        // Only the first read is of past events.
        self.read.since = None;
        if is_past && self.read.limit == Some(0) {
            return Ok(());
        }
        if !self.out.json {
            let known = std::mem::take(&mut self.names);
            // If the broker stops now, the events are shown without names.
            self.names = names(self.patient.client(), known, &reply.events).unwrap_or_default();
        }
        for event in &reply.events {
            self.write(event)?;
        }
        self.out.flush()
    }

    fn write(&mut self, event: &EventInfo) -> Result<()> {
        if self.out.json {
            return self.out.document(event);
        }
        // A time, not an age: it stays true on the screen.
        let time = time_of_day(event.created_at);
        let said = sentence(self.out, &self.names, event);
        let said = match self.out.style.width {
            Some(width) => cut(&said, width.saturating_sub(time.len() + 2)),
            None => said,
        };
        let time = self.out.style.paint(&time, Paint::Dim);
        writeln!(self.out, "{time}  {said}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn events_have_been_or_are_to_come() {
        assert_eq!(command::<ShowEvents>("events"), ShowEvents::default());
        let full = ShowEvents {
            types: vec!["a.*".into(), "peer_left".into()],
            since: Some(Since::Ago(600_000)),
            limit: Some(0),
            follow: true,
        };
        let line = "events --type a.* --follow --since 10m --type peer_left --limit 0";
        assert_eq!(command::<ShowEvents>(line), full);
        assert!(refused("events --limit 0").contains("from 1 to 1000"));
        assert!(refused("events --since 10").contains("a time such as"));
    }
}
