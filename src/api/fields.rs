//! Taking the fields of a request out of its JSON object, with errors that name the field and what
//! was expected.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::compact;
use super::refusal::{Code, Refusal};

type Result<T> = std::result::Result<T, Refusal>;

/// The fields of a request that have not been taken yet. What is left at the end is ignored. A
/// field that is `null` counts as absent.
pub(super) struct Fields<'a> {
    left: Map<String, Value>,
    body: &'a [u8],
}

/// What a text field may be.
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

    fn expected(self) -> String {
        let unit = match self.unit {
            Unit::Bytes => "bytes",
            Unit::Chars => "characters",
        };
        format!("a string of {} to {} {unit}", self.min, self.max)
    }

    pub(super) fn fits(self, text: &str) -> bool {
        let length = match self.unit {
            Unit::Bytes => text.len(),
            // No text has more characters than bytes, so most need not be counted.
            Unit::Chars if text.len() <= self.max && !text.is_empty() => return self.min <= 1,
            Unit::Chars => text.chars().count(),
        };
        (self.min..=self.max).contains(&length)
    }
}

impl<'a> Fields<'a> {
    /// Parses a body; an empty one is `{}`.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        if body.is_empty() {
            return Ok(Self { left: Map::new(), body });
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(left)) => Ok(Self { left, body }),
            Ok(_) => {
                Err(Refusal::new(Code::InvalidRequest, "the body must be a JSON object: {...}"))
            }
            Err(error) => {
                Err(Refusal::new(Code::InvalidJson, format!("the body is not valid JSON: {error}")))
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str, rule: Text) -> Result<Option<Box<str>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if rule.fits(&text) => Ok(Some(text.into_boxed_str())),
            Some(_) => Err(Refusal::field(name, &rule.expected())),
        }
    }

    pub(super) fn need_text(&mut self, name: &str, rule: Text) -> Result<Box<str>> {
        self.text(name, rule)?.ok_or_else(|| missing(name, &rule.expected()))
    }

    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match whole(&value) {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(Refusal::field(name, &expected_number(&range))),
        }
    }

    pub(super) fn need_number(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<u64> {
        let expected = expected_number(&range);
        self.number(name, range)?.ok_or_else(|| missing(name, &expected))
    }

    pub(super) fn small(&mut self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>> {
        let wide = u64::from(*range.start())..=u64::from(*range.end());
        Ok(self.number(name, wide)?.and_then(|number| u32::try_from(number).ok()))
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(Refusal::field(name, "true or false")),
        }
    }

    /// A field that is one of a few words.
    pub(super) fn word<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(word)) => {
                parse(&word).map(Some).ok_or_else(|| Refusal::field(name, expected))
            }
            Some(_) => Err(Refusal::field(name, expected)),
        }
    }

    pub(super) fn need_word<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        self.word(name, expected, parse)?.ok_or_else(|| missing(name, expected))
    }

    /// A list of at most `max` items.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        max: usize,
        expected: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        let refuse = || Refusal::field(name, &format!("a list of at most {max} {expected}"));
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) if items.len() <= max => {
                items.iter().map(&parse).collect::<Option<_>>().map(Some).ok_or_else(refuse)
            }
            Some(_) => Err(refuse()),
        }
    }

    /// Any JSON value, kept as it was written but for white space: a number may have more digits than
    /// any type of ours.
    pub(super) fn json(&mut self, name: &str, bytes_max: usize) -> Result<Option<Box<str>>> {
        let Some(value) = self.left.remove(name) else { return Ok(None) };
        let written: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(self.body).unwrap_or_default();
        let text = written.get(name).map_or_else(|| value.to_string(), |raw| compact(raw.get()));
        if text.len() > bytes_max {
            return Err(Refusal::field(name, &format!("JSON of at most {bytes_max} bytes")));
        }
        Ok(Some(text.into_boxed_str()))
    }
}

/// Whole numbers only; 5.0 is one, since some clients' languages write it so.
pub(super) fn whole(value: &Value) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked: whole, not negative, and below 2^53"
        )]
        (number.fract() == 0.0 && (0.0..EXACT).contains(&number)).then_some(number as u64)
    })
}

fn expected_number(range: &RangeInclusive<u64>) -> String {
    match *range.end() {
        u64::MAX => format!("a whole number of at least {}", range.start()),
        end => format!("a whole number from {} to {end}", range.start()),
    }
}

fn missing(name: &str, expected: &str) -> Refusal {
    Refusal::new(Code::InvalidRequest, format!("`{name}` is missing: it must be {expected}"))
}
