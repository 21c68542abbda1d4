//! `slm-mesh inbox --sent`

use std::collections::HashMap;
use std::io::Write;

use super::out::Paint;
use super::table::{Cell, Table, elastic, fixed};
use super::text::{escape, short_id};
use super::{Context, Exit, Out, Result};
use crate::api::{Fetch, Filter, ListPeers, MessageInfo, Messages, PeersReply, Request};
use crate::client::Client;
use crate::client::blocking::read_reply;
use crate::model::{Party, PeerId, Stage};

/// Names of the peers that are here.
type Names = HashMap<PeerId, Box<str>>;

/// Shows what `peer_id`, called `whose`, has sent.
pub(super) fn run(
    context: &mut Context,
    mut client: Client,
    peer_id: Option<Box<str>>,
    whose: &str,
    limit: u32,
) -> Result<Exit> {
    let body = client.call_bytes(&Request::Fetch(Fetch {
        peer_id,
        filter: Filter::Sent,
        limit: Some(limit),
        ..Fetch::default()
    }))?;
    let out = &mut context.out;
    if out.json {
        out.document(&body)?;
        return Ok(Exit::Done);
    }
    let Messages { messages, remaining } = read_reply(&body)?;
    if messages.is_empty() {
        writeln!(out, "{} has sent no messages that are still kept.", escape(whose))?;
        return Ok(Exit::Done);
    }
    let names = names(&mut client, &messages)?;
    let mut table = Table::new([
        elastic("TO", 10),
        fixed("STAGE"),
        fixed("SENT"),
        fixed("DELIVERED"),
        fixed("NOTIFIED"),
        fixed("READ"),
        elastic("TEXT", 10),
    ]);
    for message in &messages {
        table.push(row(out, message, &names));
    }
    table.write(out, &out.style.clone())?;
    if remaining > 0 {
        writeln!(out, "\n{remaining} older ones: --limit")?;
    }
    Ok(Exit::Done)
}

/// What the recipients are called; one that has left is known by its id only.
fn names(client: &mut Client, messages: &[MessageInfo]) -> Result<Names> {
    if !messages.iter().any(|message| matches!(message.to_peer, Some(Party::Peer(_)))) {
        return Ok(Names::new());
    }
    let list = ListPeers { include_stale: true, ..ListPeers::default() };
    let reply: PeersReply = read_reply(&client.call_bytes(&Request::Peers(list))?)?;
    Ok(reply.peers.into_iter().map(|peer| (peer.id, peer.name)).collect())
}

fn row(out: &Out, message: &MessageInfo, names: &Names) -> [Cell; 7] {
    let to = match (&message.to_group, &message.to_name) {
        (Some(group), _) => Some(group.to_string()),
        (None, name) => name.as_ref().map(ToString::to_string),
    };
    let to = to.unwrap_or_else(|| match &message.to_peer {
        None => "all".into(),
        Some(Party::Peer(id)) => match names.get(id) {
            Some(name) => name.to_string(),
            None => short_id(&id.to_string()).to_owned(),
        },
        Some(other) => other.to_string(),
    });
    let stage = message.stage.map_or(Cell::from(""), |stage| match stage {
        Stage::Read => Cell::painted(stage.as_str(), Paint::Good),
        Stage::Queued | Stage::Undeliverable => Cell::painted(stage.as_str(), Paint::Warn),
        Stage::Delivered | Stage::Sent | Stage::Notified => stage.as_str().into(),
    });
    // Of a broadcast, how many; of a message, when.
    let reached = |count: Option<u32>, at: Option<_>| match (message.recipients, at) {
        (Some(all), _) => format!("{} of {all}", count.unwrap_or(0)),
        (None, Some(at)) => out.age(at),
        (None, None) => String::new(),
    };
    let mut notified = reached(message.notified_count, message.notified_at);
    if let Some(way) = message.notified_by {
        notified.push_str(", ");
        notified.push_str(way.as_str());
    }
    [
        Cell::painted(escape(&to), Paint::Bold),
        stage,
        out.age(message.created_at).into(),
        reached(message.delivered_count, message.delivered_at).into(),
        notified.into(),
        reached(message.read_count, message.read_at).into(),
        escape(&message.payload).into(),
    ]
}
