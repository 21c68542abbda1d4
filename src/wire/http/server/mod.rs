//! The broker's side: requests in, responses out.

mod request;
mod response;

pub use request::{Decoded, Method, Request, RequestDecoder, RequestError};
pub use response::{Response, encode_continue};

/// What becomes of a connection after an answer (RFC 9112 section 9.3).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It stays: the default of HTTP/1.1, so the answer need not say it.
    #[default]
    Keep,
    /// It stays, and the answer says so, since HTTP/1.0 would not expect it.
    KeepAlive,
    /// It is closed once the answer is written, and the answer says so.
    Close,
}
