//! The play: what the three agents do. Each step checks that it went as the mesh promises, so that the
//! demo is a smoke test, too.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::session::{Said, Session};
use super::{Fault, Interrupt, Stage, Timeline};

/// A lock of a crashed holder is free well before this.
const CRASH_TIME_MAX: Duration = Duration::from_secs(3);

pub(super) fn morning(
    stage: &Stage,
    timeline: &mut Timeline<'_>,
    interrupt: &Interrupt,
) -> Result<(), Fault> {
    timeline.title("They come in")?;
    let took = stage.start_broker()?;
    timeline.tell("broker", "started: one process, one database file", Some(took))?;
    let mut come_in = |client: &str| -> Result<Session, Fault> {
        let (mut session, took) =
            Session::start(client, &stage.project, &stage.environment, interrupt)?;
        let status = session.call("mesh_status", &json!({}))?;
        session.name = granted(&session, &status)?.text("/you/name");
        timeline.tell(&session.name, "MCP server up, as its agent would start it", Some(took))?;
        Ok(session)
    };
    let mut claude = come_in("claude-code")?;
    let mut codex = come_in("codex-mcp-client")?;
    let mut gemini = come_in("gemini-cli-mcp-client")?;

    timeline.title("They find each other")?;
    for (session, summary) in [
        (&mut claude, "rewriting the login in src/auth.rs"),
        (&mut codex, "tests for the login"),
        (&mut gemini, "release notes"),
    ] {
        let said = session.call("mesh_summary", &json!({"summary": summary}))?;
        granted(session, &said)?;
        timeline.tell(&session.name, &format!("says what it works on: {summary}"), None)?;
    }
    let (peers, took) = timed(|| claude.call("mesh_peers", &json!({"scope": "directory"})))?;
    let seen = names(granted(&claude, &peers)?, "/peers");
    expect(seen.contains(&codex.name) && seen.contains(&gemini.name), "the others are listed")?;
    timeline.tell(&claude.name, &format!("sees {}", seen.join(" and ")), Some(took))?;

    locks_and_broadcast(timeline, &mut claude, &mut codex, &mut gemini)?;
    state(timeline, &mut codex, &mut gemini)?;
    direct_message(timeline, &mut codex, &mut gemini)?;
    crash(timeline, &mut claude, &mut codex, interrupt)?;

    timeline.title("They go")?;
    for session in [codex, gemini] {
        let name = session.name.clone();
        let begun = Instant::now();
        drop(session);
        let took = begun.elapsed();
        timeline.tell(&name, "its agent closes; it leaves the mesh", Some(took))?;
    }
    Ok(())
}

fn locks_and_broadcast(
    timeline: &mut Timeline<'_>,
    claude: &mut Session,
    codex: &mut Session,
    gemini: &mut Session,
) -> Result<(), Fault> {
    timeline.title("They keep out of each other's way")?;
    let lock =
        json!({"action": "lock", "filePath": "src/auth.rs", "reason": "rewriting the login"});
    let (said, took) = timed(|| claude.call("mesh_lock", &lock))?;
    granted(claude, &said)?;
    timeline.tell(&claude.name, "locks src/auth.rs", Some(took))?;
    let (said, took) = timed(|| codex.call("mesh_lock", &lock))?;
    expect(said.refused, "a lock that someone holds is refused")?;
    timeline.tell(
        &codex.name,
        "wants it too and is told who has it, and until when",
        Some(took),
    )?;
    let broadcast = json!({"to": "all", "message": "login() takes a Session now, not a token"});
    let (said, took) = timed(|| claude.call("mesh_send", &broadcast))?;
    let recipients = granted(claude, &said)?.text("/recipients");
    timeline.tell(
        &claude.name,
        &format!("tells all {recipients} others what changes"),
        Some(took),
    )?;
    let said = gemini.call("mesh_lock", &json!({"action": "query"}))?;
    let notice = said.notice.unwrap_or_default();
    expect(notice.contains("login()"), "a waiting message is announced")?;
    timeline.tell(&gemini.name, "asks for locks and is told that a message waits", None)?;
    let inbox = gemini.call("mesh_inbox", &json!({}))?;
    let text = granted(gemini, &inbox)?.text("/messages/0/payload");
    timeline.tell(&gemini.name, &format!("reads its inbox: \u{201c}{text}\u{201d}"), None)
}

fn state(
    timeline: &mut Timeline<'_>,
    codex: &mut Session,
    gemini: &mut Session,
) -> Result<(), Fault> {
    timeline.title("They share state")?;
    let set = |value: &str, version: &Value| json!({"action": "set", "key": "release", "value": value, "ifVersion": version});
    let said = codex.call("mesh_state", &set("1.4.0-rc1", &json!(0)))?;
    granted(codex, &said)?;
    timeline.tell(&codex.name, "sets release = 1.4.0-rc1, if nobody has", None)?;
    let said = gemini.call("mesh_state", &set("1.4.0", &json!(0)))?;
    expect(said.refused, "a change of an old version is refused")?;
    timeline.tell(&gemini.name, "wants the same; refused: it has been set meanwhile", None)?;
    let said = gemini.call("mesh_state", &json!({"action": "get", "key": "release"}))?;
    let version = granted(gemini, &said)?.value.pointer("/entry/version").cloned();
    let said = gemini.call("mesh_state", &set("1.4.0", &version.unwrap_or_default()))?;
    granted(gemini, &said)?;
    timeline.tell(&gemini.name, "looks, and sets 1.4.0 over the version it saw", None)
}

fn direct_message(
    timeline: &mut Timeline<'_>,
    codex: &mut Session,
    gemini: &mut Session,
) -> Result<(), Fault> {
    timeline.title("They talk")?;
    // The broadcast is read first, so that the wait is for what comes.
    let said = codex.call("mesh_inbox", &json!({}))?;
    granted(codex, &said)?;
    let waiting = codex.begin("mesh_inbox", &json!({"wait": 5}))?;
    timeline.tell(&codex.name, "waits for a message", None)?;
    let message = json!({"to": codex.name, "message": "are the login tests green?"});
    let begun = Instant::now();
    let sent = gemini.begin("mesh_send", &message)?;
    let got = codex.end(waiting)?;
    let took = begun.elapsed();
    let sent = gemini.end(sent)?;
    granted(gemini, &sent)?;
    let text = granted(codex, &got)?.text("/messages/0/payload");
    expect(text == "are the login tests green?", "the message that was sent arrives")?;
    timeline.tell(&gemini.name, &format!("asks {}: \u{201c}{text}\u{201d}", codex.name), None)?;
    timeline.tell(&codex.name, "has it, from one agent's call to the other's answer", Some(took))
}

fn crash(
    timeline: &mut Timeline<'_>,
    claude: &mut Session,
    codex: &mut Session,
    interrupt: &Interrupt,
) -> Result<(), Fault> {
    timeline.title("One crashes")?;
    timeline.tell(&claude.name, "is killed (kill -9), with src/auth.rs locked", None)?;
    let begun = Instant::now();
    claude.kill().map_err(|error| Fault::new(&error.to_string()))?;
    loop {
        interrupt.check()?;
        let said =
            codex.call("mesh_lock", &json!({"action": "lock", "filePath": "src/auth.rs"}))?;
        if !said.refused {
            break;
        }
        expect(begun.elapsed() < CRASH_TIME_MAX, "a crashed holder's lock is freed at once")?;
        std::thread::sleep(Duration::from_millis(1));
    }
    timeline.tell(
        &codex.name,
        "gets the lock: it was freed with its holder's process",
        Some(begun.elapsed()),
    )
}

fn timed<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<(T, Duration), Fault> {
    let begun = Instant::now();
    let result = work()?;
    Ok((result, begun.elapsed()))
}

/// The names in a list.
fn names(said: &Said, list: &str) -> Vec<String> {
    let items = said.value.pointer(list).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.get("name")?.as_str().map(str::to_owned)).collect()
}

fn granted<'a>(session: &Session, said: &'a Said) -> Result<&'a Said, Fault> {
    if said.refused {
        return Err(Fault::Failed(format!("{} was refused: {}", session.name, said.value)));
    }
    Ok(said)
}

fn expect(holds: bool, what: &str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::Failed(format!("it does not hold that {what}"))) }
}
