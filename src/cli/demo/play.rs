//! The play: what the three agents do. Each step checks that it went as the mesh promises, so that the
//! demo is a smoke test, too.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::session::Session;
use super::{Stage, failed};
use crate::cli::Result;

/// A lock of a crashed holder is free well before this.
const CRASH_TIME_MAX: Duration = Duration::from_secs(3);

pub(super) fn morning(stage: &mut Stage<'_>) -> Result<()> {
    stage.say("\nThey come in")?;
    stage.start_broker()?;
    let claude = &mut Session::start(stage, "claude-code")?;
    let mut codex = Session::start(stage, "codex-mcp-client")?;
    let mut gemini = Session::start(stage, "gemini-cli-mcp-client")?;

    stage.say("\nThey find each other")?;
    for (session, summary) in [
        (&mut *claude, "rewriting the login in src/auth.rs"),
        (&mut codex, "tests for the login"),
        (&mut gemini, "release notes"),
    ] {
        session.call("mesh_summary", &json!({"summary": summary}))?;
        stage.tell(&session.name, &format!("says what it works on: {summary}"), None)?;
    }
    let peers = claude.call("mesh_peers", &json!({"scope": "directory"}))?;
    let seen = peers.value.pointer("/peers").and_then(Value::as_array).into_iter().flatten();
    let seen: Vec<&str> = seen.filter_map(|peer| peer.get("name")?.as_str()).collect();
    expect(seen.contains(&&*codex.name) && seen.contains(&&*gemini.name), "all are listed")?;
    stage.tell(&claude.name, &format!("sees {}", seen.join(" and ")), Some(peers.took))?;

    stage.say("\nThey keep out of each other's way")?;
    let lock = json!({"action": "lock", "filePath": "src/auth.rs", "reason": "the login"});
    let locked = claude.call("mesh_lock", &lock)?;
    stage.tell(&claude.name, "locks src/auth.rs", Some(locked.took))?;
    let said = codex.try_to("mesh_lock", &lock)?;
    expect(said.refused, "a lock that someone holds is refused")?;
    let what = "wants it too and is told who has it, and until when";
    stage.tell(&codex.name, what, Some(said.took))?;
    let broadcast = json!({"to": "all", "message": "login() takes a Session now, not a token"});
    let sent = claude.call("mesh_send", &broadcast)?;
    let what = format!("tells all {} others what changes", sent.text("/recipients"));
    stage.tell(&claude.name, &what, Some(sent.took))?;
    let said = gemini.call("mesh_lock", &json!({"action": "query"}))?;
    expect(said.notice.contains("login()"), "a waiting message is announced")?;
    stage.tell(&gemini.name, "asks for locks and is told that a message waits", None)?;
    let text = gemini.call("mesh_inbox", &json!({}))?.text("/messages/0/payload");
    stage.tell(&gemini.name, &format!("reads its inbox: \u{201c}{text}\u{201d}"), None)?;

    stage.say("\nThey share state")?;
    let release = |value: &str, version: Value| json!({"action": "set", "key": "release", "value": value, "ifVersion": version});
    codex.call("mesh_state", &release("1.4.0-rc1", json!(0)))?;
    stage.tell(&codex.name, "sets release = 1.4.0-rc1, if nobody has", None)?;
    let said = gemini.try_to("mesh_state", &release("1.4.0", json!(0)))?;
    expect(said.refused, "a change of an old version is refused")?;
    stage.tell(&gemini.name, "wants the same; refused: it has been set meanwhile", None)?;
    let entry = gemini.call("mesh_state", &json!({"action": "get", "key": "release"}))?;
    let version = entry.value.pointer("/entry/version").cloned().unwrap_or_default();
    gemini.call("mesh_state", &release("1.4.0", version))?;
    stage.tell(&gemini.name, "looks, and sets 1.4.0 over the version it saw", None)?;

    stage.say("\nThey talk")?;
    // The broadcast is read first, so that the wait is for what comes.
    codex.call("mesh_inbox", &json!({}))?;
    let waiting = codex.begin("mesh_inbox", &json!({"wait": 5}))?;
    stage.tell(&codex.name, "waits for a message", None)?;
    let text = "are the login tests green?";
    let begun = Instant::now();
    let sent = gemini.begin("mesh_send", &json!({"to": codex.name, "message": text}))?;
    let got = codex.end(waiting, begun)?;
    let sent = gemini.end(sent, begun)?;
    let arrived = !sent.refused && got.text("/messages/0/payload") == text;
    expect(arrived, "the message that was sent arrives")?;
    stage.tell(&gemini.name, &format!("asks {}: \u{201c}{text}\u{201d}", codex.name), None)?;
    let what = "has it, from one agent's call to the other's answer";
    stage.tell(&codex.name, what, Some(got.took))?;

    stage.say("\nOne crashes")?;
    stage.tell(&claude.name, "is killed (kill -9), with src/auth.rs locked", None)?;
    let begun = Instant::now();
    claude.kill()?;
    while codex.try_to("mesh_lock", &lock)?.refused {
        expect(begun.elapsed() < CRASH_TIME_MAX, "a crashed holder's lock is freed at once")?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let what = "gets the lock: it was freed with its holder's process";
    stage.tell(&codex.name, what, Some(begun.elapsed()))?;

    stage.say("\nThey go")?;
    for session in [codex, gemini] {
        let (name, begun) = (session.name.clone(), Instant::now());
        drop(session);
        let what = "its agent closes; it leaves the mesh";
        stage.tell(&name, what, Some(begun.elapsed()))?;
    }
    Ok(())
}

fn expect(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(failed(format_args!("it does not hold that {what}"))) }
}
