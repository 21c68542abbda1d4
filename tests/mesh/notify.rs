//! `slm-mesh notify`: the helper beside a real broker, with a stand-in for `notify-send` and for a
//! program of the person's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use slm_mesh::platform::{self, Signal, is_alive};

use crate::common::agent::Agent;
use crate::common::{Mesh, eventually, is_there, send_signal, wait_until};

/// A mesh on whose `PATH` comes first a `notify-send` that writes what it got into a file.
fn mesh() -> Mesh {
    let mesh = Mesh::new();
    let bin = mesh.home().join("bin");
    script(&bin.join("notify-send"), &mesh.home().join("shown"), "");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    mesh.with("PATH", &path)
}

/// A program that appends its words, one a line, and with `more` something else to a file.
fn script(program: &Path, to: &Path, more: &str) {
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    let text = format!(
        "#!/bin/sh\n{{ for word; do printf '%s\\n' \"$word\"; done; {more}\nprintf '===\\n'; }} >>'{}'\n",
        to.display()
    );
    fs::write(program, text).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o700)).unwrap();
}

/// What was shown so far: of each notification its lines.
fn shown(mesh: &Mesh) -> Vec<Vec<String>> {
    let text = fs::read_to_string(mesh.home().join("shown")).unwrap_or_default();
    let whole = text.rsplit_once("===\n").map_or("", |(whole, _)| whole);
    let each = whole.split("===\n").filter(|one| !one.is_empty());
    each.map(|one| one.lines().map(str::to_owned).collect()).collect()
}

/// The texts of those that were shown by `notify-send`.
fn texts(mesh: &Mesh) -> Vec<String> {
    shown(mesh).into_iter().map(|lines| lines.last().unwrap().clone()).collect()
}

fn wait_for_texts(mesh: &Mesh, expected: &[&str]) {
    wait_until(&format!("{expected:?} is shown"), || texts(mesh) == expected);
}

fn send(mesh: &Mesh, text: &str) {
    mesh.run_words(["send", "--from", "bot", "--", "cli", text]).ok();
}

/// The process that is the helper.
fn helper(mesh: &Mesh) -> Option<u32> {
    let holder = platform::lock_holder(&mesh.data_dir().join("notify.lock")).unwrap();
    holder.and_then(|holder| holder.pid)
}

fn files(mesh: &Mesh) -> Vec<String> {
    let entries = fs::read_dir(mesh.data_dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("notify")).collect()
}

/// Waits until the helper has noted that it is done with the newest message.
fn wait_until_noted(mesh: &Mesh) {
    let newest = mesh.run("events --limit 1 --json").json()["events"][0]["seq"].to_string();
    let noted = || fs::read_to_string(mesh.data_dir().join("notify.seq")).unwrap_or_default();
    wait_until("it is noted", || noted().starts_with(&format!("{{\"seq\":{newest},")));
}

#[test]
fn messages_to_the_person_are_shown_from_on_to_off() {
    let mesh = mesh();
    mesh.start();
    assert!(mesh.run("notify status").ok().contains("are off"));
    assert_eq!((files(&mesh), helper(&mesh)), (vec![], None), "off is nothing at all");
    send(&mesh, "before");

    let said = mesh.run("notify on").ok();
    assert!(said.contains("notify-send") && said.contains("from now on"), "{said}");
    wait_for_texts(&mesh, &["before"]);
    send(&mesh, "-x <b>R&D</b> $(touch oops)\nsecond");
    wait_until("it is shown", || shown(&mesh).len() == 2);
    let markup_free = ["-x &lt;b&gt;R&amp;D&lt;/b&gt; $(touch oops)", "second"];
    let expected = [
        "--app-name=slm-mesh",
        "--category=im.received",
        "--",
        "script bot",
        markup_free[0],
        markup_free[1],
    ];
    assert_eq!(shown(&mesh)[1], expected);
    // Neither one to others nor one that is read is shown; and those that are stay unread.
    let unread = mesh.run("inbox --peek --json").json();
    assert_eq!(unread["messages"].as_array().unwrap().len(), 2);
    let status = mesh.run("notify status --json").json();
    assert_eq!((&status["on"], &status["running"]), (&json!(true), &json!(true)));
    assert!(status["by"].as_str().unwrap().ends_with("/home/bin/notify-send"), "{status}");
    for name in files(&mesh) {
        // One that is being written is renamed meanwhile.
        let Ok(metadata) = fs::metadata(mesh.data_dir().join(&name)) else { continue };
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }

    let pid = helper(&mesh).unwrap();
    mesh.run("notify off").ok();
    wait_until("it has ended", || !is_alive(pid));
    assert_eq!(files(&mesh), Vec::<String>::new());
    assert!(mesh.run("notify status").ok().contains("are off"));
    // Off already is no fault.
    mesh.run("notify off").ok();
    assert!(!is_there(mesh.work().join("oops")) && !is_there(mesh.data_dir().join("oops")));
}

#[test]
fn what_comes_while_no_helper_runs_is_shown_once_by_the_next() {
    let mesh = mesh();
    // Without a broker, it begins with the next one.
    let said = mesh.run("notify on").ok();
    assert!(said.contains("as soon as a broker runs"), "{said}");
    mesh.start();
    send(&mesh, "one");
    wait_for_texts(&mesh, &["one"]);

    // The helper dies; the broker starts another.
    wait_until_noted(&mesh);
    let first = eventually("the helper", || helper(&mesh));
    platform::send_signal(first, Signal::Kill).unwrap();
    send(&mesh, "two");
    let second = eventually("another one", || helper(&mesh).filter(|pid| *pid != first));
    wait_for_texts(&mesh, &["one", "two"]);

    // The broker dies, and its helper with it.
    wait_until_noted(&mesh);
    mesh.kill_broker();
    wait_until("its helper ends", || !is_alive(second));
    mesh.start();
    send(&mesh, "three");
    wait_for_texts(&mesh, &["one", "two", "three"]);

    // It is stopped, and so is the helper.
    let third = eventually("the helper", || helper(&mesh));
    mesh.run("stop").ok();
    wait_until("its helper ends", || !is_alive(third));
}

#[test]
fn a_flood_is_a_few_notifications_and_a_count() {
    let mesh = mesh();
    mesh.start();
    for n in 0..12 {
        send(&mesh, &n.to_string());
    }
    mesh.run("notify on").ok();
    // On a slow machine a few more are shown one by one, and counted more than once.
    let counted = |text: &String| text.split_once(" more message").map(|(n, _)| n.parse().unwrap());
    let told = || texts(&mesh).iter().map(|text| counted(text).unwrap_or(1)).sum::<u32>();
    wait_until("all are told", || told() == 12);
    let texts = texts(&mesh);
    assert_eq!(texts[..3], ["0", "1", "2"]);
    assert!(texts.iter().any(|text| counted(text).is_some_and(|n| n > 1)), "{texts:?}");
}

#[test]
fn a_program_of_the_persons_gets_the_facts() {
    let mesh = mesh();
    let program: PathBuf = mesh.home().join("tell me");
    let more = "printf '%s\\n' \"$SLM_MESH_FROM\" \"$SLM_MESH_TEXT\" \"$SLM_MESH_TYPE\" \
                \"$SLM_MESH_HANDLE\"; cat";
    script(&program, &mesh.home().join("shown"), more);
    let missing = mesh.command(["notify", "on"]).env("SLM_MESH_NOTIFY", "nothing-here").output();
    let said = String::from_utf8(missing.unwrap().stderr).unwrap();
    assert!(said.contains("nothing-here") && said.contains("no such program"), "{said}");
    assert!(!is_there(mesh.data_dir().join("notify.json")));

    mesh.start();
    let on = mesh.command(["notify", "on"]).env("SLM_MESH_NOTIFY", &program).output().unwrap();
    assert!(on.status.success());
    mesh.run_words(["send", "cli", "quick", "--from", "bot", "--type", "alert"]).ok();
    wait_until("it is told", || shown(&mesh).len() == 1);
    let lines = shown(&mesh).remove(0);
    let facts: Value = serde_json::from_str(&lines[4]).unwrap();
    let message = &facts["message"];
    assert_eq!(lines[..3], ["script bot", "quick", "alert"]);
    assert_eq!((&facts["event"], &message["payload"]), (&json!("message"), &json!("quick")));
    assert_eq!(message["handle"], lines[3].as_str());
}

#[test]
fn one_notification_tries_it_out() {
    let mesh = mesh();
    mesh.run("notify test").ok();
    assert_eq!(texts(&mesh), ["This is how a message to you is shown."]);
    assert_eq!(mesh.broker_pid(), None);
    let bad = mesh.command(["notify", "test"]).env("SLM_MESH_NOTIFY", "/bin/false").output();
    let said = String::from_utf8(bad.unwrap().stderr).unwrap();
    assert!(said.contains("/bin/false has shown nothing"), "{said}");
}

#[test]
fn a_helper_keeps_no_broker_from_stopping() {
    let mesh = mesh().with("SLM_MESH_IDLE_TIMEOUT", "1000");
    mesh.run("notify on").ok();
    // An agent keeps the broker until its helper is seen to be there.
    let mut agent = Agent::new(&mesh);
    agent.tool("mesh_peers", &json!({}));
    let pid = mesh.broker_pid().unwrap();
    send(&mesh, "hello");
    wait_for_texts(&mesh, &["hello"]);
    agent.close();
    agent.wait();
    wait_until("the broker stops for want of peers", || mesh.broker_pid().is_none());
    wait_until("and its helper with it", || helper(&mesh).is_none());
    wait_until("it has ended", || !is_alive(pid));
    let log = fs::read_to_string(mesh.data_dir().join("broker.log")).unwrap();
    assert!(log.contains("stopping (idle)"), "{log}");
}

#[test]
fn there_is_one_helper_whoever_starts_more() {
    let mesh = mesh();
    mesh.start();
    mesh.run("notify on").ok();
    let pid = eventually("the helper", || helper(&mesh));
    // The same again changes nothing; other settings are those of a new one.
    mesh.run("notify on").ok();
    mesh.run("memory off").ok();
    assert_eq!(helper(&mesh), Some(pid));
    let other = mesh.command(["notify", "on"]).env("SLM_MESH_NOTIFY", "/bin/true").output();
    assert!(other.unwrap().status.success());
    let next = eventually("its successor", || helper(&mesh).filter(|next| *next != pid));
    wait_until("it has ended", || !is_alive(pid));
    // Another process waits for it to end, and gives up.
    send_signal(next, "STOP");
    let mut other = mesh.command(["notify", "--helper"]).spawn().unwrap();
    assert!(other.wait().unwrap().success());
    assert_eq!(helper(&mesh), Some(next));
    send_signal(next, "CONT");
}
