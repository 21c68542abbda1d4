//! `slm-mesh state`

use super::command::{Command, Context, Entry, Group, Task};
use super::out::{Out, Paint};
use super::peer_names::PeerNames;
use super::table::{Cell, elastic, fixed};
use super::text::{escape, escape_lines};
use super::values::{self, TextArgument};
use super::words::{self, Words};
use super::{Failure, Result};
use crate::agent::namespace;
use crate::api::{DeletedReply, EntriesReply, EntryReply, Request, SetState, StateInfo};
use crate::client::blocking::read_reply;
use crate::client::{Client, StartPolicy};
use crate::limits::STATE_TTL_SECONDS_MAX;
use crate::model::Seq;

/// Most characters of a value shown in a list.
const VALUE_CHARS_MAX: usize = 200;

pub(super) const ENTRY: Entry = Entry {
    name: "state",
    group: Group::Shared,
    summary: "values under keys, seen by everyone",
    usage: &[
        "state get <key> [--namespace N]",
        "state set <key> <value> [--if-version V] [--ttl T] [--namespace N]",
        "state list [--prefix P] [--namespace N | --all-namespaces]",
        "state delete <key> [--if-version V] [--namespace N]",
    ],
    about: &[
        "`get` prints the bare value and a newline; exit code 1 if there is none. On a terminal \
         its control characters are shown escaped; into a file or pipe it is written as it \
         is. A <value> of `-` is read from the standard input.",
        "Each project has a namespace of its own, so that two that both set `port` do not meet.",
    ],
    options: &[
        ("--namespace N", "where the key lives (default: this project's own; shared: everyone's)"),
        ("--all-namespaces", "those of all projects"),
        ("--if-version V", "only if the entry has this version (0: only if it is new)"),
        ("--ttl T", "it expires after this time: seconds, or 10m, 2h, 1d"),
        ("--prefix P", "only keys that begin with P"),
    ],
    examples: &[
        ("state set api/url http://localhost:3000", ""),
        ("state get api/url", ""),
        ("state set leader me --if-version 0 --ttl 10m", "only the first one wins"),
    ],
    parse,
};

#[derive(Debug, PartialEq, Eq)]
struct State {
    /// None for the project's own.
    namespace: Option<String>,
    action: Action,
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Get {
        key: String,
    },
    Set {
        key: String,
        value: TextArgument,
        /// Only if the entry has this version.
        if_version: Option<Seq>,
        /// It expires after this many seconds.
        ttl_seconds: Option<u64>,
    },
    List {
        /// Only keys that begin with this.
        prefix: Option<String>,
        /// Those of all projects.
        all_namespaces: bool,
    },
    Delete {
        key: String,
        /// Only if it has this version.
        if_version: Option<Seq>,
    },
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let namespace = words.text("--namespace")?;
    let all_namespaces = words.flag("--all-namespaces");
    let prefix = words.text("--prefix")?;
    let version = |text: &str| text.parse().ok().map(Seq);
    let if_version = words.value("--if-version", "a version, or 0 for `not there yet`", version)?;
    let ttl = |text: &str| {
        values::seconds(text, 1).filter(|ttl| (1..=STATE_TTL_SECONDS_MAX).contains(ttl))
    };
    let expected = "a time such as 90, 90s, 10m, 2h or 1d, at most a year";
    let ttl_seconds = words.value("--ttl", expected, ttl)?;
    let action = words.action(&["get", "set", "list", "delete"])?;
    words.only_for("--all-namespaces", all_namespaces, action, &["list"])?;
    if all_namespaces && (namespace.is_some() || prefix.is_some()) {
        return Err(
            words.error("`--all-namespaces` goes with neither `--namespace` nor `--prefix`")
        );
    }
    words.only_for("--prefix", prefix.is_some(), action, &["list"])?;
    words.only_for("--if-version", if_version.is_some(), action, &["set", "delete"])?;
    words.only_for("--ttl", ttl_seconds.is_some(), action, &["set"])?;
    let action = match action {
        "set" => {
            let [key, value] = words.required(["<key>", "<value>"])?;
            Action::Set { key, value: TextArgument::from_word(value), if_version, ttl_seconds }
        }
        "list" => {
            words.end()?;
            Action::List { prefix, all_namespaces }
        }
        one => {
            let [key] = words.required(["<key>"])?;
            if one == "get" { Action::Get { key } } else { Action::Delete { key, if_version } }
        }
    };
    Ok(Task::command(State { namespace, action }))
}

impl Command for State {
    fn run(&self, context: &mut Context) -> Result<()> {
        let own =
            std::env::current_dir().map(|here| namespace::of_project(&here)).unwrap_or_default();
        let namespace = namespace::on_the_wire(self.namespace.as_deref(), &own);
        let (mut client, peer_id) = match &self.action {
            Action::Set { .. } | Action::Delete { .. } => {
                let acting = context.acting(None, StartPolicy::IfNeeded)?;
                (acting.client, acting.peer_id)
            }
            Action::Get { .. } | Action::List { .. } => {
                (context.client(StartPolicy::IfNeeded)?, None)
            }
        };
        let body = client.call_bytes(&request(namespace, &self.action, peer_id)?)?;
        match &self.action {
            Action::Get { key } => got(context, namespace, key, &body),
            _ if context.out.json => context.out.line(&body),
            Action::List { all_namespaces, .. } => {
                let namespace = (!all_namespaces).then_some(namespace);
                listed(context, &mut client, namespace, &body)
            }
            Action::Set { key, .. } => {
                let reply: EntryReply = read_reply(&body)?;
                let version = reply.entry.as_ref().map_or(0, |entry| entry.version.0);
                let goes = reply.entry.and_then(|entry| entry.expires_at);
                let goes = goes
                    .map_or_else(String::new, |at| format!(", goes away {}", context.out.age(at)));
                let told = escape(namespace::as_told(namespace));
                writeln!(context.out, "Set {} in {told} (version {version}{goes}).", escape(key))
            }
            Action::Delete { key, .. } => {
                let reply: DeletedReply = read_reply(&body)?;
                let text = if reply.deleted { "Deleted" } else { "There was no" };
                let told = escape(namespace::as_told(namespace));
                writeln!(context.out, "{text} {} in {told}.", escape(key))
            }
        }
    }
}

fn request(namespace: &str, action: &Action, peer_id: Option<Box<str>>) -> Result<Request> {
    let namespace = namespace.into();
    Ok(match action {
        Action::Get { key } => Request::GetState { namespace, key: key.as_str().into() },
        Action::List { prefix, all_namespaces } => Request::ListState {
            namespace: (!all_namespaces).then_some(namespace),
            prefix: prefix.as_deref().map(Into::into),
            after: None,
            limit: None,
        },
        Action::Set { key, value, if_version, ttl_seconds } => Request::SetState(SetState {
            peer_id,
            namespace,
            key: key.as_str().into(),
            value: value.read()?.into(),
            if_version: *if_version,
            ttl_seconds: *ttl_seconds,
        }),
        Action::Delete { key, if_version } => Request::DeleteState {
            peer_id,
            namespace,
            key: key.as_str().into(),
            if_version: *if_version,
        },
    })
}

/// Writes the bare value: escaped on a terminal, else as it is.
fn got(context: &mut Context, namespace: &str, key: &str, body: &[u8]) -> Result<()> {
    let reply: EntryReply = read_reply(body)?;
    let out = &mut context.out;
    if out.json {
        out.line(body)?;
        return if reply.entry.is_some() { Ok(()) } else { Err(Failure::Reported) };
    }
    let Some(entry) = reply.entry else {
        let told = namespace::as_told(namespace);
        let mut message = format!("there is no `{key}` in the namespace `{told}`");
        if reply.in_default {
            message.push_str(", but there is one in the whole mesh's: `--namespace shared`");
        }
        return Err(Failure::other("no_entry", message));
    };
    if out.is_terminal {
        writeln!(out, "{}", escape_lines(&entry.value))
    } else {
        out.line(entry.value.as_bytes())
    }
}

/// Lists entries; `namespace` is none if they are of all namespaces.
fn listed(
    context: &mut Context,
    client: &mut Client,
    namespace: Option<&str>,
    body: &[u8],
) -> Result<()> {
    let reply: EntriesReply = read_reply(body)?;
    let out = &mut context.out;
    if reply.entries.is_empty() {
        let place = namespace.map_or_else(
            || "any namespace".into(),
            |namespace| format!("the namespace {}", escape(namespace::as_told(namespace))),
        );
        return out
            .paragraph(&format!("No entries in {place}; `--all-namespaces` shows those of all."));
    }
    let names = PeerNames::of(client, reply.entries.iter().map(|entry| &entry.updated_by))?;
    if namespace.is_none() {
        return listed_by_namespace(out, &reply, &names);
    }
    let columns = [
        elastic("KEY", 28),
        elastic("VALUE", 16),
        fixed("VERSION").less(1),
        elastic("BY", 16).less(3),
        fixed("SET").less(2),
        fixed("GOES").less(4),
    ];
    out.table(columns, &reply.entries, |out, entry| row(out, entry, &names))?;
    if reply.remaining > 0 {
        writeln!(out, "There are more; --prefix shows a part of them.")?;
    }
    Ok(())
}

fn listed_by_namespace(out: &mut Out, reply: &EntriesReply, names: &PeerNames) -> Result<()> {
    let columns = [
        elastic("NAMESPACE", 20).less(3),
        elastic("KEY", 20),
        elastic("VALUE", 12),
        elastic("BY", 16).less(2),
        fixed("SET").less(1),
    ];
    out.table(columns, &reply.entries, |out, entry| {
        [
            escape(namespace::as_told(&entry.namespace)).into(),
            Cell::painted(escape(&entry.key), Paint::Bold),
            start_of(&entry.value).into(),
            names.shown(&entry.updated_by).into(),
            out.age(entry.updated_at).into(),
        ]
    })?;
    if reply.remaining > 0 {
        writeln!(out, "There are more; `--namespace N` shows those of one namespace.")?;
    }
    Ok(())
}

/// The beginning of a value, as a list shows it.
fn start_of(value: &str) -> String {
    let end = value.char_indices().nth(VALUE_CHARS_MAX).map(|(end, _)| end);
    match end.and_then(|end| value.get(..end)) {
        Some(start) => format!("{}…", escape(start)),
        None => escape(value).into_owned(),
    }
}

fn row(out: &Out, entry: &StateInfo, names: &PeerNames) -> [Cell; 6] {
    [
        Cell::painted(escape(&entry.key), Paint::Bold),
        start_of(&entry.value).into(),
        entry.version.to_string().into(),
        names.shown(&entry.updated_by).into(),
        out.age(entry.updated_at).into(),
        entry.expires_at.map_or_else(String::new, |at| out.age(at)).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn options_belong_to_actions() {
        let state = |namespace: Option<&str>, action| State {
            namespace: namespace.map(Into::into),
            action,
        };
        let key = || "k".to_owned();
        let all = |prefix: Option<&str>, all_namespaces| Action::List {
            prefix: prefix.map(Into::into),
            all_namespaces,
        };
        let set = Action::Set {
            key: key(),
            value: TextArgument::Stdin,
            if_version: Some(Seq(0)),
            ttl_seconds: Some(7200),
        };
        let delete = Action::Delete { key: key(), if_version: Some(Seq(7)) };
        for (line, expected) in [
            ("state get k", state(None, Action::Get { key: key() })),
            ("state --namespace n list --prefix a/", state(Some("n"), all(Some("a/"), false))),
            ("state list --all-namespaces", state(None, all(None, true))),
            ("state set k - --if-version 0 --ttl 2h", state(None, set)),
            ("state delete --if-version=7 k --namespace=n", state(Some("n"), delete)),
        ] {
            assert_eq!(command::<State>(line), expected, "{line}");
        }
        assert!(refused("state list --all-namespaces --prefix a").contains("neither"));
        assert!(refused("state get k --all-namespaces").contains("--all-namespaces"));
        assert!(refused("state").contains("get, set, list, delete is missing"));
        assert!(refused("state lst").contains("did you mean `list`?"));
        assert!(refused("state get").contains("<key> is missing"));
        assert!(refused("state set k").contains("<value> is missing"));
        assert!(refused("state get k --ttl 5").contains("`--ttl` belongs to `set`"));
        assert!(refused("state list --if-version 5").contains("belongs to `set` and `delete`"));
        assert!(refused("state set k v --ttl 0").contains("a time such as"));
        assert!(refused("state set k v --ttl 366d").contains("at most a year"));
        assert!(refused("state set k v --if-version x").contains("a version"));
    }
}
