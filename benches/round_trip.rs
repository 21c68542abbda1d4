//! The round trip through the real broker: a message is sent over HTTP, stored by SQLite, and pushed to
//! a Unix socket; from the first byte written to the last one read.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "criterion's macros; a benchmark may panic"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A broker on a data directory of its own, ended with the value.
struct Broker {
    child: Child,
    dir: PathBuf,
    port: u16,
    token: String,
}

impl Broker {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("slm-mesh-bench-{}", std::process::id()));
        let child = Command::new(env!("CARGO_BIN_EXE_slm-mesh"))
            .arg("start")
            .env("SLM_MESH_DATA_DIR", &dir)
            .env("SLM_MESH_PORT", "0")
            .env("SLM_MESH_RATE_LIMIT", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut broker = Self { child, dir, port: 0, token: String::new() };
        for _ in 0..2000 {
            let dir = &broker.dir;
            let port =
                fs::read_to_string(dir.join("port")).ok().and_then(|s| s.trim().parse().ok());
            let token = fs::read_to_string(dir.join("broker.token")).ok();
            if let (Some(port), Some(token)) = (port, token)
                && TcpStream::connect(("127.0.0.1", port)).is_ok()
            {
                broker.port = port;
                token.trim().clone_into(&mut broker.token);
                return broker;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        unreachable!("the broker does not start");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

struct Http {
    stream: TcpStream,
    host: String,
    token: String,
    buffer: Vec<u8>,
}

impl Http {
    fn connect(broker: &Broker) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let host = format!("127.0.0.1:{}", broker.port);
        Self { stream, host, token: broker.token.clone(), buffer: vec![0; 64 * 1024] }
    }

    fn request(&self, path: &str, body: &str) -> Vec<u8> {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            self.token,
            body.len()
        )
        .into_bytes()
    }

    /// Sends what [`Http::request`] made and reads the whole answer; gives its body.
    fn call(&mut self, request: &[u8]) -> String {
        self.stream.write_all(request).unwrap();
        let mut have = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[have..]).unwrap();
            assert!(count > 0, "the broker closed the connection");
            have += count;
            let text = String::from_utf8_lossy(&self.buffer[..have]);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.unwrap().parse().unwrap();
            if body.len() >= length {
                assert!(head.contains(" 200 "), "{text}");
                return body.to_owned();
            }
        }
    }
}

fn register(http: &mut Http, socket: Option<&Path>) -> String {
    let uds = socket.map_or(String::new(), |path| format!(r#","udsPath":"{}""#, path.display()));
    let body = format!(r#"{{"pid":{},"projectPath":"/bench"{uds}}}"#, std::process::id());
    let request = http.request("/register", &body);
    let answer = http.call(&request);
    let id = answer.split_once(r#""peerId":""#).unwrap().1;
    id[..36].to_owned()
}

fn round_trip(c: &mut Criterion) {
    let broker = Broker::start();
    let mut http = Http::connect(&broker);
    let path = broker.dir.join("peers/00000000-0000-4000-8000-000000000001.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let to = register(&mut http, Some(&path));
    let from = register(&mut http, None);
    let (push, _) = listener.accept().unwrap();
    let mut push: BufReader<UnixStream> = BufReader::new(push);
    let payload = "x".repeat(256);
    let body = format!(r#"{{"fromPeer":"{from}","toPeer":"{to}","payload":"{payload}"}}"#);
    let send = http.request("/send", &body);
    let mut line = Vec::new();
    // What stands before the first message: news of the peers.
    let mut read_message = || loop {
        line.clear();
        push.read_until(b'\n', &mut line).unwrap();
        if line.starts_with(br#"{"type":"message""#) {
            break;
        }
    };
    let mut group = c.benchmark_group("round trip");
    group.throughput(Throughput::Elements(1));
    group.bench_function("send, store, push and answer", |b| {
        b.iter(|| {
            let answer = http.call(&send);
            read_message();
            answer
        });
    });
    let get = http.request("/state", r#"{"action":"get","key":"none"}"#);
    group.bench_function("read a state entry", |b| b.iter(|| http.call(&get)));
    group.finish();
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
