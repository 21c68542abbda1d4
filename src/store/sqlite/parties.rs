//! The numbers of senders and recipients, and what is remembered of them.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::db::{Fault, Outcome};
use super::progress::Progress;
use crate::model::{MachineName, Party, Seq};

/// The number of the recipient in the row of a broadcast.
pub(super) const EVERYONE: u32 = 0;

/// The number of the person at the command line, who gets no broadcasts.
pub(super) const CLI: u32 = 1;

/// How many parties are remembered. All present peers fit, so that no broadcast is slow.
const REMEMBERED_MAX: usize = 4096;

/// What is known of a party.
#[derive(Clone, Debug)]
pub(super) struct KnownParty {
    pub(super) party: Party,
    /// No broadcast up to this one is to it.
    pub(super) born: Seq,
    /// How far it has come.
    pub(super) progress: Progress,
    /// The same as it is stored.
    pub(super) stored: Progress,
    /// How many unread direct messages it has, once they have been counted. Those in its mailbox count
    /// for the mailbox.
    pub(super) unread_direct: Option<u64>,
    /// The same for broadcasts.
    pub(super) unread_broadcasts: Option<u64>,
    /// The number of the mailbox that it has.
    pub(super) mailbox: Option<u32>,
}

/// Begins the name of a mailbox in the table, and separates its machine. No label begins with it, and
/// no name contains it.
pub(super) const MAILBOX: char = '@';

/// The mailbox of a name on a machine, and of every other name that differs from it by case only:
/// `@name`, or `@name@machine` if that is not the hub.
pub(super) fn mailbox(name: &str, host: Option<MachineName>) -> Party {
    let host = host.map(|host| format!("{MAILBOX}{}", host.as_str())).unwrap_or_default();
    Party::Label(format!("{MAILBOX}{name}{host}").to_ascii_lowercase().into())
}

/// The name whose mailbox this is, and its machine, if it is one.
pub(super) fn mailbox_name(party: &Party) -> Option<(&str, Option<MachineName>)> {
    let Party::Label(label) = party else { return None };
    let name = label.strip_prefix(MAILBOX)?;
    Some(match name.split_once(MAILBOX) {
        Some((name, host)) => (name, MachineName::new(host)),
        None => (name, None),
    })
}

/// The columns that [`read`] reads. The mailbox is that of a present peer with a name of its own.
macro_rules! columns {
    () => {
        "party, name, born, floor, delivered, counted, unread,
         (SELECT mailbox.party FROM peers CROSS JOIN parties AS mailbox
          WHERE peers.id = parties.name AND left_at IS NULL AND NOT name_is_automatic
            AND mailbox.name = '@' || lower(peers.name || coalesce('@' || host, '')))"
    };
}

/// A cache of the table, of bounded size.
#[derive(Debug, Default)]
pub(super) struct Parties {
    numbers: HashMap<Party, u32>,
    known: HashMap<u32, KnownParty>,
}

impl Parties {
    /// The number of a party, if it has one.
    pub(super) fn find(&mut self, connection: &Connection, party: &Party) -> Outcome<Option<u32>> {
        if let Some(number) = self.numbers.get(party) {
            return Ok(Some(*number));
        }
        let sql = concat!("SELECT ", columns!(), " FROM parties WHERE name = ?1");
        let found = connection.prepare_cached(sql)?.query_row([party], read).optional()?;
        Ok(found.map(|(number, known)| self.remember(number, known)))
    }

    /// The number of a party; a new one if it has none. `broadcast_seq` is the newest broadcast.
    pub(super) fn intern(
        &mut self,
        connection: &Connection,
        party: &Party,
        broadcast_seq: Seq,
    ) -> Outcome<u32> {
        if let Some(number) = self.find(connection, party)? {
            return Ok(number);
        }
        let (number, known) = connection
            .prepare_cached(
                "INSERT INTO parties (name, born, floor, delivered, counted, unread)
                 VALUES (?1, ?2, ?2, ?2, ?2, 0)
                 RETURNING party, name, born, floor, delivered, counted, unread, NULL",
            )?
            .query_row((party, broadcast_seq), read)?;
        let nothing = Some(0);
        let known = KnownParty { unread_direct: nothing, unread_broadcasts: nothing, ..known };
        Ok(self.remember(number, known))
    }

    /// What is known of the party with a number that was found in a row.
    pub(super) fn known(
        &mut self,
        connection: &Connection,
        number: u32,
    ) -> Outcome<&mut KnownParty> {
        if !self.known.contains_key(&number) {
            let sql = concat!("SELECT ", columns!(), " FROM parties WHERE party = ?1");
            let found = connection.prepare_cached(sql)?.query_row([number], read).optional()?;
            let missing = || Fault::Damaged(format!("no party has the number {number}"));
            let (_, known) = found.ok_or_else(missing)?;
            self.remember(number, known);
        }
        self.known.get_mut(&number).ok_or_else(|| Fault::Damaged("a party is missing".into()))
    }

    /// The party with a number that was found in a row.
    pub(super) fn party(&mut self, connection: &Connection, number: u32) -> Outcome<Party> {
        self.known(connection, number).map(|known| known.party.clone())
    }

    /// Notes that a party has `more` unread direct messages.
    pub(super) fn add_unread_direct(&mut self, number: u32, more: i64) {
        if let Some(KnownParty { unread_direct: Some(unread), .. }) = self.known.get_mut(&number) {
            *unread = unread.saturating_add_signed(more);
        }
    }

    /// Notes that there is a new broadcast to a party.
    pub(super) fn add_unread_broadcast(&mut self, number: u32) {
        if let Some(KnownParty { unread_broadcasts: Some(unread), .. }) =
            self.known.get_mut(&number)
        {
            *unread += 1;
        }
    }

    /// The numbers of remembered parties for which this is true.
    pub(super) fn numbers_of(&self, is_so: impl Fn(&KnownParty) -> bool) -> Vec<u32> {
        let known = self.known.iter().filter(|(_, known)| is_so(known));
        known.map(|(number, _)| *number).collect()
    }

    /// The mailbox that a party has, if any.
    pub(super) fn mailbox(&mut self, connection: &Connection, number: u32) -> Outcome<Option<u32>> {
        self.known(connection, number).map(|known| known.mailbox)
    }

    pub(super) fn forget(&mut self, number: u32) {
        if let Some(known) = self.known.remove(&number) {
            self.numbers.remove(&known.party);
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.numbers.clear();
        self.known.clear();
    }

    fn remember(&mut self, number: u32, known: KnownParty) -> u32 {
        if self.known.len() >= REMEMBERED_MAX {
            self.forget_all();
        }
        self.numbers.insert(known.party.clone(), number);
        self.known.insert(number, known);
        number
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(u32, KnownParty)> {
    let unread: Seq = row.get(6)?;
    let progress = Progress {
        floor: row.get(3)?,
        delivered: row.get(4)?,
        counted: row.get(5)?,
        unread: unread.0,
    };
    let known = KnownParty {
        party: row.get(1)?,
        born: row.get(2)?,
        progress,
        stored: progress,
        unread_direct: None,
        unread_broadcasts: None,
        mailbox: row.get(7)?,
    };
    Ok((row.get(0)?, known))
}
