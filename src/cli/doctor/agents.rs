//! Whether the agents here know this program.

use std::path::{Path, PathBuf};

use super::Report;
use crate::cli::setup;
use crate::cli::{Context, Failure};
use crate::setup::agents::{AGENTS, Agent, is_program};
use crate::setup::plan::{Found, is_ours};
use crate::setup::work::{Seen, Setup};

const CHECK: &str = "agent";

pub(super) fn check(report: &mut Report, context: &Context) {
    let setup = match setup::open(context, false) {
        Ok(setup) => setup,
        Err(error) => {
            let why = match error {
                Failure::Other { message, .. } => message,
                Failure::Usage(error) => error.message,
                _ => "the settings of agents cannot be looked at".into(),
            };
            report.bad(CHECK, why, "then run doctor again");
            return;
        }
    };
    let mut found = 0;
    for agent in AGENTS {
        let is_here = agent.sign(&setup.place).is_some();
        match setup.look(agent) {
            Ok(seen) if is_here || seen.iter().any(|seen| seen.found != Found::Absent) => {
                found += 1;
                for seen in &seen {
                    one(report, context, &setup, agent, seen);
                }
            }
            Ok(_) => {}
            Err((path, why)) => {
                found += 1;
                let path = context.out.path(&path.to_string_lossy());
                report.bad(CHECK, format!("{}: {path}: {why}", agent.title), "mend that file");
            }
        }
    }
    if found == 0 {
        report.note(CHECK, "none is found here", "name one: slm-mesh setup <agent>");
    }
}

fn one(report: &mut Report, context: &Context, setup: &Setup, agent: &Agent, seen: &Seen) {
    let path = context.out.path(&seen.path.to_string_lossy());
    let (title, name) = (agent.title, agent.name);
    let command = seen.command.as_deref().unwrap_or_default();
    match (seen.hooks, seen.found) {
        (false, Found::Current) => report.ok(CHECK, format!("{title}: set up in {path}")),
        (true, Found::Current) => report.ok(CHECK, format!("{title}: hooks in {path}")),
        (false, Found::Absent) => {
            report.note(
                CHECK,
                format!("{title}: not set up"),
                format!("run `slm-mesh setup {name}`"),
            );
        }
        (true, Found::Absent) => report.note(
            CHECK,
            format!("{title}: no hooks"),
            format!("for messages in the middle of its work: `slm-mesh setup {name} --hooks`"),
        ),
        (false, Found::Other) if is_same(command, &setup.program) => {
            report.ok(CHECK, format!("{title}: set up in {path}, as `{command}`"));
        }
        (false, Found::Other) => {
            let what = if command.is_empty() {
                "the entry slm-mesh starts no program".into()
            } else if !is_ours(command) {
                format!("the entry slm-mesh starts something else, {command}")
            } else if resolve(command).is_none() {
                format!("{command} is not there")
            } else {
                format!("starts {command}, not {} as it should", setup.program)
            };
            let todo = format!("run `slm-mesh setup {name}`");
            report.bad(CHECK, format!("{title}: {what} ({path})"), todo);
        }
        (true, Found::Other) => report.bad(
            CHECK,
            format!("{title}: hooks in {path} are of another program or version: {command}"),
            format!("run `slm-mesh setup {name} --hooks`"),
        ),
    }
}

/// Whether both start the same file.
fn is_same(command: &str, program: &str) -> bool {
    is_ours(command) && resolve(command).is_some_and(|path| Some(path) == resolve(program))
}

/// The file that a command starts, as far as `PATH` is the same there.
fn resolve(command: &str) -> Option<PathBuf> {
    let path = Path::new(command);
    if path.is_absolute() {
        return path.canonicalize().ok().filter(|path| is_program(path));
    }
    let search = std::env::var_os("PATH").filter(|_| !command.contains('/'))?;
    let found = std::env::split_paths(&search).map(|dir| dir.join(command)).find(|p| is_program(p));
    found?.canonicalize().ok()
}
