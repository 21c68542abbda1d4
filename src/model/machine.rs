//! Machines of a mesh: how each is known, what it is called, and who may join.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

use super::time::{MeshTime, Timestamp};
use super::written::{as_text, digest, hex, unhex};

digest! {
    /// The id of a machine: the SHA-256 of its key, as a `SubjectPublicKeyInfo` (RFC 7250). Written in
    /// 64 hexadecimal digits.
    MachineId: "not the id of a machine"
}

impl MachineId {
    /// Digits of the short form, which people are shown.
    const SHORT_CHARS: usize = 8;

    /// Its beginning, for people; not for telling machines apart.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(Self::SHORT_CHARS);
        text
    }
}

/// What lets one machine in, once: 128 random bits, 32 hexadecimal digits as text. `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InvitationToken(pub [u8; 16]);

impl InvitationToken {
    /// Reads the digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }

    /// What the hub keeps of it: its SHA-256.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Display for InvitationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for InvitationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The name of a machine that has joined the mesh of another: given by that hub, and never to a second
/// machine, so that it stands for the machine wherever one is meant. The hub itself has none here.
#[derive(Clone, Copy)]
pub struct MachineName {
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
}

impl MachineName {
    /// Most bytes.
    pub const BYTES_MAX: usize = 32;

    /// Takes what has the form of a name: 1 to [`Self::BYTES_MAX`] of `A-Z a-z 0-9 . _ -`. Names that
    /// differ in upper and lower case only are the same name; this one keeps the case it came in.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || !text.bytes().all(is_part) {
            return None;
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, len: u8::try_from(text.len()).ok()? })
    }

    /// The name of a machine whose host has this one: the part before the first dot, as far as a name
    /// may have it. None for one that says nothing, such as `localhost`.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let first = host.split('.').next().unwrap_or_default();
        let is_part = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
        let text: String = first.chars().filter(is_part).take(Self::BYTES_MAX).collect();
        Self::new(&text).filter(|_| !text.eq_ignore_ascii_case("localhost"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// In lower case: what two forms of one name have in common.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self { bytes: self.key(), len: self.len }
    }

    /// What is compared: upper and lower case are one.
    fn key(&self) -> [u8; Self::BYTES_MAX] {
        self.bytes.map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for MachineName {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for MachineName {}

impl PartialOrd for MachineName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MachineName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for MachineName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

as_text!(MachineName::new: "not the name of a machine");

/// A machine that has joined, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineRecord {
    /// Its id.
    pub id: MachineId,
    /// Its name, which no other gets, even after this one was removed.
    pub name: MachineName,
    /// The address that it last came from, as text; for people.
    pub address: Box<str>,
    /// When it joined.
    pub joined_at: Timestamp,
    /// When its connection last stood up or ended.
    pub last_seen: Timestamp,
    /// When it was removed, never to be let in again.
    pub removed_at: Option<Timestamp>,
}

/// An invitation to join, as the store keeps it: what was given out is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// The name that the machine will get; none for one of its own.
    pub name: Option<MachineName>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it ends.
    pub expires_at: MeshTime,
    /// The machine that brought it first, and alone may bring it again.
    pub owner: Option<MachineId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_host_makes_that_of_a_machine() {
        let named = |host: &str| MachineName::of_host(host).map(|name| name.to_string());
        assert_eq!(named("Build-1.example.org").as_deref(), Some("Build-1"));
        assert_eq!(named("anna's mac").as_deref(), Some("annasmac"));
        assert_eq!(named(&"x".repeat(40)), Some("x".repeat(32)));
        for nothing in ["", "localhost", "localhost.localdomain", ".", "\u{e4}"] {
            assert_eq!(named(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn an_id_is_64_digits() {
        let text = "0123456789abcdef".repeat(4);
        let id = MachineId::parse(&text).unwrap();
        assert_eq!((id.to_string(), id.short()), (text.clone(), "01234567".to_owned()));
        assert_eq!(MachineId::parse(&text.to_uppercase()), Some(id));
        for bad in ["", "01", &text[1..], &format!("{text}0"), &text.replace('0', "+")] {
            assert_eq!(MachineId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_is_the_same_in_upper_and_lower_case() {
        let name = MachineName::new("Laptop-2").unwrap();
        assert_eq!(name.to_string(), "Laptop-2");
        assert_eq!(Some(name), MachineName::new("laptop-2"));
        assert_ne!(Some(name), MachineName::new("laptop-20"));
        assert!(MachineName::new(&"x".repeat(32)).is_some());
        for bad in ["", "a b", "ä", "a@b", "a/b", &"x".repeat(33)] {
            assert_eq!(MachineName::new(bad), None, "{bad}");
        }
    }
}
