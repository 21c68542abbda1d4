//! One kept-alive connection to the broker, without its socket: requests in, bytes out; bytes in,
//! answers out.
//!
//! Whoever owns the stream connects it to an address of the [`Broker`] and then, for each request:
//! [`Connection::send`]; while [`Connection::wants_write`], hand the stream to
//! [`Connection::write_to`] when it is writable; hand it to [`Connection::read_from`] when it is
//! readable, and then call [`Connection::poll_answer`]. One request at a time: a held one would keep
//! those behind it waiting.
//!
//! The connection itself first asks for `/health`: a server that does not answer as the broker of
//! this data directory gets neither a request nor a token.

use std::io::{self, Read, Write};

use super::error::{ClientError, Refused};
use super::locate::Broker;
use crate::api::{Endpoint, Health, Request};
use crate::limits::{BODY_BYTES_MAX, CLIENT_REPLY_BYTES_MAX, HEAD_BYTES_MAX};
use crate::wire::buffer::Buffer;
use crate::wire::http::client::{EncodeError, Method, Request as HttpRequest, ResponseDecoder};

/// Most bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// What the broker answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerAnswer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body, JSON.
    pub(crate) body: Vec<u8>,
    /// `Retry-After`, seconds.
    pub(crate) retry_after: Option<u64>,
}

impl BrokerAnswer {
    /// The body of a success, or the refusal.
    ///
    /// # Errors
    /// [`ClientError::Refused`], or [`ClientError::Protocol`] if it is neither success nor refusal.
    pub(crate) fn into_result(self) -> Result<Vec<u8>, ClientError> {
        if self.status == 200 {
            return Ok(self.body);
        }
        match Refused::read(self.status, self.retry_after, self.body) {
            Some(refused) => Err(ClientError::Refused(Box::new(refused))),
            None => Err(ClientError::Protocol {
                reason: format!("status {} without a refusal", self.status).into(),
            }),
        }
    }
}

/// Where a connection stands.
#[derive(Debug)]
enum Phase {
    /// Nothing has been sent yet.
    New,
    /// Its own `/health` is on its way; the request waits here.
    Greeting(Buffer),
    /// A request is on its way.
    Asking,
    /// Ready for the next request.
    Idle,
    /// No longer usable.
    Over,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) broker: Broker,
    host: Box<str>,
    out: Buffer,
    input: Buffer,
    decoder: ResponseDecoder,
    phase: Phase,
    /// The request under way is `/health`.
    asks_health: bool,
    /// A byte of the request has gone out.
    begun: bool,
}

impl Connection {
    /// A connection to `broker`, not used yet.
    pub(crate) fn new(broker: &Broker) -> Self {
        Self {
            host: broker.address.to_string().into(),
            broker: broker.clone(),
            out: out_buffer(),
            input: Buffer::new(CLIENT_REPLY_BYTES_MAX + HEAD_BYTES_MAX),
            decoder: ResponseDecoder::new(CLIENT_REPLY_BYTES_MAX),
            phase: Phase::New,
            asks_health: false,
            begun: false,
        }
    }

    /// Whether this is a connection to `broker`, under the same token.
    pub(crate) fn leads_to(&self, broker: &Broker) -> bool {
        self.broker.address == broker.address && self.broker.token == broker.token
    }

    /// Queues `request`, with `token` instead of the broker's own token if one is given.
    ///
    /// # Errors
    /// [`ClientError::TooLarge`]; [`ClientError::Protocol`] if a token has characters that no token
    /// has, or if the connection is not ready for a request: see [`Connection::is_ready`].
    pub(crate) fn send(
        &mut self,
        request: &Request,
        token: Option<&str>,
    ) -> Result<(), ClientError> {
        let is_health = matches!(request, Request::Health);
        let mut queued = out_buffer();
        let token = if is_health { None } else { Some(token.unwrap_or(&self.broker.token)) };
        encode(request, &self.host, token, &mut queued)?;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::New if is_health => {
                self.out = queued;
                Phase::Asking
            }
            Phase::New => {
                encode(&Request::Health, &self.host, None, &mut self.out)?;
                Phase::Greeting(queued)
            }
            Phase::Idle => {
                self.out = queued;
                Phase::Asking
            }
            Phase::Greeting(_) | Phase::Asking | Phase::Over => {
                return Err(protocol("the connection was not ready for a request"));
            }
        };
        self.asks_health = is_health;
        self.begun = false;
        Ok(())
    }

    /// Whether a request can be sent.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Idle)
    }

    /// Whether bytes wait to be written.
    pub(crate) fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Writes once; gives the number of bytes taken.
    ///
    /// # Errors
    /// Those of the writer, including `WouldBlock`.
    pub(crate) fn write_to(&mut self, writer: &mut impl Write) -> io::Result<usize> {
        let written = self.out.write_to(writer)?;
        if written > 0 && matches!(self.phase, Phase::Asking) {
            self.begun = true;
        }
        Ok(written)
    }

    /// Reads once; 0 is the end of the stream.
    ///
    /// # Errors
    /// Those of the reader, including `WouldBlock`.
    pub(crate) fn read_from(&mut self, reader: &mut impl Read) -> io::Result<usize> {
        self.input.read_from(reader, READ_BYTES)
    }

    /// Whether the broker may have carried out the request that has no answer yet: some of it has
    /// gone out.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.begun
    }

    /// The answer, if it is complete. Look at [`Connection::wants_write`] again when it is not.
    ///
    /// # Errors
    /// [`ClientError::Protocol`], [`ClientError::NotOurs`]; the connection can no longer be used.
    pub(crate) fn poll_answer(&mut self) -> Result<Option<BrokerAnswer>, ClientError> {
        let result = self.take_answer();
        if result.is_err() {
            self.phase = Phase::Over;
        }
        result
    }

    fn take_answer(&mut self) -> Result<Option<BrokerAnswer>, ClientError> {
        loop {
            let response = self.decoder.decode(self.input.as_slice());
            let Some(response) = response.map_err(|error| protocol(&error.to_string()))? else {
                return Ok(None);
            };
            let answer = BrokerAnswer {
                status: response.status,
                body: response.body.to_vec(),
                retry_after: response.retry_after,
            };
            let (len, close) = (response.len, response.close);
            self.input.consume(len);
            let greets = matches!(self.phase, Phase::Greeting(_));
            // A refusal (too many connections, say) is the answer to whatever was to be asked.
            if (greets || self.asks_health) && answer.status == 200 {
                self.check_health(&answer.body)?;
            }
            if greets && answer.status == 200 && !close {
                if let Phase::Greeting(queued) = std::mem::replace(&mut self.phase, Phase::Asking) {
                    self.out = queued;
                }
                continue;
            }
            self.begun = false;
            // Bytes that nobody asked for could be taken for the next answer.
            let unchecked = greets || (self.asks_health && answer.status != 200);
            let reusable = !close && !unchecked && self.input.is_empty();
            self.phase = if reusable { Phase::Idle } else { Phase::Over };
            if greets && answer.status == 200 {
                return Err(protocol("it closed the connection after `/health`"));
            }
            return Ok(Some(answer));
        }
    }

    fn check_health(&self, body: &[u8]) -> Result<(), ClientError> {
        let not_ours = ClientError::NotOurs { address: self.broker.address };
        match serde_json::from_slice::<Health>(body) {
            Ok(Health { mesh: Some(found), .. }) => match &self.broker.mesh {
                Some(own) if *own != found => Err(not_ours),
                _ => Ok(()),
            },
            _ => Err(not_ours),
        }
    }
}

fn out_buffer() -> Buffer {
    Buffer::new(BODY_BYTES_MAX + HEAD_BYTES_MAX)
}

fn encode(
    request: &Request,
    host: &str,
    token: Option<&str>,
    out: &mut Buffer,
) -> Result<(), ClientError> {
    let endpoint: Endpoint = request.endpoint();
    let (method, body) = match endpoint.method() {
        "GET" => (Method::Get, Vec::new()),
        _ => (Method::Post, request.body()),
    };
    if body.len() > BODY_BYTES_MAX {
        return Err(ClientError::TooLarge);
    }
    let request = HttpRequest { method, path: endpoint.path(), host, token, body: &body };
    request.encode(out).map_err(|error| match error {
        EncodeError::Full => ClientError::TooLarge,
        EncodeError::Field => protocol(&error.to_string()),
    })
}

fn protocol(reason: &str) -> ClientError {
    ClientError::Protocol { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTH: &str = r#"{"status":"ok","version":"1.0.0","uptime":1,"mesh":"m"}"#;

    fn broker() -> Broker {
        Broker {
            socket: "/d/broker.sock".into(),
            address: "127.0.0.1:7899".parse().unwrap(),
            token: "secret".into(),
            mesh: Some("m".into()),
            pid: None,
        }
    }

    fn response(status: u16, headers: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
            .into()
    }

    fn written(connection: &mut Connection) -> String {
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_to(&mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn answered(
        connection: &mut Connection,
        bytes: &[u8],
    ) -> Result<Option<BrokerAnswer>, ClientError> {
        connection.read_from(&mut &*bytes).unwrap();
        connection.poll_answer()
    }

    fn greeted() -> Connection {
        let mut connection = Connection::new(&broker());
        connection.send(&Request::Status, None).unwrap();
        written(&mut connection);
        assert_eq!(answered(&mut connection, &response(200, "", HEALTH)), Ok(None));
        connection
    }

    #[test]
    fn the_broker_is_known_before_it_gets_request_and_token() {
        let mut connection = Connection::new(&broker());
        assert!(connection.is_ready());
        connection.send(&Request::Status, None).unwrap();
        assert!(!connection.is_ready());
        assert!(connection.send(&Request::Status, None).is_err());

        let mut connection = Connection::new(&broker());
        connection.send(&Request::Shutdown, None).unwrap();
        let hello = written(&mut connection);
        assert!(hello.starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:7899\r\n"), "{hello}");
        assert!(!hello.contains("secret") && !hello.contains("shutdown"), "{hello}");
        assert!(!connection.is_in_doubt());
        assert_eq!(answered(&mut connection, &response(200, "", HEALTH)), Ok(None));
        let asked = written(&mut connection);
        assert!(asked.starts_with("POST /shutdown HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("Authorization: Bearer secret\r\n"), "{asked}");
        assert!(connection.is_in_doubt());
        let ok = answered(&mut connection, &response(200, "", r#"{"ok":true}"#)).unwrap().unwrap();
        assert_eq!(ok.into_result(), Ok(br#"{"ok":true}"#.to_vec()));
        assert!(connection.is_ready() && !connection.is_in_doubt());

        // The next one goes straight out, under another token.
        connection.send(&Request::Status, Some("mine")).unwrap();
        let asked = written(&mut connection);
        assert!(asked.starts_with("GET /status HTTP/1.1\r\n") && asked.contains("Bearer mine"));
    }

    #[test]
    fn health_asked_for_is_greeting_enough() {
        let mut connection = Connection::new(&broker());
        connection.send(&Request::Health, None).unwrap();
        assert_eq!(written(&mut connection).matches("GET").count(), 1);
        let answer = answered(&mut connection, &response(200, "", HEALTH)).unwrap().unwrap();
        assert_eq!(answer.body, HEALTH.as_bytes());
        connection.send(&Request::Status, None).unwrap();
        assert!(written(&mut connection).starts_with("GET /status"));
    }

    #[test]
    fn answers_may_come_in_any_pieces() {
        let body = r#"{"ok":true,"peers":[]}"#;
        let bytes = [response(200, "", HEALTH), response(200, "Retry-After: 3\r\n", body)].concat();
        let whole = BrokerAnswer { status: 200, body: body.into(), retry_after: Some(3) };
        let take = |pieces: Vec<&[u8]>| {
            let mut connection = Connection::new(&broker());
            connection.send(&Request::Status, None).unwrap();
            let mut got = None;
            for mut piece in pieces {
                connection.read_from(&mut piece).unwrap();
                got = got.or(connection.poll_answer().unwrap());
            }
            got
        };
        assert_eq!(take(bytes.chunks(1).collect()).as_ref(), Some(&whole));
        for cut in 1..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(take(vec![head, tail]).as_ref(), Some(&whole), "cut at {cut}");
        }
    }

    #[test]
    fn requests_may_leave_in_any_pieces() {
        struct Trickle(Vec<u8>, usize);
        impl Write for Trickle {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let n = bytes.len().min(self.1);
                self.0.extend_from_slice(&bytes[..n]);
                Ok(n)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let whole = written(&mut greeted());
        for step in 1..whole.len() {
            let mut connection = greeted();
            let mut out = Trickle(Vec::new(), step);
            assert!(!connection.is_in_doubt());
            while connection.wants_write() {
                connection.write_to(&mut out).unwrap();
                assert!(connection.is_in_doubt());
            }
            assert_eq!(out.0, whole.as_bytes());
        }
    }

    #[test]
    fn strangers_are_not_spoken_to() {
        for (status, body, error) in [
            (200, r#"{"status":"ok","version":"1","uptime":1,"mesh":"other"}"#, "not_our_broker"),
            (200, r#"{"status":"ok","version":"1","uptime":1}"#, "not_our_broker"),
            (200, "<html>", "not_our_broker"),
        ] {
            let mut connection = Connection::new(&broker());
            connection.send(&Request::Shutdown, None).unwrap();
            written(&mut connection);
            let result = answered(&mut connection, &response(status, "", body));
            assert_eq!(result.unwrap_err().word(), error, "{body}");
            assert!(!connection.wants_write() && !connection.is_ready());
        }
        // A data directory that has lost its id takes any.
        let mut connection = Connection::new(&Broker { mesh: None, ..broker() });
        connection.send(&Request::Status, None).unwrap();
        assert_eq!(answered(&mut connection, &response(200, "", HEALTH)), Ok(None));
    }

    #[test]
    fn a_refused_greeting_is_the_answer() {
        let refusal = r#"{"ok":false,"error":"too many connections","code":"unavailable"}"#;
        let mut connection = Connection::new(&broker());
        connection.send(&Request::Shutdown, None).unwrap();
        let answer = answered(&mut connection, &response(503, "", refusal)).unwrap().unwrap();
        assert_eq!(answer.into_result().unwrap_err().word(), "unavailable");
        assert!(!connection.is_ready());
    }

    #[test]
    fn a_connection_that_is_closed_or_out_of_step_is_not_used_again() {
        let ok = r#"{"ok":true}"#;
        let mut connection = greeted();
        answered(&mut connection, &response(200, "Connection: close\r\n", ok)).unwrap().unwrap();
        assert!(!connection.is_ready());

        let mut connection = greeted();
        let two = [response(200, "", ok), response(200, "", ok)].concat();
        answered(&mut connection, &two).unwrap().unwrap();
        assert!(!connection.is_ready());

        let mut connection = greeted();
        assert_eq!(answered(&mut connection, b"garbage").unwrap_err().word(), "protocol_error");
        assert!(!connection.is_ready());
    }

    #[test]
    fn what_is_no_refusal_is_not_taken_for_one() {
        let answer = BrokerAnswer { status: 502, body: b"<html>".to_vec(), retry_after: None };
        assert_eq!(answer.into_result().unwrap_err().word(), "protocol_error");
    }

    #[test]
    fn a_request_has_a_largest_size() {
        let key = "k".repeat(BODY_BYTES_MAX);
        let request = Request::GetState { namespace: "n".into(), key: key.into() };
        let mut connection = Connection::new(&broker());
        assert_eq!(connection.send(&request, None), Err(ClientError::TooLarge));
        assert!(connection.is_ready());
        assert!(connection.send(&Request::Status, Some("a b")).is_err());
    }
}
