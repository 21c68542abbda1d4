//! The fields of a request as they came, and what a field may be: how it is read, and the words for what
//! was expected.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::compact;
use super::members::Members;
use super::refusal::{Code, Refusal};
use crate::model::Seq;

type Result<T> = std::result::Result<T, Refusal>;

/// The fields of a request, each read when it is asked for. One that is `null` counts as absent; of
/// several with one name the last counts.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    given: Vec<(Cow<'a, str>, Written<'a>)>,
    taken: usize,
}

/// A value as it was written.
pub(crate) struct Written<'a>(pub(crate) Cow<'a, RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Written<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self(Cow::Borrowed(raw)))
    }
}

impl<'a> Fields<'a> {
    /// Those of a body; an empty one is `{}`.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        if let Ok(Members(given)) = serde_json::from_slice(body) {
            return Ok(Self::new(given));
        }
        check_json(body)?;
        Err(Refusal::new(Code::InvalidRequest, "the body must be a JSON object: {...}"))
    }

    /// With these names and values.
    pub(crate) fn new(given: Vec<(Cow<'a, str>, Written<'a>)>) -> Self {
        Self { given, taken: 0 }
    }

    /// Whether there are some that nobody has taken.
    pub(super) fn are_left(&self) -> bool {
        self.taken < self.given.len()
    }

    fn find(&self, name: &str) -> Option<&RawValue> {
        let (_, written) = self.given.iter().rev().find(|(given, _)| given == name)?;
        Some(&written.0)
    }

    /// The value of a field, which stays.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.find(name).filter(|raw| raw.get() != "null")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The text in a field, which stays; none if it has something else.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).and_then(text)
    }

    /// Puts a value in the place of what was given, if anything was.
    pub(crate) fn set(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        // Plain data into memory: cannot fail.
        if let Ok(raw) = to_raw_value(value) {
            self.given.push((name.into(), Written(Cow::Owned(raw))));
        }
    }

    /// Calls a field by another name.
    pub(crate) fn rename(&mut self, from: &str, to: &'static str) {
        for (name, _) in self.given.iter_mut().filter(|(name, _)| name == from) {
            *name = to.into();
        }
    }

    /// Reads a field, if it is there.
    pub(super) fn take<K: Kind>(&mut self, name: &str, kind: &K) -> Result<Option<K::Value>> {
        let Some(raw) = self.find(name) else { return Ok(None) };
        let value = if raw.get() == "null" {
            None
        } else {
            let wrong = || Refusal::field(name, &kind.expected());
            Some(kind.parse(raw).ok_or_else(wrong)?)
        };
        self.taken += 1;
        Ok(value)
    }

    /// Reads a field that has to be there.
    pub(super) fn need<K: Kind>(&mut self, name: &str, kind: &K) -> Result<K::Value> {
        self.take(name, kind)?.ok_or_else(|| {
            let message = format!("`{name}` is missing: it must be {}", kind.expected());
            Refusal::new(Code::InvalidRequest, message)
        })
    }
}

/// Whether a body is JSON throughout, in the fields that nobody reads, too.
pub(super) fn check_json(body: &[u8]) -> Result<()> {
    serde_json::from_slice::<Value>(body).map(drop).map_err(|error| {
        Refusal::new(Code::InvalidJson, format!("the body is not valid JSON: {error}"))
    })
}

/// What a field may be.
pub(crate) trait Kind {
    type Value: Serialize;

    /// Its value, if it is one.
    fn parse(&self, raw: &RawValue) -> Option<Self::Value>;

    /// What it has to be, as in "must be ...".
    fn expected(&self) -> String;
}

/// A text of a certain length.
#[derive(Clone, Copy)]
pub(super) struct Text {
    min: usize,
    max: usize,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Chars,
}

impl Text {
    pub(super) const fn chars(min: usize, max: usize) -> Self {
        Self { min, max, unit: Unit::Chars }
    }

    pub(super) const fn bytes(min: usize, max: usize) -> Self {
        Self { min, max, unit: Unit::Bytes }
    }

    fn fits(self, text: &str) -> bool {
        let length = match self.unit {
            Unit::Bytes => text.len(),
            // No text has more characters than bytes, so most need not be counted.
            Unit::Chars if text.len() <= self.max && !text.is_empty() => return self.min <= 1,
            Unit::Chars => text.chars().count(),
        };
        (self.min..=self.max).contains(&length)
    }
}

impl Kind for Text {
    type Value = Box<str>;

    fn parse(&self, raw: &RawValue) -> Option<Box<str>> {
        let text: Box<str> = serde_json::from_str(raw.get()).ok()?;
        self.fits(&text).then_some(text)
    }

    fn expected(&self) -> String {
        let unit = match self.unit {
            Unit::Bytes => "bytes",
            Unit::Chars => "characters",
        };
        format!("a string of {} to {} {unit}", self.min, self.max)
    }
}

/// A whole number, both bounds included; 5.0 is one, since some clients' languages write it so.
#[derive(Clone, Copy)]
pub(crate) struct Number<T> {
    min: u64,
    max: u64,
    of: fn(u64) -> Option<T>,
}

impl Number<u32> {
    pub(crate) const fn small(min: u32, max: u32) -> Self {
        Self { min: min as u64, max: max as u64, of: |number| u32::try_from(number).ok() }
    }
}

impl Number<u64> {
    pub(crate) const fn whole(min: u64, max: u64) -> Self {
        Self { min, max, of: Some }
    }
}

impl Number<Seq> {
    /// Up to the largest number that JSON clients handle exactly.
    pub(super) const SEQ: Self =
        Self { min: 0, max: (1 << 53) - 1, of: |number| Some(Seq(number)) };
}

impl<T: Serialize> Kind for Number<T> {
    type Value = T;

    fn parse(&self, raw: &RawValue) -> Option<T> {
        whole(raw.get()).filter(|number| (self.min..=self.max).contains(number)).and_then(self.of)
    }

    fn expected(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
}

fn whole(json: &str) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if let Ok(number) = serde_json::from_str(json) {
        return Some(number);
    }
    let number: f64 = serde_json::from_str(json).ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: whole, not negative, and below 2^53"
    )]
    (number.fract() == 0.0 && (0.0..EXACT).contains(&number)).then_some(number as u64)
}

/// `true` or `false`.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn parse(&self, raw: &RawValue) -> Option<bool> {
        serde_json::from_str(raw.get()).ok()
    }

    fn expected(&self) -> String {
        "true or false".to_owned()
    }
}

/// A text that stands for something else, such as one of a few words.
pub(super) struct Word<T> {
    pub(super) expected: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
}

impl<T: Serialize> Kind for Word<T> {
    type Value = T;

    fn parse(&self, raw: &RawValue) -> Option<T> {
        text(raw).and_then(|word| (self.parse)(&word))
    }

    fn expected(&self) -> String {
        self.expected.to_owned()
    }
}

/// A list of at most `max` items.
pub(super) struct List<T> {
    pub(super) max: usize,
    pub(super) items: &'static str,
    pub(super) parse: fn(&RawValue) -> Option<T>,
}

impl<T: Serialize> Kind for List<T> {
    type Value = Vec<T>;

    fn parse(&self, raw: &RawValue) -> Option<Vec<T>> {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        let items = (items.len() <= self.max).then_some(items)?;
        items.into_iter().map(self.parse).collect()
    }

    fn expected(&self) -> String {
        format!("a list of at most {} {}", self.max, self.items)
    }
}

/// Any JSON of at most so many bytes. It is kept as it was written, except for white space: a number may
/// have more digits than any type here.
pub(super) struct Json {
    pub(super) bytes_max: usize,
}

impl Kind for Json {
    type Value = Box<str>;

    fn parse(&self, raw: &RawValue) -> Option<Box<str>> {
        Some(compact(raw.get())).filter(|json| json.len() <= self.bytes_max).map(Into::into)
    }

    fn expected(&self) -> String {
        format!("JSON of at most {} bytes", self.bytes_max)
    }
}

/// The text of a JSON string.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    // Borrowed if it has no escapes.
    let borrowed: Option<&str> = serde_json::from_str(raw.get()).ok();
    borrowed.map(Cow::Borrowed).or_else(|| serde_json::from_str(raw.get()).ok().map(Cow::Owned))
}
