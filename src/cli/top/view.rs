//! What the screen shows: state in, cells out. Nothing else is read, nothing is kept.

mod lists;
mod paint;

#[cfg(test)]
mod tests;

use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Modifier, Style};

use super::app::{App, Area, HEIGHT_MIN, Mode, Paragraph, Typing, WIDTH_MIN, second};
use super::clean::clean;
use crate::api::PeerStatus;
use crate::cli::text::{count, duration};
use crate::model::Timestamp;
use paint::{Painter, Tint};

/// A screen to be shown.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) buffer: Buffer,
    /// When it is no longer true, though nothing has come: an age has grown, a lock has come closer
    /// to its end.
    pub(super) changes_at: Option<Timestamp>,
}

/// Draws the screen; with colours, or without.
pub(super) fn draw(app: &App, color: bool) -> Frame {
    let mut painter = Painter::new(app.size, app.now.wall, color);
    match app.layout() {
        None => too_small(app, &mut painter),
        Some(layout) => {
            facts(app, &mut painter);
            charts(app, &mut painter);
            match &app.mode {
                Mode::Detail { item, line } => {
                    read(&mut painter, layout.body, &app.detail(item), *line);
                    // It tells ages, too.
                    painter.changes_in_a_second();
                }
                Mode::Help { line } => read(&mut painter, layout.body, &app.help(), *line),
                _ => {
                    for (pane, area) in &layout.panes {
                        lists::pane(app, &mut painter, *pane, *area);
                    }
                }
            }
            last_line(app, &mut painter);
        }
    }
    painter.finish()
}

fn too_small(app: &App, painter: &mut Painter) {
    let (width, height) = app.size;
    let lines = [
        format!("needs {WIDTH_MIN}x{HEIGHT_MIN}"),
        format!("this is {width}x{height}"),
        "q quits".into(),
    ];
    // What matters most is told where there is one line only.
    let skipped = lines.len().saturating_sub(usize::from(height).max(1));
    for (y, line) in (0..height).zip(lines.iter().skip(skipped)) {
        painter.put(0, y, width, line, Style::new());
    }
}

/// The first line: how the broker and its peers are.
fn facts(app: &App, painter: &mut Painter) {
    let (width, _) = app.size;
    let (word, tint) = match (app.is_live(), app.is_paused()) {
        (false, _) => ("waiting for the broker", Tint::Bad),
        (true, true) => ("paused: Space", Tint::Strong),
        (true, false) => ("live", Tint::Good),
    };
    let word_width = u16::try_from(word.len()).unwrap_or(0);
    let at = width.saturating_sub(word_width);
    painter.put(at, 0, word_width, word, painter.tint(tint));
    let picture = &app.picture;
    let stale = picture.peers.iter().filter(|peer| peer.status == PeerStatus::Stale).count();
    let mut facts = vec!["slm-mesh".to_owned()];
    if let (Some(status), Some(uptime)) = (&picture.status, app.uptime()) {
        let uptime = i64::try_from(uptime).unwrap_or(i64::MAX);
        facts = vec![format!("slm-mesh {} up {}", clean(&status.version, 20), duration(uptime))];
    }
    let peers = count(picture.peers.len() as u64, "peer", "peers");
    let stale = if stale > 0 { format!(" ({stale} stale)") } else { String::new() };
    facts.push(format!("{peers}{stale}"));
    facts.push(count(picture.locks.len() as u64, "lock", "locks"));
    if let Some(status) = &picture.status {
        facts.push(format!("{} unread", status.messages.unread));
        facts.push(format!("{} undelivered", status.messages.undelivered));
        if !status.damped.is_empty() {
            facts.push(format!("{} damped", status.damped.len()));
        }
    }
    painter.put(0, 0, at.saturating_sub(2), &facts.join("  "), painter.tint(Tint::Strong));
}

/// The second line: how much passes, and how fast.
fn charts(app: &App, painter: &mut Painter) {
    let (width, _) = app.size;
    let half = width / 2;
    let picture = &app.picture;
    let now = app.now.wall;
    let rate = picture.rate.bars(usize::MAX, now);
    let last = rate.last().copied().unwrap_or(0);
    let max = rate.iter().copied().max().unwrap_or(0);
    let text = format!("now {last} max {max}");
    chart(painter, 0, half.saturating_sub(1), ("messages/s", &text), &rate, false);
    if picture.rate.moves(now) {
        painter.changes_in_a_second();
    }
    let text = match picture.deliveries.median_and_max() {
        Some((median, max)) => format!("median {median} max {max}"),
        None => "none seen yet".into(),
    };
    let bars = picture.deliveries.bars(usize::MAX);
    chart(painter, half, width - half, ("delivery ms", &text), &bars, true);
}

/// A name, bars, and a number, in `width` columns from `x`. The bars are as high as the highest of
/// those that fit; `shows_zero`: a zero is a bar, too.
fn chart(
    painter: &mut Painter,
    x: u16,
    width: u16,
    (name, text): (&str, &str),
    values: &[u32],
    shows_zero: bool,
) {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let around = name.len() + text.len() + 2;
    let room = usize::from(width).saturating_sub(around);
    let values = values.get(values.len().saturating_sub(room)..).unwrap_or_default();
    let max = u64::from(values.iter().copied().max().unwrap_or(0)).max(1);
    let bar = |value: u32| {
        let level = usize::try_from((u64::from(value) * 7).div_ceil(max)).unwrap_or(0);
        if value == 0 && !shows_zero { ' ' } else { BARS.get(level).copied().unwrap_or('█') }
    };
    let bars: String = values.iter().map(|value| bar(*value)).collect();
    let shown = u16::try_from(values.len()).unwrap_or(0);
    let name_width = u16::try_from(name.len()).unwrap_or(0);
    painter.put(x, 1, width, name, painter.tint(Tint::Weak));
    painter.put(x + name_width + 1, 1, shown, &bars, painter.tint(Tint::Good));
    let gap = u16::from(shown > 0);
    let at = (name_width + 1 + shown + gap).min(width);
    painter.put(x + at, 1, width - at, text, Style::new());
}

/// A text in place of the panes.
fn read(painter: &mut Painter, area: Area, text: &[Paragraph], line: usize) {
    let height = usize::from(area.height).max(2) - 1;
    let first = line.min(text.len().saturating_sub(height));
    let name_width = text
        .iter()
        .map(|paragraph| match paragraph {
            Paragraph::Fact(name, _) => name.len(),
            _ => 0,
        })
        .max();
    let name_width = u16::try_from(name_width.unwrap_or(0) + 2).unwrap_or(0);
    let width = area.width.saturating_sub(2);
    for (y, paragraph) in (area.y..).zip(text.iter().skip(first).take(height)) {
        match paragraph {
            Paragraph::Title(title) => {
                painter.rule(Area { y, height: 1, ..area }, title, true);
            }
            Paragraph::Fact(name, text) => {
                painter.put(1, y, width, name, painter.tint(Tint::Weak));
                let at = name_width.min(width);
                painter.put(1 + at, y, width - at, text, Style::new());
            }
            Paragraph::Line(text) => painter.put(1, y, width, text, Style::new()),
        }
    }
    let left = text.len().saturating_sub(first + height);
    let hint = match (left, first) {
        (0, 0) => "Esc closes".into(),
        (0, _) => "the end; Esc closes".into(),
        (left, _) => format!("{left} more lines: down, Page Down; Esc closes"),
    };
    let y = area.y + area.height - 1;
    painter.put(1, y, width, &hint, painter.tint(Tint::Weak));
}

/// The last line: what is typed, asked, said, or could be done.
fn last_line(app: &App, painter: &mut Painter) {
    let (width, height) = app.size;
    let y = height - 1;
    match &app.mode {
        Mode::Filter(typing) => typed(painter, y, "filter: ", typing, "Enter keeps, Esc clears"),
        Mode::Compose(typing) => {
            let name = app.addressee.as_ref().map_or("", |addressee| &addressee.name);
            let is_reply =
                app.addressee.as_ref().is_some_and(|addressee| addressee.reply_to.is_some());
            let word = if is_reply { "answer to" } else { "to" };
            let before = format!("{word} {}: ", crate::cli::table::cut(name, 24));
            typed(painter, y, &before, typing, "Enter sends, Esc does not");
        }
        Mode::Confirm { path, holder } => {
            let (file, question) = app.question(&path.file_path, holder);
            let question_width = crate::cli::table::cut(&question, usize::from(width)).len();
            let room = width.saturating_sub(u16::try_from(question_width).unwrap_or(width) + 10);
            let file = paint::cut_front(&file, usize::from(room));
            let text = format!("Release {file}, {question}");
            painter.put(0, y, width, &text, painter.tint(Tint::Strong));
        }
        _ => match &app.notice {
            Some((text, is_bad)) => {
                let tint = if *is_bad { Tint::Bad } else { Tint::Strong };
                painter.put(0, y, width, text, painter.tint(tint));
            }
            None => hints(app, painter, y),
        },
    }
}

fn hints(app: &App, painter: &mut Painter, y: u16) {
    let (width, _) = app.size;
    let keys = "? help  q quit  Tab pane  Enter open  s send  u unlock  / filter  z zoom";
    let text = if app.filter.is_empty() {
        keys.to_owned()
    } else {
        format!("only {:?} (Esc: all)  {keys}", clean(&app.filter, 40))
    };
    painter.put(0, y, width, &text, painter.tint(Tint::Weak));
}

/// A text that is being typed: its end, where one is, is always seen.
fn typed(painter: &mut Painter, y: u16, before: &str, typing: &Typing, hint: &str) {
    let width = painter.width();
    let text = clean(&typing.text, usize::MAX);
    let before_width = painter.put_all(0, y, width, before, painter.tint(Tint::Strong));
    let room = usize::from(width.saturating_sub(before_width + 1));
    let end = paint::cut_front(&text, room);
    let used = painter.put_all(before_width, y, width - before_width, &end, Style::new());
    let at = before_width + used;
    painter.put(at, y, 1, " ", Style::new().add_modifier(Modifier::REVERSED));
    if width > at + 3 {
        painter.put(at + 3, y, width - at - 3, hint, painter.tint(Tint::Weak));
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
