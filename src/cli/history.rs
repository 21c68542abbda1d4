//! `slm-mesh history`: what anyone has written to anyone.

use std::collections::BTreeSet;
use std::io::Write;

use super::catalog::Entry;
use super::letter::{self, Between};
use super::text::escape;
use super::who::Names;
use super::words::Words;
use super::{Command, Context, Exit, Result, Since, parse, sent};
use crate::api::{self, HistoryPage, MessageInfo, Request};
use crate::client::{Client, StartPolicy};
use crate::limits::THREAD_MESSAGES_MAX;
use crate::model::{MessageId, MessageRef, Party, Seq, Timestamp};

/// Messages shown when the command line does not say.
const LIMIT: u32 = 50;

/// `history`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Only those from or to this one.
    pub with: Option<String>,
    /// Only those with this text.
    pub grep: Option<String>,
    /// Only later ones.
    pub since: Option<Since>,
    /// Only the conversation with this message.
    pub thread: Option<MessageRef>,
    /// At most so many.
    pub limit: Option<u32>,
}

pub(super) fn parse(
    entry: &Entry,
    mut words: Words,
) -> std::result::Result<Command, super::UsageError> {
    let history = History {
        with: words.text("--with")?,
        grep: words
            .value("--grep", "a text", |text| (!text.is_empty()).then(|| text.to_owned()))?,
        since: words.value("--since", parse::SINCE, parse::since)?,
        thread: words.value("--thread", parse::HANDLE, MessageRef::parse)?,
        limit: parse::limit(&mut words, 1)?,
    };
    parse::alone(entry, words, Command::History(history))
}

pub(super) fn run(context: &mut Context, wanted: &History) -> Result<Exit> {
    let mut client = context.client(StartPolicy::IfNeeded)?;
    client.wait_out_rate_limits();
    let since = wanted.since.map(|since| since.before(context.out.now));
    let limit = wanted.limit.unwrap_or(LIMIT) as usize;
    let (messages, more) = match wanted.thread {
        None => newest(&mut client, wanted, since, limit)?,
        Some(message) => thread(&mut client, message, wanted, since, limit)?,
    };
    let out = &mut context.out;
    if out.json {
        let messages = serde_json::to_string(&messages).map_err(std::io::Error::from)?;
        let document = format!(r#"{{"ok":true,"messages":{messages},"more":{more}}}"#);
        out.document(document.as_bytes())?;
        return Ok(Exit::Done);
    }
    if messages.is_empty() {
        let is_all = *wanted == History { limit: wanted.limit, ..History::default() };
        let text = if is_all {
            "Nobody has written anything that is still kept."
        } else {
            "No such messages are kept."
        };
        writeln!(out, "{text}")?;
        return Ok(Exit::Done);
    }
    let names = Names::of(&mut client, messages.iter().filter_map(|it| it.to_peer.as_ref()))?;
    for (i, message) in messages.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        let between = Between { to: recipient(message, &names), stage: sent::stage_text(message) };
        letter::show(out, message, out.age(message.created_at), Some(&between))?;
    }
    if more {
        writeln!(out, "\nThere are older ones: --limit")?;
    }
    Ok(Exit::Done)
}

/// What the recipient of a message is called.
pub(super) fn recipient(message: &MessageInfo, names: &Names) -> String {
    if let Some(name) = message.to_group.as_ref().or(message.to_name.as_ref()) {
        return escape(name).into_owned();
    }
    message.to_peer.as_ref().map_or_else(|| "all".into(), |to: &Party| names.shown(to))
}

/// The newest that match, oldest first, and whether there may be more.
fn newest(
    client: &mut Client,
    wanted: &History,
    since: Option<Timestamp>,
    limit: usize,
) -> Result<(Vec<MessageInfo>, bool)> {
    let mut found: Vec<MessageInfo> = Vec::new();
    let mut before: Option<Seq> = None;
    loop {
        let left = u32::try_from(limit - found.len()).unwrap_or(u32::MAX);
        let page: HistoryPage = client.call(&Request::History(api::History {
            with: wanted.with.as_deref().map(Into::into),
            text: wanted.grep.as_deref().map(Into::into),
            since,
            before,
            limit: Some(left),
            ..api::History::default()
        }))?;
        found.splice(0..0, page.messages);
        before = page.next;
        if before.is_none() || found.len() >= limit {
            return Ok((found, before.is_some()));
        }
    }
}

/// The conversation that a message is of, from its beginning.
fn thread(
    client: &mut Client,
    message: MessageRef,
    wanted: &History,
    since: Option<Timestamp>,
    limit: usize,
) -> Result<(Vec<MessageInfo>, bool)> {
    let above: HistoryPage = client.call(&Request::FindMessage { message })?;
    let Some(root) = above.messages.first() else { return Ok((Vec::new(), false)) };
    let mut known: BTreeSet<MessageId> = [root.id].into();
    let mut after = root.seq.0.checked_sub(1).map(Seq);
    let mut found: Vec<MessageInfo> = Vec::new();
    while let Some(from) = after {
        // Of a very long one the latest are the ones that are answered.
        let thread = known.iter().rev().take(THREAD_MESSAGES_MAX).copied().collect();
        let page: HistoryPage = client.call(&Request::History(api::History {
            thread,
            after: Some(from),
            ..api::History::default()
        }))?;
        known.extend(page.messages.iter().map(|message| message.id));
        found.extend(page.messages);
        after = page.next;
    }
    let text = wanted.grep.as_ref().map(|text| text.to_lowercase());
    found.retain(|message| {
        since.is_none_or(|since| message.created_at > since)
            && text.as_ref().is_none_or(|text| message.payload.to_lowercase().contains(text))
    });
    let more = found.len() > limit;
    let found = found.split_off(found.len().saturating_sub(limit));
    Ok((found, more))
}
