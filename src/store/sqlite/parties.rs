//! Senders and recipients as numbers, and what is remembered of them.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::db::{Fault, Outcome};
use crate::model::{Party, Seq};

/// The recipient in the row of a broadcast.
pub(super) const EVERYONE: u32 = 0;

/// The person at the command line. Gets no broadcasts.
pub(super) const CLI: u32 = 1;

/// Most parties remembered. All present peers fit, so that no broadcast is slow.
const REMEMBERED_MAX: usize = 4096;

/// What is known of a party.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) party: Party,
    /// No broadcast up to this one is for it.
    pub(super) born: Seq,
    /// No broadcast up to this one is for it and unread. May be higher than what is stored: a
    /// lower one only means that more is looked at.
    pub(super) floor: Seq,
    /// What is stored.
    pub(super) floor_stored: Seq,
    /// Its unread messages, once they have been counted; those in its mailbox are that one's.
    pub(super) unread: Option<u64>,
    /// The number of the mailbox that it has.
    pub(super) mailbox: Option<u32>,
}

/// What the name of a mailbox begins with in the table. No label does.
const MAILBOX: char = '@';

/// The mailbox of a name, and of every other that differs from it by case only.
pub(super) fn mailbox(name: &str) -> Party {
    Party::Label(format!("{MAILBOX}{}", name.to_ascii_lowercase()).into())
}

/// The name whose mailbox this is, if it is one.
pub(super) fn mailbox_name(party: &Party) -> Option<&str> {
    match party {
        Party::Label(label) => label.strip_prefix(MAILBOX),
        Party::Peer(_) | Party::Cli => None,
    }
}

/// The columns that [`read`] reads. The mailbox is that of a present peer with a name of its own.
macro_rules! columns {
    () => {
        "party, name, born, floor,
         (SELECT mailbox.party FROM peers CROSS JOIN parties AS mailbox
          WHERE peers.id = parties.name AND left_at IS NULL AND NOT name_is_automatic
            AND mailbox.name = '@' || lower(peers.name))"
    };
}

/// A bounded memory of the table.
#[derive(Debug, Default)]
pub(super) struct Parties {
    numbers: HashMap<Party, u32>,
    known: HashMap<u32, Known>,
}

impl Parties {
    /// The number of a party, if it has one.
    pub(super) fn find(&mut self, connection: &Connection, party: &Party) -> Outcome<Option<u32>> {
        if let Some(number) = self.numbers.get(party) {
            return Ok(Some(*number));
        }
        let found = connection
            .prepare_cached(concat!("SELECT ", columns!(), " FROM parties WHERE name = ?1"))?
            .query_row([party], read)
            .optional()?;
        Ok(found.map(|(number, known)| self.remember(number, known)))
    }

    /// The number of a party, a new one if it has none. `broadcast_seq` is the newest broadcast.
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
                "INSERT INTO parties (name, born, floor) VALUES (?1, ?2, ?2)
                 RETURNING party, name, born, floor, NULL",
            )?
            .query_row((party, broadcast_seq), read)?;
        Ok(self.remember(number, Known { unread: Some(0), ..known }))
    }

    /// What is known of a number that stands in some row.
    pub(super) fn known(&mut self, connection: &Connection, number: u32) -> Outcome<&mut Known> {
        if !self.known.contains_key(&number) {
            let (_, known) = connection
                .prepare_cached(concat!("SELECT ", columns!(), " FROM parties WHERE party = ?1"))?
                .query_row([number], read)
                .optional()?
                .ok_or_else(|| Fault::Damaged(format!("no party has the number {number}")))?;
            self.remember(number, known);
        }
        self.known.get_mut(&number).ok_or_else(|| Fault::Damaged("a party is missing".into()))
    }

    /// The party with a number that stands in some row.
    pub(super) fn party(&mut self, connection: &Connection, number: u32) -> Outcome<Party> {
        self.known(connection, number).map(|known| known.party.clone())
    }

    /// Takes into account that a party has `more` unread messages.
    pub(super) fn add_unread(&mut self, number: u32, more: i64) {
        if let Some(Known { unread: Some(unread), .. }) = self.known.get_mut(&number) {
            *unread = unread.saturating_add_signed(more);
        }
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

    fn remember(&mut self, number: u32, known: Known) -> u32 {
        if self.known.len() >= REMEMBERED_MAX {
            self.forget_all();
        }
        self.numbers.insert(known.party.clone(), number);
        self.known.insert(number, known);
        number
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(u32, Known)> {
    let floor = row.get(3)?;
    let known = Known {
        party: row.get(1)?,
        born: row.get(2)?,
        floor,
        floor_stored: floor,
        unread: None,
        mailbox: row.get(4)?,
    };
    Ok((row.get(0)?, known))
}
