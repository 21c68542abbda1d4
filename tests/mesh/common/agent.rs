//! An agent: a client of the MCP server over its standard input and output.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "used by tests: to panic is how they fail"
)]

use std::io::Write;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Mesh, PATIENCE, lines};

/// See the module.
pub struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What came unasked.
    pub notes: Vec<Value>,
    count: u64,
}

/// What a tool gave.
#[derive(Debug)]
pub struct ToolResult {
    pub texts: Vec<String>,
    pub is_error: bool,
}

impl ToolResult {
    /// The JSON of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(!self.is_error, "{self:?}");
        serde_json::from_str(&self.texts[0]).unwrap()
    }

    /// The sentence of a failure.
    #[track_caller]
    pub fn fails(&self, code: &str) -> String {
        assert!(self.is_error, "{self:?}");
        let body: Value = serde_json::from_str(&self.texts[0]).unwrap();
        assert_eq!(body["code"], code, "{body}");
        body["error"].as_str().unwrap().into()
    }
}

impl Agent {
    /// An agent of `mesh` that has shaken hands.
    pub fn new(mesh: &Mesh) -> Self {
        let mut agent = Self::silent(mesh);
        agent.initialize();
        agent
    }

    /// One that has said nothing yet.
    pub fn silent(mesh: &Mesh) -> Self {
        Self::of(mesh.command(["mcp"]).stdin(Stdio::piped()).spawn().unwrap())
    }

    /// One that speaks through the pipes of `child`.
    pub fn of(mut child: Child) -> Self {
        let stdin = child.stdin.take();
        let lines = lines(child.stdout.take().unwrap());
        Self { child, stdin, lines, notes: Vec::new(), count: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    pub fn initialize(&mut self) -> Value {
        self.initialize_as("test-agent")
    }

    /// Shakes hands as the client of this name.
    pub fn initialize_as(&mut self, client: &str) -> Value {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": client, "version": "1"},
        });
        let result = self.request("initialize", &params)["result"].clone();
        self.notify("notifications/initialized", &json!({}));
        result
    }

    pub fn notify(&mut self, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Sends a request; gives its id.
    pub fn ask(&mut self, method: &str, params: &Value) -> u64 {
        self.count += 1;
        let id = self.count;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// The next line, if one comes in time.
    pub fn line(&self, patience: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(patience).ok()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|_| json!({"bad": line})))
    }

    /// The answer to a request; what else comes is kept.
    #[track_caller]
    pub fn answer(&mut self, id: u64) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.line(left).unwrap_or_else(|| panic!("no answer to request {id}"));
            if line["id"] == id && line.get("method").is_none() {
                return line;
            }
            self.notes.push(line);
        }
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.ask(method, params);
        self.answer(id)
    }

    pub fn ask_tool(&mut self, name: &str, arguments: &Value) -> u64 {
        self.ask("tools/call", &json!({"name": name, "arguments": arguments}))
    }

    #[track_caller]
    pub fn tool_answer(&mut self, id: u64) -> ToolResult {
        let answer = self.answer(id);
        let result = &answer["result"];
        let blocks = result["content"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let text = |block: &Value| block["text"].as_str().unwrap().to_owned();
        ToolResult { texts: blocks.iter().map(text).collect(), is_error: result["isError"] == true }
    }

    #[track_caller]
    pub fn tool(&mut self, name: &str, arguments: &Value) -> ToolResult {
        let id = self.ask_tool(name, arguments);
        self.tool_answer(id)
    }

    /// Its id and name in the mesh.
    #[track_caller]
    pub fn who(&mut self) -> (String, String) {
        let you = &self.tool("mesh_status", &json!({})).ok()["you"];
        let text = |key: &str| you[key].as_str().unwrap().to_owned();
        (text("id"), text("name"))
    }

    /// Waits for something that comes unasked.
    #[track_caller]
    pub fn note(&mut self) -> Value {
        if !self.notes.is_empty() {
            return self.notes.remove(0);
        }
        self.line(PATIENCE).expect("nothing comes unasked")
    }

    /// Ends its server as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Closes its end of the standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Waits until the process ends.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Says good-bye; gives how long that took.
    #[track_caller]
    pub fn end(&mut self) -> Duration {
        let begun = Instant::now();
        self.close();
        assert!(self.wait().success());
        begun.elapsed()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
