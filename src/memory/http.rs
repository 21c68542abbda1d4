//! One request to a server on this machine, on a connection of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::limits::MEMORY_ANSWER_BYTES_MAX;
use crate::wire::http::client::ResponseDecoder;

/// How long a connection may take: it is on this machine.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// A request to a server on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopbackRequest<'a> {
    /// The port on the loopback address.
    pub(super) port: u16,
    /// The path, with its query.
    pub(super) path: &'a str,
    /// Headers in addition to those of every request.
    pub(super) headers: &'a [(&'static str, &'a str)],
    /// A JSON document to post; without one the request is a GET.
    pub(super) body: Option<&'a [u8]>,
    /// How long the whole exchange may take.
    pub(super) time_max: Duration,
}

/// What the server has answered.
#[derive(Clone, Debug)]
pub(super) struct LoopbackResponse {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) retry_after: Option<Duration>,
}

impl LoopbackRequest<'_> {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Nobody listens, nobody answers in time, or what comes is no answer.
    pub(super) fn send(&self) -> io::Result<LoopbackResponse> {
        let until = Instant::now() + self.time_max;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIME_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(self.time_max))?;
        stream.write_all(&self.head()?)?;
        stream.write_all(self.body.unwrap_or_default())?;
        let mut decoder = ResponseDecoder::new(MEMORY_ANSWER_BYTES_MAX);
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // A timeout of zero is none.
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let count = match stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if left.is_zero() => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if let Some(answer) = decoder.decode(&bytes).map_err(io::Error::other)? {
                return Ok(LoopbackResponse {
                    status: answer.status,
                    body: answer.body.to_vec(),
                    retry_after: answer.retry_after.map(Duration::from_secs),
                });
            }
        }
    }

    fn head(&self) -> io::Result<Vec<u8>> {
        use std::fmt::Write as _;

        let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !visible(self.path) || !self.headers.iter().all(|(_, value)| visible(value)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n",
            self.path, self.port
        );
        // Writing to a string cannot fail.
        for (name, value) in self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(body) = self.body {
            let _ = write!(
                head,
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        head.push_str("\r\n");
        Ok(head.into_bytes())
    }
}

/// A text as the value of a query (RFC 3986 section 2.1).
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_one_value() {
        assert_eq!(encode("a b&c=ü\r\n"), "a%20b%26c%3D%C3%BC%0D%0A");
    }

    #[test]
    fn a_header_cannot_end_its_line() {
        let accepts = |value: &'static str| {
            let headers = [("X-A", value)];
            let time_max = Duration::from_secs(1);
            LoopbackRequest { port: 1, path: "/p", headers: &headers, body: None, time_max }
                .head()
                .is_ok()
        };
        assert!(accepts("abc") && !accepts("a\r\nX-B: c") && !accepts(""));
    }
}
