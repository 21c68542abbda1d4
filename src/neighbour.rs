//! Who serves at an address, and whether the data directory is in use by the other program of this
//! name: the slm-mesh of npm, which runs on Node.js and has its files in the same places.

use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::files::small_number;
use crate::limits::HEAD_BYTES_MAX;
use crate::platform::{self, Address, poll_readable};
use crate::wire::buffer::Buffer;
use crate::wire::http::client::{Method, Request, ResponseDecoder};

/// How long a neighbour may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest answer that is looked at, bytes.
const BODY_BYTES_MAX: usize = 4096;

/// Who serves at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Nobody that answers as a broker does.
    None,
    /// A broker of this kind, with the id of its data directory.
    Mesh(Box<str>),
    /// The broker of npm's slm-mesh, or one like it: it answers `/health`, and has no such id.
    Foreign,
}

/// The broker of npm's slm-mesh, which serves our data directory. As text, the whole sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its process.
    pub pid: u32,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, port } = self;
        write!(
            f,
            "the slm-mesh of npm, another program, is running here (pid {pid}, port {port}): run \
             `slm-mesh setup`, so that your agents start this one, and end that one with `kill \
             {pid}`, or set SLM_MESH_DATA_DIR to a directory of its own"
        )
    }
}

impl Foreign {
    /// Looks whether it serves the data directory of `config`. It takes no lock of ours, but writes
    /// its process id and its port to the same files. May take as long as an answer.
    #[must_use]
    pub fn find(config: &Config) -> Option<Self> {
        let paths = &config.paths;
        let pid = small_number(&paths.pid())?;
        if pid == std::process::id() || !platform::is_alive(pid) {
            return None;
        }
        let port = small_number(&paths.port()).unwrap_or(config.port);
        match ask(&Address::Tcp(SocketAddr::new(config.host, port))) {
            Neighbour::Foreign => Some(Self { pid, port }),
            // Ours, of another directory: the process id was given away, or the files were copied.
            Neighbour::Mesh(_) | Neighbour::None => None,
        }
    }
}

/// Asks who serves there.
#[must_use]
pub fn ask(address: &Address) -> Neighbour {
    let Some(body) = health(address) else { return Neighbour::None };
    let Ok(health) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return Neighbour::None;
    };
    match (health.get("status"), health.get("mesh").and_then(serde_json::Value::as_str)) {
        (Some(_), Some(id)) => Neighbour::Mesh(id.into()),
        (Some(_), None) => Neighbour::Foreign,
        (None, _) => Neighbour::None,
    }
}

/// The body of its answer to `GET /health`, if that is a yes.
fn health(address: &Address) -> Option<Vec<u8>> {
    let until = Instant::now() + ANSWER_TIME_MAX;
    let mut stream = address.connect_until(until).ok()?;
    let mut buffer = Buffer::new(HEAD_BYTES_MAX + BODY_BYTES_MAX);
    let host = match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let request =
        Request { method: Method::Get, path: "/health", host: &host, token: None, body: b"" };
    request.encode(&mut buffer).ok()?;
    // Nothing was written before it, so there is room for it.
    stream.write_all(buffer.as_slice()).ok()?;
    buffer.clear();
    let mut decoder = ResponseDecoder::new(BODY_BYTES_MAX);
    let mut chunk = [0; 1024];
    loop {
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        if !poll_readable(&stream, Some(left)).ok()? {
            continue;
        }
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        buffer.extend(chunk.get(..read)?).ok()?;
        if let Some(response) = decoder.decode(buffer.as_slice()).ok()? {
            return (response.status == 200).then(|| response.body.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answered(answer: &'static [u8]) -> Neighbour {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]);
                for byte in answer {
                    let _ = stream.write_all(&[*byte]);
                }
            });
            ask(&Address::Tcp(address))
        })
    }

    #[test]
    fn brokers_are_told_apart_by_their_answer() {
        let ours =
            b"HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{\"status\":\"ok\",\"mesh\":\"abc\"}";
        assert_eq!(answered(ours), Neighbour::Mesh("abc".into()));
        let other = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}";
        assert_eq!(answered(other), Neighbour::Foreign);
        for nobody in [
            &b"HTTP/1.1 404 Not Found\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
            b"220 mail.example\r\n",
            b"",
        ] {
            assert_eq!(answered(nobody), Neighbour::None);
        }
    }

    #[test]
    fn nobody_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let start = Instant::now();
        assert_eq!(ask(&Address::Tcp(address)), Neighbour::None, "it does not answer");
        assert!(start.elapsed() >= ANSWER_TIME_MAX);
        drop(listener);
        assert_eq!(ask(&Address::Tcp(address)), Neighbour::None);
    }
}
