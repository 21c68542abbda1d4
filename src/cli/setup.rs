//! `slm-mesh setup`

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use imara_diff::{Algorithm, BasicLineDiffPrinter, Diff, InternedInput, UnifiedDiffConfig};
use serde::Serialize;

use super::out::{Out, Paint};
use super::text::{count, escape, escape_lines};
use super::{Context, Exit, Failure, Result, SetUp};
use crate::platform;
use crate::setup::agents::{AGENTS, Agent, Place, is_program};
use crate::setup::plan::is_ours;
use crate::setup::record::Record;
use crate::setup::work::{Action, AgentPlan, FilePlan, Setup};

/// Lines around a change that are shown with it.
const CONTEXT_LINES: u32 = 2;
/// Most of an answer that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 64;

pub(super) fn run(context: &mut Context, wanted: &SetUp) -> Result<Exit> {
    let mut setup = open(context, wanted.project)?;
    let agents = chosen(&setup, wanted)?;
    let mut plans = Vec::new();
    for agent in agents {
        let plan = if wanted.uninstall {
            setup.uninstall(agent)
        } else {
            setup.install(agent, wanted.hooks)
        };
        plans.extend(plan);
    }
    let out = &mut context.out;
    let changes = plans.iter().flat_map(AgentPlan::changes).count();
    let refused = plans.iter().flat_map(AgentPlan::refusals).count();
    let write = changes > 0 && !wanted.dry_run;
    if !out.json {
        show(out, &plans, &setup, wanted)?;
    }
    if write && !wanted.yes && !asked(out, changes)? {
        return Err(Failure::other("not_confirmed", "nothing was changed"));
    }
    let mut failures = Vec::new();
    if write || (wanted.uninstall && !wanted.dry_run) {
        let _turn = setup.take_turn().map_err(|why| Failure::other("setup_record", why))?;
        let files = plans.iter().flat_map(|plan| plan.files.iter().flatten());
        for file in files {
            if let Err(why) = setup.apply(file, wanted.uninstall) {
                failures.push((file.path.clone(), why));
            }
        }
        setup.remove_empty_dirs();
    }
    report(out, &plans, &setup, wanted, &failures)?;
    if write && !wanted.uninstall {
        tell_of_data_dir(context.config.paths.dir());
    }
    Ok(if refused + failures.len() > 0 { Exit::Failed } else { Exit::Done })
}

/// Agents start the program with their own environment, in which another data directory is not
/// known. It does not go into their files, since several agents would have to agree on it.
fn tell_of_data_dir(dir: &Path) {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".slm-mesh"));
    if home.is_some_and(|home| home.as_path() != dir) {
        super::out::note(&format!(
            "agents use {} only if {}={0} stands in the environment that they are started in",
            dir.display(),
            crate::config::DATA_DIR,
        ));
    }
}

/// The work to be done from here.
pub(super) fn open(context: &Context, project: bool) -> Result<Setup> {
    let here = if project {
        let here = std::env::current_dir().map_err(|error| {
            Failure::other("no_directory", format!("the working directory cannot be read: {error}"))
        })?;
        Some(here)
    } else {
        None
    };
    let place = Place::new(|name| std::env::var_os(name), here).map_err(|name| {
        Failure::usage(format!(
            "{name} is not set to an absolute path; without it there is nothing to find"
        ))
    })?;
    let record = Record::load(context.config.paths.setup())
        .map_err(|why| Failure::other("setup_record", why))?;
    Ok(Setup { place, program: own_program()?, record, dirs: Vec::new() })
}

/// The path by which agents are to start this program: that on `PATH` if it is this one, for it
/// outlives an update, else where it lies.
fn own_program() -> Result<String> {
    let failed = |why: String| Failure::other("own_path", why);
    let own = std::env::current_exe()
        .map_err(|error| failed(format!("the path of this program cannot be read: {error}")))?;
    let real = own.canonicalize().map_err(|error| {
        let own = own.display();
        failed(format!("{own} is not there any more ({error}); run the one that replaced it"))
    })?;
    let search = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&search)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(crate::setup::ENTRY))
        .find(|path| is_program(path))
        .filter(|path| path.canonicalize().is_ok_and(|path| path == real));
    let program = on_path.unwrap_or(real);
    let text = program.to_str().filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| {
        failed(format!("{} is a path that agents cannot be told; move it", program.display()))
    })?;
    if !is_ours(text) {
        return Err(failed(format!("{text} must be called slm-mesh to be found again; rename it")));
    }
    Ok(text.to_owned())
}

fn chosen(setup: &Setup, wanted: &SetUp) -> Result<Vec<&'static Agent>> {
    let has_files = |agent: &&'static Agent| agent.targets(&setup.place, false).is_some();
    if wanted.agents.is_empty() {
        let is_meant = |agent: &&'static Agent| {
            if wanted.uninstall {
                setup.is_known_to(agent)
            } else {
                agent.sign(&setup.place).is_some()
            }
        };
        let found: Vec<_> = AGENTS.iter().filter(is_meant).filter(has_files).collect();
        if found.is_empty() && !wanted.uninstall {
            let known: Vec<_> = AGENTS.iter().filter(has_files).map(|agent| agent.name).collect();
            return Err(Failure::other(
                "no_agents",
                format!(
                    "no agent was found here; name one to set it up all the same: {}",
                    known.join(", ")
                ),
            ));
        }
        return Ok(found);
    }
    let named: Vec<_> = AGENTS.iter().filter(|a| wanted.agents.contains(&a.name)).collect();
    match named.iter().find(|agent| !has_files(agent)) {
        Some(agent) => Err(Failure::other(
            "no_project_files",
            format!("{} reads no such file in a project; leave out --project", agent.title),
        )),
        None => Ok(named),
    }
}

// --- What is to happen --------------------------------------------------------------------------

fn show(out: &mut Out, plans: &[AgentPlan], setup: &Setup, wanted: &SetUp) -> io::Result<()> {
    for plan in plans {
        let title = out.style.paint(plan.agent.title, Paint::Bold).into_owned();
        let sign = match &plan.sign {
            Some(sign) => format!("found by {}", shown(out, sign)),
            None => "not found here".into(),
        };
        let sign = out.style.paint(&sign, Paint::Dim).into_owned();
        writeln!(out, "{title}  {sign}")?;
        let has_changes = plan.changes().next().is_some();
        for file in plan.files.iter().flatten() {
            if file.action != Action::Keep {
                diff(out, file)?;
            }
            if let Some(note) = &file.note {
                writeln!(out, "  {}: {note}", shown(out, &file.path))?;
            }
        }
        for (path, why) in plan.refusals() {
            let text = format!("{}: {}", shown(out, path), escape(why));
            writeln!(out, "  {}", out.style.paint(&text, Paint::Warn))?;
        }
        if !has_changes && plan.refusals().next().is_none() {
            let done = if wanted.uninstall { "nothing of ours here" } else { "set up already" };
            writeln!(out, "  {}", out.style.paint(done, Paint::Good))?;
        }
        if wanted.hooks && !plan.agent.has_hooks(&setup.place) {
            writeln!(out, "  it has no hooks")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn diff(out: &mut Out, file: &FilePlan) -> io::Result<()> {
    let path = shown(out, &file.path);
    // Texts of our own that come or go as a whole say nothing new.
    if file.action == Action::Remove || file.is_command() {
        let what = format!("{} {path}", file.action.as_str());
        return writeln!(out, "{}", out.style.paint(&what, Paint::Bold));
    }
    let from = if file.action == Action::Create { "/dev/null" } else { &path };
    for line in unified(file, from, &path).lines() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let paint = match line.as_bytes().first() {
            _ if line.starts_with("--- ") || line.starts_with("+++ ") => Paint::Bold,
            Some(b'+') => Paint::Good,
            Some(b'-') => Paint::Warn,
            Some(b'@') => Paint::Dim,
            _ => Paint::Plain,
        };
        let line = escape_lines(line);
        writeln!(out, "{}", out.style.paint(&line, paint))?;
    }
    Ok(())
}

fn unified(file: &FilePlan, from: &str, to: &str) -> String {
    let input = InternedInput::new(file.before.as_str(), file.after.as_str());
    let mut diff = Diff::compute(Algorithm::Myers, &input);
    diff.postprocess_lines(&input);
    let mut config = UnifiedDiffConfig::default();
    config.context_len(CONTEXT_LINES);
    let printer = BasicLineDiffPrinter(&input.interner);
    format!("--- {from}\n+++ {to}\n{}", diff.unified_diff(&printer, config, &input))
}

fn shown(out: &Out, path: &Path) -> String {
    out.path(&path.to_string_lossy())
}

/// Whether the person agrees.
fn asked(out: &mut Out, changes: usize) -> Result<bool> {
    if out.json || !out.is_terminal || !platform::stdin_is_terminal() {
        out.flush()?;
        return Err(Failure::other(
            "not_confirmed",
            "this changes files of agents, and there is no terminal to ask on: look with \
             --dry-run, then repeat with --yes",
        ));
    }
    let files = count(u64::try_from(changes).unwrap_or(u64::MAX), "file", "files");
    write!(out, "Write {files}? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}

// --- What has happened --------------------------------------------------------------------------

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    ok: bool,
    dry_run: bool,
    /// Whether files have been changed.
    changed: bool,
    program: &'a str,
    agents: Vec<AgentDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentDocument<'a> {
    agent: &'a str,
    found: Option<&'a Path>,
    files: Vec<FileDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileDocument<'a> {
    path: &'a Path,
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

fn report(
    out: &mut Out,
    plans: &[AgentPlan],
    setup: &Setup,
    wanted: &SetUp,
    failures: &[(PathBuf, String)],
) -> Result<()> {
    if out.json {
        let document = document(plans, setup, wanted, failures);
        let json = serde_json::to_vec(&document).map_err(io::Error::from)?;
        return Ok(out.document(&json)?);
    }
    for (path, why) in failures {
        super::out::note(&format!("{}: {}", shown(out, path), escape(why)));
    }
    let changes = plans.iter().flat_map(AgentPlan::changes).count();
    let done = changes.saturating_sub(failures.len());
    let files = count(u64::try_from(done).unwrap_or(u64::MAX), "file", "files");
    if changes == 0 {
        let nothing = if wanted.uninstall && plans.is_empty() {
            "No agent has anything of slm-mesh."
        } else {
            "There is nothing to change."
        };
        writeln!(out, "{nothing}")?;
    } else if wanted.dry_run {
        writeln!(out, "Nothing was written: that is what --dry-run asks for.")?;
    } else if done > 0 && wanted.uninstall {
        writeln!(out, "{files} put back or removed.")?;
    } else if done > 0 {
        writeln!(out, "{files} written.")?;
        for plan in plans.iter().filter(|plan| plan.changes().next().is_some()) {
            writeln!(out, "{}: {}.", plan.agent.title, plan.agent.after)?;
        }
        if !wanted.hooks && plans.iter().any(|plan| plan.agent.has_hooks(&setup.place)) {
            writeln!(
                out,
                "With --hooks, agents are told of messages while they work, and of locked files \
                 before they edit them."
            )?;
        }
    }
    let is_built =
        setup.program.contains("/target/debug/") || setup.program.contains("/target/release/");
    if done > 0 && !wanted.uninstall && !wanted.dry_run && is_built {
        super::out::note(&format!(
            "{} lies in a build folder; if that goes, agents no longer find it",
            setup.program
        ));
    }
    Ok(())
}

fn document<'a>(
    plans: &'a [AgentPlan],
    setup: &'a Setup,
    wanted: &SetUp,
    failures: &'a [(PathBuf, String)],
) -> Document<'a> {
    let failure = |path: &Path| {
        failures.iter().find(|(failed, _)| failed == path).map(|(_, why)| why.as_str())
    };
    let file = |file: &'a std::result::Result<FilePlan, (PathBuf, String)>| match file {
        Ok(file) => {
            let path = file.path.to_string_lossy();
            FileDocument {
                path: &file.path,
                action: file.action.as_str(),
                diff: (file.action != Action::Keep).then(|| unified(file, &path, &path)),
                note: file.note.as_deref(),
                error: failure(&file.path),
            }
        }
        Err((path, why)) => {
            FileDocument { path, action: "refused", diff: None, note: None, error: Some(why) }
        }
    };
    let agents: Vec<_> = plans
        .iter()
        .map(|plan| AgentDocument {
            agent: plan.agent.name,
            found: plan.sign.as_deref(),
            files: plan.files.iter().map(file).collect(),
        })
        .collect();
    let changes = plans.iter().flat_map(AgentPlan::changes).count();
    let refused = plans.iter().flat_map(AgentPlan::refusals).count();
    Document {
        ok: refused == 0 && failures.is_empty(),
        dry_run: wanted.dry_run,
        changed: !wanted.dry_run && changes > failures.len(),
        program: &setup.program,
        agents,
    }
}
