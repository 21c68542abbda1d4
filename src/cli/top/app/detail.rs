//! Texts to read: all of a row, and the help.

use super::{App, Item, MessageRow, Text};
use crate::api::{MessageInfo, PeerStatus};
use crate::cli::sent::status_words;
use crate::cli::text::{age, short_path};
use crate::cli::top::clean::{clean, wrap};
use crate::model::{Party, SentStatus, Seq, Timestamp};

/// Most lines of a text.
const LINES_MAX: usize = 10_000;
/// Longest line, characters: more than a message has.
const CHARS_MAX: usize = 70_000;

/// A line of a text to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::top) enum Paragraph {
    /// What it is about.
    Title(String),
    /// A fact and its name.
    Fact(&'static str, String),
    Line(String),
}

/// Keys, and what they do.
const KEYS: [(&str, &str); 15] = [
    ("Tab, 1-4", "the next pane; Peers, Messages, Locks, Events"),
    ("up, down", "select a row (also k, j, Page Up, Page Down, End)"),
    ("Home", "select nothing: the newest rows stay in sight"),
    ("Enter", "all of a row: a message in full"),
    ("s", "send a message to the selected peer, or an answer"),
    ("b", "send a message to everyone"),
    ("u", "release the selected lock, after a question"),
    ("/", "show only rows that contain a text; Esc: all again"),
    ("z", "one pane on the whole screen, or all"),
    ("Space", "stand still, or go on"),
    ("Ctrl-L", "draw the screen anew"),
    ("Ctrl-Z", "suspend"),
    ("Esc", "close, select nothing, show all"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
];

/// What the charts and words mean.
const MEANINGS: [&str; 3] = [
    "messages/s: messages stored in each of the last 60 seconds; a broadcast counts once.",
    "delivery ms: from the storing of a message to the confirmation of its recipient's process, by \
     the broker's clock; one bar for each of the newest 60 direct messages of which both times were \
     seen here. It is not the time until the agent reads.",
    "A message is queued, then delivered (the process has it), sent (to a queue of the agent's own, \
     which may hold or refuse it), notified (it is before the agent), read. A broadcast shows how many \
     of its recipients have come so far.",
];

impl App {
    pub(in crate::cli::top) fn help(&self) -> Vec<Paragraph> {
        let mut out = vec![Paragraph::Title("Keys".into())];
        out.extend(KEYS.map(|(key, text)| Paragraph::Fact(key, text.into())));
        for text in MEANINGS {
            out.push(Paragraph::Line(String::new()));
            out.extend(wrap(text, self.text_width()).into_iter().map(Paragraph::Line));
        }
        out
    }

    /// All that is known of a row.
    pub(in crate::cli::top) fn detail(&self, item: &Item) -> Vec<Paragraph> {
        let mut out = match item {
            Item::Message(seq) => self.message_detail(*seq),
            Item::Peer(id) => self.peer_detail(*id),
            Item::Lock(fence) => self.lock_detail(*fence),
            Item::Event(seq) => self.event_detail(*seq),
        };
        if out.is_empty() {
            out.push(Paragraph::Title("It is gone".into()));
        }
        out.truncate(LINES_MAX);
        out
    }

    fn text_width(&self) -> usize {
        usize::from(self.size.0).saturating_sub(2)
    }

    fn lines(&self, text: &str) -> impl Iterator<Item = Paragraph> {
        let width = self.text_width();
        let lines: Vec<String> =
            text.lines().flat_map(|line| wrap(&spaced(line), width)).take(LINES_MAX).collect();
        lines.into_iter().map(Paragraph::Line)
    }

    fn when(&self, at: Timestamp) -> String {
        format!("{at} ({})", age(at, self.now.wall))
    }

    fn path(&self, path: &str) -> String {
        clean(&short_path(path, self.home.as_deref()), CHARS_MAX)
    }

    fn message_detail(&self, seq: Seq) -> Vec<Paragraph> {
        let Some(row) = self.picture.message(seq) else { return Vec::new() };
        let mut out = vec![Paragraph::Title("Message".into())];
        let name = |party: &Party| match party.peer() {
            Some(id) => format!("{} ({id})", self.picture.name(party)),
            None => self.picture.name(party),
        };
        out.push(Paragraph::Fact("from", name(&row.from)));
        out.push(Paragraph::Fact("to", row.to.as_ref().map_or_else(|| "everyone".into(), name)));
        out.push(Paragraph::Fact("handle", row.id.handle().to_string()));
        out.push(Paragraph::Fact("id", row.id.to_string()));
        out.push(Paragraph::Fact("stored", self.when(row.at)));
        match (&self.full, &row.text) {
            (Some(message), _) if message.seq == seq => self.full_message(message, row, &mut out),
            (_, Text::Gone) => out.push(Paragraph::Line(
                "Its text cannot be read: it is kept no longer, or its sender has left.".into(),
            )),
            _ => out.push(Paragraph::Line("...".into())),
        }
        out
    }

    fn full_message(&self, message: &MessageInfo, row: &MessageRow, out: &mut Vec<Paragraph>) {
        if let Some(at) = message.delivered_at {
            out.push(Paragraph::Fact("delivered", self.when(at)));
        }
        if let (Some(at), Some(status)) = (message.sent_at, message.sent_status) {
            let way = message.sent_by.map(|way| format!(" by {way}"));
            let more = match status {
                SentStatus::Sent => String::new(),
                status => format!(", {}", status_words(status)),
            };
            let text = format!("{}{}{more}", self.when(at), way.unwrap_or_default());
            out.push(Paragraph::Fact("sent", text));
        }
        if let Some(at) = message.notified_at {
            let way = message.notified_by.map(|way| format!(" by {}", way.as_str()));
            let text = format!("{}{}", self.when(at), way.unwrap_or_default());
            out.push(Paragraph::Fact("notified", text));
        }
        if let Some(at) = message.read_at {
            out.push(Paragraph::Fact("read", self.when(at)));
        }
        if row.to.is_none()
            && let Some(recipients) = message.recipients
        {
            let count = |count: Option<u32>| count.unwrap_or(0);
            out.push(Paragraph::Fact(
                "reached",
                format!(
                    "{} of {recipients} delivered, {} sent, {} notified, {} read",
                    count(message.delivered_count),
                    count(message.sent_count),
                    count(message.notified_count),
                    count(message.read_count)
                ),
            ));
        }
        if !row.read_by.is_empty() {
            let names: Vec<String> =
                row.read_by.iter().map(|party| self.picture.name(party)).collect();
            let width = self.text_width().saturating_sub(12);
            for (i, line) in wrap(&names.join(", "), width).into_iter().enumerate() {
                out.push(Paragraph::Fact(if i == 0 { "read by" } else { "" }, line));
            }
        }
        if let Some(id) = message.reply_to {
            out.push(Paragraph::Fact("answers", id.handle().to_string()));
        }
        out.push(Paragraph::Fact("type", message.kind.as_str().into()));
        out.push(Paragraph::Line(String::new()));
        out.extend(self.lines(&message.payload));
    }

    fn peer_detail(&self, id: crate::model::PeerId) -> Vec<Paragraph> {
        let Some(peer) = self.picture.peers.iter().find(|peer| peer.id == id) else {
            return Vec::new();
        };
        let text = |text: &Option<Box<str>>| text.as_deref().map(|text| clean(text, CHARS_MAX));
        let status = match peer.status {
            PeerStatus::Active => "active",
            PeerStatus::Stale => "stale: not heard of for a while",
            PeerStatus::Away => "away: its MCP server is gone while the agent goes on",
            PeerStatus::Left => "left",
        };
        let facts = [
            ("name", Some(clean(&peer.name, CHARS_MAX))),
            ("id", Some(peer.id.to_string())),
            ("agent", Some(clean(&peer.agent_type, CHARS_MAX))),
            ("process", Some(peer.pid.to_string())),
            ("status", Some(status.into())),
            ("reach", Some(clean(&peer.reach, CHARS_MAX))),
            ("project", Some(self.path(&peer.project_path))),
            ("branch", text(&peer.git_branch)),
            ("host", peer.host.map(|host| host.to_string())),
            ("locks", Some(peer.locks.to_string())),
            ("came", Some(self.when(peer.started_at))),
            ("heard of", Some(self.when(peer.last_heartbeat))),
        ];
        let facts = facts.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let mut out = vec![Paragraph::Title("Peer".into())];
        out.extend(facts.map(|(name, text)| Paragraph::Fact(name, text)));
        if let Some(summary) = &peer.summary {
            out.push(Paragraph::Line(String::new()));
            out.extend(self.lines(summary));
        }
        out
    }

    fn lock_detail(&self, fence: Seq) -> Vec<Paragraph> {
        let lock = self.picture.locks.iter().find(|lock| lock.fence == fence);
        let Some(lock) = lock else { return Vec::new() };
        let mut out = vec![
            Paragraph::Title("Lock".into()),
            Paragraph::Fact("file", self.path(&lock.file_path)),
            Paragraph::Fact(
                "holder",
                clean(&lock.locked_by.shown_as(&lock.locked_by_name), CHARS_MAX),
            ),
            Paragraph::Fact("since", self.when(lock.locked_at)),
            Paragraph::Fact("free", self.when(lock.expires_at)),
            Paragraph::Fact("fence", lock.fence.to_string()),
        ];
        if let Some(host) = lock.host {
            out.push(Paragraph::Fact("host", host.to_string()));
        }
        if lock.shared {
            out.push(Paragraph::Fact("shared", "others may hold it, too".into()));
        }
        if lock.waiting > 0 {
            out.push(Paragraph::Fact("waiting", lock.waiting.to_string()));
        }
        if let Some(reason) = &lock.reason {
            out.push(Paragraph::Line(String::new()));
            out.extend(self.lines(reason));
        }
        out
    }

    fn event_detail(&self, seq: Seq) -> Vec<Paragraph> {
        let Some(row) = self.picture.events.iter().find(|row| row.seq == seq) else {
            return Vec::new();
        };
        let by = row.by.as_ref().map_or_else(|| "the broker".into(), |by| self.picture.name(by));
        let mut out = vec![
            Paragraph::Title("Event".into()),
            Paragraph::Fact("type", row.kind.to_string()),
            Paragraph::Fact("seq", seq.to_string()),
            Paragraph::Fact("by", by),
            Paragraph::Fact("when", self.when(row.at)),
            Paragraph::Line(String::new()),
        ];
        out.extend(wrap(&row.text, self.text_width()).into_iter().map(Paragraph::Line));
        out
    }
}

/// A line of a text, clean, with its tabs as spaces.
fn spaced(line: &str) -> String {
    clean(&line.replace('\t', "    "), CHARS_MAX)
}
