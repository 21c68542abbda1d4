//! The eight tools: their names and arguments, and what is asked of the broker for each.
//!
//! Arguments are checked here in the tool's own words, so that an agent is told what to change in
//! the call it made, and not in a request it never saw.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::project::Project;
use super::values;
use crate::agent::namespace;
use crate::api::{Code, Endpoint, Fetch, Filter, ListPeers, Refusal, Request, Scope};
use crate::client::paths;
use crate::limits::{INBOX_LIMIT_MAX, NAME_CHARS_MAX, WAIT_SECONDS_MAX};
use crate::model::Timestamp;

type Result<T> = std::result::Result<T, Refusal>;

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Who is here.
    Peers,
    /// What I work on.
    Summary,
    /// Send a message.
    Send,
    /// Read messages.
    Inbox,
    /// Shared state.
    State,
    /// File locks.
    Lock,
    /// Events.
    Events,
    /// How things are, and who I am.
    Status,
}

/// What a call of a tool comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Ask the broker this.
    Ask(Request),
    /// List peers, but not ourselves.
    Peers(Scope),
    /// Fetch messages; if there is none, wait so many seconds for one.
    Inbox {
        /// Which; always peeks.
        fetch: Fetch,
        /// Seconds.
        wait: u64,
    },
    /// Tell how things are.
    Status,
}

impl Tool {
    /// All of them, in the order in which they are listed.
    pub(super) const ALL: [Self; 8] = [
        Self::Peers,
        Self::Summary,
        Self::Send,
        Self::Inbox,
        Self::State,
        Self::Lock,
        Self::Events,
        Self::Status,
    ];

    /// The name agents call it by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Peers => "mesh_peers",
            Self::Summary => "mesh_summary",
            Self::Send => "mesh_send",
            Self::Inbox => "mesh_inbox",
            Self::State => "mesh_state",
            Self::Lock => "mesh_lock",
            Self::Events => "mesh_events",
            Self::Status => "mesh_status",
        }
    }

    /// The tool of this name.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// The names of its arguments.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Peers => &["scope"],
            Self::Summary => &["summary"],
            Self::Send => &["to", "message", "type", "replyTo"],
            Self::Inbox => &["filter", "from", "limit", "wait"],
            Self::State => &["action", "key", "value", "namespace", "ifVersion", "ttlSeconds"],
            Self::Lock => &["action", "filePath", "shared", "wait", "reason", "ttlMinutes"],
            Self::Events => &["action", "types", "since", "limit", "type", "payload"],
            Self::Status => &[],
        }
    }

    /// Those of its arguments that have another name on the wire, as `(own, wire)`.
    fn renamed(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Send => &[("to", "toPeer"), ("message", "payload")],
            Self::Events => &[("since", "after")],
            Self::State => &[("key", "prefix")],
            _ => &[],
        }
    }

    /// A sentence of the broker with the names of this tool's arguments.
    pub(super) fn in_own_words(self, sentence: &str) -> Cow<'_, str> {
        let mut sentence = sentence.to_owned();
        for (own, wire) in self.renamed() {
            sentence = sentence.replace(&format!("`{wire}`"), &format!("`{own}`"));
        }
        sentence.into()
    }

    /// What a call with these arguments comes to. `id` is the id of what it sends, so that it can
    /// be repeated without harm.
    ///
    /// # Errors
    /// `invalid_request`: which argument is wrong, and what was expected.
    pub(super) fn read(
        self,
        arguments: Option<&RawValue>,
        project: &Project,
        id: Option<Uuid>,
    ) -> Result<Call> {
        let mut given = self.checked(arguments)?;
        let call = match self {
            Self::Peers => Call::Peers(scope(&given, project)?),
            Self::Inbox => inbox(given)?,
            Self::Status => Call::Status,
            Self::Summary => Call::Ask(decode(Endpoint::Summary, &given)?),
            Self::State => {
                if given.get("action").is_some_and(|action| action == "list")
                    && let Some(key) = given.remove("key")
                {
                    given.insert("prefix".to_owned(), key);
                }
                let own = namespace::of_project(&project.path);
                let named = given.get("namespace").and_then(Value::as_str);
                if named.is_some() || !given.contains_key("namespace") {
                    let meant = namespace::on_the_wire(named, &own).into();
                    given.insert("namespace".to_owned(), meant);
                }
                Call::Ask(decode(Endpoint::State, &given)?)
            }
            Self::Send => {
                for (own, wire) in self.renamed() {
                    if let Some(value) = given.remove(*own) {
                        given.insert((*wire).to_owned(), value);
                    }
                }
                identify(&mut given, id);
                let request = decode(Endpoint::Send, &given).map_err(|refusal| self.own(refusal));
                Call::Ask(request.map_err(|refusal| hint(refusal, "`to`", TO_HINT))?)
            }
            Self::Lock => {
                canonicalise(&mut given, &project.path)?;
                if given.get("action").is_some_and(|action| action == "steal") {
                    given.insert("action".to_owned(), "lock".into());
                    given.insert("steal".to_owned(), true.into());
                }
                let request = decode(Endpoint::Lock, &given);
                Call::Ask(request.map_err(|refusal| hint(refusal, "`action`", ", steal"))?)
            }
            Self::Events => {
                events(&mut given)?;
                identify(&mut given, id);
                let mut request = decode(Endpoint::Events, &given)?;
                if let Request::Emit { payload, .. } = &mut request
                    && let Some(written) = written(arguments, "payload")
                {
                    *payload = values::as_written(written).into();
                }
                Call::Ask(request)
            }
        };
        Ok(call)
    }

    fn own(self, mut refusal: Refusal) -> Refusal {
        refusal.message = self.in_own_words(&refusal.message).into();
        refusal
    }

    /// The arguments that were given, without those that say nothing.
    fn checked(self, arguments: Option<&RawValue>) -> Result<Map<String, Value>> {
        let text = arguments.map_or("{}", RawValue::get);
        let written: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| {
            Refusal::new(Code::InvalidRequest, format!("the arguments cannot be read: {error}"))
        })?;
        let understood = written
            .into_iter()
            .filter_map(|(name, raw)| values::understood(&name, raw).map(|value| (name, value)));
        let mut given: Map<String, Value> = understood.collect();
        // Some clients cannot call a tool without arguments, and make some up.
        if self == Self::Status {
            given.clear();
        }
        match given.keys().find(|name| !self.arguments().contains(&name.as_str())) {
            None => Ok(given),
            Some(unknown) => Err(Refusal::new(
                Code::InvalidRequest,
                format!(
                    "unknown argument `{unknown}`; {} takes {}",
                    self.name(),
                    self.arguments().join(", ")
                ),
            )),
        }
    }
}

const TO_HINT: &str = "; mesh_peers lists who is there";

/// The argument `name` as it was written, unless it says nothing.
fn written<'a>(arguments: Option<&'a RawValue>, name: &str) -> Option<&'a RawValue> {
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(arguments?.get()).ok()?;
    all.get(name).copied().filter(|raw| values::understood(name, raw).is_some())
}

/// Adds to a sentence about `what`.
fn hint(mut refusal: Refusal, what: &str, hint: &str) -> Refusal {
    if refusal.message.starts_with(what) {
        refusal.message = format!("{}{hint}", refusal.message).into();
    }
    refusal
}

/// The request that these fields make, which are already those of the wire.
fn decode(endpoint: Endpoint, fields: &Map<String, Value>) -> Result<Request> {
    // A map of texts and values can always be written.
    Request::decode(endpoint, &serde_json::to_vec(fields).unwrap_or_default())
}

fn identify(fields: &mut Map<String, Value>, id: Option<Uuid>) {
    if let Some(id) = id {
        fields.insert("id".to_owned(), id.to_string().into());
    }
}

fn scope(given: &Map<String, Value>, project: &Project) -> Result<Scope> {
    match given.get("scope").map(Value::as_str) {
        None | Some(Some("machine")) => Ok(Scope::Machine),
        Some(Some("mesh")) => Ok(Scope::Mesh),
        Some(Some("directory")) => Ok(Scope::Directory { project_path: project.path_text() }),
        Some(Some("repo")) => match (project.git_root(), project.repository_id()) {
            (None, None) => Err(Refusal::new(
                Code::InvalidRequest,
                format!(
                    "{} is in no git repository; use `scope` machine or directory",
                    project.path.display()
                ),
            )),
            (git_root, repo_id) => {
                Ok(Scope::Repo { git_root, repo_id, repo_hash: project.repository_hash() })
            }
        },
        Some(_) => Err(Refusal::field("scope", "machine, mesh, directory or repo")),
    }
}

fn inbox(mut given: Map<String, Value>) -> Result<Call> {
    let number = |value: &Value| value.as_u64().or_else(|| whole(value));
    if let Some(limit) = given.get("limit")
        && !number(limit).is_some_and(|limit| (1..=u64::from(INBOX_LIMIT_MAX)).contains(&limit))
    {
        let expected = format!("a whole number from 1 to {INBOX_LIMIT_MAX}");
        return Err(Refusal::field("limit", &expected));
    }
    let wait = match given.remove("wait") {
        None => 0,
        Some(wait) => number(&wait).filter(|wait| *wait <= WAIT_SECONDS_MAX).ok_or_else(|| {
            let expected = format!("a whole number of seconds from 0 to {WAIT_SECONDS_MAX}");
            Refusal::field("wait", &expected)
        })?,
    };
    let Request::Fetch(mut fetch) = decode(Endpoint::Messages, &given)? else {
        return Err(Refusal::new(Code::InvalidRequest, "these are no arguments of mesh_inbox"));
    };
    if wait > 0 && fetch.filter != Filter::Unread {
        return Err(Refusal::field("wait", "left out unless `filter` is unread"));
    }
    fetch.peek = true;
    Ok(Call::Inbox { fetch, wait })
}

/// Whole numbers only; some clients write 5.0.
fn whole(value: &Value) -> Option<u64> {
    let text = value.as_f64().filter(|number| number.fract() == 0.0)?.to_string();
    text.parse().ok()
}

/// A file has one spelling, whoever names it, and from wherever.
fn canonicalise(given: &mut Map<String, Value>, project: &Path) -> Result<()> {
    let Some(Value::String(path)) = given.get("filePath") else { return Ok(()) };
    let takes = given.get("action").is_some_and(|it| it == "lock" || it == "steal");
    let read = if takes { paths::lock_path_from } else { paths::locked_path_from };
    let path = read(project, path).map_err(|why| {
        Refusal::new(Code::InvalidRequest, format!("`filePath` cannot be locked: {why}"))
    })?;
    given.insert("filePath".to_owned(), path.into());
    Ok(())
}

/// `action` may be left out, and `since` is a time or a number.
fn events(given: &mut Map<String, Value>) -> Result<()> {
    given.entry("action").or_insert_with(|| "read".into());
    let Some(since) = given.remove("since") else { return Ok(()) };
    let number = match &since {
        Value::String(text) if text.len() <= NAME_CHARS_MAX => text.parse::<u64>().ok(),
        Value::Number(_) => since.as_u64().or_else(|| whole(&since)),
        _ => None,
    };
    let is_time = since.as_str().is_some_and(|text| Timestamp::parse(text).is_some());
    let name = match number {
        Some(_) => "after",
        None if is_time => "since",
        None => {
            return Err(Refusal::field(
                "since",
                "an ISO 8601 time (2026-04-08T10:30:00Z), or lastSeq of the last read",
            ));
        }
    };
    given.insert(name.to_owned(), number.map_or(since, Into::into));
    Ok(())
}

/// As [`Call::Peers`] is asked by the peer `own`.
pub(super) fn peers_request(scope: Scope, own: Option<&str>) -> Request {
    Request::Peers(ListPeers { scope, exclude_id: own.map(Into::into), ..ListPeers::default() })
}

#[cfg(test)]
#[path = "tests/arguments.rs"]
mod tests;
