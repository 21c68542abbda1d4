//! The shared secret (`SLM_MESH_SHARED_SECRET`): a key, not a password.

use std::fmt;

use super::SHARED_SECRET;
use super::env::Env;
use super::error::ConfigError;
use crate::limits::{SHARED_SECRET_BASE64_MIN, SHARED_SECRET_CHARS_MAX, SHARED_SECRET_HEX_MIN};
use crate::model::hex;

/// What lets all machines that have it into one mesh. Never shown: its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes 32 or more hexadecimal digits, or 43 or more characters of base64url, without the `=`
    /// at its end. Anything else could be guessed by someone who pretended to be the hub once.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let text = text.trim_end_matches('=');
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let least = if is_hex { SHARED_SECRET_HEX_MIN } else { SHARED_SECRET_BASE64_MIN };
        let is_key =
            text.bytes().all(is_base64) && (least..=SHARED_SECRET_CHARS_MAX).contains(&text.len());
        is_key.then(|| Self(text.to_owned()))
    }

    /// A fresh one: 256 random bits in hexadecimal.
    ///
    /// # Errors
    ///
    /// The system has no random bytes.
    pub fn fresh() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex(&bytes)))
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

pub(super) fn shared_secret_of(env: &Env<'_>) -> Result<Option<Secret>, ConfigError> {
    let Some(value) = env.get(SHARED_SECRET) else { return Ok(None) };
    let secret = value.to_str().and_then(Secret::parse);
    secret.map(Some).ok_or_else(|| {
        let fresh = Secret::fresh().map_or_else(
            |_| "`slm-mesh secret` prints one".to_owned(),
            |fresh| format!("a fresh one, for all machines: {}", fresh.reveal()),
        );
        ConfigError::Invalid {
            variable: SHARED_SECRET,
            value: "(hidden)".to_owned(),
            allowed: format!(
                "a key, {SHARED_SECRET_HEX_MIN} or more hexadecimal digits or \
                 {SHARED_SECRET_BASE64_MIN} or more characters of base64url, since a word could be \
                 guessed; {fresh}"
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn a_secret_is_a_key_and_no_word() {
        for good in [
            "0123456789abcdef0123456789ABCDEF",
            &"f".repeat(SHARED_SECRET_CHARS_MAX),
            "-_34567890123456789012345678901234567890abc",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq=",
            Secret::fresh().unwrap().reveal(),
        ] {
            assert_eq!(Secret::parse(good).unwrap().reveal(), good.trim_end_matches('='));
        }
        for bad in [
            "",
            "hunter2",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcde=",
            "g123456789abcdef0123456789abcdef",
            "-_34567890123456789012345678901234567890ab",
            "correct horse battery staple correct horse battery staple",
            "+/34567890123456789012345678901234567890abc",
            &"f".repeat(SHARED_SECRET_CHARS_MAX + 1),
            &"ä".repeat(64),
        ] {
            assert_eq!(Secret::parse(bad), None, "{bad}");
        }
        assert_ne!(Secret::fresh().unwrap(), Secret::fresh().unwrap());
    }

    #[test]
    fn a_refusal_shows_a_fresh_one_and_not_the_one_that_was_set() {
        let refuse = |text: &str| {
            let lookup = |_: &str| Some(OsString::from(text));
            shared_secret_of(&Env { lookup: &lookup }).unwrap_err().to_string()
        };
        let said = refuse("hunter2-hunter2");
        assert!(
            said.starts_with("SLM_MESH_SHARED_SECRET is (hidden); allowed: a key, 32"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
        let fresh = said.rsplit_once(' ').unwrap().1;
        assert_eq!(Secret::parse(fresh).unwrap().reveal(), fresh);
        assert_ne!(said, refuse("hunter2-hunter2"));
        assert_eq!(format!("{:?}", Secret::parse(fresh)), "Some(Secret(hidden))");
    }
}
