//! Places for whatever the poll reports events of.
//!
//! A place is used again after its holder has gone, so a bare index could bring a late event or a
//! late answer to the wrong connection. A [`Key`] therefore carries a generation beside the index,
//! and so does the token made from it.

use mio::Token;
use slab::Slab;

use crate::limits::{CONNECTIONS_MAX, PEERS_MAX};

const KIND_BITS: u32 = 4;
const INDEX_BITS: u32 = 16;
const KIND_MASK: usize = (1 << KIND_BITS) - 1;
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
/// What is left of a token: 44 bits where a word has 64, so a generation does not come again.
const GENERATION_MASK: usize = usize::MAX >> (KIND_BITS + INDEX_BITS);

const _: () = assert!(2 * CONNECTIONS_MAX <= INDEX_MASK && 2 * PEERS_MAX <= INDEX_MASK);

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An HTTP listener: someone wants to connect.
    Listener,
    /// The pipe of the signal handler: the broker is asked to stop.
    Signal,
    /// An HTTP connection.
    Connection,
    /// A push connection.
    Push,
    /// The process of a peer.
    Watch,
    /// The process of an agent.
    Agent,
    /// What a helper writes, which is nothing: its end.
    Helper,
    /// The listener for other machines.
    Entrance,
    /// A connection to another machine.
    Machine,
    /// A thread has found something out for the room.
    Waker,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Listener,
        Self::Signal,
        Self::Connection,
        Self::Push,
        Self::Watch,
        Self::Agent,
        Self::Helper,
        Self::Entrance,
        Self::Machine,
        Self::Waker,
    ];
}

/// A place in a table, and which of its holders is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: usize,
    generation: usize,
}

impl Key {
    /// For what there is one of, and so has no table.
    pub const SINGLE: Self = Self { index: 0, generation: 0 };

    /// The token of `kind` with this key.
    pub(super) fn token(self, kind: Kind) -> Token {
        let kind = kind as usize;
        Token((self.generation << INDEX_BITS | self.index) << KIND_BITS | kind)
    }

    /// What a token was made from.
    pub(super) fn of(token: Token) -> Option<(Kind, Self)> {
        let kind = *Kind::ALL.get(token.0 & KIND_MASK)?;
        let rest = token.0 >> KIND_BITS;
        Some((kind, Self { index: rest & INDEX_MASK, generation: rest >> INDEX_BITS }))
    }
}

/// Holders by key.
#[derive(Debug)]
pub(super) struct Table<T> {
    places: Slab<(usize, T)>,
    next_generation: usize,
}

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self { places: Slab::new(), next_generation: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The key that the next [`Table::insert`] will give.
    pub(super) fn next_key(&self) -> Key {
        Key { index: self.places.vacant_key(), generation: self.next_generation }
    }

    pub(super) fn insert(&mut self, holder: T) -> Key {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1) & GENERATION_MASK;
        Key { index: self.places.insert((generation, holder)), generation }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        match self.places.get(key.index) {
            Some((generation, holder)) if *generation == key.generation => Some(holder),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.places.get_mut(key.index) {
            Some((generation, holder)) if *generation == key.generation => Some(holder),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.places.try_remove(key.index).map(|(_, holder)| holder)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places
            .iter()
            .map(|(index, (generation, holder))| (Key { index, generation: *generation }, holder))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.places
            .iter_mut()
            .map(|(index, (generation, holder))| (Key { index, generation: *generation }, holder))
    }
}

/// What belongs to the keys of a [`Table`] that is kept elsewhere.
#[derive(Debug)]
pub(super) struct Attached<T> {
    places: Vec<Option<(usize, T)>>,
}

impl<T> Attached<T> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new() }
    }

    /// Attaches something to a key, in place of what is attached to the one before it in its place.
    pub(super) fn insert(&mut self, key: Key, it: T) {
        if key.index >= self.places.len() {
            self.places.resize_with(key.index + 1, || None);
        }
        if let Some(place) = self.places.get_mut(key.index) {
            *place = Some((key.generation, it));
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.places.get_mut(key.index) {
            Some(Some((generation, it))) if *generation == key.generation => Some(it),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        self.places.get_mut(key.index)?.take().map(|(_, it)| it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_to_a_key_is_not_found_by_another_in_its_place() {
        let (mut table, mut attached) = (Table::new(), Attached::new());
        let keys: Vec<Key> = (0..3).map(|i| table.insert(i)).collect();
        attached.insert(keys[2], "c");
        assert_eq!(attached.get_mut(keys[0]), None);
        assert_eq!(attached.get_mut(keys[2]), Some(&mut "c"));
        table.remove(keys[2]);
        let next = table.insert(3);
        assert_eq!((next.index, attached.remove(next)), (keys[2].index, None));
        attached.insert(next, "d");
        assert_eq!((attached.remove(keys[2]), attached.remove(next)), (None, Some("d")));
        assert_eq!(attached.remove(next), None);
    }

    #[test]
    fn a_late_key_finds_nobody_in_a_place_that_was_taken_again() {
        let mut table = Table::new();
        let first = table.insert('a');
        assert_eq!(table.remove(first), Some('a'));
        assert_eq!(table.next_key().index, first.index);
        let second = table.insert('b');
        assert_eq!((second.index, table.len()), (first.index, 1));
        assert_ne!(second, first);
        assert_eq!(table.get(first), None);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&'b'));
        assert_eq!(table.iter().map(|(key, _)| key).collect::<Vec<_>>(), [second]);
    }

    #[test]
    fn tokens_read_back() {
        let mut table = Table::new();
        let keys: Vec<Key> = (0..5).map(|i| table.insert(i)).collect();
        for key in keys
            .into_iter()
            .chain([Key::SINGLE, Key { index: INDEX_MASK, generation: GENERATION_MASK }])
        {
            for kind in Kind::ALL {
                assert_eq!(Key::of(key.token(kind)), Some((kind, key)));
            }
        }
        assert_eq!(Key::of(Token(KIND_MASK)), None);
    }

    #[test]
    fn generations_wrap_within_a_token() {
        let mut table = Table { places: Slab::new(), next_generation: GENERATION_MASK };
        let last = table.insert(1);
        let first = table.insert(2);
        assert_eq!((last.generation, first.generation), (GENERATION_MASK, 0));
        assert_eq!(Key::of(last.token(Kind::Push)), Some((Kind::Push, last)));
    }
}
