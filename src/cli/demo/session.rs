//! One agent's end of an MCP session: the server runs as a child process, as an agent would run it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Stage, failed};
use crate::cli::{Failure, Result};
use crate::platform;

/// An answer that takes longer has not come.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Time a server has to end by itself.
const END_TIME_MAX: Duration = Duration::from_secs(1);

/// An agent, as far as its MCP session is concerned.
pub(super) struct Session {
    /// Its name in the mesh.
    pub(super) name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    last_id: u64,
    interrupted: Arc<AtomicBool>,
}

/// What a tool said.
pub(super) struct ToolAnswer {
    /// The JSON of its first block, or a refusal's text.
    pub(super) value: Value,
    /// The notice of waiting messages, if there was one.
    pub(super) notice: String,
    pub(super) refused: bool,
    /// From the call to the answer.
    pub(super) took: Duration,
}

impl ToolAnswer {
    /// A field of the answer.
    pub(super) fn text(&self, pointer: &str) -> String {
        match self.value.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }
}

impl Session {
    /// Starts a server and shakes hands with it.
    pub(super) fn start(stage: &mut Stage<'_>, agent: &str) -> Result<Self> {
        let begun = Instant::now();
        let mut command = stage.command()?;
        command.arg("mcp").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = BufReader::new(stdout.ok_or_else(|| failed("a server has no output"))?);
        let interrupted = Arc::clone(&stage.interrupted);
        let name = agent.to_owned();
        let mut session = Self { name, child, stdin, stdout, last_id: 0, interrupted };
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": agent, "version": "1"},
        });
        let id = session.request("initialize", &hello)?;
        session.answer(id)?;
        let took = begun.elapsed();
        session.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        session.name = session.call("mesh_status", &json!({}))?.text("/you/name");
        stage.tell(&session.name, "MCP server up, as its agent would start it", Some(took))?;
        Ok(session)
    }

    /// Calls a tool, which does what it is asked.
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Result<ToolAnswer> {
        let said = self.try_to(tool, arguments)?;
        if said.refused {
            return Err(failed(format_args!("{} was refused: {}", self.name, said.value)));
        }
        Ok(said)
    }

    /// Calls a tool, which may refuse.
    pub(super) fn try_to(&mut self, tool: &str, arguments: &Value) -> Result<ToolAnswer> {
        let begun = Instant::now();
        let id = self.begin(tool, arguments)?;
        self.end(id, begun)
    }

    /// Calls a tool; [`Session::end`] waits for what it says.
    pub(super) fn begin(&mut self, tool: &str, arguments: &Value) -> Result<u64> {
        self.request("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// What a tool said that was called before.
    pub(super) fn end(&mut self, id: u64, begun: Instant) -> Result<ToolAnswer> {
        let result = self.answer(id)?;
        let block = |at: usize| result.pointer(&format!("/content/{at}/text"))?.as_str();
        let text = block(0).unwrap_or_default();
        Ok(ToolAnswer {
            value: serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            notice: block(1).unwrap_or_default().to_owned(),
            refused: result.get("isError") == Some(&Value::Bool(true)),
            took: begun.elapsed(),
        })
    }

    /// Ends the process at once, as a crash would.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(failed)
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<u64> {
        self.last_id += 1;
        let id = self.last_id;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        Ok(id)
    }

    fn write(&mut self, message: &Value) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or_else(|| failed("a session has ended"))?;
        stdin.write_all(format!("{message}\n").as_bytes()).map_err(failed)
    }

    fn answer(&mut self, id: u64) -> Result<Value> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // A signal ends the wait.
            let ready = !self.stdout.buffer().is_empty()
                || platform::poll_readable(self.stdout.get_ref(), Some(left)).map_err(failed)?;
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            let mut line = String::new();
            if !ready || self.stdout.read_line(&mut line).map_err(failed)? == 0 {
                return Err(failed(format_args!("the session of {} gave no answer", self.name)));
            }
            let mut message: Value = serde_json::from_str(&line).map_err(failed)?;
            if message.get("id") == Some(&id.into()) {
                let result = message.get_mut("result").map(Value::take);
                return result.ok_or_else(|| failed(format_args!("{} answered {line}", self.name)));
            }
        }
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
