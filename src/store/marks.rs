//! How a message stands with one recipient, and what becomes of that.

use super::Telling;
use crate::model::{Reached, Timestamp, Told, Way};

/// How a message stands with one recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Marks {
    pub(in crate::store) delivered_at: Option<Timestamp>,
    pub(in crate::store) told: Option<Told>,
    pub(in crate::store) read_at: Option<Timestamp>,
}

impl Marks {
    /// As it stands after having been read at `at`, and told in this way if that was not proven
    /// before.
    pub(in crate::store) fn read(self, at: Timestamp, way: Option<Way>) -> Self {
        match self.read_at {
            Some(_) => self,
            None => Self {
                delivered_at: self.delivered_at.or(Some(at)),
                told: way
                    .filter(|_| !self.told.is_some_and(Told::is_proven))
                    .map_or(self.told, |way| Some(Told::notified(at, way))),
                read_at: Some(at),
            },
        }
    }

    /// As it stands after this about the telling.
    pub(in crate::store) fn told(self, telling: Telling) -> Self {
        let settled = self.read_at.is_some() || self.told.is_some_and(Told::is_proven);
        match (telling, self.told) {
            _ if settled => self,
            (Telling::Told(new), Some(old)) if (Told { at: old.at, ..new }) == old => self,
            (Telling::Told(new), _) => Self {
                delivered_at: self.delivered_at.or(Some(new.at)),
                told: Some(new),
                read_at: None,
            },
            (Telling::Dropped(way), Some(old)) if old.by == way => Self { told: None, ..self },
            (Telling::Dropped(_), _) => self,
        }
    }

    /// As it stands if what follows from a later mark is true: what was read or told has been
    /// delivered.
    pub(in crate::store) fn sound(self) -> Self {
        let later = self.told.map(|told| told.at).or(self.read_at);
        Self { delivered_at: self.delivered_at.or(later), ..self }
    }

    /// As it stands after having been delivered at `at`.
    pub(in crate::store) fn delivered(self, at: Timestamp) -> Self {
        Self { delivered_at: self.delivered_at.or(Some(at)), ..self }
    }
}

/// How far a broadcast has come, by how it stands with each recipient.
pub(in crate::store) fn reached(all: impl Iterator<Item = Marks>) -> Reached {
    let mut reached = Reached::default();
    for marks in all {
        reached.recipients += 1;
        reached.delivered += u32::from(marks.delivered_at.is_some());
        let proven = marks.told.map(Told::is_proven);
        reached.sent += u32::from(proven == Some(false) && marks.read_at.is_none());
        reached.notified += u32::from(proven == Some(true));
        reached.read += u32::from(marks.read_at.is_some());
    }
    reached
}
