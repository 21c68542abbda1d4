//! `slm-mesh doctor`: checks everything that a mesh needs, and says what is wrong and what to do.
//!
//! Each check gives findings; none repairs anything. The only thing created is a peer of its own, to
//! which a message is pushed over a real socket, and which leaves again.

mod agents;
mod files;
mod guard;
mod machines;
mod push;
mod versions;

use serde::Serialize;

use super::command::{Command, Context, Entry, Group, alone};
use super::out::{Out, Paint, now, write_object};
use super::status::{full_text, recovered_text};
use super::text::{count, duration, escape, size, wrap};
use super::{Failure, Result};
use crate::api::{AgentInfo, Code, Full, ListPeers, PeerStatus, PeersReply, Request, Status};
use crate::client::{Client, ClientError, StartPolicy};
use crate::config::Config;
use crate::neighbour::{Neighbour, ask};
use crate::platform::{self, Address};
use crate::role::Kind;

/// The status of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is wrong.
    Note,
    /// Wrong.
    Bad,
}

/// The result of a check.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was checked.
    check: &'static str,
    status: Verdict,
    /// What was found.
    text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// The findings so far.
#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.0.push(Finding { check, status: Verdict::Ok, text: text.into(), todo: None });
    }

    fn note(&mut self, check: &'static str, text: impl Into<String>, todo: impl Into<String>) {
        let todo = Some(todo.into()).filter(|todo: &String| !todo.is_empty());
        self.0.push(Finding { check, status: Verdict::Note, text: text.into(), todo });
    }

    fn bad(&mut self, check: &'static str, text: impl Into<String>, todo: impl Into<String>) {
        let (text, todo) = (text.into(), Some(todo.into()));
        self.0.push(Finding { check, status: Verdict::Bad, text, todo });
    }

    fn wrong(&self) -> usize {
        self.0.iter().filter(|line| line.status == Verdict::Bad).count()
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "doctor",
    group: Group::Agents,
    summary: "check that everything works, and say what to do if not",
    usage: &["doctor"],
    about: &[
        "Looks at the program, the data directory, the broker (which it starts if need be), a \
         message pushed to a peer of its own, the database, the settings of agents, the peers \
         that are here and files left behind. A line for each; exit code 1 if something is \
         wrong.",
    ],
    options: &[],
    examples: &[("doctor", ""), ("doctor --json", "for scripts")],
    parse: alone::<Doctor>,
};

#[derive(Debug, Default)]
struct Doctor;

impl Command for Doctor {
    fn run(&self, context: &mut Context) -> Result<()> {
        let mut report = Report::default();
        program(&mut report);
        files::data_dir(&mut report, &context.config, &context.out);
        files::room(&mut report, &context.config);
        let mut heard = Vec::new();
        let any_role = context.config.of_any_role();
        let live = match Client::open(&any_role, StartPolicy::IfNeeded) {
            Ok(client) => broker(&mut report, context, client, &mut heard),
            Err(error) => {
                no_broker(&mut report, &error);
                None
            }
        };
        agents::check(&mut report, context, &heard);
        guard::check(&mut report, &context.out);
        if let Some(peers) = &live {
            self::peers(&mut report, &context.out, peers);
        }
        files::stale(&mut report, &context.config, live.as_ref(), &context.out);
        let wrong = report.wrong();
        write(&mut context.out, &report)?;
        if wrong > 0 { Err(Failure::Reported) } else { Ok(()) }
    }

    /// It reports an unsafe one itself.
    fn checks_data_dir(&self) -> bool {
        false
    }
}

fn program(report: &mut Report) {
    const CHECK: &str = "program";
    let version = env!("CARGO_PKG_VERSION");
    match std::env::current_exe().map(|path| (path.exists(), path)) {
        Ok((true, path)) => report.ok(CHECK, format!("{}, version {version}", path.display())),
        Ok((false, path)) => report.bad(
            CHECK,
            format!("{} is not there any more", path.display()),
            "run the one that replaced it",
        ),
        Err(error) => report.bad(CHECK, format!("its path cannot be read: {error}"), "mount /proc"),
    }
}

fn no_broker(report: &mut Report, error: &ClientError) {
    let todo = match error {
        ClientError::TimedOut { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Protocol { .. } => "run `slm-mesh clean`, which ends one that hangs",
        ClientError::Foreign(_) => "then run doctor again",
        ClientError::Barred { .. } => "run doctor outside; nothing is known to be wrong there",
        _ => "broker.log in the data directory may say more; run `slm-mesh start` to see it start",
    };
    report.bad("broker", error.to_string(), todo);
}

/// Checks what the broker can tell. Gives the peers, if it lists them, and puts into `heard` what it has
/// heard of each kind of agent.
fn broker(
    report: &mut Report,
    context: &Context,
    mut client: Client,
    heard: &mut Vec<AgentInfo>,
) -> Option<PeersReply> {
    let config = &context.config;
    let status: Status = match client.call(&Request::Status) {
        Ok(status) => status,
        Err(error) if error.code() == Some(Code::HubUnreachable) => {
            report.ok("broker", "the relay of this machine runs");
            machines::check(report, config, &context.out, &mut client);
            return None;
        }
        Err(error) => {
            no_broker(report, &error);
            return None;
        }
    };
    let (own, pid) = (env!("CARGO_PKG_VERSION"), status.pid);
    let uptime = duration(i64::try_from(status.uptime).unwrap_or(i64::MAX));
    let restart = "run `slm-mesh stop`; the next agent that needs it starts the new one";
    if &*status.version != own {
        let text = format!("process {pid} is version {}, this is {own}", escape(&status.version));
        report.bad("broker", text, restart);
    } else if is_replaced(pid) {
        let text = format!("process {pid} runs a program that has been replaced since");
        report.note("broker", text, restart);
    } else {
        report.ok("broker", format!("process {pid} for {uptime}, the same version"));
    }
    port(report, config, status.port);
    let is_client = machines::check(report, config, &context.out, &mut client) == Kind::Client;
    let before = now();
    let told = push::round_trip(report, &config.of_any_role(), &mut client);
    if let Some(at) = told.filter(|_| is_client) {
        machines::clock(report, at, (before, now()));
    }
    // Asked again, since the broker knows by now whether it can write.
    let status = client.call(&Request::Status).unwrap_or(status);
    database(report, &context.out, &status, told.is_some());
    *heard = status.agents;
    let request = Request::Peers(ListPeers { include_stale: true, ..ListPeers::default() });
    match client.call(&request) {
        Ok(peers) => Some(peers),
        Err(error) => {
            report.bad("peers", error.to_string(), "run doctor again");
            None
        }
    }
}

/// Whether the broker has the port that was asked for, and if not, whether another mesh has it.
fn port(report: &mut Report, config: &Config, port: u16) {
    const CHECK: &str = "port";
    let Config { host, port: asked, .. } = *config;
    if asked == 0 || asked == port {
        return report.ok(CHECK, format!("{port} on {host}"));
    }
    match ask(&Address::Tcp((host, asked).into())) {
        Neighbour::Foreign => report.bad(
            CHECK,
            format!("{port} on {host}; the slm-mesh of npm, another program, serves {asked}"),
            "run `slm-mesh setup`, so that your agents start this one, and end that one",
        ),
        Neighbour::Mesh(_) => report.note(
            CHECK,
            format!("{port} on {host}; another mesh of yours has {asked}"),
            "nothing, unless agents that should meet are in the other (`slm-mesh status` there)",
        ),
        Neighbour::None => report.note(
            CHECK,
            format!("{port} on {host}; {asked} was taken or not asked for"),
            "nothing, unless a program of yours expects that port",
        ),
    }
}

/// Whether the broker runs another program file than this one. Unknown counts as no.
fn is_replaced(pid: u32) -> bool {
    let own = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    let its = platform::executable(pid).and_then(|path| path.canonicalize().ok());
    platform::is_executable_replaced(pid)
        || matches!((own, its), (Some(own), Some(its)) if own != its)
}

/// Only the broker can look into its database: it has the file to itself. It reads the structure
/// when it opens it, and the pages as it needs them.
fn database(report: &mut Report, out: &Out, status: &Status, written: bool) {
    const CHECK: &str = "database";
    let db = &status.db;
    let bytes = format!("{}, and {} in its journal", size(db.size_bytes), size(db.wal_size_bytes));
    if let Some(recovery) = &db.recovery {
        let text = recovered_text(out, recovery);
        if recovery.is_of_npm() {
            report.note(CHECK, text, "");
        } else {
            let todo = "look whether something you need is missing; then delete that file";
            report.bad(CHECK, text, todo);
        }
    }
    match db.full {
        Some(full) => report.bad(CHECK, full_text(full), room(full)),
        None if written => report.ok(
            CHECK,
            format!("{bytes}; opened without damage, a message was written and read back"),
        ),
        None => report.note(
            CHECK,
            format!("{bytes}; opened without damage, but nothing was written to it now"),
            "",
        ),
    }
}

/// How to make room.
fn room(full: Full) -> &'static str {
    match full {
        Full::Disk => "make room on the disk; the mesh goes on by itself",
        Full::Limit => {
            "delete state that nobody needs; messages go by themselves a day after they were sent"
        }
    }
}

fn peers(report: &mut Report, out: &Out, reply: &PeersReply) {
    const CHECK: &str = "peer";
    if reply.peers.is_empty() {
        report.note(CHECK, "nobody is here", "");
    }
    for peer in &reply.peers {
        let name = format!("{} ({})", escape(&peer.name), escape(&peer.agent_type));
        let reach = escape(&peer.reach);
        match (peer.status, &*peer.reach) {
            (PeerStatus::Stale, _) => report.note(
                CHECK,
                format!("{name}: not heard of since {}", out.age(peer.last_heartbeat)),
                "if its agent is gone, it is removed by itself",
            ),
            (PeerStatus::Away, _) => report.note(
                CHECK,
                format!("{name}: away, its MCP server is gone while the agent goes on"),
                "start the server again in the agent, or end the agent",
            ),
            (PeerStatus::Active, "none") => report.note(
                CHECK,
                format!("{name}: reach none, it finds its messages when it looks"),
                "",
            ),
            (PeerStatus::Active, _) => report.ok(CHECK, format!("{name}: reach {reach}")),
            (PeerStatus::Left, _) => {}
        }
    }
    if reply.remaining > 0 {
        report.note(CHECK, format!("{} more", reply.remaining), "");
    }
}

/// Most columns of a line, unless a word is longer.
const LINE_COLUMNS_MAX: usize = 80;

fn write(out: &mut Out, report: &Report) -> Result<()> {
    if out.json {
        return write_object!(out, "ok" => report.wrong() == 0, "checks" => report.0);
    }
    let width = report.0.iter().map(|line| line.check.len()).max().unwrap_or_default();
    for line in &report.0 {
        let (mark, paint) = match line.status {
            Verdict::Ok => ("ok  ", Paint::Good),
            Verdict::Note => ("note", Paint::Dim),
            Verdict::Bad => ("BAD ", Paint::Warn),
        };
        let mark = out.style.paint(mark, paint);
        let room = LINE_COLUMNS_MAX.saturating_sub(width + 8);
        // Between the pieces of a text, and between those of what to do.
        let (next, then) =
            (format!("\n      {:width$}  ", ""), format!("\n      {:width$}     ", ""));
        let text = wrap(&escape(&line.text), Some(room)).join(&next);
        writeln!(out, "{mark}  {:width$}  {text}", line.check)?;
        if let Some(todo) = &line.todo {
            let todo = wrap(&escape(todo), Some(room - 3)).join(&then);
            writeln!(out, "      {:width$}  -> {todo}", "")?;
        }
    }
    match u64::try_from(report.wrong()).unwrap_or(u64::MAX) {
        0 => writeln!(out, "Nothing is wrong."),
        wrong => writeln!(out, "{} wrong.", count(wrong, "thing is", "things are")),
    }
}
