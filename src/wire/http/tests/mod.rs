//! Tests of HTTP: each side by itself, and one against the other.

mod client;
mod server;

use super::client::{self as out, ResponseDecoder};
use super::server::{self as broker, Connection, Decoded, Method, RequestDecoder};
use crate::wire::buffer::Buffer;
use crate::wire::fuzzing;
use crate::wire::testing::Random;

/// Pieces that matter to a parser of HTTP.
const DICTIONARY: [&[u8]; 22] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    b"Content-Length: 1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: x\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"http://h",
    b"?",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\nAuthorization: Bearer x",
];

#[test]
fn random_requests() {
    let seeds: [&[u8]; 5] = [
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
        b"POST /send HTTP/1.1\r\nHost: localhost:1\r\nAuthorization: Bearer abc\r\n\
          Content-Length: 5\r\n\r\n{\"a\"}",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.0\r\n\r\n",
        b"\r\nOPTIONS * HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT http://h:1/p?q HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    ];
    let mut random = Random::new(2);
    for _ in 0..20_000 {
        fuzzing::http_request(&random.mutant(&seeds, &DICTIONARY));
        let len = random.below(40);
        fuzzing::http_request(&random.bytes(len));
    }
}

#[test]
fn random_responses() {
    let seeds: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\n\
          Content-Length: 4\r\nConnection: close\r\n\r\nnull",
        b"HTTP/1.0 204 \r\n\r\nHTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    ];
    let mut random = Random::new(3);
    for _ in 0..20_000 {
        fuzzing::http_response(&random.mutant(&seeds, &DICTIONARY));
        let len = random.below(40);
        fuzzing::http_response(&random.bytes(len));
    }
}

#[test]
fn a_request_survives_the_wire() {
    for (method, decoded_method) in
        [(out::Method::Get, Method::Get), (out::Method::Post, Method::Post)]
    {
        for token in [None, Some("abc123")] {
            for body in [&b""[..], b"{\"a\":1}"] {
                let (path, host) = ("/send", "127.0.0.1:4242");
                let mut wire = Buffer::new(4096);
                out::Request { method, path, host, token, body }.encode(&mut wire).unwrap();
                assert_eq!(
                    RequestDecoder::new().decode(wire.as_slice()),
                    Ok(Decoded::Request(broker::Request {
                        method: decoded_method,
                        path,
                        host: Some(host),
                        origin: None,
                        token,
                        body,
                        connection: Connection::Keep,
                        len: wire.len(),
                    }))
                );
            }
        }
    }
}

#[test]
fn a_response_survives_the_wire() {
    for status in [200, 400, 401, 403, 404, 405, 408, 409, 411, 413, 429, 431, 500, 503, 599] {
        for connection in [Connection::Keep, Connection::KeepAlive, Connection::Close] {
            for retry_after in [None, Some(0), Some(u64::MAX)] {
                for body in [&b""[..], b"{\"ok\":true}"] {
                    let mut wire = Buffer::new(4096);
                    broker::encode_continue(&mut wire).unwrap();
                    let response = broker::Response {
                        status,
                        page: None,
                        body,
                        connection,
                        allow: (status == 405).then_some("GET, POST"),
                        retry_after,
                        without_body: false,
                    };
                    response.encode(&mut wire).unwrap();
                    let close = connection == Connection::Close;
                    let len = wire.len();
                    assert_eq!(
                        ResponseDecoder::new(100).decode(wire.as_slice()),
                        Ok(Some(out::Response { status, body, retry_after, close, len }))
                    );
                }
            }
        }
    }
}

/// Both ends of a connection over buffers that grow, move and shrink.
#[test]
fn a_kept_connection_carries_many_exchanges() {
    let (mut requests, mut responses) = (Buffer::new(1 << 16), Buffer::new(1 << 16));
    let (mut server, mut client) = (RequestDecoder::new(), ResponseDecoder::new(1 << 16));
    let mut random = Random::new(4);
    let mut sent = 0;
    let mut answered = 0;
    while answered < 2000 {
        let length = random.below(3000);
        let body = random.bytes(length);
        let request = out::Request {
            method: out::Method::Post,
            path: "/x",
            host: "h",
            token: None,
            body: &body,
        };
        sent += usize::from(request.encode(&mut requests).is_ok());
        for _ in 0..random.below(4) {
            let Ok(Decoded::Request(request)) = server.decode(requests.as_slice()) else { break };
            let response =
                broker::Response { status: 200, body: request.body, ..Default::default() };
            if response.encode(&mut responses).is_err() {
                // The decoder has let go of the request; it finds it again.
                break;
            }
            let len = request.len;
            requests.consume(len);
        }
        while let Some(response) = client.decode(responses.as_slice()).unwrap() {
            assert_eq!((response.status, response.close), (200, false));
            let len = response.len;
            responses.consume(len);
            answered += 1;
        }
        assert!(answered <= sent);
    }
}
