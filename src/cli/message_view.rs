//! How a message is shown: a line about it, then its text, indented so that it cannot be mistaken for
//! such a line.

use super::Result;
use super::out::{Out, Paint};
use super::text::{escape, escape_lines, short_id, wrap};
use crate::api::MessageInfo;
use crate::model::{MessageKind, Party};

/// Indents each line of a text.
const INDENT: &str = "  ";
/// What the history shows of a message beside what an inbox does.
#[derive(Clone, Debug, Default)]
pub(super) struct HistoryDetails {
    /// Its recipient.
    pub(super) to: String,
    /// How far it has come.
    pub(super) stage: String,
}

/// Shows a message that came at `when`, with `details` if it may be from anyone to anyone.
pub(super) fn show(
    out: &mut Out,
    message: &MessageInfo,
    when: String,
    details: Option<&HistoryDetails>,
) -> Result<()> {
    let name = escape(&message.from_peer.shown_as(&message.from_name)).into_owned();
    let name = out.style.paint(&name, Paint::Bold).into_owned();
    let from = match (details, &message.from_peer) {
        (Some(details), _) => format!("{name} to {}", out.style.paint(&details.to, Paint::Bold)),
        (None, Party::Peer(id)) => format!("{name} ({})", short_id(&id.to_string())),
        (None, Party::Cli | Party::CliAt(_) | Party::Label(_)) => name,
    };
    let mut about = vec![when];
    match message.kind {
        MessageKind::Text => {}
        MessageKind::Alert => about.push(out.style.paint("alert", Paint::Warn).into_owned()),
        MessageKind::Json | MessageKind::Command => about.push(message.kind.as_str().into()),
    }
    if message.to_peer.is_none() && details.is_none() {
        about.push(format!("to {}", escape(message.to_group.as_deref().unwrap_or("all"))));
    }
    if let Some(id) = message.reply_to {
        about.push(format!("answers {}", id.handle()));
    }
    if let Some(details) = details {
        about.push(details.stage.clone());
    }
    let handle = format!("handle {}", message.handle);
    let handle = out.style.paint(&handle, Paint::Dim).into_owned();
    writeln!(out, "{from}  {}  {handle}", about.join("  "))?;
    let width = out.style.width.map(|width| width.saturating_sub(INDENT.len()));
    for line in escape_lines(&message.payload).lines() {
        for line in wrap(line, width) {
            writeln!(out, "{INDENT}{line}")?;
        }
    }
    Ok(())
}
