//! Invitations: the code that `slm-mesh invite` prints on the hub and `slm-mesh join` takes.
//!
//! One word of letters and digits, so that a double click takes all of it and no chat makes anything
//! else of it: `slm`, then Crockford's base32 of the bytes below. Upper and lower case are one; `o` is
//! read as `0`, `i` and `l` as `1`; spaces, line breaks and hyphens within are passed over.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 32 | the hub's machine id |
//! | 16 | the token |
//! | 2 | the hub's port, high byte first |
//! | 1 + 4 each | number of IPv4 addresses, and these |
//! | 1 + 16 each | number of IPv6 addresses, and these |
//! | 1 + (1 + n) each | number of names, and the length and bytes of each |
//! | 4 | the first bytes of the SHA-256 of all before |

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sha2::{Digest, Sha256};

use crate::limits::{INVITATION_ADDRESSES_MAX, INVITATION_CHARS_MAX};
use crate::model::{InvitationToken, MachineId};

/// What a code begins with.
const PREFIX: &str = "slm";
/// Crockford's alphabet in lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Longest code, bytes before base32.
const BYTES_MAX: usize = (INVITATION_CHARS_MAX - PREFIX.len()) * 5 / 8;
/// Those of them that are no addresses: version, id, token, port, three counts, checksum.
const FIXED_BYTES: usize = 1 + 32 + 16 + 2 + 3 + CHECKSUM_BYTES;

/// Where a hub may be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// At an address.
    Address(IpAddr),
    /// By a name: 1 to 255 visible characters of ASCII.
    Name(Box<str>),
}

impl Place {
    /// The name or address in `text`. `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Address(address));
        }
        is_name(text.as_bytes()).then(|| Self::Name(text.into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn is_name(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=255).contains(&text.len()) && text.iter().all(is_part)
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    hub: MachineId,
    token: InvitationToken,
    port: u16,
    places: Vec<Place>,
}

impl Invitation {
    /// An invitation to this hub. Of `places`, the first [`INVITATION_ADDRESSES_MAX`] that fit into
    /// [`INVITATION_CHARS_MAX`] are kept: IPv4 addresses first, then IPv6 addresses, then names.
    #[must_use]
    pub fn new(
        hub: MachineId,
        token: InvitationToken,
        port: u16,
        places: impl IntoIterator<Item = Place>,
    ) -> Self {
        let mut room = BYTES_MAX - FIXED_BYTES;
        let mut kept: Vec<Place> = Vec::new();
        for place in places {
            let bytes = match &place {
                Place::Address(IpAddr::V4(_)) => 4,
                Place::Address(IpAddr::V6(_)) => 16,
                Place::Name(name) if is_name(name.as_bytes()) => 1 + name.len(),
                Place::Name(_) => continue,
            };
            if bytes <= room && kept.len() < INVITATION_ADDRESSES_MAX && !kept.contains(&place) {
                room -= bytes;
                kept.push(place);
            }
        }
        kept.sort_by_key(|place| match place {
            Place::Address(IpAddr::V4(_)) => 0,
            Place::Address(IpAddr::V6(_)) => 1,
            Place::Name(_) => 2,
        });
        Self { hub, token, port, places: kept }
    }

    /// The hub that invites.
    #[must_use]
    pub fn hub(&self) -> MachineId {
        self.hub
    }

    /// What lets in.
    #[must_use]
    pub fn token(&self) -> InvitationToken {
        self.token
    }

    /// The port at which the hub listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the hub may be reached, in the order in which to try.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.hub.0);
        bytes.extend(self.token.0);
        bytes.extend(self.port.to_be_bytes());
        let (mut v4, mut v6, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let mut counts = [0_u8; 3];
        let [v4_count, v6_count, name_count] = &mut counts;
        // No more than `INVITATION_ADDRESSES_MAX`, and no name longer than 255: see `new`.
        for place in &self.places {
            match place {
                Place::Address(IpAddr::V4(address)) => {
                    *v4_count += 1;
                    v4.extend(address.octets());
                }
                Place::Address(IpAddr::V6(address)) => {
                    *v6_count += 1;
                    v6.extend(address.octets());
                }
                Place::Name(name) => {
                    *name_count += 1;
                    names.push(u8::try_from(name.len()).unwrap_or_default());
                    names.extend(name.bytes());
                }
            }
        }
        for (count, places) in counts.into_iter().zip([v4, v6, names]) {
            bytes.push(count);
            bytes.extend(places);
        }
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        format!("{PREFIX}{}", to_base32(&bytes))
    }

    /// Reads a code, or the line that `slm-mesh invite` prints with it.
    ///
    /// # Errors
    ///
    /// See [`CodeError`].
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let text = text.trim();
        let text = text.strip_prefix("slm-mesh join").unwrap_or(text);
        let mut code = String::new();
        for char in text.chars().filter(|char| !is_passed_over(*char)) {
            if code.len() >= INVITATION_CHARS_MAX {
                return Err(CodeError::NoCode);
            }
            if !char.is_ascii() {
                return Err(CodeError::NoCode);
            }
            code.push(char.to_ascii_lowercase());
        }
        let Some(digits) = code.strip_prefix(PREFIX) else { return Err(CodeError::NoCode) };
        let bytes = of_base32(digits).ok_or(CodeError::Typo)?;
        let (said, sum) = bytes.split_last_chunk().ok_or(CodeError::Typo)?;
        if said.is_empty() || checksum(said) != *sum {
            return Err(CodeError::Typo);
        }
        let mut reader = Reader(said);
        if reader.byte() != Some(VERSION) {
            return Err(CodeError::Newer);
        }
        reader.invitation().filter(|_| reader.0.is_empty()).ok_or(CodeError::Typo)
    }
}

/// Why a code cannot be used. Says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeError {
    /// It is something else.
    NoCode,
    /// It has a mistake in it, or is not whole.
    Typo,
    /// It was made by a version that came later.
    Newer,
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCode => {
                "that is no invitation: a code is one word that begins with \"slm\", as `slm-mesh invite` \
                 prints it on the hub"
            }
            Self::Typo => {
                "the code has a typo or is not whole: copy all of it again, from its \"slm\" to its end"
            }
            Self::Newer => {
                "the code was made by a newer slm-mesh: bring this machine to the version of the hub"
            }
        })
    }
}

impl std::error::Error for CodeError {}

/// Whether a character may have come in by copying and means nothing: spaces, hyphens, and marks of
/// where a line may break.
fn is_passed_over(char: char) -> bool {
    char.is_whitespace()
        || matches!(char, '-' | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(bytes));
    [a, b, c, d]
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn name(&mut self) -> Option<Place> {
        let length = usize::from(self.byte()?);
        let (name, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let name = is_name(name).then(|| std::str::from_utf8(name).ok())??;
        Some(Place::Name(name.into()))
    }

    /// All behind the version.
    fn invitation(&mut self) -> Option<Invitation> {
        let hub = MachineId(self.take()?);
        let token = InvitationToken(self.take()?);
        let port = u16::from_be_bytes(self.take()?);
        let mut places = Vec::new();
        for _ in 0..self.byte()? {
            places.push(Place::Address(Ipv4Addr::from(self.take::<4>()?).into()));
        }
        for _ in 0..self.byte()? {
            places.push(Place::Address(Ipv6Addr::from(self.take::<16>()?).into()));
        }
        for _ in 0..self.byte()? {
            places.push(self.name()?);
        }
        (places.len() <= INVITATION_ADDRESSES_MAX).then_some(Invitation {
            hub,
            token,
            port,
            places,
        })
    }
}

/// Five bits a character, high bits first; the last is filled up with zeroes (as RFC 4648 section 6,
/// without padding, in Crockford's alphabet).
fn to_base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut count) = (0_u32, 0);
    let mut put = |value: u32| {
        let digit = usize::try_from(value & 31).unwrap_or_default();
        text.extend(ALPHABET.get(digit).map(|byte| char::from(*byte)));
    };
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            put(bits >> count);
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        put(bits << (5 - count));
    }
    text
}

/// The other way. `None` for other characters, and where bits are left that are not zero or a character
/// too many: a text stands for one row of bytes, and these for one text.
fn of_base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for char in text.bytes() {
        let char = match char {
            b'o' => b'0',
            b'i' | b'l' => b'1',
            other => other,
        };
        let digit = ALPHABET.iter().position(|known| *known == char)?;
        bits = bits << 5 | u32::try_from(digit).ok()?;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (count < 5 && bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation(places: &[&str]) -> Invitation {
        let places = places.iter().map(|place| Place::parse(place).unwrap());
        Invitation::new(MachineId([0xa5; 32]), InvitationToken([0x5a; 16]), 7901, places)
    }

    #[test]
    fn a_code_reads_back() {
        let places =
            ["192.168.1.5", "10.0.0.2", "fd00::5", "laptop.local", "laptop.example.ts.net"];
        let invitation = invitation(&places);
        let code = invitation.code();
        assert!(code.starts_with("slm") && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(code.len() < 200, "{} characters", code.len());
        let read = Invitation::parse(&code).unwrap();
        assert_eq!(read, invitation);
        assert_eq!(read.places().iter().map(ToString::to_string).collect::<Vec<_>>(), places);
        assert_eq!((read.port(), read.hub()), (7901, MachineId([0xa5; 32])));
        assert_eq!(read.token().hash(), InvitationToken([0x5a; 16]).hash());
    }

    #[test]
    fn a_code_is_these_characters() {
        // Codes outlive the version that made them.
        let code = invitation(&["192.168.1.5", "::1", "a.b"]).code();
        assert_eq!(code, CODE);
        assert_eq!(Invitation::parse(CODE).unwrap().code(), code);
    }

    const CODE: &str = "slm06jtb9d5mpjtb9d5mpjtb9d5mpjtb9d5mpjtb9d5mpjtb9d5mpjtapjtb9d5mpjtb9d5mpjtb9d5mpgyvm0w1a010m0g0000000000000000000000002083c4q65kxz0zag";

    #[test]
    fn what_copying_does_to_it_is_undone() {
        let invitation = invitation(&["192.168.1.5"]);
        let code = invitation.code();
        let (a, b) = code.split_at(40);
        for copied in [
            format!("  {code}\r\n"),
            format!("{a}\n    {b}"),
            format!("{a}-{b}"),
            format!("\u{feff}{a}\u{200b}{b}\u{a0}"),
            code.to_uppercase(),
            code.replace('0', "O").replace('1', "l"),
            code.replace('1', "I"),
            format!("slm-mesh join {code}"),
        ] {
            assert_eq!(Invitation::parse(&copied).as_ref(), Ok(&invitation), "{copied}");
        }
    }

    #[test]
    fn a_typo_is_told_as_one() {
        let code = invitation(&["192.168.1.5", "laptop.local"]).code();
        for at in PREFIX.len()..code.len() {
            let mut bytes = code.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let typo = String::from_utf8(bytes).unwrap();
            assert_eq!(Invitation::parse(&typo), Err(CodeError::Typo), "{typo}");
            assert_eq!(Invitation::parse(&code[..at]), Err(CodeError::Typo));
            let mut swapped = code.clone().into_bytes();
            if at + 1 < swapped.len() && swapped[at] != swapped[at + 1] {
                swapped.swap(at, at + 1);
                let swapped = String::from_utf8(swapped).unwrap();
                assert_eq!(Invitation::parse(&swapped), Err(CodeError::Typo), "{swapped}");
            }
        }
        assert_eq!(Invitation::parse(&format!("{code}0")), Err(CodeError::Typo));
        assert_eq!(Invitation::parse(&format!("{code}u")), Err(CodeError::Typo));
    }

    #[test]
    fn what_is_no_code_is_told() {
        let long = format!("slm{}", "0".repeat(INVITATION_CHARS_MAX));
        for other in ["", "hello", "https://example.com/slm", "slämesh", &long] {
            assert_eq!(Invitation::parse(other), Err(CodeError::NoCode), "{other}");
        }
        let mut bytes = vec![VERSION + 1];
        bytes.extend(checksum(&bytes));
        let newer = format!("slm{}", to_base32(&bytes));
        assert_eq!(Invitation::parse(&newer), Err(CodeError::Newer));
        for error in [CodeError::NoCode, CodeError::Typo, CodeError::Newer] {
            assert!(error.to_string().len() > 40, "{error}");
        }
    }

    #[test]
    fn there_is_an_end_to_places() {
        let many: Vec<String> = (0..40).map(|i| format!("10.0.0.{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(invitation(&many).places().len(), INVITATION_ADDRESSES_MAX);
        assert_eq!(invitation(&["10.0.0.1", "10.0.0.1"]).places().len(), 1);
        let name = "n".repeat(255);
        let long = invitation(&[&name, &name.replace('n', "m"), &"o".repeat(250), "10.0.0.1"]);
        assert_eq!(long.places().len(), 3);
        assert_eq!(long.places()[0], Place::parse("10.0.0.1").unwrap());
        assert!(long.code().len() <= INVITATION_CHARS_MAX);
        assert_eq!(Invitation::parse(&long.code()), Ok(long));
        for bad in ["", "a b", "a/b", "ä.local", &"n".repeat(256)] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
