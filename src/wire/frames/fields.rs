//! The fields of frames: what each may be, and how it is read and written.
//!
//! All fields of an object are found in one pass that makes nothing of their values; then those of the
//! frame that it is are read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{As, FrameError, OPERATOR};
use crate::api::ProcessFacts;
use crate::limits::MACHINE_FRAME_BYTES_MAX;
use crate::model::{MachineName, MessageId, PeerId, Seq, Timestamp};

pub(super) type Result<T> = std::result::Result<T, FrameError>;

/// Most fields of one object: more than any has.
const FIELDS_MAX: usize = 64;
/// A frame that holds no body takes no more than this, bytes: a guess.
const USUAL_BYTES: usize = 256;

/// What the value of a field may be.
pub(super) trait Value<'a>: Sized {
    /// What it has to be, as in "must be ...".
    const EXPECTED: &'static str;
    /// Whether `null` is a value of it; otherwise a field that is `null` counts as absent.
    const MAY_BE_NULL: bool = false;

    /// Reads the field `name`. `max` is the length of the longest text in bytes, or of the longest list.
    fn read(raw: &'a RawValue, name: &'static str, max: usize) -> Result<Self>;

    /// What an absent field counts as; none: it has to be there.
    fn absent() -> Option<Self> {
        None
    }

    /// Whether the field is left out.
    fn is_absent(&self) -> bool {
        false
    }

    fn write(&self, json: &mut Vec<u8>);
}

/// An object: a frame, or part of one.
pub(super) trait Object<'a>: Sized {
    fn take(fields: &Fields<'a>) -> Result<Self>;

    fn put(&self, out: &mut Writer);
}

pub(super) fn wrong(name: &'static str, expected: &'static str) -> FrameError {
    FrameError::Field { name, expected }
}

fn parse<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    name: &'static str,
    expected: &'static str,
) -> Result<T> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(name, expected))
}

fn write_json(value: &(impl Serialize + ?Sized), json: &mut Vec<u8>) {
    // Plain data into memory: cannot fail.
    let _ = serde_json::to_writer(json, value);
}

/// Values that are read and written as serde does, and have no limit of their own.
macro_rules! plain {
    ($($type:ty: $expected:literal,)*) => {
        $(impl<'a> Value<'a> for $type {
            const EXPECTED: &'static str = $expected;

            fn read(raw: &'a RawValue, name: &'static str, _: usize) -> Result<Self> {
                parse(raw, name, Self::EXPECTED)
            }

            fn write(&self, json: &mut Vec<u8>) {
                write_json(self, json);
            }
        })*
    };
}

plain! {
    bool: "true or false",
    u32: "a whole number",
    u64: "a whole number",
    Seq: "a whole number",
    PeerId: "the id of a peer",
    MessageId: "the id of a message",
    MachineName: "the name of a machine",
    ProcessFacts: "what was asked for",
}

impl<'a> Value<'a> for Timestamp {
    const EXPECTED: &'static str = "a whole number";

    fn read(raw: &'a RawValue, name: &'static str, _: usize) -> Result<Self> {
        parse(raw, name, Self::EXPECTED).map(Self)
    }

    fn write(&self, json: &mut Vec<u8>) {
        write_json(&self.0, json);
    }
}

/// The status of an answer.
impl<'a> Value<'a> for u16 {
    const EXPECTED: &'static str = "one of an answer";

    fn read(raw: &'a RawValue, name: &'static str, _: usize) -> Result<Self> {
        let status = parse(raw, name, Self::EXPECTED)?;
        if (200..600).contains(&status) { Ok(status) } else { Err(wrong(name, Self::EXPECTED)) }
    }

    fn write(&self, json: &mut Vec<u8>) {
        write_json(self, json);
    }
}

/// A text, which borrows where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Value<'a> for Cow<'a, str> {
    const EXPECTED: &'static str = "a text that is not too long";

    fn read(raw: &'a RawValue, name: &'static str, max: usize) -> Result<Self> {
        let Text(text) = parse(raw, name, Self::EXPECTED)?;
        if text.len() > max { Err(wrong(name, Self::EXPECTED)) } else { Ok(text) }
    }

    fn write(&self, json: &mut Vec<u8>) {
        write_json(self, json);
    }
}

impl<'a> Value<'a> for Box<str> {
    const EXPECTED: &'static str = Cow::<str>::EXPECTED;

    fn read(raw: &'a RawValue, name: &'static str, max: usize) -> Result<Self> {
        Cow::read(raw, name, max).map(Into::into)
    }

    fn write(&self, json: &mut Vec<u8>) {
        write_json(self, json);
    }
}

impl<'a> Value<'a> for As<'a> {
    const EXPECTED: &'static str = Cow::<str>::EXPECTED;

    fn read(raw: &'a RawValue, name: &'static str, max: usize) -> Result<Self> {
        let by = Cow::read(raw, name, max)?;
        Ok(if by == OPERATOR { Self::Operator } else { Self::Token(by) })
    }

    fn write(&self, json: &mut Vec<u8>) {
        let by = match self {
            Self::Operator => OPERATOR,
            Self::Token(token) => token,
        };
        write_json(by, json);
    }
}

/// JSON that somebody else reads.
impl<'a> Value<'a> for &'a str {
    const EXPECTED: &'static str = "there, and not too long";
    const MAY_BE_NULL: bool = true;

    fn read(raw: &'a RawValue, name: &'static str, max: usize) -> Result<Self> {
        let json = raw.get();
        if json.len() > max { Err(wrong(name, Self::EXPECTED)) } else { Ok(json) }
    }

    fn write(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(self.as_bytes());
    }
}

impl<'a, T: Value<'a>> Value<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const MAY_BE_NULL: bool = T::MAY_BE_NULL;

    fn read(raw: &'a RawValue, name: &'static str, max: usize) -> Result<Self> {
        T::read(raw, name, max).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn write(&self, json: &mut Vec<u8>) {
        if let Some(value) = self {
            value.write(json);
        }
    }
}

impl<'a, T: Value<'a>> Value<'a> for Vec<T> {
    const EXPECTED: &'static str = "a list that is not too long";

    fn read(raw: &'a RawValue, name: &'static str, max: usize) -> Result<Self> {
        let list: Vec<&'a RawValue> = parse(raw, name, Self::EXPECTED)?;
        if list.len() > max {
            return Err(wrong(name, Self::EXPECTED));
        }
        list.into_iter().map(|item| T::read(item, name, usize::MAX)).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn write(&self, json: &mut Vec<u8>) {
        json.push(b'[');
        for (place, item) in self.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            item.write(json);
        }
        json.push(b']');
    }
}

impl<'a, T: Object<'a>> Value<'a> for T {
    const EXPECTED: &'static str = "an object";

    fn read(raw: &'a RawValue, name: &'static str, _: usize) -> Result<Self> {
        T::take(&parse(raw, name, Self::EXPECTED)?)
    }

    fn write(&self, json: &mut Vec<u8>) {
        let mut out = Writer::new(std::mem::take(json));
        self.put(&mut out);
        *json = out.end();
    }
}

/// By what a frame is told from others: a field with a certain key, which is not `null`.
#[derive(Clone, Copy, Debug)]
pub(super) enum ToldBy {
    /// Whatever is in it.
    Field,
    /// A text is in it.
    Text,
    /// It is `true`, and comes behind the first field.
    True,
    /// It takes the place of the object's field `peer`.
    Peer,
    /// All other fields are in it.
    Object,
}

/// The fields of an object, which nobody has read yet.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> std::result::Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let mut fields = Fields(Vec::with_capacity(8));
                while let Some((Text(name), value)) = map.next_entry()? {
                    if fields.0.len() >= FIELDS_MAX || fields.get(&name).is_some() {
                        return Err(A::Error::custom("too many fields, or one twice"));
                    }
                    fields.0.push((name, value));
                }
                Ok(fields)
            }
        }
        json.deserialize_map(Collect)
    }
}

impl<'a> Fields<'a> {
    /// Those of a frame.
    pub(super) fn of_frame(text: &'a str) -> Result<Self> {
        if text.len() > MACHINE_FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        serde_json::from_str(text).map_err(|_| FrameError::Malformed)
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, raw)| *raw)
    }

    /// Reads a field. `default` is what it is if it is not there.
    pub(super) fn take<T: Value<'a>>(
        &self,
        name: &'static str,
        max: usize,
        default: Option<T>,
    ) -> Result<T> {
        let given = self.get(name).filter(|raw| T::MAY_BE_NULL || raw.get() != "null");
        match given {
            Some(raw) => T::read(raw, name, max),
            None => default.or_else(T::absent).ok_or(wrong(name, T::EXPECTED)),
        }
    }

    /// Whether this is the frame that `by` and `key` tell from others.
    pub(super) fn are_told(&mut self, by: ToldBy, key: &'static str) -> Result<bool> {
        let Some(raw) = self.get(key).filter(|raw| raw.get() != "null") else { return Ok(false) };
        match by {
            ToldBy::Field => {}
            ToldBy::Text => return Ok(raw.get().starts_with('"')),
            ToldBy::True => {
                if !parse(raw, key, bool::EXPECTED)? {
                    return Err(wrong(key, "true"));
                }
            }
            ToldBy::Peer => {
                for (name, _) in self.0.iter_mut().filter(|(name, _)| name == key) {
                    *name = "peer".into();
                }
            }
            ToldBy::Object => *self = parse(raw, key, "an object")?,
        }
        Ok(true)
    }
}

/// An object that is being written. JSON that is raw already stays as it is.
pub(super) struct Writer {
    json: Vec<u8>,
    /// A field is there: the next one comes behind a comma.
    has_fields: bool,
    /// What is written behind the first field, with `true`.
    says: Option<&'static str>,
    /// What the field `peer` is called.
    peer: &'static str,
    /// Objects that are open.
    depth: usize,
}

impl Writer {
    /// A frame.
    pub(super) fn frame() -> Self {
        Self::new(Vec::with_capacity(USUAL_BYTES))
    }

    /// An object behind what is written already.
    fn new(mut json: Vec<u8>) -> Self {
        json.push(b'{');
        Self { json, has_fields: false, says: None, peer: "peer", depth: 1 }
    }

    /// Writes a field, unless it is what an absent one counts as.
    pub(super) fn put<'a, T: Value<'a> + PartialEq>(
        &mut self,
        name: &'static str,
        value: &T,
        default: Option<T>,
    ) {
        if value.is_absent() || default.is_some_and(|default| *value == default) {
            return;
        }
        self.key(if name == "peer" { self.peer } else { name });
        value.write(&mut self.json);
        if let Some(key) = self.says.take() {
            self.key(key);
            self.json.extend_from_slice(b"true");
        }
    }

    fn key(&mut self, name: &str) {
        if std::mem::replace(&mut self.has_fields, true) {
            self.json.push(b',');
        }
        self.json.push(b'"');
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
    }

    /// Writes what tells the frame from others, or takes note of how that is written with its fields.
    pub(super) fn tell(&mut self, by: ToldBy, key: &'static str) {
        match by {
            ToldBy::Field | ToldBy::Text => {}
            ToldBy::True => self.says = Some(key),
            ToldBy::Peer => self.peer = key,
            ToldBy::Object => {
                self.key(key);
                self.json.push(b'{');
                self.has_fields = false;
                self.depth += 1;
            }
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.json.resize(self.json.len() + self.depth, b'}');
        self.json
    }

    /// The text of the frame.
    pub(super) fn text(self) -> String {
        // It is made of texts.
        String::from_utf8(self.end()).unwrap_or_default()
    }
}
