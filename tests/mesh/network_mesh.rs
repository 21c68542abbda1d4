//! One mesh on three machines: a hub and two that were invited, each a namespace of the kernel with the
//! real binary and real agents' servers in it. As `network.rs`, it needs root, `ip`, `unshare` and
//! `nsenter`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::agent::Agent;
use crate::common::net::{DIR, Host, Net};
use crate::common::{OnDrop, PATIENCE, wait_until};
use serde_json::{Value, json};
use slm_mesh::config::{HOST, RATE_LIMIT, SHARED_SECRET};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A clone of one repository, at the same path on each machine.
const CLONE: &str = "/mnt/clone";

/// The hub and those that have joined it.
struct Lan {
    net: Net,
}

impl Lan {
    /// A hub, and so many machines that it has invited, called `m1` and so on.
    fn of(joined: usize) -> Option<Self> {
        let lan = Self::apart(joined)?;
        for number in 1..=joined {
            let code = lan.hub().run(&format!("invite --name m{number}")).ok();
            let code = code.trim().strip_prefix("slm-mesh join ").unwrap().to_owned();
            lan.machine(number).run(&format!("join {code}")).ok();
        }
        Some(lan)
    }

    /// Machines that know nothing of each other yet.
    fn apart(joined: usize) -> Option<Self> {
        let mut net = Net::of(joined + 1)?;
        for host in &mut net.hosts {
            host.settings.push((RATE_LIMIT, "0".to_owned()));
            host.sh(&format!("mkdir -p {CLONE}/.git/objects {CLONE}/.git/refs"));
            std::fs::write(host.file(&format!("{CLONE}/.git/HEAD")), "ref: refs/heads/main\n")
                .unwrap();
            let remote = "[remote \"origin\"]\n\turl = git@git.example.org:owner/repo.git\n";
            std::fs::write(host.file(&format!("{CLONE}/.git/config")), remote).unwrap();
        }
        Some(Self { net })
    }

    fn hub(&self) -> &Host {
        &self.net.hosts[0]
    }

    fn machine(&self, number: usize) -> &Host {
        &self.net.hosts[number]
    }

    /// The peers of the mesh as the hub lists them.
    fn peers(&self) -> Vec<Value> {
        let list = self.hub().run("peers --scope mesh --json").json();
        list["peers"].as_array().unwrap().clone()
    }

    /// Whether the hub lists a peer.
    fn has(&self, name: &str) -> bool {
        self.peers().iter().any(|peer| peer["name"] == name)
    }

    fn is_connected(&self, machine: &str) -> bool {
        let list = self.hub().run("machines --json").json();
        let machines = list["machines"].as_array().unwrap();
        machines.iter().any(|it| it["name"] == machine && it["connected"] == true)
    }
}

fn send(from: &mut Agent, to: &str, text: &str) {
    from.tool("mesh_send", &json!({"to": to, "message": text})).ok();
}

/// What is in an agent's inbox, as text; nothing while the hub is out of reach.
fn inbox(agent: &mut Agent) -> Vec<String> {
    let read = agent.tool("mesh_inbox", &json!({"limit": 100}));
    if read.is_error {
        return Vec::new();
    }
    let messages = read.ok()["messages"].as_array().unwrap().clone();
    messages.iter().map(|message| message["payload"].as_str().unwrap().to_owned()).collect()
}

/// Waits until this is the next that is there: for long, since a hub may have to be found first.
#[track_caller]
fn gets(agent: &mut Agent, text: &str) {
    let until = Instant::now() + 4 * PATIENCE;
    let mut got = inbox(agent);
    while got.is_empty() {
        assert!(Instant::now() < until, "it does not come: {text}");
        thread::sleep(Duration::from_millis(20));
        got = inbox(agent);
    }
    assert_eq!(got, [text]);
}

fn lock(agent: &mut Agent, path: &str) -> bool {
    !agent.tool("mesh_lock", &json!({"action": "lock", "filePath": path})).is_error
}

fn unlock(agent: &mut Agent, path: &str) {
    agent.tool("mesh_lock", &json!({"action": "unlock", "filePath": path})).ok();
}

/// Asks for a lock and waits for it; the answer comes later.
fn wait_for_lock(agent: &mut Agent, path: &str) -> u64 {
    agent.ask_tool("mesh_lock", &json!({"action": "lock", "filePath": path, "wait": 50}))
}

fn is_waited_for(agent: &mut Agent, waiting: u64) -> bool {
    let locks = agent.tool("mesh_lock", &json!({"action": "query"})).ok();
    locks["locks"][0]["waiting"] == waiting
}

/// The server of an agent, by the number that it has on its machine.
fn pid(lan: &Lan, name: &str) -> u64 {
    let peers = lan.peers();
    let peer = peers.iter().find(|peer| peer["name"] == name).unwrap();
    peer["pid"].as_u64().unwrap()
}

#[test]
fn agents_on_three_machines_are_in_one_mesh() {
    let Some(lan) = Lan::of(2) else { return };
    // The same pid on two machines, in the same directory.
    for number in [1, 2] {
        lan.machine(number).sh("echo 4000 >/proc/sys/kernel/ns_last_pid");
    }
    let mut agents = [0, 1, 2].map(|number| lan.net.hosts[number].agent_in(CLONE));
    let names = [0, 1, 2].map(|number: usize| agents[number].who().1);
    assert_eq!(pid(&lan, &names[1]), pid(&lan, &names[2]));
    let hosts: BTreeMap<String, Value> = lan
        .peers()
        .into_iter()
        .map(|peer| (peer["name"].as_str().unwrap().to_owned(), peer["host"].clone()))
        .collect();
    assert_eq!((&hosts[&names[1]], &hosts[&names[2]]), (&json!("m1"), &json!("m2")));

    // Everyone to everyone.
    for from in 0..3 {
        for to in (0..3).filter(|to| *to != from) {
            let text = format!("from {from} to {to}");
            send(&mut agents[from], &names[to], &text);
            gets(&mut agents[to], &text);
        }
    }
    send(&mut agents[1], "repo", "all clones");
    gets(&mut agents[0], "all clones");
    gets(&mut agents[2], "all clones");

    // One state.
    agents[2].tool("mesh_state", &json!({"action": "set", "key": "k", "value": "two"})).ok();
    for agent in &mut agents[..2] {
        let got = agent.tool("mesh_state", &json!({"action": "get", "key": "k"})).ok();
        assert_eq!(got["entry"]["value"], "two", "{got}");
    }

    // A path is one on its machine, and a file of the repository is one in all clones.
    let path = format!("{CLONE}/a.rs");
    assert!(agents.iter_mut().all(|agent| lock(agent, &path)));
    for agent in &mut agents {
        unlock(agent, &path);
    }
    let [at_hub, one, two] = &mut agents;
    assert!(lock(one, "repo:src/a.rs"));
    assert!(!lock(two, "repo:src/a.rs") && !lock(at_hub, "repo:src/a.rs"));
    let second = wait_for_lock(two, "repo:src/a.rs");
    wait_until("one waits", || is_waited_for(one, 1));
    let third = wait_for_lock(at_hub, "repo:src/a.rs");
    wait_until("two wait", || is_waited_for(one, 2));
    unlock(one, "repo:src/a.rs");
    two.tool_answer(second).ok();
    // Who holds it is killed, on a machine where nobody is asked about that, and where another of the
    // same number goes on elsewhere.
    lan.machine(2).sh(&format!("kill -9 {}", pid(&lan, &names[2])));
    at_hub.tool_answer(third).ok();
    wait_until("it has left", || !lan.has(&names[2]));
    assert!(lan.has(&names[1]));

    // A machine that is removed can do nothing any more.
    assert!(lock(one, &path));
    lan.hub().run("machines remove m1 --yes").ok();
    assert!(!lan.has(&names[1]));
    wait_until("it is told so", || {
        one.tool("mesh_peers", &json!({})).fails("hub_unreachable").contains("removed")
    });
    let said = lan.machine(1).run("peers");
    assert!(said.code != Some(0) && said.err.contains("removed"), "{said:?}");
    lan.machine(1).kill_server();
    wait_until("it is refused again", || lan.machine(1).run("peers").err.contains("removed"));
    assert!(!lan.is_connected("m1"));
}

#[test]
fn machines_with_the_same_secret_are_one_mesh_by_their_settings() {
    let Some(mut lan) = Lan::apart(1) else { return };
    let hub = lan.hub().address();
    for (host, at) in lan.net.hosts.iter_mut().zip(["0.0.0.0", hub.as_str()]) {
        host.settings.push((SHARED_SECRET, SECRET.to_owned()));
        host.settings.push((HOST, at.to_owned()));
    }
    lan.hub().run("start --detached").ok();
    let [mut here, mut there] = [0, 1].map(|number| lan.net.hosts[number].agent_in("/"));
    let (here_is, there_is) = (here.who().1, there.who().1);
    send(&mut here, &there_is, "hello");
    gets(&mut there, "hello");
    send(&mut there, &here_is, "hello to you");
    gets(&mut here, "hello to you");
}

// --- Under load ----------------------------------------------------------------------------------

/// What an agent under load has sent with a yes as answer, and what it has read.
#[derive(Default)]
struct Account {
    acknowledged: Vec<(usize, String)>,
    read: Vec<String>,
}

/// How often an agent under load was told yes and no, so far.
#[derive(Default)]
struct Counts {
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
}

/// An agent that sends to the others and reads what they have sent, until it is told to stop.
struct Busy {
    number: usize,
    agent: Agent,
    account: Account,
}

impl Busy {
    fn run(&mut self, names: &[String], stop: &AtomicBool, counts: &Counts) {
        for round in 0.. {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            for to in (0..names.len()).filter(|to| *to != self.number) {
                let text = format!("{round} from {} to {to}", self.number);
                let sent = json!({"to": names[to], "message": text});
                if self.agent.tool("mesh_send", &sent).is_error {
                    counts.refused.fetch_add(1, Ordering::SeqCst);
                } else {
                    self.account.acknowledged.push((to, text));
                    counts.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            }
            self.read();
        }
    }

    /// Reads what there is now. Whether there was something.
    fn read(&mut self) -> bool {
        let texts = inbox(&mut self.agent);
        let any = !texts.is_empty();
        self.account.read.extend(texts);
        any
    }
}

/// Cuts, ends and starts again while all send to all: what was acknowledged is read once, and nothing
/// is read twice.
#[test]
fn what_is_acknowledged_arrives_once_whatever_breaks() {
    let Some(lan) = Lan::of(2) else { return };
    let mut busy: Vec<Busy> = (0..3)
        .map(|number| {
            let agent = lan.net.hosts[number].agent_in("/");
            Busy { number, agent, account: Account::default() }
        })
        .collect();
    let names: Vec<String> = busy.iter_mut().map(|busy| busy.agent.who().1).collect();
    let (stop, counts) = (AtomicBool::new(false), [(); 3].map(|()| Counts::default()));
    thread::scope(|scope| {
        for busy in &mut busy {
            let (names, stop, counts) = (&names, &stop, &counts[busy.number]);
            scope.spawn(move || busy.run(names, stop, counts));
        }
        let _stop = OnDrop(|| stop.store(true, Ordering::SeqCst));
        // Each of these goes on to send.
        let goes_on = |what: &str, numbers: &[usize]| {
            let count = |number: usize| counts[number].acknowledged.load(Ordering::SeqCst);
            let before = [0, 1, 2].map(count);
            wait_until(what, || {
                numbers.iter().all(|number| count(*number) >= before[*number] + 20)
            });
        };
        goes_on("all send", &[0, 1, 2]);
        lan.net.pull(1);
        let refused = || counts[1].refused.load(Ordering::SeqCst);
        let before = refused();
        wait_until("the cut is noticed", || refused() > before);
        goes_on("the others go on", &[0, 2]);
        lan.net.plug(1);
        goes_on("it is back", &[0, 1, 2]);

        lan.hub().kill_server();
        goes_on("the hub is back", &[0, 1, 2]);

        lan.machine(2).kill_server();
        goes_on("the relay is back", &[0, 1, 2]);

        // Without that anybody could notice it but by what is missing.
        lan.net.pull(2);
        lan.machine(2).kill_server();
        lan.net.plug(2);
        goes_on("both are mended", &[0, 1, 2]);
    });
    for number in 0..3 {
        let expected: Vec<String> = busy
            .iter()
            .flat_map(|busy| &busy.account.acknowledged)
            .filter(|(to, _)| *to == number)
            .map(|(_, text)| text.clone())
            .collect();
        assert!(expected.len() >= 40);
        let busy = &mut busy[number];
        wait_until("all of it is read", || {
            busy.read();
            expected.iter().all(|text| busy.account.read.contains(text))
        });
        while busy.read() {}
        let mut read = busy.account.read.clone();
        read.sort();
        let twice: Vec<_> = read.windows(2).filter(|two| two[0] == two[1]).collect();
        assert_eq!(twice, [[""; 2]; 0], "read twice by {number}");
    }
}

// --- Trouble -------------------------------------------------------------------------------------

#[test]
fn who_ends_during_a_cut_leaves_no_lock_and_an_answer_that_is_lost_gives_none() {
    let Some(lan) = Lan::of(1) else { return };
    let [mut here, mut holds, mut waits] =
        [0, 1, 1].map(|number| lan.net.hosts[number].agent_in(CLONE));
    let [holds_is, waits_is] = [&mut holds, &mut waits].map(|agent| agent.who().1);
    assert!(lock(&mut here, "repo:one") && lock(&mut holds, "repo:two"));
    wait_for_lock(&mut waits, "repo:one");
    wait_until("it waits", || is_waited_for(&mut here, 1));
    let (holds_pid, waits_pid) = (pid(&lan, &holds_is), pid(&lan, &waits_is));
    lan.net.pull(1);
    // It is given the lock, and the answer goes nowhere; then it ends, and so does the other.
    unlock(&mut here, "repo:one");
    lan.machine(1).sh(&format!("kill -9 {holds_pid} {waits_pid}"));
    lan.net.plug(1);
    for path in ["repo:one", "repo:two"] {
        let free = wait_for_lock(&mut here, path);
        here.tool_answer(free).ok();
    }
    wait_until("both have left", || !lan.has(&holds_is) && !lan.has(&waits_is));
}

#[test]
fn a_hub_at_another_address_is_found_again() {
    let Some(lan) = Lan::of(1) else { return };
    let [mut here, mut there] = [0, 1].map(|number| lan.net.hosts[number].agent_in("/"));
    let (id, name) = there.who();
    let hub = lan.hub();
    let old = hub.address();
    hub.sh(&format!("ip address del {old}/24 dev eth0 && ip address add 10.77.0.99/24 dev eth0"));
    send(&mut here, &name, "are you there?");
    gets(&mut there, "are you there?");
    assert_eq!(there.who(), (id, name));
    // It is kept.
    let stored = lan.machine(1).read(&format!("{DIR}/mesh/machines"));
    assert!(stored.contains("10.77.0.99:"), "{stored}");
}
