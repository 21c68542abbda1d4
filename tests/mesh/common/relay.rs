//! A machine that joins a hub, as its relay does, with every frame in the hands of the test.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slm_mesh::lan::channel::{Channel, Event, Way};
use slm_mesh::lan::invitation::{Invitation, Place};
use slm_mesh::lan::key::MachineKey;
use slm_mesh::model::{MachineId, MachineName};
use slm_mesh::platform::poll_readable;

use super::PATIENCE;

/// A machine, which is known by its key.
pub struct Machine {
    key: MachineKey,
    name: Option<MachineName>,
}

impl Machine {
    /// One with a new key, which would like to be called so. `dir` is for its key.
    pub fn new(dir: &Path, name: &str) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let key = MachineKey::load_or_make(&dir.join(format!("{name}.key"))).unwrap();
        Self { key, name: MachineName::new(name) }
    }

    /// Its id.
    pub fn id(&self) -> MachineId {
        self.key.id()
    }

    /// Connects to a hub and asks to be let in; if not, what it is told.
    pub fn connect(&self, address: SocketAddr, way: Way) -> Result<Relay, String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_nonblocking(true).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let channel = Channel::of_relay(stream, &self.key, way, self.name, version).unwrap();
        let mut relay = Relay { channel, frames: VecDeque::new(), next_id: 0 };
        match relay.event() {
            Ok(Some(_)) => Ok(relay),
            Ok(None) => Err("nothing in time".to_owned()),
            Err(ended) => Err(ended),
        }
    }

    /// Joins by the code of an invitation, and says hello.
    pub fn join(&self, code: &str) -> Result<Relay, String> {
        let (address, way) = invited(code);
        let mut relay = self.connect(address, way)?;
        relay.hello();
        Ok(relay)
    }
}

/// Where an invitation leads on this machine, and what it lets in by.
pub fn invited(code: &str) -> (SocketAddr, Way) {
    let invitation = Invitation::parse(code).unwrap();
    assert!(invitation.places().iter().all(|place| matches!(place, Place::Address(_))));
    let address = SocketAddr::from(([127, 0, 0, 1], invitation.port()));
    (address, Way::Invited(invitation.hub(), invitation.token()))
}

/// A relay's end of a connection that is open.
pub struct Relay {
    channel: Channel<TcpStream>,
    /// Frames that have come and were not asked for yet.
    frames: VecDeque<Value>,
    next_id: u64,
}

impl Relay {
    /// What comes next, as text, or `open`; none: nothing in time. The error is why it is over.
    fn event(&mut self) -> Result<Option<String>, String> {
        self.event_within(PATIENCE)
    }

    fn event_within(&mut self, patience: Duration) -> Result<Option<String>, String> {
        let until = Instant::now() + patience;
        loop {
            match self.channel.advance() {
                Ok(Some(Event::Text(text))) => return Ok(Some(text.to_owned())),
                Ok(Some(Event::Open(_))) => return Ok(Some("open".to_owned())),
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(ended) => {
                    let said = ended.to_string();
                    // What was said last is out before the end.
                    self.channel.flush();
                    return Err(said);
                }
            }
            self.channel.flush();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // What waits to be written is tried again.
            let pause = left.min(Duration::from_millis(20));
            poll_readable(self.channel.stream_mut().as_fd(), Some(pause)).unwrap();
        }
    }

    /// Sends a text.
    pub fn say(&mut self, text: &impl ToString) {
        let _ = self.channel.send(&text.to_string());
        self.channel.flush();
    }

    /// Sends the frames that come first.
    pub fn hello(&mut self) {
        self.hello_with(&json!({"peers": [], "ended": []}));
    }

    /// The same with what it knows of its peers.
    pub fn hello_with(&mut self, peers: &Value) {
        let version = env!("CARGO_PKG_VERSION");
        self.say(&json!({"hello": {"version": version, "name": "x", "time": 0}}));
        self.say(peers);
    }

    /// The next frame.
    #[track_caller]
    pub fn frame(&mut self) -> Value {
        match self.frames.pop_front() {
            Some(frame) => frame,
            None => self.read_frame(),
        }
    }

    #[track_caller]
    fn read_frame(&mut self) -> Value {
        match self.event() {
            Ok(Some(text)) => serde_json::from_str(&text).unwrap(),
            Ok(None) => panic!("no frame in time; before it: {:?}", self.frames),
            Err(ended) => panic!("the end instead of a frame: {ended}"),
        }
    }

    /// The first frame that is this one; those before it stay.
    #[track_caller]
    fn frame_that(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(at) = self.frames.iter().position(&is_it) {
                return self.frames.remove(at).unwrap();
            }
            let frame = self.read_frame();
            self.frames.push_back(frame);
        }
    }

    /// The first frame that has this field; those before it stay.
    #[track_caller]
    pub fn frame_with(&mut self, field: &str) -> Value {
        self.frame_that(|frame| frame.get(field).is_some())
    }

    /// Whether a frame with this field has come and was not asked for.
    pub fn has(&self, field: &str) -> bool {
        self.frames.iter().any(|frame| frame.get(field).is_some())
    }

    /// Why it is over; frames before that are passed over.
    #[track_caller]
    pub fn end(&mut self) -> String {
        loop {
            match self.event() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it does not end"),
                Err(ended) => return ended,
            }
        }
    }

    /// Sends a request of a client here: of a peer with its token, or of the person. Gives its id.
    pub fn ask(&mut self, by: Option<&str>, path: &str, body: &Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let by = by.unwrap_or("operator");
        self.say(&json!({"id": id, "as": by, "method": "POST", "path": path, "body": body}));
        id
    }

    /// Sends the registration of an agent whose process started then. Gives its id.
    pub fn ask_of_agent(&mut self, start: &str, body: &Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.say(&json!({
            "id": id, "as": "operator", "method": "POST", "path": "/register",
            "agentStart": start, "body": body,
        }));
        id
    }

    /// The answer to a request: its status and body.
    #[track_caller]
    pub fn answer(&mut self, id: u64) -> (u64, Value) {
        let frame = self.frame_that(|frame| frame["id"] == id && frame.get("status").is_some());
        (frame["status"].as_u64().unwrap(), frame["body"].clone())
    }

    /// Asks, and gives what came of it.
    #[track_caller]
    pub fn call(&mut self, by: Option<&str>, path: &str, body: &Value) -> (u64, Value) {
        let id = self.ask(by, path, body);
        self.answer(id)
    }

    /// Asks, and the answer must be a yes.
    #[track_caller]
    pub fn ok(&mut self, by: Option<&str>, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(by, path, body);
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }

    /// Registers a peer here; its id and token.
    #[track_caller]
    pub fn register(&mut self, more: &Value) -> (String, String) {
        let mut fields = json!({"pid": 7, "projectPath": "/elsewhere"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.ok(None, "/register", &fields);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("peerId"), text("peerToken"))
    }

    /// Says that the way to a peer stands.
    pub fn up(&mut self, peer: &str, path: &str, link: u64) {
        self.say(&json!({
            "up": peer, "path": path, "link": link, "process": true,
            "confirmed": [], "written": [],
        }));
    }

    /// Goes without a word.
    pub fn cut(mut self) {
        let _ = self.channel.stream_mut().shutdown(std::net::Shutdown::Both);
    }
}

/// A port that nobody has, and that the system gives to nobody by itself: it gives those from 32768 on.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).unwrap() * 12;
    loop {
        let port = 20_000 + first + NEXT.fetch_add(1, Ordering::Relaxed) % 700;
        match std::net::TcpListener::bind(("0.0.0.0", port)) {
            Ok(_) => return port,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
        }
    }
}
