//! Tests of both sides.

use super::client::{self, ResponseDecoder};
use super::server::{self, Connection, Decoded, Method, RequestDecoder};
use crate::wire::buffer::Buffer;

#[test]
fn a_request_and_its_response_survive_the_wire() {
    let mut wire = Buffer::new(4096);
    let request = client::Request {
        method: client::Method::Post,
        path: "/send",
        host: "127.0.0.1:4242",
        token: Some("abc123"),
        body: b"{\"a\":1}",
    };
    request.encode(&mut wire).unwrap();
    let Ok(Decoded::Request(decoded)) = RequestDecoder::new().decode(wire.as_slice()) else {
        panic!("not decoded");
    };
    assert_eq!(
        decoded,
        server::Request {
            method: Method::Post,
            path: "/send",
            host: Some("127.0.0.1:4242"),
            origin: None,
            token: Some("abc123"),
            body: b"{\"a\":1}",
            connection: Connection::Keep,
            len: wire.len(),
        }
    );

    let mut wire = Buffer::new(4096);
    server::encode_continue(&mut wire).unwrap();
    let response = server::Response {
        status: 429,
        body: b"{\"ok\":false}",
        connection: Connection::Close,
        retry_after: Some(3),
        ..server::Response::default()
    };
    response.encode(&mut wire).unwrap();
    let decoded = ResponseDecoder::new(100).decode(wire.as_slice()).unwrap().unwrap();
    assert_eq!(
        decoded,
        client::Response {
            status: 429,
            body: b"{\"ok\":false}",
            retry_after: Some(3),
            close: true,
            len: wire.len(),
        }
    );
}
