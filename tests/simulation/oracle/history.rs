//! What was written to anyone: for the person, and one message for whoever it concerns.

use serde_json::Value;
use slm_mesh::api::{History, HistoryPage};

use super::Oracle;
use crate::generate::Known;
use crate::world::Token;

impl Oracle {
    /// A page has messages as they were written, the oldest first, and those that were asked for.
    pub(super) fn history(
        &mut self,
        page: &HistoryPage,
        token: &Token,
        body: &Value,
        known: &Known,
    ) {
        let messages = &page.messages;
        assert!(messages.is_sorted_by_key(|message| message.id.seq()), "the oldest first");
        for message in messages {
            self.stages(message, known);
            if let Some(acked) = self.acked.get(&message.id) {
                assert_eq!(*message.payload, acked.payload, "the text of {}", message.id);
            }
        }
        if let Some(named) = body["message"].as_str() {
            let last = messages.last().expect("one that is not found is refused");
            let is_it = last.id.to_string() == named || last.handle.to_string() == named;
            assert!(is_it, "{} is not {named}", last.id);
            for pair in messages.windows(2) {
                assert_eq!(pair[1].reply_to, Some(pair[0].id), "each answers the one before");
                self.met.insert("a message and what it answers".to_owned());
            }
            return;
        }
        let Token::Person(home) = token else { panic!("only a person reads what others write") };
        let limit = body["limit"].as_u64().unwrap_or(u64::from(History::DEFAULT_LIMIT));
        assert!(messages.len() as u64 <= limit, "no more than {limit}");
        let (before, after) = (body["before"].as_u64(), body["after"].as_u64());
        for message in messages {
            let seq = message.id.seq().0;
            assert!(before.is_none_or(|before| seq < before), "{seq} is before {before:?}");
            assert!(after.is_none_or(|after| seq > after), "{seq} is after {after:?}");
            if let Some(text) = body["text"].as_str() {
                let has_it = message.payload.to_lowercase().contains(&text.to_lowercase());
                assert!(has_it, "{text} is in {}", message.payload);
                self.met.insert("found by its text".to_owned());
            }
        }
        if body["with"].is_string() && !messages.is_empty() {
            self.met.insert("found by who wrote or got it".to_owned());
        }
        let narrows = ["with", "text", "thread", "since", "before", "after"];
        if home.is_none() && page.next.is_none() && narrows.iter().all(|it| body[it].is_null()) {
            for (id, acked) in &self.acked {
                let is_there = messages.iter().any(|message| message.id == *id);
                assert!(is_there || self.may_be_gone(acked.at), "{id} is in the history");
            }
            self.met.insert("all of history".to_owned());
        }
    }
}
