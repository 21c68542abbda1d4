//! Several machines on a real network: namespaces of the kernel, joined by a bridge. Needs root, `ip`,
//! `unshare` and `nsenter`; where they are not to be had it says `NOT TESTED`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::agent::Agent;
use crate::common::net::{DIR, Host, Net};
use crate::common::proxy::{MEGABIT, Proxy};
use crate::common::{eventually, wait_until};
use mdns_sd::{ServiceDaemon, ServiceInfo};
use serde_json::{Value, json};
use slm_mesh::lan::discovery::{Advert, SERVICE};
use slm_mesh::model::{MachineId, MachineName};

const ID: MachineId = MachineId([0x11; 32]);

// --- What runs on the machines, as a test of its own that nobody else runs ------------------------

/// Says what the variable SAID has until the input ends: the name of a hub that is one, or `name=...`
/// and so on, as anyone may say.
#[test]
#[ignore = "it is run on the machines of other tests"]
fn say_that_a_hub_is_here() {
    let Ok(said) = std::env::var("SAID") else { return };
    let mut rest = String::new();
    if said.contains('=') {
        let daemon = ServiceDaemon::new().unwrap();
        let txt: Vec<(&str, &str)> =
            said.split(';').map(|pair| pair.split_once('=').unwrap()).collect();
        let name = format!("x{}", std::process::id());
        let host = format!("{name}.local.");
        let info = ServiceInfo::new(SERVICE, &name, &host, (), 7900, &txt[..]).unwrap();
        daemon.register(info.enable_addr_auto()).unwrap();
        std::io::stdin().read_to_string(&mut rest).unwrap();
    } else {
        let name = MachineName::new(&said).unwrap();
        let advert = Advert::start(&ID, &name, "0.0.0.0:7900".parse().unwrap()).unwrap();
        std::io::stdin().read_to_string(&mut rest).unwrap();
        drop(advert);
    }
}

/// Runs it there. It ends with its input.
fn say(host: &Host, said: &str) -> Child {
    let mut command = host.command_of(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "network::say_that_a_hub_is_here"]).env("SAID", said);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

fn stop(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// What is heard there: names, addresses, and whether it says to be the hub that is known.
fn heard(host: &Host) -> Vec<(String, String, bool)> {
    let said = host.run("hubs --json").json();
    let hubs = said["hubs"].as_array().unwrap().iter().map(|hub| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&hub["name"]), text(&hub["addresses"][0]), hub["known"].as_bool().unwrap())
    });
    let mut hubs: Vec<_> = hubs.collect();
    hubs.sort();
    hubs
}

// --- Discovery -----------------------------------------------------------------------------------

#[test]
fn a_hub_is_heard_and_known_again_among_fakes() {
    let Some(net) = Net::of(3) else { return };
    let [hub, liar, client] = &net.hosts[..] else { panic!() };
    // The client knows the hub.
    fs::create_dir(client.file(&format!("{DIR}/mesh"))).unwrap();
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(client.file(&format!("{DIR}/mesh")), closed).unwrap();
    let stored = json!({"version": 1, "role": "client", "hub": {"id": ID, "addresses": []}});
    fs::write(client.file(&format!("{DIR}/mesh/machines")), stored.to_string()).unwrap();

    let (nonce, mac) = ("00".repeat(16), "00".repeat(32));
    let fakes = [
        format!("v=1;name=fake;nonce={nonce};mac={mac}"),
        format!("v=2;name=newer;nonce={nonce};mac={mac}"),
        format!("v=1;name=\u{1b}[31mred;nonce={nonce};mac={mac}"),
        "v=1;name=bare".to_owned(),
    ];
    let fakes = fakes.map(|fake| say(liar, &fake));
    let said = say(hub, "box");
    let at = |host: &Host| format!("{}:7900", host.address());
    let both = vec![("box".to_owned(), at(hub), true), ("fake".to_owned(), at(liar), false)];
    wait_until("both are heard, and nothing else", || heard(client) == both);
    let table = client.run("hubs").ok();
    assert!(table.contains("by its word") && table.contains("10.77.0.2:7900"), "{table}");

    // Without its cable nobody is heard; with it they are again.
    net.pull(2);
    assert_eq!(heard(client), []);
    net.plug(2);
    wait_until("they are heard again", || heard(client) == both);

    // One that ends says so, and is another the next time.
    stop(said);
    wait_until("the hub is gone", || heard(client) == both[1..]);
    fakes.into_iter().for_each(stop);
}

// --- What is open and what leaves, as it is ------------------------------------------------------

/// The local addresses in a table of sockets, of those in this state, if one is named: `proc_net_tcp(5)`.
fn sockets(host: &Host, table: &str, state: Option<&str>) -> Vec<String> {
    let text = host.read(&format!("/proc/net/{table}"));
    let rows = text.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| state.is_none_or(|state| row[3] == state));
    rows.map(|row| row[1].to_owned()).collect()
}

#[test]
fn as_it_is_one_loopback_port_is_open_and_no_packet_leaves() {
    let Some(net) = Net::of(2) else { return };
    let host = &net.hosts[0];
    let before = host.packets_sent();
    host.run("start --detached").ok();
    let child = host.command(["mcp"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut agent = Agent::of(child);
    agent.initialize();
    let (_, name) = agent.who();
    host.command(["send", &name, "hello"]).status().unwrap();
    let inbox = agent.tool("mesh_inbox", &json!({})).ok();
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 1, "{inbox}");
    host.run("doctor");
    let refused = host.command(["hubs"]).env("SLM_MESH_DISCOVERY", "false").output().unwrap();
    assert!(String::from_utf8(refused.stderr).unwrap().contains("SLM_MESH_DISCOVERY"));

    let port: u16 = host.read(&format!("{DIR}/mesh/port")).trim().parse().unwrap();
    // 127.0.0.1 in the order of the machine's bytes.
    let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
    assert_eq!(sockets(host, "tcp", Some("0A")), [format!("{loopback:08X}:{port:04X}")]);
    for table in ["udp", "raw", "packet"] {
        assert_eq!(sockets(host, table, None), [""; 0], "{table}");
    }
    assert_eq!(host.packets_sent(), before);
    // They are counted: what is asked to look does send.
    host.run("hubs").ok();
    assert!(host.packets_sent() > before);
    agent.end();
}

// --- The ways between them -----------------------------------------------------------------------

#[test]
fn a_way_is_slow_narrow_and_cut_as_the_test_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap());
    let mut near = TcpStream::connect(proxy.address).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let mut pass = |bytes: usize| {
        let began = Instant::now();
        near.write_all(&vec![7; bytes]).unwrap();
        let mut read = vec![0; bytes];
        far.read_exact(&mut read).unwrap();
        began.elapsed()
    };
    proxy.delay(Duration::from_millis(50));
    assert!(pass(1) >= Duration::from_millis(50));
    proxy.delay(Duration::ZERO);
    proxy.rate(MEGABIT);
    assert!(pass(25_000) >= Duration::from_millis(200));
    proxy.rate(0);

    proxy.cut();
    near.write_all(b"x").unwrap();
    far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut byte = [0];
    assert!(far.read(&mut byte).is_err(), "it is cut");
    proxy.mend();
    far.set_read_timeout(None).unwrap();
    far.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");

    proxy.reset();
    assert_eq!(far.read(&mut byte).unwrap_or(0), 0);
    assert_eq!(near.read(&mut byte).unwrap_or(0), 0);
    let mut next = TcpStream::connect(proxy.address).unwrap();
    next.write_all(b"y").unwrap();
    let (mut far, _) = eventually("it gets through", || listener.accept().ok());
    far.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"y");
}
