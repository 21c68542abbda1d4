//! Hooks and commands where agents run them: below stand-ins for the agents' processes, with the
//! variables that agents set.

use std::process::{Command, Stdio};

use crate::common::session::{Session, edit, mesh_with_patient_hooks};
use crate::common::stand_in::StandIn;
use crate::common::{Mesh, Running};
use serde_json::{Value, json};

/// The session of an agent whose process is `pid`.
fn session_of(mesh: &Mesh, name: &str, agent: &str, session: Option<&str>, pid: u32) -> Session {
    Session::of_type(mesh, name, agent, session, Some(pid))
}

fn messages(mesh: &Mesh, of: &str) -> Vec<(String, String)> {
    let listed = mesh.run(&format!("inbox --peek --json --peer {of}")).json();
    let text = |message: &Value, field: &str| message[field].as_str().unwrap().to_owned();
    let all = listed["messages"].as_array().unwrap();
    all.iter().map(|it| (text(it, "fromName"), text(it, "payload"))).collect()
}

// --- The command line ----------------------------------------------------------------------------

#[test]
fn a_command_that_an_agent_runs_acts_as_the_agent() {
    let mesh = mesh_with_patient_hooks();
    for (program, agent, variables) in [
        ("claude", "claude-code", vec![("CLAUDECODE", "1"), ("CLAUDE_CODE_SESSION_ID", "s-1")]),
        ("codex", "codex", vec![("CODEX_THREAD_ID", "s-2")]),
        ("gemini", "gemini-cli", vec![("GEMINI_CLI", "1")]),
    ] {
        let mut shell = StandIn::new(&mesh, program, &[], &variables);
        let session = variables.iter().map(|(_, value)| *value).find(|it| it.starts_with("s-"));
        let mut me = session_of(&mesh, agent, agent, session, shell.pid());
        let mut bob = Session::new(&mesh, &format!("bob-{agent}"), None, None);
        let ran = shell.mesh(&format!("send {} hello", bob.name));
        assert_eq!((ran.code, &*ran.err), (Some(0), &*format!("as {agent}\n")), "{ran:?}");
        shell.mesh("state set key value").ok();
        shell.mesh("emit build.done").ok();
        shell.mesh("lock acquire a.rs").ok();
        assert_eq!(messages(&mesh, &bob.name), [(agent.to_owned(), "hello".to_owned())]);
        let state = mesh.run("state get key --json").json();
        assert_eq!(state["entry"]["updatedBy"], *me.id, "{state}");
        assert_eq!(me.only_lock().locked_by.to_string(), me.id);
        let ran = shell.mesh("lock release a.rs --json");
        assert_eq!((&*ran.out, &*ran.err), ("{\"ok\":true}\n", ""));

        bob.send(agent, "back");
        let shown = shell.mesh("inbox").ok();
        assert!(shown.contains("back"), "{shown}");
        assert!(me.unread().is_empty());
        assert!(shell.mesh("inbox --sent").ok().contains("hello"));

        // It says itself who it acts for.
        shell.mesh(&format!("send {} two --as cli", bob.name)).ok();
        shell.mesh(&format!("--as ci send {} three", bob.name)).ok();
        let senders: Vec<String> = messages(&mesh, &bob.name).into_iter().map(|it| it.0).collect();
        assert_eq!(senders, [agent, "cli", "ci"]);
    }
}

#[test]
fn a_person_is_a_person_wherever_their_terminal_is() {
    let mesh = mesh_with_patient_hooks();
    let bob = Session::new(&mesh, "bob", None, None);
    // An agent's variables that are left over, and none; the terminal of an editor.
    for (program, variables) in [
        ("bash", vec![("CLAUDECODE", "1"), ("CLAUDE_CODE_SESSION_ID", "s-1")]),
        ("claude", vec![]),
        ("codex", vec![("CLAUDECODE", "1")]),
        ("cursor", vec![("CURSOR_TRACE_ID", "x")]),
        ("code", vec![("VSCODE_PID", "1")]),
    ] {
        let mut shell = StandIn::new(&mesh, program, &[], &variables);
        let ran = shell.mesh("send bob hello");
        assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{program}: {ran:?}");
    }
    assert!(messages(&mesh, &bob.name).iter().all(|(from, _)| from == "cli"));
    // An agent in it is an agent.
    let mut editor = StandIn::new(&mesh, "cursor", &[], &[("CURSOR_AGENT", "1")]);
    let _me = session_of(&mesh, "editor", "cursor", None, editor.pid());
    assert_eq!(editor.mesh("send bob hello").err, "as editor\n");
}

#[test]
fn a_window_of_an_editor_is_not_taken_for_another() {
    let mesh = mesh_with_patient_hooks();
    let mut editor = StandIn::new(&mesh, "cursor", &[], &[]);
    let me = session_of(&mesh, "window", "cursor", None, editor.pid());
    let mut bob = Session::new(&mesh, "bob", None, None);
    bob.send("window", "for this one");
    let other = mesh.home().join("other");
    std::fs::create_dir(&other).unwrap();
    // Its windows are in one process; what is known of the other one is where it works.
    let mut after_tool = |cwd: &std::path::Path| {
        let event = json!({"hook_event_name": "postToolUse", "tool_name": "Shell", "cwd": cwd});
        editor.hook("cursor", &event).ok()
    };
    assert_eq!(after_tool(&other), "");
    let told = after_tool(&mesh.work().join("src"));
    assert!(told.contains("for this one"), "{told}");
    drop(me);
}

#[test]
fn an_agent_whose_session_is_not_known_is_never_taken_for_the_person() {
    let mesh = mesh_with_patient_hooks();
    let mut bob = Session::new(&mesh, "bob", None, None);
    let variables = [("CLAUDECODE", "1"), ("CLAUDE_CODE_SESSION_ID", "s-1")];
    let mut shell = StandIn::new(&mesh, "claude", &[], &variables);
    // Another agent inherited the variables, or has gone on elsewhere.
    let _elsewhere = session_of(&mesh, "elsewhere", "claude-code", Some("s-1"), u32::MAX / 2);
    for words in
        ["send bob x", "broadcast x", "emit a.b", "state set a b", "lock acquire f", "inbox"]
    {
        let ran = shell.mesh(words);
        let err = ran.fails(1);
        assert!(err.contains("claude-code runs this") && err.contains("--as cli"), "{err}");
    }
    assert_eq!(shell.mesh("send bob x --json").json()["code"], "unknown_session");
    assert!(bob.unread().is_empty() && bob.locks().is_empty());
    // Looking needs no name.
    shell.mesh("peers").ok();
    shell.mesh("lock list").ok();
}

#[test]
fn what_is_the_persons_to_do_an_agent_does_only_in_their_name() {
    let mesh = mesh_with_patient_hooks();
    mesh.run("lock acquire a.rs").ok();
    let mut shell = StandIn::new(&mesh, "claude", &[], &[("CLAUDECODE", "1")]);
    let _me = session_of(&mesh, "me", "claude-code", None, shell.pid());
    for words in
        ["stop", "clean", "lock release a.rs --force", "setup --uninstall --yes", "web --print"]
    {
        let err = shell.mesh(words).fails(1);
        assert!(err.contains("--as cli"), "{words}: {err}");
    }
    shell.mesh("lock release a.rs --force --as cli").ok();
    shell.mesh("--as cli stop").ok();
    assert_eq!(mesh.broker_pid(), None);
}

/// An agent that runs in another's shell has the other's variables.
#[test]
fn a_nested_agent_is_itself() {
    let mesh = mesh_with_patient_hooks();
    let mut bob = Session::new(&mesh, "bob", None, None);
    let variables = [("CLAUDECODE", "1"), ("CLAUDE_CODE_SESSION_ID", "s-1")];
    let mut outer = StandIn::new(&mesh, "claude", &[], &variables);
    let _outer = session_of(&mesh, "outer", "claude-code", Some("s-1"), outer.pid());
    let inner = mesh.home().join("claude");
    let program = env!("CARGO_BIN_EXE_slm-mesh");
    // It tells its process id, and goes on when its session is in the mesh.
    let flag = mesh.home().join("go");
    let line = format!(
        "'{}' -c 'echo $$ >pid.new; mv pid.new pid; while ! [ -e {} ]; do sleep 0.02; done; \
         {program} send bob hello; true'",
        inner.display(),
        flag.display()
    );
    let name = std::thread::scope(|scope| {
        let ran = scope.spawn(|| outer.run(&line, ""));
        let pid = crate::common::eventually("it runs", || {
            std::fs::read_to_string(mesh.work().join("pid")).ok()?.trim().parse().ok()
        });
        let _inner = session_of(&mesh, "inner", "claude-code", Some("s-1"), pid);
        std::fs::write(&flag, "").unwrap();
        ran.join().unwrap().err
    });
    assert_eq!(name, "as inner\n");
    assert_eq!(bob.unread(), ["hello"]);
    assert_eq!(outer.mesh("send bob hello").err, "as outer\n");
}

// --- Codex: one process for all terminals --------------------------------------------------------

fn event(name: &str, session: &str, cwd: &std::path::Path) -> Value {
    json!({"hook_event_name": name, "session_id": session, "cwd": cwd})
}

/// The session of a terminal, whose MCP server is a process that is started now.
fn thread(
    mesh: &Mesh,
    name: &str,
    session: Option<&str>,
    server: u32,
    dir: &str,
) -> (Session, Running) {
    let process = Running(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap());
    let session = Session::with(mesh, name, |register| {
        register.pid = process.0.id();
        register.agent_type = Some("codex".into());
        register.agent_pid = Some(server);
        register.session_id = session.map(Into::into);
        register.project_path = dir.into();
    });
    (session, process)
}

#[test]
fn sessions_of_codex_in_one_process_are_told_apart() {
    let mesh = mesh_with_patient_hooks();
    let other = mesh.work().join("other");
    std::fs::create_dir(&other).unwrap();
    if slm_mesh::agent::codex::windows(&other).is_none() {
        return;
    }
    let (here, there) = (mesh.work(), other.to_str().unwrap().to_owned());
    let mut server = StandIn::new(&mesh, "codex", &["app-server"], &[]);
    let window = StandIn::new(&mesh, "codex", &[], &[]);
    let mut bob = Session::new(&mesh, "bob", None, None);
    let work = here.to_str().unwrap();
    let (mut one, _process) = thread(&mesh, "one", None, server.pid(), work);
    let (mut two, _process) = thread(&mesh, "two", None, server.pid(), &there);
    bob.send("one", "for one");
    bob.send("two", "for two");
    // Nothing is known of either but its directory, and in the other there is no terminal.
    let ran = server.hook("codex", &event("UserPromptSubmit", "t-2", &other));
    assert!(ran.out.is_empty() && ran.err.contains("two"), "{ran:?}");
    let ran = server.hook("codex", &event("UserPromptSubmit", "t-1", &here));
    assert!(ran.out.contains("for one"), "{ran:?}");
    assert_eq!((one.unread().len(), two.unread().len()), (0, 1));

    // Now it is known to be another's, and a second session in its directory is not taken for it.
    bob.send("one", "again");
    let second = StandIn::new(&mesh, "codex", &[], &[]);
    let ran = server.hook("codex", &event("UserPromptSubmit", "t-3", &here));
    assert!(ran.out.is_empty(), "{ran:?}");
    assert_eq!(one.unread(), ["again"]);
    // With a peer of its own that has not said which it is, and two terminals, neither can be told.
    let (mut three, _process) = thread(&mesh, "three", None, server.pid(), work);
    bob.send("three", "for three");
    let ran = server.hook("codex", &event("UserPromptSubmit", "t-3", &here));
    assert!(ran.out.is_empty() && ran.err.contains("three"), "{ran:?}");
    let ran = server.hook("codex", &event("UserPromptSubmit", "t-1", &here));
    assert!(ran.out.contains("again"), "{ran:?}");
    assert_eq!(three.unread(), ["for three"]);

    // A lock of one is not taken for the other's own, nor does either take what it may not.
    let file = here.join("a.rs");
    one.lock(file.to_str().unwrap(), None, 5);
    let mut input = edit("t-3", file.to_str().unwrap());
    input["cwd"] = json!(here);
    let ran = server.hook("codex", &input);
    assert_eq!(ran.json()["hookSpecificOutput"]["permissionDecision"], "deny", "{ran:?}");
    one.unlock(file.to_str().unwrap());
    assert!(server.hook("codex", &input).warned().contains("mesh_status"));
    assert!(one.locks().is_empty());
    second.end();
    window.end();
}

/// What a closed terminal has left behind is nobody's.
#[test]
fn a_new_terminal_is_not_taken_for_the_one_before() {
    let mesh = mesh_with_patient_hooks();
    let here = mesh.work();
    if slm_mesh::agent::codex::windows(&here).is_none() {
        return;
    }
    let mut server = StandIn::new(&mesh, "codex", &["app-server"], &[]);
    let work = here.to_str().unwrap();
    let (mut old, _process) = thread(&mesh, "old", None, server.pid(), work);
    let mut bob = Session::new(&mesh, "bob", None, None);
    bob.send("old", "for the old one");
    // Processes count the time of their start in hundredths of a second.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let _window = StandIn::new(&mesh, "codex", &[], &[]);
    server.hook("codex", &event("UserPromptSubmit", "t-2", &here)).is_silent();
    assert_eq!(old.unread(), ["for the old one"]);
    let (_new, _process) = thread(&mesh, "new", None, server.pid(), work);
    bob.send("new", "for the new one");
    let ran = server.hook("codex", &event("UserPromptSubmit", "t-2", &here));
    assert!(ran.out.contains("for the new one") && !ran.out.contains("old one"), "{ran:?}");
}
