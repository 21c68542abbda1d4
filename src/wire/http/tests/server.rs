//! Tests of the broker's side.

use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_BYTES_MAX};
use crate::wire::buffer::{Buffer, Full};
use crate::wire::http::server::{
    Connection, Decoded, Method, Request, RequestDecoder, RequestError, Response, encode_continue,
};

/// Decodes one request that is complete.
fn request(bytes: &[u8]) -> Request<'_> {
    match RequestDecoder::new().decode(bytes) {
        Ok(Decoded::Request(request)) => request,
        other => panic!("{other:?} from {}", bytes.escape_ascii()),
    }
}

/// The error that `bytes` are answered with.
fn error(bytes: &[u8]) -> RequestError {
    match RequestDecoder::new().decode(bytes) {
        Err(error) => error,
        other => panic!("{other:?} from {}", bytes.escape_ascii()),
    }
}

/// A `GET /` of HTTP/1.1 with these header lines besides `Host`.
fn with_headers(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes()
}

fn with_target(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

const SEND: &[u8] = b"POST /send HTTP/1.1\r\nHost: 127.0.0.1:7899\r\norigin:http://x\r\n\
    AUTHORIZATION: bearer  t0ken \r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n\
    {\"a\":\"b\"}";

fn sent() -> Request<'static> {
    Request {
        method: Method::Post,
        path: "/send",
        host: Some("127.0.0.1:7899"),
        origin: Some("http://x"),
        token: Some("t0ken"),
        body: b"{\"a\":\"b\"}",
        connection: Connection::Keep,
        len: SEND.len(),
    }
}

#[test]
fn a_request_is_read() {
    assert_eq!(request(SEND), sent());
}

#[test]
fn a_request_may_be_split_anywhere() {
    for at in 0..SEND.len() {
        let mut decoder = RequestDecoder::new();
        assert_eq!(decoder.decode(&SEND[..at]), Ok(Decoded::Incomplete), "at {at}");
        assert_eq!(decoder.in_request(), at > 0);
        assert_eq!(decoder.decode(SEND), Ok(Decoded::Request(sent())), "at {at}");
        assert!(!decoder.in_request());
    }
}

#[test]
fn a_request_may_come_byte_by_byte_in_memory_that_moves() {
    let mut decoder = RequestDecoder::new();
    for end in 0..SEND.len() {
        let moved = [&b"elsewhere"[end % 9..], &SEND[..end]].concat();
        assert_eq!(decoder.decode(&moved[9 - end % 9..]), Ok(Decoded::Incomplete));
    }
    assert_eq!(decoder.decode(SEND), Ok(Decoded::Request(sent())));
}

#[test]
fn requests_may_be_pipelined() {
    let stream = [SEND, b"\r\n", SEND, &with_target("/status"), SEND].concat();
    for step in [1, 2, 100, stream.len()] {
        let mut decoder = RequestDecoder::new();
        let mut buffer = Buffer::new(REQUEST_BYTES_MAX);
        let mut paths = Vec::new();
        for piece in stream.chunks(step) {
            buffer.extend(piece).unwrap();
            while let Decoded::Request(request) = decoder.decode(buffer.as_slice()).unwrap() {
                paths.push(request.path.to_owned());
                let len = request.len;
                buffer.consume(len);
            }
        }
        assert_eq!(paths, ["/send", "/send", "/status", "/send"]);
        assert!(buffer.is_empty());
    }
}

#[test]
fn methods() {
    for (name, method) in [
        ("GET", Method::Get),
        ("POST", Method::Post),
        ("HEAD", Method::Head),
        ("OPTIONS", Method::Other("OPTIONS")),
        ("get", Method::Other("get")),
        ("M-SEARCH", Method::Other("M-SEARCH")),
    ] {
        let bytes = format!("{name} / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(request(bytes.as_bytes()).method, method);
    }
}

#[test]
fn targets() {
    for (target, path, host) in [
        ("/", "/", "h"),
        ("/a/b", "/a/b", "h"),
        ("/a?b=/c?d", "/a", "h"),
        ("/a%20b/../c", "/a%20b/../c", "h"),
        ("*", "*", "h"),
        ("http://other:80", "/", "other:80"),
        ("http://other/", "/", "other"),
        ("HTTP://other/a?b", "/a", "other"),
        ("http://other?b", "/", "other"),
        ("http://[::1]:80/a", "/a", "[::1]:80"),
    ] {
        let bytes = with_target(target);
        let request = request(&bytes);
        assert_eq!((request.path, request.host), (path, Some(host)), "{target}");
    }
    let connect = request(b"CONNECT a:1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((connect.method, connect.path), (Method::Other("CONNECT"), "a:1"));
    for target in [
        "a",
        "a:1",
        "https://h/",
        "http://",
        "http:///a",
        "http://u@h/",
        "ftp://h/",
        "/a#b",
        "/\u{e9}",
    ] {
        assert_eq!(error(&with_target(target)), RequestError::Target, "{target}");
    }
}

#[test]
fn versions_and_what_becomes_of_the_connection() {
    for (minor, line, connection) in [
        (1, "", Connection::Keep),
        (1, "Connection: keep-alive\r\n", Connection::Keep),
        (1, "Connection: close\r\n", Connection::Close),
        (1, "connection: TE, CLOSE\r\n", Connection::Close),
        (1, "Connection: keep-alive\r\nConnection: close\r\n", Connection::Close),
        (1, "Connection: closed\r\n", Connection::Keep),
        (0, "", Connection::Close),
        (0, "Connection: keep-alive\r\n", Connection::KeepAlive),
        (0, "Connection: ,, Keep-Alive ,\r\n", Connection::KeepAlive),
        (0, "Connection: close, keep-alive\r\n", Connection::Close),
    ] {
        let bytes = format!("GET / HTTP/1.{minor}\r\nHost: h\r\n{line}\r\n");
        assert_eq!(request(bytes.as_bytes()).connection, connection, "{bytes}");
    }
    for version in
        ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "http/1.1", "HTTP/1.1x", " HTTP/1.1", "x HTTP/1.1"]
    {
        let bytes = format!("GET / {version}\r\nHost: h\r\n\r\n");
        let error = error(bytes.as_bytes());
        assert!(matches!(error, RequestError::Version | RequestError::Syntax), "{version}");
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn exactly_one_host() {
    assert_eq!(error(b"GET / HTTP/1.1\r\n\r\n"), RequestError::Host);
    assert_eq!(error(&with_headers("host: h\r\n")), RequestError::Host);
    assert_eq!(error(b"GET http://h/ HTTP/1.1\r\n\r\n"), RequestError::Host);
    assert_eq!(error(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"), RequestError::Host);
    assert_eq!(request(b"GET / HTTP/1.1\r\nHost:\r\n\r\n").host, Some(""));
    assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n").host, None);
}

#[test]
fn bearer_tokens() {
    for (value, token) in [
        ("Bearer abc", Some("abc")),
        ("BEARER abc", Some("abc")),
        ("Bearer   abc  ", Some("abc")),
        ("Bearer a b", Some("a b")),
        ("Bearer", None),
        ("Bearerabc", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
    ] {
        let bytes = with_headers(&format!("Authorization: {value}\r\n"));
        assert_eq!(request(&bytes).token, token, "{value}");
    }
    assert_eq!(request(&with_headers("")).token, None);
}

#[test]
fn origin_and_authorization_are_there_once_and_text() {
    for name in ["Origin", "Authorization"] {
        let twice = format!("{name}: a\r\n{name}: a\r\n");
        assert_eq!(error(&with_headers(&twice)), RequestError::Header);
        let not_text = format!("{name}: \u{e9}\r\n");
        assert_eq!(error(&with_headers(&not_text)), RequestError::Header);
    }
}

#[test]
fn content_length() {
    for (value, len) in [("0", 0), ("000", 0), ("3", 3), (" 003\t", 3)] {
        let bytes = [&with_headers(&format!("Content-Length:{value}\r\n"))[..], b"abcdef"].concat();
        assert_eq!(request(&bytes).body, &b"abc"[..len], "{value}");
    }
    for value in ["", " ", "-1", "+1", "1,1", "1, 1", "0x1", "1 1", "1.0", "a", "\u{661}"] {
        let bytes = with_headers(&format!("Content-Length: {value}\r\n"));
        assert_eq!(error(&bytes), RequestError::ContentLength, "{value}");
    }
    for second in ["1", "2"] {
        let bytes = with_headers(&format!("Content-Length: 1\r\ncontent-length: {second}\r\n"));
        assert_eq!(error(&bytes), RequestError::ContentLength);
    }
    // Without a length there is no body, with POST too.
    assert_eq!(request(b"POST / HTTP/1.1\r\nHost: h\r\n\r\nabc").body, b"");
}

#[test]
fn a_transfer_encoding_is_refused_whatever_else_there_is() {
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ] {
        assert_eq!(error(&with_headers(lines)), RequestError::LengthRequired, "{lines}");
    }
}

#[test]
fn the_client_is_told_to_go_on_once() {
    let head = with_headers("Expect: 100-Continue\r\nContent-Length: 3\r\n");
    let whole = [&head[..], b"abc"].concat();
    let mut decoder = RequestDecoder::new();
    for end in 0..head.len() {
        assert_eq!(decoder.decode(&whole[..end]), Ok(Decoded::Incomplete));
    }
    assert_eq!(decoder.decode(&head), Ok(Decoded::Continue));
    assert_eq!(decoder.decode(&head), Ok(Decoded::Incomplete));
    assert_eq!(decoder.decode(&whole[..=head.len()]), Ok(Decoded::Incomplete));
    assert!(matches!(decoder.decode(&whole), Ok(Decoded::Request(_))));
    // For the next request anew.
    assert_eq!(decoder.decode(&head), Ok(Decoded::Continue));
}

#[test]
fn a_client_that_waits_for_nothing_is_not_told_to_go_on() {
    let head = with_headers("Expect: 100-continue\r\nContent-Length: 3\r\n");
    let begun = [&head[..], b"a"].concat();
    assert_eq!(RequestDecoder::new().decode(&begun), Ok(Decoded::Incomplete));
    request(&with_headers("Expect: 100-continue\r\n"));
    let old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(RequestDecoder::new().decode(old), Ok(Decoded::Incomplete));
    let too_large = with_headers("Expect: 100-continue\r\nContent-Length: 9999999\r\n");
    assert_eq!(error(&too_large), RequestError::TooLarge);
}

#[test]
fn other_expectations_are_refused() {
    for value in ["", "200-ok", "100-continue, x", "100-continue=1"] {
        let bytes = with_headers(&format!("Expect: {value}\r\n"));
        assert_eq!(error(&bytes), RequestError::Expectation, "{value}");
    }
    request(b"GET / HTTP/1.0\r\nExpect: x\r\n\r\n");
}

/// A head of `len` bytes.
fn head_of(len: usize) -> Vec<u8> {
    let empty = with_headers("A: \r\n").len();
    with_headers(&format!("A: {}\r\n", "x".repeat(len - empty)))
}

#[test]
fn both_sides_of_the_limit_of_the_head() {
    assert_eq!(request(&head_of(HEAD_BYTES_MAX)).len, HEAD_BYTES_MAX);
    let over = head_of(HEAD_BYTES_MAX + 1);
    assert_eq!(error(&over), RequestError::HeadersTooLarge);
    // Without an end it is refused as soon as it cannot fit any more.
    let mut decoder = RequestDecoder::new();
    for end in 0..HEAD_BYTES_MAX {
        assert_eq!(decoder.decode(&over[..end]), Ok(Decoded::Incomplete));
    }
    assert_eq!(decoder.decode(&over[..HEAD_BYTES_MAX]), Err(RequestError::HeadersTooLarge));
    // Empty lines before it do not count.
    let after_blank = [b"\r\n\r\n", &head_of(HEAD_BYTES_MAX)[..]].concat();
    assert_eq!(request(&after_blank).len, HEAD_BYTES_MAX + 4);
}

#[test]
fn both_sides_of_the_limit_of_headers() {
    // `Host` is one of them.
    request(&with_headers(&"A: b\r\n".repeat(HEADERS_MAX - 1)));
    let over = with_headers(&"A: b\r\n".repeat(HEADERS_MAX));
    assert_eq!(error(&over), RequestError::HeadersTooLarge);
}

/// Byte by byte, which would not end if each byte cost a look at all before it.
#[test]
fn both_sides_of_the_limit_of_the_body() {
    let head = with_headers(&format!("Content-Length: {BODY_BYTES_MAX}\r\n"));
    let whole = [head.clone(), vec![b'x'; BODY_BYTES_MAX]].concat();
    let mut decoder = RequestDecoder::new();
    for end in 0..whole.len() {
        assert_eq!(decoder.decode(&whole[..end]), Ok(Decoded::Incomplete));
    }
    let Ok(Decoded::Request(request)) = decoder.decode(&whole) else { panic!("not decoded") };
    assert_eq!((request.body.len(), request.len), (BODY_BYTES_MAX, whole.len()));

    for len in [BODY_BYTES_MAX as u128 + 1, u64::MAX.into(), u128::from(u64::MAX) + 1, u128::MAX] {
        let bytes = with_headers(&format!("Content-Length: {len}\r\n"));
        assert_eq!(error(&bytes), RequestError::TooLarge, "{len}");
    }
}

#[test]
fn a_complete_request_fits_the_buffer_of_a_connection() {
    let head = head_of(HEAD_BYTES_MAX - 25);
    let head = [&head[..head.len() - 2], b"Content-Length: 1048576\r\n\r\n"].concat();
    assert_eq!(head.len(), HEAD_BYTES_MAX);
    let mut buffer = Buffer::new(REQUEST_BYTES_MAX);
    buffer.extend_all(&[b"\r\n\r\n", &head, &vec![b'x'; BODY_BYTES_MAX]]).unwrap();
    assert_eq!(buffer.room(), 0);
    assert_eq!(request(buffer.as_slice()).len, REQUEST_BYTES_MAX);
}

#[test]
fn empty_lines_before_a_request() {
    let get = with_headers("");
    for blank in ["\r\n", "\r\n\r\n"] {
        let bytes = [blank.as_bytes(), &get].concat();
        assert_eq!(request(&bytes).len, bytes.len());
        let mut decoder = RequestDecoder::new();
        for end in 0..bytes.len() {
            assert_eq!(decoder.decode(&bytes[..end]), Ok(Decoded::Incomplete));
            assert_eq!(decoder.in_request(), end > blank.len());
        }
    }
    for blank in ["\r\n\r\n\r\n", "\n", "\rG", "\r\r", " ", "\0"] {
        let bytes = [blank.as_bytes(), &get].concat();
        assert_eq!(error(&bytes), RequestError::Syntax, "{blank:?}");
    }
}

#[test]
fn lines_end_in_crlf() {
    for bytes in [
        &b"GET / HTTP/1.1\nHost: h\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\n",
    ] {
        assert_eq!(error(bytes), RequestError::LineEnding, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_request_is_refused() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET / HTTP/1.1\r\n: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nH\xc3\xb6st: h\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\r\nHost: h\r\n\r\n",
        b"GET\r\n\r\n",
        b"G\xc3ET / HTTP/1.1\r\nHost: h\r\n\r\n",
        // TLS, which would never get to the end of a head.
        b"\x16\x03\x01",
        b"{\"jsonrpc\"",
    ] {
        assert_eq!(error(bytes), RequestError::Syntax, "{}", bytes.escape_ascii());
    }
}

#[test]
fn each_error_stays_has_a_status_and_says_what_is_wrong() {
    let all = [
        (RequestError::Syntax, 400),
        (RequestError::LineEnding, 400),
        (RequestError::Version, 400),
        (RequestError::Target, 400),
        (RequestError::Host, 400),
        (RequestError::ContentLength, 400),
        (RequestError::Expectation, 400),
        (RequestError::Header, 400),
        (RequestError::LengthRequired, 411),
        (RequestError::TooLarge, 413),
        (RequestError::HeadersTooLarge, 431),
    ];
    for (error, status) in all {
        assert_eq!(error.status(), status);
        assert!(error.to_string().len() > 20);
    }
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.decode(b"\0"), Err(RequestError::Syntax));
    assert_eq!(decoder.decode(SEND), Err(RequestError::Syntax));
}

/// A caller that shows other bytes in the midst of a request gets nonsense, but no panic.
#[test]
fn other_bytes_than_before_do_no_harm() {
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.decode(&SEND[..SEND.len() - 1]), Ok(Decoded::Incomplete));
    assert_eq!(decoder.decode(b""), Ok(Decoded::Incomplete));
    let Ok(Decoded::Request(request)) = decoder.decode(&[0xff; 1000]) else { panic!("waits") };
    assert_eq!((request.path, request.len), ("", SEND.len()));
}

fn encoded(response: Response<'_>) -> String {
    let mut out = Buffer::new(1000);
    response.encode(&mut out).unwrap();
    String::from_utf8(out.as_slice().to_vec()).unwrap()
}

#[test]
fn responses_on_the_wire() {
    let ok = Response { status: 200, body: b"{}", ..Response::default() };
    assert_eq!(
        encoded(ok),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\n\r\n{}"
    );
    let kept = Response { connection: Connection::KeepAlive, ..ok };
    assert!(encoded(kept).contains("\r\nConnection: keep-alive\r\n"));
    let not_allowed = Response {
        status: 405,
        allow: Some("POST"),
        without_body: true,
        connection: Connection::Close,
        ..ok
    };
    assert_eq!(
        encoded(not_allowed),
        "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\n\
         Connection: close\r\nAllow: POST\r\n\r\n"
    );
    let page = Response { page: Some("default-src 'none'"), ..ok };
    let page = encoded(page);
    assert!(page.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"), "{page}");
    assert!(page.contains("\r\nContent-Security-Policy: default-src 'none'\r\n"), "{page}");
    let limited = Response { status: 429, retry_after: Some(12), ..ok };
    assert!(encoded(limited).contains("\r\nRetry-After: 12\r\n"));
    let unauthorized = Response { status: 401, ..ok };
    assert!(encoded(unauthorized).contains("\r\nWWW-Authenticate: Bearer\r\n"));
}

#[test]
fn a_response_that_does_not_fit_leaves_nothing_behind() {
    let response = Response { status: 200, body: b"{}", ..Response::default() };
    let len = encoded(response).len();
    let mut out = Buffer::new(len);
    response.encode(&mut out).unwrap();
    assert_eq!(response.encode(&mut out), Err(Full));
    assert_eq!(out.len(), len);
    let mut out = Buffer::new(len - 1);
    assert_eq!(response.encode(&mut out), Err(Full));
    assert!(out.is_empty());
    assert_eq!(encode_continue(&mut Buffer::new(24)), Err(Full));
    assert_eq!(encode_continue(&mut Buffer::new(25)), Ok(()));
}
