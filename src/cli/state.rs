//! `slm-mesh state`

use std::io::Write;

use super::out::Paint;
use super::send::read_text;
use super::table::{Cell, Table, elastic, fixed};
use super::text::{escape, escape_lines};
use super::who::Names;
use super::{Context, Exit, Failure, Out, Result, State, StateAction};
use crate::agent::namespace;
use crate::api::{DeletedReply, EntriesReply, EntryReply, Request, SetState, StateInfo};
use crate::client::blocking::read_reply;
use crate::client::{Client, StartPolicy};

/// The first characters of a value are enough for a list.
const VALUE_CHARS_MAX: usize = 200;

pub(super) fn run(context: &mut Context, state: &State) -> Result<Exit> {
    let own = std::env::current_dir().map(|here| namespace::of_project(&here)).unwrap_or_default();
    let namespace = namespace::on_the_wire(state.namespace.as_deref(), &own);
    let (mut client, peer_id) = match &state.action {
        StateAction::Set { .. } | StateAction::Delete { .. } => {
            let acting = context.acting(None, StartPolicy::IfNeeded)?;
            (acting.client, acting.peer_id)
        }
        StateAction::Get { .. } | StateAction::List { .. } => {
            (context.client(StartPolicy::IfNeeded)?, None)
        }
    };
    let body = client.call_bytes(&request(namespace, &state.action, peer_id)?)?;
    match &state.action {
        StateAction::Get { key } => got(context, namespace, key, &body),
        _ if context.out.json => {
            context.out.document(&body)?;
            Ok(Exit::Done)
        }
        StateAction::List { all_namespaces, .. } => {
            let namespace = (!all_namespaces).then_some(namespace);
            listed(context, &mut client, namespace, &body)
        }
        StateAction::Set { key, .. } => {
            let reply: EntryReply = read_reply(&body)?;
            let version = reply.entry.as_ref().map_or(0, |entry| entry.version.0);
            let goes = reply.entry.and_then(|entry| entry.expires_at);
            let goes =
                goes.map_or_else(String::new, |at| format!(", goes away {}", context.out.age(at)));
            let told = escape(namespace::as_told(namespace));
            writeln!(context.out, "Set {} in {told} (version {version}{goes}).", escape(key))?;
            Ok(Exit::Done)
        }
        StateAction::Delete { key, .. } => {
            let reply: DeletedReply = read_reply(&body)?;
            let text = if reply.deleted { "Deleted" } else { "There was no" };
            let told = escape(namespace::as_told(namespace));
            writeln!(context.out, "{text} {} in {told}.", escape(key))?;
            Ok(Exit::Done)
        }
    }
}

fn request(namespace: &str, action: &StateAction, peer_id: Option<Box<str>>) -> Result<Request> {
    let namespace = namespace.into();
    Ok(match action {
        StateAction::Get { key } => Request::GetState { namespace, key: key.as_str().into() },
        StateAction::List { prefix, all_namespaces } => Request::ListState {
            namespace: (!all_namespaces).then_some(namespace),
            prefix: prefix.as_deref().map(Into::into),
            after: None,
            limit: None,
        },
        StateAction::Set { key, value, if_version, ttl_seconds } => Request::SetState(SetState {
            peer_id,
            namespace,
            key: key.as_str().into(),
            value: read_text(value)?.into(),
            if_version: *if_version,
            ttl_seconds: *ttl_seconds,
        }),
        StateAction::Delete { key, if_version } => Request::DeleteState {
            peer_id,
            namespace,
            key: key.as_str().into(),
            if_version: *if_version,
        },
    })
}

/// The bare value: escaped for a terminal, as it is for a program that reads it.
fn got(context: &mut Context, namespace: &str, key: &str, body: &[u8]) -> Result<Exit> {
    let reply: EntryReply = read_reply(body)?;
    let out = &mut context.out;
    if out.json {
        out.document(body)?;
        return Ok(if reply.entry.is_some() { Exit::Done } else { Exit::Failed });
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
        writeln!(out, "{}", escape_lines(&entry.value))?;
    } else {
        out.document(entry.value.as_bytes())?;
    }
    Ok(Exit::Done)
}

/// `namespace`: none if the entries are of all.
fn listed(
    context: &mut Context,
    client: &mut Client,
    namespace: Option<&str>,
    body: &[u8],
) -> Result<Exit> {
    let reply: EntriesReply = read_reply(body)?;
    let out = &mut context.out;
    if reply.entries.is_empty() {
        let place = namespace.map_or_else(
            || "any namespace".into(),
            |namespace| format!("the namespace {}", escape(namespace::as_told(namespace))),
        );
        out.paragraph(&format!("No entries in {place}; `--all-namespaces` shows those of all."))?;
        return Ok(Exit::Done);
    }
    let names = Names::of(client, reply.entries.iter().map(|entry| &entry.updated_by))?;
    if namespace.is_none() {
        return listed_by_namespace(out, &reply, &names);
    }
    let mut table = Table::new([
        elastic("KEY", 28),
        elastic("VALUE", 16),
        fixed("VERSION").less(1),
        elastic("BY", 16).less(3),
        fixed("SET").less(2),
        fixed("GOES").less(4),
    ]);
    for entry in &reply.entries {
        table.push(row(out, entry, &names));
    }
    table.write(out, &out.style.clone())?;
    if reply.remaining > 0 {
        writeln!(out, "There are more; --prefix shows a part of them.")?;
    }
    Ok(Exit::Done)
}

fn listed_by_namespace(out: &mut Out, reply: &EntriesReply, names: &Names) -> Result<Exit> {
    let mut table = Table::new([
        elastic("NAMESPACE", 20).less(3),
        elastic("KEY", 20),
        elastic("VALUE", 12),
        elastic("BY", 16).less(2),
        fixed("SET").less(1),
    ]);
    for entry in &reply.entries {
        table.push([
            escape(namespace::as_told(&entry.namespace)).into(),
            Cell::painted(escape(&entry.key), Paint::Bold),
            start_of(&entry.value).into(),
            names.shown(&entry.updated_by).into(),
            out.age(entry.updated_at).into(),
        ]);
    }
    table.write(out, &out.style.clone())?;
    if reply.remaining > 0 {
        writeln!(out, "There are more; `--namespace N` shows those of one namespace.")?;
    }
    Ok(Exit::Done)
}

/// As much of a value as a list has room for.
fn start_of(value: &str) -> String {
    let end = value.char_indices().nth(VALUE_CHARS_MAX).map(|(end, _)| end);
    match end.and_then(|end| value.get(..end)) {
        Some(start) => format!("{}…", escape(start)),
        None => escape(value).into_owned(),
    }
}

fn row(out: &Out, entry: &StateInfo, names: &Names) -> [Cell; 6] {
    [
        Cell::painted(escape(&entry.key), Paint::Bold),
        start_of(&entry.value).into(),
        entry.version.to_string().into(),
        names.shown(&entry.updated_by).into(),
        out.age(entry.updated_at).into(),
        entry.expires_at.map_or_else(String::new, |at| out.age(at)).into(),
    ]
}
