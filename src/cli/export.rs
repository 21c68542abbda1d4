//! `slm-mesh export`: everything that the mesh stores, one line of JSON for each item.

use serde::Serialize;

use super::Result;
use super::command::{Command, Context, Entry, Group, alone};
use super::out::{Out, write_object};
use crate::api::{
    EntriesReply, Events, History, HistoryPage, ListPeers, LocksReply, PeersReply, ReadEvents,
    Request, Scope,
};
use crate::client::{Client, StartPolicy};
use crate::limits::LIST_LIMIT_MAX;
use crate::model::{Seq, event_type};

pub(super) const ENTRY: Entry = Entry {
    name: "export",
    group: Group::Other,
    summary: "write out all that the mesh knows, as lines of JSON",
    usage: &["export"],
    about: &[
        "A line for each thing: {\"peer\": ...} (those that have left, too), {\"message\": ...}, \
         {\"event\": ...}, {\"state\": ...}, {\"lock\": ...}, in this order, each as the API has it.",
    ],
    options: &[],
    examples: &[("export > mesh.jsonl", ""), ("export | jq -r '.message.payload // empty'", "")],
    parse: alone::<Export>,
};

#[derive(Debug, Default)]
struct Export;

impl Command for Export {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to read what others write to each other")?;
        let mut client = context.client(StartPolicy::IfNeeded)?;
        client.wait_out_rate_limits();
        let (client, out) = (&mut client, &mut context.out);
        let list = ListPeers {
            scope: Scope::Mesh,
            include_stale: true,
            include_departed: true,
            unread: true,
            ..ListPeers::default()
        };
        // First what may be refused, so that nothing is written then.
        let first = page(client, Seq::default())?;
        let peers: PeersReply = client.call(&Request::Peers(list))?;
        lines(out, "peer", &peers.peers)?;
        messages(client, out, &first)?;
        events(client, out)?;
        state(client, out)?;
        let locks: LocksReply = client.call(&Request::QueryLocks { peer_id: None, path: None })?;
        lines(out, "lock", &locks.locks)
    }
}

/// Writes `{"<kind>":{...}}` for each item.
fn lines<T: Serialize>(out: &mut Out, kind: &str, items: &[T]) -> Result<()> {
    for item in items {
        write_object!(out, kind => item)?;
    }
    Ok(())
}

fn page(client: &mut Client, after: Seq) -> Result<HistoryPage> {
    let (after, limit) = (Some(after), Some(LIST_LIMIT_MAX));
    Ok(client.call(&Request::History(History { after, limit, ..History::default() }))?)
}

fn messages(client: &mut Client, out: &mut Out, first: &HistoryPage) -> Result<()> {
    lines(out, "message", &first.messages)?;
    let mut after = first.next;
    while let Some(last) = after {
        let page = page(client, last)?;
        lines(out, "message", &page.messages)?;
        after = page.next;
    }
    Ok(())
}

fn events(client: &mut Client, out: &mut Out) -> Result<()> {
    let mut after = Seq::default();
    loop {
        let read =
            ReadEvents { after: Some(after), limit: Some(LIST_LIMIT_MAX), ..ReadEvents::default() };
        let mut page: Events = client.call(&Request::ReadEvents(read))?;
        let is_last = page.events.is_empty();
        // Messages are exported themselves.
        page.events.retain(|event| *event.kind != *event_type::MESSAGE_RECEIVED);
        lines(out, "event", &page.events)?;
        if is_last || page.last_seq <= after {
            return Ok(());
        }
        after = page.last_seq;
    }
}

fn state(client: &mut Client, out: &mut Out) -> Result<()> {
    let mut after = None;
    loop {
        let list = Request::ListState { namespace: None, prefix: None, after, limit: None };
        let page: EntriesReply = client.call(&list)?;
        lines(out, "state", &page.entries)?;
        let end = page.entries.last().filter(|_| page.remaining > 0);
        let Some(end) = end else { return Ok(()) };
        after = Some([end.namespace.clone(), end.key.clone()]);
    }
}
