//! Tables: columns as wide as their content, cut to the width of the terminal.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::out::{Paint, Style};

/// The space between two columns.
const GAP: &str = "  ";

/// A column.
#[derive(Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    /// The least width on a narrow terminal; none if it does not shrink.
    shrinks_to: Option<usize>,
    /// Whether it is cut in its middle, since its end matters as much as its beginning.
    middle: bool,
    /// Where there is no room, columns of lower ranks are left out first; none if it always stays.
    rank: Option<u8>,
    /// Whether it is left out before any other column shrinks.
    is_detail: bool,
}

/// A column that keeps its width.
pub(super) const fn fixed(title: &'static str) -> Column {
    Column { title, shrinks_to: None, middle: false, rank: None, is_detail: false }
}

/// A column that may shrink to `width`.
pub(super) const fn elastic(title: &'static str, width: usize) -> Column {
    Column { shrinks_to: Some(width), ..fixed(title) }
}

/// A column of paths, which may shrink to `width`.
pub(super) const fn path(title: &'static str, width: usize) -> Column {
    Column { middle: true, ..elastic(title, width) }
}

impl Column {
    /// Left out where there is no room, after those of lower ranks.
    pub(super) const fn less(self, rank: u8) -> Self {
        Self { rank: Some(rank), ..self }
    }

    /// Left out before any other column shrinks, since the others imply it.
    pub(super) const fn detail(self) -> Self {
        Self { is_detail: true, ..self }
    }
}

/// A cell: one line, made harmless already.
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
    pub(super) columns: [Column; N],
    pub(super) rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// Writes the table, titles first. Empty columns are left out, and so are some where there is no
    /// room for all.
    pub(super) fn write(&self, out: &mut impl Write, style: Style) -> io::Result<()> {
        let widths = self.layout(style.width);
        let titles = self.columns.map(|column| Cell::painted(column.title, Paint::Dim));
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            let mut used = 0;
            // Spaces are written only before a cell, so that no line ends with them.
            let mut at = 0;
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(widths) {
                let Some(width) = width else { continue };
                let text = if column.middle {
                    cut_middle(&cell.text, width)
                } else {
                    cut(&cell.text, width)
                };
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

    /// The width of each column; none if it is not shown.
    fn layout(&self, total: Option<usize>) -> [Option<usize>; N] {
        let natural = self.natural();
        let Some(total) = total else { return natural };
        let mut widths = natural;
        // A column with the same text in all rows does not distinguish them.
        let is_constant = |at: usize| self.is_constant(at);
        let is_detail = |at: usize| self.columns.get(at).is_some_and(|column| column.is_detail);
        for may in [&is_constant as &dyn Fn(usize) -> bool, &is_detail] {
            while excess(&widths, total) > 0
                && let Some(least) = self.least(&widths, may)
            {
                widths = hide(widths, least);
            }
        }
        loop {
            let shrunk = self.shrink(widths, total, |column| column.shrinks_to);
            if excess(&shrunk, total) == 0 {
                return shrunk;
            }
            let Some(least) = self.least(&widths, |_| true) else {
                let bare = |column: &Column| column.shrinks_to.map(|_| 0);
                return cut_off(self.shrink(shrunk, total, bare), total);
            };
            widths = hide(widths, least);
        }
    }

    /// The width of each column's content; none for an empty one.
    fn natural(&self) -> [Option<usize>; N] {
        let mut widths = [None; N];
        for row in &self.rows {
            for ((width, cell), column) in widths.iter_mut().zip(row).zip(&self.columns) {
                if !cell.text.is_empty() {
                    let least = width.unwrap_or(column.title.width());
                    *width = Some(least.max(cell.text.width()));
                }
            }
        }
        widths
    }

    /// Whether there are several rows and all have the same text in this column.
    fn is_constant(&self, at: usize) -> bool {
        let mut texts = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| &cell.text);
        let first = texts.next();
        self.rows.len() > 1 && texts.all(|text| Some(text) == first)
    }

    /// The shown column of the lowest rank, among those that `may` be left out.
    fn least(&self, widths: &[Option<usize>; N], may: impl Fn(usize) -> bool) -> Option<usize> {
        let shown = self.columns.iter().zip(widths).enumerate();
        let shown = shown.filter(|(at, (_, width))| width.is_some() && may(*at));
        let ranked = shown.filter_map(|(at, (column, _))| Some((column.rank?, at)));
        ranked.min().map(|(_, at)| at)
    }

    /// Shrinks the widest elastic column, again and again, until all fit or none can shrink.
    fn shrink(
        &self,
        mut widths: [Option<usize>; N],
        total: usize,
        least: impl Fn(&Column) -> Option<usize>,
    ) -> [Option<usize>; N] {
        for _ in 0..excess(&widths, total) {
            let elastic = widths.iter_mut().zip(&self.columns).filter_map(|(width, column)| {
                let width = width.as_mut()?;
                let least = least(column)?.max(column.title.width());
                (*width > least).then_some(width)
            });
            let Some(widest) = elastic.max_by_key(|width| **width) else { break };
            *widest -= 1;
        }
        widths
    }
}

/// By how many columns a table is too wide.
fn excess(widths: &[Option<usize>], total: usize) -> usize {
    let shown = widths.iter().flatten().count();
    let gaps = GAP.len() * shown.saturating_sub(1);
    (widths.iter().flatten().sum::<usize>() + gaps).saturating_sub(total)
}

fn hide<const N: usize>(mut widths: [Option<usize>; N], at: usize) -> [Option<usize>; N] {
    if let Some(width) = widths.get_mut(at) {
        *width = None;
    }
    widths
}

/// Cuts off what does not fit at the right; a column that would only be an ellipsis is not shown.
fn cut_off<const N: usize>(mut widths: [Option<usize>; N], total: usize) -> [Option<usize>; N] {
    let mut left = total;
    for width in &mut widths {
        if let Some(shown) = *width {
            *width = Some(shown.min(left)).filter(|cut| *cut == shown || *cut > 1);
            left = left.saturating_sub(shown + GAP.len());
        }
    }
    widths
}

/// `text` in at most `width` columns, with an ellipsis in its middle if it was too long; two thirds of
/// the rest are its end.
pub(super) fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let mut end: Vec<char> = fitting(text.chars().rev(), room - room / 3).collect();
    end.reverse();
    fitting(text.chars(), room / 3).chain(['…']).chain(end).collect()
}

/// The first of `chars` that fit in `room` columns.
fn fitting(chars: impl Iterator<Item = char>, room: usize) -> impl Iterator<Item = char> {
    let mut used = 0;
    chars.take_while(move |c| {
        used += c.width().unwrap_or(0);
        used <= room
    })
}

/// `text` in at most `width` columns, with an ellipsis where something was cut off.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let mut out: String = fitting(text.chars(), room).collect();
    // A space before the ellipsis would look like a gap.
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: &[[&str; 3]], width: Option<usize>) -> Vec<String> {
        let columns = [fixed("NAME"), elastic("TEXT", 6), elastic("MORE", 4)];
        let table = Table { columns, rows: rows.iter().map(|row| row.map(Cell::from)).collect() };
        let mut out = Vec::new();
        table.write(&mut out, Style { width, color: false }).unwrap();
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
        assert_eq!(lines(&rows, Some(7))[0], "NAME", "nothing is an ellipsis alone");
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
        // Below that, all that can shrink does, and then the right is cut off.
        assert_eq!(lines(&rows, Some(16))[1], "name  a v…  sho…");
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
    fn where_there_is_no_room_what_tells_least_is_left_out() {
        let columns = [
            elastic("NAME", 4),
            fixed("KIND").less(2),
            path("WHERE", 8).less(3),
            fixed("AGE").less(1),
        ];
        let shown = |rows: &[[&str; 4]], width| {
            let rows = rows.iter().map(|row| row.map(Cell::from)).collect();
            let table = Table { columns, rows };
            let mut out = Vec::new();
            table.write(&mut out, Style { width: Some(width), color: false }).unwrap();
            String::from_utf8(out).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let rows = [["a", "x", "/home/me/one/src", "1 s"], ["b", "x", "/home/me/one/doc", "2 s"]];
        assert_eq!(shown(&rows, 40)[1], "a     x     /home/me/one/src  1 s");
        // What is the same everywhere goes first, then paths give their middle, then ranks count.
        assert_eq!(shown(&rows, 30)[1], "a     /home/me/one/src  1 s");
        assert_eq!(shown(&rows, 22)[1], "a     /ho…one/src  1 s");
        assert_eq!(shown(&rows, 15)[1], "a     /h…ne/src");
        assert_eq!(shown(&rows, 6)[1], "a");
        let other = [["a", "x", "/home/me/one/src", "1 s"], ["b", "y", "/home/me/one/src", "1 s"]];
        assert_eq!(shown(&other, 15)[2], "b     y");
    }

    #[test]
    fn paths_are_cut_in_the_middle() {
        for (text, width, expected) in [
            ("/home/me/src", 12, "/home/me/src"),
            ("/home/me/src", 10, "/ho…me/src"),
            ("/home/me/src", 4, "/…rc"),
            ("/漢字漢字", 4, "/…字"),
            ("/home", 1, "…"),
            ("/home", 0, ""),
        ] {
            assert_eq!(cut_middle(text, width), expected);
        }
    }

    #[test]
    fn paint_takes_no_room() {
        let rows = vec![[Cell::painted("x", Paint::Good), "y".into()]];
        let table = Table { columns: [fixed("A"), fixed("B")], rows };
        let mut out = Vec::new();
        table.write(&mut out, Style { width: None, color: true }).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\u{1b}[2mA\u{1b}[0m  \u{1b}[2mB\u{1b}[0m\n\u{1b}[32mx\u{1b}[0m  y\n");
    }
}
