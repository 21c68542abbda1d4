//! The environment, and how values are taken from it.

use std::ffi::{OsStr, OsString};
use std::fmt;

use super::error::{ConfigError, invalid};

/// The words for yes and no.
const BOOLEANS: [(&str, bool); 8] = [
    ("true", true),
    ("false", false),
    ("on", true),
    ("off", false),
    ("yes", true),
    ("no", false),
    ("1", true),
    ("0", false),
];

/// The environment, and how values are taken from it.
pub(super) struct Env<'a> {
    pub(super) lookup: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Env<'_> {
    /// The value of `variable`, if it is set and not empty.
    pub(super) fn get(&self, variable: &str) -> Option<OsString> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    /// A text.
    pub(super) fn text(&self, variable: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.get(variable) else { return Ok(None) };
        let text = value.clone().into_string().map(Some);
        text.map_err(|_| invalid(variable, &value, "a text in UTF-8".to_owned()))
    }

    /// A whole number in `range`. Digits only: no sign, no space.
    pub(super) fn number<T>(
        &self,
        variable: &'static str,
        range: std::ops::RangeInclusive<T>,
        unit: &str,
    ) -> Result<Option<T>, ConfigError>
    where
        T: std::str::FromStr + PartialOrd + fmt::Display,
    {
        let Some(value) = self.get(variable) else { return Ok(None) };
        let number = parse_number(&value).filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (min, max) = (range.start(), range.end());
            invalid(variable, &value, format!("a whole number from {min} to {max}{unit}"))
        })
    }

    /// A number in `range`, or 0 for `None`.
    pub(super) fn number_or_off(
        &self,
        variable: &'static str,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
        unit: &str,
    ) -> Result<Option<u32>, ConfigError> {
        if self.get(variable).is_some_and(|value| parse_number(&value) == Some(0_u32)) {
            return Ok(None);
        }
        let unit = format!("{unit}, or 0 for no limit");
        Ok(Some(self.number(variable, range, &unit)?.unwrap_or(default)))
    }

    /// Yes or no, in upper or lower case.
    pub(super) fn boolean(
        &self,
        variable: &'static str,
        default: bool,
    ) -> Result<bool, ConfigError> {
        self.one_of(variable, default, &BOOLEANS, |value, word| value.eq_ignore_ascii_case(word))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        variable: &'static str,
        default: T,
        words: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        self.one_of(variable, default, words, |value, word| value == word)
    }

    fn one_of<T: Copy>(
        &self,
        variable: &'static str,
        default: T,
        words: &[(&str, T)],
        is: fn(&OsStr, &str) -> bool,
    ) -> Result<T, ConfigError> {
        let Some(value) = self.get(variable) else { return Ok(default) };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| is(&value, word)) {
            return Ok(*meaning);
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Err(invalid(variable, &value, words.join(", ")))
    }
}

fn parse_number<T: std::str::FromStr>(value: &OsStr) -> Option<T> {
    let text = value.to_str()?;
    // `parse` would take a plus sign too.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
