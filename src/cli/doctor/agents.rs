//! Checks the settings of agents and what the broker has heard from them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Report;
use super::versions;
use crate::agents::{self, Agent};
use crate::api::AgentInfo;
use crate::cli::Failure;
use crate::cli::command::Context;
use crate::cli::setup;
use crate::cli::text::escape;
use crate::model::Timestamp;
use crate::platform::is_program;
use crate::setup::plan::{Found, Program, is_ours};
use crate::setup::standing;
use crate::setup::targets::Part;
use crate::setup::work::{Seen, Setup};

const CHECK: &str = "agent";
/// Most missing hooks that are named; of more, only the number is given.
const MISSING_NAMED_MAX: usize = 3;

pub(super) fn check(report: &mut Report, context: &Context, heard: &[AgentInfo]) {
    let setup = match setup::open(context, false) {
        Ok(setup) => setup,
        Err(error) => {
            let why = match error {
                Failure::Other { message, .. } => message,
                Failure::Usage(error) => error.message,
                _ => "the settings of agents cannot be looked at".into(),
            };
            return report.bad(CHECK, why, "then run doctor again");
        }
    };
    let place = &setup.place;
    let looked: Vec<_> = agents::with_settings().map(|agent| (agent, setup.look(agent))).collect();
    let is_here = |agent: &Agent, seen: &[Seen]| {
        agent.sign(place).is_some() || seen.iter().any(|seen| seen.look.found != Found::Absent)
    };
    let here = looked.into_iter().filter(|(agent, seen)| match seen {
        Ok(seen) => is_here(agent, seen),
        Err(_) => true,
    });
    let here: Vec<_> = here.collect();
    let programs = here.iter().filter(|(agent, _)| agent.settings.tells_version);
    let programs = programs.filter_map(|(agent, _)| Some((agent.name, agent.program(place)?)));
    let versions = versions::ask(programs.collect());
    for (agent, seen) in &here {
        match seen {
            Ok(seen) => {
                one(report, context, &setup, agent, seen, &versions);
                let hooks = |seen: &Seen| matches!(seen.part, Part::Hooks { .. });
                let has = |seen: &Seen| seen.look.found != Found::Absent;
                let hooked = seen.iter().any(|seen| hooks(seen) && has(seen))
                    || agent.plugin(place).is_some();
                let info = heard.iter().find(|info| *info.agent_type == *agent.agent_type);
                if let Some(info) = info {
                    self::heard(report, context, agent, info, hooked);
                }
            }
            Err((path, why)) => {
                let path = context.out.path(&path.to_string_lossy());
                report.bad(CHECK, format!("{}: {path}: {why}", agent.title), "mend that file");
            }
        }
    }
    if here.is_empty() {
        report.note(CHECK, "none is found here", "name one: slm-mesh setup <agent>");
    }
}

/// The report on one agent.
struct AgentReport<'a> {
    report: &'a mut Report,
    context: &'a Context,
    agent: &'static Agent,
    /// Its version, or why that is unknown; reported once.
    version: Option<String>,
}

impl AgentReport<'_> {
    fn path(&self, path: &Path) -> String {
        self.context.out.path(&path.to_string_lossy())
    }

    /// What mends most.
    fn again(&self, more: &str) -> String {
        format!("run `slm-mesh setup {}{more}`", self.agent.name)
    }

    fn line(&mut self, text: &str) -> String {
        let version = self.version.take().map(|version| format!(" {version}"));
        format!("{}{}: {text}", self.agent.title, version.unwrap_or_default())
    }

    fn ok(&mut self, text: &str) {
        let line = self.line(text);
        self.report.ok(CHECK, line);
    }

    fn note(&mut self, text: &str, todo: String) {
        let line = self.line(text);
        self.report.note(CHECK, line, todo);
    }

    fn bad(&mut self, text: &str, todo: String) {
        let line = self.line(text);
        self.report.bad(CHECK, line, todo);
    }
}

fn one(
    report: &mut Report,
    context: &Context,
    setup: &Setup,
    agent: &'static Agent,
    seen: &[Seen],
    versions: &HashMap<&str, Option<String>>,
) {
    let name = agent.name;
    let version = match versions.get(name) {
        Some(Some(version)) => Some(version.clone()),
        Some(None) => Some("(version unknown)".into()),
        None if agent.settings.tells_version => Some("(not on PATH)".into()),
        None => None,
    };
    let mut tell = AgentReport { report, context, agent, version };
    let is_ours = |seen: &&Seen| {
        seen.look.found != Found::Absent && !matches!(seen.part, Part::Allow | Part::Setting(_))
    };
    let own = seen.iter().filter(is_ours).count();
    if let Some(plugin) = agent.plugin(&setup.place) {
        let path = tell.path(&plugin);
        tell.ok(&format!("its plugin is on in {path}"));
        if setup.is_beside_plugin(agent) {
            tell.bad(
                "has both the plugin and what setup put in, so all is there twice",
                format!("run `slm-mesh setup {name} --uninstall`, or take the plugin out"),
            );
        }
        for seen in seen.iter().filter(|seen| matches!(seen.part, Part::Script(_))) {
            script(&mut tell, seen);
        }
    } else if own == 0 {
        tell.note("not set up", format!("run `slm-mesh setup {name}`"));
        return;
    } else {
        for seen in seen {
            match seen.part {
                Part::Server(_) => server(&mut tell, setup, seen),
                Part::Hooks { events, .. } => hooks(&mut tell, seen, events.len()),
                Part::Script(_) => script(&mut tell, seen),
                Part::Allow | Part::Setting(_) | Part::Skill(_) => {}
            }
        }
    }
    for seen in seen.iter().filter(|seen| matches!(seen.part, Part::Allow)) {
        match seen.look.found {
            Found::Absent => tell.note(
                "asks its user before each use of a mesh tool",
                format!("to let it use all eight: `slm-mesh setup {name} --allow`"),
            ),
            _ => tell.ok("may use the tools without asking"),
        }
    }
    let here = std::env::current_dir().unwrap_or_default();
    for obstacle in standing::obstacles(agent, &setup.place, &here) {
        let path = tell.path(&obstacle.path);
        tell.bad(&format!("{} ({path})", obstacle.what), obstacle.todo);
    }
}

/// How long before its server is heard a session may have run its first hook.
const FIRST_HOOK_MS_MAX: i64 = 60_000;

/// What the broker has heard from its sessions, and how waking them went.
fn heard(
    report: &mut Report,
    context: &Context,
    agent: &'static Agent,
    info: &AgentInfo,
    hooked: bool,
) {
    let mut tell = AgentReport { report, context, agent, version: None };
    let age = |then: Timestamp| context.out.age(then);
    let first = info.registered_at.map(|then| then.0.saturating_sub(FIRST_HOOK_MS_MAX));
    match (info.hook_at, info.registered_at) {
        (Some(hook), _) if first.is_none_or(|first| hook.0 >= first) => {
            let moment = info.hook_moment.map(|moment| format!(" ({})", moment.as_str()));
            tell.ok(&format!("hooks heard {}{}", age(hook), moment.unwrap_or_default()));
        }
        (_, Some(registered)) if hooked => tell.bad(
            &format!("no hook was heard in its last session, begun {}", age(registered)),
            "restart it, if it is older than its hooks; else look whether it runs them (/hooks)"
                .into(),
        ),
        _ => {}
    }
    let Some(wake) = info.wake_at else { return };
    let by = info.wake_by.map(|way| format!(" by {}", way.as_str())).unwrap_or_default();
    let text = format!("last woken {}{by}", age(wake));
    match info.wake_status.as_deref() {
        None => tell.ok(&text),
        Some(status @ ("notified" | "sent")) => tell.ok(&format!("{text}: {status}")),
        Some("held") => tell.note(
            &format!("{text}: held, its user has to allow the message"),
            "look at that session, and allow messages of other sessions there".into(),
        ),
        Some(status) => tell.note(
            &format!("{text}: {}", escape(status)),
            "what is sent to it waits for its next turn; its MCP log says more".into(),
        ),
    }
}

fn server(tell: &mut AgentReport, setup: &Setup, seen: &Seen) {
    let path = tell.path(&seen.path);
    let command = seen.look.command.as_deref().unwrap_or_default();
    let again = tell.again("");
    match seen.look.found {
        Found::Absent => tell.bad(&format!("no entry in {path}"), again),
        _ if !is_same(command, &setup.program) => {
            let what = if command.is_empty() {
                "the entry slm-mesh starts no program".into()
            } else if !is_ours(command) {
                format!("the entry slm-mesh starts something else, {command}")
            } else if resolve(command).is_none() {
                format!("{command} is not there")
            } else {
                format!("starts {command}, not {} as it should", setup.program.path)
            };
            tell.bad(&format!("{what} ({path})"), again);
        }
        _ if seen.look.is_off => {
            let what = format!("its entry is switched off in {path}");
            tell.bad(&what, "set `enabled` to true there, or `disabled` to false".into());
        }
        _ if !setup.program.is_dir(seen.look.data_dir.as_deref()) => {
            let dir = seen.look.data_dir.as_deref();
            let dir = dir.map_or("~/.slm-mesh".into(), |dir| tell.path(Path::new(dir)));
            tell.bad(&format!("uses another mesh, that in {dir} ({path})"), again);
        }
        _ => tell.ok(&format!("set up in {path}")),
    }
}

fn hooks(tell: &mut AgentReport, seen: &Seen, all: usize) {
    let path = tell.path(&seen.path);
    let missing = &seen.look.missing;
    let again = tell.again("");
    match seen.look.found {
        Found::Current => tell.ok(&format!("all {all} hooks in {path}")),
        Found::Absent => {
            tell.note("no hooks: it is not told while it works, nor kept from locked files", again);
        }
        Found::Other if !missing.is_empty() => {
            let some = missing.len();
            let named = if some > MISSING_NAMED_MAX { String::new() } else { missing.join(", ") };
            let named = if named.is_empty() { named } else { format!(": {named}") };
            tell.bad(&format!("{some} of {all} hooks are missing in {path}{named}"), again);
        }
        Found::Other => {
            let command = seen.look.command.as_deref().unwrap_or_default();
            let what =
                format!("hooks in {path} are of another program, mesh or version: {command}");
            tell.bad(&what, again);
        }
    }
}

fn script(tell: &mut AgentReport, seen: &Seen) {
    let path = tell.path(&seen.path);
    let wake = tell.agent.has_wake();
    let again = tell.again(if wake { " --wake" } else { "" });
    match seen.look.found {
        Found::Current => tell.ok(&format!("its plugin is {path}")),
        Found::Absent if wake => tell.note("an idle session is not woken", again),
        Found::Absent => tell.note("no plugin: an idle session is not woken", again),
        Found::Other => tell.bad(&format!("{path} is another version"), again),
    }
}

/// Whether both start the same file.
fn is_same(command: &str, program: &Program) -> bool {
    is_ours(command) && resolve(command).is_some_and(|path| Some(path) == resolve(&program.path))
}

/// The file that a command starts, assuming the same `PATH`.
fn resolve(command: &str) -> Option<PathBuf> {
    let path = Path::new(command);
    if path.is_absolute() {
        return path.canonicalize().ok().filter(|path| is_program(path));
    }
    let search = std::env::var_os("PATH").filter(|_| !command.contains('/'))?;
    let found = std::env::split_paths(&search).map(|dir| dir.join(command)).find(|p| is_program(p));
    found?.canonicalize().ok()
}
