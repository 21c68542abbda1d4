//! What the tests of the real binary share: a broker with a data directory of its own, raw HTTP, and
//! a peer that takes pushes. Independent of the crate's own codecs, so that it checks them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_slm-mesh");

/// A directory of its own for one test, removed at its end.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: a socket's path has a limit.
        let name = format!("slm-t-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until `what` gives something.
pub(crate) fn eventually<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = get() {
            return value;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The settings of a broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    env: Vec<(String, String)>,
    /// Commands of `sh` that come before the broker in the same process, such as `ulimit`.
    before: Option<String>,
}

impl Setup {
    /// Any free port, and no limits of rate.
    pub(crate) fn new() -> Self {
        Self::default().env("SLM_MESH_PORT", "0").env("SLM_MESH_RATE_LIMIT", "0")
    }

    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.to_string()));
        self
    }

    /// Runs `commands` in the shell that becomes the broker.
    pub(crate) fn before(mut self, commands: &str) -> Self {
        self.before = Some(commands.into());
        self
    }

    /// The command that runs the broker in the foreground.
    pub(crate) fn command(&self, dir: &Path) -> Command {
        let mut command = if let Some(before) = &self.before {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{before} && exec \"$0\" start"), PROGRAM]);
            shell
        } else {
            let mut command = Command::new(PROGRAM);
            command.arg("start");
            command
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLM_MESH_")) {
            command.env_remove(name);
        }
        command.env("SLM_MESH_DATA_DIR", dir).envs(self.env.iter().map(|(n, v)| (n, v)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts a broker in a directory of its own.
    pub(crate) fn start(&self) -> Broker {
        let temp = TempDir::new();
        let dir = temp.path().join("mesh");
        self.start_in(temp, &dir)
    }

    /// Starts a broker with the data directory `dir` in `temp`.
    pub(crate) fn start_in(&self, temp: TempDir, dir: &Path) -> Broker {
        let child = self.spawn(dir, temp.path());
        let mut broker = Broker {
            setup: self.clone(),
            dir: dir.to_owned(),
            temp,
            child,
            port: 0,
            token: String::new(),
        };
        broker.wait_until_ready();
        broker
    }

    fn spawn(&self, dir: &Path, temp: &Path) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(temp.join("log")).unwrap();
        self.command(dir).stderr(log).spawn().unwrap()
    }

    /// Runs a broker that is expected not to start; its exit code and what it says.
    pub(crate) fn fail(&self, dir: &Path) -> (Option<i32>, String) {
        let output = self.command(dir).stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A broker that runs.
#[derive(Debug)]
pub(crate) struct Broker {
    setup: Setup,
    dir: PathBuf,
    temp: TempDir,
    child: Child,
    pub(crate) port: u16,
    pub(crate) token: String,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.temp.path().join("log")).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) {
        let pid = self.child.id().to_string();
        let port = eventually("the broker's start", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the broker has ended ({status}): {}", self.log());
            }
            // The files may be those of a predecessor that was killed.
            let own = fs::read_to_string(self.dir.join("broker.pid")).ok()? == pid;
            own.then(|| fs::read_to_string(self.dir.join("port")).ok())?
        });
        self.port = port.parse().unwrap();
        self.token = fs::read_to_string(self.dir.join("broker.token")).unwrap();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A connection on which nothing was said yet.
    pub(crate) fn connect(&self) -> Http {
        Http::new(TcpStream::connect(self.address()).unwrap(), self.port)
    }

    /// Asks with the broker's token, on a connection of its own.
    pub(crate) fn call(&self, path: &str, body: &Value) -> Answer {
        self.connect().call(path, Some(&self.token), body)
    }

    /// The same, and the answer must be a yes.
    pub(crate) fn ok(&self, path: &str, body: &Value) -> Value {
        let answer = self.call(path, body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.json()
    }

    pub(crate) fn status(&self) -> Value {
        let mut http = self.connect();
        http.send(&request(self.port, "GET", "/status", Some(&self.token), None));
        http.answer().json()
    }

    /// Registers a peer without a socket.
    pub(crate) fn register(&self, name: &str) -> Peer {
        Peer::register(self, json!({"name": name}), None)
    }

    /// Registers a peer that listens.
    pub(crate) fn listening_peer(&self, name: &str, acks: bool) -> Peer {
        let socket = self.dir.join("peers").join(format!("{name}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let fields = json!({"name": name, "acks": acks, "udsPath": socket});
        Peer::register(self, fields, Some(listener))
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the broker's end", || self.child.try_wait().unwrap())
    }

    /// Asks it to stop, and waits.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts another in its place.
    pub(crate) fn start_again(&mut self) {
        self.child = self.setup.spawn(&self.dir, self.temp.path());
        self.wait_until_ready();
    }

    /// With other settings.
    pub(crate) fn start_again_with(&mut self, setup: Setup) {
        self.setup = setup;
        self.start_again();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log());
        }
    }
}

/// A request as bytes.
pub(crate) fn request(
    port: u16,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&[u8]>,
) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    if let Some(token) = token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        assert_eq!(body["ok"], false, "{body}");
        assert!(body["error"].as_str().is_some_and(|text| text.len() > 5), "{body}");
        body["code"].as_str().unwrap().to_owned()
    }
}

/// A raw HTTP connection.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
    pub(crate) port: u16,
}

impl Http {
    fn new(stream: TcpStream, port: u16) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader, port }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a POST and waits for the answer.
    pub(crate) fn call(&mut self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.post(path, token, body);
        self.answer()
    }

    /// Sends a POST.
    pub(crate) fn post(&mut self, path: &str, token: Option<&str>, body: &Value) {
        let body = body.to_string();
        self.send(&request(self.port, "POST", path, token, Some(body.as_bytes())));
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.strip_suffix("\r\n");
        Ok(text.unwrap_or_else(|| panic!("a line without CRLF: {line:?}")).to_owned())
    }

    /// Reads the head of the next answer.
    pub(crate) fn head(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let (version, status) = status.split_at_checked("HTTP/1.1 ".len()).unwrap();
        assert_eq!(version, "HTTP/1.1 ");
        let mut answer =
            Answer { status: status[..3].parse().unwrap(), headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                return Ok(answer);
            };
            answer.headers.push((name.to_lowercase(), value.to_owned()));
        }
    }

    /// Reads the next answer.
    pub(crate) fn try_answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if answer.status >= 200 {
            let length = answer.header("content-length").expect("an answer has a length");
            answer.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut answer.body)?;
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
        Ok(answer)
    }

    /// Reads the next answer.
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// Whether the broker closes it now, without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0; 16]), Ok(0))
    }

    /// Whether nothing comes for `time`.
    pub(crate) fn is_quiet(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let result = self.reader.fill_buf().map(<[u8]>::len);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

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
    fn register(broker: &Broker, more: Value, listener: Option<UnixListener>) -> Self {
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

    /// Whether the broker does not connect for `time`.
    pub(crate) fn is_left_alone(&self, time: Duration) -> bool {
        let listener = self.listener.as_ref().expect("it listens");
        listener.set_nonblocking(true).unwrap();
        let until = Instant::now() + time;
        while Instant::now() < until {
            if listener.accept().is_ok() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
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
