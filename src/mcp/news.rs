//! Events to which the agent has subscribed and of which it has not been told, for the notice on the
//! results of its tools.

use std::collections::VecDeque;
use std::fmt::Write;

use serde_json::Value;

use super::server::{Purpose, Server};
use crate::api::{Events, ReadEvents, Request};
use crate::client::ClientError;
use crate::limits::{LIST_LIMIT_MAX, NOTICE_EVENTS_CHARS_MAX, NOTICE_EVENTS_MAX};
use crate::log;
use crate::model::{Seq, event_type};
use crate::names;

/// Most characters that follow the events in a line.
const REST_CHARS: usize = ", 18446744073709551615 more; mesh_events reads them".len();

/// See the module.
#[derive(Debug, Default)]
pub(super) struct News {
    events: VecDeque<(Seq, Box<str>)>,
    /// How many more there are, for which there was no room.
    others: u64,
    /// The last event that is known.
    known: Option<Seq>,
    /// What is pushed while missed events are being read.
    held: Option<Vec<Value>>,
}

impl News {
    pub(super) fn add(&mut self, seq: Seq, kind: &str) {
        if self.events.len() < NOTICE_EVENTS_MAX {
            self.events.push_back((seq, kind.into()));
        } else {
            self.others += 1;
        }
    }

    /// The agent has been told of these in another way.
    pub(super) fn told(&mut self, events: &[Seq]) {
        self.events.retain(|(seq, _)| !events.contains(seq));
    }

    /// The agent has been told of all of them.
    pub(super) fn told_all(&mut self) {
        self.events.clear();
        self.others = 0;
    }

    /// How many there are of each type, in a line of at most [`NOTICE_EVENTS_CHARS_MAX`] characters.
    pub(super) fn line(&self) -> Option<String> {
        let mut counts: Vec<(&str, u64)> = Vec::new();
        for (_, kind) in &self.events {
            match counts.iter_mut().find(|(known, _)| *known == &**kind) {
                Some((_, count)) => *count += 1,
                None => counts.push((kind, 1)),
            }
        }
        let all = self.events.len() as u64 + self.others;
        if all == 0 {
            return None;
        }
        let mut line = String::from("[mesh] events: ");
        let mut shown = 0;
        for (at, (kind, count)) in counts.iter().enumerate() {
            let item = format!("{}{kind} ({count})", if at > 0 { ", " } else { "" });
            if line.len() + item.len() + REST_CHARS > NOTICE_EVENTS_CHARS_MAX {
                break;
            }
            line.push_str(&item);
            shown += count;
        }
        let rest = all - shown;
        if rest > 0 {
            // Into a string: cannot fail.
            let _ = write!(line, "{}{rest} more", if shown > 0 { ", " } else { "" });
        }
        line.push_str("; mesh_events reads them");
        Some(line)
    }
}

impl Server {
    /// An event has been pushed.
    pub(super) fn event_arrived(&mut self, payload: &Value) {
        if let Some(held) = self.news.held.as_mut().filter(|held| held.len() < NOTICE_EVENTS_MAX) {
            return held.push(payload.clone());
        }
        let text = |key: &str| payload.get(key).and_then(Value::as_str);
        let Some((kind, seq)) = text("eventType").zip(seq_of(payload)) else { return };
        self.news.known = self.news.known.map(|known| known.max(seq));
        if self.is_news(kind, text("emittedBy")) && !self.waking.add_event(payload) {
            self.news.add(seq, kind);
        }
    }

    /// What the agent has done itself is not news, and could make it wake itself for ever. A message is
    /// told as a message.
    fn is_news(&self, kind: &str, by: Option<&str>) -> bool {
        let own = self.presence.identity().map(|identity| identity.id.to_string());
        kind != event_type::MESSAGE_RECEIVED && (by.is_none() || by != own.as_deref())
    }

    /// Reads events that were not pushed because there was no connection. If the subscription `is_new`,
    /// only looks which event is the last.
    pub(super) fn look_for_events(&mut self, is_new: bool) {
        if is_new {
            self.news.known = None;
        }
        let types = self.subscribed.iter().filter(|kind| !kind.starts_with(names::TOPIC));
        let types: Vec<Box<str>> = types.cloned().collect();
        if types.is_empty() || self.news.held.is_some() {
            return;
        }
        self.news.held = Some(Vec::new());
        let after = self.news.known;
        let limit = Some(if after.is_some() { LIST_LIMIT_MAX } else { 1 });
        let read = ReadEvents { types, after, limit, ..ReadEvents::default() };
        self.ask(Purpose::MissedEvents, Request::ReadEvents(read));
    }

    /// Missed events were read.
    pub(super) fn handle_missed_events(&mut self, result: Result<Vec<u8>, ClientError>) {
        let held = self.news.held.take().unwrap_or_default();
        let found = result.map(|body| serde_json::from_slice::<Events>(&body));
        // What was pushed up to there has been read, too.
        let mut found_up_to = None;
        match found {
            Ok(Ok(events)) => {
                let since = self.news.known.replace(events.last_seq);
                found_up_to = since.map(|_| events.last_seq);
                for event in events.events.iter().filter(|_| since.is_some()) {
                    let by = event.emitted_by.as_ref().map(ToString::to_string);
                    if self.is_news(&event.kind, by.as_deref()) {
                        self.news.add(event.seq, &event.kind);
                    }
                }
            }
            // Perhaps it is another database.
            Ok(Err(_)) | Err(ClientError::Refused(_)) => self.news.known = None,
            Err(error) => log::debug(format_args!("cannot look for events: {error}")),
        }
        for payload in held.iter().filter(|payload| seq_of(payload) > found_up_to) {
            self.event_arrived(payload);
        }
    }

    /// The agent has read the events in this answer.
    pub(super) fn events_read(&mut self, answer: &str) {
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        let events = answer.get("events").and_then(Value::as_array);
        let seqs: Vec<Seq> = events.into_iter().flatten().filter_map(seq_of).collect();
        self.news.told(&seqs);
    }
}

fn seq_of(event: &Value) -> Option<Seq> {
    event.get("seq").and_then(Value::as_u64).map(Seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::EVENT_TYPE_CHARS_MAX;

    #[test]
    fn events_are_counted_by_their_types() {
        let mut news = News::default();
        assert_eq!(news.line(), None);
        for (seq, kind) in ["a.b", "c.d", "a.b", "file_locked"].into_iter().enumerate() {
            news.add(Seq(seq as u64), kind);
        }
        let line = news.line().unwrap();
        assert_eq!(
            line,
            "[mesh] events: a.b (2), c.d (1), file_locked (1); mesh_events reads them"
        );
        news.told(&[Seq(0), Seq(3)]);
        assert_eq!(news.line().unwrap(), "[mesh] events: c.d (1), a.b (1); mesh_events reads them");
        news.told_all();
        assert_eq!(news.line(), None);
    }

    #[test]
    fn a_line_has_an_end_however_many_there_are_and_whatever_they_are_called() {
        let mut news = News::default();
        let long = "x".repeat(EVENT_TYPE_CHARS_MAX);
        news.add(Seq(0), &long);
        let line = news.line().unwrap();
        assert!(line.contains(&long) && line.len() <= NOTICE_EVENTS_CHARS_MAX, "{line}");
        for seq in 1..=NOTICE_EVENTS_MAX as u64 + 5 {
            news.add(Seq(seq), &format!("build-{}.{}", seq % 100, "y".repeat(20)));
        }
        assert_eq!(news.events.len(), NOTICE_EVENTS_MAX);
        let line = news.line().unwrap();
        assert!(line.len() <= NOTICE_EVENTS_CHARS_MAX, "{line}");
        assert!(line.ends_with(" more; mesh_events reads them"), "{line}");
    }
}
