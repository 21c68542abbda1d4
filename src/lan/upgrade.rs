//! The upgrade (RFC 6455 section 4): how a relay asks its hub to be let in, and the answer. No I/O.
//!
//! | header | from | what |
//! |---|---|---|
//! | `Authorization: Bearer` | relay | the token of an invitation, 32 hexadecimal digits; or a proof, 64; or none: a machine that the hub knows |
//! | `Slm-Mesh-Name` | relay | the name it would like |
//! | `Slm-Mesh-Version` | relay | its version |
//! | `Slm-Mesh-Proof` | hub | its own proof, if it was shown one |
//!
//! A refusal is an answer with the status and the body that it would have as an answer of the broker.

use std::fmt;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::secret::Proof;
use crate::api::{Code, Refusal};
use crate::limits::{HEADERS_MAX, MACHINE_HEAD_BYTES_MAX};
use crate::model::{InvitationToken, MachineName};
use crate::wire::base64::base64;
use crate::wire::buffer::{Buffer, Full};
use crate::wire::http::client::ResponseDecoder;
use crate::wire::http::server::{self, Connection};

/// What is asked for.
const PATH: &str = "/mesh";
/// RFC 6455 section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Longest version that is taken, characters.
const VERSION_CHARS_MAX: usize = 64;

/// What a relay shows to be let in.
#[derive(Debug, Clone, Copy)]
pub enum Bearer {
    /// The token of an invitation.
    Invitation(InvitationToken),
    /// That it has the shared secret.
    Proof(Proof),
}

impl Bearer {
    fn parse(text: &str) -> Option<Self> {
        let token = || InvitationToken::parse(text).map(Self::Invitation);
        Proof::parse(text).map(Self::Proof).or_else(token)
    }
}

impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invitation(token) => token.fmt(f),
            Self::Proof(proof) => proof.fmt(f),
        }
    }
}

/// What the answer to a request has to say, so that it is one to this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept(String);

impl Accept {
    /// The answer to this key.
    pub(super) fn of(nonce: &str) -> Self {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, [nonce, GUID].concat().as_bytes());
        Self(base64(hash.as_ref()))
    }
}

/// A request as a hub reads it.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it shows, if anything.
    pub bearer: Option<Bearer>,
    /// The name it would like.
    pub name: Option<MachineName>,
    /// Its version.
    pub version: Box<str>,
    /// What to answer.
    pub accept: Accept,
}

/// Appends a request, and says what its answer has to say.
///
/// # Errors
///
/// [`Full`] if it does not fit, or if the system has no random bytes.
pub fn encode_request(
    out: &mut Buffer,
    bearer: Option<Bearer>,
    name: Option<MachineName>,
    version: &str,
) -> Result<Accept, Full> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|_| Full)?;
    let nonce = base64(&nonce);
    let line = |there: Option<String>, before: &str| match there {
        Some(value) => format!("{before}{value}\r\n"),
        None => String::new(),
    };
    let bearer = line(bearer.map(|bearer| bearer.to_string()), "Authorization: Bearer ");
    let name = line(name.map(|name| name.to_string()), "Slm-Mesh-Name: ");
    let head = format!(
        "GET {PATH} HTTP/1.1\r\nHost: slm-mesh\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n{bearer}{name}\
         Slm-Mesh-Version: {version}\r\n\r\n"
    );
    out.extend(head.as_bytes())?;
    Ok(Accept::of(&nonce))
}

/// Reads a request. `None`: it is not complete. Bytes behind it break a rule: a relay says nothing
/// more before it has its answer.
///
/// # Errors
///
/// What to answer if it is none.
pub fn decode_request(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut slots);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Ok(httparse::Status::Complete(_)) => return Err(invalid("nothing follows the request")),
        Ok(httparse::Status::Partial) if bytes.len() < MACHINE_HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            let most = format!("a request has at most {MACHINE_HEAD_BYTES_MAX} bytes");
            return Err(Refusal::new(Code::HeadersTooLarge, most));
        }
        Err(_) => return Err(invalid("it is a request of HTTP/1.1")),
    }
    if parsed.path != Some(PATH) {
        let only = format!("this port is for other machines of the mesh: the path is {PATH}");
        return Err(Refusal::new(Code::UnknownEndpoint, only));
    }
    if parsed.method != Some("GET") || parsed.version != Some(1) {
        return Err(invalid("it is a GET of HTTP/1.1"));
    }
    let headers = Headers(parsed.headers);
    if !headers.lists("Upgrade", "websocket")? || !headers.lists("Connection", "upgrade")? {
        return Err(invalid("it asks for `Upgrade: websocket`"));
    }
    if headers.one("Sec-WebSocket-Version")? != Some("13") {
        return Err(invalid("`Sec-WebSocket-Version` is 13"));
    }
    // 16 bytes in base64.
    let nonce = headers.one("Sec-WebSocket-Key")?.filter(|nonce| nonce.len() == 24);
    let Some(nonce) = nonce else { return Err(invalid("`Sec-WebSocket-Key` is 16 bytes")) };
    let bearer = match headers.one("Authorization")? {
        None => None,
        Some(value) => match value.strip_prefix("Bearer ").and_then(Bearer::parse) {
            None => return Err(invalid("the bearer is an invitation's token or a proof")),
            bearer => bearer,
        },
    };
    let name = match headers.one("Slm-Mesh-Name")? {
        None => None,
        Some(value) => match MachineName::new(value) {
            None => return Err(invalid("the name is 1 to 32 of `A-Z a-z 0-9 . _ -`")),
            name => name,
        },
    };
    let version = headers.one("Slm-Mesh-Version")?.unwrap_or_default();
    if version.is_empty() || version.len() > VERSION_CHARS_MAX {
        return Err(invalid("`Slm-Mesh-Version` is a version"));
    }
    Ok(Some(Request { bearer, name, version: version.into(), accept: Accept::of(nonce) }))
}

fn invalid(must: &str) -> Refusal {
    Refusal::new(Code::InvalidRequest, format!("this is no request of a machine: {must}"))
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = Result<&'a str, Refusal>> {
        let with = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        with.map(|header| {
            std::str::from_utf8(header.value).map_err(|_| invalid("headers are text"))
        })
    }

    /// The one header of this name; twice is once too often.
    fn one(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let mut all = self.all(name);
        let first = all.next().transpose()?;
        match all.next() {
            None => Ok(first),
            Some(_) => Err(invalid(&format!("`{name}` comes once"))),
        }
    }

    /// Whether a list has this member (RFC 9110 section 5.6.1).
    fn lists(&self, name: &str, member: &str) -> Result<bool, Refusal> {
        for value in self.all(name) {
            if value?.split(',').any(|one| one.trim().eq_ignore_ascii_case(member)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Appends the answer that lets a machine in.
///
/// # Errors
///
/// [`Full`] if it does not fit.
pub fn encode_accept(out: &mut Buffer, accept: &Accept, proof: Option<Proof>) -> Result<(), Full> {
    let proof = proof.map(|proof| format!("Slm-Mesh-Proof: {proof}\r\n")).unwrap_or_default();
    out.extend_all(&[
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: ",
        accept.0.as_bytes(),
        b"\r\n",
        proof.as_bytes(),
        b"\r\n",
    ])
}

/// Appends a refusal.
///
/// # Errors
///
/// [`Full`] if it does not fit.
pub fn encode_refusal(out: &mut Buffer, refusal: &Refusal) -> Result<(), Full> {
    let mut body = Vec::new();
    refusal.write_to(&mut body);
    let status = refusal.code.status();
    let connection = Connection::Close;
    server::Response { status, body: &body, connection, ..server::Response::default() }.encode(out)
}

/// A refusal as a relay reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The body, exactly as the hub has sent it.
    pub body: Box<[u8]>,
}

/// As much of a refusal's body as is for people.
#[derive(serde::Deserialize)]
struct Words {
    error: Box<str>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::from_slice::<Words>(&self.body) {
            Ok(words) => f.write_str(&words.error),
            Err(_) => write!(f, "the hub answers with status {}", self.status),
        }
    }
}

/// An answer as a relay reads it.
#[derive(Debug, Clone)]
pub enum UpgradeAnswer {
    /// It is let in.
    Open {
        /// The hub's own proof.
        proof: Option<Proof>,
        /// Length of the answer, bytes: frames may follow.
        len: usize,
    },
    /// It is not.
    Refused(Refused),
}

/// Reads an answer. `None`: it is not complete.
///
/// # Errors
///
/// What is wrong with it.
pub fn decode_answer(bytes: &[u8], accept: &Accept) -> Result<Option<UpgradeAnswer>, &'static str> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut slots);
    let len = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < MACHINE_HEAD_BYTES_MAX => return Ok(None),
        _ => return Err("its answer is not that of a hub"),
    };
    if parsed.code != Some(101) {
        let decoded = ResponseDecoder::new(MACHINE_HEAD_BYTES_MAX).decode(bytes);
        let decoded = decoded.map_err(|_| "its answer is not that of a hub")?;
        return Ok(decoded.map(|response| {
            UpgradeAnswer::Refused(Refused { status: response.status, body: response.body.into() })
        }));
    }
    let headers = Headers(parsed.headers);
    let not_once = |_: Refusal| "a header of its answer is there twice";
    let said = headers.one("Sec-WebSocket-Accept").map_err(not_once)?;
    let upgrades = headers.lists("Upgrade", "websocket").map_err(not_once)?
        && headers.lists("Connection", "upgrade").map_err(not_once)?;
    if said != Some(accept.0.as_str()) || !upgrades {
        return Err("its answer is to another request");
    }
    let proof = match headers.one("Slm-Mesh-Proof").map_err(not_once)? {
        None => None,
        Some(value) => Some(Proof::parse(value).ok_or("its proof is none")?),
    };
    Ok(Some(UpgradeAnswer::Open { proof, len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Bearer = Bearer::Invitation(InvitationToken([7; 16]));

    fn request(bearer: Option<Bearer>) -> (Vec<u8>, Accept) {
        let mut out = Buffer::new(MACHINE_HEAD_BYTES_MAX);
        let name = MachineName::new("laptop");
        let accept = encode_request(&mut out, bearer, name, "1.2.3").unwrap();
        (out.as_slice().to_vec(), accept)
    }

    fn text() -> String {
        String::from_utf8(request(Some(TOKEN)).0).unwrap()
    }

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        // RFC 6455 section 1.3, RFC 4648 section 10.
        let accept = Accept::of("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.0, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let found = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(found, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn a_request_reads_back() {
        let proof = Bearer::Proof(Proof::parse(&"ab".repeat(32)).unwrap());
        for bearer in [None, Some(TOKEN), Some(proof)] {
            let (bytes, accept) = request(bearer);
            crate::lan::fuzzing::upgrade(&bytes);
            let read = decode_request(&bytes).unwrap().unwrap();
            let shown = |bearer: Option<Bearer>| bearer.map(|bearer| bearer.to_string());
            assert_eq!(shown(read.bearer), shown(bearer));
            assert_eq!((read.name, &*read.version), (MachineName::new("laptop"), "1.2.3"));
            assert_eq!(read.accept, accept);
            assert!(bytes.len() < 400, "{}", bytes.len());
        }
    }

    #[test]
    fn what_is_no_request_of_a_machine_is_refused() {
        let says = |text: &str, code: Code| {
            let refusal = decode_request(text.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, code, "{text}: {}", refusal.message);
        };
        let replaced = |from: &str, to: &str| {
            let text = text();
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        };
        says(&replaced("/mesh", "/health"), Code::UnknownEndpoint);
        for (from, to) in [
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("Upgrade: websocket", "Upgrade: h2c"),
            ("Connection: Upgrade", "Connection: close"),
            ("Version: 13", "Version: 8"),
            ("Key: ", "Key: A"),
            ("Bearer ", "Basic "),
            ("Bearer ", "Bearer 0"),
            ("laptop", "lap top"),
            ("laptop", "l\u{e4}ptop"),
            ("1.2.3", ""),
            ("1.2.3", &"1".repeat(65)),
            ("Slm-Mesh-Version: 1.2.3", "X: y"),
            ("Host: slm-mesh", "Authorization: Bearer 07070707070707070707070707070707"),
            ("Host: slm-mesh", "no header"),
            ("\r\n\r\n", "\r\n\r\n\u{81}"),
        ] {
            says(&replaced(from, to), Code::InvalidRequest);
        }
        says(&replaced("Host", &"X: y\r\n".repeat(70)), Code::HeadersTooLarge);
        let endless = replaced("slm-mesh\r\n", &"x".repeat(MACHINE_HEAD_BYTES_MAX));
        says(&endless[..MACHINE_HEAD_BYTES_MAX], Code::HeadersTooLarge);
    }

    #[test]
    fn an_answer_reads_back() {
        let (_, accept) = request(None);
        let proof = Proof::parse(&"cd".repeat(32)).unwrap();
        for proof in [None, Some(proof)] {
            let mut out = Buffer::new(MACHINE_HEAD_BYTES_MAX);
            encode_accept(&mut out, &accept, proof).unwrap();
            let whole = out.len();
            out.extend(&[0x81, 0]).unwrap();
            let bytes = out.as_slice();
            for end in 0..whole {
                assert!(decode_answer(&bytes[..end], &accept).unwrap().is_none());
            }
            match decode_answer(bytes, &accept).unwrap() {
                Some(UpgradeAnswer::Open { proof: read, len }) => {
                    let shown = |proof: Option<Proof>| proof.map(|proof| proof.to_string());
                    assert_eq!((shown(read), len), (shown(proof), whole));
                }
                other => panic!("{other:?}"),
            }
            assert!(decode_answer(bytes, &Accept::of("another")).is_err());
        }
        assert!(decode_answer(b"220 smtp ready\r\n", &accept).is_err());
        assert!(decode_answer(&[b'x'; MACHINE_HEAD_BYTES_MAX], &accept).is_err());
    }

    #[test]
    fn a_refusal_is_given_back_exactly() {
        let refusal = Refusal::new(Code::Forbidden, "this code was used by another machine");
        let mut out = Buffer::new(MACHINE_HEAD_BYTES_MAX);
        encode_refusal(&mut out, &refusal).unwrap();
        let (bytes, accept) = (out.as_slice(), request(None).1);
        assert!(decode_answer(&bytes[..bytes.len() - 1], &accept).unwrap().is_none());
        let Some(UpgradeAnswer::Refused(refused)) = decode_answer(bytes, &accept).unwrap() else {
            panic!("no refusal")
        };
        let mut body = Vec::new();
        refusal.write_to(&mut body);
        assert_eq!((refused.status, &*refused.body), (403, &*body));
        assert_eq!(refused.to_string(), "this code was used by another machine");
        let other = Refused { status: 418, body: (*b"<html>").into() };
        assert_eq!(other.to_string(), "the hub answers with status 418");
    }
}
