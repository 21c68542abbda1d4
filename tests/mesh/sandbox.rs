//! The mesh from inside of sandboxes: a closed network, closed sockets, a directory that cannot be
//! written to; and what others could have put in our place.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::agent::Agent;
use crate::common::broker::Broker;
use crate::common::{Mesh, Ran, is_there, wait_until};
use serde_json::json;

/// What stands before a program to run it in a sandbox.
struct Sandbox {
    name: &'static str,
    words: Vec<String>,
}

impl Sandbox {
    fn new(name: &'static str, words: &[&str]) -> Option<Self> {
        let sandbox = Self { name, words: words.iter().map(|word| (*word).to_owned()).collect() };
        let mut probe = Command::new(&sandbox.words[0]);
        probe.args(&sandbox.words[1..]).args(["/bin/sh", "-c", ":"]);
        match probe.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => return Some(sandbox),
            Ok(output) => not_tested(name, String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => not_tested(name, &error.to_string()),
        }
        None
    }

    /// A network of its own, with nothing in it.
    fn no_network() -> Option<Self> {
        Self::new("a network of its own (unshare -n)", &["unshare", "-n"])
    }

    /// A network and processes of its own, as in a container.
    fn container() -> Option<Self> {
        let words = ["unshare", "-n", "--pid", "--fork", "--mount-proc", "--kill-child"];
        Self::new("network and processes of its own (unshare)", &words)
    }

    /// No sockets but Unix ones.
    fn no_inet() -> Option<Self> {
        Self::filter("a filter of sockets (seccomp)", "inet")
    }

    /// No Unix sockets.
    fn no_unix() -> Option<Self> {
        Self::filter("a filter of Unix sockets (seccomp)", "unix")
    }

    /// No connections.
    fn no_connect() -> Option<Self> {
        Self::filter("a filter of connections (seccomp)", "connect")
    }

    fn filter(name: &'static str, filter: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/common/barred.py");
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        Self::new(name, &[&python, script.to_str().unwrap(), filter])
    }

    /// The binary in it, about to be run.
    fn command(&self, mesh: &Mesh, arguments: &[&str]) -> Command {
        let outside = mesh.command(arguments);
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg(outside.get_program()).args(outside.get_args());
        command.env_clear().current_dir(mesh.work());
        command.envs(outside.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, mesh: &Mesh, line: &str) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.command(mesh, &words).output().unwrap().into()
    }
}

/// Not with `eprintln`, which is shown for tests that fail only.
fn not_tested(what: &str, why: &str) {
    writeln!(std::io::stderr().lock(), "NOT TESTED: {what}: {why}").unwrap();
}

/// An agent whose server is run by `command`, and which has shaken hands.
fn agent_by(mut command: Command) -> Agent {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut agent = Agent::of(child);
    agent.initialize();
    agent
}

/// By another process: a program that another thread's child has open for writing cannot be run.
fn copy_program(to: &Path) {
    let status = Command::new("cp").arg(env!("CARGO_BIN_EXE_slm-mesh")).arg(to).status();
    assert!(status.unwrap().success());
}

fn inbox(mesh: &Mesh) -> String {
    mesh.run("inbox --all").ok()
}

// --- The socket ----------------------------------------------------------------------------------

/// Asks over the socket, and gives the answer whole.
fn ask(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_socket_speaks_what_the_port_speaks_by_the_same_rules() {
    let broker = Broker::start();
    let socket = broker.dir().join("broker.sock");
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o7777, 0o600);

    let get = |path: &str, more: &str| {
        ask(&socket, &format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{more}\r\n"))
    };
    // `curl --unix-socket` with http://localhost, and our own clients, who name the port, too.
    for host in ["localhost".to_owned(), format!("127.0.0.1:{}", broker.port)] {
        let answer = get("/health", &format!("Host: {host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    for (host, status) in [("Host: evil.example\r\n", "403"), ("Host: localhost:1\r\n", "403")] {
        let answer = get("/health", host);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    assert!(get("/status", "Host: localhost\r\n").starts_with("HTTP/1.1 401 "));
    let with_token = format!("Host: localhost\r\nAuthorization: Bearer {}\r\n", broker.token);
    let status = get("/status", &with_token);
    assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
    let large = format!("POST /send HTTP/1.1\r\nContent-Length: 2000000\r\n{with_token}\r\n");
    assert!(ask(&socket, &large).starts_with("HTTP/1.1 413 "));
}

#[test]
fn the_socket_comes_and_goes_with_its_broker() {
    let mesh = Mesh::new();
    let socket = mesh.data_dir().join("broker.sock");
    mesh.start();
    assert!(UnixStream::connect(&socket).is_ok());
    // One that was killed leaves it behind, and its successor takes the place.
    mesh.kill_broker();
    assert!(is_there(&socket) && UnixStream::connect(&socket).is_err());
    mesh.start();
    assert!(UnixStream::connect(&socket).is_ok());
    mesh.run("stop").ok();
    assert!(!is_there(&socket));
    mesh.start();
    mesh.kill_broker();
    let cleaned = mesh.run("clean").ok();
    assert!(cleaned.contains("5 files") && !is_there(&socket), "{cleaned}");
}

#[test]
fn without_the_socket_the_port_will_do() {
    let mesh = Mesh::new();
    let socket = mesh.data_dir().join("broker.sock");
    mesh.start();
    // Gone; someone's who has ended; and what is no socket at all.
    fs::remove_file(&socket).unwrap();
    mesh.run("send cli gone").ok();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    mesh.run("send cli dead").ok();
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "").unwrap();
    mesh.run("send cli file").ok();
    let mut agent = Agent::new(&mesh);
    assert_eq!(agent.tool("mesh_status", &json!({})).ok()["ok"], json!(true));
    mesh.run("stop").ok();
    // Something in its place that cannot be taken away does not keep a broker from starting.
    fs::create_dir_all(socket.join("x")).unwrap();
    let said = mesh.run("status").fails(3);
    assert!(said.contains("no broker is running"), "{said}");
    mesh.run("send cli last").ok();
    for text in ["gone", "dead", "file", "last"] {
        assert!(inbox(&mesh).contains(text), "{text}");
    }
    let log = fs::read_to_string(mesh.data_dir().join("broker.log")).unwrap();
    assert!(log.contains("clients use the port"), "{log}");
}

// --- A closed network ----------------------------------------------------------------------------

#[test]
fn where_only_the_network_is_closed_the_mesh_works() {
    let sandboxes = [Sandbox::no_network(), Sandbox::container(), Sandbox::no_inet()];
    for sandbox in sandboxes.into_iter().flatten() {
        let mesh = Mesh::new();
        mesh.start();
        let pid = mesh.broker_pid();
        let mut outside = Agent::new(&mesh);
        outside.tool("mesh_status", &json!({})).ok();
        let name = sandbox.name;
        sandbox.run(&mesh, "status").ok();
        assert!(sandbox.run(&mesh, "peers").ok().contains("work"), "{name}");
        sandbox.run(&mesh, "send cli from-inside").ok();
        sandbox.run(&mesh, "lock acquire a.rs").ok();
        assert!(mesh.run("lock list").ok().contains("a.rs"), "{name}");
        assert!(sandbox.run(&mesh, "inbox --peek").ok().contains("from-inside"), "{name}");
        // It answers, so there is nothing to end.
        sandbox.run(&mesh, "clean").ok();
        assert_eq!(mesh.broker_pid(), pid, "{name}");

        // A session in there is pushed to, as all are.
        let mut inside = agent_by(sandbox.command(&mesh, &["mcp"]));
        wait_until("it is pushed to", || {
            inside.tool("mesh_status", &json!({})).ok()["you"]["push"] == json!(true)
        });
        let (_, own) = inside.who();
        let sent = outside.tool("mesh_send", &json!({"to": own, "message": "hello inside"})).ok();
        assert_eq!(sent["ok"], json!(true), "{name}: {sent}");
        let got = inside.tool("mesh_inbox", &json!({"wait": 5})).ok();
        assert!(got.to_string().contains("hello inside"), "{name}: {got}");
        let hook = sandbox.run(&mesh, "hook claude-code");
        assert_eq!(hook.code, Some(0), "{name}");
    }
}

#[test]
fn where_only_unix_sockets_are_closed_the_port_will_do() {
    let Some(sandbox) = Sandbox::no_unix() else { return };
    let mesh = Mesh::new();
    mesh.start();
    sandbox.run(&mesh, "send cli from-inside").ok();
    let mut inside = agent_by(sandbox.command(&mesh, &["mcp"]));
    inside.who();
    assert!(inbox(&mesh).contains("from-inside"));
}

#[test]
fn a_container_may_know_the_data_directory_by_another_path() {
    let mesh = Mesh::new();
    mesh.start();
    let other = mesh.work().join("mounted");
    fs::create_dir(&other).unwrap();
    let script = format!(
        "mount --bind {} {} && exec \"$0\" \"$@\"",
        mesh.data_dir().display(),
        other.display()
    );
    let words = ["unshare", "-n", "-m", "sh", "-c", &script];
    let Some(sandbox) = Sandbox::new("a mount elsewhere (unshare -m)", &words) else { return };
    let mut command = sandbox.command(&mesh, &["mcp"]);
    command.env("SLM_MESH_DATA_DIR", &other);
    let mut inside = agent_by(command);
    wait_until("it is pushed to", || {
        inside.tool("mesh_status", &json!({})).ok()["you"]["push"] == json!(true)
    });
    let (_, name) = inside.who();
    mesh.run_words(["send", &name, "hello inside"]).ok();
    let got = inside.tool("mesh_inbox", &json!({"wait": 5})).ok();
    assert!(got.to_string().contains("hello inside"), "{got}");
}

#[test]
fn the_first_command_of_the_day_may_come_from_a_closed_network() {
    let Some(sandbox) = Sandbox::no_network() else { return };
    let mesh = Mesh::new();
    sandbox.run(&mesh, "send cli from-inside").ok();
    mesh.run("send cli from-outside").ok();
    assert!(inbox(&mesh).contains("from-inside") && inbox(&mesh).contains("from-outside"));
    let mut agent = Agent::new(&mesh);
    assert_eq!(agent.tool("mesh_status", &json!({})).ok()["ok"], json!(true));
}

// --- Closed sockets ------------------------------------------------------------------------------

#[test]
fn where_connections_are_closed_the_sandbox_is_named_and_the_broker_left_alone() {
    let Some(sandbox) = Sandbox::no_connect() else { return };
    let mesh = Mesh::new();
    mesh.start();
    let pid = mesh.broker_pid().unwrap();
    let files = || {
        let mut names: Vec<PathBuf> =
            fs::read_dir(mesh.data_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    let before = files();
    for line in ["status", "send cli x", "peers", "lock list", "inbox", "stop", "clean"] {
        let said = sandbox.run(&mesh, line).fails(1);
        assert!(said.contains("sandbox") && said.contains("mesh_send"), "{line}: {said}");
        assert!(!said.contains("slm-mesh clean"), "{line}: {said}");
        assert!(said.contains("Operation not permitted"), "{line}: {said}");
    }
    let json = sandbox.run(&mesh, "status --json").json();
    assert_eq!(json["code"], "sandboxed");
    let mut of_codex = sandbox.command(&mesh, &["status"]);
    let said = Ran::from(of_codex.env("CODEX_SANDBOX", "seatbelt").output().unwrap()).fails(1);
    assert!(said.contains("the sandbox of Codex"), "{said}");
    let doctor = sandbox.run(&mesh, "doctor");
    assert!(!doctor.out.contains("slm-mesh clean"), "{doctor:?}");
    assert_eq!(mesh.broker_pid(), Some(pid));
    assert_eq!(files(), before);
    mesh.run("send cli outside").ok();
    assert!(inbox(&mesh).contains("outside"));
}

#[test]
fn a_broker_that_nobody_in_there_could_reach_does_not_stay() {
    // Where there are no Unix sockets, one that serves those in there could push to nobody, and
    // would keep everyone outside from having one.
    let sandboxes = [Sandbox::no_connect(), Sandbox::no_inet(), Sandbox::no_unix()];
    for sandbox in sandboxes.into_iter().flatten() {
        let mesh = Mesh::new();
        for line in ["send cli first", "start --detached", "start"] {
            let said = sandbox.run(&mesh, line).fails(1);
            assert!(said.contains("sandbox"), "{}: {line}: {said}", sandbox.name);
            assert!(said.contains("slm-mesh start --detached"), "{line}: {said}");
            wait_until("it is gone", || mesh.broker_pid().is_none());
            assert!(!is_there(mesh.data_dir().join("port")));
            assert!(!is_there(mesh.data_dir().join("broker.sock")));
        }
        mesh.run("send cli outside").ok();
    }
}

#[test]
fn a_port_of_another_network_says_nothing_of_the_broker() {
    // With a loopback of its own: the port is refused there, as it would be after a crash.
    let Some(sandbox) = Sandbox::no_network() else { return };
    let mesh = Mesh::new();
    mesh.start();
    let pid = mesh.broker_pid();
    fs::remove_file(mesh.data_dir().join("broker.sock")).unwrap();
    let up = "ip link set lo up && exec \"$0\" \"$@\"";
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let direct = sandbox.command(&mesh, &words);
        let mut words: Vec<String> =
            direct.get_args().map(|word| word.to_str().unwrap().into()).collect();
        // unshare -n sh -c UP program ...
        words.splice(1..1, ["sh".into(), "-c".into(), up.into()]);
        let mut command = Command::new(direct.get_program());
        command.args(words).env_clear().current_dir(mesh.work()).stdin(Stdio::null());
        command.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ran::from(command.output().unwrap())
    };
    for line in ["status", "clean", "start"] {
        let said = run(line).fails(1);
        if said.contains("ip: ") {
            return not_tested("a loopback of its own", &said);
        }
        assert!(said.contains("sandbox"), "{line}: {said}");
        assert!(!said.contains("slm-mesh clean"), "{line}: {said}");
    }
    assert_eq!(mesh.broker_pid(), pid);
    mesh.run("status").ok();
}

/// What the Python client comes to in `sandbox`: `ok`, or the word of its error.
fn python_client(mesh: &Mesh, sandbox: &Sandbox) -> Ran {
    const SCRIPT: &str = "import slm_mesh\n\
        try:\n\
        \x20   slm_mesh.MeshClient().status()\n\
        \x20   print('ok', end='')\n\
        except slm_mesh.SLMMeshError as error:\n\
        \x20   print(error.code, end='')\n";
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/src");
    let direct = mesh.command(["x"]);
    let mut command = Command::new(&sandbox.words[0]);
    command.args(&sandbox.words[1..]).args([&python, "-c", SCRIPT]).env_clear();
    command.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PYTHONPATH", package).env("PYTHONDONTWRITEBYTECODE", "1");
    command.output().unwrap().into()
}

#[test]
fn the_python_client_knows_the_same_sandboxes() {
    let words = ["env", "-u", "NOTHING"];
    for (sandbox, word) in [
        (Sandbox::new("no sandbox", &words), "ok"),
        (Sandbox::no_network(), "ok"),
        (Sandbox::no_inet(), "ok"),
        (Sandbox::no_unix(), "ok"),
        (Sandbox::no_connect(), "sandboxed"),
    ] {
        let Some(sandbox) = sandbox else { continue };
        let mesh = Mesh::new();
        mesh.start();
        assert_eq!(python_client(&mesh, &sandbox).ok(), word, "{}", sandbox.name);
    }
}

#[test]
fn a_broker_that_starts_is_not_taken_for_one_that_hangs() {
    let mesh = Mesh::new();
    mesh.start();
    let pid = mesh.broker_pid();
    // As before it serves; and for longer than any client waits.
    let (port, aside) = (mesh.data_dir().join("port"), mesh.work().join("port"));
    fs::rename(&port, &aside).unwrap();
    let mut command = mesh.command(["clean"]);
    let mut cleaning = command.spawn().unwrap();
    std::thread::sleep(slm_mesh::limits::CALL_TIME_MAX + Duration::from_secs(1));
    assert!(cleaning.try_wait().unwrap().is_none(), "it waits");
    fs::rename(&aside, &port).unwrap();
    Ran::from(cleaning.wait_with_output().unwrap()).ok();
    assert_eq!(mesh.broker_pid(), pid);
}

// --- A directory that cannot be written to -------------------------------------------------------

#[test]
fn looking_needs_no_write_access() {
    let mesh = Mesh::new();
    mesh.start();
    mesh.run("send cli hello").ok();
    let dir = mesh.data_dir();
    let dir = dir.to_str().unwrap();
    let script =
        format!("mount --bind {dir} {dir} && mount -o remount,bind,ro {dir} && exec \"$0\" \"$@\"");
    let words = ["unshare", "-m", "sh", "-c", &script];
    let Some(sandbox) = Sandbox::new("a read-only mount (unshare -m)", &words) else { return };
    let is_read_only = Ran::from(
        Command::new("unshare")
            .args(["-m", "sh", "-c", &script, "sh", "-c", &format!(": > {dir}/x")])
            .output()
            .unwrap(),
    );
    is_read_only.fails(2);
    for line in ["status", "peers", "lock list", "state list", "inbox --peek", "events --limit 5"] {
        sandbox.run(&mesh, line).ok();
    }
    assert!(sandbox.run(&mesh, "inbox --peek").ok().contains("hello"));
    let doctor = sandbox.run(&mesh, "doctor");
    assert!(doctor.out.contains("the same version"), "{doctor:?}");
    mesh.run("stop").ok();
    let said = sandbox.run(&mesh, "status").fails(3);
    assert!(said.contains("no broker is running"), "{said}");
    let said = sandbox.run(&mesh, "send cli x").fails(1);
    assert!(said.contains("Read-only"), "{said}");
}

// --- What others could have put in our place -----------------------------------------------------

#[test]
fn no_program_believes_a_directory_that_others_could_write_to() {
    let mesh = Mesh::new();
    mesh.start();
    let peers = mesh.data_dir().join("peers");
    for dir in [mesh.data_dir(), peers] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        for line in [
            "status",
            "send cli secret",
            "inbox",
            "peers",
            "lock list",
            "stop",
            "clean",
            "setup --dry-run",
            "start --detached",
            "start",
        ] {
            let said = mesh.run(line).fails(1);
            assert!(said.contains("can be written to by others"), "{line}: {said}");
            assert!(said.contains("chmod 700"), "{line}: {said}");
        }
        let hook = mesh.run_with_input("hook claude-code", b"{\"hook_event_name\":\"Stop\"}");
        assert_eq!((hook.code, &*hook.out), (Some(0), ""));
        let doctor = mesh.run("doctor");
        assert!(doctor.out.contains("can be written to by others"), "{doctor:?}");
        let mut agent = Agent::new(&mesh);
        let said = agent.tool("mesh_send", &json!({"to": "cli", "message": "secret"}));
        let said = said.fails("data_dir");
        assert!(said.contains("can be written to by others"), "{said}");
        // Mended, the same session goes on.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(agent.tool("mesh_status", &json!({})).ok()["ok"], json!(true));
    }
    assert!(!inbox(&mesh).contains("secret"));
}

#[test]
fn no_program_believes_a_directory_of_another_user() {
    const OTHER: u32 = 65_534;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return not_tested("a directory of another user", "only root can become one");
    }
    let mesh = Mesh::new();
    mesh.start();
    // As open as it can be without being writable to all.
    for name in ["", "broker.lock", "broker.token", "port", "mesh.id", "broker.sock"] {
        let path = mesh.data_dir().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let binary = mesh.work().join("slm-mesh");
    copy_program(&binary);
    for line in ["status", "send cli secret", "inbox", "peers", "setup --dry-run"] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let direct = mesh.command(&words);
        let mut command = Command::new(&binary);
        command.args(&words).env_clear().current_dir("/").stdin(Stdio::null());
        command.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let said = Ran::from(command.uid(OTHER).gid(OTHER).output().unwrap()).fails(1);
        assert!(said.contains("belongs to another user"), "{line}: {said}");
    }
    // What it says over the socket is not heard, either: the mode alone would let it.
    fs::set_permissions(mesh.data_dir().join("broker.sock"), fs::Permissions::from_mode(0o777))
        .unwrap();
    let python = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        s.sendall(b'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')\n\
        sys.exit(len(s.recv(100)))";
    let heard = Command::new("/usr/bin/python3")
        .args(["-c", python])
        .arg(mesh.data_dir().join("broker.sock"))
        .current_dir("/")
        .uid(OTHER)
        .gid(OTHER)
        .stderr(Stdio::null())
        .status();
    match heard {
        Ok(status) => assert!(matches!(status.code(), Some(0 | 1)), "{status}"),
        Err(error) => not_tested("the socket and another user", &error.to_string()),
    }
    assert!(!inbox(&mesh).contains("secret"));
}

// --- A program that was replaced -----------------------------------------------------------------

/// A directory with the binary as a version, and a link by which it is called.
fn versions(mesh: &Mesh) -> (PathBuf, PathBuf) {
    let (old, link) = (mesh.work().join("v1"), mesh.work().join("slm-mesh"));
    fs::create_dir(&old).unwrap();
    copy_program(&old.join("slm-mesh"));
    std::os::unix::fs::symlink(old.join("slm-mesh"), &link).unwrap();
    (old, link)
}

/// An agent whose server is called by this name.
fn agent_of(mesh: &Mesh, program: &Path) -> Agent {
    let direct = mesh.command(["mcp"]);
    let mut command = Command::new(program);
    command.arg("mcp").env_clear().current_dir(mesh.home());
    command.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
    agent_by(command)
}

#[test]
fn a_purged_version_is_replaced_by_the_one_of_its_name() {
    let mesh = Mesh::new();
    let (old, link) = versions(&mesh);
    let mut agent = agent_of(&mesh, &link);
    let name = agent.tool("mesh_status", &json!({})).ok()["you"]["name"].clone();
    let new = mesh.work().join("v2");
    fs::create_dir(&new).unwrap();
    copy_program(&new.join("slm-mesh"));
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(new.join("slm-mesh"), &link).unwrap();
    fs::remove_dir_all(old).unwrap();
    mesh.kill_broker();
    assert_eq!(agent.tool("mesh_status", &json!({})).ok()["you"]["name"], name);
    let exe = fs::read_link(format!("/proc/{}/exe", mesh.broker_pid().unwrap()));
    assert_eq!(exe.unwrap(), new.join("slm-mesh"));
}

#[test]
fn a_session_outlives_its_program_as_long_as_anything_can_be_run() {
    let mesh = Mesh::new();
    let (old, link) = versions(&mesh);
    let mut agent = agent_of(&mesh, &link);
    let name = agent.tool("mesh_status", &json!({})).ok()["you"]["name"].clone();
    fs::remove_dir_all(old).unwrap();
    fs::remove_file(link).unwrap();
    mesh.kill_broker();
    assert_eq!(agent.tool("mesh_status", &json!({})).ok()["you"]["name"], name);
}

// --- Settings that cannot be used ----------------------------------------------------------------

#[test]
fn an_agent_is_told_what_is_wrong_with_the_settings() {
    for (variable, value) in [
        ("SLM_MESH_PORT", "99999"),
        ("SLM_MESH_RATE_LIMIT", "many"),
        ("SLM_MESH_NAME", "a b"),
        ("SLM_MESH_DATA_DIR", "~/mesh"),
        ("SLM_MESH_HOST", "example.org"),
        ("SLM_MESH_STALE_MS", "10"),
        ("SLM_MESH_AUTO_LOCK", "perhaps"),
        ("HOME", ""),
    ] {
        let mesh = Mesh::new();
        let mut command = mesh.command(["mcp"]);
        command.env(variable, value);
        if variable == "HOME" {
            command.env_remove("SLM_MESH_DATA_DIR");
        }
        let mut agent = agent_by(command);
        for (tool, arguments) in [
            ("mesh_status", json!({})),
            ("mesh_send", json!({"to": "cli", "message": "x"})),
            ("mesh_peers", json!({})),
        ] {
            let said = agent.tool(tool, &arguments).fails("invalid_setting");
            assert!(said.contains(variable), "{variable}: {said}");
        }
        // That a hub is named and nothing lets in there may change: the server listens meanwhile.
        assert_eq!(is_there(mesh.data_dir()), variable == "SLM_MESH_HOST");
    }
}

#[test]
fn an_agent_is_told_what_is_wrong_with_the_entry() {
    let mesh = Mesh::new();
    let mut agent = agent_by(mesh.command(["mcp", "--datadir", "/x"]));
    let said = agent.tool("mesh_status", &json!({})).fails("invalid_setting");
    assert!(said.contains("--datadir"), "{said}");
}

#[test]
fn booleans_are_the_usual_words() {
    for word in ["true", "on", "yes", "1", "false", "off", "no", "0", "True"] {
        for variable in ["SLM_MESH_AUTO_LOCK", "SLM_MESH_DISCOVERY"] {
            let mesh = Mesh::new().with(variable, word);
            mesh.run("status").fails(3);
        }
    }
    let said = Mesh::new().with("SLM_MESH_AUTO_LOCK", "maybe").run("status").fails(2);
    assert!(said.contains("true, false, on, off, yes, no, 1, 0"), "{said}");
}
