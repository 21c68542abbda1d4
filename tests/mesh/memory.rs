//! `slm-mesh memory` and `recall`: the helper beside a real broker, with stand-ins for the HTTP side and
//! the command of `SuperLocalMemory`, and for a program of the person's.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use slm_mesh::platform::{self, Signal, is_alive};

use crate::common::{Mesh, eventually, wait_until};

const CAPABILITY: &str = "the-capability";

/// What the daemons of one directory have been told, over their lives.
#[derive(Default)]
struct Memory {
    /// By their key.
    kept: Mutex<BTreeMap<String, Value>>,
    /// How often it has taken something, whether it had that or not.
    taken: AtomicU32,
    /// It has too much to do.
    busy: AtomicBool,
    /// How often it has said so.
    refused: AtomicU32,
    /// Every path that was asked for.
    paths: Mutex<Vec<String>>,
}

impl Memory {
    fn texts(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        kept.values().map(|memory| memory["content"].as_str().unwrap().to_owned()).collect()
    }

    fn has(&self, text: &str) -> bool {
        self.texts().iter().any(|kept| kept.contains(text))
    }

    /// Status, a header line, body.
    fn answer(&self, path: &str, head: &str, body: &str, instance: &str) -> (u16, &str, Value) {
        self.paths.lock().unwrap().push(path.to_owned());
        if path == "/health" {
            return (200, "", json!({"status": "ok", "instance_id": instance}));
        }
        let shows = |name: &str, value: &str| head.contains(&format!("{name}: {value}\r\n"));
        if !shows("X-SLM-Daemon-Capability", CAPABILITY)
            || !shows("X-SLM-Target-Instance", instance)
        {
            return (403, "", json!({"detail": "Invalid daemon capability"}));
        }
        if self.busy.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return (503, "Retry-After: 1\r\n", json!({"detail": "too many saves"}));
        }
        if let Some(query) = path.strip_prefix("/recall?q=") {
            let found = json!([{"content": format!("found {query}"), "score": 0.5}]);
            return (200, "", json!({"ok": true, "results": found}));
        }
        assert_eq!(path, "/remember");
        let memory: Value = serde_json::from_str(body).unwrap();
        if memory["content"].as_str().unwrap().contains("not for you") {
            return (422, "", json!({"detail": "rejected by policy"}));
        }
        if memory["content"].as_str().unwrap().contains("not here") {
            return (403, "", json!({"detail": "refused by the workspace trust policy"}));
        }
        let key = memory["idempotency_key"].as_str().unwrap().to_owned();
        self.taken.fetch_add(1, Ordering::SeqCst);
        let mut kept = self.kept.lock().unwrap();
        let first = kept.entry(key).or_insert_with(|| memory.clone());
        assert_eq!(*first, memory, "one key is one memory");
        (200, "", json!({"ok": true}))
    }
}

/// A daemon of it, on a port of its own.
struct Daemon {
    port: u16,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(mesh: &Mesh, memory: &Arc<Memory>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let instance = format!("instance-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = directory(mesh);
        fs::create_dir_all(&dir).unwrap();
        let file = json!({"schema": 1, "service": "superlocalmemory-daemon", "port": port,
            "capability": CAPABILITY, "instance_id": instance, "pid": std::process::id()});
        fs::write(dir.join("new"), file.to_string()).unwrap();
        fs::rename(dir.join("new"), dir.join("daemon.json")).unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let (stop, memory) = (Arc::clone(&stopped), Arc::clone(memory));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream.unwrap(), &memory, &instance);
            }
        });
        Self { port, stopped, thread: Some(thread) }
    }
}

impl Drop for Daemon {
    /// Its file stays, as that of one that was killed.
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().unwrap().join();
    }
}

fn serve(stream: TcpStream, memory: &Memory, instance: &str) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let body = String::from_utf8(body).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let (status, header, answer) = memory.answer(path, &head, &body, instance);
    let answer = answer.to_string();
    let text =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{header}\r\n{answer}", answer.len());
    // The helper may have been killed meanwhile.
    let _ = reader.get_mut().write_all(text.as_bytes());
}

fn directory(mesh: &Mesh) -> PathBuf {
    mesh.home().join("memory")
}

fn mesh() -> Mesh {
    let mesh = Mesh::new();
    let dir = directory(&mesh);
    mesh.with("SLM_DATA_DIR", dir.to_str().unwrap())
}

fn send(mesh: &Mesh, text: &str) {
    mesh.run_words(["send", "--from", "bot", "--", "cli", text]).ok();
}

fn helper(mesh: &Mesh) -> Option<u32> {
    let holder = platform::lock_holder(&mesh.data_dir().join("memory.lock")).unwrap();
    holder.and_then(|holder| holder.pid)
}

/// Waits until the helper has noted that the memory has everything.
fn wait_until_noted(mesh: &Mesh) {
    wait_until("it is noted", || {
        let newest = mesh.run("events --limit 1 --json").json()["events"][0]["seq"].clone();
        newest == mesh.run("memory status --json").json()["seq"]
    });
}

fn script(program: &Path, text: &str) {
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(program, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_memory_gets_what_happens_from_on_to_off() {
    let mesh = mesh();
    let memory = Arc::new(Memory::default());
    let _daemon = Daemon::start(&mesh, &memory);
    mesh.start();
    assert!(mesh.run("memory status").ok().contains("No memory is switched on"));
    let said = mesh.run("recall port").fails(1);
    assert!(said.contains("slm-mesh memory on"), "{said}");
    send(&mesh, "the port is 3000");

    let said = mesh.run("memory on").ok();
    assert!(said.contains("SuperLocalMemory, from now on"), "{said}");
    assert!(!said.contains("not there"), "{said}");
    mesh.run_words(["state", "set", "owner", "alice", "--namespace", "api"]).ok();
    mesh.run_words(["state", "delete", "owner", "--namespace", "api"]).ok();
    mesh.run_words(["lock", "acquire", "a.txt"]).ok();
    mesh.run_words(["emit", "deploy.done", r#"{"to":"staging"}"#]).ok();
    send(&mesh, "not for you");
    send(&mesh, "not here");
    send(&mesh, "last");
    wait_until("it has the last", || memory.has("last"));
    let mut texts = memory.texts();
    texts.sort();
    assert_eq!(
        texts,
        [
            "cli set the shared value owner (api) to: alice",
            r#"cli told the event deploy.done: {"to":"staging"}"#,
            "script bot wrote to cli: last",
            "script bot wrote to cli: the port is 3000",
        ]
    );
    let messages = mesh.run("history --json").json();
    let first = &messages["messages"][0];
    let kept = memory.kept.lock().unwrap()[first["id"].as_str().unwrap()].clone();
    assert_eq!(kept["tags"], "slm-mesh,message,from:script bot,to:cli");
    assert_eq!(kept["session_date"], first["createdAt"]);

    let found = mesh.run_words(["recall", "which port?", "--limit", "3"]).ok();
    assert_eq!(found, "found which%20port%3F&limit=3\n");
    let found = mesh.run_words(["recall", "x", "--json"]).json();
    assert_eq!(found["passages"], json!([{"text": "found x&limit=10", "score": 0.5}]));
    let status = mesh.run("memory status --json").json();
    assert_eq!(status["by"], "SuperLocalMemory");
    assert_eq!((&status["on"], &status["available"]), (&json!(true), &json!(true)));

    let pid = helper(&mesh).unwrap();
    mesh.run("memory off").ok();
    wait_until("it has ended", || !is_alive(pid));
    let names = fs::read_dir(mesh.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.filter(|name| name.to_string_lossy().contains("memory")).collect();
    assert_eq!(names, ["memory.json"], "the word that it is off");
    assert!(mesh.run("memory status").ok().contains("No memory is switched on"));
}

#[test]
fn nothing_is_lost_or_kept_twice_whatever_dies() {
    let mesh = mesh();
    let memory = Arc::new(Memory::default());
    let daemon = Daemon::start(&mesh, &memory);
    mesh.start();
    mesh.run("memory on").ok();
    // It is busy.
    memory.busy.store(true, Ordering::SeqCst);
    send(&mesh, "while busy");
    wait_until("it has said so", || memory.refused.load(Ordering::SeqCst) > 0);
    memory.busy.store(false, Ordering::SeqCst);
    wait_until("it is given that again", || memory.has("while busy"));
    wait_until_noted(&mesh);
    // It dies, with the helper in between, and comes back as another.
    drop(daemon);
    send(&mesh, "while away");
    let first = eventually("the helper", || helper(&mesh));
    platform::send_signal(first, Signal::Kill).unwrap();
    send(&mesh, "without a helper");
    let second = eventually("another one", || helper(&mesh).filter(|pid| *pid != first));
    let daemon = Daemon::start(&mesh, &memory);
    wait_until("it has the rest", || memory.has("without a helper"));
    wait_until_noted(&mesh);
    // The broker dies, and the helper with it; the memory is away until the next is there.
    drop(daemon);
    send(&mesh, "before the crash");
    mesh.kill_broker();
    wait_until("its helper ends", || !is_alive(second));
    mesh.start();
    send(&mesh, "after the crash");
    let _daemon = Daemon::start(&mesh, &memory);
    wait_until("it has the rest", || memory.has("after the crash"));
    let mut texts = memory.texts();
    texts.sort();
    let expected =
        ["after the crash", "before the crash", "while away", "while busy", "without a helper"];
    assert_eq!(texts, expected.map(|text| format!("script bot wrote to cli: {text}")));
    // What was noted before a crash is not even offered again.
    assert_eq!(memory.taken.load(Ordering::SeqCst), 5);
}

#[test]
fn a_port_that_is_anothers_by_now_gets_nothing() {
    let mesh = mesh();
    let (memory, other) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
    let former = Daemon::start(&mesh, &memory);
    let file = fs::read_to_string(directory(&mesh).join("daemon.json")).unwrap();
    // Another one is at the port of the file, with another instance.
    let stranger = Daemon::start(&mesh, &other);
    let stale = file.replace(&format!(":{},", former.port), &format!(":{},", stranger.port));
    assert_ne!(stale, file);
    fs::write(directory(&mesh).join("daemon.json"), stale).unwrap();
    mesh.start();
    mesh.run("memory on").ok();
    send(&mesh, "secret");
    wait_until("it was looked at", || !other.paths.lock().unwrap().is_empty());
    let said = mesh.run("memory status").ok();
    assert!(said.contains("not there now"), "{said}");
    assert!(other.paths.lock().unwrap().iter().all(|path| path == "/health"));
    let _daemon = Daemon::start(&mesh, &memory);
    wait_until("the right one has it", || memory.has("secret"));
    assert_eq!(other.texts(), Vec::<String>::new());
}

#[test]
fn without_a_daemon_its_command_is_used() {
    let mesh = mesh();
    let (bin, got) = (mesh.home().join("bin"), mesh.home().join("got"));
    let text = format!(
        "if [ \"$1\" = recall ]; then\n\
         echo '{{\"success\":true,\"data\":{{\"results\":[{{\"content\":\"by the command\"}}]}}}}'\nexit\nfi\n\
         if [ ! -e '{0}' ]; then : >'{0}'; exit 75; fi\n\
         for word; do printf '%s\\n' \"$word\"; done >>'{0}'\n",
        got.display()
    );
    script(&bin.join("slm"), &text);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mesh = mesh.with("PATH", &path);
    mesh.start();
    mesh.run("memory on").ok();
    send(&mesh, "--json $(touch oops)");
    let words = [
        "remember",
        "--tags=slm-mesh,message,from:script bot,to:cli",
        "--json",
        "--speaker=script bot",
        "--",
        "script bot wrote to cli: --json $(touch oops)",
    ];
    let expected = words.join("\n") + "\n";
    wait_until("it was run, after it was busy", || {
        fs::read_to_string(&got).is_ok_and(|text| text == expected)
    });
    assert_eq!(mesh.run("recall x").ok(), "by the command\n");
}

#[test]
fn a_program_of_the_persons_reads_lines() {
    let mesh = mesh();
    let (program, got) = (mesh.home().join("bin/my memory"), mesh.home().join("got"));
    let text = format!(
        "while read -r line; do\ncase \"$line\" in\n\
         *'\"op\":\"recall\"'*) echo '{{\"ok\":true,\"passages\":[{{\"text\":\"port 3000\"}}]}}';;\n\
         *'not yours'*) echo '{{\"ok\":false,\"error\":\"no\"}}';;\n\
         *) if [ ! -e '{0}' ]; then : >'{0}'; echo '{{\"ok\":false,\"busy\":1}}'\n\
         else printf '%s\\n' \"$line\" >>'{0}'; echo '{{\"ok\":true}}'; fi;;\nesac\ndone\n",
        got.display()
    );
    script(&program, &text);
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&got).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    mesh.start();
    let said = mesh.run_words(["memory", "on", "command:nothing-here"]).fails(1);
    assert!(said.contains("no program"), "{said}");
    let said = mesh.run_words(["memory", "on", "elephant"]).fails(1);
    assert!(said.contains("no memory"), "{said}");
    // As a shell leaves it.
    mesh.run_words(["memory", "on", "command:~/bin/my memory"]).ok();
    send(&mesh, "hello");
    mesh.run_words(["state", "set", "k", "v", "--namespace", "n"]).ok();
    send(&mesh, "not yours");
    mesh.run_words(["emit", "a.b"]).ok();
    wait_until("all of it has come", || lines().len() == 3);
    let lines = lines();
    assert_eq!(lines[0]["op"], "message");
    assert_eq!((&lines[0]["from"], &lines[0]["to"]), (&json!("script bot"), &json!("cli")));
    assert_eq!(lines[0]["message"]["payload"], "hello");
    assert_eq!(lines[0]["id"], lines[0]["message"]["id"]);
    let state = ["op", "by", "namespace", "key", "value"].map(|name| lines[1][name].clone());
    assert_eq!(state, ["state", "cli", "n", "k", "v"].map(Value::from));
    assert_eq!((&lines[2]["op"], &lines[2]["event"]["type"]), (&json!("event"), &json!("a.b")));
    assert_eq!(mesh.run("recall port").ok(), "port 3000\n");
}

#[test]
fn another_memory_begins_anew() {
    let mesh = mesh();
    let memory = Arc::new(Memory::default());
    let _daemon = Daemon::start(&mesh, &memory);
    mesh.start();
    mesh.run("memory on").ok();
    send(&mesh, "hello");
    wait_until("it has it", || memory.has("hello"));
    wait_until_noted(&mesh);
    let (program, got) = (mesh.home().join("keep"), mesh.home().join("got"));
    let text = format!(
        "while read -r line; do printf '%s\\n' \"$line\" >>'{}'; echo '{{\"ok\":true}}'; done\n",
        got.display()
    );
    script(&program, &text);
    mesh.run_words(["memory", "on", &format!("command:{}", program.display())]).ok();
    wait_until("the other has it, too", || {
        fs::read_to_string(&got).is_ok_and(|text| text.contains("\"payload\":\"hello\""))
    });
}

#[test]
fn a_variable_of_the_broker_switches_it_on_too() {
    let mesh = mesh().with("SLM_MESH_MEMORY", "superlocalmemory");
    let memory = Arc::new(Memory::default());
    let _daemon = Daemon::start(&mesh, &memory);
    // The variables of the memory do not reach the broker: it is where it is by itself.
    symlink(directory(&mesh), mesh.home().join(".superlocalmemory")).unwrap();
    mesh.start();
    send(&mesh, "hello");
    wait_until("it has it", || memory.has("hello"));
    // Where the variable is not set, it is the broker's all the same.
    let elsewhere = |words: &[&str]| {
        let ran = mesh.command(words).env_remove("SLM_MESH_MEMORY").output().unwrap();
        assert!(ran.status.success());
        String::from_utf8(ran.stdout).unwrap()
    };
    let said = elsewhere(&["memory", "status"]);
    assert!(said.contains("where the broker was started"), "{said}");
    // Off is off, also for the broker's next helper and the next broker.
    let pid = helper(&mesh).unwrap();
    elsewhere(&["memory", "off"]);
    wait_until("it has ended", || !is_alive(pid));
    mesh.run("stop").ok();
    mesh.start();
    let said = mesh.run("memory status").ok();
    assert!(said.contains("No memory is switched on"), "{said}");
    assert_eq!(helper(&mesh), None);
}

/// `SuperLocalMemory` has a mesh of its own, which goes by variables of the same names.
#[test]
fn the_variables_of_the_other_package_do_no_harm() {
    let secret = Mesh::new().run("secret").ok();
    let mesh = mesh()
        .with("SLM_MESH_HOST", "127.0.0.1")
        .with("SLM_MESH_DISCOVERY", "on")
        .with("SLM_MESH_SHARED_SECRET", secret.trim());
    let memory = Arc::new(Memory::default());
    let _daemon = Daemon::start(&mesh, &memory);
    mesh.start();
    assert_eq!(mesh.run("status --json").json()["role"], "broker");
    mesh.run("memory on").ok();
    send(&mesh, "side by side");
    wait_until("it has it", || memory.has("side by side"));
    let paths = memory.paths.lock().unwrap().clone();
    assert!(paths.iter().all(|path| ["/health", "/remember"].contains(&&**path)), "{paths:?}");
    assert_eq!(fs::read_dir(directory(&mesh)).unwrap().count(), 1, "its files are its own");
}
