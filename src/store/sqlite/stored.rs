//! Structures of the model that have a table of their own, each field in the column of its name.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql as _, ToSqlOutput, ValueRef};
use rusqlite::{Row, params_from_iter};

use super::db::{Db, Outcome};
use crate::model::{Event, Invitation, Lock, MachineRecord, PeerRecord, StateEntry};

/// What a row of a table holds.
pub(super) trait TableRow: Sized {
    /// Its columns.
    const COLUMNS: &'static str;

    /// Reads it from a row of these columns.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self>;

    /// The values of these columns.
    fn values(&self) -> rusqlite::Result<Vec<ToSqlOutput<'_>>>;
}

/// What a column holds as JSON.
struct Json<T>(T);

impl<T: serde::Serialize> Json<&T> {
    fn value(&self) -> ToSqlOutput<'static> {
        // A list of texts can always be written as JSON.
        serde_json::to_string(self.0).unwrap_or_default().into()
    }
}

impl<T: serde::de::DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let value = serde_json::from_str(value.as_str()?);
        value.map(Self).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

macro_rules! stored {
    ($($type:ident { $first:ident $(, $field:ident $(as $form:ident)?)* $(,)? })*) => {$(
        impl TableRow for $type {
            const COLUMNS: &'static str =
                concat!(stringify!($first) $(, ", ", stringify!($field))*);

            fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
                let mut places = 0..;
                let mut place = || places.next().unwrap_or_default();
                Ok(Self {
                    $first: row.get(place())?,
                    $($field: stored!(row.get(place()) $(, $form)?),)*
                })
            }

            fn values(&self) -> rusqlite::Result<Vec<ToSqlOutput<'_>>> {
                Ok(vec![self.$first.to_sql()?, $(stored!(self.$field $(, $form)?)),*])
            }
        }
    )*};
    ($row:ident.get($place:expr)) => { $row.get($place)? };
    ($row:ident.get($place:expr), $form:ident) => { $row.get::<usize, $form<_>>($place)?.0 };
    ($this:ident.$field:ident) => { $this.$field.to_sql()? };
    ($this:ident.$field:ident, $form:ident) => { $form(&$this.$field).value() };
}
stored! {
    Lock {
        fence, path, pattern, shared, repo_id, git_root, holder, holder_name, reason, locked_at,
        expires_at, host, repo_hash,
    }
    Event { seq, id, kind, emitted_by, created_at, payload }
    StateEntry { namespace, key, version, updated_by, updated_at, expires_at, value }
    MachineRecord { id, name, address, joined_at, last_seen, removed_at }
    Invitation { token_hash, name, made_at, expires_at, owner }
    PeerRecord {
        id, name, name_is_automatic, token_hash, agent_type, pid, project_path, git_root,
        git_branch, repo_id, uds_path, summary, host, reach, session_id, agent_pid, private, acks,
        subscriptions as Json, started_at, last_heartbeat, left_at, resumable, agent_start, away_at,
        repo_hash,
    }
}

impl Db {
    /// All rows found by `rest`, the statement after its columns.
    pub(super) fn all<T: TableRow>(
        &self,
        rest: &str,
        params: impl rusqlite::Params,
    ) -> Outcome<Vec<T>> {
        self.rows(&format!("SELECT {} {rest}", T::COLUMNS), params, T::read)
    }

    /// The first of them.
    pub(super) fn first<T: TableRow>(
        &self,
        rest: &str,
        params: impl rusqlite::Params,
    ) -> Outcome<Option<T>> {
        self.row(&format!("SELECT {} {rest}", T::COLUMNS), params, T::read)
    }

    /// Writes a row, with a column that the structure does not have, in place of the one with its key.
    pub(super) fn put<T: TableRow>(
        &mut self,
        table: &str,
        value: &T,
        more: Option<(&str, ToSqlOutput<'_>)>,
    ) -> Outcome<()> {
        let (column, more) = more.unzip();
        let values: Vec<_> = value.values()?.into_iter().chain(more).collect();
        let (comma, column) = column.map_or(("", ""), |column| (", ", column));
        let holes = vec!["?"; values.len()].join(", ");
        let columns = T::COLUMNS;
        self.write(
            &format!("INSERT OR REPLACE INTO {table} ({columns}{comma}{column}) VALUES ({holes})"),
            params_from_iter(values),
        )?;
        Ok(())
    }
}
