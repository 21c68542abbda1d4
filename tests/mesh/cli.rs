//! The command line as people and scripts use it: the real binary, its words, output and exit codes.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Mesh, PATIENCE, Ran, Running, is_there, lines, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::{Registered, Request};
use slm_mesh::client::ClientError;
use slm_mesh::model::Way;
use slm_mesh::platform::{Signal, send_signal};

// --- Without a broker ----------------------------------------------------------------------------

#[test]
fn help_and_version_need_nothing() {
    let mesh = Mesh::new().with("SLM_MESH_PORT", "broken");
    let help = mesh.run("help").ok();
    for word in ["Usage: slm-mesh", "send", "events", "Exit codes"] {
        assert!(help.contains(word), "{help}");
    }
    assert_eq!(mesh.run("--help").ok(), help);
    assert!(mesh.run("send --help").ok().contains("--reply-to HANDLE"));
    assert_eq!(mesh.run("help send").ok(), mesh.run("send -h").ok());
    let version = format!("slm-mesh {}\n", env!("CARGO_PKG_VERSION"));
    for line in ["version", "--version", "-V"] {
        assert_eq!(mesh.run(line).ok(), version);
    }
    let json = mesh.run("version --json").json();
    assert_eq!(json, json!({"ok": true, "version": env!("CARGO_PKG_VERSION")}));
    assert!(!is_there(mesh.data_dir()));
}

#[test]
fn wrong_usage_is_2_and_says_what_was_meant() {
    let mesh = Mesh::new();
    for (line, words) in [
        ("staus", "did you mean `status`?"),
        ("--jsno status", "did you mean `--json`?"),
        ("send bob", "<message> is missing"),
        ("send bob two words", "unexpected word \"words\""),
        ("peers --scope galaxy", "machine, mesh, directory, repo"),
        ("lock acquire", "<path> is missing"),
        ("emit build.done nonsense", "not JSON"),
        ("status --data-dir", "needs a value"),
    ] {
        let err = mesh.run(line).fails(2);
        assert!(err.starts_with("slm-mesh: ") && err.contains(words), "{line}: {err}");
    }
    let err = mesh.run("send bob").fails(2);
    assert!(err.contains("see `slm-mesh help send`"), "{err}");
    assert!(!is_there(mesh.data_dir()));
}

#[test]
fn wrong_settings_are_2_and_name_the_variable() {
    let mesh = Mesh::new().with("SLM_MESH_PORT", "many");
    let err = mesh.run("status").fails(2);
    assert!(err.contains("SLM_MESH_PORT") && err.contains("many"), "{err}");
    assert!(mesh.run("start").fails(2).contains("SLM_MESH_PORT"));
}

#[test]
fn errors_are_json_when_json_is_asked_for() {
    let mesh = Mesh::new();
    for (line, exit, code) in [
        ("status --json", 3, "no_broker"),
        ("--json staus", 2, "usage"),
        ("send --json", 2, "usage"),
        ("state set k --json", 2, "usage"),
    ] {
        let ran = mesh.run(line);
        assert_eq!((ran.code, &*ran.err), (Some(exit), ""), "{ran:?}");
        let json = ran.json();
        assert_eq!((&json["ok"], &json["code"]), (&json!(false), &json!(code)));
        assert!(json["error"].is_string());
    }
}

#[test]
fn some_commands_start_no_broker() {
    let mesh = Mesh::new();
    for line in ["status", "peers", "lock list", "stop"] {
        let err = mesh.run(line).fails(3);
        assert!(err.contains("slm-mesh start --detached"), "{line}: {err}");
    }
    assert_eq!(mesh.run("clean").ok(), "There was nothing to clean.\n");
    assert!(!is_there(mesh.data_dir()));
    assert_eq!(mesh.broker_pid(), None);
}

#[test]
fn a_broker_that_cannot_start_says_why() {
    let mesh = Mesh::new();
    std::fs::create_dir(mesh.data_dir()).unwrap();
    std::fs::set_permissions(mesh.data_dir(), PermissionsExt::from_mode(0o777)).unwrap();
    for line in ["start --detached", "send cli hi"] {
        let err = mesh.run(line).fails(1);
        assert!(err.contains("chmod 700"), "{line}: {err}");
    }
    let json = mesh.run("send cli hi --json").json();
    assert_eq!(json["code"], "data_dir");

    let long = Mesh::new().with("SLM_MESH_DATA_DIR", &format!("/tmp/{}", "x".repeat(100)));
    let err = long.run("send cli hi").fails(1);
    assert!(err.contains("SLM_MESH_DATA_DIR") && err.contains("bytes"), "{err}");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mesh = Mesh::new();
    for line in ["help", "version --json"] {
        let mut command = mesh.command(line.split_whitespace());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success(), "{:?}", output.status);
    }
}

#[test]
fn what_is_left_without_a_broker_is_cleaned() {
    let mesh = Mesh::new();
    let data = mesh.data_dir();
    std::fs::create_dir_all(data.join("peers")).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    for name in ["port", "broker.token", "broker.pid", "peers/a.token"] {
        std::fs::write(data.join(name), "1").unwrap();
    }
    drop(std::os::unix::net::UnixListener::bind(data.join("peers/b.sock")).unwrap());
    assert_eq!(mesh.run("clean").ok(), "Removed 1 socket and 4 files.\n");
    for name in ["port", "broker.token", "broker.pid", "peers/a.token", "peers/b.sock"] {
        assert!(!is_there(data.join(name)), "{name}");
    }
    assert_eq!(mesh.run("clean").ok(), "There was nothing to clean.\n");
}

// --- The broker's life ---------------------------------------------------------------------------

#[test]
fn start_status_and_stop() {
    let mesh = Mesh::new();
    let ready = mesh.run("start --detached").ok();
    let port: u16 = ready.trim().strip_prefix("ready ").unwrap().parse().unwrap();
    assert_eq!(mesh.run("start --detached").ok(), ready, "one that runs already is fine");
    let started = mesh.run("start --detached --json").json();
    assert_eq!((&started["ok"], &started["port"]), (&json!(true), &json!(port)));

    let status = mesh.run("status").ok();
    for word in ["running", &format!("port {port}"), "files", "0 active"] {
        assert!(status.contains(word), "{status}");
    }
    assert!(!status.contains('\u{1b}'), "{status}");
    let json = mesh.run("--json status").json();
    assert_eq!((&json["status"], &json["port"]), (&json!("ok"), &json!(port)));
    assert_eq!(json["dataDir"], json!(mesh.data_dir()));
    assert_eq!(json["pid"], json!(mesh.broker_pid().unwrap()));

    assert_eq!(mesh.run("stop").ok(), "The broker has stopped.\n");
    assert_eq!(mesh.broker_pid(), None);
    mesh.run("status").fails(3);
    mesh.run("stop").fails(3);
}

#[test]
fn a_broker_in_the_background_hangs_on_nobody() {
    let mesh = Mesh::new().with("CLAUDE_TEST_SECRET", "x");
    mesh.start();
    let pid = mesh.broker_pid().unwrap();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("CLAUDE_TEST_SECRET"), "{environment}");
    assert!(environment.contains("SLM_MESH_DATA_DIR="));
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), mesh.data_dir());
    for (fd, expected) in [(0, "null"), (1, "null"), (2, "broker.log")] {
        // It leaves them after it has said that it is ready.
        wait_until("its standard descriptors lead nowhere", || {
            let target = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
            target.ends_with(expected)
        });
    }
    // A session of its own, whose leader it is.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[3], pid.to_string(), "{stat}");
}

#[test]
fn twenty_clients_at_once_end_with_one_broker() {
    let mesh = Mesh::unlimited();
    let begun = Instant::now();
    let children: Vec<_> = (0..20)
        .map(|i| {
            let words = ["send", "cli", &format!("hello {i}"), "--json"].map(str::to_owned);
            mesh.command(words).spawn().unwrap()
        })
        .collect();
    for child in children {
        let ran = crate::common::Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.json()["ok"], json!(true), "{ran:?}");
        ran.ok();
    }
    assert!(begun.elapsed() < PATIENCE);
    let messages = mesh.run("inbox --json").json()["messages"].as_array().unwrap().len();
    assert_eq!(messages, 20);
    let log = std::fs::read_to_string(mesh.data_dir().join("broker.log")).unwrap_or_default();
    assert!(log.matches("ready").count() <= 1, "{log}");
}

#[test]
fn a_killed_broker_is_replaced() {
    let mesh = Mesh::new();
    mesh.run("send cli before").ok();
    let first = mesh.broker_pid().unwrap();
    mesh.kill_broker();
    // Its files are still there, and are not believed.
    assert!(is_there(mesh.data_dir().join("port")));
    mesh.run("status").fails(3);
    mesh.run("send cli after").ok();
    assert_ne!(mesh.broker_pid().unwrap(), first);
    let inbox = mesh.run("inbox").ok();
    assert!(inbox.contains("before") && inbox.contains("after"), "{inbox}");
}

#[test]
fn a_client_outlives_its_broker() {
    let mesh = Mesh::new();
    let mut client = mesh.client();
    let first = client.broker().unwrap().pid;
    for end in [Mesh::kill_broker, |mesh: &Mesh| drop(mesh.run("stop").ok())] {
        end(&mesh);
        assert_eq!(client.call_bytes(&Request::Status), Err(ClientError::NoBroker));
        mesh.start();
        client.call_bytes(&Request::Status).unwrap();
        // Not seen by the client before it asks.
        end(&mesh);
        mesh.start();
        client.call_bytes(&Request::Status).unwrap();
    }
    assert_ne!(client.broker().unwrap().pid, first);
}

#[test]
fn a_broker_that_no_longer_answers_is_ended() {
    let mesh = Mesh::new();
    mesh.start();
    let pid = mesh.broker_pid().unwrap();
    // Stopped, it neither answers nor heeds SIGTERM.
    crate::common::send_signal(pid, "STOP");
    let err = mesh.run("status").fails(1);
    assert!(err.contains("slm-mesh clean"), "{err}");
    let cleaned = mesh.run("clean").ok();
    assert!(cleaned.contains(&format!("process {pid}")), "{cleaned}");
    assert_eq!(mesh.broker_pid(), None);
    assert!(!is_there(mesh.data_dir().join("port")));
    mesh.run("send cli again").ok();
    // One that answers is left alone.
    let pid = mesh.broker_pid();
    assert_eq!(mesh.run("clean").ok(), "There was nothing to clean.\n");
    assert_eq!(mesh.broker_pid(), pid);
}

#[test]
fn foreground_ends_on_a_signal() {
    let mesh = Mesh::new();
    let mut child = Running(mesh.command(["start"]).spawn().unwrap());
    wait_until("it serves", || mesh.run("status").code == Some(0));
    let err = mesh.run("start").fails(1);
    assert!(err.contains("slm-mesh: "), "{err}");
    send_signal(child.0.id(), Signal::Terminate).unwrap();
    assert!(child.0.wait().unwrap().success());
    assert_eq!(mesh.broker_pid(), None);
}

// --- Messages ------------------------------------------------------------------------------------

fn register(mesh: &Mesh, name: &str, private: bool) -> Registered {
    mesh.register_with(|register| {
        register.name = Some(name.into());
        register.private = private;
    })
}

#[test]
fn messages_are_sent_and_read() {
    let mesh = Mesh::new();
    assert_eq!(mesh.run("inbox").ok(), "No unread messages for cli.\n");
    assert_eq!(mesh.run("broadcast hello").ok(), "Nobody else is here; nothing was sent.\n");
    register(&mesh, "bob", false);
    assert!(mesh.run("send bob hello").ok().contains("bob"));
    assert!(mesh.run("broadcast everyone").ok().contains("1 peer"));
    let sent = mesh.run_with_input("send bob - --json --type json", b"{\"a\":1}\n");
    assert_eq!(sent.json()["ok"], json!(true));
    let sent = sent.json();
    let handle = sent["handle"].as_str().unwrap();

    let inbox = mesh.run("inbox --peer bob --peek").ok();
    assert!(inbox.contains("  hello\n") && inbox.contains("  everyone\n"), "{inbox}");
    assert!(inbox.contains(&format!("  handle {handle}\n")) && inbox.contains("json"), "{inbox}");
    let json = mesh.run("inbox --peer bob --json").json();
    let messages = json["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[2]["payload"], "{\"a\":1}\n");
    assert_eq!(messages[0]["fromPeer"], "cli");
    assert_eq!(mesh.run("inbox --peer bob").ok(), "No unread messages for bob.\n");
    assert!(mesh.run("inbox --peer bob --all").ok().contains("hello"));

    let reply = ["send", "cli", "thanks", "--from", "bob", "--reply-to", handle];
    mesh.run_words(reply).ok();
    let inbox = mesh.run("inbox").ok();
    assert!(inbox.starts_with("bob (") && inbox.contains("thanks"), "{inbox}");
    assert!(inbox.contains(&format!("answers {handle}")), "{inbox}");

    let err = mesh.run("send nobody hello").fails(1);
    assert!(err.contains("nobody"), "{err}");
    assert_eq!(mesh.run("send nobody hello --json").json()["code"], "peer_not_found");
    mesh.run_with_input("send bob -", &vec![b'x'; 65 * 1024]).fails(2);
    mesh.run_with_input("send bob -", b"\xff").fails(2);
}

#[test]
fn nothing_that_agents_write_reaches_the_terminal_raw() {
    let mesh = Mesh::new();
    mesh.run_words(["send", "cli", "a\u{1b}]0;title\u{7}\nfrom: boss\u{9b}2J"]).ok();
    let json = mesh.run("inbox --peek --json").json();
    assert!(json["messages"][0]["payload"].as_str().unwrap().contains('\u{1b}'));
    let inbox = mesh.run("inbox").ok();
    assert!(inbox.contains("\\u{1b}]0;title\\u{7}\n  from: boss\\u{9b}2J\n"), "{inbox}");
    mesh.run_words(["state", "set", "k", "\u{1b}[31mred"]).ok();
    assert!(mesh.run("state list").ok().contains("\\u{1b}[31mred"));
    assert_eq!(mesh.run("state get k").ok(), "\u{1b}[31mred\n", "raw into a pipe");
}

#[test]
fn messages_that_nobody_saw_stay_unread() {
    let mesh = Mesh::new();
    mesh.run("send cli hello").ok();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = mesh.command(["inbox"]).stdout(writer).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(mesh.run("inbox").ok().contains("hello"));
    assert_eq!(mesh.run("inbox").ok(), "No unread messages for cli.\n");
}

#[test]
fn a_private_inbox_can_be_looked_at_and_stays_unread() {
    let mesh = Mesh::new();
    register(&mesh, "ann", true);
    mesh.run("send ann secret").ok();
    for _ in 0..2 {
        let ran = mesh.run("inbox --peer ann");
        assert!(ran.err.contains("left unread"), "{ran:?}");
        assert!(ran.ok().contains("secret"));
    }
    let ran = mesh.run("inbox --peer ann --json");
    assert_eq!(ran.err, "");
    assert_eq!(ran.json()["messages"][0]["payload"], "secret");
}

#[test]
fn a_sender_sees_how_far_its_messages_came() {
    let mesh = Mesh::new();
    assert_eq!(mesh.run("inbox --sent").ok(), "cli has sent no messages that are still kept.\n");
    let bob = register(&mesh, "bob", false).peer_id;
    mesh.run("send bob one").ok();
    mesh.run("inbox --peer bob").ok();
    let two = mesh.run("send bob two --json").json();
    let notified = Request::MarkNotified {
        peer_id: Some("bob".into()),
        ids: vec![serde_json::from_value(two["messageId"].clone()).unwrap()],
        way: Way::InboxSocket,
        claim_id: None,
    };
    mesh.client().call_bytes(&notified).unwrap();
    mesh.run_words(["send", "bob", "th\u{1b}ree\nlines"]).ok();
    mesh.run("broadcast four").ok();
    let sent = mesh.run("inbox --sent").ok();
    let lines: Vec<&str> = sent.lines().collect();
    assert!(lines[0].starts_with("HANDLE  TO   WRITTEN  "), "{sent}");
    assert!(lines[1].contains("  bob  ") && lines[1].contains("  read  "), "{sent}");
    assert!(lines[1].ends_with("  one"), "{sent}");
    assert!(lines[2].contains("  notified (inbox-socket)  "), "{sent}");
    assert!(lines[3].contains("  queued  ") && lines[3].ends_with("th\\u{1b}ree\\nlines"));
    assert!(lines[4].contains("  all  ") && lines[4].contains("0 of 1 delivered"), "{sent}");
    assert_eq!(lines[2].get(..4), two["handle"].as_str(), "{sent}");
    assert!(mesh.run("inbox --sent --limit 1").ok().contains("\n3 older ones: --limit"));
    let json = mesh.run("inbox --sent --json").json();
    assert_eq!(json["messages"][1]["notifiedBy"], "inbox-socket");
    assert_eq!(json["messages"][0]["toPeer"], json!(bob));
    // Its name stays with what was sent to it: whoever has it next has that, too.
    mesh.client()
        .call_bytes(&Request::Unregister { peer_id: Some("bob".into()), away: false })
        .unwrap();
    assert!(mesh.run("inbox --sent").ok().contains("  bob  "));
    assert!(mesh.run("inbox --sent --peer bob").ok().starts_with("bob has sent no messages"));
    mesh.run("inbox --sent --peek").fails(2);
}

#[test]
fn peers_are_listed() {
    let mesh = Mesh::new();
    mesh.start();
    assert_eq!(mesh.run("peers").ok(), "No active peers are here.\n");
    let id = register(&mesh, "bob", false).peer_id.to_string();
    let peers = mesh.run("peers").ok();
    let (titles, row) = peers.split_once('\n').unwrap();
    assert!(titles.starts_with("NAME  ID        AGENT  STATUS  REACH  PROJECT"), "{peers}");
    assert!(row.starts_with(&format!("bob   {}  test   active  none", &id[..8])), "{peers}");
    assert!(mesh.run("peers --scope directory").ok().contains("bob"));
    let err = mesh.run("peers --scope repo").fails(1);
    assert!(err.contains("in no git repository"), "{err}");
    assert_eq!(mesh.run("peers --json").json()["peers"][0]["id"], json!(id));
}

// --- State, locks, events ------------------------------------------------------------------------

#[test]
fn state_is_set_and_read() {
    let mesh = Mesh::new();
    let own = slm_mesh::agent::namespace::of_project(&mesh.work());
    assert!(own.starts_with("work-"), "{own}");
    let none =
        format!("No entries in the namespace {own}; `--all-namespaces` shows those of all.\n");
    assert_eq!(mesh.run("state list").ok(), none);
    let err = mesh.run("state get k").fails(1);
    assert!(err.contains("there is no `k`"), "{err}");
    let ran = mesh.run("state get k --json");
    assert_eq!((ran.code, &ran.json()["entry"]), (Some(1), &Value::Null));

    assert!(
        mesh.run("state set k one --if-version 0")
            .ok()
            .starts_with(&format!("Set k in {own} (version "))
    );
    assert_eq!(mesh.run("state get k").ok(), "one\n");
    let version = mesh.run("state get k --json").json()["entry"]["version"].clone();
    let conflict = mesh.run("state set k two --if-version 0 --json");
    assert_eq!(conflict.code, Some(1));
    assert_eq!(conflict.json()["code"], "version_conflict");
    assert_eq!(conflict.json()["entry"]["version"], version);
    mesh.run(&format!("state set k two --if-version {version}")).ok();
    mesh.run_with_input("state set other -", b"from\nstdin\n").ok();
    assert_eq!(mesh.run("state get other").ok(), "from\nstdin\n\n");
    mesh.run("state set k there --namespace n --ttl 1h").ok();

    let list = mesh.run("state list").ok();
    assert!(list.starts_with("KEY") && list.contains("two"), "{list}");
    assert!(list.contains("from\\nstdin\\n") && !list.contains("there"), "{list}");
    assert!(mesh.run("state list --namespace n").ok().contains("GOES"));
    assert_eq!(mesh.run("state delete k").ok(), format!("Deleted k in {own}.\n"));
    assert_eq!(mesh.run("state delete k").ok(), format!("There was no k in {own}.\n"));
    assert_eq!(mesh.run("state get k --namespace n").ok(), "there\n");
}

#[test]
fn two_projects_that_set_the_same_key_do_not_meet() {
    let mesh = Mesh::new();
    let project = |name: &str| {
        let dir = mesh.work().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    };
    let (web, api) = (project("web"), project("api"));
    let run = |dir: &std::path::Path, line: &str| -> Ran {
        mesh.command(line.split_whitespace()).current_dir(dir).output().unwrap().into()
    };
    run(&web, "state set port 3000").ok();
    run(&api, "state set port 4000").ok();
    assert_eq!(run(&web, "state get port").ok(), "3000\n");
    assert_eq!(run(&api, "state get port").ok(), "4000\n");

    // What is everyone's is found by its own name only, and one is told that it is there.
    run(&web, "state set leader me --namespace shared").ok();
    assert_eq!(run(&api, "state get leader --namespace shared").ok(), "me\n");
    let err = run(&api, "state get leader").fails(1);
    assert!(err.contains("but there is one in the whole mesh's: `--namespace shared`"), "{err}");
    assert_eq!(run(&api, "state get leader --json").json()["inDefault"], true);
    let on_the_wire = Request::GetState { namespace: "default".into(), key: "leader".into() };
    let reply: slm_mesh::api::EntryReply = mesh.client().call(&on_the_wire).unwrap();
    assert_eq!(&*reply.entry.unwrap().value, "me");

    let list = run(&api, "state list --all-namespaces").ok();
    assert!(list.starts_with("NAMESPACE") && list.lines().count() == 4, "{list}");
    assert!(list.contains("shared") && list.contains("3000") && list.contains("4000"), "{list}");
    let json = run(&api, "state list --all-namespaces --json").json();
    assert_eq!(json["entries"].as_array().unwrap().len(), 3);
    assert!(!run(&api, "state list").ok().contains("3000"));
}

#[test]
fn locks_are_taken_under_one_name() {
    let mesh = Mesh::new();
    std::fs::create_dir(mesh.work().join("src")).unwrap();
    symlink("src", mesh.work().join("link")).unwrap();
    let locked = mesh.run("lock acquire link/./new.rs --ttl 30m --reason testing").ok();
    assert!(locked.starts_with("Locked ") && locked.contains("/src/new.rs"), "{locked}");
    let list = mesh.run("lock list").ok();
    assert!(list.starts_with("FILE") && list.contains("testing"), "{list}");
    let query = mesh.run("lock query src/new.rs --json").json();
    let path = mesh.work().join("src/new.rs");
    assert_eq!(query["locks"][0]["filePath"], json!(path));
    assert_eq!(query["locks"][0]["lockedBy"], "cli");
    assert!(mesh.run("lock query src/other.rs").ok().contains("is not locked"));
    assert!(mesh.run("lock release ./src/new.rs").ok().starts_with("Released "));
    mesh.run("lock release src/new.rs").fails(1);
    assert_eq!(mesh.run("lock list").ok(), "No files are locked.\n");
}

#[test]
fn anyones_lock_is_released_by_force() {
    let mesh = Mesh::new();
    let bob = register(&mesh, "bob", false);
    let mut client = mesh.client();
    client.use_token(&bob.peer_token);
    let path: Box<str> = mesh.work().join("f").to_str().unwrap().into();
    let lock = slm_mesh::api::LockFile {
        path: slm_mesh::api::LockPath::of(path),
        reason: Some("mine".into()),
        ..slm_mesh::api::LockFile::default()
    };
    client.call_bytes(&Request::Lock(lock)).unwrap();
    let err = mesh.run("lock acquire f").fails(1);
    assert!(err.contains("bob") && err.contains("mine"), "{err}");
    let json = mesh.run("lock acquire f --json").json();
    assert_eq!((&json["code"], &json["lock"]["lockedByName"]), (&json!("locked"), &json!("bob")));
    mesh.run("lock release f").fails(1);
    mesh.run("lock release f --force").ok();
    mesh.run("lock acquire f").ok();
}

#[test]
fn events_are_listed() {
    let mesh = Mesh::new();
    let emitted = mesh.run_words(["emit", "build.done", r#"{"n":1}"#]).ok();
    assert!(emitted.starts_with("Emitted build.done (event "), "{emitted}");
    mesh.run("emit build.started").ok();
    mesh.run_with_input("emit other.thing -", b" [1, 2] ").ok();
    let events = mesh.run("events").ok();
    assert!(events.starts_with("WHEN"), "{events}");
    assert!(events.contains(r#"  cli: build.done {"n":1}"#), "{events}");
    let json = mesh.run("events --type build.* --limit 1 --json").json();
    assert_eq!(json["events"][0]["type"], "build.started");
    assert_eq!(json["events"].as_array().unwrap().len(), 1);
    assert!(mesh.run("events --since 1h --type other.*").ok().contains("[1"));
    assert_eq!(mesh.run("events --type no.such").ok(), "No such events are kept.\n");
    let nothing = Mesh::new().run("events").ok();
    assert_eq!(nothing, "Nothing has happened that is still kept.\n");
    mesh.run("emit deployed").ok();
    mesh.run("emit mesh.deployed").fails(1);
    mesh.run("emit peer_joined").fails(1);
}

#[test]
fn events_are_followed_over_a_restart() {
    let mesh = Mesh::new();
    mesh.run("emit a.past").ok();
    let mut command = mesh.command(["events", "--follow", "--json", "--type", "a.*"]);
    let mut child = Running(command.spawn().unwrap());
    let lines = lines(child.0.stdout.take().unwrap());
    let next = || {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        event["type"].as_str().unwrap().to_owned()
    };
    assert_eq!(next(), "a.past");
    mesh.run("emit a.live").ok();
    assert_eq!(next(), "a.live");
    mesh.run("emit b.other").ok();
    mesh.run("stop").ok();
    // It does not start what someone has stopped.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(mesh.broker_pid(), None);
    mesh.run("emit a.after").ok();
    assert_eq!(next(), "a.after");
    mesh.kill_broker();
    mesh.run("emit a.again").ok();
    assert_eq!(next(), "a.again");

    crate::common::send_signal(child.0.id(), "INT");
    let status = child.0.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));
    let mut err = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(err, "");
}

#[test]
fn following_begins_where_it_is_told() {
    let mesh = Mesh::new();
    mesh.run("emit a.past").ok();
    let mut command = mesh.command(["events", "-f", "--limit", "0"]);
    let mut child = Running(command.stderr(Stdio::null()).spawn().unwrap());
    let lines = lines(child.0.stdout.take().unwrap());
    let deadline = Instant::now() + PATIENCE;
    // Emitted until it listens.
    let line = loop {
        assert!(Instant::now() < deadline);
        mesh.run("emit a.live").ok();
        if let Ok(line) = lines.recv_timeout(Duration::from_millis(200)) {
            break line;
        }
    };
    assert!(line.ends_with("  cli: a.live") && line.get(2..3) == Some(":"), "{line}");
}

#[test]
fn following_ends_with_its_reader() {
    let mesh = Mesh::new();
    mesh.run("emit a.past").ok();
    let mut child = Running(mesh.command(["events", "--follow"]).spawn().unwrap());
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    // From here on nothing happens that it could fail to write.
    drop(stdout);
    wait_until("it has ended", || child.0.try_wait().unwrap().is_some());
    assert!(child.0.wait().unwrap().success());
}

#[cfg(feature = "lan")]
#[test]
fn a_fresh_secret_is_printed_and_kept_nowhere() {
    let mesh = Mesh::new();
    let secret = mesh.run("secret").ok();
    assert!(secret.trim().len() == 64 && !is_there(mesh.data_dir()), "{secret}");
    assert_ne!(mesh.run("secret --json").json()["secret"], secret.trim());
    // It is one that is taken.
    let with = Mesh::new().with("SLM_MESH_SHARED_SECRET", secret.trim());
    with.run("status").fails(3);
    let said = Mesh::new().with("SLM_MESH_SHARED_SECRET", "hunter2").run("status").fails(2);
    assert!(said.contains("a fresh one") && !said.contains("hunter2"), "{said}");
}
