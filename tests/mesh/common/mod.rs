//! What tests of the real binary share: a mesh of its own for each test, gone at its end.
#![allow(unreachable_pub, missing_docs, reason = "shared within the tests only")]
#![allow(clippy::print_stderr, reason = "shown only if a test fails")]

pub mod agent;
pub mod broker;
pub mod browser;
pub mod files;
pub mod http;
#[cfg(feature = "lan")]
pub mod hub;
pub mod net;
pub mod peer;
pub mod proxy;
#[cfg(feature = "lan")]
pub mod relay;
pub mod session;
pub mod stand_in;
pub mod screen;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;
use slm_mesh::api::{Register, Registered, Request};
use slm_mesh::client::{Client, StartPolicy};
use slm_mesh::config::{Config, DATA_DIR, PORT, RATE_LIMIT};
use slm_mesh::platform::{self, Signal};

/// Longest time anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A data directory, a home directory and a working directory, all new. At its end its broker is
/// killed, whoever started it.
pub struct Mesh {
    root: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl Mesh {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short, for the sake of the paths of sockets.
        let root = std::env::temp_dir().join(format!("sm{}-{count}", std::process::id()));
        // Of a run that was killed, whose process had the same id.
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir(&root).unwrap();
        let root = root.canonicalize().unwrap();
        std::fs::create_dir(root.join("home")).unwrap();
        std::fs::create_dir(root.join("work")).unwrap();
        Self { root, settings: vec![(PORT, "0".into())] }
    }

    /// The same without limits of rate.
    pub fn unlimited() -> Self {
        Self::new().with(RATE_LIMIT, "0")
    }

    /// The same with one more variable in the environment of what it runs.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, value.into()));
        self
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The working directory of what it runs.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The settings, as a process of this mesh would read them.
    pub fn config(&self) -> Config {
        let environment = self.environment();
        let lookup = |name: &str| {
            environment.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into())
        };
        Config::from_lookup(lookup, None, std::env::current_dir).unwrap()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("HOME", self.home().to_str().unwrap().into()),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            (DATA_DIR, self.data_dir().to_str().unwrap().into()),
        ];
        environment.extend(self.settings.iter().cloned());
        environment
    }

    /// The binary, about to be run with `arguments`: nothing in its environment but this mesh, and
    /// nothing on its standard input.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command_of(env!("CARGO_BIN_EXE_slm-mesh"));
        command.args(arguments);
        command
    }

    /// Any program, about to be run so. An agent that runs the tests leaves no trace in it.
    pub fn command_of(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.environment())
            .current_dir(self.work())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end; the words are those between spaces.
    pub fn run(&self, line: &str) -> Ran {
        self.run_words(line.split_whitespace())
    }

    /// Runs the binary to its end.
    pub fn run_words<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Ran {
        self.command(words).output().unwrap().into()
    }

    /// As [`Mesh::run`], with something on its standard input.
    pub fn run_with_input(&self, line: &str, input: &[u8]) -> Ran {
        let mut command = self.command(line.split_whitespace());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Starts the broker in the background.
    pub fn start(&self) {
        self.run("start --detached").ok();
    }

    /// A client in this process, of a broker that is started for it. It starts none itself: it would
    /// run the program it is in, which is a test.
    pub fn client(&self) -> Client {
        self.start();
        Client::open(&self.config(), StartPolicy::Never).unwrap()
    }

    /// A peer in the working directory, without a socket.
    pub fn register(&self, name: &str) -> Registered {
        self.register_with(|register| register.name = Some(name.into()))
    }

    /// One that says this of itself.
    pub fn register_with(&self, change: impl FnOnce(&mut Register)) -> Registered {
        let mut register = Register {
            pid: std::process::id(),
            project_path: self.work().to_str().unwrap().into(),
            agent_type: Some("test".into()),
            ..Register::default()
        };
        change(&mut register);
        self.client().call(&Request::Register(Box::new(register))).unwrap()
    }

    /// The process that holds the lock, if there is one.
    pub fn broker_pid(&self) -> Option<u32> {
        // Where there is no directory, there is no lock either.
        let holder = platform::lock_holder(&self.data_dir().join("broker.lock"));
        holder.ok().flatten().and_then(|holder| holder.pid)
    }

    /// Ends the broker as a crash would, and waits until it is gone.
    pub fn kill_broker(&self) {
        if let Some(pid) = self.broker_pid() {
            let _ = platform::send_signal(pid, Signal::Kill);
            wait_until("the broker is gone", || self.broker_pid() != Some(pid));
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.data_dir().join("broker.log"));
            eprintln!("broker.log:\n{}", log.unwrap_or_default());
        }
        self.kill_broker();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// What the binary did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// It went well; its output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It ended with `code`; what it said about that.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.err
    }

    /// Its output, which has to be one line of JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.out.matches('\n').count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A process that is killed when the test ends before it.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a pipe, as they come.
pub fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Does something at the end of a scope, also of one that ends by a panic: threads that are to stop then.
pub struct OnDrop<F: Fn()>(pub F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Waits until something is the case.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until there is something, and gives it.
#[track_caller]
pub fn eventually<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    wait_until(what, || {
        found = get();
        found.is_some()
    });
    found.unwrap()
}

/// Sends any signal, by its name without SIG. A process that is stopped has stopped when this returns,
/// where that can be seen: until then it may still take what comes meanwhile.
pub fn send_signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.unwrap().success());
    if name == "STOP" && cfg!(target_os = "linux") {
        wait_until("it has stopped", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().any(|line| line.starts_with("State:\tT"))
        });
    }
}

/// Says that something cannot be tested here; a failure if `NOT_TESTED_IS_FAILURE` is set.
pub fn not_tested(why: &str) {
    let said = format!("NOT TESTED: {why}");
    assert!(std::env::var_os("NOT_TESTED_IS_FAILURE").is_none(), "{said}");
    // Not with `eprintln`, which is shown for tests that fail only.
    writeln!(std::io::stderr().lock(), "{said}").unwrap();
}

/// Whether `path` is there.
pub fn is_there(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}
