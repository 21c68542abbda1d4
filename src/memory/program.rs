//! A memory of the person's own: a program that reads lines of JSON and answers each with one.
//!
//! ```json
//! {"op":"message","id":"0000...","seq":7,"from":"api-claude","to":"cli","message":{...}}
//! {"op":"state","id":"0000...","seq":8,"by":"api-claude","namespace":"n","key":"k","value":"v","event":{...}}
//! {"op":"event","id":"0000...","seq":9,"by":null,"event":{...}}
//! {"op":"recall","query":"which port","limit":5}
//! ```
//!
//! Answers: `{"ok":true}`, to `recall` with `passages`, each with a `text` and perhaps a `score`;
//! `{"ok":false,"busy":SECONDS}` to be given the same again; `{"ok":false,"error":"..."}` for what it
//! does not take.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::{MemoryBridge, NamedEvent, NamedMessage, Passage, StateChange, Trouble, passages};
use crate::helper::program::Environment;
use crate::limits::MEMORY_ANSWER_BYTES_MAX;
use crate::platform::kill_group;

/// How long it may take to answer a line.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The program while it runs. A thread writes to it and one reads, so that a program that does neither
/// is noticed by its silence.
#[derive(Debug)]
struct Running {
    child: Child,
    lines: SyncSender<Vec<u8>>,
    answers: Receiver<Vec<u8>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends with its input otherwise, but not if it hangs.
        let _ = kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    environment: Environment,
    running: Option<Running>,
}

impl Program {
    pub(super) fn new(path: PathBuf, environment: Environment) -> Self {
        Self { path, environment, running: None }
    }

    fn start(&self) -> std::io::Result<Running> {
        let mut child = Command::new(&self.path)
            .env_clear()
            .envs(self.environment.iter())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // So that its own children can be killed with it.
            .process_group(0)
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (lines, to_write) = sync_channel::<Vec<u8>>(1);
        let (read, answers) = sync_channel(1);
        if let (Some(mut stdin), Some(stdout)) = (stdin, stdout) {
            std::thread::spawn(move || {
                for line in to_write {
                    if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
                        return;
                    }
                }
            });
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                loop {
                    let mut line = Vec::new();
                    let mut bounded = (&mut stdout).take(MEMORY_ANSWER_BYTES_MAX as u64);
                    match bounded.read_until(b'\n', &mut line) {
                        Ok(1..) if line.ends_with(b"\n") && read.send(line).is_ok() => {}
                        _ => return,
                    }
                }
            });
        }
        Ok(Running { child, lines, answers })
    }

    /// Gives it a line, and waits for its answer.
    fn ask(&mut self, line: &Value) -> Result<Value, Trouble> {
        if self.running.is_none() {
            let running = self.start().map_err(|error| {
                Trouble::Away(format!("{} cannot be run: {error}", self.path.display()))
            })?;
            self.running = Some(running);
        }
        let away = |why: &str| Trouble::Away(format!("{} {why}", self.path.display()));
        let result = match &self.running {
            Some(running) => exchange(running, line).map_err(away),
            None => Err(away("is not running")),
        };
        let answer = match result {
            Ok(answer) => answer,
            Err(trouble) => {
                // Its next answer would be taken for that to another line.
                self.running = None;
                return Err(trouble);
            }
        };
        if answer.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(answer);
        }
        if let Some(seconds) = answer.get("busy").and_then(Value::as_u64) {
            return Err(Trouble::Busy(Duration::from_secs(seconds)));
        }
        let error = answer.get("error").and_then(Value::as_str);
        Err(Trouble::Refused(error.unwrap_or("it has said no").chars().take(200).collect()))
    }
}

fn exchange(running: &Running, line: &Value) -> Result<Value, &'static str> {
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    running.lines.send(line).map_err(|_| "has ended")?;
    let answer = running.answers.recv_timeout(TIME_MAX).map_err(|error| match error {
        RecvTimeoutError::Timeout => "does not answer",
        RecvTimeoutError::Disconnected => "has ended",
    })?;
    serde_json::from_slice(&answer).map_err(|_| "has answered with something that is no JSON")
}

impl MemoryBridge for Program {
    fn on_message(&mut self, named: &NamedMessage<'_>) -> Result<(), Trouble> {
        let NamedMessage { message, from, to } = *named;
        let line = json!({
            "op": "message", "id": message.id, "seq": message.seq, "from": from, "to": to,
            "message": message,
        });
        self.ask(&line).map(drop)
    }

    fn on_state(&mut self, named: &NamedEvent<'_>, change: &StateChange) -> Result<(), Trouble> {
        let NamedEvent { event, by } = *named;
        let StateChange { namespace, key, value } = change;
        let line = json!({
            "op": "state", "id": event.id, "seq": event.seq, "by": by, "namespace": namespace,
            "key": key, "value": value, "event": event,
        });
        self.ask(&line).map(drop)
    }

    fn on_event(&mut self, named: &NamedEvent<'_>) -> Result<(), Trouble> {
        let NamedEvent { event, by } = *named;
        let line =
            json!({"op": "event", "id": event.id, "seq": event.seq, "by": by, "event": event});
        self.ask(&line).map(drop)
    }

    fn recall(&mut self, query: &str, limit: u32) -> Result<Vec<Passage>, Trouble> {
        let answer = self.ask(&json!({"op": "recall", "query": query, "limit": limit}))?;
        Ok(passages(&answer, limit))
    }

    fn is_available(&mut self) -> bool {
        self.path.is_file()
    }
}
