//! How the types of the model are stored in columns.

use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use uuid::Uuid;

use crate::model::{
    How, MachineId, MachineName, MeshTime, MessageId, MessageKind, Monotonic, Party, PeerId,
    RepoHash, Seq, Timestamp, Told, Way,
};

/// Types of one value: what is stored of one, and how that is read.
macro_rules! column_types {
    ($($(#[$about:meta])* $type:ty: $this:ident => $stored:expr, $value:ident => $read:expr;)*) => {$(
        $(#[$about])*
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let $this = self;
                Ok($stored.into())
            }
        }

        impl FromSql for $type {
            fn column_result($value: ValueRef<'_>) -> FromSqlResult<Self> {
                $read
            }
        }
    )*};
}
column_types! {
    /// A number that is too high for a column is stored as the highest possible.
    Seq: seq => i64::try_from(seq.0).unwrap_or(i64::MAX), value => unsigned(value).map(Self);
    Timestamp: time => time.0, value => value.as_i64().map(Self);
    MeshTime: time => time.0, value => value.as_i64().map(Self);
    /// Milliseconds.
    Monotonic:
        time => i64::try_from(time.0.as_millis()).unwrap_or(i64::MAX),
        value => unsigned(value).map(Duration::from_millis).map(Self);
    PeerId:
        id => id.0.as_bytes().as_slice(),
        value => FromSql::column_result(value).map(Uuid::from_bytes).map(Self);
    MessageId:
        id => id.0.as_bytes().as_slice(),
        value => FromSql::column_result(value).map(Uuid::from_bytes).map(Self);
    MachineId: id => id.0.as_slice(), value => FromSql::column_result(value).map(Self);
    RepoHash: hash => hash.0.as_slice(), value => FromSql::column_result(value).map(Self);
    MachineName:
        name => name.as_str(),
        value => Self::new(value.as_str()?).ok_or(FromSqlError::InvalidType);
    /// The place of a kind of message in [`MessageKind::ALL`].
    MessageKind: kind => place_in(&Self::ALL, kind), value => {
        let number = value.as_i64()?;
        let kind = usize::try_from(number).ok().and_then(|place| Self::ALL.get(place));
        kind.copied().ok_or(FromSqlError::OutOfRange(number))
    };
    MarkTime: time => time.to_stored(), value => value.as_i64().map(Self::from_stored);
}

fn unsigned(value: ValueRef<'_>) -> FromSqlResult<u64> {
    let number = value.as_i64()?;
    u64::try_from(number).map_err(|_| FromSqlError::OutOfRange(number))
}

/// The place of a value in a list of all values.
fn place_in<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let place = all.iter().position(|other| other == one);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

/// A peer is the 16 bytes of its id, anyone else a text.
impl ToSql for Party {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Peer(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.0.as_bytes())),
            Self::Cli => ToSqlOutput::Borrowed(ValueRef::Text(b"cli")),
            // Names of machines that differ by case are one; texts in a column are not.
            Self::CliAt(machine) => Self::CliAt(machine.folded()).to_string().into(),
            Self::Label(label) => ToSqlOutput::Borrowed(ValueRef::Text(label.as_bytes())),
        })
    }
}

impl FromSql for Party {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(_) => PeerId::column_result(value).map(Self::Peer),
            _ => value.as_str().map(Self::parse_name),
        }
    }
}

/// The time at which a message gets a mark.
///
/// "Not yet" is a number as long as a time of our days (a NULL would be shorter): a row that keeps its
/// size is changed in place, and the pages of its payload are not written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MarkTime(pub(super) Option<Timestamp>);

/// The time of a mark that is still to come: the highest number that SQLite stores in 6 bytes.
pub(super) const NOT_YET: i64 = (1 << 47) - 1;

impl MarkTime {
    /// As it is stored: never a real time beyond 6 bytes (the year 6429).
    pub(super) fn to_stored(self) -> i64 {
        self.0.map_or(NOT_YET, |time| time.0.clamp(-(1 << 47), NOT_YET - 1))
    }

    pub(super) fn from_stored(stored: i64) -> Self {
        Self((stored != NOT_YET).then_some(Timestamp(stored)))
    }
}

/// The way of a telling that is still to come. Numbers from 2 on, since 0 and 1 take no byte of a row and all
/// others below 128 take one (<https://sqlite.org/fileformat2.html#record_format>).
pub(super) const NO_WAY: u8 = 2;

/// How sure a telling is, by its number.
const HOWS: [How; 6] =
    [How::Notified, How::Sent, How::Held, How::Refused, How::Declined, How::NotRunning];

/// How many ways there are.
const WAYS: u8 = 7;

/// A telling as it is stored: when, and in one number by which way, how sure, and whether in full.
pub(super) fn told_to_stored(told: Option<Told>) -> (i64, u8) {
    let Some(Told { at, by, how, whole }) = told else { return (NOT_YET, NO_WAY) };
    let (way, how) = (place_in(&Way::ALL, &by), place_in(&HOWS, &how));
    let code = NO_WAY + 1 + way + WAYS * (2 * how + u8::from(whole));
    (MarkTime(Some(at)).to_stored(), code)
}

/// The telling that is stored like this; `None` also for one that no program of ours has written.
pub(super) fn told_from_stored(at: i64, code: u8) -> Option<Told> {
    let code = code.checked_sub(NO_WAY + 1)?;
    let by = *Way::ALL.get(usize::from(code % WAYS))?;
    let how = *HOWS.get(usize::from(code / WAYS / 2))?;
    let whole = code / WAYS % 2 == 1;
    MarkTime::from_stored(at).0.map(|at| Told { at, by, how, whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_telling_is_a_number_of_its_own_that_takes_one_byte() {
        let mut codes = Vec::new();
        for by in Way::ALL.iter().copied() {
            for how in How::ALL {
                for whole in [false, true] {
                    let told = Told { at: Timestamp(5), by, how, whole };
                    let (at, code) = told_to_stored(Some(told));
                    assert_eq!(told_from_stored(at, code), Some(told));
                    codes.push(code);
                }
            }
        }
        codes.sort_unstable();
        assert!(codes.is_sorted_by(|a, b| a < b) && codes[0] > NO_WAY && codes[83] < 128);
        let (at, none) = told_to_stored(None);
        assert_eq!((told_from_stored(at, none), told_from_stored(at, codes[83] + 1)), (None, None));
    }
}
