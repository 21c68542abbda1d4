//! JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>), as MCP uses it: one message a line.
//!
//! [`parse`] tells what kind of message a line is and checks its envelope; what a method's
//! `params` must be is the business of the method. Ids are echoed byte for byte. Unlike JSON-RPC,
//! MCP answers what has no usable id without one, not with `null`.

mod encode;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use super::ndjson;
use crate::limits::RPC_ID_BYTES_MAX;

pub use encode::{encode_error, encode_fault, encode_notification, encode_request, encode_result};

/// The line is not JSON (JSON-RPC 2.0 section 5.1).
pub const PARSE_ERROR: i64 = -32700;
/// JSON, but not a message (JSON-RPC 2.0 section 5.1).
pub const INVALID_REQUEST: i64 = -32600;
/// There is no such method (JSON-RPC 2.0 section 5.1).
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The method does not take these `params` (JSON-RPC 2.0 section 5.1); in MCP also an unknown
/// tool or prompt.
pub const INVALID_PARAMS: i64 = -32602;
/// The receiver failed (JSON-RPC 2.0 section 5.1).
pub const INTERNAL_ERROR: i64 = -32603;
/// There is no such resource (MCP 2024-11-05 to 2025-11-25, Resources, Error Handling).
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// The request names a protocol version that is not served (MCP 2026-07-28,
/// `UnsupportedProtocolVersionError`).
pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The value of `jsonrpc` in every message.
const VERSION: &str = "2.0";

/// What a line says. It borrows from the line.
///
/// `params` and `result` stay raw JSON: the method knows their type and reads them straight into
/// it, with no tree in between.
#[derive(Debug)]
pub enum Message<'a> {
    /// To be answered, with this id.
    Request {
        /// Names the request in its answer.
        id: Id,
        /// What to do.
        method: Cow<'a, str>,
        /// An object or an array.
        params: Option<&'a RawValue>,
    },
    /// Never to be answered.
    Notification {
        /// What has happened.
        method: Cow<'a, str>,
        /// An object or an array.
        params: Option<&'a RawValue>,
    },
    /// The answer to a request of ours. Never to be answered.
    Response {
        /// The request it answers. `None` only for an error: the other side could not tell.
        id: Option<Id>,
        /// The `result`, or the `error`.
        outcome: Result<&'a RawValue, ErrorObject<'a>>,
    },
    /// None of these: to be answered with [`encode_fault`].
    Invalid {
        /// The id of the answer, if there was a valid one.
        id: Option<Id>,
        /// What is wrong.
        fault: Fault,
    },
}

/// The `error` of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorObject<'a> {
    /// The kind of error.
    pub code: i64,
    /// What has happened; empty if that was missing.
    pub message: Cow<'a, str>,
}

/// Why a line is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON in UTF-8.
    Parse,
    /// It is not an object, or one that has a member twice.
    Shape,
    /// `jsonrpc` is not `"2.0"`.
    Version,
    /// `id` is neither a string nor an integer, or over [`RPC_ID_BYTES_MAX`].
    Id,
    /// `method` is missing or not a string.
    Method,
    /// `params` is neither an object nor an array.
    Params,
    /// `error` is not an object with an integer `code`.
    Error,
    /// It is an array. Of the revisions of MCP one, 2025-03-26, has batches, and no client in use
    /// sends any.
    Batch,
}

impl Fault {
    /// The error code of the answer.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Parse => PARSE_ERROR,
            _ => INVALID_REQUEST,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse => f.write_str("Parse error: a message must be one line of JSON in UTF-8"),
            Self::Shape => f.write_str("Invalid request: a message must be an object"),
            Self::Version => f.write_str("Invalid request: jsonrpc must be \"2.0\""),
            Self::Id => write!(
                f,
                "Invalid request: id must be a string or an integer of at most \
                 {RPC_ID_BYTES_MAX} bytes"
            ),
            Self::Method => f.write_str("Invalid request: method must be a string"),
            Self::Params => f.write_str("Invalid request: params must be an object or an array"),
            Self::Error => {
                f.write_str("Invalid request: error must be an object with an integer code")
            }
            Self::Batch => f.write_str(
                "Invalid request: batches are not served; send each message in a line of its own",
            ),
        }
    }
}

impl std::error::Error for Fault {}

/// The id of a request: a string or an integer, as its JSON text.
///
/// Kept as text, it is echoed exactly as it came, integers beyond 64 bits too. Two ids are equal
/// if their texts are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id(Box<str>);

impl Id {
    /// The JSON text: `7`, or `"seven"` with its quotes.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// `None` if `raw` is not what an id may be.
    fn from_raw(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        Self::is_valid(text).then(|| Self(text.into()))
    }

    /// Whether `json`, which is valid JSON, is what an id may be. A fraction or an exponent makes
    /// a number a float, even if its value is whole.
    fn is_valid(json: &str) -> bool {
        json.len() <= RPC_ID_BYTES_MAX
            && (json.starts_with('"') || json.bytes().all(|b| b == b'-' || b.is_ascii_digit()))
    }
}

/// The id of a request of ours.
impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self(number.to_string().into())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Reads an id where it is part of the `params`, as in `notifications/cancelled`.
impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
        if Self::is_valid(&text) { Ok(Self(text)) } else { Err(D::Error::custom(Fault::Id)) }
    }
}

/// Reads one line, without its end. Never fails: what is no message is [`Message::Invalid`].
#[must_use]
pub fn parse(line: &[u8]) -> Message<'_> {
    // Some programs begin what they write with a byte-order mark, which a reader may ignore (RFC
    // 8259 section 8.1).
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    let Ok(text) = ndjson::text(line) else {
        return Message::Invalid { id: None, fault: Fault::Parse };
    };
    let first = text.trim_ascii_start().as_bytes().first();
    if first == Some(&b'{') {
        return parse_object(text);
    }
    let fault = match (serde_json::from_str(text), first) {
        (Err(_), _) => Fault::Parse,
        (Ok(IgnoredAny), Some(b'[')) => Fault::Batch,
        (Ok(IgnoredAny), _) => Fault::Shape,
    };
    Message::Invalid { id: None, fault }
}

/// The members of a message. Each stays raw, so that one of a wrong type does not keep the others
/// from being read.
#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    // A null beside a result is what JSON-RPC 1.0 sends; here it may stay as good as missing.
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Keeps a member that is `null`, which `Option` by itself takes for missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads `text`, which begins like an object.
fn parse_object(text: &str) -> Message<'_> {
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) => {
            let fault = if error.is_data() { Fault::Shape } else { Fault::Parse };
            return Message::Invalid { id: None, fault };
        }
    };
    let id = envelope.id.map(|id| Id::from_raw(id).ok_or(Fault::Id)).transpose();
    match envelope.into_message(id.clone()) {
        Ok(message) => message,
        Err(fault) => Message::Invalid { id: id.unwrap_or_default(), fault },
    }
}

impl<'a> Envelope<'a> {
    fn into_message(self, id: Result<Option<Id>, Fault>) -> Result<Message<'a>, Fault> {
        if self.jsonrpc.and_then(string).as_deref() != Some(VERSION) {
            return Err(Fault::Version);
        }
        let Some(method) = self.method else { return self.into_response(id) };
        // First: without a valid id, the answer to any other fault could not be told apart.
        let id = id?;
        let method = string(method).ok_or(Fault::Method)?;
        let params = self.params;
        if params.is_some_and(|params| !params.get().starts_with(['{', '['])) {
            return Err(Fault::Params);
        }
        Ok(match id {
            Some(id) => Message::Request { id, method, params },
            None => Message::Notification { method, params },
        })
    }

    fn into_response(self, id: Result<Option<Id>, Fault>) -> Result<Message<'a>, Fault> {
        if let Some(error) = self.error {
            let outcome = Err(ErrorObject::parse(error).ok_or(Fault::Error)?);
            return Ok(Message::Response { id: id.unwrap_or_default(), outcome });
        }
        let result = self.result.ok_or(Fault::Method)?;
        let id = Some(id?.ok_or(Fault::Id)?);
        Ok(Message::Response { id, outcome: Ok(result) })
    }
}

impl<'a> ErrorObject<'a> {
    fn parse(raw: &'a RawValue) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Members<'a> {
            code: i64,
            #[serde(borrow, default)]
            message: Option<&'a RawValue>,
        }
        // An array would do as a struct, too.
        raw.get().starts_with('{').then_some(())?;
        let Members { code, message } = serde_json::from_str(raw.get()).ok()?;
        Some(Self { code, message: message.and_then(string).unwrap_or_default() })
    }
}

/// The text of a JSON string, borrowed if it has no escapes. `None` if it is none, or escapes
/// that are no text.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

#[cfg(test)]
mod tests;
