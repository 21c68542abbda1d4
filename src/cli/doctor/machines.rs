//! Checks the role of this machine in a mesh of several, and whether the others can be reached.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::Report;
use crate::api::MachinesReply;
use crate::cli::machines::way_words;
use crate::cli::out::Out;
use crate::cli::status::{Standing, joined_words, role_words};
use crate::cli::text::duration;
use crate::client::Client;
use crate::config::Config;
use crate::model::Timestamp;
use crate::role::{Kind, Resolved, Role};

/// How long a connection to one's own port may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Largest difference between clocks that counts as none, ms.
const CLOCK_MS_MAX: u64 = 60_000;

/// Checks the role. Returns the role of the process that serves.
pub(super) fn check(report: &mut Report, config: &Config, out: &Out, client: &mut Client) -> Kind {
    let standing = Standing::of(config, client);
    if let Some(conflict) = standing.conflict() {
        report.bad("role", conflict, "");
    } else if let Ok(Resolved { role, source }) = &standing.asked {
        report.ok("role", format!("{} ({source})", role_words(role)));
    }
    match (&standing.machines, &standing.asked) {
        (Some(reply), Ok(Resolved { role: Role::Hub { listen }, .. })) => {
            hub(report, SocketAddr::new(*listen, config.ws_port), reply);
        }
        (Some(reply), _) => way(report, out, reply),
        (None, _) => {}
    }
    standing.kind
}

/// Checks whether the port of a hub is open, as far as can be told from here.
fn hub(report: &mut Report, asked: SocketAddr, reply: &MachinesReply) {
    const CHECK: &str = "hub";
    let runs = reply.listen.as_ref().and_then(|address| address.parse().ok());
    let mut at: SocketAddr = runs.unwrap_or(asked);
    if at.ip().is_unspecified() {
        at.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    match TcpStream::connect_timeout(&at, CONNECT_TIME_MAX) {
        Ok(_) => report.ok(
            CHECK,
            format!(
                "port {} is open for machines; {}. Whether a firewall closes it to them can only be \
                 seen from there",
                at.port(),
                joined_words(reply)
            ),
        ),
        Err(error) => report.bad(
            CHECK,
            format!("nobody can join or connect: {at} cannot be reached ({error})"),
            "look in broker.log why the port is not open; `slm-mesh stop`, then `slm-mesh start` shows it",
        ),
    }
}

/// Checks the connection to the hub.
fn way(report: &mut Report, out: &Out, reply: &MachinesReply) {
    const CHECK: &str = "hub";
    let Some(hub) = &reply.hub else { return };
    let name = hub.name.as_deref().unwrap_or("the hub");
    let text = format!("{name} is {}", way_words(out, hub));
    if hub.connected {
        return report.ok(CHECK, text);
    }
    let todo = if hub.refused {
        "ask at the hub for a new code (`slm-mesh invite`), and `slm-mesh join` with it"
    } else {
        "look whether the hub runs (`slm-mesh status` there), whether both are in one network, and \
         whether a firewall closes its port"
    };
    report.bad(CHECK, text, todo);
}

/// Checks the clock of the hub, which wrote `theirs` between `before` and `after`, against ours.
pub(super) fn clock(
    report: &mut Report,
    theirs: Timestamp,
    (before, after): (Timestamp, Timestamp),
) {
    const CHECK: &str = "clock";
    let ahead = theirs.0.saturating_sub(after.0).max(0);
    let behind = before.0.saturating_sub(theirs.0).max(0);
    let (ms, word) = if ahead > 0 { (ahead, "ahead of") } else { (behind, "behind") };
    if ms.unsigned_abs() < CLOCK_MS_MAX {
        return report.ok(CHECK, "that of the hub and this one agree");
    }
    report.note(
        CHECK,
        format!("that of the hub is {} {word} this one", duration(ms / 1000)),
        "set the one that is wrong: the mesh goes by the hub's and keeps working, but ages are shown \
         by this one",
    );
}
