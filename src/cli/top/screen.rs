//! From cells to what a terminal is sent: only what has changed.
//!
//! The sequences are those of ECMA-48 (CUP, ED, SGR) and of xterm ("xterm control sequences": the
//! private modes of DECSET), which the others have taken over.

use std::io::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

/// The second screen, no cursor, no wrapping at the right edge, pastes marked as such.
pub(super) const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h";
/// All of that undone, and whatever an unfinished frame has begun.
pub(super) const LEAVE: &[u8] = b"\x1b[?2026l\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";
/// What follows is shown at once, where that is known, and ignored elsewhere
/// ("Synchronized Output", mode 2026).
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

/// What the terminal shows.
#[derive(Debug, Default)]
pub(super) struct Screen {
    shown: Option<Buffer>,
}

impl Screen {
    /// What is on the terminal is no longer known.
    pub(super) fn forget(&mut self) {
        self.shown = None;
    }

    /// Appends to `out` what turns the screen into `next`; nothing if it is that already.
    pub(super) fn show(&mut self, next: Buffer, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(BEGIN);
        let shown = self.shown.take().filter(|shown| shown.area == next.area);
        let is_new = shown.is_none();
        let shown = shown.unwrap_or_else(|| {
            out.extend_from_slice(b"\x1b[0m\x1b[2J");
            Buffer::empty(Rect::new(0, 0, next.area.width, next.area.height))
        });
        let changed = write_cells(&shown, &next, out);
        if changed || is_new {
            out.extend_from_slice(END);
        } else {
            out.truncate(start);
        }
        self.shown = Some(next);
    }
}

fn write_cells(shown: &Buffer, next: &Buffer, out: &mut Vec<u8>) -> bool {
    let mut look = None;
    // Where the cursor is, if that is certain.
    let mut at: Option<(u16, u16)> = None;
    let mut changed = false;
    for (x, y, cell) in shown.diff_iter(next) {
        changed = true;
        if at != Some((x, y)) {
            // Into memory: cannot fail.
            let _ = write!(out, "\x1b[{};{}H", u32::from(y) + 1, u32::from(x) + 1);
        }
        let wanted = (cell.fg, cell.modifier);
        if look != Some(wanted) {
            write_look(cell, out);
            look = Some(wanted);
        }
        let symbol = cell.symbol();
        out.extend_from_slice(symbol.as_bytes());
        // How far any other character moves the cursor is not certain.
        at = (symbol.len() == 1).then_some((x + 1, y));
    }
    if changed {
        out.extend_from_slice(b"\x1b[0m");
    }
    changed
}

fn write_look(cell: &Cell, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x1b[0");
    for (modifier, code) in
        [(Modifier::BOLD, &b";1"[..]), (Modifier::DIM, b";2"), (Modifier::REVERSED, b";7")]
    {
        if cell.modifier.contains(modifier) {
            out.extend_from_slice(code);
        }
    }
    match cell.fg {
        Color::Red => out.extend_from_slice(b";31"),
        Color::Green => out.extend_from_slice(b";32"),
        // No others are used.
        _ => {}
    }
    out.push(b'm');
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    fn buffer(width: u16, lines: &[&str]) -> Buffer {
        let height = u16::try_from(lines.len()).unwrap();
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        for (y, line) in (0..).zip(lines) {
            buffer.set_string(0, y, line, Style::new());
        }
        buffer
    }

    fn terminal(width: u16, height: u16) -> vt100::Parser {
        vt100::Parser::new(height, width, 0)
    }

    #[test]
    fn only_what_has_changed_is_sent() {
        let mut screen = Screen::default();
        let mut out = Vec::new();
        screen.show(buffer(10, &["abc", "漢字 x"]), &mut out);
        let first = out.len();
        screen.show(buffer(10, &["abc", "漢字 x"]), &mut out);
        assert_eq!(out.len(), first);
        screen.show(buffer(10, &["abd", "漢字 x"]), &mut out);
        assert_eq!(&out[first..], b"\x1b[?2026h\x1b[1;3H\x1b[0md\x1b[0m\x1b[?2026l");
    }

    #[test]
    fn a_terminal_shows_what_was_drawn() {
        let frames: [(u16, &[&str]); 5] = [
            (8, &["abc", "漢字 x"]),
            (8, &["漢abc", "a字 x"]),
            (8, &["", "e\u{301}x"]),
            (4, &["漢字", "abcd"]),
            (4, &["a漢b", ""]),
        ];
        let mut screen = Screen::default();
        let mut terminal = terminal(8, 2);
        for (width, lines) in frames {
            let mut out = Vec::new();
            screen.show(buffer(width, lines), &mut out);
            terminal.screen_mut().set_size(2, width);
            terminal.process(&out);
            let shown = terminal.screen().rows(0, width);
            let shown: Vec<String> = shown.map(|line| line.trim_end().to_owned()).collect();
            assert_eq!(shown, lines);
        }
    }
}
