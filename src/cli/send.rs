//! `slm-mesh send` and `broadcast`, and what is reported about a message that was sent.

use super::actor::Acting;
use super::command::{Command, Context, Entry, Group, Task};
use super::out::note;
use super::own_words::own_words;
use super::text::{age, count, escape};
use super::values::{HANDLE, TextArgument};
use super::words::{self, Words};
use super::{Failure, Result, peer_names, place};
use crate::api::{HistoryPage, PeerInfo, PeerStatus, Place, Request, SendMessage, Sent};
use crate::client::{Client, ClientError, StartPolicy, new_id};
use crate::model::{MessageId, MessageKind, MessageRef, Party, Timestamp, reach};
use crate::names;

pub(super) const ENTRY: Entry = Entry {
    name: "send",
    group: Group::Messages,
    summary: "send a message to a peer or a group",
    usage: &["send <peer>[,<peer>...] <message> [--type T] [--from P] [--reply-to HANDLE]"],
    about: &[
        "<peer> is a name, an id, the first 4 or more characters of an id, `cli`, or a group: \
         `all`, `repo` and `directory` (the peers in this repository, in this directory), \
         '#topic' (those that listen to it). Separate several with commas.",
        "A message to a name that a session asked for and that nobody has now waits for the \
         next session of that name.",
        "<message> is one word to the shell, so quote it; `-` reads it from the standard \
         input; one that begins with a dash goes after `--`.",
    ],
    options: OPTIONS,
    examples: &[
        ("send webapp-claude 'the API is ready'", ""),
        ("git diff | slm-mesh send reviewer -", "the standard input"),
        ("send api,docs 'the names have changed'", "to both"),
        ("send '#build' 'main is green'", "everyone who listens to #build"),
        ("send reviewer '{\"pr\":7}' --type json --from ci", "in the name of a script"),
    ],
    parse,
};

pub(super) const BROADCAST: Entry = Entry {
    name: "broadcast",
    group: Group::Messages,
    summary: "send a message to every peer",
    usage: &["broadcast <message> [--type T] [--from P] [--reply-to HANDLE]"],
    about: &["The same as `send all <message>`. Says how many peers it went to."],
    options: OPTIONS,
    examples: &[("broadcast 'main is frozen until 3 pm' --type alert", "")],
    parse: parse_broadcast,
};

/// The options that `send` and `broadcast` share.
const OPTIONS: &[(&str, &str)] = &[
    ("--type T", "text (default), json, command or alert"),
    ("--from P", "the sender: a peer or a label (default: cli)"),
    ("--reply-to HANDLE", "the message it answers, by its handle or its id"),
];

#[derive(Debug, PartialEq, Eq)]
struct Send {
    /// To whom: at least one.
    to: Vec<String>,
    message: TextArgument,
    kind: MessageKind,
    /// The sender; `cli` if none.
    from: Option<String>,
    /// The message it answers.
    reply_to: Option<MessageRef>,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let options = Options::parse(words)?;
    let [to, message] = words.required(["<peer>", "<message>"])?;
    let mut all: Vec<String> = Vec::new();
    // No name contains a comma.
    for name in to.split(',').map(str::trim) {
        if name.is_empty() {
            return Err(words.error(format!("{to:?} names nobody between two commas")));
        }
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    Ok(options.of(all, message))
}

fn parse_broadcast(words: &mut Words) -> words::Result<Task> {
    let options = Options::parse(words)?;
    let [message] = words.required(["<message>"])?;
    Ok(options.of(vec![names::ALL.to_owned()], message))
}

/// The values of [`OPTIONS`].
struct Options {
    kind: MessageKind,
    from: Option<String>,
    reply_to: Option<MessageRef>,
}

impl Options {
    fn parse(words: &mut Words) -> words::Result<Self> {
        Ok(Self {
            kind: kind(words)?,
            from: words.text("--from")?,
            reply_to: words.value("--reply-to", HANDLE, MessageRef::parse)?,
        })
    }

    fn of(self, to: Vec<String>, message: String) -> Task {
        let Self { kind, from, reply_to } = self;
        Task::command(Send { to, message: TextArgument::from_word(message), kind, from, reply_to })
    }
}

/// The value of `--type`.
pub(super) fn kind(words: &mut Words) -> words::Result<MessageKind> {
    let kinds = MessageKind::ALL.map(|kind| (kind.as_str(), kind));
    Ok(words.choice("--type", &kinds)?.unwrap_or_default())
}

impl Command for Send {
    fn run(&self, context: &mut Context) -> Result<()> {
        let payload: Box<str> = self.message.read()?.into();
        let places: Vec<(&str, Place)> =
            self.to.iter().map(|to| Ok((&**to, place_of(to)?))).collect::<Result<_>>()?;
        let mut acting = context.acting(self.from.as_deref(), StartPolicy::IfNeeded)?;
        let letter = |acting: &Acting, to: &str, place: Place| SendMessage {
            from_peer: acting.peer_id.clone(),
            to_peer: to.into(),
            payload: payload.clone(),
            kind: self.kind,
            reply_to: self.reply_to,
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
                // One recipient was refused; the others get the message nevertheless.
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
            context.out.line(document.as_bytes())?;
        }
        if failed { Err(Failure::Reported) } else { Ok(()) }
    }
}

/// `{"to":"bob","answer":{...}}`
fn answer_to(to: &str, body: &[u8]) -> String {
    let to = serde_json::to_string(to).unwrap_or_default();
    format!(r#"{{"to":{to},"answer":{}}}"#, String::from_utf8_lossy(body.trim_ascii_end()))
}

/// Sends one message and reports what has become of it.
pub(super) fn one(context: &mut Context, client: &mut Client, letter: SendMessage) -> Result<()> {
    let to = letter.to_peer.clone();
    let sent = context.out.ask(client, &Request::Send(letter))?;
    let Some(sent) = sent else { return Ok(()) };
    tell(context, client, &to, &sent)
}

fn tell(context: &mut Context, client: &mut Client, to: &str, sent: &Sent) -> Result<()> {
    let text = match sent {
        Sent::Direct { queued: true, message_id, .. } => format!(
            "Nobody is called {} now: {} waits for the next session of that name, a day at most.",
            escape(to),
            message_id.handle()
        ),
        &Sent::Direct { message_id, delivered, pushed, .. } => {
            let handle = message_id.handle();
            // The message is sent, even if its recipient cannot be looked up.
            match recipient(client, message_id).unwrap_or_default() {
                (Some(Party::Cli), _) => {
                    format!("Stored for the person ({handle}), who reads it with `slm-mesh inbox`.")
                }
                (Some(Party::CliAt(machine)), _) => {
                    // The hub is called `hub` here, though it has a name of its own.
                    let place = match to.split_once('@') {
                        Some((_, "hub")) => "the hub".into(),
                        Some((_, at)) => escape(at).into_owned(),
                        None => machine.to_string(),
                    };
                    format!(
                        "Stored for the person at {place} ({handle}), who reads it with `slm-mesh \
                         inbox` there."
                    )
                }
                (_, Some(peer)) => {
                    let name = escape(&peer.name);
                    format!(
                        "{} {name} ({handle}){}",
                        if pushed || delivered { "Sent to" } else { "Stored for" },
                        fate(&peer, context.out.now)
                    )
                }
                _ => format!("Sent to {} ({handle}).", escape(to)),
            }
        }
        Sent::Broadcast { recipients: 0, .. } => match group_words(to) {
            Some((_, nobody)) => format!("{nobody}; nothing was sent."),
            None => "Nobody else is here; nothing was sent.".into(),
        },
        &Sent::Broadcast { recipients, message_id, .. } => format!(
            "Sent to {}{}{}; `slm-mesh inbox --sent` shows how many have read it.",
            count(recipients.into(), "peer", "peers"),
            group_words(to).map_or_else(String::new, |(which, _)| format!(" {which}")),
            message_id.map_or_else(String::new, |id| format!(" ({})", id.handle())),
        ),
    };
    context.out.paragraph(&text)?;
    if let Some(reason) = sent.damped() {
        context.out.paragraph(&format!("It is told later: {}.", escape(reason)))?;
    }
    Ok(())
}

/// The recipient of a message, with all about it if it is a peer.
fn recipient(client: &mut Client, message: MessageId) -> Result<(Option<Party>, Option<PeerInfo>)> {
    let found: HistoryPage = client.call(&Request::FindMessage { message: message.into() })?;
    let to = found.messages.last().and_then(|message| message.to_peer.clone());
    let id = to.as_ref().and_then(Party::peer);
    let peer = peer_names::with_ids(client, id.into_iter().collect())?.pop();
    Ok((to, peer))
}

/// When a peer will see a message, to follow `Sent to NAME`.
pub(super) fn fate(peer: &PeerInfo, now: Timestamp) -> String {
    match (peer.status, &*peer.reach) {
        (PeerStatus::Stale, _) => {
            let heard = age(peer.last_heartbeat, now);
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

/// Which peers a group consists of, and a sentence for none; nothing for all and for one peer.
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

/// The working directory or repository, if the members of this group depend on it.
fn place_of(to: &str) -> Result<Place> {
    match to {
        names::REPO => Ok(Place { git: place::repository()?, ..Place::default() }),
        names::DIRECTORY => {
            Ok(Place { project_path: Some(place::directory()?), ..Place::default() })
        }
        _ => Ok(Place::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn messages_have_recipients_and_a_text() {
        let plain = || Send {
            to: vec!["bob".into()],
            message: TextArgument::Given("hi there".into()),
            kind: MessageKind::Text,
            from: None,
            reply_to: None,
        };
        for (line, expected) in [
            ("send bob hi~there", plain()),
            ("send -- bob hi~there", plain()),
            ("send bob -", Send { message: TextArgument::Stdin, ..plain() }),
            (
                "send bob -- --type",
                Send { message: TextArgument::Given("--type".into()), ..plain() },
            ),
            (
                "send --type alert bob --from=ci hi~there --reply-to K7Q2",
                Send {
                    kind: MessageKind::Alert,
                    from: Some("ci".into()),
                    reply_to: MessageRef::parse("K7Q2"),
                    ..plain()
                },
            ),
            ("send bob,ann,bob hi~there", Send { to: vec!["bob".into(), "ann".into()], ..plain() }),
            ("broadcast hi~there", Send { to: vec!["all".into()], ..plain() }),
        ] {
            assert_eq!(command::<Send>(line), expected, "{line}");
        }
        assert!(refused("send bob, hi").contains("names nobody"));
        assert!(refused("send").contains("<peer> is missing"));
        assert!(refused("send bob").contains("<message> is missing"));
        assert!(refused("send bob hi there").contains("\"there\"; put quotes"));
        assert!(refused("send bob hi --type txt").contains("did you mean `text`?"));
        assert!(refused("send bob hi --reply-to 7").contains("the handle of a message"));
        assert!(refused("send bob hi --frm me").contains("did you mean `--from`?"));
        assert!(refused("broadcast hi there").contains("unexpected word"));
    }
}
