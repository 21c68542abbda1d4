//! How the things of the model stand in the journal.
//!
//! Numbers are LEB128, seven bits a byte from the lowest on; signed ones are put through zigzag
//! first, so that small ones are short either way. A text or a list is its length and what is in it,
//! an option is 0, or 1 and what it is, an enum is the number of its case and what that has. A
//! structure is its fields in order. What is read is checked: a length is never believed.
//!
//! Nothing here may change without a new [`super::log::VERSION`].

use std::time::Duration;

use uuid::Uuid;

use crate::model::{
    How, Invitation, Lock, MachineId, MachineName, MachineRecord, MeshTime, MessageId, MessageKind,
    Monotonic, Party, PeerId, PeerRecord, Recipient, RepoHash, Seq, StateEntry, TimeMark,
    Timestamp, Told, Way,
};
use crate::store::{PurgeBefore, Telling};

/// Bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(u64::take(self)?).ok()?;
        std::str::from_utf8(self.bytes(len)?).ok()
    }
}

/// What can stand in the journal.
pub(super) trait Coded: Sized {
    fn put(&self, out: &mut Vec<u8>);
    /// None if it is not there whole.
    fn take(from: &mut Reader<'_>) -> Option<Self>;
}

pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    (text.len() as u64).put(out);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_list<T: Coded>(list: &[T], out: &mut Vec<u8>) {
    (list.len() as u64).put(out);
    for item in list {
        item.put(out);
    }
}

pub(super) fn put_option<T>(value: Option<T>, out: &mut Vec<u8>, put: impl Fn(T, &mut Vec<u8>)) {
    value.is_some().put(out);
    if let Some(value) = value {
        put(value, out);
    }
}

impl Coded for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                out.push(low & 0x7f);
                return;
            }
            out.push(low | 0x80);
        }
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = u8::take(from)?;
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift;
            if bits << shift >> shift != bits {
                return None;
            }
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl Coded for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        ((self << 1) ^ (self >> 63)).cast_unsigned().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let code = u64::take(from)?;
        Some((code >> 1).cast_signed() ^ -(code & 1).cast_signed())
    }
}

impl Coded for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Self::try_from(u64::take(from)?).ok()
    }
}

impl Coded for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        <[u8; 1]>::take(from).map(|[byte]| byte)
    }
}

impl Coded for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<const N: usize> Coded for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        from.bytes(N)?.try_into().ok()
    }
}

impl Coded for Box<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        from.text().map(Self::from)
    }
}

impl<T: Coded> Coded for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_option(self.as_ref(), out, T::put);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Some(if bool::take(from)? { Some(T::take(from)?) } else { None })
    }
}

impl<T: Coded> Coded for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self, out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let len = u64::take(from)?;
        (0..len).map(|_| T::take(from)).collect()
    }
}

impl Coded for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Coded::take(from).map(Self::from_bytes)
    }
}

/// Nanoseconds.
impl Coded for Monotonic {
    fn put(&self, out: &mut Vec<u8>) {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        u64::take(from).map(|nanos| Self(Duration::from_nanos(nanos)))
    }
}

impl Coded for MachineName {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self.as_str(), out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Self::new(from.text()?)
    }
}

/// An argument of an operation, as the operation has it.
pub(super) trait Argument<'a> {
    /// What is read of it.
    type Owned: Coded;

    fn write(&self, out: &mut Vec<u8>);
    fn lend(owned: &'a Self::Owned) -> Self;
}

/// Arguments that are their own.
macro_rules! values {
    ($($type:ty),*) => {$(
        impl Argument<'_> for $type {
            type Owned = Self;

            fn write(&self, out: &mut Vec<u8>) {
                self.put(out);
            }

            fn lend(owned: &Self) -> Self {
                *owned
            }
        }
    )*};
}
values!(u32, i64, Seq, Timestamp, MeshTime, PeerId, Recipient, Telling, Option<Way>);

impl<'a, T: Coded> Argument<'a> for &'a T {
    type Owned = T;

    fn write(&self, out: &mut Vec<u8>) {
        self.put(out);
    }

    fn lend(owned: &'a T) -> Self {
        owned
    }
}

impl<'a, T: Coded> Argument<'a> for &'a [T] {
    type Owned = Vec<T>;

    fn write(&self, out: &mut Vec<u8>) {
        put_list(self, out);
    }

    fn lend(owned: &'a Vec<T>) -> Self {
        owned
    }
}

impl<'a> Argument<'a> for &'a str {
    type Owned = Box<str>;

    fn write(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn lend(owned: &'a Box<str>) -> Self {
        owned
    }
}

impl<'a> Argument<'a> for Option<&'a str> {
    type Owned = Option<Box<str>>;

    fn write(&self, out: &mut Vec<u8>) {
        put_option(*self, out, put_text);
    }

    fn lend(owned: &'a Option<Box<str>>) -> Self {
        owned.as_deref()
    }
}

/// What is one thing of another type.
macro_rules! wrapped {
    ($($type:ident),*) => {$(
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(from: &mut Reader<'_>) -> Option<Self> {
                Coded::take(from).map(Self)
            }
        }
    )*};
}
wrapped!(Seq, Timestamp, MeshTime, PeerId, MessageId, MachineId, RepoHash);

/// Structures, with all their fields in the order in which they stand.
macro_rules! structures {
    ($($type:ident { $($field:ident),* $(,)? })*) => {$(
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn take(from: &mut Reader<'_>) -> Option<Self> {
                $(let $field = Coded::take(from)?;)*
                Some(Self { $($field),* })
            }
        }
    )*};
}
structures! {
    Told { at, by, how, whole }
    PurgeBefore { messages, events, departed }
    TimeMark { at, wall, boot_id, boot, steady_since, believed_ms, unseen_to }
    StateEntry { namespace, key, value, version, updated_by, updated_at, expires_at }
    Lock {
        path, pattern, shared, host, repo_id, repo_hash, git_root, holder, holder_name, reason,
        locked_at, expires_at, fence,
    }
    PeerRecord {
        id, name, name_is_automatic, token_hash, agent_type, pid, project_path, git_root,
        git_branch, repo_id, repo_hash, uds_path, summary, host, reach, session_id, agent_pid,
        agent_start, private, acks, subscriptions, started_at, last_heartbeat, away_at, left_at,
        resumable,
    }
    MachineRecord { id, name, address, joined_at, last_seen, removed_at }
    Invitation { token_hash, name, made_at, expires_at, owner }
}

/// Enums, each case with its number.
macro_rules! enums {
    ($($type:ident { $($number:literal = $case:ident $(($of:ident))?),* $(,)? })*) => {$(
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$case $(($of))? => {
                        out.push($number);
                        $($of.put(out);)?
                    })*
                }
            }

            fn take(from: &mut Reader<'_>) -> Option<Self> {
                Some(match u8::take(from)? {
                    $($number => Self::$case $(({ let $of = Coded::take(from)?; $of }))?,)*
                    _ => return None,
                })
            }
        }
    )*};
}
enums! {
    MessageKind { 0 = Text, 1 = Json, 2 = Command, 3 = Alert }
    Way {
        0 = InboxSocket, 1 = Channel, 2 = Queue, 3 = Hook, 4 = ToolResult, 5 = WaitHook, 6 = Plugin,
    }
    How { 0 = Notified, 1 = Sent, 2 = Held, 3 = Refused, 4 = Declined, 5 = NotRunning }
    Party { 0 = Peer(id), 1 = Cli, 2 = CliAt(machine), 3 = Label(label) }
    Recipient { 0 = Peer(id), 1 = Cli, 2 = CliAt(machine) }
    Telling { 0 = Told(told), 1 = Dropped(way) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn check<T: Coded + PartialEq + Debug>(value: &T, bytes: &[u8]) {
        let mut out = Vec::new();
        value.put(&mut out);
        assert_eq!(out, bytes, "{value:?}");
        let mut from = Reader(bytes);
        assert_eq!(T::take(&mut from).as_ref(), Some(value));
        assert!(from.is_empty());
        for cut in 0..bytes.len() {
            assert_eq!(T::take(&mut Reader(&bytes[..cut])), None, "{value:?} cut at {cut}");
        }
    }

    #[test]
    fn values_stand_as_documented() {
        check(&0_u64, &[0]);
        check(&127_u64, &[0x7f]);
        check(&300_u64, &[0xac, 0x02]);
        check(&u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        check(&-1_i64, &[1]);
        check(&64_i64, &[0x80, 1]);
        check(&i64::MIN, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        check(&Box::<str>::from("hé"), &[3, b'h', 0xc3, 0xa9]);
        check(&Some(true), &[1, 1]);
        check(&None::<u64>, &[0]);
        check(&vec![1_u64, 2], &[2, 1, 2]);
        check(&Party::Label("a".into()), &[3, 1, b'a']);
        let machine = MachineName::new("m").unwrap();
        check(&Recipient::CliAt(machine), &[2, 1, b'm']);
        let told = Told { at: Timestamp(3), by: Way::Queue, how: How::Sent, whole: true };
        check(&Telling::Told(told), &[0, 6, 2, 1, 1]);
        check(&Telling::Dropped(Way::Plugin), &[1, 6]);
    }

    #[test]
    fn what_means_nothing_is_not_read() {
        assert_eq!(u64::take(&mut Reader(&[0xff; 11])), None);
        assert_eq!(u64::take(&mut Reader(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 2])), None);
        assert_eq!(u32::take(&mut Reader(&[0x80, 0x80, 0x80, 0x80, 0x10])), None);
        assert_eq!(bool::take(&mut Reader(&[2])), None);
        assert_eq!(Way::take(&mut Reader(&[7])), None);
        assert_eq!(Box::<str>::take(&mut Reader(&[1, 0xff])), None);
        // A length that there is no memory for is only a length.
        let endless = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0];
        assert_eq!(Vec::<u64>::take(&mut Reader(&endless)), None);
        assert_eq!(Box::<str>::take(&mut Reader(&endless)), None);
    }
}
