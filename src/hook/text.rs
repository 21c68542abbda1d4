//! The text that tells an agent why it may not edit a file: facts, with quotes around what others wrote.

use std::fmt::Write;

use crate::api::LockInfo;
use crate::model::{Party, Timestamp, in_span};
use crate::text::{bare_or_quoted, quote};

/// Why a file may not be edited: `lock` is in the way, and so many `others`.
#[must_use]
pub fn denial(lock: &LockInfo, others: usize, now: Timestamp) -> String {
    let mut text = format!("{} is locked by {}", bare_or_quoted(&lock.file_path), holder(lock));
    let _ = match lock.reason.as_deref() {
        Some(reason) => write!(text, ", reason {}", quote(reason)),
        None => write!(text, ", who gave no reason"),
    };
    let left_ms = lock.expires_at.0.saturating_sub(now.0);
    let until = lock.expires_at.to_string();
    // To the second.
    let until = until.get(.."2026-01-01T00:00:00".len()).unwrap_or(&until);
    let _ = write!(text, ", until {until}Z ({})", in_span(left_ms));
    if others > 0 {
        let _ = write!(text, "; {others} more of these files are locked by others, too");
    }
    text.push_str(". The edit was not made. Wait, do something else first, or ");
    match &lock.locked_by {
        Party::Label(_) => text.push_str("ask your user: a script holds the lock."),
        person @ (Party::Cli | Party::CliAt(_)) => {
            let _ = write!(text, "message them with mesh_send (to \"{person}\", who is a person).");
        }
        Party::Peer(_) => {
            let name = quote(&lock.locked_by_name);
            let _ = write!(text, "message them with mesh_send (to {name}).");
        }
    }
    text
}

fn holder(lock: &LockInfo) -> String {
    match &lock.locked_by {
        Party::Peer(_) => lock.locked_by_name.to_string(),
        person @ (Party::Cli | Party::CliAt(_)) => {
            format!("a person at the command line ({person})")
        }
        Party::Label(_) => lock.locked_by.shown_as(&lock.locked_by_name).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{PeerId, Seq};

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn peer() -> PeerId {
        PeerId::parse(&Uuid::from_u128(7).to_string()).unwrap()
    }

    #[test]
    fn a_denial_says_who_why_until_when_and_what_to_do() {
        let mut lock = LockInfo {
            file_path: "/p/a.rs".into(),
            locked_by: Party::Peer(peer()),
            locked_by_name: "webapp-codex".into(),
            locked_at: NOW,
            expires_at: NOW.plus_ms(420_000),
            reason: Some("moving\nthings".into()),
            fence: Seq(1),
            shared: false,
            pattern: false,
            host: None,
            repo_id: None,
            repo_hash: None,
            waiting: 0,
        };
        assert_eq!(
            denial(&lock, 0, NOW),
            "/p/a.rs is locked by webapp-codex, reason \"moving\\nthings\", until \
             2001-09-09T01:53:40Z (in 7 min). The edit was not made. Wait, do something else \
             first, or message them with mesh_send (to \"webapp-codex\")."
        );
        lock.reason = None;
        lock.locked_by = Party::Cli;
        let text = denial(&lock, 2, NOW);
        assert!(text.contains("a person at the command line (cli), who gave no reason"), "{text}");
        assert!(text.contains("; 2 more of these files are locked by others, too."), "{text}");
        assert!(text.ends_with("mesh_send (to \"cli\", who is a person)."), "{text}");
        lock.locked_by = Party::Label("build".into());
        assert!(denial(&lock, 0, NOW).ends_with("a script holds the lock."));
    }
}
