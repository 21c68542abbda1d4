//! Conversations at the command line: answering, looking back, looking on, and who is who.

use std::process::Stdio;
use std::sync::mpsc;

use crate::common::screen::Screen;
use crate::common::{Mesh, PATIENCE, Running, eventually, lines, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::{Register, Registered, Request};

/// Sends, and gives the handle.
#[track_caller]
fn send(mesh: &Mesh, from: &str, to: &str, text: &str) -> String {
    let ran = mesh.run_words(["send", to, text, "--from", from, "--json"]);
    ran.json()["handle"].as_str().unwrap().to_owned()
}

fn unregister(mesh: &Mesh, name: &str) {
    let request = Request::Unregister { peer_id: Some(name.into()), away: false };
    mesh.client().call_bytes(&request).unwrap();
}

/// What is shown of each message: the line about it without its age, and its text.
fn shown(text: &str) -> Vec<String> {
    text.split("\n\n").map(|block| block.trim_end().to_owned()).collect()
}

#[track_caller]
fn wait_for(lines: &mpsc::Receiver<String>, text: &str) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {text:?}"));
        if line.contains(text) {
            return line;
        }
    }
}

// --- Answering -----------------------------------------------------------------------------------

#[test]
fn the_last_message_is_answered_or_the_one_that_is_named() {
    let mesh = Mesh::new();
    let err = mesh.run("reply yes").fails(1);
    assert!(err.contains("nobody has written to you yet"), "{err}");
    mesh.register("ann");
    mesh.register("bob");
    let first = send(&mesh, "ann", "cli", "which port?");
    let second = send(&mesh, "bob", "cli", "may I push?");
    let said = mesh.run_words(["reply", "not yet"]).ok();
    assert!(said.contains("bob"), "{said}");
    let bob = mesh.run("inbox --peer bob --peek").ok();
    assert!(bob.contains(&format!("answers {second}")) && bob.contains("  not yet\n"), "{bob}");
    // Who has answered has read.
    let left = mesh.run("inbox --peek").ok();
    assert!(left.contains("which port?") && !left.contains("may I push?"), "{left}");
    mesh.run_words(["reply", &first.to_uppercase(), "3000"]).ok();
    let ann = mesh.run("inbox --peer ann --peek").ok();
    assert!(ann.contains(&format!("answers {first}")) && ann.contains("  3000\n"), "{ann}");
    assert_eq!(mesh.run("inbox").ok(), "No unread messages for cli.\n");
    // The answer to one's own message goes where that went.
    let own = send(&mesh, "cli", "ann", "ready?");
    let reply = mesh.run_with_input(&format!("reply {own} - --json"), b"well?\n").json();
    assert_eq!(reply["ok"], json!(true));
    let ann = mesh.run("inbox --peer ann --peek").ok();
    assert!(ann.contains(&format!("answers {own}")) && ann.contains("  well?\n"), "{ann}");
    // A handle without a text is a slip: nothing is sent.
    let err = mesh.run(&format!("reply {first}")).fails(2);
    assert!(err.contains("the text is missing"), "{err}");
    // A word that is no handle, and one that names nothing.
    let err = mesh.run("reply not now").fails(2);
    assert!(err.contains("put quotes around the text"), "{err}");
    let err = mesh.run("reply zzzz now").fails(1);
    assert!(err.contains("no message `zzzz`"), "{err}");
}

#[test]
fn the_person_may_answer_what_others_wrote_to_each_other() {
    let mesh = Mesh::new();
    mesh.register("ann");
    mesh.register("bob");
    let theirs = send(&mesh, "ann", "bob", "I take the tests");
    mesh.run_words(["reply", &theirs, "leave them to me"]).ok();
    let ann = mesh.run("inbox --peer ann").ok();
    assert!(ann.contains(&format!("answers {theirs}")) && ann.starts_with("cli  "), "{ann}");
}

#[test]
fn an_answer_to_one_who_has_left_waits_for_its_name() {
    let mesh = Mesh::new();
    mesh.register("ann");
    let handle = send(&mesh, "ann", "cli", "bye");
    unregister(&mesh, "ann");
    let said = mesh.run_words(["reply", &handle, "see you"]).ok();
    assert!(said.contains("waits for the next session of that name"), "{said}");
    let events = mesh.run("events").ok();
    assert!(events.contains("wrote to ann"), "a name is no script: {events}");
    mesh.register("ann");
    assert!(mesh.run("inbox --peer ann").ok().contains("see you"));
}

#[test]
fn one_message_goes_to_several() {
    let mesh = Mesh::new();
    mesh.register("ann");
    mesh.register("bob");
    let said = mesh.run_words(["send", "ann,bob", "to both"]).ok();
    assert!(said.contains(" ann") && said.contains(" bob") && said.lines().count() == 2, "{said}");
    for name in ["ann", "bob"] {
        assert!(mesh.run(&format!("inbox --peer {name}")).ok().contains("to both"), "{name}");
    }
    let ran = mesh.run_words(["send", "nobody,bob", "again"]);
    assert!(ran.err.contains("nobody: no peer `nobody`"), "{ran:?}");
    assert!(ran.out.contains(" bob") && ran.code == Some(1), "{ran:?}");
    let ran = mesh.run_words(["send", "bob,nobody", "more", "--json"]);
    let sent = ran.json();
    assert_eq!((ran.code, &sent["ok"]), (Some(1), &json!(false)));
    assert_eq!(sent["sent"][0]["to"], "bob");
    assert!(sent["sent"][0]["answer"]["handle"].is_string(), "{sent}");
    assert_eq!(sent["sent"][1]["answer"]["code"], "peer_not_found");
}

#[test]
fn a_sender_is_told_what_becomes_of_its_message() {
    let mesh = Mesh::new();
    mesh.register("ann");
    let said = mesh.run("send ann hello").ok();
    let sent = mesh.run("history --json").json();
    let handle = sent["messages"][0]["handle"].as_str().unwrap();
    assert_eq!(said, format!("Stored for ann ({handle}): it finds it when it looks.\n"));
    let said = mesh.run("send cli hello --from ci").ok();
    assert!(said.contains("the person") && said.contains("`slm-mesh inbox`"), "{said}");
    mesh.register_with(|register| {
        register.name = Some("bob".into());
        register.reach = Some("wakes".into());
    });
    let said = mesh.run("send bob hello").ok();
    assert!(
        said.starts_with("Stored for bob (") && said.ends_with("): it is woken now.\n"),
        "{said}"
    );
    let said = mesh.run("broadcast hello").ok();
    assert!(said.starts_with("Sent to 2 peers (") && said.contains("`slm-mesh inbox --sent`"));
}

// --- Looking back --------------------------------------------------------------------------------

#[test]
fn the_whole_history_is_shown_with_names() {
    let mesh = Mesh::new();
    mesh.start();
    assert_eq!(mesh.run("history").ok(), "Nobody has written anything that is still kept.\n");
    mesh.register("ann");
    mesh.register("bob");
    let first = send(&mesh, "ann", "bob", "the API is on port 3000");
    mesh.run_words(["send", "ann", "thank you", "--from", "bob", "--reply-to", &first]).ok();
    mesh.run_words(["broadcast", "main is frozen", "--from", "ci"]).ok();
    unregister(&mesh, "ann");
    let history = mesh.run("history").ok();
    let blocks = shown(&history);
    assert_eq!(blocks.len(), 3, "{history}");
    assert!(blocks[0].starts_with("ann to bob  ") && blocks[0].contains(&first), "{history}");
    assert!(blocks[0].ends_with("\n  the API is on port 3000"), "{history}");
    assert!(blocks[1].starts_with("bob to ann  "), "{history}");
    assert!(blocks[1].contains(&format!("answers {first}")), "{history}");
    assert!(blocks[2].contains("ci") && blocks[2].contains(" to all  "), "{history}");
    // It marks nothing.
    assert!(mesh.run("inbox --peer bob").ok().contains("port 3000"));
    let json = mesh.run("history --limit 2 --json").json();
    assert_eq!(json["messages"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(json["more"], json!(true), "{json}");
    assert!(mesh.run("history --limit 1").ok().ends_with("\nThere are older ones: --limit\n"));
}

#[test]
fn history_is_searched_by_person_text_time_and_thread() {
    let mesh = Mesh::new();
    for name in ["ann", "bob", "eve"] {
        mesh.register(name);
    }
    let root = send(&mesh, "ann", "bob", "who has the Schema?");
    send(&mesh, "eve", "ann", "lunch");
    let answer = ["send", "ann", "I do", "--from", "bob", "--reply-to", &root, "--json"];
    let answer = mesh.run_words(answer).json();
    let answer = answer["handle"].as_str().unwrap();
    mesh.run_words(["send", "bob", "good", "--from", "ann", "--reply-to", answer]).ok();
    send(&mesh, "eve", "bob", "schema again");
    mesh.run_words(["send", "all", "for everyone", "--from", "ci"]).ok();

    let texts = |line: &str| -> Vec<String> {
        let json = mesh.run(line).json();
        let messages = json["messages"].as_array().unwrap();
        messages.iter().map(|it| it["payload"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts("history --grep SCHEMA --json"), ["who has the Schema?", "schema again"]);
    assert_eq!(texts("history --with EVE --json"), ["lunch", "schema again", "for everyone"]);
    assert_eq!(texts("history --with all --json"), ["for everyone"]);
    assert_eq!(texts("history --with eve --grep schema --json"), ["schema again"]);
    let whole = ["who has the Schema?", "I do", "good"];
    for handle in [&root, answer] {
        assert_eq!(texts(&format!("history --thread {handle} --json")), whole, "{handle}");
    }
    assert_eq!(texts(&format!("history --thread {root} --grep DO --json")), ["I do"]);
    assert_eq!(texts("history --since 1h --grep lunch --json"), ["lunch"]);
    assert_eq!(texts("history --since 2999-01-01T00:00:00Z --json"), [""; 0]);
    // One that has left is still found by its name.
    unregister(&mesh, "eve");
    assert_eq!(texts("history --with eve --json"), ["lunch", "schema again"]);
    assert_eq!(mesh.run("history --grep nowhere").ok(), "No such messages are kept.\n");
    assert!(mesh.run("history --thread zzzz").fails(1).contains("no message `zzzz`"));
}

#[test]
fn a_long_history_is_looked_through_in_parts() {
    let mesh = Mesh::new().with("SLM_MESH_RATE_LIMIT", "1000000");
    mesh.register("ann");
    // Long texts, so that one request does not look at all of them.
    let text = "x".repeat(40_000);
    let mut client = mesh.client();
    let mut tell = |text: String| {
        let send = slm_mesh::api::SendMessage {
            from_peer: Some("ci".into()),
            to_peer: "ann".into(),
            payload: text.into(),
            kind: slm_mesh::model::MessageKind::Text,
            reply_to: None,
            id: None,
            place: slm_mesh::api::Place::default(),
        };
        client.call_bytes(&Request::Send(send)).unwrap();
    };
    tell("the needle".into());
    for _ in 0..60 {
        tell(text.clone());
    }
    let json = mesh.run("history --grep needle --json").json();
    assert_eq!(json["messages"][0]["payload"], "the needle", "{}", json["more"]);
    assert_eq!(json["more"], json!(false));
    let all = mesh.run("history --limit 1000 --json").json();
    assert_eq!(all["messages"].as_array().unwrap().len(), 61);
}

#[test]
fn what_others_write_to_each_other_is_for_the_person() {
    let mesh = Mesh::new();
    let ann = mesh.register("ann");
    mesh.register("bob");
    let theirs = send(&mesh, "bob", "cli", "between us");
    let mine = send(&mesh, "bob", "ann", "for you");
    let mut client = mesh.client();
    client.use_token(&ann.peer_token);
    let error = client.call_bytes(&Request::History(slm_mesh::api::History::default()));
    assert_eq!(error.unwrap_err().code(), Some(slm_mesh::api::Code::Forbidden));
    let mut find = |handle: &str| {
        let message = slm_mesh::model::MessageRef::parse(handle).unwrap();
        client.call::<Value>(&Request::FindMessage { message })
    };
    assert!(find(&theirs).is_err(), "not hers");
    assert_eq!(find(&mine).unwrap()["messages"][0]["payload"], "for you");
}

// --- Looking on ----------------------------------------------------------------------------------

#[test]
fn an_inbox_is_followed_over_a_restart() {
    let mesh = Mesh::new();
    send(&mesh, "ann", "cli", "before");
    let mut command = mesh.command(["inbox", "--follow"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
    let _child = Running(child);
    wait_for(&out, "  before");
    send(&mesh, "bob", "cli", "after");
    wait_for(&out, "bob  ");
    wait_for(&out, "  after");
    wait_until("they are read", || mesh.run("inbox").ok() == "No unread messages for cli.\n");
    mesh.run("stop").ok();
    wait_for(&err, "the broker has stopped");
    send(&mesh, "ann", "cli", "later");
    wait_for(&out, "  later");
    wait_for(&err, "the broker is back");
}

#[test]
fn a_followed_inbox_is_a_line_of_json_for_each_message() {
    let mesh = Mesh::new();
    send(&mesh, "ann", "cli", "one");
    let mut command = mesh.command(["inbox", "--follow", "--peek", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = lines(child.stdout.take().unwrap());
    let _child = Running(child);
    let payload = |line: String| serde_json::from_str::<Value>(&line).unwrap()["payload"].clone();
    assert_eq!(payload(out.recv_timeout(PATIENCE).unwrap()), "one");
    send(&mesh, "ann", "cli", "two");
    assert_eq!(payload(out.recv_timeout(PATIENCE).unwrap()), "two", "each once");
    let unread = mesh.run("inbox --peek --json").json();
    assert_eq!(unread["messages"].as_array().unwrap().len(), 2, "{unread}");
}

// --- Who is who ----------------------------------------------------------------------------------

#[test]
fn one_is_told_who_one_is() {
    let mesh = Mesh::new();
    mesh.run("whoami").fails(3);
    mesh.start();
    let said = mesh.run("whoami").ok();
    assert!(said.starts_with("You are cli, the person") && said.contains("No message"), "{said}");
    send(&mesh, "ann", "cli", "hello");
    assert!(mesh.run("whoami").ok().contains("1 message waits for you: `slm-mesh inbox`."));
    let json = mesh.run("whoami --json").json();
    assert_eq!(json, json!({"ok": true, "name": "cli", "peer": null, "unread": 1}));
    assert!(mesh.run("whoami --as ci").ok().starts_with("You act as ci.\n"));
}

#[test]
fn all_about_one_peer_is_told() {
    let mesh = Mesh::new();
    let ann = mesh.register("ann");
    let summary = Request::Summary { peer_id: Some("ann".into()), summary: "the API".into() };
    mesh.client().call_bytes(&summary).unwrap();
    mesh.run("send ann hello").ok();
    let lock = ["lock", "acquire", "a.rs", "--as", "ann", "--reason", "moving"];
    mesh.run_words(lock).ok();
    mesh.run("lock acquire b.rs").ok();
    let id = ann.peer_id.to_string();
    for name in ["ann", "ANN", &id, &id[..8]] {
        let said = mesh.run(&format!("peers {name}")).ok();
        for words in ["ann (", "active", "the API", "1 message", "a.rs, free in", ": moving"] {
            assert!(said.contains(words), "{name}: {words}: {said}");
        }
        assert!(!said.contains("b.rs"), "{said}");
    }
    let json = mesh.run("peers ann --json").json();
    assert_eq!((&json["peer"]["name"], &json["peer"]["unread"]), (&json!("ann"), &json!(1)));
    assert_eq!(json["locks"].as_array().unwrap().len(), 1, "{json}");
    let table = mesh.run("peers").ok();
    assert!(table.contains("UNREAD") && table.contains("  1  "), "{table}");
    let err = mesh.run("peers anm").fails(1);
    assert!(err.contains("did you mean `ann`?"), "{err}");

    unregister(&mesh, "ann");
    let said = mesh.run("peers ann").ok();
    assert!(said.contains("left") && said.contains("was here for"), "{said}");
    assert!(!mesh.run("peers").ok().contains("ann"));
    let all = mesh.run("peers --all").ok();
    assert!(all.contains("ann") && all.contains("  left  "), "{all}");
}

#[test]
fn a_peer_is_renamed_and_stays_so() {
    let mesh = Mesh::new();
    let ann = mesh.register("ann");
    mesh.register("bob");
    send(&mesh, "cli", "ann", "for the name");
    assert_eq!(mesh.run("rename ann reviewer").ok(), "ann is called reviewer from now on.\n");
    assert!(mesh.run("send reviewer hello").ok().contains("reviewer"));
    let inbox = mesh.run("inbox --peer reviewer").ok();
    assert!(inbox.contains("hello") && !inbox.contains("for the name"), "{inbox}");
    // It has not moved for the others, who find it under its id as before.
    let json = mesh.run("peers reviewer --json").json();
    assert_eq!(json["peer"]["id"], json!(ann.peer_id));
    assert!(mesh.run("rename reviewer bob").fails(1).contains("taken"));
    assert!(mesh.run("rename nobody x").fails(1).contains("nobody"));
    assert!(mesh.run_words(["rename", "bob", "all"]).fails(1).contains("reserved"));
    mesh.run("stop").ok();
    mesh.start();
    assert!(mesh.run("peers reviewer").ok().contains("reviewer ("));
}

#[test]
fn what_a_renamed_peer_had_goes_on_under_its_new_name() {
    let mesh = Mesh::new();
    // One with an automatic name, under which nothing waits.
    let former = mesh.register_with(|_| ());
    let former = &*former.name;
    mesh.register("bob");
    send(&mesh, "cli", former, "to it");
    send(&mesh, former, "bob", "by it");
    send(&mesh, "cli", "bob", "not to it");
    mesh.run_words(["lock", "acquire", "a.rs", "--as", former]).ok();
    mesh.run_words(["rename", former, "reviewer"]).ok();
    send(&mesh, "bob", "reviewer", "later");
    for name in [former, "reviewer"] {
        let found = mesh.run_words(["history", "--with", name, "--json"]).json();
        let texts = found["messages"].as_array().unwrap().iter();
        let texts: Vec<&str> = texts.map(|it| it["payload"].as_str().unwrap()).collect();
        assert_eq!(texts, ["to it", "by it", "later"], "{name}");
    }
    let locks = mesh.run("lock list").ok();
    assert!(locks.contains("  reviewer  ") && !locks.contains(former), "{locks}");
    let err = mesh.run("lock acquire a.rs").fails(1);
    assert!(err.contains("is locked by reviewer, free in 10 min"), "{err}");
    let events = mesh.run("events").ok();
    assert!(events.contains(&format!("{former} is called reviewer from now on")), "{events}");
    mesh.run("stop").ok();
    mesh.start();
    assert!(mesh.run("lock list").ok().contains("  reviewer  "));
}

#[test]
fn a_thread_follows_messages_and_not_their_numbers() {
    let mesh = Mesh::new();
    let sent = |more: &[&str]| {
        let words = [&["send", "cli"], more, &["--json"]].concat();
        mesh.run_words(words).json()["messageId"].as_str().unwrap().to_owned()
    };
    let first = sent(&["of another conversation"]);
    // An id of the same number, as of a message that was lost.
    let lost = format!("{}{}", &first[..first.len() - 12], "0123456789ab");
    let answer = sent(&["an answer to what is gone", "--reply-to", &lost]);
    let next = sent(&["an answer to that", "--reply-to", &answer]);
    let thread = mesh.run_words(["history", "--thread", &next, "--json"]).json();
    let ids: Vec<&Value> =
        thread["messages"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&json!(answer), &json!(next)]);
}

#[test]
fn the_living_are_only_taken_out_by_force() {
    let mesh = Mesh::new();
    mesh.register("ann");
    mesh.run_words(["lock", "acquire", "a.rs", "--as", "ann"]).ok();
    let err = mesh.run("kick ann").fails(1);
    assert!(err.contains("ann is alive") && err.contains("`--force`"), "{err}");
    assert_eq!(mesh.run("kick ann --force").ok(), "ann is out. Its lock is free.\n");
    assert_eq!(mesh.run("lock list").ok(), "No files are locked.\n");
    assert!(mesh.run("kick ann").fails(1).contains("ann has just left"));
    assert!(mesh.run("kick nobody").fails(1).contains("there is no peer"));
    // One that is not heard of goes without it: after a restart nobody has been.
    mesh.register("bob");
    mesh.run("stop").ok();
    mesh.start();
    assert_eq!(mesh.run("kick bob").ok(), "bob is out.\n");
}

#[test]
fn all_there_is_is_written_out() {
    let mesh = Mesh::new();
    mesh.register("ann");
    mesh.register("gone");
    unregister(&mesh, "gone");
    send(&mesh, "ann", "cli", "hello");
    mesh.run("emit build.done").ok();
    mesh.run("state set k v").ok();
    mesh.run("state set k v --namespace other").ok();
    mesh.run("lock acquire a.rs").ok();
    let out = mesh.run("export").ok();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| -> Vec<&Value> { lines.iter().filter_map(|it| it.get(kind)).collect() };
    assert_eq!(of("peer").iter().map(|it| &it["name"]).collect::<Vec<_>>(), ["ann", "gone"]);
    assert_eq!(of("message").iter().map(|it| &it["payload"]).collect::<Vec<_>>(), ["hello"]);
    let kinds: Vec<&str> = of("event").iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"build.done") && !kinds.contains(&"message_received"), "{kinds:?}");
    assert_eq!((of("state").len(), of("lock").len()), (2, 1), "{out}");
}

// --- On a terminal -------------------------------------------------------------------------------

/// What a command shows on a terminal of so many columns.
fn on_terminal(mesh: &Mesh, width: u16, line: &str) -> Vec<String> {
    let screen = Screen::new(width, 60);
    let mut command = mesh.command(line.split_whitespace());
    command.env("NO_COLOR", "1");
    let mut running = screen.start(command);
    assert!(running.0.wait().unwrap().success(), "{line}");
    // What it wrote last is on its way to the screen.
    let mut end = mesh.command_of("echo");
    end.arg("the end");
    let mut end = screen.start(end);
    assert!(end.0.wait().unwrap().success());
    screen.wait_for("the end");
    let text = screen.text();
    let lines = text.lines().map(|line| line.trim_end().to_owned());
    lines.take_while(|line| line != "the end").collect()
}

#[test]
fn tables_of_eight_peers_of_one_project_fit() {
    let mesh = Mesh::new();
    mesh.start();
    let mut client = mesh.client();
    let project = mesh.home().join("work/clients/northwind/webshop-frontend");
    let project = project.to_str().unwrap();
    let works = [
        ("claude-code", "the REST API of orders and their cancellation"),
        ("codex", "the checkout page"),
        ("gemini-cli", "end-to-end tests of the checkout"),
        ("qwen-code", "translations into French"),
        ("copilot-cli", "docs"),
        ("claude-code", "database migrations, tables of customers"),
        ("opencode", "the colours of buttons"),
        ("kimi-code", "reviews"),
    ];
    let mut names = Vec::new();
    for (at, (agent, summary)) in works.into_iter().enumerate() {
        let register = Request::Register(Box::new(Register {
            pid: std::process::id(),
            project_path: project.into(),
            git_branch: Some("feature/checkout-redesign".into()),
            agent_type: Some(agent.into()),
            summary: Some(summary.into()),
            reach: Some("next-turn".into()),
            ..Register::default()
        }));
        let registered: Registered = client.call(&register).unwrap();
        let path = format!("{project}/src/components/checkout/part-{at}/Address.tsx");
        let lock = ["lock", "acquire", &path, "--as", &registered.name, "--reason", summary];
        mesh.run_words(lock).ok();
        mesh.run_words(["state", "set", &format!("key/{}", registered.name), summary]).ok();
        mesh.run_words(["send", &registered.name, summary]).ok();
        names.push(registered.name);
    }
    for width in [60, 80, 120] {
        // All heard of just now: an age takes room.
        let peers = eventually("a table of peers that are there", || {
            for name in &names {
                let peer_id = Some(name.as_ref().into());
                let beat = Request::Heartbeat { peer_id, git_branch: None, session_id: None };
                client.call_bytes(&beat).unwrap();
            }
            let peers = on_terminal(&mesh, width, "peers --all");
            (!peers.iter().any(|row| row.contains(" s ago"))).then_some(peers)
        });
        assert_eq!(peers.len(), 9, "{width}: {peers:#?}");
        for (name, (_, summary)) in names.iter().zip(works) {
            let row = peers.iter().find(|row| row.split("  ").next() == Some(&**name));
            let row = row.unwrap_or_else(|| panic!("{width}: {name}: {peers:#?}"));
            assert!(width == 60 || row.contains(summary), "{width}: {row}");
            // What is the same for all has gone first.
            assert!(!row.contains("feature/checkout") && !row.contains("next-turn"), "{row}");
        }
        let locks = on_terminal(&mesh, width, "lock list");
        assert_eq!(locks.len(), 9, "{width}: {locks:#?}");
        for row in locks.iter().skip(1) {
            assert!(row.contains("/Address.tsx  webshop-frontend-"), "{width}: {row}");
        }
        for line in ["state list", "inbox --sent", "events --type file_locked", "lock list"] {
            let rows = on_terminal(&mesh, width, line);
            assert_eq!(rows.len(), 9, "{width}: {line}: {rows:#?}");
            for cell in rows.iter().flat_map(|row| row.split("  ")) {
                assert!(cell.trim() != "…", "{width}: {line}: {rows:#?}");
            }
        }
    }
    // Where it is no terminal, nothing is left out.
    let whole = mesh.run("peers --all").ok();
    assert!(whole.contains("feature/checkout-redesign") && whole.contains("next-turn"), "{whole}");
}

#[test]
fn messages_are_broken_between_words() {
    let mesh = Mesh::new();
    let text = "The names of the fields have changed: please look at the schema before you go on.";
    mesh.run_words(["send", "cli", text]).ok();
    let shown = on_terminal(&mesh, 60, "inbox --peek");
    let lines = [
        "  The names of the fields have changed: please look at the",
        "  schema before you go on.",
    ];
    assert_eq!(shown[1..], lines, "{shown:#?}");
}

#[test]
fn errors_speak_of_the_options_that_there_are() {
    let mesh = Mesh::new();
    mesh.register("bob");
    mesh.run_words(["lock", "acquire", "a.rs", "--as", "bob"]).ok();
    let err = mesh.run("lock acquire a.rs").fails(1);
    assert!(err.contains("`--wait 10m`") && !err.contains("`wait`"), "{err}");
    let err = mesh.run("lock release a.rs").fails(1);
    assert!(err.contains("`--force` frees it"), "{err}");
    let err = mesh.run("send nobody hi").fails(1);
    assert!(err.contains("`slm-mesh peers` shows who is"), "{err}");
    mesh.run("state set k v").ok();
    let err = mesh.run("state set k w --if-version 0").fails(1);
    assert!(err.contains("`--if-version`"), "{err}");
}
