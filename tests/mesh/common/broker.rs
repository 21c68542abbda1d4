//! A broker in the foreground, as a child of the test.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use super::http::{Answer, Http, request};
use super::peer::Peer;
use super::{Mesh, Ran, Running, eventually, send_signal};

/// What a broker is started with.
pub(crate) struct Setup {
    mesh: Mesh,
    /// Commands of `sh` that come before the broker in the same process, such as `ulimit`.
    pub(crate) before: Option<String>,
}

impl Setup {
    /// Any free port, and no limits of rate.
    pub(crate) fn new() -> Self {
        Self { mesh: Mesh::unlimited(), before: None }
    }

    /// With a variable in its environment.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.mesh = self.mesh.with(name, value);
        self
    }

    /// Runs `commands` in the shell that becomes the broker.
    pub(crate) fn before(mut self, commands: &str) -> Self {
        self.before = Some(commands.into());
        self
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.mesh.data_dir()
    }

    /// What it is the broker of.
    #[allow(dead_code, reason = "a benchmark's")]
    pub(crate) fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    fn log(&self) -> PathBuf {
        self.mesh.home().join("log")
    }

    /// The command that runs the broker in the foreground.
    pub(crate) fn command(&self) -> Command {
        let Some(before) = &self.before else { return self.mesh.command(["start"]) };
        let direct = self.mesh.command(["start"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before} && exec \"$0\" start")]).arg(direct.get_program());
        shell.env_clear();
        shell.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(self.mesh.work()).stdin(Stdio::null());
        shell
    }

    fn spawn(&self) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        self.command().stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Starts the broker.
    pub(crate) fn start(self) -> Broker {
        let child = self.spawn();
        let mut broker = Broker { child, setup: self, port: 0, token: String::new() };
        broker.wait_until_ready();
        broker
    }

    /// Runs the binary to its end.
    pub(crate) fn run_words(&self, words: &[&str]) -> Ran {
        self.mesh.run_words(words)
    }

    /// The binary as a child that talks over its standard streams.
    pub(crate) fn child(&self, words: &[&str]) -> Child {
        self.mesh.command(words).stdin(Stdio::piped()).spawn().unwrap()
    }

    /// The broker as a child of which nothing is expected.
    pub(crate) fn run_child(&self) -> Running {
        Running(self.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Runs a broker that is expected not to start, or to end by itself.
    pub(crate) fn run(&self) -> Ran {
        self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap().into()
    }
}

/// A broker that runs. It is killed at the end.
pub(crate) struct Broker {
    child: Child,
    pub(crate) setup: Setup,
    pub(crate) port: u16,
    pub(crate) token: String,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.setup.dir()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.setup.log()).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) {
        let pid = self.child.id().to_string();
        let port = eventually("the broker's start", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the broker has ended ({status}): {}", self.log());
            }
            // The files may be those of a predecessor that was killed.
            let own = fs::read_to_string(self.dir().join("broker.pid")).ok()? == pid;
            own.then(|| fs::read_to_string(self.dir().join("port")).ok())?
        });
        self.port = port.parse().unwrap();
        self.token = fs::read_to_string(self.dir().join("broker.token")).unwrap();
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
        Peer::register(self, &json!({"name": name}), None)
    }

    /// Registers a peer that listens.
    pub(crate) fn listening_peer(&self, name: &str, acks: bool) -> Peer {
        let socket = self.dir().join("peers").join(format!("{name}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let fields = json!({"name": name, "acks": acks, "udsPath": socket});
        Peer::register(self, &fields, Some(listener))
    }

    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
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

    /// Starts another while this one still ends.
    pub(crate) fn start_again_beside(&mut self) {
        let mut first = std::mem::replace(&mut self.child, self.setup.spawn());
        self.wait_until_ready();
        first.wait().unwrap();
    }

    /// Starts another in its place.
    pub(crate) fn start_again(&mut self) {
        self.child = self.setup.spawn();
        self.wait_until_ready();
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
