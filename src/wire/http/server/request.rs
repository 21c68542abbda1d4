//! Requests in.

use std::fmt;
use std::mem::MaybeUninit;

use super::Connection;
use crate::limits::{BODY_BYTES_MAX, HEADERS_MAX, LEADING_BLANK_LINES_MAX};
use crate::wire::http::head::{HeadFault, HeadSearch, Persistence, Span, is_token_byte, number};

/// Decodes the requests of one connection, one after the other.
///
/// Show it all bytes that wait, each time more have come; after [`Decoded::Request`], consume
/// [`Request::len`] of them and show it the rest, for a pipelined request. It looks at each byte
/// of a head once for the end of the head, parses the head once, and then only compares lengths.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    /// Length of the empty lines before the request line.
    blank: usize,
    started: bool,
    search: HeadSearch,
    head: Option<Head>,
    continued: bool,
    shown: bool,
    failed: Option<RequestError>,
}

/// What has become of the bytes shown to a [`RequestDecoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<'b> {
    /// More are needed.
    Incomplete,
    /// More are needed, and the client waits for a `100 Continue` before it sends them
    /// ([`encode_continue`](super::encode_continue)). Said once a request.
    Continue,
    /// A request is complete.
    Request(Request<'b>),
}

/// A request. It borrows from the bytes the decoder was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'b> {
    /// The method.
    pub method: Method<'b>,
    /// The target's path, as it came: neither percent-decoded nor normalised. `*` for
    /// `OPTIONS *`, and what was asked for with `CONNECT`.
    pub path: &'b str,
    /// The host and port the request is for: the `Host` header, or the target's if that is in
    /// absolute form (RFC 9112 section 3.2.2). `None` only with HTTP/1.0.
    pub host: Option<&'b str>,
    /// The `Origin` header.
    pub origin: Option<&'b str>,
    /// The token of `Authorization: Bearer <token>` (RFC 6750 section 2.1); `None` also for
    /// another scheme.
    pub token: Option<&'b str>,
    /// The body.
    pub body: &'b [u8],
    /// What becomes of the connection after the answer.
    pub connection: Connection,
    /// Bytes the request takes, from the first one shown.
    pub len: usize,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method<'b> {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `HEAD`, which is answered without a body ([`without_body`](super::Response::without_body)).
    Head,
    /// Any other, as it came.
    Other(&'b str),
}

/// Why what came is no request.
///
/// Each is answered with [`RequestError::status`], its text as the error, and
/// [`Connection::Close`]: after any of them it is not known where a next request would start. The
/// client may still be sending; unless that is read and dropped for a while, it can lose the
/// answer to a reset (RFC 9112 section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// 400: not an HTTP request, or a header line that is none.
    Syntax,
    /// 400: a line that ends in LF alone.
    LineEnding,
    /// 400: neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// 400: a target that is neither a path nor an `http` URL.
    Target,
    /// 400: no `Host`, or more than one (RFC 9112 section 3.2).
    Host,
    /// 400: a `Content-Length` that is no number, or more than one.
    ContentLength,
    /// 400: an `Expect` other than `100-continue`.
    Expectation,
    /// 400: a second `Origin` or `Authorization`, or one that is not text.
    Header,
    /// 431: the head is over [`crate::limits::HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
    HeadersTooLarge,
    /// 413: the body would be over [`BODY_BYTES_MAX`].
    TooLarge,
    /// 411: a `Transfer-Encoding`. With a `Content-Length` beside it, two readers could differ
    /// about where the request ends (RFC 9112 section 6.1); so the one rule for both is no.
    LengthRequired,
}

impl RequestError {
    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Syntax
            | Self::LineEnding
            | Self::Version
            | Self::Target
            | Self::Host
            | Self::ContentLength
            | Self::Expectation
            | Self::Header => 400,
            Self::LengthRequired => 411,
            Self::TooLarge => 413,
            Self::HeadersTooLarge => 431,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("this is not an HTTP/1.1 request"),
            Self::LineEnding => f.write_str("a line of the request head must end in CRLF"),
            Self::Version => f.write_str("the version must be HTTP/1.1 or HTTP/1.0"),
            Self::Target => f.write_str("the request target must be a path or an http URL"),
            Self::Host => f.write_str("a request must have exactly one Host header"),
            Self::ContentLength => {
                f.write_str("Content-Length must be one number and must be there only once")
            }
            Self::Expectation => f.write_str("the only expectation served is 100-continue"),
            Self::Header => {
                f.write_str("Origin and Authorization must be text and be there only once")
            }
            Self::HeadersTooLarge => write!(
                f,
                "the request head must have at most {HEADERS_MAX} headers and {} bytes",
                crate::limits::HEAD_BYTES_MAX
            ),
            Self::TooLarge => write!(f, "the body must have at most {BODY_BYTES_MAX} bytes"),
            Self::LengthRequired => {
                f.write_str("send the body with Content-Length, without Transfer-Encoding")
            }
        }
    }
}

impl std::error::Error for RequestError {}

impl From<HeadFault> for RequestError {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::LineEnding => Self::LineEnding,
            HeadFault::TooLarge => Self::HeadersTooLarge,
        }
    }
}

impl RequestDecoder {
    /// A decoder for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at `buffered`: all bytes of the connection that were not consumed. Between two
    /// complete requests they may only grow.
    ///
    /// # Errors
    ///
    /// See [`RequestError`]. A decoder that has failed answers the same ever after.
    pub fn decode<'b>(&mut self, buffered: &'b [u8]) -> Result<Decoded<'b>, RequestError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let decoded = self.advance(buffered);
        self.failed = decoded.err();
        decoded
    }

    /// The head of a request whose body is not complete, without that body, but with the length that
    /// the request will have: for whoever would refuse it anyway. Given once a request; `buffered` is
    /// what was decoded last.
    pub fn head<'b>(&mut self, buffered: &'b [u8]) -> Option<Request<'b>> {
        let head = self.head.filter(|_| !self.shown)?;
        self.shown = true;
        Some(head.request(buffered, &[], head.len + head.body_len))
    }

    /// Whether a request has begun and is not complete: a client has
    /// [`crate::limits::REQUEST_TIME_MAX`] for that. Empty lines do not begin one.
    #[must_use]
    pub fn in_request(&self) -> bool {
        self.started
    }

    fn advance<'b>(&mut self, buffered: &'b [u8]) -> Result<Decoded<'b>, RequestError> {
        let head = match self.head {
            Some(head) => head,
            None => match self.read_head(buffered)? {
                Some(head) => *self.head.insert(head),
                None => return Ok(Decoded::Incomplete),
            },
        };
        let len = head.len + head.body_len;
        if let Some(body) = buffered.get(head.len..len) {
            *self = Self::default();
            return Ok(Decoded::Request(head.request(buffered, body, len)));
        }
        // A client that has already begun with the body waits for nothing.
        if head.expects_continue && !self.continued && buffered.len() == head.len {
            self.continued = true;
            return Ok(Decoded::Continue);
        }
        Ok(Decoded::Incomplete)
    }

    fn read_head(&mut self, buffered: &[u8]) -> Result<Option<Head>, RequestError> {
        if !self.skip_blank_lines(buffered)? {
            return Ok(None);
        }
        let rest = buffered.get(self.blank..).unwrap_or_default();
        match self.search.find(rest)? {
            Some(len) => Head::parse(buffered, self.blank, self.blank + len).map(Some),
            None => Ok(None),
        }
    }

    /// Skips empty lines before a request line, which old clients send after a body (RFC 9112
    /// section 2.2). True when the request line has begun.
    fn skip_blank_lines(&mut self, buffered: &[u8]) -> Result<bool, RequestError> {
        while !self.started {
            match buffered.get(self.blank..).unwrap_or_default() {
                [] | [b'\r'] => return Ok(false),
                [b'\r', b'\n', ..] if self.blank < 2 * LEADING_BLANK_LINES_MAX => self.blank += 2,
                // Whatever else this is (TLS, say), an end of a head may never come.
                [first, ..] if is_token_byte(*first) => self.started = true,
                _ => return Err(RequestError::Syntax),
            }
        }
        Ok(true)
    }
}

/// A parsed head, kept while the body comes in.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Up to and with the empty line, from the first byte shown.
    len: usize,
    body_len: usize,
    method: MethodSpan,
    /// `None` for the root of an absolute target without a path.
    path: Option<Span>,
    host: Option<Span>,
    origin: Option<Span>,
    token: Option<Span>,
    expects_continue: bool,
    connection: Connection,
}

#[derive(Debug, Clone, Copy)]
enum MethodSpan {
    Get,
    Post,
    Head,
    Other(Span),
}

impl Head {
    /// Parses `buffered[start..end]`, a whole head.
    fn parse(buffered: &[u8], start: usize, end: usize) -> Result<Self, RequestError> {
        let bytes = buffered.get(start..end).unwrap_or_default();
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(bytes, &mut slots) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(RequestError::HeadersTooLarge),
            Err(httparse::Error::Version) => return Err(RequestError::Version),
            Ok(_) | Err(_) => return Err(RequestError::Syntax),
        }
        let (Some(method), Some(target), Some(minor)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(RequestError::Syntax);
        };
        let target = Target::parse(method, target)?;
        let fields = Fields::collect(parsed.headers, minor)?;
        let span = |part: &[u8]| Span::of(buffered, part);
        Ok(Self {
            len: end,
            body_len: fields.body_len()?,
            method: match method {
                "GET" => MethodSpan::Get,
                "POST" => MethodSpan::Post,
                "HEAD" => MethodSpan::Head,
                other => MethodSpan::Other(span(other.as_bytes())),
            },
            path: target.path.map(|path| span(path.as_bytes())),
            host: target.authority.map(str::as_bytes).or(fields.host).map(span),
            origin: fields.origin.map(span),
            token: fields.token().map(span),
            expects_continue: fields.expects_continue,
            connection: match (fields.persistence.closes(minor), minor) {
                (true, _) => Connection::Close,
                (false, 0) => Connection::KeepAlive,
                (false, _) => Connection::Keep,
            },
        })
    }

    fn request<'b>(&self, buffered: &'b [u8], body: &'b [u8], len: usize) -> Request<'b> {
        let text = |span: Span| span.text(buffered);
        Request {
            method: match self.method {
                MethodSpan::Get => Method::Get,
                MethodSpan::Post => Method::Post,
                MethodSpan::Head => Method::Head,
                MethodSpan::Other(method) => Method::Other(text(method)),
            },
            path: self.path.map_or("/", text),
            host: self.host.map(text),
            origin: self.origin.map(text),
            token: self.token.map(text),
            body,
            connection: self.connection,
            len,
        }
    }
}

/// The parts of a request target that are used (RFC 9112 section 3.2). A query is dropped: no
/// endpoint has one.
struct Target<'b> {
    authority: Option<&'b str>,
    path: Option<&'b str>,
}

impl<'b> Target<'b> {
    fn parse(method: &str, target: &'b str) -> Result<Self, RequestError> {
        const SCHEME: &str = "http://";
        // A fragment is never sent.
        if !target.is_ascii() || target.contains('#') {
            return Err(RequestError::Target);
        }
        let path_of = |target: &'b str| target.split_once('?').map_or(target, |(path, _)| path);
        if target.starts_with('/') {
            return Ok(Self { authority: None, path: Some(path_of(target)) });
        }
        if target == "*" || method == "CONNECT" {
            return Ok(Self { authority: None, path: Some(target) });
        }
        let (scheme, rest) = target.split_at_checked(SCHEME.len()).ok_or(RequestError::Target)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // A user name in an authority misleads about the host (RFC 9110 section 4.2.4).
        if !scheme.eq_ignore_ascii_case(SCHEME) || authority.is_empty() || authority.contains('@') {
            return Err(RequestError::Target);
        }
        let path = Some(path_of(path)).filter(|path| !path.is_empty());
        Ok(Self { authority: Some(authority), path })
    }
}

/// The header fields that are used.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b [u8]>,
    origin: Option<&'b [u8]>,
    authorization: Option<&'b [u8]>,
    content_length: Option<&'b [u8]>,
    expects_continue: bool,
    persistence: Persistence,
}

impl<'b> Fields<'b> {
    fn collect(headers: &[httparse::Header<'b>], minor: u8) -> Result<Self, RequestError> {
        let mut fields = Self::default();
        for header in headers {
            let value = header.value.trim_ascii();
            let name = |name: &str| header.name.eq_ignore_ascii_case(name);
            if name("Host") {
                set_text(&mut fields.host, value, RequestError::Host)?;
            } else if name("Content-Length") {
                set_text(&mut fields.content_length, value, RequestError::ContentLength)?;
            } else if name("Authorization") {
                set_text(&mut fields.authorization, value, RequestError::Header)?;
            } else if name("Origin") {
                set_text(&mut fields.origin, value, RequestError::Header)?;
            } else if name("Connection") {
                fields.persistence.add(value);
            } else if name("Transfer-Encoding") {
                return Err(RequestError::LengthRequired);
            } else if name("Expect") && minor > 0 {
                // With HTTP/1.0 it must be ignored (RFC 9110 section 10.1.1).
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(RequestError::Expectation);
                }
                fields.expects_continue = true;
            }
        }
        if fields.host.is_none() && minor > 0 {
            return Err(RequestError::Host);
        }
        Ok(fields)
    }

    /// A request without a length has no body (RFC 9112 section 6.3).
    fn body_len(&self) -> Result<usize, RequestError> {
        let Some(value) = self.content_length else { return Ok(0) };
        let len = number(value).ok_or(RequestError::ContentLength)?;
        usize::try_from(len).ok().filter(|len| *len <= BODY_BYTES_MAX).ok_or(RequestError::TooLarge)
    }

    fn token(&self) -> Option<&'b [u8]> {
        let (scheme, token) = self.authorization?.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
    }
}

/// Sets a field that may be there once, to a value that must be text.
fn set_text<'b>(
    field: &mut Option<&'b [u8]>,
    value: &'b [u8],
    error: RequestError,
) -> Result<(), RequestError> {
    let first = field.replace(value).is_none();
    if first && value.is_ascii() { Ok(()) } else { Err(error) }
}
