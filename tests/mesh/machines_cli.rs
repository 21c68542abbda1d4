//! The commands by which machines become one mesh, as the person at two keyboards uses them: the real
//! binary, two data directories, connections over loopback.

use std::net::TcpListener;

use crate::common::relay::free_port;
use crate::common::{Mesh, Ran, is_there, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::{Register, Registered, Request};
use slm_mesh::client::Client;

/// A machine that finds no other by itself, and whose port for others is a free one.
fn machine() -> (Mesh, u16) {
    let port = free_port();
    let mesh = Mesh::new()
        .with("SLM_MESH_WS_PORT", &port.to_string())
        .with("SLM_MESH_DISCOVERY", "no")
        .with("SLM_MESH_IDLE_TIMEOUT", "0")
        .with("SLM_MESH_RATE_LIMIT", "0");
    (mesh, port)
}

/// A hub and one who is to join it.
struct Two {
    hub: Mesh,
    port: u16,
    other: Mesh,
}

impl Two {
    fn new() -> Self {
        let ((hub, port), (other, _)) = (machine(), machine());
        Self { hub, port, other }
    }

    /// A code of the hub.
    fn code(&self, options: &str) -> String {
        let line = self.hub.run(&format!("invite {options}")).ok();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        line.trim().strip_prefix("slm-mesh join ").unwrap().to_owned()
    }

    fn join(&self, machine: &Mesh, code: &str, options: &str) -> Ran {
        // At the one address at which it surely is.
        machine.run(&format!("join --address 127.0.0.1:{} {options} {code}", self.port))
    }

    fn joined() -> Self {
        let two = Self::new();
        two.join(&two.other, &two.code("--name laptop"), "").ok();
        two
    }
}

/// A peer that is there until `client` goes.
fn register(client: &mut Client, name: &str) {
    let register = Register {
        pid: std::process::id(),
        project_path: "/work".into(),
        name: Some(name.into()),
        ..Register::default()
    };
    let _: Registered = client.call(&Request::Register(Box::new(register))).unwrap();
}

fn names(machines: &Ran) -> Vec<String> {
    let list = machines.json();
    let list = list["machines"].as_array().unwrap();
    list.iter().map(|machine| machine["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn two_machines_are_one_mesh_in_two_commands() {
    let two = Two::new();
    let said = two.join(&two.other, &two.code("--name laptop"), "").ok();
    assert!(said.starts_with("Joined the mesh of ") && said.contains("laptop"), "{said}");

    // Each sees the other.
    let (mut here, mut there) = (two.hub.client(), two.other.client());
    register(&mut here, "anna");
    register(&mut there, "bert");
    for mesh in [&two.hub, &two.other] {
        let list = mesh.run("peers --scope mesh").ok();
        assert!(list.contains("anna") && list.contains("bert"), "{list}");
        assert!(list.contains("MACHINE") && list.contains("laptop"), "{list}");
    }
    let own = two.other.run("peers").ok();
    assert!(own.contains("bert") && !own.contains("anna"), "{own}");
    assert!(own.contains("1 more is on other machines"), "{own}");

    // The persons at both write to each other.
    let sent = two.other.run("send cli@hub from-the-laptop").ok();
    assert!(sent.contains("person at the hub"), "{sent}");
    let inbox = two.hub.run("inbox").ok();
    assert!(inbox.contains("from-the-laptop") && inbox.contains("cli@laptop"), "{inbox}");
    two.hub.run("send cli@laptop from-the-hub").ok();
    assert!(two.other.run("inbox").ok().contains("from-the-hub"));

    // Who asks is told how it stands.
    let table = two.hub.run("machines").ok();
    assert!(table.contains("laptop") && table.contains("connected"), "{table}");
    let status = two.hub.run("status").ok();
    assert!(status.contains("the hub of several machines (stored"), "{status}");
    assert!(status.contains("1 joined, 1 connected"), "{status}");
    let status = two.other.run("status").ok();
    for words in
        ["a client of another machine's hub (stored", "is laptop in the mesh", "connected at"]
    {
        assert!(status.contains(words), "{words}: {status}");
    }
    let status = two.other.run("status --json").json();
    assert_eq!(status["servesAs"], "client");
    assert_eq!(status["hub"]["connected"], true);
    assert_eq!(status["settings"]["roleFrom"], "stored in the data directory");
    let list = two.other.run("machines").ok();
    assert!(list.contains("is laptop in the mesh of") && list.contains("on the hub"), "{list}");
}

#[test]
fn a_code_comes_from_the_standard_input_too_and_json_says_who_was_joined() {
    let two = Two::new();
    let invited = two.hub.run("invite --json").json();
    assert_eq!(invited["ok"], true);
    let code = invited["code"].as_str().unwrap();
    // As a chat may break it.
    let (begin, end) = code.split_at(30);
    let input = format!("slm-mesh join {begin}\n  {end}\r\n");
    let line = format!("join --json --address 127.0.0.1:{}", two.port);
    let joined = two.other.run_with_input(&line, input.as_bytes()).json();
    let hub = &joined["hub"];
    // Whichever of its addresses was the first to answer.
    assert!(hub["address"].as_str().unwrap().ends_with(&format!(":{}", two.port)), "{joined}");
    assert_eq!(hub["id"].as_str().unwrap().len(), 64);
    assert_eq!(names(&two.hub.run("machines --json")), [joined["name"].as_str().unwrap()]);
    // Once more, with another code, is no harm.
    let again = two.join(&two.other, &two.code(""), "").ok();
    assert!(again.starts_with("Joined"), "{again}");
    assert_eq!(names(&two.hub.run("machines --json")).len(), 1);
}

#[test]
fn a_code_that_is_none_changes_nothing() {
    let two = Two::new();
    let code = two.code("");
    let (third, _) = machine();
    two.join(&third, &code, "").ok();

    two.other.start();
    let pid = two.other.broker_pid();
    let mut typo = code.clone();
    let last = typo.pop().unwrap();
    typo.push(if last == '0' { '2' } else { '0' });
    for (given, error, words) in [
        ("hello", "invalid_code", "no invitation"),
        (&*typo, "invalid_code", "typo"),
        (&code[..code.len() - 9], "invalid_code", "not whole"),
        (&*code, "refused", "used by another machine"),
    ] {
        let said = two.join(&two.other, given, "").fails(1);
        assert!(said.contains(words), "{given}: {said}");
        let said = two.join(&two.other, given, "--json").json();
        assert_eq!(said["code"], error, "{said}");
    }
    let own = two.code("");
    let said = two.join(&two.hub, &own, "").fails(1);
    assert!(said.contains("has made that code itself"), "{said}");
    let said = two.other.run_with_input("join", b"\n").fails(2);
    assert!(said.contains("the code is missing"), "{said}");
    assert!(!is_there(two.other.data_dir().join("machines")));
    assert_eq!(two.other.broker_pid(), pid, "the broker was disturbed");
}

#[test]
fn a_hub_that_is_not_there_is_said_with_its_addresses() {
    let two = Two::new();
    let code = two.code("");
    two.hub.run("stop").ok();
    let said = two.join(&two.other, &code, "").fails(1);
    assert!(said.contains(&format!("127.0.0.1:{}: nothing listens there", two.port)), "{said}");
    assert!(!is_there(two.other.data_dir().join("machines")));

    // Another hub at that address.
    let (stranger, port) = machine();
    stranger.run("invite").ok();
    let line = format!("join --address 127.0.0.1:{port} {code}");
    let said = two.other.run(&format!("{line} --json")).json();
    assert_eq!(said["code"], "another_hub", "{said}");
    // Something that is no hub.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let answer = std::thread::spawn(move || {
        use std::io::Write;
        other.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let said = two.other.run(&format!("join --address 127.0.0.1:{port} {code}")).fails(1);
    assert!(said.contains("does not speak TLS"), "{said}");
    answer.join().unwrap();
}

#[test]
fn what_stays_behind_is_said_first_and_is_there_again_after_leave() {
    let two = Two::new();
    two.other.run("send cli remember-me").ok();
    two.other.run("lock acquire /work/a.rs").ok();
    let code = two.code("");
    let said = two.join(&two.other, &code, "").fails(1);
    for words in ["1 unread message and 1 lock", "stay behind", "--yes"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!is_there(two.other.data_dir().join("machines")));
    assert_eq!(two.join(&two.other, &code, "--json").json()["code"], "not_confirmed");

    two.join(&two.other, &code, "--yes").ok();
    assert!(!two.other.run("inbox").ok().contains("remember-me"));
    let said = two.other.run("leave").ok();
    assert!(said.contains("its own mesh again"), "{said}");
    assert!(two.other.run("inbox").ok().contains("remember-me"));
    assert!(two.other.run("lock list").ok().contains("/work/a.rs"));
    let status = two.other.run("status").ok();
    assert!(status.contains("of this machine alone (default)"), "{status}");
    let said = two.other.run("leave --json").json();
    assert_eq!(said["code"], "nothing_to_leave");
    // The hub has it in its list until it is removed there.
    assert_eq!(names(&two.hub.run("machines --json")).len(), 1);
}

#[test]
fn a_hub_says_whom_it_leaves_before_it_does() {
    let two = Two::joined();
    let said = two.hub.run("leave").fails(1);
    assert!(said.contains("laptop has joined this hub") && said.contains("--yes"), "{said}");
    assert_eq!(two.hub.run("leave --yes --json").json(), json!({"ok": true, "was": "hub"}));
    let status = two.hub.run("status --json").json();
    assert_eq!(status["servesAs"], "broker");
    // The client says what is wrong, in words.
    wait_until("the way is lost", || {
        let status = two.other.run("status --json").json();
        status["hub"]["connected"] == Value::Bool(false)
    });
    let status = two.other.run("status");
    assert_eq!(status.code, Some(1));
    assert!(status.out.contains("not connected"), "{status:?}");
    let said = two.other.run("peers").fails(1);
    assert!(said.contains("hub"), "{said}");
    // It comes back by itself.
    two.code("");
    wait_until("the way is back", || two.other.run("peers").code == Some(0));
}

#[test]
fn from_one_hub_straight_to_another_is_a_move() {
    let two = Two::joined();
    let hub = two.other.run("status --json").json()["hub"]["id"].as_str().unwrap().to_owned();
    // As if it had been joined to another, while the relay runs.
    let file = two.other.data_dir().join("machines");
    let stored = std::fs::read_to_string(&file).unwrap();
    let other: String = hub.chars().rev().collect();
    assert!(stored.contains(&hub) && hub != other, "{stored}");
    std::fs::write(&file, stored.replace(&hub, &other)).unwrap();
    two.other.run("stop").ok();
    let log = std::fs::read_to_string(two.other.data_dir().join("broker.log")).unwrap();
    assert!(log.contains("stopping (moved)"), "{log}");
}

#[test]
fn a_machine_that_is_removed_is_told_so() {
    let two = Two::joined();
    let said = two.hub.run("machines remove laptop").fails(1);
    assert!(said.contains("laptop is removed") && said.contains("--yes"), "{said}");
    let said = two.hub.run("machines remove nobody --yes").fails(1);
    assert!(said.contains("nobody"), "{said}");
    assert_eq!(two.hub.run("machines remove LAPTOP --yes").ok(), "Removed LAPTOP.\n");
    let said = two.hub.run("machines").ok();
    assert!(said.contains("No other machine has joined"), "{said}");
    wait_until("it is told", || {
        let status = two.other.run("status --json").json();
        let problem = status["hub"]["problem"].as_str().unwrap_or_default();
        status["hub"]["connected"] == Value::Bool(false) && problem.contains("removed")
    });
    let said = two.join(&two.other, &two.code(""), "").fails(1);
    assert!(said.contains("removed from the mesh"), "{said}");
    // With a new key it is another machine.
    two.other.run("leave").ok();
    std::fs::remove_file(two.other.data_dir().join("machine.key")).unwrap();
    two.join(&two.other, &two.code(""), "").ok();
    assert_eq!(names(&two.hub.run("machines --json")).len(), 1);
}

#[test]
fn what_is_the_hubs_persons_only_is_said_so() {
    let two = Two::joined();
    for line in ["invite", "machines remove laptop --yes"] {
        let said = two.other.run(line).fails(1);
        assert!(said.contains("hub"), "{line}: {said}");
    }
    let said = two.hub.run("join --yes x").fails(1);
    assert!(said.contains("no invitation"), "{said}");
    let (third, port) = machine();
    let line = third.run("invite").ok();
    let code = line.trim().strip_prefix("slm-mesh join ").unwrap();
    for (mesh, error) in [(&two.hub, "is_hub"), (&two.other, "has_joined")] {
        let said = mesh.run(&format!("join --json --address 127.0.0.1:{port} {code}")).json();
        assert_eq!(said["code"], error, "{said}");
    }
}

#[test]
fn settings_that_ask_for_another_role_are_refused_by_all_but_what_helps() {
    let two = Two::joined();
    let asks = |variable: &str, value: &str, line: &str| -> Ran {
        let mut command = two.other.command(line.split(' '));
        command.env(variable, value).output().unwrap().into()
    };
    for (variable, value) in [("SLM_MESH_ROLE", "broker"), ("SLM_MESH_HOST", "0.0.0.0")] {
        for line in ["peers", "send cli hi", "start --detached"] {
            let said = asks(variable, value, line).fails(1);
            assert!(said.contains(variable) && said.contains("slm-mesh leave"), "{line}: {said}");
        }
        let said = asks(variable, value, "peers --json").json();
        assert_eq!(said["code"], "other_role", "{said}");
        let status = asks(variable, value, "status").ok();
        assert!(status.contains(variable) && status.contains("slm-mesh leave"), "{status}");
        let doctor = asks(variable, value, "doctor");
        assert!(doctor.out.contains(variable), "{doctor:?}");
    }
    // The settings of a client are those of any hub that is not said.
    asks("SLM_MESH_ROLE", "client", "peers").ok();
    asks("SLM_MESH_ROLE", "broker", "stop").ok();
    assert_eq!(two.other.broker_pid(), None);
    let said = asks("SLM_MESH_ROLE", "broker", "send cli hi").fails(1);
    assert!(said.contains("slm-mesh leave"), "{said}");
}

#[test]
fn settings_alone_join_machines_too() {
    let ((hub, port), (other, _)) = (machine(), machine());
    let secret = hub.run("secret").ok();
    let hub = hub.with("SLM_MESH_HOST", "0.0.0.0").with("SLM_MESH_SHARED_SECRET", secret.trim());
    let other = other
        .with("SLM_MESH_ROLE", "client")
        .with("SLM_MESH_HOST", &format!("127.0.0.1:{port}"))
        .with("SLM_MESH_SHARED_SECRET", secret.trim());
    hub.start();
    other.run("send cli@hub hello").ok();
    assert!(hub.run("inbox").ok().contains("hello"));
    for (mesh, role) in [(&hub, "the hub of several"), (&other, "a client of another")] {
        let status = mesh.run("status").ok();
        assert!(status.contains(role) && status.contains("(SLM_MESH_HOST)"), "{status}");
        assert!(status.contains("set (SLM_MESH_SHARED_SECRET)"), "{status}");
    }
    let said = hub.run("leave").fails(1);
    assert!(said.contains("SLM_MESH_HOST"), "{said}");
    let (third, port) = machine();
    let line = third.run("invite").ok();
    let code = line.trim().strip_prefix("slm-mesh join ").unwrap();
    let said = other.run(&format!("join --json --address 127.0.0.1:{port} {code}")).json();
    assert_eq!(said["code"], "other_role", "{said}");

    let name = names(&hub.run("machines --json")).pop().unwrap();
    let removed = hub.run(&format!("machines remove {name} --yes"));
    assert!(removed.err.contains("change it"), "{removed:?}");
    removed.ok();
    // Another hub with the same secret is none to it before it forgets this one.
    assert!(other.run("leave").ok().contains("Forgot which hub"));
}

#[test]
fn doctor_looks_at_machines() {
    let two = Two::joined();
    let hub = two.hub.run("doctor");
    for words in ["the hub of several machines", &format!("port {} is open", two.port), "1 joined"]
    {
        assert!(hub.out.contains(words), "{words}: {hub:?}");
    }
    // Whatever the variables say of whoever asks.
    for (command, words) in [("status", ", port "), ("doctor", "port ")] {
        let mut command = two.hub.command([command]);
        let out = command.env("SLM_MESH_WS_PORT", "1").output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        assert!(out.contains(&format!("{words}{}", two.port)), "{out}");
    }
    let client = two.other.run("doctor");
    for words in ["a client of another machine's hub", "is connected at", "agree"] {
        assert!(client.out.contains(words), "{words}: {client:?}");
    }
    two.hub.run("stop").ok();
    wait_until("doctor says that the way is lost", || {
        let client = two.other.run("doctor --json").json();
        let checks = client["checks"].as_array().unwrap();
        checks.iter().any(|check| check["check"] == "hub" && check["status"] == "bad")
    });
}

#[test]
fn wrong_words_are_2_and_say_what_was_meant() {
    let (mesh, _) = machine();
    for (line, words) in [
        ("invite laptop", "unexpected word"),
        ("invite --minutes 0", "1 to 1440"),
        ("invite --minutes soon", "1 to 1440"),
        ("invite --name a/b", "letters"),
        ("join --address", "needs a value"),
        ("join --address 10.0.0.256 x", "name or address"),
        ("leave now", "unexpected word"),
        ("machines remov laptop", "did you mean `remove`?"),
        ("machines remove", "<name> is missing"),
        ("machines remove a b", "unexpected word"),
        ("machines --yes", "`remove`"),
        ("peers --scope mash", "did you mean `mesh`?"),
        ("invte", "did you mean `invite`?"),
    ] {
        let said = mesh.run(line).fails(2);
        assert!(said.contains(words), "{line}: {said}");
        assert_eq!(mesh.run(&format!("{line} --json")).json()["code"], "usage");
    }
    assert!(!is_there(mesh.data_dir()), "something was made");
    for name in ["invite", "join", "leave", "machines"] {
        assert!(mesh.run(&format!("help {name}")).ok().contains("Examples:"));
    }
}
