//! Putting texts into cells.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Frame;
use crate::cli::table::cut;
use crate::cli::top::app::{Area, second};
use crate::model::Timestamp;

/// What the look of a word says. Never that alone: the word says it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tint {
    Plain,
    Weak,
    Strong,
    Good,
    Bad,
}

/// A screen that is being drawn.
pub(super) struct Painter {
    buffer: Buffer,
    pub(super) now: Timestamp,
    color: bool,
    /// The second in which something looks different.
    changes_at: Option<i64>,
}

impl Painter {
    pub(super) fn new((width, height): (u16, u16), now: Timestamp, color: bool) -> Self {
        let buffer = Buffer::empty(Rect::new(0, 0, width, height));
        Self { buffer, now, color, changes_at: None }
    }

    pub(super) fn finish(self) -> Frame {
        let changes_at = self.changes_at.map(|second| Timestamp(second.saturating_mul(1000)));
        Frame { buffer: self.buffer, changes_at }
    }

    pub(super) fn width(&self) -> u16 {
        self.buffer.area.width
    }

    /// The look of a word: on light and dark backgrounds alike, so never yellow or cyan, and never a
    /// background of our own.
    pub(super) fn tint(&self, tint: Tint) -> Style {
        let color = |color, otherwise| {
            if self.color { Style::new().fg(color) } else { Style::new().add_modifier(otherwise) }
        };
        match tint {
            Tint::Plain => Style::new(),
            Tint::Weak => Style::new().add_modifier(Modifier::DIM),
            Tint::Strong => Style::new().add_modifier(Modifier::BOLD),
            Tint::Good => color(Color::Green, Modifier::empty()),
            Tint::Bad => color(Color::Red, Modifier::BOLD).add_modifier(Modifier::BOLD),
        }
    }

    /// Writes `text`, which is clean, into at most `width` columns, with an ellipsis where it is
    /// longer.
    pub(super) fn put(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) {
        self.put_all(x, y, width, text, style);
    }

    /// The same; gives the columns it took.
    pub(super) fn put_all(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
        let area = self.buffer.area;
        if x >= area.width || y >= area.height {
            return 0;
        }
        let width = width.min(area.width - x);
        let text = cut(text, usize::from(width));
        let (end, _) = self.buffer.set_stringn(x, y, &text, usize::from(width), style);
        end - x
    }

    /// The line above a list: its name, and a line to the right.
    pub(super) fn rule(&mut self, area: Area, title: &str, is_focused: bool) {
        let mut style = self.tint(Tint::Strong);
        if is_focused {
            style = style.add_modifier(Modifier::REVERSED);
        }
        let used = self.put_all(area.x, area.y, area.width, &format!(" {title} "), style);
        let left = area.width.saturating_sub(used);
        let line = "─".repeat(usize::from(left));
        self.put(area.x + used, area.y, left, &line, self.tint(Tint::Weak));
    }

    /// The look of a whole line.
    pub(super) fn select(&mut self, area: Area, y: u16) {
        let line = Rect::new(area.x, y, area.width, 1).intersection(self.buffer.area);
        self.buffer.set_style(line, Style::new().add_modifier(Modifier::REVERSED));
    }

    /// What is drawn looks different in this second.
    pub(super) fn changes_at(&mut self, second: i64) {
        self.changes_at = Some(self.changes_at.map_or(second, |at| at.min(second)));
    }

    pub(super) fn changes_in_a_second(&mut self) {
        self.changes_at(second(self.now) + 1);
    }
}

/// The end of `text`, which is clean, in at most `width` columns.
pub(super) fn cut_front(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let mut used = 0;
    let mut kept: Vec<char> = Vec::new();
    for c in text.chars().rev() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(c);
    }
    // A mark without what it stood on.
    while kept.last().is_some_and(|c| c.width() == Some(0)) {
        kept.pop();
    }
    std::iter::once('…').chain(kept.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept() {
        assert_eq!(cut_front("src/main.rs", 11), "src/main.rs");
        assert_eq!(cut_front("src/main.rs", 8), "…main.rs");
        assert_eq!(cut_front("漢字漢字", 4), "…字");
        assert_eq!(cut_front("xe\u{301}abc", 4), "…abc");
        assert_eq!(cut_front("abc", 1), "…");
        assert_eq!(cut_front("abc", 0), "");
    }
}
