//! Waking agents: the real binary between a sender and an agent that sits idle, played as the agent
//! really is: with its environment, its socket, its program.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::agent::Agent;
use crate::common::stand_in::StandIn;
use crate::common::{Mesh, PATIENCE, eventually, is_there, send_signal, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::{Fetch, Filter, ListPeers, Request};

const SECRET: &str = "the session's own";

/// An agent of this name, with whatever `set` puts into its environment; it is in the mesh.
fn agent(mesh: &Mesh, client: &str, name: &str, set: impl FnOnce(&mut Command)) -> Agent {
    let mut command = mesh.command(["mcp"]);
    let log = std::fs::File::create(mesh.work().join(format!("{name}.log"))).unwrap();
    command.env("SLM_MESH_NAME", name).stdin(Stdio::piped()).stderr(log);
    set(&mut command);
    let mut agent = Agent::of(command.spawn().unwrap());
    agent.initialize_as(client);
    assert_eq!(agent.who().1, name);
    agent
}

fn log(mesh: &Mesh, name: &str) -> String {
    std::fs::read_to_string(mesh.work().join(format!("{name}.log"))).unwrap()
}

/// The socket of a session of Claude Code.
struct Inbox {
    path: PathBuf,
    listener: UnixListener,
}

impl Inbox {
    fn new(mesh: &Mesh) -> Self {
        let path = mesh.work().join("inbox.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self { path, listener }
    }

    fn agent(&self, mesh: &Mesh) -> Agent {
        claude(mesh, &self.path)
    }

    /// Takes the connection of the server, which has to show the token.
    fn accept(&self) -> BufReader<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut lines = BufReader::new(stream);
            // One that only looks who listens says nothing.
            if !lines.fill_buf().unwrap().is_empty() {
                assert_eq!(line(&mut lines), json!({"type": "auth", "token": SECRET}));
                return lines;
            }
        }
    }
}

fn claude(mesh: &Mesh, path: &Path) -> Agent {
    agent(mesh, "claude-code", "sleeper", |command| {
        command
            .env("CLAUDE_CODE_MESSAGING_SOCKET", path)
            .env("CLAUDE_CODE_MESSAGING_TOKEN", SECRET);
    })
}

fn line(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// The text of the next frame.
fn text(lines: &mut impl BufRead) -> String {
    unwrapped(&line(lines))
}

/// The text in a frame that says from whom it is, by name and by the address of an answer.
fn unwrapped(frame: &Value) -> String {
    assert_eq!((&frame["type"], &frame["priority"]), (&"user".into(), &"next".into()));
    assert_eq!(frame["message"]["role"], "user");
    let from = frame["from"].as_str().unwrap();
    assert!(from.starts_with("uds:/") && Path::new(&from[4..]).exists(), "{frame}");
    let content = frame["message"]["content"].as_str().unwrap();
    let head = format!("<cross-session-message from=\"{from}\" from-name=\"sender\">\n");
    let text = content.strip_prefix(&head).unwrap_or_else(|| panic!("{content}"));
    text.strip_suffix("\n</cross-session-message>").unwrap().into()
}

/// The one peer of a session of an agent, as a hook finds it.
fn of_session(mesh: &Mesh, session: &str) -> Value {
    let list = ListPeers { session_id: Some(session.into()), ..ListPeers::default() };
    let reply: Value = mesh.client().call(&Request::Peers(list)).unwrap();
    let peers = reply["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 1, "{reply}");
    peers[0].clone()
}

fn send(from: &mut Agent, to: &str, message: &str) {
    from.tool("mesh_send", &json!({"to": to, "message": message})).ok();
}

/// The newest of the messages sent.
fn sent(agent: &mut Agent) -> Value {
    let list = agent.tool("mesh_inbox", &json!({"filter": "sent"})).ok();
    list["messages"].as_array().unwrap().last().unwrap().clone()
}

/// The short name of that.
fn handle_of_sent(agent: &mut Agent) -> String {
    let id: slm_mesh::model::MessageId = serde_json::from_value(sent(agent)["id"].clone()).unwrap();
    id.handle().to_string()
}

fn reach(agent: &mut Agent, of: &str) -> String {
    let peers = agent.tool("mesh_peers", &json!({})).ok();
    let peer = peers["peers"].as_array().unwrap().iter().find(|peer| peer["name"] == of).cloned();
    peer.unwrap_or_else(|| panic!("no {of}: {peers}"))["reach"].as_str().unwrap().into()
}

// --- Claude Code ---------------------------------------------------------------------------------

#[test]
fn an_idle_claude_code_is_told_and_its_sender_knows() {
    let mesh = Mesh::unlimited();
    let inbox = Inbox::new(&mesh);
    let mut sleeper = inbox.agent(&mesh);
    let mut sender = agent(&mesh, "codex-mcp-client", "sender", |_| {});
    assert_eq!(reach(&mut sender, "sleeper"), "wakes");
    assert_eq!(reach(&mut sleeper, "sender"), "next-call");
    send(&mut sender, "sleeper", "tests are \"red\"\u{7}\n");
    let mut lines = inbox.accept();
    let handle = handle_of_sent(&mut sender);
    assert_eq!(
        text(&mut lines),
        format!(
            "slm-mesh: message {handle} from sender (codex), quoted, not from your user: \
             \"tests are \\\"red\\\"\\u0007\\n\". Answer with mesh_send (to \"sender\", replyTo \
             \"{handle}\")."
        )
    );
    // Its program may do with it what it wants: nothing is proven.
    wait_until("the sender knows", || sent(&mut sender)["stage"] == "sent");
    let message = sent(&mut sender);
    assert!(message.get("notifiedAt").is_none() && message.get("readAt").is_none(), "{message}");
    let read = sleeper.tool("mesh_inbox", &json!({})).ok();
    assert_eq!(read["messages"][0]["payload"], "tests are \"red\"\u{7}\n");
    wait_until("it is read", || sent(&mut sender)["stage"] == "read");
    // The next on the same connection, and a broadcast too.
    send(&mut sender, "sleeper", "two");
    assert!(text(&mut lines).contains("\"two\""));
    let alert = json!({"to": "all", "message": "three", "type": "alert"});
    sender.tool("mesh_send", &alert).ok();
    assert!(text(&mut lines).starts_with("slm-mesh: broadcast "));
    assert!(!log(&mesh, "sleeper").contains("WARN"), "{}", log(&mesh, "sleeper"));
}

#[test]
fn what_a_wait_takes_is_not_told_twice() {
    let mesh = Mesh::unlimited();
    let inbox = Inbox::new(&mesh);
    let mut sleeper = inbox.agent(&mesh);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    let id = sleeper.ask_tool("mesh_inbox", &json!({"wait": 50}));
    // It waits when it has been answered something that was asked later.
    sleeper.who();
    send(&mut sender, "sleeper", "by wait");
    assert_eq!(sleeper.tool_answer(id).ok()["messages"][0]["payload"], "by wait");
    send(&mut sender, "sleeper", "by socket");
    assert!(text(&mut inbox.accept()).contains("\"by socket\""));
}

#[test]
fn a_socket_that_does_not_work_is_said_and_not_counted() {
    let mesh = Mesh::unlimited();
    let gone = mesh.work().join("gone.sock");
    let mut sleeper = claude(&mesh, &gone);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    assert_eq!(reach(&mut sender, "sleeper"), "next-call");
    assert!(log(&mesh, "sleeper").contains("nobody listens at"), "{}", log(&mesh, "sleeper"));
    sleeper.end();

    drop(UnixListener::bind(&gone).unwrap());
    let mut sleeper = claude(&mesh, &gone);
    assert_eq!(reach(&mut sender, "sleeper"), "next-call");
    send(&mut sender, "sleeper", "x");
    let said = log(&mesh, "sleeper");
    assert!(said.contains("WARN") && said.contains("refused"), "{said}");
    assert!(said.contains("by channel"), "{said}");
    wait_until("it is there", || sent(&mut sender)["stage"] == "delivered");
    // The channel, which the client may or may not show.
    assert_eq!(sleeper.note()["method"], "notifications/claude/channel");
    let status = sleeper.tool("mesh_lock", &json!({"action": "query"}));
    assert!(status.texts[1].starts_with("slm-mesh: message "), "{status:?}");
    wait_until("that is known, too", || sent(&mut sender)["notifiedBy"] == "tool-result");
}

#[test]
fn a_session_that_throws_messages_away_is_not_told_by_its_socket() {
    let mesh = Mesh::unlimited();
    let inbox = Inbox::new(&mesh);
    let _sleeper = inbox.agent(&mesh);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    // The look whether somebody is there.
    drop(inbox.listener.accept().unwrap());
    send(&mut sender, "sleeper", "x");
    drop(inbox.listener.accept().unwrap());
    wait_until("it is noticed", || reach(&mut sender, "sleeper") == "next-call");
    send(&mut sender, "sleeper", "y");
    wait_until("it is there", || sent(&mut sender)["stage"] == "delivered");
    inbox.listener.set_nonblocking(true).unwrap();
    assert!(inbox.listener.accept().is_err(), "it is not tried again");
}

#[test]
fn a_session_that_never_reads_keeps_nobody_waiting() {
    // However many there are, none is put off.
    let mesh = Mesh::unlimited().with("SLM_MESH_WAKE_LIMIT", "0");
    let inbox = Inbox::new(&mesh);
    let mut sleeper = inbox.agent(&mesh);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    let long = "x".repeat(10_000);
    send(&mut sender, "sleeper", &long);
    let _connection = inbox.listener.accept().unwrap();
    // Its own calls are answered all the time, however many texts are written until its socket is full.
    wait_until("it is given up", || {
        send(&mut sender, "sleeper", &long);
        sleeper.who();
        reach(&mut sender, "sleeper") == "next-call"
    });
    let said = log(&mesh, "sleeper");
    assert!(said.contains("taken nothing for 5 s"), "{said}");
    let message = sent(&mut sender);
    assert_ne!(message["notifiedBy"], "inbox-socket", "{message}");
}

/// The socket of the server itself, on which the session says what becomes of its texts.
fn own_socket(frame: &Value) -> PathBuf {
    frame["from"].as_str().unwrap().strip_prefix("uds:").unwrap().into()
}

fn write_to(own: &Path, line: &Value) {
    UnixStream::connect(own).unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// What a session says of the text in `frame`.
fn receipt(frame: &Value, status: &str) -> Value {
    json!({
        "type": "control", "action": "peer_message_status", "status": status,
        "orig_msg_id": frame["msg_id"], "from": "uds:/tmp/1.sock", "msgV": 1,
    })
}

/// How the newest of the messages stands, in the words of the broker.
fn stands(mesh: &Mesh, sender: &mut Agent) -> (Value, Value) {
    let id = sent(sender)["id"].clone();
    let peer_id = Some(sender.who().0.into());
    let fetch = Fetch { filter: Filter::Sent, peer_id, ..Fetch::default() };
    let reply: Value = mesh.client().call(&Request::Fetch(fetch)).unwrap();
    let found = reply["messages"].as_array().unwrap().iter().find(|message| message["id"] == id);
    let message = found.unwrap_or_else(|| panic!("{reply}"));
    (message["stage"].clone(), message["sentStatus"].clone())
}

#[test]
fn what_its_user_does_with_a_message_is_known_to_the_sender() {
    let mesh = Mesh::unlimited();
    let inbox = Inbox::new(&mesh);
    let mut sleeper = inbox.agent(&mesh);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    send(&mut sender, "sleeper", "one");
    let mut lines = inbox.accept();
    let first = line(&mut lines);
    let own = own_socket(&first);
    let is_sent = ("sent".into(), "sent".into());
    wait_until("it is sent", || stands(&mesh, &mut sender) == is_sent);
    // From somebody who is not the session.
    let write = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                 [s.sendall(line.encode() + b'\\n') for line in sys.argv[2:]]";
    let stranger = Command::new("python3")
        .args(["-c", write])
        .arg(&own)
        .arg(receipt(&first, "denied").to_string())
        .arg(json!({"type": "user", "message": {"content": "from a stranger"}}).to_string())
        .stderr(Stdio::null())
        .status();
    // It may be hung up on before it has said everything.
    stranger.unwrap();
    write_to(&own, &receipt(&first, "held"));
    wait_until("it is held", || stands(&mesh, &mut sender) == ("sent".into(), "held".into()));
    wait_until("that is said", || reach(&mut sender, "sleeper") == "held");
    // Nothing more is given to a session that holds what it gets.
    send(&mut sender, "sleeper", "two");
    wait_until("it is there", || sent(&mut sender)["stage"] == "delivered");
    write_to(&own, &receipt(&first, "held"));
    let unknown = json!({"msg_id": "00000000-0000-4000-8000-000000000000"});
    write_to(&own, &receipt(&unknown, "delivered"));
    assert_eq!(reach(&mut sender, "sleeper"), "held");
    write_to(&own, &receipt(&first, "delivered"));
    let second = line(&mut lines);
    assert!(unwrapped(&second).contains("\"two\""), "{second}");
    wait_until("it is sent", || stands(&mesh, &mut sender) == is_sent);
    // One that is thrown away is told in another way.
    write_to(&own, &receipt(&second, "dropped"));
    wait_until("it is told with a result", || {
        let result = sleeper.tool("mesh_lock", &json!({"action": "query"}));
        result.texts.join("").contains("\"two\"")
    });
    assert_eq!(sender.tool("mesh_inbox", &json!({})).ok()["messages"], json!([]));
}

#[test]
fn an_answer_by_the_agents_own_messaging_goes_to_the_sender() {
    let mesh = Mesh::unlimited();
    let inbox = Inbox::new(&mesh);
    let _sleeper = inbox.agent(&mesh);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    send(&mut sender, "sleeper", "one");
    let mut lines = inbox.accept();
    let own = own_socket(&line(&mut lines));
    let first = sent(&mut sender)["id"].clone();
    let handle = handle_of_sent(&mut sender);
    send(&mut sender, "sleeper", "two");
    line(&mut lines);
    let second = sent(&mut sender)["id"].clone();
    let answer = |text: &str| {
        let content = format!(
            "<cross-session-message from=\"uds:/tmp/1.sock\" from-name=\"proj\">\n{text}\n\
             </cross-session-message>"
        );
        write_to(&own, &json!({"type": "user", "message": {"role": "user", "content": content}}));
    };
    let heard = |sender: &mut Agent| {
        let mut message = Value::Null;
        wait_until("the answer is there", || {
            let inbox = sender.tool("mesh_inbox", &json!({})).ok();
            message = inbox["messages"][0].clone();
            !message.is_null()
        });
        (message["payload"].clone(), message["replyTo"].clone())
    };
    answer("yes,\n\"both\"");
    let (said, to) = heard(&mut sender);
    assert_eq!(said, "yes,\n\"both\"");
    assert!(to == second || to == *handle_of_sent(&mut sender), "{to}");
    wait_until("that proves it", || sent(&mut sender)["stage"] == "notified");
    let named = format!("to {handle}: the first");
    answer(&named);
    let (said, to) = heard(&mut sender);
    assert_eq!(said, Value::from(named));
    assert!(to == first || to == *handle, "{to}");
    // One for which there is no room is not cut, and the agent hears of it.
    answer(&"x".repeat(70_000));
    let refusal = line(&mut lines);
    let content = refusal["message"]["content"].as_str().unwrap();
    assert!(content.contains("your_answer_was_not_sent"), "{content}");
    assert_eq!(sender.tool("mesh_inbox", &json!({})).ok()["messages"], json!([]));
}

#[test]
fn a_socket_that_is_there_later_is_found() {
    let mesh = Mesh::unlimited();
    let path = mesh.work().join("inbox.sock");
    let _sleeper = claude(&mesh, &path);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    assert_eq!(reach(&mut sender, "sleeper"), "next-call");
    let inbox = Inbox::new(&mesh);
    wait_until("it is found", || reach(&mut sender, "sleeper") == "wakes");
    send(&mut sender, "sleeper", "x");
    assert!(text(&mut inbox.accept()).contains("\"x\""));
}

#[test]
fn without_a_socket_of_our_own_the_text_says_less() {
    let mesh = Mesh::unlimited();
    let sockets = mesh.work().join("sockets");
    std::fs::create_dir(&sockets).unwrap();
    let path = sockets.join("a\"b").join("inbox.sock");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let inbox = Inbox { listener: UnixListener::bind(&path).unwrap(), path };
    let _sleeper = inbox.agent(&mesh);
    let mut sender = agent(&mesh, "codex-mcp-client", "sender", |_| {});
    send(&mut sender, "sleeper", "x");
    let frame = line(&mut inbox.accept());
    assert_eq!((&frame["from"], frame.get("msg_id")), (&"slm-mesh".into(), None));
    let content = frame["message"]["content"].as_str().unwrap();
    assert!(content.starts_with("slm-mesh: ") && content.contains("\"x\""), "{content}");
    assert!(log(&mesh, "sleeper").contains("cannot listen beside its inbox socket"));
}

#[test]
fn an_idle_qwen_code_is_told_by_its_socket() {
    let mesh = Mesh::unlimited();
    let path = mesh.work().join("inbox.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let _sleeper = agent(&mesh, "qwen-cli-mcp-client-slm-mesh", "sleeper", |command| {
        command.env("QWEN_CODE_MESSAGING_SOCKET", &path).env("QWEN_CODE_MESSAGING_TOKEN", SECRET);
    });
    let mut sender = agent(&mesh, "codex-mcp-client", "sender", |_| {});
    assert_eq!(reach(&mut sender, "sleeper"), "wakes");
    // The look whether somebody is there.
    drop(listener.accept().unwrap());
    send(&mut sender, "sleeper", "x");
    let mut lines = BufReader::new(listener.accept().unwrap().0);
    assert_eq!(line(&mut lines), json!({"msgV": 1, "type": "auth", "token": SECRET}));
    let frame = line(&mut lines);
    assert_eq!((&frame["msgV"], &frame["from"]), (&json!(1), &json!("sender")));
    let content = frame["message"]["content"].as_str().unwrap();
    assert!(content.starts_with("slm-mesh: ") && content.contains("\"x\""), "{content}");
    assert_eq!(
        std::fs::read_dir(mesh.work())
            .unwrap()
            .filter(|entry| {
                entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "sock")
            })
            .count(),
        1,
        "no socket of our own"
    );
}

#[test]
fn a_socket_of_the_agent_around_it_is_left_alone() {
    let mesh = Mesh::unlimited();
    let inbox = Inbox::new(&mesh);
    let _inner = agent(&mesh, "gemini-cli-mcp-client", "inner", |command| {
        command
            .env("CLAUDECODE", "1")
            .env("CLAUDE_CODE_MESSAGING_SOCKET", &inbox.path)
            .env("CLAUDE_CODE_MESSAGING_TOKEN", SECRET);
    });
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    assert_eq!(reach(&mut sender, "inner"), "next-call");
    send(&mut sender, "inner", "x");
    wait_until("it is there", || sent(&mut sender)["delivered"] == true);
    inbox.listener.set_nonblocking(true).unwrap();
    assert!(inbox.listener.accept().is_err());
}

#[test]
fn without_an_inbox_socket_claude_code_is_kept_in_the_era_of_channels() {
    let mesh = Mesh::unlimited();
    for (token, code) in [(Some(SECRET), Value::Null), (None, (-32601).into())] {
        let mut command = mesh.command(["mcp"]);
        command.env("CLAUDE_CODE_MESSAGING_SOCKET", "/nowhere").stdin(Stdio::piped());
        if let Some(token) = token {
            command.env("CLAUDE_CODE_MESSAGING_TOKEN", token);
        }
        let mut agent = Agent::of(command.spawn().unwrap());
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "1"},
        });
        let answer = agent.request("server/discover", &json!({"_meta": meta}));
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
}

// --- Codex ---------------------------------------------------------------------------------------

/// A directory with a program `codex`.
fn program(mesh: &Mesh, script: &str) -> PathBuf {
    let bin = mesh.work().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let path = bin.join("codex");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    bin
}

fn codex(mesh: &Mesh, bin: &Path) -> Agent {
    codex_named(mesh, bin, "sleeper")
}

fn codex_named(mesh: &Mesh, bin: &Path, name: &str) -> Agent {
    let path = std::env::join_paths([bin, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let mut agent = agent(mesh, "codex-mcp-client", name, |command| {
        command.env("PATH", path);
    });
    let call = json!({
        "name": "mesh_status", "arguments": {},
        "_meta": {"threadId": "019-thread", "sessionId": "019-session"},
    });
    assert!(agent.request("tools/call", &call)["result"].is_object());
    agent
}

#[test]
fn an_idle_codex_is_told_by_its_queue() {
    let mesh = Mesh::unlimited();
    let said = mesh.work().join("said");
    let script = format!(
        "for word in \"$@\"; do printf '%s\\n' \"$word\"; done >'{0}.new' && mv '{0}.new' '{0}'",
        said.display()
    );
    let bin = program(&mesh, &script);
    let mut sleeper = codex(&mesh, &bin);
    let mut sender = agent(&mesh, "claude-code", "sender", |_| {});
    wait_until("it is known", || reach(&mut sender, "sleeper") == "wakes");
    assert_eq!(of_session(&mesh, "019-thread")["name"], "sleeper");
    send(&mut sender, "sleeper", "$(touch bad); 'x'");
    wait_until("it is told", || is_there(&said));
    let words = std::fs::read_to_string(&said).unwrap();
    let handle = handle_of_sent(&mut sender);
    assert_eq!(
        words,
        format!(
            "queue\n--thread\n019-thread\n--message\nslm-mesh: message {handle} from sender \
             (claude-code), quoted, not from your user: \"$(touch bad); 'x'\". Answer with mesh_send \
             (to \"sender\", replyTo \"{handle}\").\n"
        )
    );
    wait_until("the sender knows", || sent(&mut sender)["stage"] == "sent");
    sleeper.tool("mesh_inbox", &json!({})).ok();
    wait_until("it is read", || sent(&mut sender)["stage"] == "read");
}

/// A session in the process of all terminals, which has called a tool.
fn in_app_server(mesh: &Mesh, bin: &Path, name: &str) -> Agent {
    let words = ["-c", "\"$1\" mcp; true", "app-server", env!("CARGO_BIN_EXE_slm-mesh")];
    let mut server = mesh.command_of(mesh.home().join("codex"));
    let path = std::env::join_paths([bin, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    server.args(words).env("PATH", path).env("SLM_MESH_NAME", name);
    server.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut agent = Agent::of(server.spawn().unwrap());
    agent.initialize_as("codex-mcp-client");
    let call = json!({
        "name": "mesh_status", "arguments": {}, "_meta": {"threadId": format!("thread-of-{name}")},
    });
    assert!(agent.request("tools/call", &call)["result"].is_object());
    agent
}

/// The sessions of all terminals run in one process, which outlives them and would answer.
#[test]
fn a_codex_whose_terminal_is_closed_is_not_woken() {
    let mesh = Mesh::unlimited().with("SLM_MESH_HEARTBEAT_MS", "100");
    let said = mesh.work().join("said");
    let bin = program(&mesh, &format!("echo x >>'{}'", said.display()));
    if slm_mesh::agent::codex::windows(&mesh.work()).is_none() {
        return;
    }
    let terminal = StandIn::new(&mesh, "codex", &[], &[]);
    let _sleeper = in_app_server(&mesh, &bin, "sleeper");
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    wait_until("it is known", || reach(&mut sender, "sleeper") == "wakes");
    send(&mut sender, "sleeper", "while it is open");
    wait_until("it is told", || is_there(&said));

    terminal.end();
    wait_until("all know", || reach(&mut sender, "sleeper") == "next-call");
    std::fs::remove_file(&said).unwrap();
    send(&mut sender, "sleeper", "when it is closed");
    wait_until("it is there", || sent(&mut sender)["stage"] == "delivered");
    let _terminal = StandIn::new(&mesh, "codex", &[], &[]);
    wait_until("all know again", || reach(&mut sender, "sleeper") == "wakes");
    assert!(!is_there(&said), "it was queued for a session that nobody sees");
}

#[test]
fn of_two_codex_in_one_directory_the_one_whose_terminal_is_closed_is_not_woken() {
    let mesh = Mesh::unlimited().with("SLM_MESH_HEARTBEAT_MS", "100");
    let bin = program(&mesh, "true");
    if slm_mesh::agent::codex::windows(&mesh.work()).is_none() {
        return;
    }
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    let terminal = StandIn::new(&mesh, "codex", &[], &[]);
    let _first = in_app_server(&mesh, &bin, "first");
    // Processes count the time of their start in hundredths of a second.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let other = StandIn::new(&mesh, "codex", &[], &[]);
    let _second = in_app_server(&mesh, &bin, "second");
    let mut reaches = |first: &str, second: &str| {
        wait_until("all know", || {
            (&*reach(&mut sender, "first"), &*reach(&mut sender, "second")) == (first, second)
        });
    };
    reaches("wakes", "wakes");
    terminal.end();
    reaches("next-call", "wakes");
    // It is opened again.
    let _terminal = StandIn::new(&mesh, "codex", &[], &[]);
    reaches("wakes", "wakes");
    drop(other);
}

#[test]
fn a_codex_that_fails_or_is_missing_is_said_and_not_counted() {
    for (script, reason) in [(Some("exit 7"), "exit status: 7"), (None, "no `codex` on the PATH")] {
        let mesh = Mesh::unlimited();
        let bin = script.map_or_else(|| mesh.work(), |script| program(&mesh, script));
        let _sleeper = codex(&mesh, &bin);
        let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
        send(&mut sender, "sleeper", "x");
        wait_until("it knows", || log(&mesh, "sleeper").contains(reason));
        wait_until("all know", || reach(&mut sender, "sleeper") == "next-call");
        wait_until("it is there", || sent(&mut sender)["stage"] == "delivered");
    }
}

#[test]
fn a_codex_that_hangs_is_killed_and_keeps_nobody_waiting() {
    let mesh = Mesh::unlimited();
    let own = mesh.work().join("own");
    let bin = program(
        &mesh,
        &format!("echo $$ >'{0}.new' && mv '{0}.new' '{0}'; sleep 600", own.display()),
    );
    let mut sleeper = codex(&mesh, &bin);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    send(&mut sender, "sleeper", "x");
    wait_until("it runs", || is_there(&own));
    // Until then nobody else tells it.
    let result = sleeper.tool("mesh_lock", &json!({"action": "query"}));
    assert!(!result.texts.join("").contains("slm-mesh: message"), "{result:?}");
    wait_until("it is given up", || log(&mesh, "sleeper").contains("not ended within 5 s"));
    let pid = std::fs::read_to_string(&own).unwrap().trim().parse().unwrap();
    wait_until("it is gone", || !slm_mesh::platform::is_alive(pid));
    wait_until("it is told with a result", || {
        let result = sleeper.tool("mesh_lock", &json!({"action": "query"}));
        result.texts.join("").contains("slm-mesh: message")
    });
    wait_until("the sender knows", || sent(&mut sender)["notifiedBy"] == "tool-result");
}

/// A `codex queue` that has begun when `runs` has a line more, and ends when there is `go`.
fn slow_queue(mesh: &Mesh) -> (PathBuf, PathBuf, PathBuf) {
    let (runs, go) = (mesh.work().join("runs"), mesh.work().join("go"));
    let script = format!(
        "echo run >>'{}'; while [ ! -e '{}' ]; do sleep 0.02; done",
        runs.display(),
        go.display()
    );
    (program(mesh, &script), runs, go)
}

#[test]
fn what_is_being_told_when_the_broker_crashes_is_told_once() {
    let mesh = Mesh::unlimited();
    let (bin, runs, go) = slow_queue(&mesh);
    let mut sleeper = codex(&mesh, &bin);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    send(&mut sender, "sleeper", "x");
    wait_until("it runs", || is_there(&runs));
    mesh.kill_broker();
    // It comes back, and knows of no claim any more.
    mesh.start();
    wait_until("it is there", || sent(&mut sender)["stage"] == "delivered");
    std::fs::write(&go, "").unwrap();
    wait_until("the sender knows", || sent(&mut sender)["stage"] == "sent");
    let result = sleeper.tool("mesh_lock", &json!({"action": "query"}));
    assert!(!result.texts.join("").contains("slm-mesh: message"), "{result:?}");
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\n");
}

#[test]
fn what_a_server_was_telling_when_it_was_killed_is_told_by_the_next_one() {
    let mesh = Mesh::unlimited();
    let (bin, runs, go) = slow_queue(&mesh);
    let mut sleeper = codex(&mesh, &bin);
    let mut sender = agent(&mesh, "test-agent", "sender", |_| {});
    send(&mut sender, "sleeper", "x");
    wait_until("it runs", || is_there(&runs));
    send_signal(sleeper.pid(), "KILL");
    sleeper.wait();
    std::fs::write(&go, "").unwrap();
    // Another server for the same thread.
    let _next = codex_named(&mesh, &bin, "next");
    wait_until("it is told again", || std::fs::read_to_string(&runs).unwrap() == "run\nrun\n");
    wait_until("the sender knows", || sent(&mut sender)["stage"] == "sent");
}

// --- The token ------------------------------------------------------------------------------------

#[test]
fn a_hook_finds_the_token_of_its_session() {
    let mesh = Mesh::unlimited();
    let mut peer = agent(&mesh, "claude-code", "peer", |command| {
        command.env("CLAUDE_CODE_SESSION_ID", "s-1");
    });
    let find = || {
        let socket = PathBuf::from(of_session(&mesh, "s-1")["udsPath"].as_str().unwrap());
        (socket.with_extension("token"), socket)
    };
    let (token, socket) = find();
    let mode = std::fs::metadata(&token).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode, socket.exists()), (0o600, true));
    // It is the peer's, for it speaks for it.
    let text = std::fs::read_to_string(&token).unwrap();
    let mut client = mesh.client();
    client.use_token(text.trim());
    let beat = Request::Heartbeat { peer_id: None, git_branch: None, session_id: None };
    assert_eq!(client.call::<Value>(&beat).unwrap()["unread"], 0);
    peer.end();
    assert!(!token.exists() && !socket.exists());

    // A crash leaves it to the broker, an interrupted session to itself.
    for signal in ["KILL", "TERM"] {
        let mut peer = agent(&mesh, "claude-code", "peer", |command| {
            command.env("CLAUDE_CODE_SESSION_ID", "s-1");
        });
        let (token, socket) = find();
        assert!(token.exists() && socket.exists());
        send_signal(peer.pid(), signal);
        peer.wait();
        wait_until("both are gone", || !token.exists() && !socket.exists());
    }
}

#[test]
fn a_token_is_left_again_when_someone_has_removed_it() {
    let mesh = Mesh::unlimited();
    let mut peer = agent(&mesh, "test-agent", "peer", |_| {});
    let before = files(&mesh, "token").remove(0);
    let text = std::fs::read_to_string(&before).unwrap();
    for file in files(&mesh, "token").iter().chain(&files(&mesh, "sock")) {
        std::fs::remove_file(file).unwrap();
    }
    mesh.kill_broker();
    let again = eventually("it is back", || {
        peer.tool("mesh_status", &json!({}));
        files(&mesh, "token").pop()
    });
    assert_eq!((std::fs::read_to_string(&again).unwrap(), again), (text, before));
}

fn files(mesh: &Mesh, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(mesh.data_dir().join("peers")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == suffix)).collect()
}
