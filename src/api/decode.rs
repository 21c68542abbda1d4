//! Decoding requests: checked as far as that is possible without knowing the mesh.

use serde_json::Value;
use uuid::Uuid;

use super::endpoint::Endpoint;
use super::fields::{Fields, Text, whole};
use super::refusal::{Code, Refusal};
use super::request::{
    Claim, Facts, Fetch, Filter, History, ListPeers, LockFile, LockFiles, LockPath, LockPaths,
    Place, ReadEvents, Register, Request, Scope, SendMessage, SetState,
};
use crate::limits::{
    AGENT_PIDS_MAX, CLAIM_WAIT_SECONDS_MAX, EVENT_TYPE_CHARS_MAX, EVENT_TYPES_MAX,
    INVITATION_MINUTES_MAX, KEY_CHARS_MAX, LIST_LIMIT_MAX, LOCK_FILES_MAX, LOCK_TTL_MINUTES_MAX,
    MARK_IDS_MAX, NAME_CHARS_MAX, NAMESPACE_CHARS_MAX, PATH_BYTES_MAX, PAYLOAD_BYTES_MAX,
    PEER_IDS_MAX, PROOF_HANDLES_MAX, REASON_CHARS_MAX, STATE_TTL_SECONDS_MAX, SUMMARY_CHARS_MAX,
    TAG_CHARS_MAX, THREAD_MESSAGES_MAX, WAIT_SECONDS_MAX,
};
use crate::model::{
    Handle, MachineName, MessageId, MessageKind, MessageRef, Moment, PeerId, RepoHash, SentStatus,
    Seq, Timestamp, Way, event_type,
};
use crate::names;

type Result<T> = std::result::Result<T, Refusal>;

/// A way of naming a peer or party: an id, a name, a prefix of an id.
const WHO: Text = Text::chars(1, NAME_CHARS_MAX);
/// The same, or a topic with its `#`.
const TO: Text = Text::chars(1, NAME_CHARS_MAX + 1);
const PATH: Text = Text::bytes(1, PATH_BYTES_MAX);
const TAG: Text = Text::chars(1, TAG_CHARS_MAX);
const PAYLOAD: Text = Text::bytes(1, PAYLOAD_BYTES_MAX);
const VALUE: Text = Text::bytes(0, PAYLOAD_BYTES_MAX);
const KEY: Text = Text::chars(1, KEY_CHARS_MAX);
const NAMESPACE: Text = Text::chars(1, NAMESPACE_CHARS_MAX);
const EVENT_TYPE: Text = Text::chars(1, EVENT_TYPE_CHARS_MAX);
/// The largest number JSON clients handle exactly.
const SEQ_MAX: u64 = (1 << 53) - 1;

impl Request {
    /// Decodes what was sent to `endpoint`.
    ///
    /// # Errors
    /// `invalid_json`, or `invalid_request` naming the field and what was expected.
    pub fn decode(endpoint: Endpoint, body: &[u8]) -> Result<Self> {
        let mut fields = match endpoint {
            Endpoint::Health => return Ok(Self::Health),
            Endpoint::Status => return Ok(Self::Status),
            _ => Fields::parse(body)?,
        };
        let fields = &mut fields;
        Ok(match endpoint {
            Endpoint::Health => Self::Health,
            Endpoint::Status => Self::Status,
            Endpoint::Shutdown => Self::Shutdown,
            Endpoint::Register => Self::Register(Box::new(register(fields)?)),
            Endpoint::Unregister => Self::Unregister {
                peer_id: fields.text("peerId", WHO)?,
                away: fields.flag("away")?,
            },
            Endpoint::Heartbeat => Self::Heartbeat {
                peer_id: fields.text("peerId", WHO)?,
                git_branch: fields.text("gitBranch", TAG)?,
                session_id: fields.text("sessionId", TAG)?,
            },
            Endpoint::Peers => Self::Peers(list_peers(fields)?),
            Endpoint::Summary => Self::Summary {
                peer_id: fields.text("peerId", WHO)?,
                summary: fields.need_text("summary", Text::chars(0, SUMMARY_CHARS_MAX))?,
            },
            Endpoint::Rename => Self::Rename {
                peer_id: fields.text("peerId", WHO)?,
                name: fields.need_text("name", WHO)?,
            },
            Endpoint::Send => Self::Send(send(fields)?),
            Endpoint::Messages => messages(fields)?,
            Endpoint::History => history(fields)?,
            Endpoint::State => state(fields)?,
            Endpoint::Lock => lock(fields)?,
            Endpoint::Events => events(fields)?,
            Endpoint::Machines => machines(fields)?,
        })
    }
}

fn pid(value: &Value) -> Option<u32> {
    whole(value).and_then(|number| u32::try_from(number).ok()).filter(|pid| *pid > 0)
}

fn register(fields: &mut Fields<'_>) -> Result<Register> {
    Ok(Register {
        pid: u32::try_from(fields.need_number("pid", 1..=u64::from(u32::MAX))?).unwrap_or(0),
        project_path: fields.need_text("projectPath", PATH)?,
        name: fields.text("name", WHO)?,
        agent_type: fields.text("agentType", WHO)?,
        git_root: fields.text("gitRoot", PATH)?,
        git_branch: fields.text("gitBranch", TAG)?,
        repo_id: fields.text("repoId", PATH)?,
        repo_hash: repo_hash(fields)?,
        uds_path: fields.text("udsPath", PATH)?,
        summary: fields.text("summary", Text::chars(0, SUMMARY_CHARS_MAX))?,
        reach: fields.text("reach", WHO)?,
        session_id: fields.text("sessionId", TAG)?,
        agent_pid: fields.small("agentPid", 1..=u32::MAX)?,
        private: fields.flag("private")?,
        acks: fields.flag("acks")?,
        exclusive: fields.flag("exclusive")?,
        peer_id: fields.text("peerId", WHO)?,
        facts: Facts::default(),
    })
}

fn list_peers(fields: &mut Fields<'_>) -> Result<ListPeers> {
    const SCOPES: &str = "machine, mesh, directory or repo";
    let repo_hash = repo_hash(fields)?;
    let (project_path, git_root, repo_id) = (
        fields.text("projectPath", PATH)?,
        fields.text("gitRoot", PATH)?,
        fields.text("repoId", PATH)?,
    );
    let scope = match fields.word("scope", SCOPES, |word| {
        ["machine", "mesh", "directory", "repo"].into_iter().find(|scope| *scope == word)
    })? {
        Some("directory") => Scope::Directory {
            project_path: project_path.ok_or_else(|| {
                Refusal::new(Code::InvalidRequest, "scope `directory` needs `projectPath`")
            })?,
        },
        Some("repo") if git_root.is_none() && repo_id.is_none() && repo_hash.is_none() => {
            return Err(Refusal::new(
                Code::InvalidRequest,
                "scope `repo` needs `gitRoot`, `repoId` or `repoHash`",
            ));
        }
        Some("repo") => Scope::Repo { git_root, repo_id, repo_hash },
        Some("mesh") => Scope::Mesh,
        _ => Scope::Machine,
    };
    Ok(ListPeers {
        scope,
        exclude_id: fields.text("excludeId", WHO)?,
        include_stale: fields.flag("includeStale")?,
        session_id: fields.text("sessionId", TAG)?,
        agent_pids: fields
            .list("agentPids", AGENT_PIDS_MAX, "process ids", pid)?
            .unwrap_or_default(),
        agents: fields.flag("agents")?,
        ids: fields
            .list("ids", PEER_IDS_MAX, "ids of peers", |id| PeerId::parse(id.as_str()?))?
            .unwrap_or_default(),
        include_departed: fields.flag("includeDeparted")?,
        unread: fields.flag("unread")?,
    })
}

fn repo_hash(fields: &mut Fields<'_>) -> Result<Option<RepoHash>> {
    fields.word("repoHash", "64 hexadecimal digits", RepoHash::parse)
}

fn client_id(fields: &mut Fields<'_>) -> Result<Option<Uuid>> {
    uuid(fields, "id")
}

fn uuid(fields: &mut Fields<'_>, name: &str) -> Result<Option<Uuid>> {
    fields.word(name, "a UUID", |text| {
        (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
    })
}

fn send(fields: &mut Fields<'_>) -> Result<SendMessage> {
    let sent = SendMessage {
        from_peer: fields.text("fromPeer", WHO)?,
        to_peer: fields.need_text("toPeer", TO)?,
        payload: fields.need_text("payload", PAYLOAD)?,
        kind: fields
            .word("type", "text, json, command or alert", MessageKind::parse)?
            .unwrap_or_default(),
        reply_to: fields.word("replyTo", "the handle or the id of a message", MessageRef::parse)?,
        id: client_id(fields)?,
        place: Place {
            project_path: fields.text("projectPath", PATH)?,
            git_root: fields.text("gitRoot", PATH)?,
            repo_id: fields.text("repoId", PATH)?,
            repo_hash: repo_hash(fields)?,
        },
    };
    if let Some(topic) = sent.to_peer.strip_prefix(names::TOPIC) {
        names::check_topic(topic).map_err(|error| {
            let to = format!("`toPeer`: a topic is `#` and a name: {error}");
            Refusal::new(Code::InvalidRequest, to)
        })?;
    }
    let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(&sent.payload).is_ok();
    if sent.kind == MessageKind::Json && !is_json() {
        return Err(Refusal::field("payload", "valid JSON when `type` is json"));
    }
    Ok(sent)
}

fn messages(fields: &mut Fields<'_>) -> Result<Request> {
    const WAYS: &str = "inbox-socket, channel, queue, hook, tool-result, wait-hook or plugin";
    let peer_id = fields.text("peerId", WHO)?;
    let forms = ["markRead", "markNotified", "markSent", "claim", "renew", "release"];
    if forms.iter().filter(|form| fields.has(form)).count() > 1 {
        let message = "`claim`, `renew`, `release`, `markSent`, `markNotified` and `markRead` are \
                       requests of their own: send one";
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    let ids = |fields: &mut Fields<'_>, name: &str| {
        let parse = |value: &Value| value.as_str().and_then(MessageId::parse);
        fields.list(name, MARK_IDS_MAX, "message ids", parse)
    };
    if let Some(ids) = ids(fields, "markRead")? {
        let way = fields.word("way", WAYS, Way::parse)?;
        return Ok(Request::MarkRead { peer_id, ids, way, claim_id: uuid(fields, "claimId")? });
    }
    if let Some(ids) = ids(fields, "markNotified")? {
        let way = fields.need_word("way", WAYS, Way::parse)?;
        return Ok(Request::MarkNotified { peer_id, ids, way, claim_id: uuid(fields, "claimId")? });
    }
    if let Some(ids) = ids(fields, "markSent")? {
        const STATUS: &str = "sent, held, refused, declined, not-running or dropped";
        return Ok(Request::MarkSent {
            peer_id,
            ids,
            way: fields.need_word("way", WAYS, Way::parse)?,
            status: fields.need_word("status", STATUS, SentStatus::parse)?,
            whole: fields.flag("whole")?,
            claim_id: uuid(fields, "claimId")?,
        });
    }
    if let Some(by) = fields.word("claim", WAYS, Way::parse)? {
        let moments = "start, prompt, tool, stop or end";
        let proof = |value: &Value| value.as_str().and_then(Handle::parse);
        return Ok(Request::Claim(Claim {
            peer_id,
            by,
            limit: fields.small("limit", 1..=LIST_LIMIT_MAX)?,
            wait: fields.number("wait", 0..=CLAIM_WAIT_SECONDS_MAX)?.unwrap_or(0),
            moment: fields.word("moment", moments, Moment::parse)?,
            proof: fields
                .list("proof", PROOF_HANDLES_MAX, "handles of messages", proof)?
                .unwrap_or_default(),
        }));
    }
    if let Some(claim_id) = uuid(fields, "renew")? {
        return Ok(Request::RenewClaim { peer_id, claim_id });
    }
    if let Some(claim_id) = uuid(fields, "release")? {
        return Ok(Request::ReleaseClaim { peer_id, claim_id });
    }
    let filter = |word: &str| match word {
        "unread" => Some(Filter::Unread),
        "all" => Some(Filter::All),
        "sent" => Some(Filter::Sent),
        _ => None,
    };
    Ok(Request::Fetch(Fetch {
        peer_id,
        filter: fields.word("filter", "unread, all or sent", filter)?.unwrap_or_default(),
        from: fields.text("from", WHO)?,
        limit: fields.small("limit", 1..=LIST_LIMIT_MAX)?,
        peek: fields.flag("peek")?,
        before: fields.number("before", 0..=SEQ_MAX)?.map(Seq),
        after: fields.number("after", 0..=SEQ_MAX)?.map(Seq),
        wait: fields.number("wait", 0..=WAIT_SECONDS_MAX)?.unwrap_or(0),
    }))
}

fn history(fields: &mut Fields<'_>) -> Result<Request> {
    if let Some(message) =
        fields.word("message", "the handle or the id of a message", MessageRef::parse)?
    {
        return Ok(Request::FindMessage { message });
    }
    let id = |value: &Value| value.as_str().and_then(MessageId::parse);
    let history = History {
        with: fields.text("with", TO)?,
        text: fields.text("text", Text::bytes(1, PAYLOAD_BYTES_MAX))?,
        thread: fields.list("thread", THREAD_MESSAGES_MAX, "message ids", id)?.unwrap_or_default(),
        since: fields.word("since", "a time such as 2026-04-08T10:30:00Z", Timestamp::parse)?,
        before: fields.number("before", 0..=SEQ_MAX)?.map(Seq),
        after: fields.number("after", 0..=SEQ_MAX)?.map(Seq),
        limit: fields.small("limit", 1..=LIST_LIMIT_MAX)?,
    };
    if !history.thread.is_empty() && history.after.is_none() {
        let message = "`thread` needs `after`: answers are found after what they answer";
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    Ok(Request::History(history))
}

fn state(fields: &mut Fields<'_>) -> Result<Request> {
    let action = action(fields, &["get", "set", "list", "delete"])?;
    let namespace =
        fields.text("namespace", NAMESPACE)?.unwrap_or_else(|| names::DEFAULT_NAMESPACE.into());
    let version = |fields: &mut Fields<'_>| {
        fields.number("ifVersion", 0..=SEQ_MAX).map(|version| version.map(Seq))
    };
    Ok(match action {
        "get" => Request::GetState { namespace, key: fields.need_text("key", KEY)? },
        "list" => {
            let namespace = (!fields.flag("allNamespaces")?).then_some(namespace);
            let prefix = fields.text("prefix", Text::chars(0, KEY_CHARS_MAX))?;
            if namespace.is_none() && prefix.is_some() {
                let message = "`prefix` is for one namespace: leave out `allNamespaces`";
                return Err(Refusal::new(Code::InvalidRequest, message));
            }
            let limit = fields.small("limit", 1..=LIST_LIMIT_MAX)?;
            let place = |value: &Value| value.as_str().map(Into::into);
            let after = fields.list("after", 2, "texts: a namespace and a key", place)?;
            let after: Option<[Box<str>; 2]> = match after.map(TryInto::try_into) {
                None => None,
                Some(Ok(after)) if namespace.is_none() => Some(after),
                Some(_) => {
                    let message = "`after` is a namespace and a key, with `allNamespaces`";
                    return Err(Refusal::new(Code::InvalidRequest, message));
                }
            };
            Request::ListState { namespace, prefix, after, limit }
        }
        "set" => Request::SetState(SetState {
            peer_id: fields.text("peerId", WHO)?,
            namespace,
            key: fields.need_text("key", KEY)?,
            value: fields.need_text("value", VALUE)?,
            if_version: version(fields)?,
            ttl_seconds: fields.number("ttlSeconds", 1..=STATE_TTL_SECONDS_MAX)?,
        }),
        _ => Request::DeleteState {
            peer_id: fields.text("peerId", WHO)?,
            namespace,
            key: fields.need_text("key", KEY)?,
            if_version: version(fields)?,
        },
    })
}

fn lock(fields: &mut Fields<'_>) -> Result<Request> {
    let action = action(fields, &["lock", "unlock", "query"])?;
    let peer_id = fields.text("peerId", WHO)?;
    Ok(match action {
        "lock" if fields.has("filePaths") => Request::LockFiles(lock_files(fields, peer_id)?),
        "lock" => Request::Lock(lock_file(fields, peer_id)?),
        "unlock" => {
            Request::Unlock { peer_id, path: lock_path(fields)?, force: fields.flag("force")? }
        }
        _ if fields.has("filePaths") => Request::QueryFiles { peer_id, paths: lock_paths(fields)? },
        _ if fields.has("filePath") => {
            Request::QueryLocks { peer_id, path: Some(lock_path(fields)?) }
        }
        _ => Request::QueryLocks { peer_id, path: None },
    })
}

fn lock_file(fields: &mut Fields<'_>, peer_id: Option<Box<str>>) -> Result<LockFile> {
    let lock = LockFile {
        peer_id,
        path: lock_path(fields)?,
        shared: fields.flag("shared")?,
        reason: fields.text("reason", Text::chars(0, REASON_CHARS_MAX))?,
        ttl_minutes: fields.small("ttlMinutes", 1..=LOCK_TTL_MINUTES_MAX)?,
        steal: fields.flag("steal")?,
        wait: fields.number("wait", 0..=WAIT_SECONDS_MAX)?.unwrap_or(0),
        place: uuid(fields, "place")?,
    };
    let has_reason = lock.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
    if lock.steal && !has_reason {
        let message = "`reason` is missing: whoever loses the lock is told why it was taken";
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    if lock.steal && lock.wait > 0 {
        let message = "`steal` takes the lock at once: leave out `wait`, or `steal`";
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    Ok(lock)
}

fn lock_files(fields: &mut Fields<'_>, peer_id: Option<Box<str>>) -> Result<LockFiles> {
    if let Some(other) = ["steal", "wait", "place"].into_iter().find(|name| fields.has(name)) {
        let message = format!(
            "`{other}` is for one lock: leave it out, or send one `filePath` instead of `filePaths`"
        );
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    Ok(LockFiles {
        peer_id,
        paths: lock_paths(fields)?,
        shared: fields.flag("shared")?,
        reason: fields.text("reason", Text::chars(0, REASON_CHARS_MAX))?,
        ttl_minutes: fields.small("ttlMinutes", 1..=LOCK_TTL_MINUTES_MAX)?,
        subagent: fields.text("subagent", TAG)?,
    })
}

fn lock_paths(fields: &mut Fields<'_>) -> Result<LockPaths> {
    if fields.has("filePath") {
        let message = "`filePath` and `filePaths` are two ways of saying it: send one";
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    let path = |value: &Value| value.as_str().filter(|path| PATH.fits(path)).map(Into::into);
    let what = "paths of 1 to 4096 bytes, and not empty";
    let file_paths: Option<Vec<_>> = fields.list("filePaths", LOCK_FILES_MAX, what, path)?;
    Ok(LockPaths {
        file_paths: file_paths.filter(|paths| !paths.is_empty()).ok_or_else(|| {
            Refusal::field("filePaths", &format!("a list of 1 to {LOCK_FILES_MAX} paths"))
        })?,
        exact: fields.flag("exact")?,
        repo_hash: repo_hash(fields)?,
        repo_id: fields.text("repoId", PATH)?,
        git_root: fields.text("gitRoot", PATH)?,
    })
}

fn lock_path(fields: &mut Fields<'_>) -> Result<LockPath> {
    Ok(LockPath {
        file_path: fields.need_text("filePath", PATH)?,
        exact: fields.flag("exact")?,
        repo_hash: repo_hash(fields)?,
        repo_id: fields.text("repoId", PATH)?,
        git_root: fields.text("gitRoot", PATH)?,
    })
}

fn events(fields: &mut Fields<'_>) -> Result<Request> {
    let action = action(fields, &["read", "subscribe", "unsubscribe", "emit"])?;
    let types = |fields: &mut Fields<'_>| {
        fields.list("types", EVENT_TYPES_MAX, "event types, `prefix.*` or `*`", |value| {
            value.as_str().filter(|pattern| is_type_pattern(pattern)).map(Into::into)
        })
    };
    if action == "read" {
        return Ok(Request::ReadEvents(ReadEvents {
            types: types(fields)?.unwrap_or_default(),
            since: fields.word("since", "an ISO 8601 time", Timestamp::parse)?,
            after: fields.number("after", 0..=SEQ_MAX)?.map(Seq),
            limit: fields.small("limit", 1..=LIST_LIMIT_MAX)?,
            wait: fields.number("wait", 0..=WAIT_SECONDS_MAX)?.unwrap_or(0),
        }));
    }
    let peer_id = fields.text("peerId", WHO)?;
    Ok(match action {
        "subscribe" => {
            const WHAT: &str = "event types, `prefix.*`, `*` or `#topic`";
            let wanted = |text: &&str| match text.strip_prefix(names::TOPIC) {
                Some(topic) => names::check_topic(topic).is_ok(),
                None => is_type_pattern(text),
            };
            let types = fields.list("types", EVENT_TYPES_MAX, WHAT, |value| {
                value.as_str().filter(wanted).map(Into::into)
            })?;
            let types = types.filter(|types| !types.is_empty());
            let none = || {
                Refusal::field(
                    "types",
                    "a list of at least one event type, `prefix.*`, `*` or `#topic`",
                )
            };
            Request::Subscribe { peer_id, types: types.ok_or_else(none)? }
        }
        "unsubscribe" => Request::Unsubscribe { peer_id },
        _ => {
            let kind = fields.need_text("type", EVENT_TYPE)?;
            if !is_custom_type(&kind) {
                return Err(Refusal::field(
                    "type",
                    "a name of [A-Za-z0-9._-] that is none of the mesh's own types (peer_joined and \
                     the like, and whatever begins with `mesh.`), such as build.finished",
                ));
            }
            Request::Emit {
                peer_id,
                kind,
                payload: fields.json("payload", PAYLOAD_BYTES_MAX)?.unwrap_or("null".into()),
                id: client_id(fields)?,
            }
        }
    })
}

fn machines(fields: &mut Fields<'_>) -> Result<Request> {
    const NAME: &str = "the name of a machine: 1 to 32 letters, digits, '.', '_' and '-'";
    let action = action(fields, &["list", "invite", "remove", "leave"])?;
    Ok(match action {
        "list" => Request::ListMachines,
        "invite" => Request::Invite {
            name: fields.word("name", NAME, MachineName::new)?,
            minutes: fields.small("minutes", 1..=INVITATION_MINUTES_MAX)?,
        },
        "remove" => {
            Request::RemoveMachine { name: fields.need_word("name", NAME, MachineName::new)? }
        }
        _ => Request::LeaveHub {},
    })
}

fn action(fields: &mut Fields<'_>, known: &'static [&'static str]) -> Result<&'static str> {
    let find = |word: &str| known.iter().copied().find(|action| *action == word);
    fields.need_word("action", &format!("one of {}", known.join(", ")), find)
}

fn is_type_word(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// A name that a party may emit: `build.finished`, `deployed`.
fn is_custom_type(kind: &str) -> bool {
    is_type_word(kind)
        && !kind.starts_with('.')
        && !kind.ends_with('.')
        && event_type::is_custom(kind)
}

/// `*`, `prefix.*`, or a type.
fn is_type_pattern(pattern: &str) -> bool {
    let rest = match pattern.strip_suffix('*') {
        Some(prefix) if prefix.is_empty() || prefix.ends_with('.') => prefix,
        Some(_) => return false,
        None if pattern.is_empty() => return false,
        None => pattern,
    };
    pattern.len() <= EVENT_TYPE_CHARS_MAX && is_type_word(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(endpoint: Endpoint, body: &str) -> Result<Request> {
        Request::decode(endpoint, body.as_bytes())
    }

    fn refused(endpoint: Endpoint, body: &str) -> String {
        decode(endpoint, body).unwrap_err().message.into()
    }

    #[test]
    fn a_payload_stays_as_it_was_written() {
        for (written, kept) in [
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            (
                " { \"b\" : 18446744073709551617 , \"a\": 1.10 } ",
                r#"{"b":18446744073709551617,"a":1.10}"#,
            ),
            (r#""two words\" \\ ""#, r#""two words\" \\ ""#),
            ("[ ]", "[]"),
            ("null", "null"),
        ] {
            let body = format!(r#"{{"action":"emit","type":"a.b","payload":{written}}}"#);
            let request = Request::decode(Endpoint::Events, body.as_bytes()).unwrap();
            let Request::Emit { payload, .. } = request else { panic!("{request:?}") };
            assert_eq!(&*payload, kept);
        }
    }

    #[test]
    fn errors_name_the_field_and_what_was_expected() {
        use Endpoint as E;
        for (endpoint, body, words) in [
            (E::Send, r#"{"toPeer":5}"#, ["toPeer", "string"]),
            (E::Send, "{}", ["toPeer", "missing"]),
            (E::Send, r#"{"toPeer":"a","payload":""}"#, ["payload", "1 to 65536 bytes"]),
            (E::Send, r#"{"toPeer":"a","payload":"x","type":"shout"}"#, ["type", "alert"]),
            (E::Send, r#"{"toPeer":"a","payload":"{","type":"json"}"#, ["payload", "JSON"]),
            (E::Messages, r#"{"limit":0}"#, ["limit", "1 to 1000"]),
            (E::Messages, r#"{"limit":1001}"#, ["limit", "1 to 1000"]),
            (E::Messages, r#"{"limit":1.5}"#, ["limit", "whole number"]),
            (E::Messages, r#"{"wait":56}"#, ["wait", "0 to 55"]),
            (E::Messages, r#"{"markRead":["x"]}"#, ["markRead", "message ids"]),
            (E::Messages, r#"{"markRead":[],"way":"owl"}"#, ["way", "inbox-socket"]),
            (E::Messages, r#"{"markNotified":[]}"#, ["way", "missing"]),
            (E::Messages, r#"{"markNotified":["x"],"way":"hook"}"#, ["markNotified", "ids"]),
            (E::Messages, r#"{"markNotified":[],"way":"owl"}"#, ["way", "tool-result"]),
            (E::Messages, r#"{"claim":"me"}"#, ["claim", "hook"]),
            (E::Messages, r#"{"claim":true}"#, ["claim", "hook"]),
            (E::Messages, r#"{"claim":"hook","wait":3601}"#, ["wait", "0 to 3600"]),
            (E::Messages, r#"{"claim":"hook","moment":"now"}"#, ["moment", "prompt"]),
            (E::Messages, r#"{"claim":"hook","proof":["1234"]}"#, ["proof", "handles"]),
            (E::Messages, r#"{"markSent":[],"way":"queue"}"#, ["status", "missing"]),
            (E::Messages, r#"{"markSent":[],"status":"sent"}"#, ["way", "missing"]),
            (E::Messages, r#"{"markSent":[],"way":"queue","status":"lost"}"#, ["status", "held"]),
            (E::Messages, r#"{"markRead":[],"claimId":"x"}"#, ["claimId", "UUID"]),
            (E::Messages, r#"{"renew":true}"#, ["renew", "UUID"]),
            (E::Messages, r#"{"release":"x"}"#, ["release", "UUID"]),
            (E::Messages, r#"{"renew":"x","release":"x"}"#, ["release", "send one"]),
            (E::Send, r#"{"toPeer":"a","payload":"x","replyTo":"1234"}"#, ["replyTo", "handle"]),
            (E::Messages, r#"{"claim":"hook","limit":0}"#, ["limit", "1 to 1000"]),
            (E::Messages, r#"{"claim":"hook","markRead":[]}"#, ["claim", "send one"]),
            (E::Messages, r#"{"markNotified":[],"markRead":[]}"#, ["markRead", "send one"]),
            (E::State, r#"{"key":"a"}"#, ["action", "get, set"]),
            (E::State, r#"{"action":"get"}"#, ["key", "missing"]),
            (
                E::Lock,
                r#"{"action":"lock","filePath":"a","ttlMinutes":1441}"#,
                ["ttlMinutes", "1440"],
            ),
            (
                E::Lock,
                r#"{"action":"lock","filePath":"a","steal":true,"reason":" "}"#,
                ["`reason` is missing", "why"],
            ),
            (
                E::Lock,
                r#"{"action":"lock","filePath":"a","steal":true,"reason":"r","wait":1}"#,
                ["`steal`", "`wait`"],
            ),
            (E::Lock, r#"{"action":"lock","filePath":"a","wait":56}"#, ["wait", "0 to 55"]),
            (E::Lock, r#"{"action":"lock","filePath":"a","place":"x"}"#, ["place", "UUID"]),
            (E::Lock, r#"{"action":"query","filePath":""}"#, ["filePath", "1 to 4096"]),
            (E::Lock, r#"{"action":"lock","filePaths":[]}"#, ["filePaths", "1 to 256"]),
            (E::Lock, r#"{"action":"query","filePaths":[""]}"#, ["filePaths", "1 to 4096"]),
            (E::Lock, r#"{"action":"lock","filePaths":["a"],"wait":1}"#, ["`wait`", "one lock"]),
            (E::Lock, r#"{"action":"lock","filePaths":["a"],"steal":true}"#, ["`steal`", "one"]),
            (E::Lock, r#"{"action":"query","filePaths":["a"],"filePath":"a"}"#, ["two", "one"]),
            (E::Events, r#"{"action":"emit","type":"mesh.plain"}"#, ["type", "mesh"]),
            (E::Events, r#"{"action":"emit","type":"peer_joined"}"#, ["type", "mesh's own"]),
            (E::Events, r#"{"action":"emit","type":"a b"}"#, ["type", "name"]),
            (E::State, r#"{"action":"list","allNamespaces":true,"prefix":"a"}"#, ["prefix", "one"]),
            (E::Events, r#"{"action":"read","types":["b*"]}"#, ["types", "prefix"]),
            (E::Events, r#"{"action":"subscribe","types":[]}"#, ["types", "at least one"]),
            (E::Peers, r#"{"scope":"repo"}"#, ["repo", "gitRoot"]),
            (E::Peers, r#"{"scope":"galaxy"}"#, ["scope", "machine"]),
            (E::Peers, r#"{"scope":"repo","repoHash":"12"}"#, ["repoHash", "64"]),
            (E::Machines, r#"{"action":"invite","name":"a b"}"#, ["name", "letters"]),
            (E::Machines, r#"{"action":"invite","minutes":1441}"#, ["minutes", "1440"]),
            (E::Machines, r#"{"action":"remove"}"#, ["name", "missing"]),
            (E::Register, r#"{"projectPath":"/p"}"#, ["pid", "missing"]),
            (E::Register, r#"{"pid":1,"projectPath":"/p","private":1}"#, ["private", "true"]),
            (E::Register, "[]", ["object", "body"]),
        ] {
            let message = refused(endpoint, body);
            assert!(words.iter().all(|word| message.contains(word)), "{body}: {message}");
        }
        assert_eq!(decode(E::Send, "{").unwrap_err().code, Code::InvalidJson);
        assert_eq!(decode(E::Send, "\u{1}").unwrap_err().code, Code::InvalidJson);
        assert_eq!(
            Request::decode(E::Send, b"{\"a\":\"\xff\"}").unwrap_err().code,
            Code::InvalidJson
        );
    }

    #[test]
    fn both_sides_of_each_text_limit() {
        let send = |n: usize| format!(r#"{{"toPeer":"a","payload":"{}"}}"#, "x".repeat(n));
        assert!(decode(Endpoint::Send, &send(PAYLOAD_BYTES_MAX)).is_ok());
        assert!(decode(Endpoint::Send, &send(PAYLOAD_BYTES_MAX + 1)).is_err());
        let summary = |n: usize| format!(r#"{{"summary":"{}"}}"#, "é".repeat(n));
        assert!(decode(Endpoint::Summary, &summary(SUMMARY_CHARS_MAX)).is_ok());
        assert!(decode(Endpoint::Summary, &summary(SUMMARY_CHARS_MAX + 1)).is_err());
        let key = |n: usize| format!(r#"{{"action":"get","key":"{}"}}"#, "k".repeat(n));
        assert!(decode(Endpoint::State, &key(KEY_CHARS_MAX)).is_ok());
        assert!(decode(Endpoint::State, &key(KEY_CHARS_MAX + 1)).is_err());
        let path = |n: usize| format!(r#"{{"action":"lock","filePath":"{}"}}"#, "p".repeat(n));
        assert!(decode(Endpoint::Lock, &path(PATH_BYTES_MAX)).is_ok());
        assert!(decode(Endpoint::Lock, &path(PATH_BYTES_MAX + 1)).is_err());
        let files = |n: usize| {
            format!(r#"{{"action":"lock","filePaths":[{}]}}"#, vec![r#""p""#; n].join(","))
        };
        assert!(decode(Endpoint::Lock, &files(LOCK_FILES_MAX)).is_ok());
        assert!(decode(Endpoint::Lock, &files(LOCK_FILES_MAX + 1)).is_err());
        let types = |n: usize| {
            format!(r#"{{"action":"read","types":[{}]}}"#, vec![r#""a.b""#; n].join(","))
        };
        assert!(decode(Endpoint::Events, &types(EVENT_TYPES_MAX)).is_ok());
        assert!(decode(Endpoint::Events, &types(EVENT_TYPES_MAX + 1)).is_err());
        let id = MessageId::new(Seq(1), [0; 16]);
        for form in ["markRead", "markNotified", "markSent"] {
            let mark = |n: usize| {
                let ids = vec![format!("\"{id}\""); n].join(",");
                format!(r#"{{"{form}":[{ids}],"way":"hook","status":"sent"}}"#)
            };
            assert!(decode(Endpoint::Messages, &mark(MARK_IDS_MAX)).is_ok());
            assert!(decode(Endpoint::Messages, &mark(MARK_IDS_MAX + 1)).is_err());
        }
        let proof = |n: usize| {
            let handles = vec![format!("\"{}\"", id.handle()); n].join(",");
            format!(r#"{{"claim":"hook","moment":"prompt","proof":[{handles}]}}"#)
        };
        assert!(decode(Endpoint::Messages, &proof(PROOF_HANDLES_MAX)).is_ok());
        assert!(decode(Endpoint::Messages, &proof(PROOF_HANDLES_MAX + 1)).is_err());
        let emit = |n: usize| {
            format!(r#"{{"action":"emit","type":"a.b","payload":"{}"}}"#, "x".repeat(n - 2))
        };
        assert!(decode(Endpoint::Events, &emit(PAYLOAD_BYTES_MAX)).is_ok());
        assert!(decode(Endpoint::Events, &emit(PAYLOAD_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn unknown_fields_nulls_and_empty_bodies_are_fine() {
        assert_eq!(
            decode(Endpoint::Messages, r#"{"future":[1,{}],"limit":null}"#).unwrap(),
            Request::Fetch(Fetch::default())
        );
        assert_eq!(decode(Endpoint::Shutdown, "").unwrap(), Request::Shutdown);
        let Request::Fetch(fetch) = decode(Endpoint::Messages, r#"{"limit":5.0}"#).unwrap() else {
            panic!("not a fetch");
        };
        assert_eq!(fetch.limit, Some(5));
    }

    #[test]
    fn what_clients_write_is_what_the_broker_reads() {
        let id = MessageId::new(Seq(7), [3; 16]);
        let me: Option<Box<str>> = Some("me".into());
        let requests = [
            Request::Register(Box::new(Register {
                pid: 7,
                project_path: "/p".into(),
                name: Some("n".into()),
                repo_id: Some("/p/.git".into()),
                acks: true,
                agent_pid: Some(3),
                ..Register::default()
            })),
            Request::Unregister { peer_id: me.clone(), away: true },
            Request::Heartbeat {
                peer_id: me.clone(),
                git_branch: Some("main".into()),
                session_id: Some("s".into()),
            },
            Request::Peers(ListPeers {
                scope: Scope::Directory { project_path: "/p".into() },
                include_stale: true,
                agent_pids: vec![1, 2],
                agents: true,
                ..ListPeers::default()
            }),
            Request::Peers(ListPeers {
                scope: Scope::Repo {
                    git_root: None,
                    repo_id: Some("/r".into()),
                    repo_hash: Some(RepoHash([5; 32])),
                },
                ..ListPeers::default()
            }),
            Request::Peers(ListPeers::default()),
            Request::Summary { peer_id: me.clone(), summary: "s".into() },
            Request::Send(SendMessage {
                from_peer: me.clone(),
                to_peer: "all".into(),
                payload: "\"\\\u{0}é".into(),
                kind: MessageKind::Alert,
                reply_to: Some(id.into()),
                id: Some(Uuid::from_bytes([9; 16])),
                place: Place {
                    project_path: Some("/p".into()),
                    git_root: None,
                    repo_id: Some("/r".into()),
                    repo_hash: Some(RepoHash([6; 32])),
                },
            }),
            Request::Fetch(Fetch {
                filter: Filter::Sent,
                limit: Some(3),
                after: Some(Seq(5)),
                wait: 5,
                peek: true,
                ..Fetch::default()
            }),
            Request::GetState { namespace: "n".into(), key: "k".into() },
            Request::SetState(SetState {
                peer_id: me.clone(),
                namespace: "n".into(),
                key: "k".into(),
                value: String::new().into(),
                if_version: Some(Seq(0)),
                ttl_seconds: Some(5),
            }),
            Request::DeleteState {
                peer_id: None,
                namespace: "n".into(),
                key: "k".into(),
                if_version: Some(Seq(4)),
            },
            Request::Lock(LockFile {
                peer_id: None,
                path: LockPath {
                    exact: true,
                    repo_id: Some("/r/.git".into()),
                    repo_hash: Some(RepoHash([7; 32])),
                    git_root: Some("/r".into()),
                    ..LockPath::of("f")
                },
                reason: Some("r".into()),
                ttl_minutes: Some(3),
                shared: true,
                wait: 55,
                place: Some(Uuid::from_bytes([2; 16])),
                steal: false,
            }),
            Request::Lock(LockFile {
                path: LockPath::of("f"),
                reason: Some("r".into()),
                steal: true,
                ..LockFile::default()
            }),
            Request::Unlock { peer_id: me.clone(), path: LockPath::of("f/**"), force: true },
            Request::QueryLocks { peer_id: None, path: None },
            Request::QueryLocks { peer_id: me.clone(), path: Some(LockPath::of("repo:f")) },
            Request::ReadEvents(ReadEvents {
                types: vec!["a.*".into()],
                since: Some(Timestamp(1_000)),
                limit: Some(9),
                wait: 3,
                ..ReadEvents::default()
            }),
            Request::Subscribe { peer_id: me.clone(), types: vec!["*".into()] },
            Request::Unsubscribe { peer_id: me.clone() },
            Request::Emit {
                peer_id: me,
                kind: "a.b".into(),
                payload: r#"{"x":[1]}"#.into(),
                id: Some(Uuid::from_bytes([1; 16])),
            },
            Request::Shutdown,
        ];
        for request in requests {
            let body = request.body();
            let text = String::from_utf8(body.clone()).unwrap();
            assert_eq!(Request::decode(request.endpoint(), &body), Ok(request), "{text}");
        }
    }

    #[test]
    fn claims_and_marks_are_read_as_clients_write_them() {
        let (id, claim_id) = (MessageId::new(Seq(7), [3; 16]), Uuid::from_bytes([4; 16]));
        let me: Option<Box<str>> = Some("me".into());
        for request in [
            Request::MarkRead { peer_id: None, ids: vec![id], way: None, claim_id: None },
            Request::MarkRead {
                peer_id: None,
                ids: vec![],
                way: Some(Way::Hook),
                claim_id: Some(claim_id),
            },
            Request::MarkNotified {
                peer_id: me.clone(),
                ids: vec![id],
                way: Way::InboxSocket,
                claim_id: Some(claim_id),
            },
            Request::MarkSent {
                peer_id: None,
                ids: vec![id],
                way: Way::Queue,
                status: SentStatus::NotRunning,
                whole: true,
                claim_id: Some(claim_id),
            },
            Request::Claim(Claim::new(Way::Hook)),
            Request::Claim(Claim {
                peer_id: me.clone(),
                by: Way::WaitHook,
                limit: Some(7),
                wait: 3600,
                moment: Some(Moment::Prompt),
                proof: vec![id.handle()],
            }),
            Request::RenewClaim { peer_id: me.clone(), claim_id },
            Request::ReleaseClaim { peer_id: None, claim_id },
        ] {
            let body = request.body();
            let text = String::from_utf8(body.clone()).unwrap();
            assert_eq!(Request::decode(request.endpoint(), &body), Ok(request), "{text}");
        }
        // Words that other programs use.
        let sent = br#"{"markSent":[],"way":"socket","status":"denied"}"#;
        let Ok(Request::MarkSent { way, status, .. }) = Request::decode(Endpoint::Messages, sent)
        else {
            panic!("not read");
        };
        assert_eq!((way, status), (Way::InboxSocket, SentStatus::Declined));
    }

    #[test]
    fn what_is_asked_of_all_and_of_machines_is_read_as_clients_write_it() {
        for request in [
            Request::Peers(ListPeers { scope: Scope::Mesh, ..ListPeers::default() }),
            Request::Peers(ListPeers {
                ids: vec![PeerId::from_random([4; 16])],
                include_departed: true,
                unread: true,
                ..ListPeers::default()
            }),
            Request::ListState {
                namespace: Some("n".into()),
                prefix: Some("p".into()),
                after: None,
                limit: Some(9),
            },
            Request::ListState {
                namespace: None,
                prefix: None,
                after: Some(["n".into(), "k".into()]),
                limit: None,
            },
            Request::Rename { peer_id: Some("me".into()), name: "x".into() },
            Request::FindMessage { message: MessageId::new(Seq(7), [3; 16]).handle().into() },
            Request::History(History {
                with: Some("#build".into()),
                text: Some("t".into()),
                thread: vec![MessageId::new(Seq(7), [3; 16])],
                since: Some(Timestamp(0)),
                before: Some(Seq(9)),
                after: Some(Seq(1)),
                limit: Some(5),
            }),
            Request::ListState { namespace: None, prefix: None, after: None, limit: None },
            Request::ListMachines,
            Request::Invite { name: None, minutes: None },
            Request::Invite { name: MachineName::new("laptop"), minutes: Some(60) },
            Request::RemoveMachine { name: MachineName::new("laptop").unwrap() },
            Request::LeaveHub {},
        ] {
            let body = request.body();
            assert_eq!(Request::decode(request.endpoint(), &body), Ok(request));
        }
    }

    #[test]
    fn the_files_of_an_edit_are_read_as_clients_write_them() {
        for request in [
            Request::LockFiles(LockFiles {
                paths: LockPaths {
                    file_paths: vec!["a".into(), "/b".into()],
                    exact: true,
                    repo_id: Some("/r/.git".into()),
                    repo_hash: Some(RepoHash([8; 32])),
                    git_root: Some("/r".into()),
                },
                shared: true,
                ttl_minutes: Some(2),
                subagent: Some("s".into()),
                ..LockFiles::default()
            }),
            Request::QueryFiles {
                peer_id: Some("me".into()),
                paths: LockPaths { file_paths: vec!["a".into()], ..LockPaths::default() },
            },
        ] {
            let body = request.body();
            assert_eq!(Request::decode(request.endpoint(), &body), Ok(request));
        }
    }

    #[test]
    fn every_endpoint_is_found_by_its_path() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::find(endpoint.path()), Some(endpoint));
        }
        assert_eq!(Endpoint::find("/"), None);
    }
}
