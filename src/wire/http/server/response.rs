//! Responses out.

use super::Connection;
use crate::wire::buffer::{Buffer, Full};
use crate::wire::http::head::Decimal;

/// A response to send.
///
/// There is no `Date`, which RFC 9110 section 6.6.1 asks of servers that have a clock: a codec
/// has none, and what `Date` is for, caches, do not stand between a broker and its own machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct Response<'a> {
    /// The status, one that the wire contract names.
    pub status: u16,
    /// The body: JSON, unless it is a page.
    pub body: &'a [u8],
    /// The body is a page of HTML with this policy (`Content-Security-Policy`).
    pub page: Option<&'a str>,
    /// What becomes of the connection: that of the request, or [`Connection::Close`].
    pub connection: Connection,
    /// The methods that would do, for a 405.
    pub allow: Option<&'a str>,
    /// Seconds after which to try again, for a 429 or 503.
    pub retry_after: Option<u64>,
    /// Send the head only: the answer to `HEAD` (RFC 9110 section 9.3.2). `Content-Length` is
    /// still that of the body.
    pub without_body: bool,
}

impl Response<'_> {
    /// Appends the response to `out`, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Full`] if it does not fit.
    pub fn encode(&self, out: &mut Buffer) -> Result<(), Full> {
        let status = Decimal::new(u64::from(self.status));
        let length = Decimal::new(self.body.len() as u64);
        let retry_after = Decimal::new(self.retry_after.unwrap_or_default());
        let field = |there: bool, text: &'static str| if there { text.as_bytes() } else { b"" };
        out.extend_all(&[
            b"HTTP/1.1 ",
            status.as_bytes(),
            b" ",
            reason(self.status).as_bytes(),
            b"\r\nContent-Length: ",
            length.as_bytes(),
            // No copy of an answer is worth keeping, nor is one to be taken for something else.
            b"\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff",
            match self.page {
                None => b"\r\nContent-Type: application/json",
                Some(_) => {
                    b"\r\nContent-Type: text/html; charset=utf-8\r\nReferrer-Policy: no-referrer\
                      \r\nCross-Origin-Opener-Policy: same-origin\
                      \r\nCross-Origin-Resource-Policy: same-origin\r\nContent-Security-Policy: "
                }
            },
            self.page.unwrap_or_default().as_bytes(),
            match self.connection {
                Connection::Keep => b"",
                Connection::KeepAlive => b"\r\nConnection: keep-alive",
                Connection::Close => b"\r\nConnection: close",
            },
            field(self.allow.is_some(), "\r\nAllow: "),
            self.allow.unwrap_or_default().as_bytes(),
            field(self.retry_after.is_some(), "\r\nRetry-After: "),
            if self.retry_after.is_some() { retry_after.as_bytes() } else { b"" },
            // Required of a 401 (RFC 9110 section 15.5.2).
            field(self.status == 401, "\r\nWWW-Authenticate: Bearer"),
            b"\r\n\r\n",
            if self.without_body { b"" } else { self.body },
        ])
    }
}

/// Appends the answer to [`Decoded::Continue`](super::Decoded::Continue).
///
/// # Errors
///
/// [`Full`] if it does not fit.
pub fn encode_continue(out: &mut Buffer) -> Result<(), Full> {
    out.extend(b"HTTP/1.1 100 Continue\r\n\r\n")
}

/// The reason phrase (RFC 9110 section 15, RFC 6585). Empty, which is allowed, for a status that
/// the wire contract does not name.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}
