//! The codecs: bytes in, types out, and back.
//!
//! | module | what it knows |
//! |---|---|
//! | `base64` | bytes as text |
//! | [`buffer`] | a bounded queue of bytes, for what came in and what goes out |
//! | [`http`] | HTTP/1.1, both sides: [`http::server`] and [`http::client`] |
//! | [`ndjson`] | lines of JSON: MCP on stdio, push frames |
//! | [`jsonrpc`] | JSON-RPC 2.0, one message a line |
//! | [`frames`] | frames of JSON between a hub and a relay |
//!
//! The decoders are resumable: they are shown all bytes that wait, say that more are needed, and
//! go on from where they stopped. Incomplete input is never an error. What a decoder hands out
//! borrows from the bytes it was shown.
//!
//! Nothing here touches a socket or a file, and nothing reads a clock: time limits are the
//! business of whoever owns the connection.

pub(crate) mod base64;
pub mod buffer;
pub mod frames;
pub mod http;
pub mod jsonrpc;
pub mod ndjson;

#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod testing;
