//! A headless Chromium that is driven by its remote debugging protocol, over a pair of named pipes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Mesh, Running, not_tested};

/// Longest time for an answer of the browser: its start, on a machine that is busy, takes long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// Longest time until something is to be seen in a page.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(60);
/// What a browser is called that can be driven so.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page.
pub(crate) struct Browser {
    to: File,
    messages: Receiver<Value>,
    next_id: u64,
    session: Option<String>,
    /// Requests that pages have made.
    pub(crate) requests: Vec<String>,
    /// What a page has thrown or logged as an error.
    pub(crate) errors: Vec<String>,
    _child: Running,
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = PROGRAMS.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    all.into_iter().find(|program| program.is_file())
}

impl Browser {
    /// One with an empty page, whose files are in the mesh's directories. `None` where there is no
    /// browser, which is said, and a failure if that is asked for.
    pub(crate) fn start(mesh: &Mesh) -> Option<Self> {
        let Some(program) = find() else {
            not_tested("the page in a browser: there is no chromium");
            return None;
        };
        let dir = mesh.home().join("browser");
        std::fs::create_dir(&dir).unwrap();
        let (to, from) = (dir.join("to"), dir.join("from"));
        for pipe in [&to, &from] {
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }
        let child = Running(command(&program, &dir).spawn().unwrap());
        // In the order in which the shell opens them, since each end waits for the other.
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let from = BufReader::new(File::open(from).unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in from.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            to,
            messages,
            next_id: 0,
            session: None,
            requests: Vec::new(),
            errors: Vec::new(),
            _child: child,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.call(domain, &json!({}));
        }
        browser.resize(1280, 800);
        Some(browser)
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let message = self.messages.recv_timeout(ANSWER_TIME_MAX);
            let message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.requests.push(params["request"]["url"].as_str().unwrap().to_owned());
            }
            Some("Runtime.exceptionThrown") => self.errors.push(params.to_string()),
            // Answers that refuse something are logged, too.
            Some("Log.entryAdded") if params["entry"]["source"] != "network" => {
                self.errors.push(params["entry"]["text"].to_string());
            }
            _ => {}
        }
    }

    /// Gives the page's window another size, in pixels.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Goes to an address.
    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", &json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{opened}");
        self.until("document.readyState === 'complete'");
    }

    /// What an expression comes to in the page.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let is_true = format!("!!({expression})");
        let deadline = Instant::now() + CHANGE_TIME_MAX;
        while self.eval(&is_true) != true {
            let errors = &self.errors;
            assert!(Instant::now() < deadline, "never so: {expression}; errors: {errors:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key, as `KeyboardEvent.key` calls it.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "char", "keyUp"] {
            let text = if kind == "char" && key == "Enter" { "\r" } else { "" };
            if kind == "char" && text.is_empty() {
                continue;
            }
            let params = json!({
                "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    /// Types a text where the focus is.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }
}

fn command(program: &Path, dir: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$@\" 3<\"$0/to\" 4>\"$0/from\""])
        .arg(dir)
        .arg(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--remote-debugging-pipe", "about:blank"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .env("HOME", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell
}
