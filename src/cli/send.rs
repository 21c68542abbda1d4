//! `slm-mesh send` and `broadcast`, and what is told of a message that was sent.

use std::io::{self, Read};

use super::actor::Acting;
use super::command::new_id;
use super::out::note;
use super::own_words::own_words;
use super::peers::{directory, repository};
use super::text::{count, escape};
use super::{Context, Exit, Failure, Result, Send, Text, who};
use crate::api::{HistoryPage, PeerInfo, PeerStatus, Place, Request, SendMessage, Sent};
use crate::client::blocking::read_reply;
use crate::client::{Client, ClientError, StartPolicy};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::model::{MachineName, MessageId, Party, PeerId, reach};
use crate::names;

pub(super) fn run(context: &mut Context, message: &Send) -> Result<Exit> {
    let payload: Box<str> = read_text(&message.message)?.into();
    let places: Vec<(&str, Place)> =
        message.to.iter().map(|to| Ok((&**to, place(to)?))).collect::<Result<_>>()?;
    let mut acting = context.acting(message.from.as_deref(), StartPolicy::IfNeeded)?;
    let letter = |acting: &Acting, to: &str, place: Place| SendMessage {
        from_peer: acting.peer_id.clone(),
        to_peer: to.into(),
        payload: payload.clone(),
        kind: message.kind,
        reply_to: message.reply_to,
        id: new_id(),
        place,
    };
    if let [(to, place)] = &*places {
        let letter = letter(&acting, to, place.clone());
        return one(context, &mut acting.client, letter);
    }
    let mut answers = Vec::new();
    let mut failed = false;
    for (to, place) in places {
        let letter = letter(&acting, to, place);
        let body = match acting.client.call_bytes(&Request::Send(letter)) {
            Ok(body) => body,
            // Of one of them; the others are sent to all the same.
            Err(ClientError::Refused(refused)) => {
                failed = true;
                if !context.out.json {
                    note(&format!("{}: {}", escape(to), escape(&own_words(&refused.message))));
                }
                refused.body
            }
            Err(error) => return Err(error.into()),
        };
        if context.out.json {
            answers.push(answer_to(to, &body));
        } else if let Ok(sent) = serde_json::from_slice::<Sent>(&body) {
            tell(context, &mut acting.client, to, &sent)?;
        }
    }
    if context.out.json {
        let document = format!(r#"{{"ok":{},"sent":[{}]}}"#, !failed, answers.join(","));
        context.out.document(document.as_bytes())?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// `{"to":"bob","answer":{...}}`
fn answer_to(to: &str, body: &[u8]) -> String {
    let to = serde_json::to_string(to).unwrap_or_default();
    format!(r#"{{"to":{to},"answer":{}}}"#, String::from_utf8_lossy(body.trim_ascii_end()))
}

/// Sends one message and tells what has become of it.
pub(super) fn one(context: &mut Context, client: &mut Client, letter: SendMessage) -> Result<Exit> {
    let to = letter.to_peer.clone();
    let body = client.call_bytes(&Request::Send(letter))?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    let sent: Sent = read_reply(&body)?;
    tell(context, client, &to, &sent)?;
    Ok(Exit::Done)
}

fn tell(context: &mut Context, client: &mut Client, to: &str, sent: &Sent) -> Result<()> {
    let text = match sent {
        Sent::Direct { queued: true, .. } => format!(
            "Nobody is called {} now: it waits for the next session of that name, a day at most.",
            escape(to)
        ),
        &Sent::Direct { message_id, delivered, pushed, .. } => {
            // It is sent, whatever comes of looking.
            match recipient(client, message_id).unwrap_or_default() {
                Recipient::Person => {
                    "Stored for the person, who reads it with `slm-mesh inbox`.".into()
                }
                Recipient::PersonAt(machine) => {
                    // As the hub is called here, which has a name of its own, too.
                    let place = match to.split_once('@') {
                        Some((_, "hub")) => "the hub".into(),
                        Some((_, at)) => escape(at).into_owned(),
                        None => machine.to_string(),
                    };
                    format!(
                        "Stored for the person at {place}, who reads it with `slm-mesh inbox` there."
                    )
                }
                Recipient::Peer(peer) => {
                    let name = escape(&peer.name);
                    format!(
                        "{} {name}{}",
                        if pushed || delivered { "Sent to" } else { "Stored for" },
                        fate(context, &peer)
                    )
                }
                Recipient::Unknown => format!("Sent to {}.", escape(to)),
            }
        }
        Sent::Broadcast { recipients: 0, .. } => match group_words(to) {
            Some((_, nobody)) => format!("{nobody}; nothing was sent."),
            None => "Nobody else is here; nothing was sent.".into(),
        },
        &Sent::Broadcast { recipients, .. } => format!(
            "Sent to {}{}; `slm-mesh inbox --sent` shows how many have read it.",
            count(recipients.into(), "peer", "peers"),
            group_words(to).map_or_else(String::new, |(which, _)| format!(" {which}")),
        ),
    };
    context.out.paragraph(&text)?;
    if let Some(reason) = sent.damped() {
        context.out.paragraph(&format!("It is told later: {}.", escape(reason)))?;
    }
    Ok(())
}

/// Who has got a message.
#[derive(Debug, Default)]
enum Recipient {
    Person,
    PersonAt(MachineName),
    Peer(Box<PeerInfo>),
    #[default]
    Unknown,
}

fn recipient(client: &mut Client, message: MessageId) -> Result<Recipient> {
    let found: HistoryPage = client.call(&Request::FindMessage { message: message.into() })?;
    let to = found.messages.last().and_then(|message| message.to_peer.clone());
    Ok(match to {
        Some(Party::Peer(id)) => match peer(client, id)? {
            Some(peer) => Recipient::Peer(Box::new(peer)),
            None => Recipient::Unknown,
        },
        Some(Party::Cli) => Recipient::Person,
        Some(Party::CliAt(machine)) => Recipient::PersonAt(machine),
        _ => Recipient::Unknown,
    })
}

fn peer(client: &mut Client, id: PeerId) -> Result<Option<PeerInfo>> {
    Ok(who::with_ids(client, vec![id])?.pop())
}

/// When a peer comes to know of a message: what stands behind `Sent to NAME`.
fn fate(context: &Context, peer: &PeerInfo) -> String {
    match (peer.status, &*peer.reach) {
        (PeerStatus::Stale, _) => {
            let heard = context.out.age(peer.last_heartbeat);
            format!(", which was last heard of {heard}: it finds it when it is back.")
        }
        (PeerStatus::Away, _) => {
            ": its MCP server is gone, and it gets it when one is back.".into()
        }
        (PeerStatus::Left, _) => ", which has left meanwhile.".into(),
        (PeerStatus::Active, reach::WAKES) => ": it is woken now.".into(),
        (PeerStatus::Active, reach::NEXT_TURN) => ": it sees it in its next turn.".into(),
        (PeerStatus::Active, reach::NEXT_CALL) => {
            ": it sees it at its next call of a mesh tool.".into()
        }
        (PeerStatus::Active, reach::HELD) => ": its user has to allow it first.".into(),
        (PeerStatus::Active, reach::NONE) => ": it finds it when it looks.".into(),
        (PeerStatus::Active, _) => ".".into(),
    }
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
