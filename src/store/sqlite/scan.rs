//! Reading the rows of a table of which parts may be unreadable.
//!
//! Rows come in the order of the table's key. What cannot be read is tried once more (a disk may fail
//! for a moment) and then passed over: a row whose key can still be read alone, else everything up to
//! the next key that is found by asking for higher ones. Where keys are no numbers there is nothing to
//! ask for, and the rest is read from the other end.
//!
//! A row's key is above that of the row before, or the row is not believed: so pages that lead in a
//! circle have an end.

use std::collections::VecDeque;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

/// Rows read at once.
const PIECE: usize = 64;
/// Keys asked for one by one behind one that cannot be read; further ones at growing distances.
const NEAR: i64 = 1024;

/// A part of a key as it is stored, whatever bytes are in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Key {
    fn of(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Integer(number) => Some(Self::Number(number)),
            ValueRef::Text(text) => Some(Self::Text(text.into())),
            ValueRef::Blob(blob) => Some(Self::Blob(blob.into())),
            ValueRef::Null | ValueRef::Real(_) => None,
        }
    }
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

/// What is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// The table, or with an index that has all of it.
    pub(super) table: &'static str,
    /// The columns, as after SELECT.
    pub(super) columns: &'static str,
    /// The columns of the key, in its order.
    pub(super) key: &'static [&'static str],
}

/// The way through a table.
pub(super) struct Scan<'a, T> {
    old: &'a Connection,
    source: Source,
    /// The columns that the table has, and what stands for those that it has not.
    columns: String,
    decode: fn(&Row<'_>) -> Option<T>,
    /// The last key that was dealt with.
    after: Option<Vec<Key>>,
    ahead: VecDeque<T>,
    tried: bool,
    done: bool,
    /// Rows, or stretches of them, that were passed over.
    pub(super) lost: u64,
}

impl<'a, T> Scan<'a, T> {
    /// All rows of `source` in `old` that `decode` understands. A column that `old` does not have, since
    /// it is of a former version, has the value that a migration gives it in `new`.
    pub(super) fn new(
        (old, new): (&'a Connection, &Connection),
        source: Source,
        decode: fn(&Row<'_>) -> Option<T>,
    ) -> Self {
        let table = source.table.split(' ').next().unwrap_or_default();
        let (there, wanted) = (defaults(old, table), defaults(new, table));
        let known = |columns: &[(String, String)], name: &str| {
            columns.iter().find(|(column, _)| column == name).map(|(_, value)| value.clone())
        };
        let columns = source.columns.split(',').map(|name| {
            let name = name.trim();
            match known(&there, name) {
                Some(_) => name.to_owned(),
                None => known(&wanted, name).unwrap_or_else(|| "NULL".into()),
            }
        });
        Self {
            old,
            source,
            columns: columns.collect::<Vec<_>>().join(", "),
            decode,
            after: None,
            ahead: VecDeque::new(),
            tried: false,
            done: false,
            lost: 0,
        }
    }

    /// The next row that can be read.
    pub(super) fn next(&mut self) -> Option<T> {
        while self.ahead.is_empty() && !self.done {
            self.fetch();
        }
        self.ahead.pop_front()
    }

    fn fetch(&mut self) {
        match self.read(false) {
            Some(count) => self.done = count < PIECE,
            None if !self.tried => {
                self.tried = true;
                return;
            }
            None => self.pass_over(),
        }
        self.tried = false;
    }

    /// Reads on, or from the end back; none if it came to something that cannot be read.
    fn read(&mut self, backwards: bool) -> Option<usize> {
        let Source { table, key, .. } = self.source;
        let (keys, places) = (key.join(", "), vec!["?"; key.len()].join(", "));
        let above = self.after.as_ref().map(|_| format!("WHERE ({keys}) > ({places})"));
        let order = key.join(if backwards { " DESC, " } else { ", " });
        let (order, limit) = if backwards {
            (format!("{order} DESC"), i64::MAX)
        } else {
            (order, i64::try_from(PIECE).unwrap_or(i64::MAX))
        };
        let sql = format!(
            "SELECT {}, {keys} FROM {table} {} ORDER BY {order} LIMIT {limit}",
            self.columns,
            above.unwrap_or_default()
        );
        let from = self.source.columns.split(',').count();
        let mut statement = self.old.prepare_cached(&sql).ok()?;
        let start = self.after.clone();
        let mut rows = statement.query(params_from_iter(start.iter().flatten())).ok()?;
        let mut count = 0;
        while let Some(row) = rows.next().ok()? {
            let found = (from..from + key.len()).map(|place| Key::of(row.get_ref(place).ok()?));
            let found: Vec<Key> = found.collect::<Option<_>>()?;
            if start.as_ref().is_some_and(|start| found <= *start)
                || (!backwards && self.after.as_ref().is_some_and(|after| found <= *after))
            {
                return None;
            }
            count += 1;
            match (self.decode)(row) {
                Some(row) => self.ahead.push_back(row),
                None => self.lost += 1,
            }
            if !backwards {
                self.after = Some(found);
            }
        }
        Some(count)
    }

    /// Goes on behind what cannot be read.
    fn pass_over(&mut self) {
        self.lost += 1;
        match self.key_above(self.after.as_deref()) {
            Ok(Some(key)) => self.after = Some(key),
            Ok(None) => self.done = true,
            Err(_) if self.source.key.len() == 1 && self.has_numbers() => match self.search() {
                Some(below) => self.after = Some(vec![Key::Number(below)]),
                None => self.done = true,
            },
            Err(_) => {
                let _ = self.read(true);
                self.done = true;
            }
        }
    }

    /// The lowest key above `after`, without the row.
    fn key_above(&self, after: Option<&[Key]>) -> rusqlite::Result<Option<Vec<Key>>> {
        let Source { table, key, .. } = self.source;
        let (keys, places) = (key.join(", "), vec!["?"; key.len()].join(", "));
        let above = after.map(|_| format!("WHERE ({keys}) > ({places})")).unwrap_or_default();
        let sql = format!("SELECT {keys} FROM {table} {above} ORDER BY {keys} LIMIT 1");
        let mut statement = self.old.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(after.into_iter().flatten()))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let found: rusqlite::Result<Vec<_>> =
            (0..key.len()).map(|place| Ok(Key::of(row.get_ref(place)?))).collect();
        let found: Option<Vec<Key>> = found?.into_iter().collect();
        // A key that is none, or is not above: as good as unreadable.
        let wrong = || rusqlite::Error::InvalidQuery;
        let found = found.ok_or_else(wrong)?;
        if after.is_some_and(|after| *found <= *after) { Err(wrong()) } else { Ok(Some(found)) }
    }

    fn has_numbers(&self) -> bool {
        matches!(self.source.key, ["seq" | "party" | "fence" | "at"])
    }

    /// A number above which the next row can be found again, near the first such.
    fn search(&self) -> Option<i64> {
        let start = match self.after.as_deref() {
            Some([Key::Number(number)]) => *number,
            _ => 0,
        };
        let found = |place: i64| self.key_above(Some(&[Key::Number(place)]));
        for place in (1..=NEAR).map(|step| start.saturating_add(step)) {
            match found(place) {
                Ok(Some(_)) => return Some(place),
                Ok(None) => return None,
                Err(_) => {}
            }
        }
        let (mut bad, mut step) = (start.saturating_add(NEAR), NEAR);
        let mut good = loop {
            step = step.checked_mul(2)?;
            let place = start.checked_add(step)?;
            match found(place) {
                Ok(Some(_)) => break place,
                Ok(None) => return None,
                Err(_) => bad = place,
            }
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if found(middle).is_ok() {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good)
    }
}

/// The columns of a table, and what each is where nothing was said.
fn defaults(connection: &Connection, table: &str) -> Vec<(String, String)> {
    let read = || {
        let mut info = connection
            .prepare("SELECT name, ifnull(dflt_value, 'NULL') FROM pragma_table_info(?1)")?;
        let rows = info.query_map([table], |row| row.try_into())?;
        rows.collect()
    };
    let columns: rusqlite::Result<_> = read();
    columns.unwrap_or_default()
}
