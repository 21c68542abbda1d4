//! A peer, and the socket on which it takes pushes.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::Broker;
use super::http::Answer;
use super::{PATIENCE, eventually};

/// A registered peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) token: String,
    /// What it said of itself.
    pub(crate) fields: Value,
    listener: Option<UnixListener>,
}

impl Peer {
    pub(crate) fn register(broker: &Broker, more: &Value, listener: Option<UnixListener>) -> Self {
        let mut fields = json!({"pid": std::process::id(), "projectPath": "/project"});
        let known = fields.as_object_mut().unwrap();
        known.extend(more.as_object().unwrap().clone());
        let answer = broker.ok("/register", &fields);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Self { id: text("peerId"), name: text("name"), token: text("peerToken"), fields, listener }
    }

    /// Asks with its own token.
    pub(crate) fn call(&self, broker: &Broker, path: &str, body: &Value) -> Answer {
        broker.connect().call(path, Some(&self.token), body)
    }

    pub(crate) fn ok(&self, broker: &Broker, path: &str, body: &Value) -> Value {
        let answer = self.call(broker, path, body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.json()
    }

    /// Comes back under its id.
    pub(crate) fn resume(&self, broker: &Broker) -> Answer {
        let mut fields = self.fields.clone();
        fields["peerId"] = self.id.as_str().into();
        self.call(broker, "/register", &fields)
    }

    /// Sends a text to another, and gives the answer.
    pub(crate) fn send(&self, broker: &Broker, to: &str, text: &str) -> Value {
        self.ok(broker, "/send", &json!({"toPeer": to, "payload": text}))
    }

    /// Its unread messages, which stay so.
    pub(crate) fn inbox(&self, broker: &Broker) -> Vec<String> {
        let answer = self.ok(broker, "/messages", &json!({"peek": true, "limit": 1000}));
        let messages = answer["messages"].as_array().unwrap().clone();
        messages.iter().map(|message| message["payload"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for the broker to connect.
    pub(crate) fn accept(&self) -> Pushes {
        let listener = self.listener.as_ref().expect("it listens");
        listener.set_nonblocking(true).unwrap();
        let stream = eventually("the broker's connection", || match listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        });
        stream.set_nonblocking(false).unwrap();
        Pushes::new(stream)
    }

    /// The same peer, listening elsewhere.
    pub(crate) fn with_listener(mut self, listener: UnixListener) -> Self {
        self.listener = Some(listener);
        self
    }
}

/// A push connection, at the peer's end.
#[derive(Debug)]
pub(crate) struct Pushes {
    pub(crate) stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Pushes {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// The next frame; none at the end.
    pub(crate) fn frame(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line).expect("a frame") {
            0 => None,
            _ => Some(serde_json::from_str(&line).expect("a line of JSON")),
        }
    }

    /// The payload of the next frame of a type, others skipped.
    pub(crate) fn next(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().unwrap_or_else(|| panic!("the end instead of a {kind}"));
            if frame["type"] == kind {
                return frame["payload"].clone();
            }
        }
    }

    /// Text and id of the next message.
    pub(crate) fn message(&mut self) -> (String, String) {
        let payload = self.next("message");
        let text = |name: &str| payload[name].as_str().unwrap().to_owned();
        (text("text"), text("messageId"))
    }

    pub(crate) fn ack(&mut self, id: &str) {
        self.stream.write_all(format!("{{\"ack\":\"{id}\"}}\n").as_bytes()).unwrap();
    }

    /// Whether nothing comes for `time`.
    pub(crate) fn is_quiet(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let result = self.reader.fill_buf().map(<[u8]>::len);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}
