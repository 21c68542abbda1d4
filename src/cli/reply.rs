//! `slm-mesh reply`

use super::actor::{Acting, CLI};
use super::command::{Command, Context, Entry, Group, Task};
use super::values::TextArgument;
use super::words::{self, Words};
use super::{Failure, Result, inbox, send};
use crate::api::{
    Code, Fetch, Filter, HistoryPage, MessageInfo, Messages, Place, Request, SendMessage,
};
use crate::client::{StartPolicy, new_id};
use crate::model::{MessageKind, MessageRef, Party};
use crate::names;

pub(super) const ENTRY: Entry = Entry {
    name: "reply",
    group: Group::Messages,
    summary: "answer a message",
    usage: &["reply [handle] <text> [--type T]"],
    about: &[
        "Sends the text to whoever wrote the message, as the answer to it, and marks it read. \
         Without a handle it answers the last message that came. An answer to a message of \
         your own goes to its recipient.",
        "`inbox` and `history` show the handle of each message. `-` reads the text from the \
         standard input.",
    ],
    options: &[("--type T", "text (default), json, command or alert")],
    examples: &[
        ("reply 'yes, go on'", "the last message"),
        ("reply k7q2 'not before noon'", "this one"),
    ],
    parse,
};

#[derive(Debug, PartialEq, Eq)]
struct Reply {
    /// What it answers; the last message that came if none.
    message: Option<MessageRef>,
    text: TextArgument,
    kind: MessageKind,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let kind = send::kind(words)?;
    let mut texts = words.texts_left(&["<text>", "[text]"])?.into_iter();
    let (first, second) = (texts.next().unwrap_or_default(), texts.next());
    let (message, text) = match second {
        None => (None, first),
        Some(text) => {
            let message = MessageRef::parse(&first).ok_or_else(|| {
                words.error(format!(
                    "{first:?} is no message: give the handle that `inbox` shows, such as k7q2, or \
                     put quotes around the text"
                ))
            })?;
            (Some(message), text)
        }
    };
    Ok(Task::command(Reply { message, text: TextArgument::from_word(text), kind }))
}

impl Command for Reply {
    fn run(&self, context: &mut Context) -> Result<()> {
        let payload: Box<str> = self.text.read()?.into();
        let mut acting = context.acting(None, StartPolicy::IfNeeded)?;
        check_text(&mut acting, self)?;
        let answered = match self.message {
            Some(message) => {
                let found: HistoryPage = acting.client.call(&Request::FindMessage { message })?;
                found.messages.into_iter().next_back()
            }
            None => last(&mut acting)?,
        };
        let answered = answered.ok_or_else(|| {
            Failure::other(
                "no_message",
                "nobody has written to you yet: `slm-mesh send` writes first",
            )
        })?;
        let (to, name) = other_end(&acting, &answered);
        let letter = |to: Box<str>| SendMessage {
            from_peer: acting.peer_id.clone(),
            to_peer: to,
            payload: payload.clone(),
            kind: self.kind,
            reply_to: Some(answered.id.into()),
            id: new_id(),
            place: Place::default(),
        };
        let (first, second) = (letter(to), name.map(letter));
        match (send::one(context, &mut acting.client, first), second) {
            // The peer has left; whoever has its name next gets the message.
            (Err(Failure::Client(error)), Some(second))
                if error.code() == Some(Code::PeerNotFound) =>
            {
                send::one(context, &mut acting.client, second)?;
            }
            (sent, _) => sent?,
        }
        let is_ours = match &answered.to_peer {
            Some(Party::Peer(id)) => acting.id == Some(*id),
            Some(Party::Cli) => *acting.name == *CLI,
            _ => false,
        };
        if is_ours && answered.read_at.is_none() {
            // Whoever answers a message has read it.
            let peer_id = acting.peer_id.clone();
            inbox::mark_read(&mut acting.client, peer_id, vec![answered.id], context.out.json);
        }
        Ok(())
    }
}

/// Refuses a lone handle: the text was forgotten, and the handle would be sent instead.
fn check_text(acting: &mut Acting, reply: &Reply) -> Result<()> {
    let (None, TextArgument::Given(text)) = (reply.message, &reply.text) else { return Ok(()) };
    let Some(message) = MessageRef::parse(text) else { return Ok(()) };
    let found = acting.client.call::<HistoryPage>(&Request::FindMessage { message });
    match found {
        Ok(found) if !found.messages.is_empty() => Err(Failure::usage(format!(
            "{text} is a message, and the text is missing: `slm-mesh reply {text} TEXT`"
        ))),
        _ => Ok(()),
    }
}

/// The last message received.
fn last(acting: &mut Acting) -> Result<Option<MessageInfo>> {
    let fetch = Fetch {
        peer_id: acting.peer_id.clone(),
        filter: Filter::All,
        limit: Some(1),
        peek: true,
        ..Fetch::default()
    };
    let found: Messages = acting.client.call(&Request::Fetch(fetch))?;
    Ok(found.messages.into_iter().next_back())
}

/// The recipient of an answer: the sender of the message, or the recipient of one's own message; and
/// its name, if it is a peer.
fn other_end(acting: &Acting, message: &MessageInfo) -> (Box<str>, Option<Box<str>>) {
    let is_own = match &message.from_peer {
        Party::Peer(id) => acting.id == Some(*id),
        other => acting.id.is_none() && other.to_string() == *acting.name,
    };
    if !is_own {
        let name = message.from_peer.peer().map(|_| message.from_name.clone());
        return (message.from_peer.to_string().into(), name);
    }
    match (&message.to_peer, &message.to_group) {
        (Some(to), _) => (to.to_string().into(), message.to_name.clone()),
        (None, Some(group)) => (group.clone(), None),
        (None, None) => (names::ALL.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn the_last_message_is_answered_or_one() {
        let text = |text: &str| TextArgument::Given(text.into());
        let last = || Reply { message: None, text: text("yes"), kind: MessageKind::Text };
        assert_eq!(command::<Reply>("reply yes"), last());
        let one = Reply { message: MessageRef::parse("k7q2"), ..last() };
        assert_eq!(command::<Reply>("reply K7Q2 yes"), one);
        assert_eq!(command::<Reply>("reply -"), Reply { text: TextArgument::Stdin, ..last() });
        assert!(refused("reply").contains("<text> is missing"));
        assert!(refused("reply not a~message").contains("put quotes around the text"));
    }
}
