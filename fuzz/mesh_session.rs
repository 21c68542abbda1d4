//! What must hold of the core for any sequence of requests: the entry of the fuzz target `mesh`, and
//! of the replay of its corpus in `tests/corpus.rs`.

use std::borrow::Cow;
use std::time::Duration;

use slm_mesh::api::{Endpoint, Reply, Request};
use slm_mesh::mesh::{
    AskedAgain, Caller, Credential, Entropy, Failure, Interest, Mesh, Outcome, PushTarget,
    Settings, Ticket,
};
use slm_mesh::model::{MachineId, MachineName, Monotonic, Now, PeerId, Timestamp};
use slm_mesh::store::memory::MemoryStore;

/// Most steps of one input: a fault needs few, and what comes behind them only costs time.
const STEPS_MAX: usize = 64;

struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        for (byte, value) in bytes.iter_mut().zip(self.0.to_be_bytes().into_iter().rev().cycle()) {
            *byte = value;
        }
    }
}

/// Machines that have joined.
const MACHINES: [&str; 2] = ["laptop", "tower"];

/// A session of the mesh, a line a step: `<path> <body>` is a request with the broker token,
/// `@<n> <path> <body>` one of the person on the n-th machine, `+<ms>` lets time pass, `!` forgets the
/// turn, `^<n>` connects to the n-th peer. In a body, `$<n>` stands for the id of the n-th peer that
/// was registered. `~` is a client that goes away while it waits for a lock: the one that has waited
/// longest.
///
/// # Panics
/// If an invariant of the mesh does not hold.
#[expect(clippy::expect_used, reason = "to panic is how a target tells that something is wrong")]
pub(crate) fn mesh(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let settings = Settings { is_hub: true, ..Settings::default() };
    let mut now = Now { wall: Timestamp(1_800_000_000_000), ..Now::default() };
    let mut mesh = Mesh::new(MemoryStore::new(), Box::new(Counter(0)), settings, now)
        .expect("the store in memory does not fail");
    let mut peers: Vec<PeerId> = Vec::new();
    let mut waiting: Vec<Waiting> = Vec::new();
    join(&mut mesh, now);
    for line in text.lines().take(STEPS_MAX) {
        // Most of what a fuzzer makes up is no step at all: that costs no turn.
        let (caller, step) = caller(line.trim_start_matches('!'));
        // Nothing comes from a machine that was removed.
        let is_gone = matches!(caller, Caller::Operator(machine) if mesh.is_removed(machine));
        let request = request(step, &peers).filter(|_| !is_gone);
        if request.is_none() && !line.starts_with(['+', '^', '~']) {
            continue;
        }
        let passes = line.strip_prefix('+').map(|ms| ms.parse::<u32>().unwrap_or(0));
        if let Some(ms) = passes {
            now.mono = now.mono.plus(Duration::from_millis(ms.into()));
            now.wall = now.wall.plus_ms(ms.into());
        }
        mesh.begin_turn(now).expect("begin");
        let mut forget = false;
        if passes.is_some() {
            mesh.tick(now).expect("tick");
        } else if let Some(n) = line.strip_prefix('^') {
            let peer = n.parse().ok().and_then(|n: usize| peers.get(n));
            if let Some(peer) = peer {
                mesh.link_up(*peer, false, now).expect("link");
            }
        } else if line == "~" {
            if !waiting.is_empty() {
                mesh.withdraw(waiting.remove(0).ticket);
            }
        } else if let Some(request) = request {
            forget = line.starts_with('!');
            waiting.extend(ask(&mut mesh, (caller, request), &mut peers, now));
        }
        let late: Vec<Ticket> =
            waiting.iter().filter(|wait| wait.until <= now.mono).map(|wait| wait.ticket).collect();
        let mut late = late.into_iter();
        while let Some(ticket) = late.next().or_else(|| mesh.next_waiter()) {
            let Some(at) = waiting.iter().position(|wait| wait.ticket == ticket) else { continue };
            let Waiting { caller, request, until, .. } = waiting.remove(at);
            let held = AskedAgain { on: Interest::Lock(ticket), until, hung_up: false };
            match mesh.handle_held(caller, &request, held, now) {
                Ok(Outcome::Hold { .. }) => assert!(until > now.mono, "held beyond its time"),
                Ok(Outcome::Reply(_)) | Err(Failure::Refused(_)) => {}
                Err(Failure::Store(error)) => assert!(!error.to_string().is_empty(), "failed"),
            }
        }
        mesh.feed(now, || true).expect("feed");
        if forget {
            mesh.abort_turn(now).expect("abort");
            // Whoever was to wait since this turn is told that it failed.
            for wait in waiting.drain(..) {
                mesh.withdraw(wait.ticket);
            }
            while mesh.next_waiter().is_some() {}
            // What had expired before the turn that was forgotten goes with the next.
            mesh.begin_turn(now).expect("begin");
        }
        mesh.commit_turn().expect("commit");
        for push in mesh.take_effects().pushes {
            if let (PushTarget::One(peer), Some(seq)) = (push.to, push.frame.message()) {
                mesh.frame_written(peer, seq, now);
            }
        }
        mesh.check_invariants(now);
    }
}

/// A request that waits for a lock.
struct Waiting {
    ticket: Ticket,
    caller: Caller,
    request: Request,
    until: Monotonic,
}

#[expect(clippy::expect_used, reason = "to panic is how a target tells that something is wrong")]
fn join(mesh: &mut Mesh<MemoryStore>, now: Now) {
    mesh.begin_turn(now).expect("begin");
    for (n, machine) in (0..).zip(MACHINES) {
        let name = mesh.admit(MachineId([n; 32]), Credential::Secret, (machine, "here"), now);
        let name = name.expect("it may join");
        mesh.machine_up(name, now).expect("up");
    }
    mesh.commit_turn().expect("commit");
}

/// Whose step a line is, and the step.
fn caller(line: &str) -> (Caller, &str) {
    let elsewhere = line.strip_prefix('@').and_then(|line| line.split_once(' '));
    let of = |n: &str| MACHINES.get(n.parse::<usize>().ok()?).copied().and_then(MachineName::new);
    match elsewhere.map(|(n, step)| (of(n), step)) {
        Some((Some(machine), step)) => (Caller::Operator(machine), step),
        _ => (Caller::Broker, line),
    }
}

/// The request of a line, if it is one.
fn request(line: &str, peers: &[PeerId]) -> Option<Request> {
    let (path, body) = line.split_once(' ').unwrap_or((line, ""));
    let endpoint = Endpoint::find(path)?;
    let mut body = Cow::Borrowed(body);
    if body.contains('$') {
        for (n, peer) in peers.iter().enumerate().take(10) {
            body = body.replace(&format!("${n}"), &peer.to_string()).into();
        }
    }
    Request::decode(endpoint, body.as_bytes()).ok()
}

/// Gives the request if it waits for a lock.
fn ask(
    mesh: &mut Mesh<MemoryStore>,
    (caller, request): (Caller, Request),
    peers: &mut Vec<PeerId>,
    now: Now,
) -> Option<Waiting> {
    match mesh.handle(caller, &request, now) {
        Ok(Outcome::Reply(Reply::Registered(registered))) => peers.push(registered.peer_id),
        Ok(Outcome::Hold { on: Interest::Lock(ticket), until }) => {
            return Some(Waiting { ticket, caller, request, until });
        }
        Ok(_) | Err(Failure::Refused(_)) => {}
        Err(Failure::Store(error)) => assert!(!error.to_string().is_empty(), "the store failed"),
    }
    None
}
