//! `slm-mesh inbox --sent`

use super::command::Context;
use super::out::{Out, Paint};
use super::peer_names::PeerNames;
use super::table::{Cell, elastic, fixed};
use super::text::escape;
use super::{Result, history};
use crate::api::{Fetch, Filter, MessageInfo, Messages, Request};
use crate::client::Client;
use crate::model::{SentStatus, Stage, Timestamp, Way};

/// Shows the messages that `peer_id`, called `whose`, has sent.
pub(super) fn run(
    context: &mut Context,
    mut client: Client,
    peer_id: Option<Box<str>>,
    whose: &str,
    limit: u32,
) -> Result<()> {
    let fetch = Fetch { peer_id, filter: Filter::Sent, limit: Some(limit), ..Fetch::default() };
    let out = &mut context.out;
    let reply = out.ask(&mut client, &Request::Fetch(fetch))?;
    let Some(Messages { messages, remaining }) = reply else { return Ok(()) };
    if messages.is_empty() {
        return writeln!(out, "{} has sent no messages that are still kept.", escape(whose));
    }
    let names = PeerNames::of(&mut client, messages.iter().filter_map(|it| it.to_peer.as_ref()))?;
    let columns = [
        fixed("HANDLE"),
        elastic("TO", 24),
        fixed("WRITTEN").less(1),
        elastic("STAGE", 12),
        fixed("SINCE").less(2),
        elastic("TEXT", 14),
    ];
    out.table(columns, &messages, |out, message| row(out, message, &names))?;
    if remaining > 0 {
        writeln!(out, "\n{remaining} older ones: --limit")?;
    }
    Ok(())
}

fn row(out: &Out, message: &MessageInfo, names: &PeerNames) -> [Cell; 6] {
    let to = history::recipient(message, names);
    let (stage, since) = match stage(message) {
        Some((text, at, paint)) => (Cell::painted(text, paint), at),
        None => (reached(message).into(), None),
    };
    [
        message.handle.to_string().into(),
        Cell::painted(to, Paint::Bold),
        out.age(message.created_at).into(),
        stage,
        since.map_or_else(String::new, |at| out.age(at)).into(),
        escape(&message.payload).into(),
    ]
}

/// How far a message has come, in words.
pub(super) fn stage_text(message: &MessageInfo) -> String {
    stage(message).map_or_else(|| reached(message), |(text, _, _)| text)
}

/// How far a message has come, since when, and whether that is good; none for a broadcast.
fn stage(message: &MessageInfo) -> Option<(String, Option<Timestamp>, Paint)> {
    let by = |way: Option<Way>| way.map_or_else(String::new, |way| format!(" ({way})"));
    Some(match message.stage? {
        Stage::Queued => ("queued".into(), None, Paint::Warn),
        Stage::Delivered => ("delivered".into(), message.delivered_at, Paint::Plain),
        Stage::Sent => {
            let status = message.sent_status.unwrap_or(SentStatus::Sent);
            let paint = if status == SentStatus::Sent { Paint::Plain } else { Paint::Warn };
            let more = if status == SentStatus::Sent { by(message.sent_by) } else { String::new() };
            (format!("{}{more}", status_words(status)), message.sent_at, paint)
        }
        Stage::Notified => {
            (format!("notified{}", by(message.notified_by)), message.notified_at, Paint::Plain)
        }
        Stage::Read => ("read".into(), message.read_at, Paint::Good),
        Stage::Undeliverable => ("undeliverable".into(), message.undeliverable_at, Paint::Warn),
    })
}

/// What became of a message in the queue of its recipient's agent.
pub(super) fn status_words(status: SentStatus) -> &'static str {
    match status {
        SentStatus::Held => "held: its user must allow it",
        SentStatus::NotRunning => "not running",
        SentStatus::Sent | SentStatus::Refused | SentStatus::Declined | SentStatus::Dropped => {
            status.as_str()
        }
    }
}

/// How far a broadcast has come, with the number of recipients.
fn reached(message: &MessageInfo) -> String {
    let all = message.recipients.unwrap_or(0);
    let count = |count: Option<u32>| count.unwrap_or(0);
    let (read, notified, sent) =
        (count(message.read_count), count(message.notified_count), count(message.sent_count));
    if read + notified + sent == 0 {
        return format!("{} of {all} delivered", count(message.delivered_count));
    }
    let mut text = format!("{read} of {all} read");
    // Most who have read it were notified, too.
    for (count, word) in [(notified.saturating_sub(read), "notified"), (sent, "sent")] {
        if count > 0 {
            text.extend([", ", &count.to_string(), " ", word]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageId, MessageKind, Seq};

    fn message(seq: u64) -> MessageInfo {
        let id = MessageId::new(Seq(seq), [0; 16]);
        let json = serde_json::json!({
            "id": id, "handle": id.handle(), "fromPeer": "cli", "fromName": "cli", "toPeer": "cli",
            "type": MessageKind::Text, "payload": "p", "createdAt": Timestamp(0),
            "delivered": false, "readAt": null, "seq": seq,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_became_of_it_in_the_agents_queue_is_said_in_words() {
        let sent = |status| {
            let (stage, at, by) = (Some(Stage::Sent), Some(Timestamp(5)), Some(Way::Queue));
            let info = MessageInfo { stage, sent_at: at, sent_by: by, ..message(1) };
            let (text, since, _) =
                super::stage(&MessageInfo { sent_status: status, ..info }).unwrap();
            assert_eq!(since, at);
            text
        };
        assert_eq!(sent(Some(SentStatus::Sent)), "sent (queue)");
        assert_eq!(sent(Some(SentStatus::Held)), "held: its user must allow it");
        assert_eq!(sent(Some(SentStatus::Refused)), "refused");
        assert_eq!(sent(Some(SentStatus::Declined)), "declined");
        assert_eq!(sent(Some(SentStatus::NotRunning)), "not running");
        let (stage, at, by) = (Some(Stage::Notified), Some(Timestamp(5)), Some(Way::WaitHook));
        let told = MessageInfo { stage, notified_at: at, notified_by: by, ..message(1) };
        assert_eq!(super::stage(&told).unwrap().0, "notified (wait-hook)");
    }

    #[test]
    fn of_a_broadcast_it_says_how_many() {
        let all = |delivered, sent, notified, read| {
            reached(&MessageInfo {
                recipients: Some(9),
                delivered_count: Some(delivered),
                sent_count: Some(sent),
                notified_count: Some(notified),
                read_count: Some(read),
                ..message(1)
            })
        };
        assert_eq!(all(4, 0, 0, 0), "4 of 9 delivered");
        assert_eq!(all(9, 2, 0, 0), "0 of 9 read, 2 sent");
        assert_eq!(all(9, 1, 3, 2), "2 of 9 read, 1 notified, 1 sent");
        assert_eq!(all(9, 0, 9, 9), "9 of 9 read");
    }
}
