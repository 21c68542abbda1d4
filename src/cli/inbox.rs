//! `slm-mesh inbox`

use super::actor::Acting;
use super::command::{Command, Context, Entry, Group, Task};
use super::follow::Patient;
use super::out::{Out, note};
use super::text::{escape, time_of_day};
use super::words::{self, Words};
use super::{Failure, Result, message_view, sent, values};
use crate::api::{Code, Fetch, Filter, MessageInfo, Messages, Request};
use crate::client::blocking::read_reply;
use crate::client::{Client, StartPolicy};
use crate::limits::WAIT_SECONDS_MAX;
use crate::model::{MessageId, Seq};

/// Messages shown unless `--limit` says otherwise.
const LIMIT: u32 = 100;

pub(super) const ENTRY: Entry = Entry {
    name: "inbox",
    group: Group::Messages,
    summary: "read the messages sent to `cli`, or to a peer",
    usage: &[
        "inbox [--peer P] [--all] [--peek] [--limit N]",
        "inbox --follow [--peer P] [--peek]",
        "inbox --sent [--peer P] [--limit N]",
    ],
    about: &[
        "Shows unread messages, oldest first, and marks them read once they are written out. \
         The messages of a peer that reads its own, as agents do, stay unread.",
        "With --sent: the newest messages that were sent, and how far each has come. It is \
         queued when it is stored, delivered when the process of its recipient has confirmed \
         it, sent when a queue of the agent's own has it, notified when it is proven to be \
         before the agent, read when the agent has it. \
         For a broadcast: how many of its recipients have come that far.",
        "Control characters in messages are shown escaped; --json has them as they are.",
    ],
    options: &[
        ("--peer P", "the inbox of this peer"),
        ("--all", "read messages too, the newest ones"),
        ("--peek", "leave them unread"),
        ("-f, --follow", "and then those to come, until interrupted"),
        ("--sent", "what was sent from here, or by that peer"),
        ("--limit N", "at most N messages, 1 to 1000 (default: 100)"),
    ],
    examples: &[
        ("inbox", ""),
        ("inbox --peer webapp-claude --peek", "look over its shoulder"),
        ("inbox --sent", "was it read?"),
        ("inbox --follow", "as they come"),
    ],
    parse,
};

#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each option that is given or not")]
struct Inbox {
    /// The recipient; `cli` if none.
    peer: Option<String>,
    /// Also messages that were read.
    all: bool,
    /// Those that were sent, not those that came.
    sent: bool,
    /// Leave them unread.
    peek: bool,
    /// Also those to come.
    follow: bool,
    /// At most this many.
    limit: Option<u32>,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let peer = words.text("--peer")?;
    let limit = values::limit(words, 1)?;
    let inbox = Inbox {
        peer,
        all: words.flag("--all"),
        sent: words.flag("--sent"),
        peek: words.flag("--peek"),
        follow: words.flag(["-f", "--follow"]),
        limit,
    };
    let sent = "`--sent` shows messages read or not, and marks none";
    let follow = "`--follow` shows messages as they come";
    for (both, why, other) in [
        (inbox.sent && inbox.all, sent, "--all"),
        (inbox.sent && inbox.peek, sent, "--peek"),
        (inbox.follow && inbox.all, follow, "--all"),
        (inbox.follow && inbox.sent, follow, "--sent"),
    ] {
        if both {
            return Err(words.error(format!("{why}: leave out `{other}`")));
        }
    }
    words.end()?;
    Ok(Task::command(inbox))
}

impl Command for Inbox {
    fn run(&self, context: &mut Context) -> Result<()> {
        let Acting { mut client, peer_id, name, .. } =
            context.acting(None, StartPolicy::IfNeeded)?;
        let peer_id = self.peer.as_deref().map(Into::into).or(peer_id);
        let whose = peer_id.clone().unwrap_or(name);
        if self.sent {
            return sent::run(context, client, peer_id, &whose, self.limit.unwrap_or(LIMIT));
        }
        let fetch = Fetch {
            peer_id: peer_id.clone(),
            filter: if self.all { Filter::All } else { Filter::Unread },
            limit: Some(self.limit.unwrap_or(LIMIT)),
            // Marked read only after they were written out, so that a closed pipe loses nothing.
            peek: true,
            ..Fetch::default()
        };
        if self.follow {
            return follow(context, client, &fetch, self.peek, &whose);
        }
        let body = client.call_bytes(&Request::Fetch(fetch))?;
        let reply: Messages = read_reply(&body)?;
        if context.out.json {
            context.out.line(&body)?;
        } else {
            show(&mut context.out, self, &whose, &reply)?;
        }
        context.out.flush()?;
        let ids = unread(&reply.messages);
        if self.peek || ids.is_empty() {
            return Ok(());
        }
        match mark_read(&mut client, peer_id, ids, context.out.json) {
            Marked::Yes | Marked::NotOurs => Ok(()),
            Marked::Failed => Err(Failure::Reported),
        }
    }
}

fn unread(messages: &[MessageInfo]) -> Vec<MessageId> {
    let unread = messages.iter().filter(|message| message.read_at.is_none());
    unread.map(|message| message.id).collect()
}

/// Shows messages as they come, until it is interrupted.
fn follow(
    context: &mut Context,
    client: Client,
    fetch: &Fetch,
    peek: bool,
    whose: &str,
) -> Result<()> {
    let out = &mut context.out;
    let mut patient = Patient::new(client, out.json);
    patient.note(&format!("waiting for messages to {}; Ctrl-C ends", escape(whose)));
    let mut marks = !peek;
    let mut after: Option<Seq> = None;
    let mut first = true;
    loop {
        // Messages that are not marked read would come again.
        let after_now = after.filter(|_| !marks);
        let next = Fetch { after: after_now, wait: WAIT_SECONDS_MAX, ..fetch.clone() };
        let reply: Messages = patient.ask(&Request::Fetch(next))?;
        out.now = super::out::now();
        for message in &reply.messages {
            if out.json {
                out.document(message)?;
                continue;
            }
            if !std::mem::take(&mut first) {
                writeln!(out)?;
            }
            // A time, not an age: it stays true on the screen.
            message_view::show(out, message, time_of_day(message.created_at), None)?;
        }
        out.flush()?;
        after = reply.messages.last().map(|message| message.seq).or(after);
        let ids = unread(&reply.messages);
        if marks && !ids.is_empty() {
            let marked = mark_read(patient.client(), fetch.peer_id.clone(), ids, out.json);
            // After another failure they come again, and are marked then.
            marks = marked != Marked::NotOurs;
        }
    }
}

/// What came of marking messages read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// They are marked.
    Yes,
    /// Their recipient reads its messages itself.
    NotOurs,
    /// They could not be.
    Failed,
}

/// Marks messages read. The result is written already, so a failure is only noted.
pub(super) fn mark_read(
    client: &mut Client,
    peer_id: Option<Box<str>>,
    ids: Vec<MessageId>,
    json: bool,
) -> Marked {
    let Err(error) =
        client.call_bytes(&Request::MarkRead { peer_id, ids, way: None, claim_id: None })
    else {
        return Marked::Yes;
    };
    if error.code() == Some(Code::Forbidden) {
        if !json {
            note("left unread: this peer reads its messages itself");
        }
        return Marked::NotOurs;
    }
    note(&format!("the messages could not be marked read: {}", escape(&error.to_string())));
    Marked::Failed
}

fn show(out: &mut Out, inbox: &Inbox, whose: &str, reply: &Messages) -> Result<()> {
    if reply.messages.is_empty() {
        let kind = if inbox.all { "messages" } else { "unread messages" };
        return writeln!(out, "No {kind} for {}.", escape(whose));
    }
    for (i, message) in reply.messages.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        message_view::show(out, message, out.age(message.created_at), None)?;
    }
    if reply.remaining > 0 {
        let hint = match (inbox.all, inbox.peek) {
            (true, _) => "older ones: --limit",
            (false, true) => "more: --limit",
            (false, false) => "more: run this again",
        };
        writeln!(out, "\n{} {hint}", reply.remaining)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn options_that_exclude_each_other() {
        assert_eq!(command::<Inbox>("inbox"), Inbox::default());
        let full = Inbox {
            peer: Some("bob".into()),
            all: true,
            peek: true,
            limit: Some(5),
            ..Inbox::default()
        };
        assert_eq!(command::<Inbox>("inbox --peek --all --peer bob --limit 5"), full);
        let sent = Inbox { peer: Some("bob".into()), sent: true, ..Inbox::default() };
        assert_eq!(command::<Inbox>("inbox --sent --peer bob"), sent);
        let follow = Inbox { follow: true, ..Inbox::default() };
        assert_eq!(command::<Inbox>("inbox -f"), follow);
        assert!(refused("inbox --sent --all").contains("leave out `--all`"));
        assert!(refused("inbox --peek --sent").contains("leave out `--peek`"));
        assert!(refused("inbox --follow --sent").contains("leave out `--sent`"));
        assert!(refused("inbox --snt").contains("did you mean `--sent`?"));
        for bad in ["0", "1001", "x", "-1"] {
            assert!(refused(&format!("inbox --limit {bad}")).contains("from 1 to 1000"), "{bad}");
        }
    }
}
