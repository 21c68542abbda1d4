//! The other side: requests out, responses in.

use std::fmt;
use std::mem::MaybeUninit;

use super::head::{Decimal, HeadFault, HeadSearch, Persistence, number};
use crate::limits::{HEADERS_MAX, INTERIM_RESPONSES_MAX};
use crate::wire::buffer::{Buffer, Full};

/// The method of a request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
}

/// A request to send.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path, `/send` for example.
    pub path: &'a str,
    /// Host and port of the broker, `127.0.0.1:4242` for example.
    pub host: &'a str,
    /// The bearer token.
    pub token: Option<&'a str>,
    /// The body: JSON, or empty.
    pub body: &'a [u8],
}

/// Why a request could not be encoded. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// It does not fit.
    Full,
    /// Path, host or token is empty, or has a character that is not visible ASCII: it could end
    /// the line early.
    Field,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the request does not fit into the buffer",
            Self::Field => "path, host and token of a request must be visible ASCII",
        })
    }
}

impl std::error::Error for EncodeError {}

impl From<Full> for EncodeError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl Request<'_> {
    /// Appends the request to `out`, whole or not at all.
    ///
    /// # Errors
    ///
    /// See [`EncodeError`].
    pub fn encode(&self, out: &mut Buffer) -> Result<(), EncodeError> {
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !visible(self.path) || !visible(self.host) || !self.token.is_none_or(visible) {
            return Err(EncodeError::Field);
        }
        let length = Decimal::new(self.body.len() as u64);
        // A length also for an empty POST (RFC 9110 section 8.6).
        let has_length = self.method == Method::Post || !self.body.is_empty();
        let optional = |there: bool, piece| if there { piece } else { b"".as_slice() };
        out.extend_all(&[
            match self.method {
                Method::Get => b"GET ",
                Method::Post => b"POST ",
            },
            self.path.as_bytes(),
            b" HTTP/1.1\r\nHost: ",
            self.host.as_bytes(),
            optional(self.token.is_some(), b"\r\nAuthorization: Bearer "),
            self.token.unwrap_or_default().as_bytes(),
            optional(has_length, b"\r\nContent-Type: application/json\r\nContent-Length: "),
            optional(has_length, length.as_bytes()),
            b"\r\n\r\n",
            self.body,
        ])?;
        Ok(())
    }
}

/// Decodes the responses of one connection, one after the other, as
/// [`RequestDecoder`](super::server::RequestDecoder) does with requests. Interim responses (1xx)
/// are skipped.
#[derive(Debug)]
pub struct ResponseDecoder {
    body_max: usize,
    /// Length of the interim responses before the one that is looked at.
    skipped: usize,
    interim: usize,
    search: HeadSearch,
    head: Option<Head>,
    failed: Option<ResponseError>,
}

/// A response. It borrows from the bytes the decoder was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'b> {
    /// The status, 200 to 999.
    pub status: u16,
    /// The body.
    pub body: &'b [u8],
    /// `Retry-After`, seconds; `None` also for a date.
    pub retry_after: Option<u64>,
    /// Whether the broker closes the connection after this.
    pub close: bool,
    /// Bytes the response takes, from the first one shown.
    pub len: usize,
}

/// Why what came is no response that can be read. The connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseError {
    /// Not an HTTP response, or a header line that is none.
    Syntax,
    /// The head is over [`crate::limits::HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
    HeadTooLarge,
    /// The body would be over the decoder's limit.
    BodyTooLarge,
    /// No `Content-Length`, one that is no number, or more than one.
    Length,
    /// A `Transfer-Encoding`, which no broker sends.
    TransferEncoding,
    /// Too many interim responses, or a change of protocol that was not asked for.
    Interim,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "the answer is not an HTTP/1.1 response",
            Self::HeadTooLarge => "the head of the response is too large",
            Self::BodyTooLarge => "the body of the response is too large",
            Self::Length => "the response has no valid Content-Length",
            Self::TransferEncoding => "the response has a Transfer-Encoding",
            Self::Interim => "the response is preceded by interim ones that were not asked for",
        })
    }
}

impl std::error::Error for ResponseError {}

impl From<HeadFault> for ResponseError {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::LineEnding => Self::Syntax,
            HeadFault::TooLarge => Self::HeadTooLarge,
        }
    }
}

impl ResponseDecoder {
    /// A decoder for a new connection. It accepts bodies of at most `body_max` bytes.
    #[must_use]
    pub fn new(body_max: usize) -> Self {
        Self {
            body_max,
            skipped: 0,
            interim: 0,
            search: HeadSearch::default(),
            head: None,
            failed: None,
        }
    }

    /// Looks at `buffered`: all bytes of the connection that were not consumed. `None` if more
    /// are needed. Between two complete responses they may only grow.
    ///
    /// # Errors
    ///
    /// See [`ResponseError`]. A decoder that has failed answers the same ever after.
    pub fn decode<'b>(
        &mut self,
        buffered: &'b [u8],
    ) -> Result<Option<Response<'b>>, ResponseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let decoded = self.advance(buffered);
        self.failed = decoded.err();
        decoded
    }

    fn advance<'b>(&mut self, buffered: &'b [u8]) -> Result<Option<Response<'b>>, ResponseError> {
        let head = match self.head {
            Some(head) => head,
            None => match self.read_head(buffered)? {
                Some(head) => *self.head.insert(head),
                None => return Ok(None),
            },
        };
        let len = head.len + head.body_len;
        let Some(body) = buffered.get(head.len..len) else { return Ok(None) };
        *self = Self::new(self.body_max);
        let Head { status, retry_after, close, .. } = head;
        Ok(Some(Response { status, body, retry_after, close, len }))
    }

    fn read_head(&mut self, buffered: &[u8]) -> Result<Option<Head>, ResponseError> {
        loop {
            let rest = buffered.get(self.skipped..).unwrap_or_default();
            // Whatever else this is, an end of a head may never come.
            if rest.first().is_some_and(|first| *first != b'H') {
                return Err(ResponseError::Syntax);
            }
            let Some(len) = self.search.find(rest)? else { return Ok(None) };
            let head = Head::parse(rest.get(..len).unwrap_or_default(), self.body_max)?;
            let Some(mut head) = head else {
                self.interim += 1;
                if self.interim > INTERIM_RESPONSES_MAX {
                    return Err(ResponseError::Interim);
                }
                self.skipped += len;
                self.search = HeadSearch::default();
                continue;
            };
            head.len += self.skipped;
            return Ok(Some(head));
        }
    }
}

/// A parsed head, kept while the body comes in.
#[derive(Debug, Clone, Copy)]
struct Head {
    len: usize,
    body_len: usize,
    status: u16,
    retry_after: Option<u64>,
    close: bool,
}

impl Head {
    /// Parses `bytes`, a whole head. `None` for an interim response.
    fn parse(bytes: &[u8], body_max: usize) -> Result<Option<Self>, ResponseError> {
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut slots) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::HeadTooLarge),
            Ok(_) | Err(_) => return Err(ResponseError::Syntax),
        }
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(ResponseError::Syntax);
        };
        match status {
            101 => return Err(ResponseError::Interim),
            100..=199 => return Ok(None),
            200.. => {}
            _ => return Err(ResponseError::Syntax),
        }
        let mut length = None;
        let mut retry_after = None;
        let mut persistence = Persistence::default();
        for header in &*parsed.headers {
            let value = header.value.trim_ascii();
            let name = |name: &str| header.name.eq_ignore_ascii_case(name);
            if name("Content-Length") {
                let number = number(value).ok_or(ResponseError::Length)?;
                if length.replace(number).is_some() {
                    return Err(ResponseError::Length);
                }
            } else if name("Transfer-Encoding") {
                return Err(ResponseError::TransferEncoding);
            } else if name("Retry-After") {
                retry_after = number(value);
            } else if name("Connection") {
                persistence.add(value);
            }
        }
        // These two never have a body (RFC 9112 section 6.3).
        let length = if matches!(status, 204 | 304) { Some(0) } else { length };
        let body_len = usize::try_from(length.ok_or(ResponseError::Length)?)
            .ok()
            .filter(|len| *len <= body_max)
            .ok_or(ResponseError::BodyTooLarge)?;
        let close = persistence.closes(minor);
        Ok(Some(Self { len: bytes.len(), body_len, status, retry_after, close }))
    }
}
