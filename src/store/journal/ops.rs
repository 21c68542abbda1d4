//! What a turn changed, operation by operation, and how that is done again.
//!
//! A body is the highest number given before the turn, and then operations: each is a byte that says
//! which, and its arguments. Numbers given in between are operations, too, since what an operation
//! does may depend on which was the last.

use super::coding::{Argument, Coded, Reader, put_list, put_option, put_text};
use crate::model::{MessageId, Party, PeerId, Recipient, Seq, StateEntry, Timestamp, Way};
use crate::store::{
    NewEvent, NewMessage, PurgeBefore, StateChange, Store, StoreError, To, each_operation,
};

/// Those with arguments of their own; the others have their number in [`Store`].
const NUMBERS: u8 = 1;
const SEND: u8 = 3;
const APPEND_EVENT: u8 = 4;
const MARK_READ: u8 = 5;
const SET_STATE: u8 = 9;
const DELETE_STATE: u8 = 10;
const PURGE: u8 = 21;

const TO_ONE: u8 = 0;
const TO_NAME: u8 = 1;
const TO_MANY: u8 = 2;
const TO_GROUP: u8 = 3;

/// The operations of a turn.
#[derive(Debug, Default)]
pub(super) struct Ops {
    /// The body.
    bytes: Vec<u8>,
    /// The highest number given before the turn.
    before: Seq,
    /// Numbers given since the last operation.
    numbers: u64,
}

impl Ops {
    /// Begins a turn.
    pub(super) fn begin(&mut self, before: Seq) {
        self.bytes.clear();
        self.before = before;
        self.numbers = 0;
    }

    /// Whether there is anything to be done again.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The body.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds an operation; its arguments follow.
    pub(super) fn op(&mut self, code: u8) -> &mut Vec<u8> {
        if self.bytes.is_empty() {
            self.before.put(&mut self.bytes);
        }
        if self.numbers > 0 {
            self.bytes.push(NUMBERS);
            self.numbers.put(&mut self.bytes);
            self.numbers = 0;
        }
        self.bytes.push(code);
        &mut self.bytes
    }

    pub(super) fn next_seq(&mut self) {
        self.numbers += 1;
    }

    pub(super) fn send(&mut self, message: &NewMessage<'_>) {
        let out = self.op(SEND);
        message.seq.put(out);
        message.id.put(out);
        message.from.put(out);
        put_text(message.from_name, out);
        match message.to {
            To::One(recipient) => {
                out.push(TO_ONE);
                recipient.put(out);
            }
            To::Name(name, host) => {
                out.push(TO_NAME);
                put_text(name, out);
                host.put(out);
            }
            To::Many(peers) => {
                out.push(TO_MANY);
                put_list(peers, out);
            }
            To::Group(name, peers) => {
                out.push(TO_GROUP);
                put_text(name, out);
                put_list(peers, out);
            }
        }
        message.kind.put(out);
        put_text(message.payload, out);
        message.reply_to.put(out);
        message.created_at.put(out);
        message.client_id.put(out);
    }

    pub(super) fn append_event(&mut self, event: &NewEvent<'_>) {
        let out = self.op(APPEND_EVENT);
        event.seq.put(out);
        event.id.put(out);
        put_text(event.kind, out);
        put_text(event.payload, out);
        put_option(event.emitted_by, out, Coded::put);
        event.created_at.put(out);
        event.client_id.put(out);
    }

    /// Messages were marked read as an inbox was read.
    pub(super) fn read(&mut self, recipient: Recipient, ids: &[MessageId], at: Timestamp) {
        let out = self.op(MARK_READ);
        recipient.put(out);
        put_list(ids, out);
        at.put(out);
        None::<Way>.put(out);
    }

    pub(super) fn set_state(&mut self, entry: &StateEntry) {
        entry.put(self.op(SET_STATE));
    }

    pub(super) fn delete_state(&mut self, change: &StateChange<'_>) {
        let out = self.op(DELETE_STATE);
        put_text(change.namespace, out);
        put_text(change.key, out);
    }

    pub(super) fn purge(&mut self, before: &PurgeBefore, limit: u32) {
        let out = self.op(PURGE);
        before.put(out);
        limit.put(out);
    }
}

/// Does again what a body says, as one turn.
///
/// # Errors
/// Those of the store, and [`StoreError::Failed`] if the body cannot be read. The turn is rolled back.
pub(super) fn apply(body: &[u8], store: &mut impl Store) -> Result<(), StoreError> {
    store.begin_turn()?;
    let done = apply_ops(Reader(body), store).and_then(|()| store.commit_turn());
    if done.is_err() {
        store.rollback_turn();
    }
    done
}

fn apply_ops(mut from: Reader<'_>, store: &mut impl Store) -> Result<(), StoreError> {
    let unreadable = || StoreError::Failed("a record of the journal cannot be read".into());
    let mut last = Seq::take(&mut from).ok_or_else(unreadable)?;
    give_up_to(last, store);
    while !from.is_empty() {
        let code = u8::take(&mut from).ok_or_else(unreadable)?;
        if code == NUMBERS {
            let count = u64::take(&mut from).ok_or_else(unreadable)?;
            last = Seq(last.0.saturating_add(count));
            give_up_to(last, store);
        } else {
            apply_op(code, &mut from, store).ok_or_else(unreadable)??;
        }
    }
    Ok(())
}

/// Gives the numbers up to `last`. The store may have given higher ones before, in the place of what
/// was lost.
pub(super) fn give_up_to(last: Seq, store: &mut impl Store) {
    while store.last_seq() < last {
        store.next_seq();
    }
}

/// None if it cannot be read.
fn apply_op(
    code: u8,
    from: &mut Reader<'_>,
    store: &mut impl Store,
) -> Option<Result<(), StoreError>> {
    Some(match code {
        SEND => return send(from, store),
        APPEND_EVENT => {
            let (seq, id) = (Seq::take(from)?, MessageId::take(from)?);
            let (kind, payload) = (from.text()?, from.text()?);
            let emitted_by: Option<Party> = Coded::take(from)?;
            store.append_event(&NewEvent {
                seq,
                id,
                kind,
                payload,
                emitted_by: emitted_by.as_ref(),
                created_at: Coded::take(from)?,
                client_id: Coded::take(from)?,
            })
        }
        SET_STATE => store.set_state(&Coded::take(from)?, None).map(drop),
        DELETE_STATE => {
            let (namespace, key) = (from.text()?, from.text()?);
            store.delete_state(&StateChange { namespace, key, if_version: None }).map(drop)
        }
        PURGE => store.purge(&Coded::take(from)?, Coded::take(from)?).map(drop),
        _ => return apply_numbered(code, from, store),
    })
}

/// Makes the function that does again what stands with its arguments as they are.
macro_rules! apply {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty $(=> $code:tt)?;)*) => {
        fn apply_numbered(
            code: u8,
            from: &mut Reader<'_>,
            store: &mut impl Store,
        ) -> Option<Result<(), StoreError>> {
            $(apply! { $($code)? code, from, store.$name($($arg),*) })*
            None
        }
    };
    ($number:literal $code:ident, $from:ident, $store:ident.$name:ident($($arg:ident),*)) => {
        if $code == $number {
            $(let $arg = Coded::take($from)?;)*
            return Some($store.$name($(Argument::lend(&$arg)),*).map(drop));
        }
    };
    ($($other:tt)*) => {};
}
each_operation!(apply);

fn send(from: &mut Reader<'_>, store: &mut impl Store) -> Option<Result<(), StoreError>> {
    let (seq, id) = (Coded::take(from)?, Coded::take(from)?);
    let sender = Coded::take(from)?;
    let from_name = from.text()?;
    let peers: Vec<PeerId>;
    let to = match u8::take(from)? {
        TO_ONE => To::One(Coded::take(from)?),
        TO_NAME => To::Name(from.text()?, Coded::take(from)?),
        TO_MANY => {
            peers = Coded::take(from)?;
            To::Many(&peers)
        }
        TO_GROUP => {
            let name = from.text()?;
            peers = Coded::take(from)?;
            To::Group(name, &peers)
        }
        _ => return None,
    };
    let kind = Coded::take(from)?;
    Some(store.send(&NewMessage {
        seq,
        id,
        from: &sender,
        from_name,
        to,
        kind,
        payload: from.text()?,
        reply_to: Coded::take(from)?,
        created_at: Coded::take(from)?,
        client_id: Coded::take(from)?,
    }))
}
