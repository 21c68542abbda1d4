//! The parts of the screen: how much room each has, and which of its rows are shown.

use ratatui::layout::Rect;

use crate::model::{PeerId, Seq};

/// Least size at which something is shown.
pub(super) const WIDTH_MIN: u16 = 40;
pub(super) const HEIGHT_MIN: u16 = 8;
/// Least size at which all panes are shown at once.
const ALL_WIDTH_MIN: u16 = 64;
const ALL_HEIGHT_MIN: u16 = 18;
/// Lines of a pane that hold no rows: title, names of the columns.
const HEAD: u16 = 2;

/// A part of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Peers,
    Messages,
    Locks,
    Events,
}

impl Pane {
    pub(super) const ALL: [Self; 4] = [Self::Peers, Self::Messages, Self::Locks, Self::Events];

    /// The pane so many further on, in a circle.
    pub(super) fn next(self, by: usize) -> Self {
        let at = (self as usize + by) % Self::ALL.len();
        Self::ALL.into_iter().nth(at).unwrap_or(self)
    }
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowId {
    Peer(PeerId),
    Message(Seq),
    /// By its fence.
    Lock(Seq),
    Event(Seq),
}

/// The position in a pane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// The selected row; none: the first ones are shown, whatever comes.
    pub(super) selected: Option<RowId>,
    /// Where it was in the list, in case it goes away.
    pub(super) index: usize,
    /// On which line of the pane it stands, so that it stays there when others come above it.
    pub(super) line: usize,
}

impl Selection {
    /// Which of `rows` is selected, if one is, and which is the first one shown in a pane with room
    /// for `height`.
    pub(super) fn window(&self, rows: &[RowId], height: usize) -> (Option<usize>, usize) {
        let (Some(selected), Some(last)) = (self.selected, rows.len().checked_sub(1)) else {
            return (None, 0);
        };
        // What was selected may have gone: then the one that has taken its place.
        let found = rows.iter().position(|item| *item == selected);
        let index = found.unwrap_or(self.index.min(last));
        let line = self.line.min(height.saturating_sub(1));
        (Some(index), index.saturating_sub(line).min(rows.len().saturating_sub(height)))
    }
}

/// How many rows fit a pane that has this area.
pub(super) fn rows_in(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(HEAD))
}

/// Who gets which part of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// One or all.
    pub(super) panes: Vec<(Pane, Rect)>,
    /// All that panes share, and what is shown in place of them.
    pub(super) body: Rect,
}

/// Lays out a screen of `width` and `height`: a line of facts, a line of charts, the panes, a line to
/// talk. `None`: it is too small. `peers` and `locks` are the numbers of their rows.
pub(super) fn layout(
    (width, height): (u16, u16),
    focus: Pane,
    zoomed: bool,
    (peers, locks): (usize, usize),
) -> Option<Layout> {
    if width < WIDTH_MIN || height < HEIGHT_MIN {
        return None;
    }
    let body = Rect::new(0, 2, width, height - 3);
    if zoomed || width < ALL_WIDTH_MIN || height < ALL_HEIGHT_MIN {
        return Some(Layout { panes: vec![(focus, body)], body });
    }
    let need = |rows: usize| u16::try_from(rows.max(1)).unwrap_or(u16::MAX).saturating_add(HEAD);
    let upper = need(peers).min(body.height * 2 / 5).max(HEAD + 2);
    // Of events there are always more.
    let lower = need(locks.max(4)).min(body.height * 3 / 10).max(HEAD + 2);
    let middle = body.height - upper - lower;
    let (left, low) = (width.div_ceil(2) - 1, body.y + upper + middle);
    let panes = vec![
        (Pane::Peers, Rect::new(0, body.y, width, upper)),
        (Pane::Messages, Rect::new(0, body.y + upper, width, middle)),
        (Pane::Locks, Rect::new(0, low, left, lower)),
        (Pane::Events, Rect::new(left + 1, low, width - left - 1, lower)),
    ];
    Some(Layout { panes, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_filled_without_overlap() {
        for width in 1..200 {
            for height in 1..80 {
                for (peers, locks) in [(0, 0), (3, 1), (2000, 10_000)] {
                    let layout = layout((width, height), Pane::Peers, false, (peers, locks));
                    let Some(layout) = layout else {
                        assert!(width < WIDTH_MIN || height < HEIGHT_MIN);
                        continue;
                    };
                    let mut filled = 0;
                    for (pane, area) in &layout.panes {
                        assert!(rows_in(*area) >= 1, "{pane:?} of {width}x{height}: {area:?}");
                        assert!(area.right() <= width && area.bottom() < height);
                        filled += area.area();
                    }
                    // One column stays between the lower two.
                    let gap = layout.panes.get(2).map_or(0, |(_, area)| u32::from(area.height));
                    assert_eq!(filled + gap, u32::from(width) * u32::from(height - 3));
                }
            }
        }
    }

    #[test]
    fn a_selected_row_stays_on_its_line() {
        let rows: Vec<RowId> = (0..100).map(|seq| RowId::Message(Seq(seq))).collect();
        let first = |at: u64, height| {
            let selection =
                Selection { selected: Some(RowId::Message(Seq(at))), index: 99, line: 3 };
            selection.window(&rows, height)
        };
        assert_eq!(first(3, 10), (Some(3), 0));
        assert_eq!(first(50, 10), (Some(50), 47));
        // At the end the list is not pushed off the pane.
        assert_eq!(first(99, 10), (Some(99), 90));
        // A pane that has become smaller still shows it.
        assert_eq!(first(50, 2), (Some(50), 49));
        // Of one that has gone, whatever has its place.
        assert_eq!(first(500, 10), (Some(99), 90));
        assert_eq!(Selection::default().window(&rows, 10), (None, 0));
    }
}
