//! One agent's end of an MCP session: the server runs as a child process, as an agent would run it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Fault, Interrupt};
use crate::limits::RPC_LINE_BYTES_MAX;
use crate::platform;
use crate::wire::ndjson::LineDecoder;

/// An answer that takes longer has not come.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Most that is read at once, bytes.
const READ_BYTES: usize = 16 * 1024;
/// How often a wait looks for Ctrl-C.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Time a server has to end by itself.
const END_TIME_MAX: Duration = Duration::from_secs(1);

/// An agent, as far as its MCP session is concerned.
pub(super) struct Session {
    /// Which agent it plays, by its name in the mesh.
    pub(super) name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    lines: LineDecoder,
    next_id: u64,
    interrupt: Interrupt,
}

/// What a tool said.
pub(super) struct Said {
    /// The JSON of its first block, or a refusal's text.
    pub(super) value: Value,
    /// The notice of waiting messages, if there was one.
    pub(super) notice: Option<String>,
    /// It was refused.
    pub(super) refused: bool,
}

impl Said {
    /// A text field of the answer.
    pub(super) fn text(&self, pointer: &str) -> String {
        match self.value.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }
}

impl Session {
    /// Starts a server and shakes hands with it; gives the time from the start of the process to its
    /// answer.
    pub(super) fn start(
        agent: &str,
        project: &Path,
        environment: &[(&str, OsString)],
        interrupt: &Interrupt,
    ) -> Result<(Self, Duration), Fault> {
        let begun = Instant::now();
        let mut command = super::own_command(environment)?;
        command.arg("mcp").current_dir(project);
        let mut child = spawn(&mut command)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::new("an MCP server has no standard input or output"));
        };
        let mut session = Self {
            name: agent.to_owned(),
            child,
            stdin: Some(stdin),
            stdout,
            lines: LineDecoder::new(RPC_LINE_BYTES_MAX),
            next_id: 0,
            interrupt: interrupt.clone(),
        };
        session.request(
            "initialize",
            &json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": agent, "version": "1"},
            }),
        )?;
        let took = begun.elapsed();
        session.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok((session, took))
    }

    /// Calls a tool and waits for what it says.
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Result<Said, Fault> {
        let id = self.begin(tool, arguments)?;
        self.end(id)
    }

    /// Calls a tool; [`Session::end`] waits for what it says.
    pub(super) fn begin(&mut self, tool: &str, arguments: &Value) -> Result<u64, Fault> {
        self.send("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// What a tool said that was called before.
    pub(super) fn end(&mut self, id: u64) -> Result<Said, Fault> {
        let result = self.answer(id)?;
        let block =
            |at: usize| result.pointer(&format!("/content/{at}/text")).and_then(Value::as_str);
        let text = block(0).unwrap_or_default();
        Ok(Said {
            value: serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            notice: block(1).map(str::to_owned),
            refused: result.get("isError") == Some(&Value::Bool(true)),
        })
    }

    /// Ends the process at once, as a crash would.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value, Fault> {
        let id = self.send(method, params)?;
        self.answer(id)
    }

    fn send(&mut self, method: &str, params: &Value) -> Result<u64, Fault> {
        self.next_id += 1;
        let id = self.next_id;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        Ok(id)
    }

    fn write(&mut self, message: &Value) -> Result<(), Fault> {
        let line = format!("{message}\n");
        let stdin = self.stdin.as_mut().ok_or_else(|| Fault::new("a session has ended"))?;
        stdin.write_all(line.as_bytes()).map_err(|error| self.fault(&error.to_string()))
    }

    fn answer(&mut self, id: u64) -> Result<Value, Fault> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            while let Some(line) = self.lines.next_line() {
                let line = line.map_err(|error| Fault::new(&error.to_string()))?;
                let message: Value =
                    serde_json::from_slice(line).map_err(|error| Fault::new(&error.to_string()))?;
                if message.get("id") != Some(&id.into()) {
                    continue;
                }
                return match message.get("result") {
                    Some(result) => Ok(result.clone()),
                    None => Err(self.fault(&format!("it answered {message}"))),
                };
            }
            self.interrupt.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.fault("it gave no answer"));
            }
            let ready = platform::poll_readable(&self.stdout, Some(left.min(LOOK_INTERVAL)));
            if matches!(ready, Ok(true)) {
                match self.lines.read_from(&mut self.stdout, READ_BYTES) {
                    Ok(0) => return Err(self.fault("it has ended")),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.fault(&error.to_string())),
                }
            }
        }
    }

    fn fault(&self, what: &str) -> Fault {
        Fault::new(&format!("the session of {}: {what}", self.name))
    }
}

impl Drop for Session {
    /// A closed standard input ends the server; if it does not, it is killed.
    fn drop(&mut self) {
        drop(self.stdin.take());
        let deadline = Instant::now() + END_TIME_MAX;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                _ => return,
            }
        }
        // It may have ended just now; either way it is gone.
        let _ = self.kill();
    }
}

fn spawn(command: &mut Command) -> Result<Child, Fault> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Fault::new(&format!("an MCP server cannot be started: {error}")))
}
