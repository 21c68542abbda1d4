//! Handles: short names of messages, for agents and people to say which one is meant.

use std::fmt;

use super::ids::{MessageId, Seq};
use super::written::as_text;

/// Crockford's base 32: without the letters that are taken for digits or for one another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// A handle begins with a letter of it, so that it is never taken for a number.
const FIRST_LETTER: u64 = 10;

/// Handles of one length.
struct Size {
    length: u8,
    /// How many there are.
    count: u64,
    /// Numbers are multiplied by this, around `count`, so that those of messages in a row do not look
    /// alike: the golden section of `count`, and no divisor in common with it.
    step: u64,
    /// What brings them back.
    back: u64,
}

const SIZES: [Size; 3] = [
    Size { length: 4, count: 22 << 15, step: 445_539, back: 136_523 },
    Size { length: 5, count: 22 << 20, step: 14_257_223, back: 17_194_359 },
    Size { length: 6, count: 22 << 25, step: 456_231_085, back: 46_209_829 },
];

const _: () = {
    let [four, five, six] = &SIZES;
    assert!(four.step * four.back % four.count == 1);
    assert!(five.step * five.back % five.count == 1);
    assert!(six.step * six.back % six.count == 1);
};

/// The short name of a message: 4 to 6 characters, a function of its number. One is given again only
/// after hundreds of millions of messages, long after the first is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    text: [u8; 6],
    length: u8,
}

impl Handle {
    /// That of the message with this number.
    #[must_use]
    pub fn of(seq: Seq) -> Self {
        let [.., longest] = &SIZES;
        let size = SIZES.iter().find(|size| seq.0 < size.count).unwrap_or(longest);
        let mut left = seq.0 % size.count * size.step % size.count;
        let mut text = [0; 6];
        if let Some((first, others)) = text.split_first_mut() {
            for place in others.iter_mut().take(usize::from(size.length) - 1).rev() {
                *place = character(left % 32);
                left /= 32;
            }
            *first = character(FIRST_LETTER + left);
        }
        Self { text, length: size.length }
    }

    /// Reads one, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let size = SIZES.iter().find(|size| text.len() == usize::from(size.length))?;
        let mut handle = Self { text: [0; 6], length: size.length };
        for (place, byte) in handle.text.iter_mut().zip(text.bytes()) {
            *place = byte.to_ascii_lowercase();
        }
        handle.place().map(|_| handle)
    }

    /// The number of the message, if `last` is the highest that there is. Whether there is such a
    /// message is for the store to say.
    #[must_use]
    pub fn seq(self, last: Seq) -> Option<Seq> {
        let place = self.place()?;
        let at = SIZES.iter().position(|size| size.length == self.length)?;
        let size = SIZES.get(at)?;
        let shorter = at.checked_sub(1).and_then(|shorter| SIZES.get(shorter));
        let mut seq = place * size.back % size.count;
        if at + 1 == SIZES.len() && seq <= last.0 {
            // The longest come again: the newest is meant.
            seq += (last.0 - seq) / size.count * size.count;
        }
        let is_one = seq <= last.0 && shorter.is_none_or(|shorter| seq >= shorter.count);
        is_one.then_some(Seq(seq))
    }

    /// Its number among the handles of its length.
    fn place(self) -> Option<u64> {
        let digits = self.as_str().bytes();
        let mut digits = digits.map(|byte| ALPHABET.iter().position(|known| *known == byte));
        let first = (digits.next()?? as u64).checked_sub(FIRST_LETTER)?;
        digits.try_fold(first, |place, digit| Some(place * 32 + digit? as u64))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

fn character(digit: u64) -> u8 {
    usize::try_from(digit).ok().and_then(|digit| ALPHABET.get(digit)).copied().unwrap_or(b'0')
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

as_text!(Handle::parse: "not a handle of a message");

impl MessageId {
    /// Its short name.
    #[must_use]
    pub fn handle(self) -> Handle {
        Handle::of(self.seq())
    }
}

/// A message as somebody names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageRef {
    /// By its id.
    Id(MessageId),
    /// By its short name, which is one for those only who sent it or got it.
    Handle(Handle),
}

impl MessageRef {
    /// Reads either.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let by_handle = || Handle::parse(text).map(Self::Handle);
        MessageId::parse(text).map(Self::Id).or_else(by_handle)
    }

    /// Whether it is the name of this message.
    #[must_use]
    pub fn is(self, id: MessageId) -> bool {
        match self {
            Self::Id(named) => named == id,
            Self::Handle(named) => named == id.handle(),
        }
    }
}

impl From<MessageId> for MessageRef {
    fn from(id: MessageId) -> Self {
        Self::Id(id)
    }
}

impl From<Handle> for MessageRef {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

impl fmt::Display for MessageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Handle(handle) => handle.fmt(f),
        }
    }
}

as_text!(MessageRef::parse: "neither the handle nor the id of a message");
