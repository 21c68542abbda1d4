//! The codecs alone: what a request costs before and after the mesh sees it.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark may panic")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use slm_mesh::api::{Endpoint, Reply, Request, Sent};
use slm_mesh::model::{MessageId, Seq};
use slm_mesh::wire::buffer::Buffer;
use slm_mesh::wire::http::server::{RequestDecoder, Response};

fn codec(c: &mut Criterion) {
    let body = format!(
        r#"{{"fromPeer":"00000000-0000-4000-8000-000000000001","toPeer":"00000000-0000-4000-8000-000000000002","type":"text","payload":"{}"}}"#,
        "x".repeat(256)
    );
    let request = format!(
        "POST /send HTTP/1.1\r\nHost: 127.0.0.1:7899\r\nAuthorization: Bearer {}\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{body}",
        "a".repeat(64),
        body.len()
    );
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode a request's head", |b| {
        b.iter(|| RequestDecoder::new().decode(black_box(request.as_bytes())).is_ok());
    });
    group.bench_function("decode the body of /send, 256 bytes", |b| {
        b.iter(|| Request::decode(Endpoint::Send, black_box(body.as_bytes())).unwrap());
    });
    let sent = Sent::Direct {
        message_id: MessageId::new(Seq(5), [7; 16]),
        queued: false,
        delivered: true,
        pushed: true,
        damped: None,
    };
    let reply = Reply::Sent(sent);
    let mut text = Vec::new();
    let mut out = Buffer::new(1 << 20);
    group.bench_function("encode the answer of /send", |b| {
        b.iter(|| {
            text.clear();
            out.clear();
            black_box(&reply).write_to(&mut text);
            Response { status: 200, body: &text, ..Response::default() }.encode(&mut out).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
