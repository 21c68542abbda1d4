//! `slm-mesh status`

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::command::{Command, Context, Entry, Group, Task};
use super::machines::{in_mesh_of, way_to_hub};
use super::out::{Out, Paint};
use super::text::{count, duration, escape, size};
use super::{Failure, Result};
use crate::api::{self, Code, Full, MachinesReply, Recovery, Request};
use crate::client::StartPolicy;
use crate::client::blocking::{Client, read_reply};
use crate::client::locate::serving_as;
use crate::config::{Config, HOST, SHARED_SECRET};
use crate::role::{self, Kind, Resolved, Role, Source};

pub(super) const ENTRY: Entry = Entry {
    name: "status",
    group: Group::Broker,
    summary: "how the broker is, and where its files are",
    usage: &["status"],
    about: &["Starts no broker: without one, it says so and exits with 3. `slm-mesh` without a \
         command starts one first."],
    options: &[],
    examples: &[("status", ""), ("status --json", "the same for scripts")],
    parse: |words| {
        words.end()?;
        Ok(Task::command(Status { start: StartPolicy::Never }))
    },
};

#[derive(Debug)]
pub(super) struct Status {
    pub(super) start: StartPolicy,
}

impl Command for Status {
    fn run(&self, context: &mut Context) -> Result<()> {
        let config = &context.config;
        let mut client = Client::open(&config.of_any_role(), self.start)?;
        // First, since it makes a relay connect.
        let answer = client.call_bytes(&Request::Status);
        let standing = Standing::of(config, &mut client);
        let body = match answer {
            Ok(body) => Some(body),
            // The process that serves here can still be described.
            Err(error) if error.code() == Some(Code::HubUnreachable) && standing.is_known() => None,
            Err(error) => return Err(error.into()),
        };
        let process = client.broker().map(|broker| {
            let pid = broker.pid.map_or_else(String::new, |pid| format!("process {pid}, "));
            format!("running, {pid}port {}", broker.address.port())
        });
        let dir = context.config.paths.dir().to_string_lossy().into_owned();
        if context.out.json {
            let answer = body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
            let document = standing.document(answer, &context.config, &dir);
            context.out.document(&document)?;
            return body.map(drop).ok_or(Failure::Reported);
        }
        let out = &mut context.out;
        let mut lines = Vec::new();
        match (&body, &process) {
            (Some(body), _) => lines.push(served(out, &read_reply(body)?, standing.kind)),
            (None, Some(process)) => lines.push(("relay", process.clone())),
            (None, None) => {}
        }
        lines.extend(standing.lines(out, &context.config));
        if let Some(body) = &body {
            lines.extend(counted(out, &read_reply(body)?));
        }
        lines.push(("files", out.path(&dir)));
        out.facts(&lines)?;
        body.map(drop).ok_or(Failure::Reported)
    }
}

/// A line: its label and its text.
type Fact = (&'static str, String);

/// The process that serves.
fn served(out: &Out, status: &api::Status, kind: Kind) -> Fact {
    let uptime = duration(i64::try_from(status.uptime).unwrap_or(i64::MAX));
    let name = if kind == Kind::Client { "relay" } else { "broker" };
    let text = format!(
        "{} for {uptime}, process {}, port {}, version {}",
        out.style.paint("running", Paint::Good),
        status.pid,
        status.port,
        escape(&status.version)
    );
    (name, text)
}

/// How many of everything there are in the mesh.
fn counted(out: &Out, status: &api::Status) -> Vec<Fact> {
    let mut lines = vec![
        ("peers", format!("{} active, {} stale", status.peers.active, status.peers.stale)),
        (
            "messages",
            format!(
                "{} kept, {} undelivered, {} unread",
                status.messages.total, status.messages.undelivered, status.messages.unread
            ),
        ),
        ("locks", format!("{} held", status.locks.active)),
        ("state", count(status.state.entries, "entry", "entries")),
        ("events", format!("{} kept", status.events.total)),
        ("push", count(status.push.connected, "connection", "connections")),
        (
            "database",
            format!(
                "{}, and {} in its journal",
                size(status.db.size_bytes),
                size(status.db.wal_size_bytes)
            ),
        ),
    ];
    for damped in &status.damped {
        let from = damped.from_name.as_deref().unwrap_or("everybody");
        let text = format!("{} to {}: told together", escape(from), escape(&damped.to_name));
        lines.push(("damped", out.style.paint(&text, Paint::Warn).into_owned()));
    }
    let full = status.db.full.map(|full| full_text(full).to_owned());
    let recovered = status.db.recovery.as_ref().map(|recovery| recovered_text(out, recovery));
    for text in full.into_iter().chain(recovered) {
        lines.push(("note", out.style.paint(&text, Paint::Warn).into_owned()));
    }
    lines
}

/// The part of this machine in a mesh of several, and the state of its connection to the others.
pub(super) struct Standing {
    /// The role of the process that serves the data directory.
    pub(super) kind: Kind,
    /// The role that it should have by the variables and by what is stored, or why that is unknown.
    pub(super) asked: std::result::Result<Resolved, String>,
    /// What the process that serves says about machines, unless it serves only this one.
    pub(super) machines: Option<MachinesReply>,
}

impl Standing {
    pub(super) fn of(config: &Config, client: &mut Client) -> Self {
        let kind = serving_as(&config.paths).ok().flatten().unwrap_or(Kind::Broker);
        let asked = role::of(config).map_err(|error| error.to_string());
        // Older versions cannot say, and others are refused: then nothing is told.
        let machines = match kind {
            Kind::Broker => None,
            Kind::Hub | Kind::Client => client.call(&Request::ListMachines).ok(),
        };
        Self { kind, asked, machines }
    }

    /// Whether something is known without asking the hub.
    fn is_known(&self) -> bool {
        self.machines.is_some()
    }

    /// How the role of the process that serves differs from the one it should have.
    pub(super) fn conflict(&self) -> Option<String> {
        match &self.asked {
            Err(why) => Some(why.clone()),
            Ok(Resolved { role, source }) if role.kind() != self.kind => Some(format!(
                "what runs serves as {}, and by {source} it should as {}: `slm-mesh stop` lets the \
                 next one start so",
                self.kind.as_str(),
                role.kind().as_str()
            )),
            Ok(_) => None,
        }
    }

    fn lines(&self, out: &Out, config: &Config) -> Vec<Fact> {
        let mut lines = Vec::new();
        if let Ok(Resolved { role, source }) = &self.asked {
            lines.push(("role", format!("{} ({source})", role_words(role))));
            let (host, host_source) = self.host_of(config, role, *source);
            // The source of the role is mostly also the source of the address.
            if host_source != *source {
                lines.push(("host", format!("{} ({host_source})", escape(&host))));
            } else if *role != Role::Broker {
                lines.push(("host", escape(&host).into_owned()));
            }
            if let Some(secret) = secret_words(config, role) {
                lines.push(("secret", secret));
            }
        }
        if let Some(hub) = self.machines.as_ref().and_then(|reply| reply.hub.as_ref()) {
            lines.push(("hub", way_to_hub(out, hub)));
            lines.push(("", format!("this machine {}", in_mesh_of(hub))));
        } else if let Some(reply) = &self.machines {
            lines.push(("machines", joined_words(reply)));
        }
        if let Some(text) = self.conflict() {
            lines.push(("note", out.style.paint(&escape(&text), Paint::Warn).into_owned()));
        }
        lines
    }

    /// Where a hub listens, where a client's hub is or where a broker serves, and the source of that
    /// setting. What a running hub says goes first: it may have been started with other settings.
    fn host_of(&self, config: &Config, role: &Role, source: Source) -> (String, Source) {
        match role {
            Role::Broker if config.host == std::net::Ipv4Addr::LOCALHOST => {
                (config.host.to_string(), Source::Default)
            }
            Role::Broker => (config.host.to_string(), Source::Variable(HOST)),
            Role::Hub { listen } => {
                let runs = self.machines.as_ref().and_then(|reply| reply.listen.as_ref());
                let runs = runs.and_then(|address| address.parse().ok());
                let at = runs.unwrap_or_else(|| SocketAddr::new(*listen, config.ws_port));
                let port = at.port();
                if at.ip().is_unspecified() {
                    (format!("all addresses of this machine, port {port}"), source)
                } else {
                    (format!("{}, port {port}", at.ip()), source)
                }
            }
            Role::Relay { addresses, .. } if addresses.is_empty() => {
                ("the hub that is seen in the network".to_owned(), source)
            }
            Role::Relay { addresses, .. } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                (addresses.join(", "), source)
            }
        }
    }

    /// The broker's `answer` with what is known here. Without an answer it says that the hub gave none.
    fn document(&self, answer: Option<Map<String, Value>>, config: &Config, dir: &str) -> Value {
        let mut document = answer.unwrap_or_else(|| {
            let problem =
                self.machines.as_ref().and_then(|reply| reply.hub.as_ref()?.problem.as_ref());
            let mut failed = Map::new();
            failed.insert("ok".into(), json!(false));
            failed.insert("error".into(), json!(problem));
            failed.insert("code".into(), json!(Code::HubUnreachable.as_str()));
            failed
        });
        document.insert("dataDir".into(), json!(dir));
        document.insert("servesAs".into(), json!(self.kind.as_str()));
        if let Ok(Resolved { role, source }) = &self.asked {
            let (host, host_source) = self.host_of(config, role, *source);
            let secret = config.shared_secret.as_ref().map(|_| SHARED_SECRET);
            document.insert(
                "settings".into(),
                json!({
                    "role": role.kind().as_str(), "roleFrom": source.to_string(),
                    "host": host, "hostFrom": host_source.to_string(),
                    "secretFrom": secret,
                }),
            );
        }
        if let Some(reply) = &self.machines {
            document.insert("machines".into(), json!(reply.machines));
            if let Some(hub) = &reply.hub {
                document.insert("hub".into(), json!(hub));
            }
        }
        if let Some(conflict) = self.conflict() {
            document.insert("conflict".into(), json!(conflict));
        }
        document.into()
    }
}

/// A role in words.
pub(super) fn role_words(role: &Role) -> &'static str {
    match role {
        Role::Broker => "the broker of this machine alone",
        Role::Hub { .. } => "the hub of several machines",
        Role::Relay { .. } => "a client of another machine's hub",
    }
}

fn secret_words(config: &Config, role: &Role) -> Option<String> {
    match (&config.shared_secret, role) {
        (Some(_), _) => Some(format!("set ({SHARED_SECRET})")),
        (None, Role::Hub { .. }) => {
            Some("none: machines come by `slm-mesh invite` (default)".to_owned())
        }
        (None, _) => None,
    }
}

/// How many machines have joined, and how many of them are connected.
pub(super) fn joined_words(reply: &MachinesReply) -> String {
    match reply.machines.len() {
        0 => "none has joined yet".to_owned(),
        joined => {
            let connected = reply.machines.iter().filter(|machine| machine.connected).count();
            format!("{joined} joined, {connected} connected")
        }
    }
}

/// What is full, and what that means.
pub(super) fn full_text(full: Full) -> &'static str {
    match full {
        Full::Disk => "the disk is full: nothing can be sent or set",
        Full::Limit => "the database is as large as it may be: nothing can be sent or set",
    }
}

/// What became of a database that could not be used.
pub(super) fn recovered_text(out: &Out, recovery: &Recovery) -> String {
    let Recovery { moved_to, reason, at, rows_copied, rows_skipped } = recovery;
    if recovery.is_of_npm() {
        let entries = count(*rows_copied, "state entry", "state entries");
        let left_out = match rows_skipped {
            0 => String::new(),
            left_out => format!(", {left_out} left out that cannot be set here"),
        };
        return format!(
            "{}, the database of npm's slm-mesh that was there was moved to {}; {entries} of it \
             taken over{left_out}",
            out.age(*at),
            out.path(moved_to),
        );
    }
    format!(
        "{}, the database that was there could not be used ({}) and is now {}; {} of it could be \
         saved, {} could not be read",
        out.age(*at),
        escape(reason),
        out.path(moved_to),
        count(*rows_copied, "row", "rows"),
        rows_skipped,
    )
}
