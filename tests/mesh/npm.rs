//! Coming from npm's slm-mesh, another program that has its files in the same places: its broker is
//! recognised while it runs, and what its database has of shared state is taken over.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::common::Mesh;
use crate::common::agent::Agent;
use crate::common::files::{mesh, put, tree};
use crate::common::session::{edit, hook};

/// Its broker, as far as it is asked anything: this process, which answers `GET /health` for as long as
/// the tests run.
fn its_broker(mesh: &Mesh) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let body = r#"{"status":"ok","version":"1.2.3","uptime":17}"#;
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    put(&mesh.data_dir().join("broker.pid"), std::process::id().to_string());
    put(&mesh.data_dir().join("port"), port.to_string());
    put(&mesh.data_dir().join("broker.token"), "its-token");
    format!(
        "the slm-mesh of npm, another program, is running here (pid {}, port {port})",
        std::process::id()
    )
}

/// Its database, with what it needs of columns.
fn its_database(path: &Path) -> Connection {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL);
             CREATE TABLE peers (id TEXT PRIMARY KEY, name TEXT NOT NULL, uds_path TEXT);
             CREATE TABLE messages (id TEXT PRIMARY KEY, from_peer TEXT NOT NULL, payload TEXT);
             CREATE TABLE state (
                 key TEXT NOT NULL, namespace TEXT NOT NULL, value TEXT NOT NULL,
                 updated_by TEXT NOT NULL, updated_at TEXT NOT NULL, PRIMARY KEY (namespace, key));
             INSERT INTO schema_version VALUES (2, '2026-01-01T00:00:00.000Z');
             PRAGMA user_version = 2;",
        )
        .unwrap();
    connection
}

fn put_entry(its: &Connection, namespace: &str, key: &str, value: &str, by: &str) {
    let entry = (key, namespace, value, by);
    let sql = "INSERT INTO state VALUES (?1, ?2, ?3, ?4, '2026-02-03 04:05:06')";
    its.execute(sql, entry).unwrap();
}

/// The entries, by namespace and key.
fn entries(mesh: &Mesh) -> BTreeMap<String, Value> {
    let all = mesh.run("state list --all-namespaces --json").json();
    let of = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    all["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (format!("{}/{}", of(entry, "namespace"), of(entry, "key")), entry.clone()))
        .collect()
}

fn aside(mesh: &Mesh) -> Vec<PathBuf> {
    let names = fs::read_dir(mesh.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let is_aside = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(".npm-");
    names.filter(is_aside).collect()
}

#[test]
fn its_broker_is_recognised_by_each_command() {
    let mesh = mesh();
    let said = its_broker(&mesh);
    let way_out = format!("end that one with `kill {}`", std::process::id());
    drop(its_database(&mesh.data_dir().join("mesh.db")));
    for line in [
        "reply yes",
        "start",
        "start --detached",
        "status",
        "stop",
        "clean",
        "peers",
        "whoami",
        "send x y",
        "broadcast y",
        "inbox",
        "history",
        "state list",
        "lock list",
        "lock acquire a",
        "events",
        "emit x",
        "export",
        "kick x",
    ] {
        let before = tree(&mesh.data_dir());
        let ran = mesh.run(line);
        let text = ran.err.replace('\n', " ");
        assert_eq!(ran.code, Some(1), "{line}: {ran:?}");
        assert!(text.contains(&said) && text.contains(&way_out), "{line}: {ran:?}");
        let mut after = tree(&mesh.data_dir());
        after.retain(|path, _| before.contains_key(path));
        assert_eq!(after, before, "{line}: nothing of its files is touched");
    }
    let status = mesh.run("status --json").json();
    assert_eq!(status["code"], "other_program");
    let doctor = mesh.run("doctor --json").json();
    let lines = doctor["checks"].as_array().unwrap();
    let broker = lines.iter().find(|line| line["check"] == "broker").unwrap();
    assert!(broker["text"].as_str().unwrap().contains(&said), "{broker}");
}

#[test]
fn its_broker_is_recognised_by_agents_and_hooks() {
    let mesh = mesh();
    let said = its_broker(&mesh);
    let mut agent = Agent::new(&mesh);
    let told = agent.tool("mesh_peers", &json!({})).fails("start_failed");
    assert!(told.contains(&said), "{told}");
    let ran = hook(&mesh, "claude-code", &edit("s", mesh.work().join("a").to_str().unwrap()));
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains(&said), "{ran:?}");
}

#[test]
fn its_state_is_taken_over_once() {
    let mesh = mesh();
    let path = mesh.data_dir().join("mesh.db");
    let its = its_database(&path);
    put_entry(&its, "default", "plan", "ship it", "cli");
    put_entry(&its, "default", "empty", "", "7d4f3c9e-0000-4000-8000-000000000001");
    put_entry(&its, "builds", "last", "green", "cli");
    put_entry(&its, "default", &"k".repeat(257), "the key is too long", "cli");
    put_entry(&its, "default", "large", &"x".repeat(64 * 1024 + 1), "cli");
    put_entry(&its, "", "nowhere", "x", "cli");
    its.execute("INSERT INTO messages VALUES ('m', 'p', 'hello')", ()).unwrap();
    // As a process leaves it that is killed: all of it is in the log.
    let copies = ["mesh.db", "mesh.db-wal"].map(|name| {
        let path = mesh.data_dir().join(name);
        (fs::read(&path).unwrap(), path)
    });
    drop(its);
    for (bytes, path) in &copies {
        fs::write(path, bytes).unwrap();
    }

    mesh.start();
    let taken = entries(&mesh);
    let keys: Vec<&str> = taken.keys().map(String::as_str).collect();
    assert_eq!(keys, ["builds/last", "default/empty", "default/plan"]);
    assert_eq!(taken["default/plan"]["value"], "ship it");
    assert_eq!(taken["default/plan"]["updatedBy"], "cli");
    assert_eq!(taken["default/plan"]["updatedAt"], "2026-02-03T04:05:06.000Z");
    assert_eq!(taken["default/empty"]["value"], "");
    assert!(!mesh.run("history").ok().contains("hello"), "nothing else is taken over");
    let aside = aside(&mesh);
    for (bytes, _) in &copies {
        let kept = aside.iter().any(|path| fs::read(path).unwrap() == *bytes);
        assert!(kept, "it is as it was: {aside:?}");
    }

    // A fact: nothing is wrong.
    let lines = mesh.run("doctor --json").json();
    let lines = lines["checks"].as_array().unwrap();
    let told = lines.iter().find(|line| line["text"].as_str().unwrap().contains("npm's")).unwrap();
    assert_eq!((&told["check"], &told["status"]), (&json!("database"), &json!("note")), "{told}");
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("3 state entries of it taken over, 3 left out"), "{text}");

    // What is set here stays, and is counted on from there.
    let version = taken["default/plan"]["version"].as_u64().unwrap();
    mesh.run(&format!("state set plan ours --namespace default --if-version {version}")).ok();
    mesh.run("stop").ok();
    mesh.start();
    let later = entries(&mesh);
    assert_eq!(later["default/plan"]["value"], "ours");
    assert_eq!(later.len(), 3);
    assert_eq!(aside.len(), self::aside(&mesh).len(), "it is moved once");
}

#[test]
fn its_database_stays_while_it_is_open() {
    let mesh = mesh();
    let path = mesh.data_dir().join("mesh.db");
    let its = its_database(&path);
    put_entry(&its, "default", "plan", "ship it", "cli");
    let ran = mesh.run("start --detached");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("another program has it open"), "{ran:?}");
    assert!(aside(&mesh).is_empty());
    put_entry(&its, "default", "more", "later", "cli");
    drop(its);
    mesh.start();
    assert_eq!(entries(&mesh).len(), 2);
}
