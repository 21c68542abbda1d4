//! How the types of this module stand as text: on the wire, in the database, before people.

use std::fmt::Write;

/// Has types stand in JSON as their text: as `Display` writes it, and as the function that is named
/// reads it.
macro_rules! as_text {
    ($($name:ident::$parse:ident: $what:literal),* $(,)?) => { $(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::$parse(&text).ok_or_else(|| serde::de::Error::custom($what))
            }
        }
    )* };
}

/// Declares a set of words. A word after a `|` is read as well, and never written.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal $(| $other:literal)?,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$word_doc])* $variant,)* }

        impl $name {
            /// All of them, in the order in which they are listed to people.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant,)*];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The one with this word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word $(| $other)? => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        $crate::model::as_text!($name::parse: "a word that is not known");
    };
}

/// Declares a SHA-256 digest that stands as its 64 hexadecimal digits.
macro_rules! digest {
    ($(#[$doc:meta])* $name:ident: $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Parses the 64 digits, upper or lower case.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                $crate::model::unhex(text).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::model::hex(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        $crate::model::as_text!($name::parse: $what);
    };
}

pub(super) use digest;
pub(crate) use {as_text, words};

/// Bytes as hexadecimal digits, in lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that `text` stands for, if it is `2 * N` hexadecimal digits of either case.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_there_and_back() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(unhex(&hex(&[0, 0x1f, 0xff])), Some([0, 0x1f, 0xff]));
        assert_eq!(unhex("AB"), Some([0xab]));
        for bad in ["", "a", "abc", "+1", "ä"] {
            assert_eq!(unhex::<1>(bad), None, "{bad}");
        }
    }
}
