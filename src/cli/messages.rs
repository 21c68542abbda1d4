//! `slm-mesh send`, `broadcast` and `inbox`

use std::io::{self, Read, Write};

use super::actor::{Acting, CLI};
use super::command::new_id;
use super::out::{Out, Paint, note};
use super::peers::{directory, repository};
use super::text::{count, escape, escape_lines, short_id};
use super::{Context, Exit, Failure, Inbox, Result, Send, Text, sent};
use crate::api::{Code, Fetch, Filter, MessageInfo, Messages, Place, Request, SendMessage, Sent};
use crate::client::blocking::read_reply;
use crate::client::{Client, StartPolicy};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::model::{MessageId, MessageKind, Party};
use crate::names;

/// What stands before the machine where the person at another one is meant.
const CLI_AT: &str = "cli@";
/// Everyone.
const ALL: &str = "all";
/// Messages shown when the command line does not say.
const INBOX_LIMIT: u32 = 100;

pub(super) fn send(context: &mut Context, message: &Send) -> Result<Exit> {
    let to = message.to.as_deref().unwrap_or(ALL);
    let payload = read_text(&message.message)?.into();
    let mut acting = context.acting(message.from.as_deref(), StartPolicy::IfNeeded)?;
    let request = Request::Send(SendMessage {
        from_peer: acting.peer_id,
        to_peer: to.into(),
        payload,
        kind: message.kind,
        reply_to: message.reply_to,
        id: new_id(),
        place: place(to)?,
    });
    let body = acting.client.call_bytes(&request)?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    let group = group_words(to);
    let to = escape(to);
    let sent: Sent = read_reply(&body)?;
    let text = match &sent {
        Sent::Direct { queued: true, .. } => {
            format!(
                "Nobody is called {to} now: it waits for the next session of that name, a day at most."
            )
        }
        Sent::Direct { delivered: true, .. } => format!("Delivered to {to}."),
        Sent::Direct { pushed: true, .. } => format!("Handed to {to}."),
        Sent::Direct { .. } if to == CLI => "Stored for `slm-mesh inbox`.".into(),
        Sent::Direct { .. } if to.starts_with(CLI_AT) => {
            let machine = to.get(CLI_AT.len()..).unwrap_or_default();
            format!("Stored for the person at {machine}: `slm-mesh inbox` there.")
        }
        Sent::Direct { .. } => {
            format!("Stored for {to}, who is not connected now and will find it.")
        }
        Sent::Broadcast { recipients: 0, .. } => match &group {
            Some((_, nobody)) => format!("{nobody}; nothing was sent."),
            None => "Nobody else is here; nothing was sent.".into(),
        },
        &Sent::Broadcast { recipients, pushed, .. } => format!(
            "Sent to {}{}; {pushed} of them {} connected now.",
            count(recipients.into(), "peer", "peers"),
            group.map_or_else(String::new, |(which, _)| format!(" {which}")),
            if pushed == 1 { "is" } else { "are" }
        ),
    };
    writeln!(context.out, "{text}")?;
    if let Some(reason) = sent.damped() {
        writeln!(context.out, "It is told later: {}.", escape(reason))?;
    }
    Ok(Exit::Done)
}

/// Which peers a group is, and that there are none; nothing for all, and for one peer.
fn group_words(to: &str) -> Option<(String, String)> {
    match to {
        names::REPO => Some(("in this repository".into(), "Nobody is in this repository".into())),
        names::DIRECTORY => {
            Some(("in this directory".into(), "Nobody is in this directory".into()))
        }
        topic if topic.starts_with(names::TOPIC) => {
            let topic = escape(topic);
            Some((format!("on {topic}"), format!("Nobody listens to {topic}")))
        }
        _ => None,
    }
}

/// Where we are, if a message to this group depends on it.
fn place(to: &str) -> Result<Place> {
    match to {
        names::REPO => repository(),
        names::DIRECTORY => Ok(Place { project_path: Some(directory()?), ..Place::default() }),
        _ => Ok(Place::default()),
    }
}

/// The text, or what the standard input has: as it is, its last newline included.
pub(super) fn read_text(text: &Text) -> Result<String> {
    match text {
        Text::Given(text) => Ok(text.clone()),
        Text::Stdin => {
            let mut bytes = Vec::new();
            let bound = PAYLOAD_BYTES_MAX as u64 + 1;
            io::stdin().lock().take(bound).read_to_end(&mut bytes).map_err(|error| {
                Failure::other("stdin", format!("the standard input cannot be read: {error}"))
            })?;
            if bytes.len() > PAYLOAD_BYTES_MAX {
                let limit = PAYLOAD_BYTES_MAX / 1024;
                return Err(Failure::usage(format!(
                    "the standard input is longer than {limit} KiB"
                )));
            }
            String::from_utf8(bytes)
                .map_err(|_| Failure::usage("the standard input is not valid UTF-8"))
        }
    }
}

pub(super) fn inbox(context: &mut Context, inbox: &Inbox) -> Result<Exit> {
    let Acting { mut client, peer_id, name } = context.acting(None, StartPolicy::IfNeeded)?;
    let peer_id = inbox.peer.as_deref().map(Into::into).or(peer_id);
    let whose = peer_id.clone().unwrap_or(name);
    if inbox.sent {
        let limit = inbox.limit.unwrap_or(INBOX_LIMIT);
        return sent::run(context, client, peer_id, &whose, limit);
    }
    // Peeked first, and marked read only when they are written out: a closed pipe loses nothing.
    let body = client.call_bytes(&Request::Fetch(Fetch {
        peer_id: peer_id.clone(),
        filter: if inbox.all { Filter::All } else { Filter::Unread },
        limit: Some(inbox.limit.unwrap_or(INBOX_LIMIT)),
        peek: true,
        ..Fetch::default()
    }))?;
    let reply: Messages = read_reply(&body)?;
    if context.out.json {
        context.out.document(&body)?;
    } else {
        show(&mut context.out, inbox, &whose, &reply)?;
    }
    context.out.flush()?;
    let unread = reply.messages.iter().filter(|message| message.read_at.is_none());
    let ids: Vec<MessageId> = unread.map(|message| message.id).collect();
    if inbox.peek || ids.is_empty() {
        return Ok(Exit::Done);
    }
    Ok(mark_read(&mut client, peer_id, ids, context.out.json))
}

/// The result is written already, so what goes wrong here is only noted.
fn mark_read(
    client: &mut Client,
    peer_id: Option<Box<str>>,
    ids: Vec<MessageId>,
    json: bool,
) -> Exit {
    let Err(error) =
        client.call_bytes(&Request::MarkRead { peer_id, ids, way: None, claim_id: None })
    else {
        return Exit::Done;
    };
    if error.code() == Some(Code::Forbidden) {
        if !json {
            note("left unread: this peer reads its messages itself");
        }
        return Exit::Done;
    }
    note(&format!("the messages could not be marked read: {}", escape(&error.to_string())));
    Exit::Failed
}

fn show(out: &mut Out, inbox: &Inbox, whose: &str, reply: &Messages) -> Result<()> {
    if reply.messages.is_empty() {
        let kind = if inbox.all { "messages" } else { "unread messages" };
        writeln!(out, "No {kind} for {}.", escape(whose))?;
        return Ok(());
    }
    for (i, message) in reply.messages.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        show_message(out, message)?;
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

/// A line about the message, then its text, indented so that it cannot be taken for such a line.
fn show_message(out: &mut Out, message: &MessageInfo) -> io::Result<()> {
    let name = message.from_peer.shown_as(&message.from_name);
    let name = escape(&name);
    let from = match &message.from_peer {
        Party::Peer(id) => {
            format!("{} ({})", out.style.paint(&name, Paint::Bold), short_id(&id.to_string()))
        }
        Party::Cli | Party::CliAt(_) | Party::Label(_) => {
            out.style.paint(&name, Paint::Bold).into_owned()
        }
    };
    let mut about = vec![out.age(message.created_at)];
    match message.kind {
        MessageKind::Text => {}
        MessageKind::Alert => about.push(out.style.paint("alert", Paint::Warn).into_owned()),
        MessageKind::Json | MessageKind::Command => about.push(message.kind.as_str().into()),
    }
    if message.to_peer.is_none() {
        about.push(format!("to {}", message.to_group.as_deref().unwrap_or(ALL)));
    }
    if let Some(id) = message.reply_to {
        about.push(format!("answers {}", id.handle()));
    }
    let handle = format!("handle {}", message.handle);
    let handle = out.style.paint(&handle, Paint::Dim).into_owned();
    writeln!(out, "{from}  {}  {handle}", about.join("  "))?;
    for line in escape_lines(&message.payload).lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}
