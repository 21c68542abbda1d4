//! What the screen shows: state in, cells out. Nothing else is read, nothing is kept.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Sparkline, Widget};
use unicode_width::UnicodeWidthStr;

use super::app::{App, Mode};
use super::charts::second;
use super::clean::clean;
use super::panes::{HEIGHT_MIN, Pane, RowId, WIDTH_MIN, rows_in};
use super::picture::MessageRow;
use crate::api::{LockInfo, MessageInfo, PeerInfo, PeerStatus};
use crate::cli::table::{cut, cut_middle};
use crate::cli::text::{count, duration};
use crate::model::{MessageKind, Party, SentStatus, Stage, Timestamp};

// Colour and weight never say anything that the words do not. They have to be legible on light and dark
// backgrounds, so there is no yellow or cyan, and no background of our own.
const PLAIN: Style = Style::new();
pub(super) const WEAK: Style = Style::new().add_modifier(Modifier::DIM);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const MARKED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// How much of what others wrote is looked at for a cell, characters.
const CELL_CHARS_MAX: usize = 400;
/// Columns that a lock's reason needs behind the file to say anything.
const REASON_WIDTH_MIN: usize = 10;

/// A screen to be shown.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) buffer: Buffer,
    /// When it is out of date even if nothing happens: an age has grown, a lock has come closer to its
    /// end.
    pub(super) changes_at: Option<Timestamp>,
}

/// Draws the screen; with colours, or without.
pub(super) fn draw(app: &App, color: bool) -> Frame {
    let (width, height) = app.size;
    let area = Rect::new(0, 0, width, height);
    let mut view = View { app, buffer: Buffer::empty(area), changes_at: None };
    if let Some(layout) = app.layout() {
        view.facts();
        view.charts();
        if let Mode::Read { item, line } = app.mode {
            view.read(layout.body, item, line);
        } else {
            for (pane, area) in layout.panes {
                view.pane(pane, area);
            }
        }
        view.last_line();
    } else {
        view.too_small();
    }
    if !color {
        for cell in &mut view.buffer.content {
            cell.fg = Color::Reset;
        }
    }
    let changes_at = view.changes_at.map(|second| Timestamp(second.saturating_mul(1000)));
    Frame { buffer: view.buffer, changes_at }
}

/// A cell of a table, whose text is clean, and its column.
struct Cell {
    head: &'static str,
    /// Of the column; 0: what is left, as the last one has it.
    width: u16,
    text: String,
    style: Style,
}

fn cell(head: &'static str, width: u16, text: impl Into<String>, style: Style) -> Cell {
    Cell { head, width, text: text.into(), style }
}

fn cleaned(text: &str) -> String {
    clean(text, CELL_CHARS_MAX)
}

/// A screen that is being drawn.
struct View<'a> {
    app: &'a App,
    buffer: Buffer,
    /// The first second in which something looks different.
    changes_at: Option<i64>,
}

impl View<'_> {
    /// Writes `text`, which is clean, into at most `width` columns, with an ellipsis where it is
    /// longer; gives the column behind it.
    fn put(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
        let area = self.buffer.area.intersection(Rect::new(x, y, width, 1));
        let text = cut(text, area.width.into());
        Line::styled(&*text, style).render(area, &mut self.buffer);
        x + u16::try_from(text.width()).unwrap_or(0)
    }

    /// What is drawn looks different in this second.
    fn changes_at(&mut self, second: i64) {
        self.changes_at = Some(self.changes_at.map_or(second, |at| at.min(second)));
    }

    fn changes_in_a_second(&mut self) {
        self.changes_at(second(self.app.now.wall) + 1);
    }

    fn too_small(&mut self) {
        let (width, height) = self.app.size;
        let lines = [
            format!("needs {WIDTH_MIN}x{HEIGHT_MIN}"),
            format!("this is {width}x{height}"),
            "q quits".into(),
        ];
        // The last lines matter most.
        let skipped = lines.len().saturating_sub(usize::from(height).max(1));
        for (y, line) in (0..height).zip(lines.iter().skip(skipped)) {
            self.put(0, y, width, line, PLAIN);
        }
    }

    /// The first line: how the broker and its peers are.
    fn facts(&mut self) {
        let picture = &self.app.picture;
        let (word, look) = match (self.app.asks.is_live, picture.frozen_at) {
            (false, _) => ("waiting for the broker", BAD),
            (true, Some(_)) => ("paused: Space", STRONG),
            (true, None) => ("live", GOOD),
        };
        let stale = picture.peers.iter().filter(|peer| peer.status == PeerStatus::Stale).count();
        let peers = count(picture.peers.len() as u64, "peer", "peers");
        let for_you = picture.messages.iter().filter(|row| row.is_for_you()).count();
        let mut facts = vec!["slm-mesh".to_owned()];
        if let (Some(status), Some(uptime)) = (&picture.status, self.app.uptime()) {
            let uptime = duration(i64::try_from(uptime).unwrap_or(i64::MAX));
            facts = vec![format!("slm-mesh {} up {uptime}", clean(&status.version, 20))];
        }
        facts.push(if stale > 0 { format!("{peers} ({stale} stale)") } else { peers });
        facts.push(count(picture.locks.len() as u64, "lock", "locks"));
        if for_you > 0 {
            facts.push(format!("{for_you} for you"));
        }
        if let Some(status) = &picture.status {
            facts.push(format!("{} unread", status.messages.unread));
            if !status.damped.is_empty() {
                facts.push(format!("{} damped", status.damped.len()));
            }
            facts.push(format!("{} undelivered", status.messages.undelivered));
        }
        let word_width = u16::try_from(word.len()).unwrap_or(0);
        let at = self.app.size.0.saturating_sub(word_width);
        let room = at.saturating_sub(2);
        // What matters least is left out whole.
        while facts.len() > 1 && facts.join("  ").width() > room.into() {
            facts.pop();
        }
        self.put(0, 0, room, &facts.join("  "), STRONG);
        self.put(at, 0, word_width, word, look);
    }

    /// The second line: how much passes, and how fast.
    fn charts(&mut self) {
        let picture = &self.app.picture;
        let half = self.app.size.0 / 2;
        let now = self.app.now.wall;
        let rate = picture.rate.bars(now);
        let (last, max) = (rate.last().unwrap_or(&0), rate.iter().max().unwrap_or(&0));
        let text = format!("now {last} max {max}");
        if picture.rate.moves(now) {
            self.changes_in_a_second();
        }
        self.chart(Rect::new(0, 1, half - 1, 1), "messages/s", &text, &rate, " ");
        let text = match picture.deliveries.median_and_max() {
            Some((median, max)) => format!("median {median} max {max}"),
            None => "none seen yet".into(),
        };
        let area = Rect::new(half, 1, self.app.size.0 - half, 1);
        self.chart(area, "delivery ms", &text, &picture.deliveries.bars(), bar::ONE_EIGHTH);
    }

    /// A name, bars, and what they say. The bars are as high as the highest of those that fit; `zero`
    /// is the bar of none.
    fn chart(&mut self, area: Rect, name: &str, text: &str, values: &[u64], zero: &str) {
        let around = name.len() + text.len() + 2;
        let room = usize::from(area.width).saturating_sub(around);
        let values = values.get(values.len().saturating_sub(room)..).unwrap_or_default();
        let max = values.iter().copied().max().unwrap_or(0);
        // A little is more than nothing.
        let bars =
            values.iter().map(|value| if *value > 0 { *value.max(&max.div_ceil(8)) } else { 0 });
        let x = self.put(area.x, area.y, area.width, name, WEAK) + 1;
        let shown = u16::try_from(values.len()).unwrap_or(0);
        Sparkline::default()
            .data(bars)
            .bar_set(bar::Set { empty: zero, ..bar::NINE_LEVELS })
            .style(GOOD)
            .render(Rect::new(x, area.y, shown, 1), &mut self.buffer);
        let x = x + shown + u16::from(shown > 0);
        self.put(x, area.y, area.right().saturating_sub(x), text, PLAIN);
    }

    /// The line above a list or a text, with its name.
    fn rule(&mut self, area: Rect, title: &str, is_focused: bool) {
        let style = if is_focused { STRONG.patch(MARKED) } else { STRONG };
        Block::new()
            .borders(Borders::TOP)
            .border_style(WEAK)
            .title(Line::styled(format!(" {title} "), style))
            .render(area, &mut self.buffer);
    }

    /// A text in place of the panes.
    fn read(&mut self, area: Rect, item: Option<RowId>, line: usize) {
        let reading = self.app.reading(item);
        self.rule(area, reading.title, true);
        let text = Rect::new(1, area.y + 1, area.width - 2, area.height - 2);
        let (lines, height) = (reading.wrapped(area.width), usize::from(text.height));
        let first = line.min(lines.len().saturating_sub(height));
        for (row, line) in text.rows().zip(lines.iter().skip(first)) {
            line.render(row, &mut self.buffer);
        }
        let hint = match (lines.len().saturating_sub(first + height), first) {
            (0, 0) => "Esc closes".into(),
            (0, _) => "the end; Esc closes".into(),
            (left, _) => format!("{left} more lines: down, Page Down; Esc closes"),
        };
        self.put(1, text.bottom(), text.width, &hint, WEAK);
        if item.is_some() {
            // It tells ages, too.
            self.changes_in_a_second();
        }
    }

    /// The last line: what is typed, asked, said, or could be done.
    fn last_line(&mut self) {
        let (width, y) = (self.app.size.0, self.app.size.1 - 1);
        match &self.app.mode {
            Mode::Filter(text) => self.typed("filter: ", text, "Enter keeps, Esc clears"),
            Mode::Compose { to, text } => {
                let word = if to.reply_to.is_some() { "answer to" } else { "to" };
                let before = format!("{word} {}: ", cut(&to.name, 24));
                self.typed(&before, text, "Enter sends, Esc does not");
            }
            Mode::Confirm { path, holder } => {
                let holder = self.app.picture.name(holder);
                let question = format!("held by {holder}, who may be at work on it? y/n");
                let room = usize::from(width).saturating_sub(question.width() + 10);
                let file = self.path(&path.file_path, room.max(8));
                self.put(0, y, width, &format!("Release {file}, {question}"), STRONG);
            }
            Mode::Normal | Mode::Read { .. } => match &self.app.notice {
                Some((text, is_bad)) => {
                    self.put(0, y, width, text, if *is_bad { BAD } else { STRONG });
                }
                None => self.hints(y),
            },
        }
    }

    fn hints(&mut self, y: u16) {
        let keys = "? help  q quit  Tab pane  Enter open  s send  u unlock  / filter  z zoom";
        let filter = match &*self.app.filter {
            "" => String::new(),
            filter => format!("only {:?} (Esc: all)  ", clean(filter, 40)),
        };
        self.put(0, y, self.app.size.0, &format!("{filter}{keys}"), WEAK);
    }

    /// A text that is being typed: its end, where one is, is always seen.
    fn typed(&mut self, before: &str, text: &str, hint: &str) {
        let (width, y) = (self.app.size.0, self.app.size.1 - 1);
        let x = self.put(0, y, width, before, STRONG);
        let room = usize::from(width.saturating_sub(x + 1));
        let text = clean(text, usize::MAX);
        let x = self.put(x, y, width - x, &cut_front(&text, room), PLAIN);
        self.put(x, y, 1, " ", MARKED);
        self.put(x + 3, y, width.saturating_sub(x + 3), hint, WEAK);
    }

    // --- The lists ----------------------------------------------------------------------------

    fn pane(&mut self, pane: Pane, area: Rect) {
        let rows = self.app.rows(pane);
        let title = |all: usize| match rows.len() {
            shown if shown == all => format!("{pane:?} {all}"),
            shown => format!("{pane:?} {shown} of {all}"),
        };
        let title = match pane {
            Pane::Peers => title(self.app.picture.peers.len()),
            Pane::Locks => title(self.app.picture.locks.len()),
            // As many as are kept says nothing.
            Pane::Messages | Pane::Events => format!("{pane:?}"),
        };
        self.rule(area, &title, self.app.focus == pane);
        let (selected, first) = self.app.window(pane, &rows, rows_in(area));
        let shown = rows.into_iter().skip(first).take(rows_in(area));
        let shown: Vec<Vec<Cell>> = shown.filter_map(|item| self.cells(item, area.width)).collect();
        let Some(head) = shown.first() else {
            self.put(area.x + 1, area.y + 1, area.width - 1, empty(self.app, pane), WEAK);
            return;
        };
        // Peers change rarely, so their columns fit their content; elsewhere the columns would jump.
        let column = |(at, head): (usize, &Cell)| {
            let texts = shown.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.width());
            let content = texts.max().unwrap_or(0).max(head.head.len());
            let content = u16::try_from(content).unwrap_or(u16::MAX);
            if pane == Pane::Peers { head.width.min(content) } else { head.width }
        };
        let mut widths: Vec<u16> = head.iter().enumerate().map(column).collect();
        let taken: u16 = widths.iter().map(|width| width + 1).sum();
        if let Some(last) = widths.last_mut() {
            *last = (area.width + 1).saturating_sub(taken);
        }
        let heads: Vec<Cell> = head.iter().map(|column| cell("", 0, column.head, PLAIN)).collect();
        self.row(area.x, area.y + 1, &heads, &widths, WEAK);
        for ((y, at), cells) in (area.y + 2..).zip(first..).zip(&shown) {
            let style = if selected == Some(at) { MARKED } else { PLAIN };
            self.row(area.x, y, cells, &widths, style);
        }
    }

    /// A row of a list. Not a `Table`: it would solve equations for widths that are known, which costs
    /// more than all the rest of a screen.
    fn row(&mut self, x: u16, y: u16, cells: &[Cell], widths: &[u16], style: Style) {
        let width = widths.iter().map(|width| width + 1).sum::<u16>().saturating_sub(1);
        self.buffer.set_style(Rect::new(x, y, width, 1), style);
        let mut x = x;
        for (cell, width) in cells.iter().zip(widths) {
            self.put(x, y, *width, &cell.text, cell.style);
            x += width + 1;
        }
    }

    fn cells(&mut self, item: RowId, width: u16) -> Option<Vec<Cell>> {
        let picture = &self.app.picture;
        Some(match item {
            RowId::Peer(id) => self.peer(picture.peer(id)?),
            RowId::Message(seq) => self.message(picture.message(seq)?),
            RowId::Lock(fence) => self.lock(picture.lock(fence)?, width),
            RowId::Event(seq) => {
                let row = picture.event(seq)?;
                vec![self.age(row.at), cell("EVENT", 0, &*row.text, PLAIN)]
            }
        })
    }

    fn age(&mut self, at: Timestamp) -> Cell {
        let (text, changes_at) = short_age(at, self.app.now.wall);
        self.changes_at(changes_at);
        cell("AGE", 4, format!("{text:>4}"), WEAK)
    }

    fn path(&self, path: &str, width: usize) -> String {
        cut_middle(&self.app.path(path), width)
    }

    fn peer(&mut self, peer: &PeerInfo) -> Vec<Cell> {
        let width = self.app.size.0;
        let (narrow, wide) = (width < 64, width >= 110);
        let has_hosts = self.app.picture.peers.iter().any(|peer| peer.host.is_some());
        let (reach, style) = match peer.status {
            PeerStatus::Active if peer.busy == Some(true) => ("busy".into(), GOOD),
            PeerStatus::Active => (cleaned(&peer.reach), PLAIN),
            PeerStatus::Stale => ("stale".into(), BAD),
            PeerStatus::Away => ("away".into(), BAD),
            PeerStatus::Left => ("left".into(), BAD),
        };
        let unread = peer.unread.filter(|unread| *unread > 0);
        let unread = unread.map(|unread| format!("{unread:>3}")).unwrap_or_default();
        let text = |text: &Option<Box<str>>| cleaned(text.as_deref().unwrap_or_default());
        let host = || peer.host.map(|host| host.to_string()).unwrap_or_default();
        let cells = [
            Some(cell("NAME", if wide { 26 } else { 18 }, cleaned(&peer.name), STRONG)),
            has_hosts.then(|| cell("MACHINE", 9, host(), PLAIN)),
            (!narrow || !has_hosts).then(|| self.age(peer.started_at)),
            Some(cell("REACH", 9, reach, style)),
            (!narrow).then(|| cell("NEW", 3, unread, STRONG)),
            wide.then(|| cell("LOCKS", 5, format!("{:>5}", peer.locks), PLAIN)),
            (!narrow).then(|| cell("AGENT", 14, cleaned(&peer.agent_type), PLAIN)),
            (!narrow)
                .then(|| cell("BRANCH", if wide { 20 } else { 10 }, text(&peer.git_branch), PLAIN)),
            Some(cell("SUMMARY", 0, text(&peer.summary), PLAIN)),
        ];
        cells.into_iter().flatten().collect()
    }

    fn message(&mut self, row: &MessageRow) -> Vec<Cell> {
        let picture = &self.app.picture;
        let (narrow, wide) = (self.app.size.0 < 64, self.app.size.0 >= 110);
        let width = if narrow {
            11
        } else if wide {
            24
        } else {
            16
        };
        // What the person has written and is to read is theirs to see.
        let to_you = row.to == Some(Party::Cli);
        let to = if to_you { "you".into() } else { picture.recipient(row) };
        let from = if row.from == Party::Cli { "you".into() } else { picture.name(&row.from) };
        let (text, style) = match &row.info {
            Some(info) => match info.kind {
                MessageKind::Alert => (format!("alert: {}", info.payload), BAD),
                MessageKind::Command => (format!("command: {}", info.payload), PLAIN),
                _ => (info.payload.to_string(), if row.is_for_you() { STRONG } else { PLAIN }),
            },
            None if row.is_gone => ("(cannot be read any more)".into(), WEAK),
            None => ("...".into(), WEAK),
        };
        let stage = || row.info.as_ref().map_or((String::new(), PLAIN), |info| stage(info));
        let cells = [
            Some(self.age(row.at)),
            Some(cell("FROM", width, from, STRONG)),
            Some(cell("TO", width, to, if to_you { GOOD.patch(STRONG) } else { PLAIN })),
            (!narrow).then(stage).map(|(word, style)| cell("STAGE", 13, word, style)),
            Some(cell("TEXT", 0, text, style)),
        ];
        cells.into_iter().flatten().collect()
    }

    fn lock(&mut self, lock: &LockInfo, width: u16) -> Vec<Cell> {
        let (left, changes_at) = countdown(lock.expires_at, self.app.now.wall);
        self.changes_at(changes_at);
        let mut holder = cleaned(&lock.locked_by.shown_as(&lock.locked_by_name));
        if lock.waiting > 0 {
            holder = format!("+{} {holder}", lock.waiting);
        }
        if lock.shared {
            holder = format!("(s) {holder}");
        }
        let holder_width = if width < 56 { 12 } else { 18 };
        let room = usize::from(width.saturating_sub(7 + 1 + holder_width + 1));
        let file = self.path(&lock.file_path, room);
        let file = match lock.reason.as_deref().map(cleaned) {
            // The reason, where there is room for both.
            Some(why) if file.width() + REASON_WIDTH_MIN < room => format!("{file}  {why}"),
            _ => file,
        };
        vec![
            cell("FREE", 7, format!("{left:>7}"), PLAIN),
            cell("HOLDER", holder_width, holder, STRONG),
            cell("FILE", 0, file, PLAIN),
        ]
    }
}

/// How far a message has come, in a word. Of a broadcast the furthest that anyone has come, and how
/// many have.
fn stage(message: &MessageInfo) -> (String, Style) {
    if let Some(recipients) = message.recipients {
        let counts = [
            (message.read_count, "read"),
            (message.notified_count, "told"),
            (message.sent_count, "sent"),
        ];
        let furthest = counts.into_iter().find(|(count, _)| count.is_some_and(|count| count > 0));
        let (count, word) = furthest.unwrap_or((message.delivered_count, "del."));
        return (format!("{}/{recipients} {word}", count.unwrap_or(0)), PLAIN);
    }
    match (message.stage, message.sent_status) {
        (Some(Stage::Read), _) => ("read".into(), GOOD),
        (Some(Stage::Queued), _) => ("queued".into(), BAD),
        (Some(Stage::Undeliverable), _) => ("undeliverable".into(), BAD),
        (Some(Stage::Sent), Some(SentStatus::NotRunning)) => ("not running".into(), BAD),
        (Some(Stage::Sent), Some(status)) if status != SentStatus::Sent => {
            (status.as_str().into(), BAD)
        }
        (stage, _) => (stage.map_or("", Stage::as_str).into(), PLAIN),
    }
}

fn empty(app: &App, pane: Pane) -> &'static str {
    match (app.filter.is_empty(), pane) {
        (false, _) => "None that match; Esc shows all.",
        (true, Pane::Peers) => "Nobody is here. Agents come by themselves when they start.",
        (true, Pane::Messages) => "No messages yet.",
        (true, Pane::Locks) => "No files are locked.",
        (true, Pane::Events) => "No events yet.",
    }
}

/// How long ago, in at most four columns, and the second from which it is another.
fn short_age(then: Timestamp, now: Timestamp) -> (String, i64) {
    let (then, now) = (second(then), second(now));
    let seconds = now.saturating_sub(then).max(0);
    let (size, unit) = match seconds {
        ..60 => (1, 's'),
        60..3600 => (60, 'm'),
        3600..172_800 => (3600, 'h'),
        _ => (86_400, 'd'),
    };
    let number = seconds / size;
    (format!("{number}{unit}"), (then.saturating_add((number + 1) * size)).max(now + 1))
}

/// How long until, and the second from which it is less.
fn countdown(until: Timestamp, now: Timestamp) -> (String, i64) {
    let (until, now) = (second(until), second(now));
    let left = until.saturating_sub(now).max(0);
    if left < 3600 {
        return (format!("{}:{:02}", left / 60, left % 60), now + 1);
    }
    let (hours, minutes) = (left / 3600, left % 3600 / 60);
    (format!("{hours}h {minutes:02}m"), now + left % 60 + 1)
}

/// The end of `text`, which is clean, in at most `width` columns.
fn cut_front(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let mut starts = text.char_indices().map(|(at, _)| at);
    let end = starts.find_map(|at| text.get(at..).filter(|end| end.width() < width));
    format!("…{}", end.unwrap_or_default())
}
