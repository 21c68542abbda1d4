//! `slm-mesh history`: the messages between everyone.

use std::collections::BTreeSet;

use super::command::{Command, Context, Entry, Group, Task};
use super::message_view::{self, HistoryDetails};
use super::out::write_object;
use super::peer_names::PeerNames;
use super::text::escape;
use super::values::{self, Since};
use super::words::{self, Words};
use super::{Result, sent};
use crate::api::{self, HistoryPage, MessageInfo, Request};
use crate::client::{Client, StartPolicy};
use crate::limits::THREAD_MESSAGES_MAX;
use crate::model::{MessageId, MessageRef, Party, Seq, Timestamp};

/// Messages shown unless `--limit` says otherwise.
const LIMIT: u32 = 50;

pub(super) const ENTRY: Entry = Entry {
    name: "history",
    group: Group::Messages,
    summary: "what anyone has written to anyone",
    usage: &["history [--with PEER] [--grep TEXT] [--since T] [--thread HANDLE] [--limit N]"],
    about: &[
        "Shows the newest messages of the whole mesh, oldest first, for as long as messages are \
         kept, with how far each has come. It marks nothing as read.",
        "--with takes the name that someone has, has had, or wrote under. --thread shows the \
         whole conversation that a message is of: what it answers, and what answers that.",
    ],
    options: &[
        ("--with PEER", "only messages from or to PEER: a name, an id, cli, all, '#topic'"),
        ("--grep TEXT", "only messages with this text, in upper or lower case"),
        ("--since T", "only later ones: 10m, 2h, or 2026-04-08T10:30:00Z"),
        ("--thread HANDLE", "only the conversation with this message"),
        ("--limit N", "at most N messages, 1 to 1000 (default: 50)"),
    ],
    examples: &[
        ("history", ""),
        ("history --with api-claude --since 1h", ""),
        ("history --grep 'port 3000'", "who said that?"),
    ],
    parse,
};

#[derive(Debug, Default, PartialEq, Eq)]
struct History {
    /// Only messages from or to this one.
    with: Option<String>,
    /// Only messages with this text.
    grep: Option<String>,
    /// Only later ones.
    since: Option<Since>,
    /// Only the conversation with this message.
    thread: Option<MessageRef>,
    /// At most this many.
    limit: Option<u32>,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let history = History {
        with: words.text("--with")?,
        grep: words
            .value("--grep", "a text", |text| (!text.is_empty()).then(|| text.to_owned()))?,
        since: values::since(words)?,
        thread: words.value("--thread", values::HANDLE, MessageRef::parse)?,
        limit: values::limit(words, 1)?,
    };
    words.end()?;
    Ok(Task::command(history))
}

impl Command for History {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to read what others write to each other")?;
        let mut client = context.client(StartPolicy::IfNeeded)?;
        client.wait_out_rate_limits();
        let since = self.since.map(|since| since.before(context.out.now));
        let limit = self.limit.unwrap_or(LIMIT) as usize;
        let (messages, more) = match self.thread {
            None => newest(&mut client, self, since, limit)?,
            Some(message) => thread(&mut client, message, self, since, limit)?,
        };
        let out = &mut context.out;
        if out.json {
            return write_object!(out, "ok" => true, "messages" => messages, "more" => more);
        }
        if messages.is_empty() {
            let is_all = *self == Self { limit: self.limit, ..Self::default() };
            return if is_all {
                writeln!(out, "Nobody has written anything that is still kept.")
            } else {
                writeln!(out, "No such messages are kept.")
            };
        }
        let names =
            PeerNames::of(&mut client, messages.iter().filter_map(|it| it.to_peer.as_ref()))?;
        for (i, message) in messages.iter().enumerate() {
            if i > 0 {
                writeln!(out)?;
            }
            let details =
                HistoryDetails { to: recipient(message, &names), stage: sent::stage_text(message) };
            message_view::show(out, message, out.age(message.created_at), Some(&details))?;
        }
        if more {
            writeln!(out, "\nThere are older ones: --limit")?;
        }
        Ok(())
    }
}

/// The name of the recipient of a message.
pub(super) fn recipient(message: &MessageInfo, names: &PeerNames) -> String {
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

/// The conversation that contains a message, from its beginning.
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
        // In a very long conversation the latest messages are those that are answered.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn options_choose_among_messages() {
        let full = History {
            with: Some("bob".into()),
            grep: Some("the api".into()),
            since: Some(Since::Ago(7_200_000)),
            thread: MessageRef::parse("k7q2"),
            limit: Some(5),
        };
        let line = "history --with bob --grep the~api --since 2h --thread k7q2 --limit 5";
        assert_eq!(command::<History>(line), full);
        assert_eq!(command::<History>("history"), History::default());
        assert!(refused("history --grep=").contains("must be a text"));
        assert!(refused("history --thread 7").contains("the handle of a message"));
        assert!(refused("history bob").contains("unexpected word"));
    }
}
