//! The parts of the screen: which there are, how much room each has, and where one is in it.

use crate::model::{PeerId, Seq};

/// Least size at which something is shown.
pub(in crate::cli::top) const WIDTH_MIN: u16 = 40;
pub(in crate::cli::top) const HEIGHT_MIN: u16 = 8;
/// Least size at which all panes are shown at once.
const ALL_WIDTH_MIN: u16 = 64;
const ALL_HEIGHT_MIN: u16 = 18;
/// Lines of a pane that hold no rows: title, names of the columns.
const HEAD: u16 = 2;

/// A part of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::top) enum Pane {
    Peers,
    Messages,
    Locks,
    Events,
}

impl Pane {
    pub(in crate::cli::top) const ALL: [Self; 4] =
        [Self::Peers, Self::Messages, Self::Locks, Self::Events];

    pub(in crate::cli::top) fn index(self) -> usize {
        self as usize
    }

    pub(in crate::cli::top) fn title(self) -> &'static str {
        match self {
            Self::Peers => "Peers",
            Self::Messages => "Messages",
            Self::Locks => "Locks",
            Self::Events => "Events",
        }
    }

    /// The pane so many further on, in a circle.
    pub(super) fn next(self, by: usize) -> Self {
        let at = (self.index() + by) % Self::ALL.len();
        Self::ALL.into_iter().nth(at).unwrap_or(self)
    }
}

/// What a row stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::top) enum Item {
    Peer(PeerId),
    Message(Seq),
    /// By its fence.
    Lock(Seq),
    Event(Seq),
}

/// Where one is in a pane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::top) struct Place {
    /// The selected row; none: the first ones are shown, whatever comes.
    pub(super) selected: Option<Item>,
    /// Where it was in the list, in case it goes away.
    pub(super) index: usize,
    /// On which line of the pane it stands, so that it stays there when others come above it.
    pub(super) line: usize,
}

impl Place {
    /// The first row shown of `len` in a pane of `height`, when the selected one is at `index`.
    pub(in crate::cli::top) fn first(&self, index: usize, len: usize, height: usize) -> usize {
        let line = self.line.min(height.saturating_sub(1));
        index.saturating_sub(line).min(len.saturating_sub(height))
    }
}

/// A rectangle of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::top) struct Area {
    pub(in crate::cli::top) x: u16,
    pub(in crate::cli::top) y: u16,
    pub(in crate::cli::top) width: u16,
    pub(in crate::cli::top) height: u16,
}

impl Area {
    /// How many rows fit a pane that has this area.
    pub(in crate::cli::top) fn rows(self) -> usize {
        usize::from(self.height.saturating_sub(HEAD))
    }
}

/// Who gets which part of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::top) struct Layout {
    /// One or all.
    pub(in crate::cli::top) panes: Vec<(Pane, Area)>,
    /// All that panes share, and what is shown in place of them.
    pub(in crate::cli::top) body: Area,
}

/// Lays out a screen of `width` and `height`: a line of facts, a line of charts, the panes, a line to
/// talk. `None`: it is too small. `peers` and `locks` are the numbers of their rows.
pub(in crate::cli::top) fn layout(
    (width, height): (u16, u16),
    focus: Pane,
    zoomed: bool,
    (peers, locks): (usize, usize),
) -> Option<Layout> {
    if width < WIDTH_MIN || height < HEIGHT_MIN {
        return None;
    }
    let body = Area { x: 0, y: 2, width, height: height - 3 };
    if zoomed || width < ALL_WIDTH_MIN || height < ALL_HEIGHT_MIN {
        return Some(Layout { panes: vec![(focus, body)], body });
    }
    let need = |rows: usize| u16::try_from(rows.max(1)).unwrap_or(u16::MAX).saturating_add(HEAD);
    let upper = need(peers).min(body.height * 35 / 100).max(HEAD + 2);
    // Of events there are always more.
    let lower = need(locks.max(4)).min(body.height * 30 / 100).max(HEAD + 2);
    let middle = body.height - upper - lower;
    let left = width.div_ceil(2) - 1;
    let row = |x, y, width, height| Area { x, y, width, height };
    let panes = vec![
        (Pane::Peers, row(0, body.y, width, upper)),
        (Pane::Messages, row(0, body.y + upper, width, middle)),
        (Pane::Locks, row(0, body.y + upper + middle, left, lower)),
        (Pane::Events, row(left + 1, body.y + upper + middle, width - left - 1, lower)),
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
                        assert!(area.rows() >= 1, "{pane:?} of {width}x{height}: {area:?}");
                        assert!(area.x + area.width <= width && area.y + area.height < height);
                        filled += u32::from(area.width) * u32::from(area.height);
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
        let place = Place { line: 3, ..Place::default() };
        assert_eq!(place.first(3, 100, 10), 0);
        assert_eq!(place.first(50, 100, 10), 47);
        // At the end the list is not pushed off the pane.
        assert_eq!(place.first(99, 100, 10), 90);
        assert_eq!(place.first(2, 5, 10), 0);
        // A pane that has become smaller still shows it.
        assert_eq!(place.first(50, 100, 2), 49);
        assert_eq!(place.first(0, 0, 0), 0);
    }
}
