//! Tests of the client's side.

use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, INTERIM_RESPONSES_MAX};
use crate::wire::buffer::Buffer;
use crate::wire::http::client::{
    EncodeError, Method, Request, Response, ResponseDecoder, ResponseError,
};

const BODY_MAX: usize = 100;

fn decode(bytes: &[u8]) -> Result<Option<Response<'_>>, ResponseError> {
    ResponseDecoder::new(BODY_MAX).decode(bytes)
}

fn response(bytes: &[u8]) -> Response<'_> {
    match decode(bytes) {
        Ok(Some(response)) => response,
        other => panic!("{other:?} from {}", bytes.escape_ascii()),
    }
}

fn error(bytes: &[u8]) -> ResponseError {
    match decode(bytes) {
        Err(error) => error,
        other => panic!("{other:?} from {}", bytes.escape_ascii()),
    }
}

/// A response without a body, with these header lines besides its length.
fn with_headers(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n").into_bytes()
}

const LIMITED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
    HTTP/1.1 429 Too Many Requests\r\ncontent-length: 12\r\nRetry-After: 3\r\n\
    Connection: close\r\n\r\n{\"ok\":false}";

fn limited() -> Response<'static> {
    Response {
        status: 429,
        body: b"{\"ok\":false}",
        retry_after: Some(3),
        close: true,
        len: LIMITED.len(),
    }
}

#[test]
fn a_response_may_be_split_anywhere() {
    for at in 0..LIMITED.len() {
        let mut decoder = ResponseDecoder::new(BODY_MAX);
        assert_eq!(decoder.decode(&LIMITED[..at]), Ok(None), "at {at}");
        assert_eq!(decoder.decode(LIMITED), Ok(Some(limited())), "at {at}");
    }
    let mut decoder = ResponseDecoder::new(BODY_MAX);
    for end in 0..LIMITED.len() {
        let moved = LIMITED[..end].to_vec();
        assert_eq!(decoder.decode(&moved), Ok(None));
    }
    assert_eq!(decoder.decode(LIMITED), Ok(Some(limited())));
}

#[test]
fn responses_follow_each_other() {
    let stream = [LIMITED, &with_headers(""), LIMITED].concat();
    for step in [1, 3, stream.len()] {
        let mut decoder = ResponseDecoder::new(BODY_MAX);
        let mut buffer = Buffer::new(1 << 16);
        let mut statuses = Vec::new();
        for piece in stream.chunks(step) {
            buffer.extend(piece).unwrap();
            while let Some(response) = decoder.decode(buffer.as_slice()).unwrap() {
                statuses.push(response.status);
                let len = response.len;
                buffer.consume(len);
            }
        }
        assert_eq!(statuses, [429, 200, 429]);
        assert!(buffer.is_empty());
    }
}

#[test]
fn the_connection() {
    assert!(!response(&with_headers("")).close);
    assert!(response(&with_headers("Connection: x, Close\r\n")).close);
    assert!(response(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").close);
    let kept = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n";
    assert!(!response(kept).close);
}

#[test]
fn retry_after() {
    for (value, seconds) in [("0", Some(0)), ("17", Some(17)), ("-1", None), ("", None)] {
        let bytes = with_headers(&format!("Retry-After: {value}\r\n"));
        assert_eq!(response(&bytes).retry_after, seconds);
    }
    let date = with_headers("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n");
    assert_eq!(response(&date).retry_after, None);
}

#[test]
fn a_body_must_have_a_length() {
    assert_eq!(error(b"HTTP/1.1 200 OK\r\n\r\n"), ResponseError::Length);
    assert_eq!(error(&with_headers("Content-Length: 0\r\n")), ResponseError::Length);
    assert_eq!(error(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), ResponseError::Length);
    let chunked = with_headers("Transfer-Encoding: chunked\r\n");
    assert_eq!(error(&chunked), ResponseError::TransferEncoding);
    for status in [204, 304] {
        let bytes = format!("HTTP/1.1 {status} x\r\n\r\n");
        assert_eq!(response(bytes.as_bytes()).body, b"");
        let bytes = format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(response(bytes.as_bytes()).len, bytes.len());
    }
}

#[test]
fn both_sides_of_the_limit_of_the_body() {
    let body = "x".repeat(BODY_MAX);
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_MAX}\r\n\r\n{body}");
    assert_eq!(response(whole.as_bytes()).body, body.as_bytes());
    for len in [BODY_MAX as u128 + 1, u128::from(u64::MAX) + 1] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
        assert_eq!(error(bytes.as_bytes()), ResponseError::BodyTooLarge);
    }
}

#[test]
fn both_sides_of_the_limits_of_the_head() {
    let empty = with_headers("A: \r\n").len();
    let head = |len: usize| with_headers(&format!("A: {}\r\n", "x".repeat(len - empty)));
    assert_eq!(response(&head(HEAD_BYTES_MAX)).len, HEAD_BYTES_MAX);
    assert_eq!(error(&head(HEAD_BYTES_MAX + 1)), ResponseError::HeadTooLarge);
    // The length is one of them.
    response(&with_headers(&"A: b\r\n".repeat(HEADERS_MAX - 1)));
    let over = with_headers(&"A: b\r\n".repeat(HEADERS_MAX));
    assert_eq!(error(&over), ResponseError::HeadTooLarge);
}

#[test]
fn both_sides_of_the_limit_of_interim_responses() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_RESPONSES_MAX);
    let bytes = [&interim[..], &with_headers("")].concat();
    assert_eq!(response(&bytes).len, bytes.len());
    let bytes = [b"HTTP/1.1 102 x\r\n\r\n", &bytes[..]].concat();
    assert_eq!(error(&bytes), ResponseError::Interim);
    assert_eq!(error(b"HTTP/1.1 101 Upgrade\r\n\r\n"), ResponseError::Interim);
}

#[test]
fn what_is_no_response_is_refused() {
    for bytes in [
        &b"x"[..],
        b"\r\n",
        b"{}",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP\r\n\r\n",
    ] {
        assert_eq!(error(bytes), ResponseError::Syntax, "{}", bytes.escape_ascii());
    }
    let mut decoder = ResponseDecoder::new(BODY_MAX);
    assert_eq!(decoder.decode(b"x"), Err(ResponseError::Syntax));
    assert_eq!(decoder.decode(LIMITED), Err(ResponseError::Syntax));
}

#[test]
fn each_error_says_what_is_wrong() {
    for error in [
        ResponseError::Syntax,
        ResponseError::HeadTooLarge,
        ResponseError::BodyTooLarge,
        ResponseError::Length,
        ResponseError::TransferEncoding,
        ResponseError::Interim,
    ] {
        assert!(error.to_string().len() > 20);
    }
}

const SEND: Request<'static> = Request {
    method: Method::Post,
    path: "/send",
    host: "127.0.0.1:1",
    token: Some("t"),
    body: b"{}",
};

fn encoded(request: Request<'_>) -> String {
    let mut out = Buffer::new(1000);
    request.encode(&mut out).unwrap();
    String::from_utf8(out.as_slice().to_vec()).unwrap()
}

#[test]
fn requests_on_the_wire() {
    assert_eq!(
        encoded(SEND),
        "POST /send HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: Bearer t\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    );
    let health = Request { method: Method::Get, path: "/health", token: None, body: b"", ..SEND };
    assert_eq!(encoded(health), "GET /health HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
    assert!(encoded(Request { body: b"", ..SEND }).contains("\r\nContent-Length: 0\r\n"));
}

#[test]
fn a_request_cannot_be_made_to_say_more_than_one() {
    let mut out = Buffer::new(1000);
    for bad in ["", "a b", "a\r\nb", "a\n", "\u{e9}", "\t", "a\0"] {
        for request in [
            Request { path: bad, ..SEND },
            Request { host: bad, ..SEND },
            Request { token: Some(bad), ..SEND },
        ] {
            assert_eq!(request.encode(&mut out), Err(EncodeError::Field), "{bad:?}");
        }
    }
    assert!(out.is_empty());
}

#[test]
fn a_request_that_does_not_fit_leaves_nothing_behind() {
    let len = encoded(SEND).len();
    let mut out = Buffer::new(len - 1);
    assert_eq!(SEND.encode(&mut out), Err(EncodeError::Full));
    assert!(out.is_empty());
    assert_eq!(SEND.encode(&mut Buffer::new(len)), Ok(()));
}
