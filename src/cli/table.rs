//! Tables: columns as wide as their content, cut to the width of the terminal.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::out::{Paint, Style};

/// Between two columns.
const GAP: &str = "  ";

/// A column.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// What it may shrink to when the terminal is narrow; none: it does not shrink.
    pub(super) shrinks_to: Option<usize>,
}

/// A column that keeps its width.
pub(super) const fn fixed(title: &'static str) -> Column {
    Column { title, shrinks_to: None }
}

/// A column that may shrink to `width`.
pub(super) const fn elastic(title: &'static str, width: usize) -> Column {
    Column { title, shrinks_to: Some(width) }
}

/// What stands in a cell: one line, made harmless already.
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub(super) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: text.into(), paint }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), paint: Paint::Plain }
    }
}

/// A table.
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Writes the table, its titles first. A column with nothing in it is left out.
    pub(super) fn write(&self, out: &mut impl Write, style: &Style) -> io::Result<()> {
        let shown = self.shown();
        let widths = self.widths(style.width);
        let titles = self.columns.map(|column| Cell::painted(column.title, Paint::Dim));
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            let mut used = 0;
            // Spaces are written only before something, so that no line ends with them.
            let mut at = 0;
            let cells = row.iter().zip(widths).zip(shown).filter(|(_, shown)| *shown);
            for ((cell, width), _) in cells {
                let text = cut(&cell.text, width);
                if !text.is_empty() {
                    line.extend(std::iter::repeat_n(' ', at - used));
                    line.push_str(&style.paint(&text, cell.paint));
                    used = at + text.width();
                }
                at += width + GAP.len();
            }
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Which columns have something in them.
    fn shown(&self) -> [bool; N] {
        let mut shown = [false; N];
        for row in &self.rows {
            for (shown, cell) in shown.iter_mut().zip(row) {
                *shown |= !cell.text.is_empty();
            }
        }
        shown
    }

    /// How wide each column is, so that all fit `total` if that can be.
    fn widths(&self, total: Option<usize>) -> [usize; N] {
        let shown = self.shown();
        let mut widths = self.columns.map(|column| column.title.width());
        for (width, _) in widths.iter_mut().zip(shown).filter(|(_, shown)| !shown) {
            *width = 0;
        }
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let Some(total) = total else { return widths };
        let columns = shown.iter().filter(|shown| **shown).count();
        let gaps = GAP.len() * columns.saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(total);
        // The widest column gives first.
        while excess > 0 {
            let columns = self.columns.iter();
            let elastic = widths.iter_mut().zip(columns).filter_map(|(width, column)| {
                let least = column.shrinks_to?.max(column.title.width());
                (*width > least).then_some(width)
            });
            let Some(widest) = elastic.max_by_key(|width| **width) else { break };
            *widest -= 1;
            excess -= 1;
        }
        // What still does not fit is cut off at the right.
        let mut left = total;
        for (width, _) in widths.iter_mut().zip(shown).filter(|(_, shown)| *shown) {
            *width = (*width).min(left);
            left = left.saturating_sub(*width + GAP.len());
        }
        widths
    }
}

/// `text` in at most `width` columns, with an ellipsis where something was cut off.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let mut used = 0;
    let kept = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used <= room
    });
    let mut out: String = kept.collect();
    // A space before it would only look like a gap.
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: &[[&str; 3]], width: Option<usize>) -> Vec<String> {
        let mut table = Table::new([fixed("NAME"), elastic("TEXT", 6), elastic("MORE", 4)]);
        for row in rows {
            table.push(row.map(Cell::from));
        }
        let mut out = Vec::new();
        table.write(&mut out, &Style { width, color: false }).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let rows = [["a", "some text", "x"], ["longer", "", "y"], ["b", "t", ""]];
        assert_eq!(
            lines(&rows, None),
            [
                "NAME    TEXT       MORE",
                "a       some text  x",
                "longer             y",
                "b       t"
            ]
        );
        assert_eq!(lines(&rows, Some(200)), lines(&rows, None));
    }

    #[test]
    fn empty_columns_are_left_out() {
        let rows = [["a", "", "x"], ["b", "", "y"]];
        assert_eq!(lines(&rows, None), ["NAME  MORE", "a     x", "b     y"]);
        assert_eq!(lines(&rows, Some(10)), lines(&rows, None));
        assert_eq!(lines(&rows, Some(9))[0], "NAME  MO…");
        assert_eq!(lines(&[["a", "b", ""]], None), ["NAME  TEXT", "a     b"]);
    }

    #[test]
    fn wide_characters_count_as_two() {
        let rows = [["漢字", "x", "1"], ["abcd", "y", "2"], ["e\u{301}", "z", "3"]];
        assert_eq!(
            lines(&rows, None),
            ["NAME  TEXT  MORE", "漢字  x     1", "abcd  y     2", "e\u{301}     z     3"]
        );
    }

    #[test]
    fn the_widest_elastic_column_gives_first() {
        let rows = [["name", "a very long text that goes on", "short"]];
        for width in 20..=40 {
            for line in lines(&rows, Some(width)) {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
        assert_eq!(lines(&rows, Some(24))[1], "name  a very lon…  short");
        // Below that, the right is cut off.
        assert_eq!(lines(&rows, Some(10))[1], "name  a v…");
        for width in 0..20 {
            for line in lines(&rows, Some(width)) {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn cutting_keeps_within_the_width() {
        for (text, width, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("a bcd", 3, "a…"),
            ("漢字", 3, "漢…"),
            ("漢字", 2, "…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, width), expected);
        }
    }

    #[test]
    fn paint_takes_no_room() {
        let mut table = Table::new([fixed("A"), fixed("B")]);
        table.push([Cell::painted("x", Paint::Good), "y".into()]);
        let mut out = Vec::new();
        table.write(&mut out, &Style { width: None, color: true }).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\u{1b}[2mA\u{1b}[0m  \u{1b}[2mB\u{1b}[0m\n\u{1b}[32mx\u{1b}[0m  y\n");
    }
}
