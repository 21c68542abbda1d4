//! `SuperLocalMemory`: the package of this name on `PyPI`, with a daemon on the loopback address, and the
//! command `slm`.
//!
//! The daemon says in its `daemon.json` on which port it is and what its callers have to show. By the key
//! of a memory it knows what it has already; the command does not, so that after a crash it may be given
//! something twice.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{LoopbackRequest, LoopbackResponse, encode};
use super::{MemoryBridge, NamedEvent, NamedMessage, Passage, StateChange, Trouble, passages};
use crate::files::read_bounded;
use crate::helper::program::{Environment, Run, find};
use crate::limits::{HELPER_FILE_BYTES_MAX, MEMORY_TEXT_CHARS_MAX};
use crate::model::event_type;
use crate::platform::current_uid;

/// The variables that say where its files are, the first that is set before the others.
const DIRECTORIES: [&str; 3] = ["SLM_DATA_DIR", "SL_MEMORY_PATH", "SLM_HOME"];
/// Where they are otherwise, in the home directory.
const DIRECTORY: &str = ".superlocalmemory";
/// Its command.
const COMMAND: &str = "slm";
/// The exit code of the command that says that it is busy (sysexits.h: `EX_TEMPFAIL`).
const EXIT_BUSY: i32 = 75;
/// How long it is left alone when it is busy and does not say.
const BUSY_TIME: Duration = Duration::from_secs(5);
/// How long it may take to remember something, or to say that it is there.
const TIME_MAX: Duration = Duration::from_secs(30);
/// How long it may take to look for something: the first time it may have to load a model.
const RECALL_TIME_MAX: Duration = Duration::from_secs(120);

/// What its `daemon.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Daemon {
    port: u16,
    capability: Box<str>,
    instance_id: Box<str>,
}

/// What its `/health` says.
#[derive(Debug, Deserialize)]
struct Health {
    instance_id: Box<str>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SuperLocalMemory {
    environment: Environment,
}

/// What is to be remembered.
struct Memory<'a> {
    text: String,
    tags: Vec<String>,
    key: String,
    /// When it was: ISO 8601.
    date: String,
    speaker: Option<&'a str>,
}

impl SuperLocalMemory {
    pub(super) fn new(environment: Environment) -> Self {
        Self { environment }
    }

    fn file(&self) -> Option<PathBuf> {
        let set = DIRECTORIES.iter().find_map(|name| self.environment.get(name));
        let directory = match set {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(self.environment.get("HOME")?).join(DIRECTORY),
        };
        Some(directory.join("daemon.json"))
    }

    /// The daemon, if it runs. Its file, which has to belong to this user, is believed only if the
    /// program at the port gives the same instance id now: since the file was written, and since the
    /// last request, another program may have taken the port.
    fn daemon(&self) -> Option<Daemon> {
        let file = self.file()?;
        if std::fs::metadata(&file).ok()?.uid() != current_uid() {
            return None;
        }
        let bytes = read_bounded(&file, HELPER_FILE_BYTES_MAX).ok()?;
        let daemon: Daemon = serde_json::from_slice(&bytes).ok()?;
        let request = LoopbackRequest {
            port: daemon.port,
            path: "/health",
            headers: &[],
            body: None,
            time_max: TIME_MAX,
        };
        let health: Health = serde_json::from_slice(&request.send().ok()?.body).ok()?;
        (health.instance_id == daemon.instance_id).then_some(daemon)
    }

    /// What a refusal by `daemon` means. If it is still the daemon of the file, it refuses this text, for
    /// which the package has a policy; otherwise another program has answered.
    fn refusal(&self, daemon: &Daemon, why: String) -> Trouble {
        match self.daemon() {
            Some(now) if now == *daemon => Trouble::Refused(why),
            _ => Trouble::Away(why),
        }
    }

    fn remember(&self, memory: &Memory<'_>) -> Result<(), Trouble> {
        if let Some(daemon) = self.daemon() {
            let body = json!({
                "content": memory.text,
                "tags": memory.tags.join(","),
                "idempotency_key": memory.key,
                "session_date": memory.date,
                "metadata": {"source": "slm-mesh"},
            });
            return self
                .ask(&daemon, "/remember", Some(body.to_string().as_bytes()), TIME_MAX)
                .map(drop);
        }
        let tags = memory.tags.join(",");
        let speaker = memory.speaker.map(|speaker| format!("--speaker={speaker}"));
        let mut words = vec!["remember".to_owned(), format!("--tags={tags}"), "--json".to_owned()];
        words.extend(speaker);
        words.extend(["--".to_owned(), memory.text.clone()]);
        self.run(&words, TIME_MAX).map(drop)
    }

    /// Asks the daemon. Gives the body of a successful answer.
    fn ask(
        &self,
        daemon: &Daemon,
        path: &str,
        body: Option<&[u8]>,
        time_max: Duration,
    ) -> Result<Vec<u8>, Trouble> {
        let session = self.environment.get("SLM_USER_SESSION").map(str::to_owned);
        let mut headers = vec![
            ("X-SLM-Daemon-Capability", &*daemon.capability),
            ("X-SLM-Target-Instance", &*daemon.instance_id),
        ];
        headers.extend(session.as_deref().map(|session| ("X-SLM-User-Session", session)));
        let request =
            LoopbackRequest { port: daemon.port, path, headers: &headers, body, time_max };
        let response = request
            .send()
            .map_err(|error| Trouble::Away(format!("its daemon does not answer: {error}")))?;
        let trouble = match response.status {
            200..=299 => return Ok(response.body),
            429 | 503 => Trouble::Busy(response.retry_after.unwrap_or(BUSY_TIME)),
            // It wants to know the user, which has nothing to do with what it was given.
            401 => Trouble::Away(answer_text(&response)),
            403 | 409 => self.refusal(daemon, answer_text(&response)),
            400..=499 => Trouble::Refused(answer_text(&response)),
            _ => Trouble::Failed(answer_text(&response)),
        };
        Err(trouble)
    }

    /// Runs the command. Gives what it writes.
    fn run(&self, words: &[String], time_max: Duration) -> Result<Vec<u8>, Trouble> {
        let path = self.environment.get("PATH").unwrap_or_default();
        let Some(program) = find(COMMAND, path.as_ref()) else {
            let why = format!("its daemon is not running, and there is no command {COMMAND}");
            return Err(Trouble::Away(why));
        };
        // No argument can have a NUL in it.
        let words: Vec<String> = words.iter().map(|word| word.replace('\0', "\\u{0}")).collect();
        let run = Run {
            program: &program,
            words: &words,
            environment: &self.environment,
            reads_output: true,
            time_max,
        };
        let ended = run.to_end(None).map_err(|error: io::Error| {
            Trouble::Failed(format!("its command cannot be run: {error}"))
        })?;
        match ended.status.code() {
            Some(0) => Ok(ended.output),
            Some(EXIT_BUSY) => Err(Trouble::Busy(BUSY_TIME)),
            _ => Err(Trouble::Failed(format!("its command has ended with {}", ended.status))),
        }
    }
}

/// What the daemon said, in a line.
fn answer_text(response: &LoopbackResponse) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let text: String = text.chars().take(200).collect();
    format!("it has answered {}: {text}", response.status)
}

/// A text in the length that a memory takes: of a longer one, the beginning.
fn begin(text: String) -> String {
    match text.char_indices().nth(MEMORY_TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The word for a tag: commas stand between them.
fn tag(kind: &str, text: &str) -> String {
    format!("{kind}:{}", text.replace(',', " "))
}

impl MemoryBridge for SuperLocalMemory {
    fn on_message(&mut self, named: &NamedMessage<'_>) -> Result<(), Trouble> {
        let NamedMessage { message, from, to } = *named;
        self.remember(&Memory {
            text: begin(format!("{from} wrote to {to}: {}", message.payload)),
            tags: vec!["slm-mesh".into(), "message".into(), tag("from", from), tag("to", to)],
            key: message.id.to_string(),
            date: message.created_at.to_string(),
            speaker: Some(from),
        })
    }

    /// Remembers values that are set; a deletion is not worth remembering.
    fn on_state(&mut self, named: &NamedEvent<'_>, change: &StateChange) -> Result<(), Trouble> {
        let Some(value) = &change.value else { return Ok(()) };
        let StateChange { namespace, key, .. } = change;
        let by = named.by.unwrap_or("the broker");
        self.remember(&Memory {
            text: begin(format!("{by} set the shared value {key} ({namespace}) to: {value}")),
            tags: vec!["slm-mesh".into(), "state".into(), tag("key", key)],
            key: named.event.id.to_string(),
            date: named.event.created_at.to_string(),
            speaker: named.by,
        })
    }

    /// Remembers what agents and scripts emit; who comes, goes and locks is not worth remembering.
    fn on_event(&mut self, named: &NamedEvent<'_>) -> Result<(), Trouble> {
        let NamedEvent { event, by } = *named;
        if !event_type::is_custom(&event.kind) {
            return Ok(());
        }
        let who = by.unwrap_or("the broker");
        self.remember(&Memory {
            text: begin(format!("{who} told the event {}: {}", event.kind, event.payload)),
            tags: vec!["slm-mesh".into(), "event".into(), tag("type", &event.kind)],
            key: event.id.to_string(),
            date: event.created_at.to_string(),
            speaker: by,
        })
    }

    fn recall(&mut self, query: &str, limit: u32) -> Result<Vec<Passage>, Trouble> {
        let bytes = if let Some(daemon) = self.daemon() {
            let path = format!("/recall?q={}&limit={limit}", encode(query));
            self.ask(&daemon, &path, None, RECALL_TIME_MAX)?
        } else {
            let words = ["recall", "--json", "--limit", &limit.to_string(), "--", query];
            self.run(&words.map(str::to_owned), RECALL_TIME_MAX)?
        };
        let answer: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Trouble::Failed(format!("what it said is no JSON: {error}")))?;
        Ok(passages(answer.get("data").unwrap_or(&answer), limit))
    }

    fn is_available(&mut self) -> bool {
        let path = self.environment.get("PATH").unwrap_or_default().to_owned();
        self.daemon().is_some() || find(COMMAND, path.as_ref()).is_some()
    }
}
