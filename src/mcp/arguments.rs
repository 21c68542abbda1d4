//! The eight tools: their names and arguments, and what is asked of the broker for each.
//!
//! Refusals name the tool's own arguments, so that an agent is told what to change in its call and not in
//! a request that it never saw.

use std::borrow::Cow;
use std::mem;
use std::path::Path;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::catalog;
use super::project::Project;
use super::values::{ArgumentKind, understood};
use crate::agent::namespace;
use crate::api::{
    Code, Endpoint, Fetch, Fields, Filter, GitPlace, Kind as _, ListPeers, Members, Number,
    Part as _, Refusal, Request, Scope, Written,
};
use crate::client::paths;
use crate::limits::{INBOX_LIMIT_MAX, NAME_CHARS_MAX, WAIT_SECONDS_MAX};
use crate::model::Timestamp;

type Result<T> = std::result::Result<T, Refusal>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Peers,
    /// What I work on.
    Summary,
    Send,
    /// Read messages.
    Inbox,
    /// Shared state.
    State,
    /// File locks.
    Lock,
    Events,
    /// How things are, and who I am.
    Status,
}

/// A call of a tool whose arguments were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToolCall {
    /// Ask the broker this.
    Ask(Request),
    /// List peers, but not ourselves.
    Peers(Scope),
    /// Fetch messages; if there is none, wait so many seconds for one.
    Inbox {
        /// Which; always peeks.
        fetch: Fetch,
        wait: u64,
    },
    /// Tell how things are.
    Status,
}

impl Tool {
    /// All of them, in the order in which they are listed, with the names agents call them by.
    pub(super) const ALL: [(Self, &'static str); 8] = [
        (Self::Peers, "mesh_peers"),
        (Self::Summary, "mesh_summary"),
        (Self::Send, "mesh_send"),
        (Self::Inbox, "mesh_inbox"),
        (Self::State, "mesh_state"),
        (Self::Lock, "mesh_lock"),
        (Self::Events, "mesh_events"),
        (Self::Status, "mesh_status"),
    ];

    /// The name agents call it by.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(tool, _)| *tool == self).map_or("", |(_, name)| name)
    }

    /// The tool of this name.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(tool, _)| *tool)
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

    /// A sentence of the broker, with the names of this tool's arguments in place of those on the wire.
    pub(super) fn in_own_words(self, sentence: &str) -> Cow<'_, str> {
        let mut sentence = sentence.to_owned();
        for (own, wire) in self.renamed() {
            sentence = sentence.replace(&format!("`{wire}`"), &format!("`{own}`"));
        }
        sentence.into()
    }

    /// Reads a call with these arguments. `id` becomes the id of what it sends, so that it can be repeated
    /// without harm.
    ///
    /// # Errors
    /// `invalid_request`: which argument is wrong, and what was expected.
    pub(super) fn read(
        self,
        arguments: Option<&RawValue>,
        project: &Project,
        id: Option<Uuid>,
    ) -> Result<ToolCall> {
        let mut given = self.checked(arguments)?;
        Ok(match self {
            Self::Peers => ToolCall::Peers(scope(&given, project)?),
            Self::Inbox => inbox(given)?,
            Self::Status => ToolCall::Status,
            Self::Summary => ToolCall::Ask(Request::from_fields(Endpoint::Summary, &mut given)?),
            Self::State => {
                if given.text("action").as_deref() == Some("list") {
                    given.rename("key", "prefix");
                }
                let own = namespace::of_project(&project.path);
                let named = given.text("namespace").map(Cow::into_owned);
                given.set("namespace", namespace::on_the_wire(named.as_deref(), &own));
                ToolCall::Ask(Request::from_fields(Endpoint::State, &mut given)?)
            }
            Self::Send => {
                for (own, wire) in self.renamed() {
                    given.rename(own, wire);
                }
                given.set("id", &id);
                let request = Request::from_fields(Endpoint::Send, &mut given);
                let told = |refusal| hint(self.own(refusal), "`to`", TO_HINT);
                ToolCall::Ask(request.map_err(told)?)
            }
            Self::Lock => {
                canonicalise(&mut given, &project.path)?;
                if given.text("action").as_deref() == Some("steal") {
                    given.set("action", "lock");
                    given.set("steal", &true);
                }
                let request = Request::from_fields(Endpoint::Lock, &mut given);
                ToolCall::Ask(request.map_err(|refusal| hint(refusal, "`action`", ", steal"))?)
            }
            Self::Events => {
                events(&mut given)?;
                given.set("id", &id);
                ToolCall::Ask(Request::from_fields(Endpoint::Events, &mut given)?)
            }
        })
    }

    fn own(self, mut refusal: Refusal) -> Refusal {
        refusal.message = self.in_own_words(&refusal.message).into();
        refusal
    }

    /// The arguments that were given; empty ones are null.
    fn checked(self, arguments: Option<&RawValue>) -> Result<Fields<'_>> {
        let text = arguments.map_or("{}", RawValue::get);
        let Members(written): Members<'_> = serde_json::from_str(text).map_err(|error| {
            Refusal::new(Code::InvalidRequest, format!("the arguments cannot be read: {error}"))
        })?;
        // Some clients cannot call a tool without arguments, and invent some.
        if self == Self::Status {
            return Ok(Fields::default());
        }
        let known = catalog::arguments(self);
        let mut given = Vec::with_capacity(written.len() + 1);
        let mut unknown = Vec::new();
        for (name, raw) in written {
            let kind = known.iter().find(|(known, _)| *known == name).map(|(_, it)| it.kind);
            match understood(&name, kind.unwrap_or(ArgumentKind::Text), raw) {
                Some(_) if kind.is_none() => unknown.push(name),
                Some(meant) => given.push((name, Written(meant))),
                None => given.push((name, Written(Cow::Borrowed(RawValue::NULL)))),
            }
        }
        let Some(unknown) = unknown.into_iter().min() else { return Ok(Fields::new(given)) };
        let known: Vec<&str> = known.iter().map(|(name, _)| &**name).collect();
        let (tool, known) = (self.name(), known.join(", "));
        let message = format!("unknown argument `{unknown}`; {tool} takes {known}");
        Err(Refusal::new(Code::InvalidRequest, message))
    }
}

const TO_HINT: &str = "; mesh_peers lists who is there";

/// Adds `hint` to a refusal of the argument `what`.
fn hint(mut refusal: Refusal, what: &str, hint: &str) -> Refusal {
    if refusal.message.starts_with(what) {
        refusal.message = format!("{}{hint}", refusal.message).into();
    }
    refusal
}

fn scope(given: &Fields<'_>, project: &Project) -> Result<Scope> {
    match given.text("scope").as_deref() {
        None | Some("machine") => Ok(Scope::Machine),
        Some("mesh") => Ok(Scope::Mesh),
        Some("directory") => Ok(Scope::Directory { project_path: project.path_text() }),
        Some("repo") => match (project.git_root(), project.repository_id()) {
            (None, None) => Err(Refusal::new(
                Code::InvalidRequest,
                format!(
                    "{} is in no git repository; use `scope` machine or directory",
                    project.path.display()
                ),
            )),
            (git_root, repo_id) => {
                let repo_hash = project.repository_hash();
                Ok(Scope::Repo(GitPlace { git_root, repo_id, repo_hash }))
            }
        },
        Some(_) => Err(Refusal::field("scope", "machine, mesh, directory or repo")),
    }
}

fn inbox(mut given: Fields<'_>) -> Result<ToolCall> {
    const LIMIT: Number<u32> = Number::small(1, INBOX_LIMIT_MAX);
    const WAIT: Number<u64> = Number::whole(0, WAIT_SECONDS_MAX);
    if given.get("limit").is_some_and(|limit| LIMIT.parse(limit).is_none()) {
        return Err(Refusal::field("limit", &LIMIT.expected()));
    }
    if given.get("wait").is_some_and(|wait| WAIT.parse(wait).is_none()) {
        return Err(Refusal::field("wait", &format!("{} seconds", WAIT.expected())));
    }
    let mut fetch = Fetch::read(&mut given)?;
    let wait = mem::take(&mut fetch.wait);
    if wait > 0 && fetch.filter != Filter::Unread {
        return Err(Refusal::field("wait", "left out unless `filter` is unread"));
    }
    fetch.peek = true;
    Ok(ToolCall::Inbox { fetch, wait })
}

/// Gives the path its canonical spelling, so that all name the same file alike.
fn canonicalise(given: &mut Fields<'_>, project: &Path) -> Result<()> {
    let Some(path) = given.text("filePath") else { return Ok(()) };
    let takes = matches!(given.text("action").as_deref(), Some("lock" | "steal"));
    let read = if takes { paths::lock_path_from } else { paths::locked_path_from };
    let path = read(project, &path).map_err(|why| {
        Refusal::new(Code::InvalidRequest, format!("`filePath` cannot be locked: {why}"))
    })?;
    given.set("filePath", &path);
    Ok(())
}

/// `action` may be left out, and `since` is a time or a number.
fn events(given: &mut Fields<'_>) -> Result<()> {
    const NUMBER: Number<u64> = Number::whole(0, u64::MAX);
    if given.get("action").is_none() {
        given.set("action", "read");
    }
    let Some(since) = given.get("since") else { return Ok(()) };
    let text = given.text("since");
    let number = match &text {
        Some(text) if text.len() <= NAME_CHARS_MAX => text.parse::<u64>().ok(),
        Some(_) => None,
        None => NUMBER.parse(since),
    };
    let is_time = text.is_some_and(|text| Timestamp::parse(&text).is_some());
    match number {
        Some(number) => {
            given.rename("since", "after");
            given.set("after", &number);
            Ok(())
        }
        None if is_time => Ok(()),
        None => Err(Refusal::field(
            "since",
            "an ISO 8601 time (2026-04-08T10:30:00Z), or lastSeq of the last read",
        )),
    }
}

/// The request for [`ToolCall::Peers`] of the peer `own`.
pub(super) fn peers_request(scope: Scope, own: Option<&str>) -> Request {
    Request::Peers(ListPeers { scope, exclude_id: own.map(Into::into), ..ListPeers::default() })
}

#[cfg(test)]
#[path = "tests/arguments.rs"]
mod tests;
