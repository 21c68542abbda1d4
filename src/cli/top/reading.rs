//! Texts to read: all of a row, and the help.

use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::app::App;
use super::clean::clean;
use super::panes::RowId;
use super::view::WEAK;
use crate::api::{LockInfo, MessageInfo};
use crate::cli::peer::{self, Pen};
use crate::cli::sent::status_words;
use crate::cli::text::age;
use crate::model::{Party, SentStatus, Seq, Timestamp};

/// Most lines of a message.
const LINES_MAX: usize = 10_000;
/// Longest line, characters: more than a message has.
const CHARS_MAX: usize = 70_000;
/// The column of the names of facts.
const NAME_WIDTH: usize = 12;

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
const MEANINGS: [&str; 4] = [
    "messages/s: messages stored in each of the last 60 seconds; a broadcast counts once.",
    "delivery ms: from the storing of a message to the confirmation of its recipient's process, by \
     the broker's clock; one bar for each of the newest 60 direct messages of which both times were \
     seen here. It is not the time until the agent reads.",
    "A message is queued, then delivered (the process has it), sent (to a queue of the agent's own, \
     which may hold or refuse it), notified (it is before the agent), read. A broadcast shows how \
     many of its recipients have come so far.",
    "A message to you is read with `slm-mesh inbox`: reading here marks nothing as read.",
];

/// A text to read.
pub(super) struct Reading {
    pub(super) title: &'static str,
    /// Each with the length of the name that it begins with, bytes.
    lines: Vec<(usize, String)>,
}

impl Reading {
    fn new(title: &'static str) -> Self {
        Self { title, lines: Vec::new() }
    }

    fn fact(&mut self, name: &'static str, text: impl Into<String>) {
        let name = format!("{name:<NAME_WIDTH$}");
        self.lines.push((name.len(), name + &text.into()));
    }

    /// A paragraph, after an empty line; what others wrote is made harmless.
    fn paragraph(&mut self, text: &str) {
        self.lines.push((0, String::new()));
        let lines = text.lines().take(LINES_MAX);
        let lines = lines.map(|line| clean(&line.replace('\t', "    "), CHARS_MAX));
        self.lines.extend(lines.map(|line| (0, line)));
    }

    /// Its lines on a screen of this width.
    pub(super) fn wrapped(&self, width: u16) -> Vec<Line<'_>> {
        let width = usize::from(width.saturating_sub(2));
        let wrapped = self.lines.iter().flat_map(|(name, line)| {
            let mut name = *name;
            wrap(line, width).into_iter().map(move |line| {
                let parts = line.split_at_checked(std::mem::take(&mut name));
                let (name, text) = parts.unwrap_or(("", line));
                Line::from_iter([Span::styled(name, WEAK), Span::raw(text)])
            })
        });
        wrapped.collect()
    }
}

/// `text` in lines of at most `width` columns, broken behind spaces where there are any. Spaces at the
/// end of a line may be beyond the last column.
fn wrap(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut start, mut behind_space, mut columns) = (0, None, 0);
    for (at, c) in text.char_indices() {
        columns += c.width().unwrap_or(0);
        if c == ' ' {
            behind_space = Some(at + 1);
        } else if columns > width && at > start {
            let end = behind_space.take().unwrap_or(at);
            lines.extend(text.get(start..end));
            columns = text.get(end..at).unwrap_or_default().width() + c.width().unwrap_or(0);
            start = end;
        }
    }
    lines.extend(text.get(start..));
    lines
}

impl App {
    /// All that is known of a row; of none, the help.
    pub(super) fn reading(&self, item: Option<RowId>) -> Reading {
        let picture = &self.picture;
        let reading = match item {
            None => Some(help()),
            Some(RowId::Message(seq)) => self.message(seq),
            Some(RowId::Peer(id)) => picture.peer(id).map(|peer| {
                let pen = Pen {
                    text: &|text| clean(text, CHARS_MAX),
                    path: &|path| self.path(path),
                    paint: &|word, _| word.to_owned(),
                    now: self.now.wall,
                };
                let own = |lock: &&LockInfo| lock.locked_by == Party::Peer(id);
                let mut out = Reading::new("Peer");
                for (name, text) in peer::lines(peer, picture.locks.iter().filter(own), &pen) {
                    out.fact(name, text);
                }
                out.fact("id", id.to_string());
                out.fact("came", self.when(peer.started_at));
                out
            }),
            Some(RowId::Lock(fence)) => picture.lock(fence).map(|lock| self.lock(lock)),
            Some(RowId::Event(seq)) => picture.event(seq).map(|row| {
                let by = row.by.as_ref().map_or_else(|| "the broker".into(), |by| picture.name(by));
                let mut out = Reading::new("Event");
                out.fact("type", &*row.kind);
                out.fact("seq", seq.to_string());
                out.fact("by", by);
                out.fact("when", self.when(row.at));
                out.paragraph(&row.text);
                out
            }),
        };
        reading.unwrap_or_else(|| Reading::new("It is gone"))
    }

    fn when(&self, at: Timestamp) -> String {
        format!("{at} ({})", age(at, self.now.wall))
    }

    fn message(&self, seq: Seq) -> Option<Reading> {
        let row = self.picture.message(seq)?;
        let mut out = Reading::new("Message");
        let with_id = |party: &Party, name: String| match party.peer() {
            Some(id) => format!("{name} ({id})"),
            None => name,
        };
        let to = self.picture.recipient(row);
        out.fact("from", with_id(&row.from, self.picture.name(&row.from)));
        out.fact("to", row.to.as_ref().map_or_else(|| to.clone(), |to_| with_id(to_, to.clone())));
        out.fact("handle", format!("{} ({})", row.id.handle(), row.id));
        out.fact("stored", self.when(row.at));
        match &self.full {
            Some(message) if message.seq == seq => {
                self.stages(message, &mut out);
                if !row.read_by.is_empty() {
                    let names = row.read_by.iter().map(|party| self.picture.name(party));
                    out.fact("read by", names.collect::<Vec<_>>().join(", "));
                }
                if let Some(id) = message.reply_to {
                    out.fact("answers", id.handle().to_string());
                }
                out.fact("type", message.kind.as_str());
                out.paragraph(&message.payload);
            }
            _ if row.is_gone => out.paragraph("It is kept no longer, or not yours to read."),
            _ => out.paragraph("..."),
        }
        Some(out)
    }

    /// When a message has come how far, and with how many.
    fn stages(&self, message: &MessageInfo, out: &mut Reading) {
        let sent = match message.sent_status {
            None | Some(SentStatus::Sent) => String::new(),
            Some(status) => format!(", {}", status_words(status)),
        };
        let stages = [
            ("delivered", message.delivered_at, None, String::new()),
            ("sent", message.sent_at, message.sent_by, sent),
            ("notified", message.notified_at, message.notified_by, String::new()),
            ("read", message.read_at, None, String::new()),
            ("undelivered", message.undeliverable_at, None, ": its recipient has left".into()),
        ];
        for (name, at, by, more) in stages {
            if let Some(at) = at {
                let by = by.map_or_else(String::new, |way| format!(" by {way}"));
                out.fact(name, format!("{}{by}{more}", self.when(at)));
            }
        }
        if let Some(recipients) = message.recipients {
            let [delivered, sent, notified, read] = [
                message.delivered_count,
                message.sent_count,
                message.notified_count,
                message.read_count,
            ]
            .map(Option::unwrap_or_default);
            let more = format!("{sent} sent, {notified} notified, {read} read");
            out.fact("reached", format!("{delivered} of {recipients} delivered, {more}"));
        }
    }

    fn lock(&self, lock: &LockInfo) -> Reading {
        let mut out = Reading::new("Lock");
        let holder = lock.locked_by.shown_as(&lock.locked_by_name);
        out.fact("file", self.path(&lock.file_path));
        out.fact("holder", clean(&holder, CHARS_MAX));
        out.fact("since", self.when(lock.locked_at));
        out.fact("free", self.when(lock.expires_at));
        out.fact("fence", lock.fence.to_string());
        if let Some(host) = lock.host {
            out.fact("machine", host.to_string());
        }
        if lock.shared {
            out.fact("shared", "others may hold it, too");
        }
        if lock.waiting > 0 {
            out.fact("waiting", lock.waiting.to_string());
        }
        if let Some(reason) = &lock.reason {
            out.paragraph(reason);
        }
        out
    }
}

fn help() -> Reading {
    let mut out = Reading::new("Keys");
    for (key, text) in KEYS {
        out.fact(key, text);
    }
    for text in MEANINGS {
        out.paragraph(text);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_behind_spaces_or_where_it_must() {
        let wrapped = |text, width| wrap(text, width).join("|");
        assert_eq!(wrapped("one two three", 7), "one two |three");
        assert_eq!(wrapped("one two three", 13), "one two three");
        assert_eq!(wrapped("incomprehensible", 6), "incomp|rehens|ible");
        assert_eq!(wrapped("a incomprehensible b", 6), "a |incomp|rehens|ible b");
        assert_eq!(wrapped("漢字漢字", 5), "漢字|漢字");
        assert_eq!(wrapped("漢字", 1), "漢|字");
        assert_eq!(wrapped("", 5), "");
    }
}
