//! The four lists.

use unicode_width::UnicodeWidthStr;

use super::paint::{Painter, Tint, cut_front};
use super::{countdown, short_age};
use crate::api::PeerStatus;
use crate::cli::text::short_path;
use crate::cli::top::app::{App, Area, Marks, MessageRow, Pane, Text};
use crate::cli::top::clean::clean;
use crate::model::{MessageKind, SentStatus, Stage};

/// How much of what others wrote is looked at for a cell, characters.
const CELL_CHARS_MAX: usize = 400;
/// Columns that a lock's reason needs behind the file to say anything.
const REASON_WIDTH_MIN: usize = 10;

/// A column: its name, and its width. The last one of a list takes what is left.
type Column = (&'static str, u16);

/// The one that is there only with several machines.
const MACHINE: Column = ("MACHINE", 9);

/// A cell: its text, clean, and its look.
type Cell = (String, Tint);

pub(super) fn pane(app: &App, painter: &mut Painter, pane: Pane, area: Area) {
    let rows = app.rows(pane);
    let all = match pane {
        Pane::Peers => app.picture.peers.len(),
        Pane::Locks => app.picture.locks.len(),
        Pane::Messages | Pane::Events => rows.len(),
    };
    let count =
        if rows.len() == all { format!("{all}") } else { format!("{} of {all}", rows.len()) };
    let title = match pane {
        // As many as are kept says nothing.
        Pane::Messages | Pane::Events => pane.title().to_owned(),
        Pane::Peers | Pane::Locks => format!("{} {count}", pane.title()),
    };
    painter.rule(Area { height: 1, ..area }, &title, app.focus == pane);
    let with_hosts = pane == Pane::Peers && has_hosts(app);
    let columns = &*columns(pane, area.width, with_hosts);
    if rows.is_empty() {
        let text = empty(app, pane);
        painter.put(
            area.x + 1,
            area.y + 1,
            area.width.saturating_sub(1),
            text,
            painter.tint(Tint::Weak),
        );
        return;
    }
    let heads = columns.iter().map(|(name, _)| ((*name).to_owned(), Tint::Weak));
    line(painter, area, area.y + 1, columns, heads.collect());
    let (selected, first) = app.window(pane, &rows, area.rows());
    let shown = rows.iter().enumerate().skip(first).take(area.rows());
    for (y, (index, at)) in (area.y + 2..).zip(shown) {
        let cells = match pane {
            Pane::Peers => peer(app, painter, *at),
            Pane::Messages => message(app, painter, *at),
            Pane::Locks => lock(app, painter, *at, last_width(columns, area)),
            Pane::Events => event(app, painter, *at),
        };
        line(painter, area, y, columns, cells.unwrap_or_default());
        if selected == Some(index) {
            painter.select(area, y);
        }
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

/// Whether there is more than one machine.
fn has_hosts(app: &App) -> bool {
    app.picture.peers.iter().any(|peer| peer.host.is_some())
}

/// Whether there is room for the age of a peer beside its machine.
fn has_room_for_age(width: u16) -> bool {
    width >= 64
}

/// The columns of a pane, with the machine of each peer behind its name if there are several.
fn columns(pane: Pane, width: u16, with_hosts: bool) -> Vec<Column> {
    let mut columns = columns_of_one_machine(pane, width).to_vec();
    if with_hosts {
        columns.insert(1, MACHINE);
        columns.retain(|(name, _)| *name != "AGE" || has_room_for_age(width));
    }
    columns
}

fn columns_of_one_machine(pane: Pane, width: u16) -> &'static [Column] {
    match pane {
        Pane::Peers if width < 64 => &[("NAME", 18), ("AGE", 4), ("REACH", 9), ("SUMMARY", 0)],
        Pane::Peers if width < 110 => {
            &[("NAME", 18), ("AGE", 4), ("REACH", 9), ("AGENT", 11), ("BRANCH", 10), ("SUMMARY", 0)]
        }
        Pane::Peers => &[
            ("NAME", 26),
            ("AGE", 4),
            ("REACH", 9),
            ("LOCKS", 5),
            ("AGENT", 14),
            ("BRANCH", 20),
            ("SUMMARY", 0),
        ],
        Pane::Messages if width < 64 => &[("AGE", 4), ("FROM", 11), ("TO", 11), ("TEXT", 0)],
        Pane::Messages if width < 110 => {
            &[("AGE", 4), ("FROM", 16), ("TO", 16), ("STAGE", 11), ("TEXT", 0)]
        }
        Pane::Messages => &[("AGE", 4), ("FROM", 24), ("TO", 24), ("STAGE", 12), ("TEXT", 0)],
        Pane::Locks if width < 56 => &[("FREE", 7), ("HOLDER", 12), ("FILE", 0)],
        Pane::Locks => &[("FREE", 7), ("HOLDER", 18), ("FILE", 0)],
        Pane::Events => &[("AGE", 4), ("EVENT", 0)],
    }
}

/// What is left for the last column.
fn last_width(columns: &[Column], area: Area) -> u16 {
    let taken: u16 = columns
        .iter()
        .map(|(_, width)| *width)
        .filter(|width| *width > 0)
        .map(|width| width + 1)
        .sum();
    area.width.saturating_sub(taken)
}

fn line(painter: &mut Painter, area: Area, y: u16, columns: &[Column], cells: Vec<Cell>) {
    let mut x = area.x;
    for ((_, width), (text, tint)) in columns.iter().zip(cells) {
        let left = (area.x + area.width).saturating_sub(x);
        let width = if *width == 0 { left } else { (*width).min(left) };
        let style = painter.tint(tint);
        painter.put(x, y, width, &text, style);
        x = x.saturating_add(width + 1);
    }
}

fn cell(text: impl Into<String>) -> Cell {
    (text.into(), Tint::Plain)
}

fn cleaned(text: Option<&str>) -> Cell {
    cell(clean(text.unwrap_or_default(), CELL_CHARS_MAX))
}

fn aged(painter: &mut Painter, at: crate::model::Timestamp) -> Cell {
    let (text, changes_at) = short_age(at, painter.now);
    painter.changes_at(changes_at);
    (format!("{text:>4}"), Tint::Weak)
}

fn peer(app: &App, painter: &mut Painter, at: usize) -> Option<Vec<Cell>> {
    let peer = app.picture.peers.get(at)?;
    let absent = match peer.status {
        PeerStatus::Active => None,
        PeerStatus::Stale => Some("stale"),
        PeerStatus::Away => Some("away"),
        PeerStatus::Left => Some("left"),
    };
    let name = clean(&peer.name, CELL_CHARS_MAX);
    let reach = match absent {
        Some(word) => (word.into(), Tint::Bad),
        None => cleaned(Some(&peer.reach)),
    };
    let agent = cleaned(Some(&peer.agent_type));
    let branch = cleaned(peer.git_branch.as_deref());
    let summary = cleaned(peer.summary.as_deref());
    let mut cells = vec![(name, Tint::Strong)];
    if has_hosts(app) {
        cells.push(cell(peer.host.map(|host| host.to_string()).unwrap_or_default()));
    }
    if !has_hosts(app) || has_room_for_age(painter.width()) {
        cells.push(aged(painter, peer.started_at));
    }
    cells.push(reach);
    match painter.width() {
        ..64 => cells.push(summary),
        64..110 => cells.extend([agent, branch, summary]),
        110.. => cells.extend([cell(peer.locks.to_string()), agent, branch, summary]),
    }
    Some(cells)
}

fn message(app: &App, painter: &mut Painter, at: usize) -> Option<Vec<Cell>> {
    let row = app.picture.messages.get(at)?;
    let to = row.to.as_ref().map_or_else(|| "all".into(), |to| app.picture.name(to));
    let text = match &row.text {
        Text::Known(text, MessageKind::Alert) => (format!("alert: {text}"), Tint::Bad),
        Text::Known(text, MessageKind::Command) => cell(format!("command: {text}")),
        Text::Known(text, _) => cell(text.as_ref()),
        Text::Unknown => ("...".into(), Tint::Weak),
        Text::Gone => ("(cannot be read any more)".into(), Tint::Weak),
    };
    let mut cells =
        vec![aged(painter, row.at), (app.picture.name(&row.from), Tint::Strong), cell(to)];
    if painter.width() >= 64 {
        cells.push(stage(row));
    }
    cells.push(text);
    Some(cells)
}

fn stage(row: &MessageRow) -> Cell {
    match row.marks {
        Marks::Unknown => (String::new(), Tint::Plain),
        Marks::Direct(Stage::Queued) => ("queued".into(), Tint::Bad),
        Marks::Direct(Stage::Read) => ("read".into(), Tint::Good),
        Marks::Direct(stage) => cell(stage.as_str()),
        Marks::Sent(SentStatus::Sent) => cell(SentStatus::Sent.as_str()),
        Marks::Sent(SentStatus::NotRunning) => ("not running".into(), Tint::Bad),
        Marks::Sent(status) => (status.as_str().into(), Tint::Bad),
        // The furthest that anyone has come, and how many have.
        Marks::Broadcast { recipients, delivered, sent, notified, read } => {
            let (count, word) = match (read, notified, sent) {
                (1.., _, _) => (read, "read"),
                (0, 1.., _) => (notified, "told"),
                (0, 0, 1..) => (sent, "sent"),
                (0, 0, 0) => (delivered, "del."),
            };
            cell(format!("{count}/{recipients} {word}"))
        }
    }
}

fn lock(app: &App, painter: &mut Painter, at: usize, width: u16) -> Option<Vec<Cell>> {
    let listed = app.picture.locks.get(at)?;
    let (left, changes_at) = countdown(listed.expires_at, painter.now);
    painter.changes_at(changes_at);
    let mut holder = clean(&listed.locked_by.shown_as(&listed.locked_by_name), CELL_CHARS_MAX);
    if listed.waiting > 0 {
        holder = format!("+{} {holder}", listed.waiting);
    }
    if listed.shared {
        holder = format!("(s) {holder}");
    }
    let file = short_path(&listed.file_path, app.home.as_deref());
    let file = clean(&file, usize::MAX);
    let reason = listed.reason.as_deref().map(|reason| clean(reason, CELL_CHARS_MAX));
    // The end of a path says most; the reason, where there is room for both.
    let width = usize::from(width);
    let file = match reason {
        Some(reason) if file.width() + REASON_WIDTH_MIN < width => format!("{file}  {reason}"),
        _ => cut_front(&file, width),
    };
    Some(vec![(format!("{left:>7}"), Tint::Plain), (holder, Tint::Strong), cell(file)])
}

fn event(app: &App, painter: &mut Painter, at: usize) -> Option<Vec<Cell>> {
    let row = app.picture.events.get(at)?;
    Some(vec![aged(painter, row.at), cell(&*row.text)])
}
