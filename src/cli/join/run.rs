//! The steps of `slm-mesh join`.

use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Join;
use super::dial::{Admission, Introduction, NotAdmitted, Trouble, dial};
use crate::api::{ListPeers, LocksReply, MachinesReply, PeersReply, Request, Status};
use crate::cli::ask::confirm;
use crate::cli::command::Context;
use crate::cli::out::Out;
use crate::cli::start::switch;
use crate::cli::text::{count, escape};
use crate::cli::{Failure, Result, UsageError};
use crate::client::{Client, ClientError, StartPolicy};
use crate::config::{Asked, Config, HubAddress, HubHost};
use crate::data_dir;
use crate::lan::channel::Way;
use crate::lan::invitation::{Invitation, Place};
use crate::lan::key::MachineKey;
use crate::limits::HUB_ADDRESSES_MAX;
use crate::model::MachineName;
use crate::platform;
use crate::role::OtherRole;
use crate::role::stored::{self, KnownHub, Stored};

/// Most bytes that are read for a code and the space around it.
const CODE_BYTES_MAX: u64 = 4096;
/// How long the relay may take to connect. The hub has just answered.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);
/// How often that is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

pub(super) fn run(context: &mut Context, wanted: &Join) -> Result<()> {
    context.check_is_person("to join the mesh of another machine")?;
    let code = match &wanted.code {
        Some(code) => code.clone(),
        None => read_code(&mut context.out)?,
    };
    let invitation = Invitation::parse(&code)
        .map_err(|error| Failure::other("invalid_code", error.to_string()))?;
    let config = context.config.clone();
    let former = stored::read(&config.paths.machines()).map_err(Failure::file)?;
    data_dir::prepare(&config.paths)?;
    let key = MachineKey::load_or_make(&config.paths.machine_key()).map_err(Failure::file)?;
    if key.id() == invitation.hub() {
        return Err(Failure::other(
            "own_code",
            "this machine has made that code itself: run `slm-mesh join` with it on the machine that \
             is to join",
        ));
    }
    check_role(&config, former.as_ref(), &invitation)?;
    if let Some(left) = left_behind(&config)? {
        confirm(&mut context.out, wanted.yes, &left, "Join?")?;
    }

    let asking = Introduction {
        key: &key,
        way: Way::Invited(invitation.hub(), invitation.token()),
        name: MachineName::of_host(&platform::host_name()),
        mdns: config.discovery,
    };
    let met = dial(addresses(wanted, &invitation), &asking)
        .map_err(|not_met| failure(&not_met, &invitation))?;
    let hub = known_hub(&met, wanted, &invitation);
    switch(&config, Some(&Stored::Client { hub, token: None }))?;
    if let Err(failure) = wait_until_connected(&config) {
        // Back to what it was; the first failure is the one to report.
        let _ = switch(&config, former.as_ref());
        return Err(failure);
    }
    tell(&mut context.out, &met, &invitation)
}

fn tell(out: &mut Out, met: &Admission, invitation: &Invitation) -> Result<()> {
    let name = met.you.map(|name| name.to_string());
    if out.json {
        let hub = json!({
            "id": invitation.hub().to_string(), "name": met.name, "address": met.address.to_string(),
        });
        return out.document(&json!({"ok": true, "hub": hub, "name": name}));
    }
    let hub = escape(&met.name);
    match name {
        Some(name) => writeln!(out, "Joined the mesh of {hub}, which calls this machine {name}."),
        None => writeln!(out, "Joined the mesh of {hub}."),
    }
}

/// The code, from the person or from the standard input.
fn read_code(out: &mut Out) -> Result<String> {
    let failed = |error: io::Error| {
        Failure::other("stdin", format!("the code cannot be read from the standard input: {error}"))
    };
    let mut code = String::new();
    let mut input = io::stdin().lock().take(CODE_BYTES_MAX);
    if platform::stdin_is_terminal() {
        if !out.json {
            write!(out, "Code (from `slm-mesh invite` on the hub): ")?;
            out.flush()?;
        }
        input.read_line(&mut code).map_err(failed)?;
    } else {
        input.read_to_string(&mut code).map_err(failed)?;
    }
    if code.trim().is_empty() {
        let message = "the code is missing: `slm-mesh invite` prints it on the machine whose mesh is to \
                       be joined";
        return Err(Failure::Usage(UsageError { message: message.into(), command: Some("join") }));
    }
    Ok(code)
}

/// Whether this machine may join that hub, as it is and with its variables.
fn check_role(config: &Config, former: Option<&Stored>, invitation: &Invitation) -> Result<()> {
    match former {
        Some(Stored::Hub) => {
            return Err(Failure::other(
                "is_hub",
                "this machine is a hub itself, and a mesh has one: run `slm-mesh leave` here first, or \
                 invite from here and join there",
            ));
        }
        Some(Stored::Client { hub, .. }) if hub.id != invitation.hub() => {
            return Err(Failure::other(
                "has_joined",
                "this machine is in the mesh of another hub: run `slm-mesh leave` first",
            ));
        }
        Some(Stored::Client { .. } | Stored::Pinned(_)) | None => {}
    }
    match &config.asked {
        Asked::Nothing | Asked::Client { hub: None } => Ok(()),
        asked => Err(Failure::other(
            OtherRole::WORD,
            format!(
                "{} says what this machine is, or whose hub it uses: unset it, for all that use \
                 slm-mesh here, and join then",
                asked.variable()
            ),
        )),
    }
}

/// What would be left behind, as the beginning of a sentence; none if nothing.
fn left_behind(config: &Config) -> Result<Option<String>> {
    let before = stored::read(&config.paths.machines()).map_err(Failure::file)?;
    // A relay has nothing of its own, and neither has a directory without a database.
    let has_own = matches!(config.asked, Asked::Nothing | Asked::Broker)
        && !matches!(before, Some(Stored::Client { .. }));
    if !has_own || !config.paths.db().exists() {
        return Ok(None);
    }
    let mut client = Client::open(config, StartPolicy::IfNeeded)?;
    let status: Status = client.call(&Request::Status)?;
    let locks: LocksReply = client.call(&Request::QueryLocks { peer_id: None, path: None })?;
    let peers: PeersReply =
        client.call(&Request::Peers(ListPeers { include_stale: true, ..ListPeers::default() }))?;
    let held = (locks.locks.len() as u64).saturating_add(locks.remaining);
    let mut left = Vec::new();
    if status.messages.unread > 0 {
        left.push(count(status.messages.unread, "unread message", "unread messages"));
    }
    if held > 0 {
        left.push(count(held, "lock", "locks"));
    }
    if left.is_empty() {
        return Ok(None);
    }
    let peers = match peers.peers.len() as u64 {
        0 => String::new(),
        peers => format!(" ({})", count(peers, "peer", "peers")),
    };
    Ok(Some(format!(
        "{} would stay behind in the mesh that is here now{peers}, until `slm-mesh leave`",
        left.join(" and ")
    )))
}

/// Where to look for the hub, the best first.
fn addresses(wanted: &Join, invitation: &Invitation) -> Vec<HubAddress> {
    let mut addresses = wanted.addresses.clone();
    for place in invitation.places() {
        let host = match place {
            Place::Address(ip) => HubHost::Address(*ip),
            Place::Name(name) => HubHost::Name(name.to_ascii_lowercase().into()),
        };
        let address = HubAddress { host, port: invitation.port() };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// What is stored about the hub: the address that led to it first, then the others.
fn known_hub(met: &Admission, wanted: &Join, invitation: &Invitation) -> KnownHub {
    let mut known = vec![met.address.clone()];
    known.extend(
        addresses(wanted, invitation).into_iter().filter(|address| *address != met.address),
    );
    known.truncate(HUB_ADDRESSES_MAX);
    KnownHub { id: invitation.hub(), addresses: known }
}

/// Why this machine was not let in, as exactly as is known.
fn failure(not_met: &NotAdmitted, invitation: &Invitation) -> Failure {
    let troubles = match not_met {
        NotAdmitted::Refused(words) => return Failure::other("refused", words.clone()),
        NotAdmitted::Nowhere(troubles) => troubles,
    };
    if troubles.is_empty() {
        return Failure::other(
            "unreachable",
            "the code has no address of the hub: say where it is with `--address`",
        );
    }
    let all: Vec<String> =
        troubles.iter().map(|(address, trouble)| format!("{address}: {trouble}")).collect();
    let all = all.join("; ");
    if troubles.iter().any(|(_, trouble)| matches!(trouble, Trouble::Another(_))) {
        return Failure::other(
            "another_hub",
            format!(
                "the hub of this code ({}) was not found, and another one answers: {all}; if the hub \
                 has a new machine.key, invite again",
                invitation.hub().short()
            ),
        );
    }
    Failure::other(
        "unreachable",
        format!(
            "the hub was not reached: {all}; check that it runs (`slm-mesh status` there), that both \
             are in one network, and that no firewall closes its port; `--address` adds an address"
        ),
    )
}

/// Starts the relay, and waits until it is connected to the hub.
fn wait_until_connected(config: &Config) -> Result<()> {
    let mut client = Client::open(config, StartPolicy::IfNeeded)?;
    let until = Instant::now() + CONNECT_TIME_MAX;
    loop {
        // A request for the hub makes the relay connect.
        let why = match client.call_bytes(&Request::Status) {
            Ok(_) => return Ok(()),
            Err(error @ (ClientError::Refused(_) | ClientError::InDoubt { .. })) => {
                error.to_string()
            }
            Err(error) => return Err(error.into()),
        };
        let way: MachinesReply = client.call(&Request::ListMachines)?;
        if way.hub.is_some_and(|hub| hub.refused) {
            return Err(Failure::other("refused", why));
        }
        if Instant::now() >= until {
            return Err(Failure::other(
                "not_connected",
                format!(
                    "the hub has let this machine in, but its relay did not connect within {} s: {why}",
                    CONNECT_TIME_MAX.as_secs()
                ),
            ));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}
