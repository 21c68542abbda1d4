//! `slm-mesh setup`

use std::path::{Path, PathBuf};

use imara_diff::{Algorithm, BasicLineDiffPrinter, Diff, InternedInput, UnifiedDiffConfig};
use serde::Serialize;

use super::ask::{agrees, answer, can_ask, is_yes};
use super::command::{Command, Context, Entry, Group, Task};
use super::out::{Out, Paint};
use super::text::{count, escape, escape_lines, wrap};
use super::words::{self, Words};
use super::{Failure, Result, place, suggest};
use crate::agents::{self, Agent, Place};
use crate::platform::is_program;
use crate::setup::plan::{Found, Program, is_ours};
use crate::setup::record::Record;
use crate::setup::targets::{Extras, Part};
use crate::setup::work::{Action, AgentPlan, FilePlan, Setup};

/// Lines shown before and after a change.
const CONTEXT_LINES: u32 = 2;

pub(super) const ENTRY: Entry = Entry {
    name: "setup",
    group: Group::Agents,
    summary: "set up the agents on this machine for slm-mesh",
    usage: &[
        "setup [agent...] [--no-hooks] [--wake] [--allow] [--project] [--diff] [--yes]",
        "setup [agent...] --dry-run [--diff] [...]",
        "setup [agent...] --uninstall [--project] [--dry-run] [--diff] [--yes]",
    ],
    about: &[
        "Adds the entry for this program to the settings of each agent, hooks or a plugin so that \
         it is told of messages while it works and kept from editing locked files, and skills. \
         Without an agent, those that are found here. Says what goes into each file and asks; \
         everything else in the files stays as it is, and a copy of what they were is kept in the data \
         directory. Run twice, it changes nothing. Another data directory than ~/.slm-mesh goes \
         into the entries, too.",
        "Agents: claude-code, codex, gemini-cli, opencode, cursor, vscode, windsurf, zed, \
         cline, antigravity, qwen, copilot, kimi, pi.",
        "--uninstall takes out what setup has put in; a file that nobody else has changed is \
         then as it was, byte for byte.",
    ],
    options: &[
        ("--no-hooks", "without hooks and plugins"),
        ("--wake", "with what needs an experimental mode of an agent (copilot)"),
        ("--allow", "let it use the mesh's tools without asking each time (claude-code)"),
        ("--project", "the files of this directory (claude-code, cursor, vscode), not your own"),
        ("--diff", "show the changes line by line"),
        ("--dry-run", "show what would change, and change nothing"),
        ("-y, --yes", "do not ask; does not imply --allow"),
        ("--uninstall", "take it all out again"),
        ("--hooks", "the same as without: hooks are put in"),
    ],
    examples: &[
        ("setup", "all agents that are found"),
        ("setup claude-code codex --allow", ""),
        ("setup --dry-run", "look first"),
        ("setup --uninstall", ""),
    ],
    parse,
};

#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each option that is given or not")]
struct SetUp {
    /// Those that are found if none.
    agents: Vec<&'static str>,
    no_hooks: bool,
    /// What needs an experimental mode of an agent, too.
    wake: bool,
    /// Allow the agent to use the tools without asking.
    allow: bool,
    /// Use the files of this directory instead of the person's own.
    project: bool,
    /// Show the changes line by line.
    diff: bool,
    dry_run: bool,
    /// Do not ask.
    yes: bool,
    uninstall: bool,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let hooks = words.flag("--hooks");
    let mut wanted = SetUp {
        no_hooks: words.flag("--no-hooks"),
        wake: words.flag("--wake"),
        allow: words.flag("--allow"),
        project: words.flag("--project"),
        diff: words.flag("--diff"),
        dry_run: words.flag("--dry-run"),
        yes: words.flag(["-y", "--yes"]),
        uninstall: words.flag("--uninstall"),
        agents: Vec::new(),
    };
    if wanted.uninstall && (hooks || wanted.no_hooks || wanted.wake || wanted.allow) {
        return Err(words.error(
            "`--uninstall` takes out whatever is there; leave out `--hooks`, `--no-hooks`, `--wake` \
             and `--allow`",
        ));
    }
    if hooks && wanted.no_hooks {
        return Err(words.error("`--hooks` and `--no-hooks` exclude each other"));
    }
    if wanted.dry_run && wanted.yes {
        return Err(words.error("`--dry-run` and `--yes` exclude each other"));
    }
    for name in words.texts_left(&["[agent]"; agents::ALL.len()])? {
        let Some(agent) = agents::with_settings().find(|agent| agent.name == name) else {
            let known: Vec<_> = agents::with_settings().map(|agent| agent.name).collect();
            let hint = suggest::hint(&name, known.iter().copied());
            let known = known.join(", ");
            let message = format!("unknown agent {name:?}: it must be one of {known}{hint}");
            return Err(words.error(message));
        };
        wanted.agents.push(agent.name);
    }
    Ok(Task::command(wanted))
}

impl Command for SetUp {
    fn run(&self, context: &mut Context) -> Result<()> {
        if self.uninstall {
            context.check_is_person("to take the mesh out of agents' settings")?;
        }
        let mut setup = open(context, self.project)?;
        let agents = chosen(&setup, self)?;
        let out = &mut context.out;
        let mut extras = Extras { hooks: !self.no_hooks, wake: self.wake, allow: self.allow };
        let plan = |extras: Extras| -> Vec<AgentPlan> {
            let plan = |agent: &&'static Agent| {
                if self.uninstall { setup.uninstall(agent) } else { setup.install(agent, extras) }
            };
            agents.iter().filter_map(plan).collect()
        };
        let mut plans = plan(extras);
        let unasked =
            if self.uninstall || extras.allow { None } else { without_leave(&setup, &plans) };
        let mut is_declined = false;
        if let Some(agent) = unasked.filter(|_| !self.yes && !self.dry_run && can_ask(out)) {
            let question = format!(
                "{} asks you before each use of a mesh tool. Let it use all eight without asking?",
                agent.title
            );
            extras.allow = agrees(out, &question)?;
            is_declined = !extras.allow;
            plans = plan(extras);
        }
        let changes = plans.iter().flat_map(AgentPlan::changes).count();
        let refused = plans.iter().flat_map(AgentPlan::refusals).count();
        let write = changes > 0 && !self.dry_run;
        if !out.json {
            show(out, &plans, &setup, self)?;
        }
        if write && !self.yes {
            if !can_ask(out) {
                out.flush()?;
                return Err(Failure::other(
                    "not_confirmed",
                    "this changes files of agents, and there is no terminal to ask on: look with \
                     --dry-run, then repeat with --yes",
                ));
            }
            if !agreed(out, &plans, changes)? {
                return Err(Failure::other("not_confirmed", "nothing was changed"));
            }
        }
        let mut failures = Vec::new();
        if write || (self.uninstall && !self.dry_run) {
            let _turn = setup.take_turn().map_err(|why| Failure::other("setup_record", why))?;
            for file in plans.iter().flat_map(|plan| plan.files.iter().flatten()) {
                if let Err(why) = setup.apply(file, self.uninstall) {
                    failures.push((file.path.clone(), why));
                }
            }
            setup.remove_empty_dirs();
        }
        report(out, &plans, &setup, self, &failures)?;
        if let Some(agent) = unasked.filter(|_| write && !extras.allow && !is_declined && !out.json)
        {
            writeln!(
                out,
                "{0} asks you before each use of a mesh tool; `slm-mesh setup {1} --allow` lets it use \
                 them.",
                agent.title, agent.name
            )?;
        }
        if refused + failures.len() > 0 { Err(Failure::Reported) } else { Ok(()) }
    }
}

/// The first agent that is set up or changed and is not yet allowed to use the tools unasked.
fn without_leave(setup: &Setup, plans: &[AgentPlan]) -> Option<&'static Agent> {
    let changed = plans.iter().filter(|plan| plan.changes().next().is_some());
    let mut able = changed.map(|plan| plan.agent).filter(|agent| agent.has_leave());
    able.find(|agent| {
        let seen = setup.look(agent).unwrap_or_default();
        seen.iter().any(|seen| matches!(seen.part, Part::Allow) && seen.look.found == Found::Absent)
    })
}

/// Opens what `setup` works on from this directory.
pub(super) fn open(context: &Context, project: bool) -> Result<Setup> {
    let here = if project { Some(place::working_directory()?) } else { None };
    let place = Place::new(|name| std::env::var_os(name), here).map_err(|name| {
        Failure::usage(format!(
            "{name} is not set to an absolute path; without it there is nothing to find"
        ))
    })?;
    let record = Record::load(context.config.paths.setup())
        .map_err(|why| Failure::other("setup_record", why))?;
    Ok(Setup { place, program: program(context)?, record, dirs: Vec::new() })
}

/// The program that agents will start, and its data directory.
fn program(context: &Context) -> Result<Program> {
    let dir = context.config.paths.dir();
    let usual = std::env::var_os("HOME").map(|home| Path::new(&home).join(".slm-mesh"));
    let is_usual_dir = usual.is_some_and(|usual| usual == dir);
    let text = dir.to_str().filter(|text| !text.contains(char::is_control));
    let data_dir = text.ok_or_else(|| {
        let why = format!("{} is a path that agents cannot be told; take another", dir.display());
        Failure::other("own_path", why)
    })?;
    Ok(Program { path: own_program()?, data_dir: data_dir.to_owned(), is_usual_dir })
}

/// The path by which agents will start this program: the one on `PATH` if it is this program, since
/// that outlives an update, else its real path.
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
    let has_files =
        |agent: &&'static Agent| agent.targets(&setup.place, Extras::default()).is_some();
    if wanted.agents.is_empty() {
        let is_meant = |agent: &&'static Agent| {
            if wanted.uninstall {
                setup.is_known_to(agent)
            } else {
                agent.sign(&setup.place).is_some()
            }
        };
        let found: Vec<_> = agents::with_settings().filter(is_meant).filter(has_files).collect();
        if found.is_empty() && !wanted.uninstall {
            let known: Vec<_> =
                agents::with_settings().filter(has_files).map(|agent| agent.name).collect();
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
    let named: Vec<_> =
        agents::with_settings().filter(|a| wanted.agents.contains(&a.name)).collect();
    match named.iter().find(|agent| !has_files(agent)) {
        Some(agent) => Err(Failure::other(
            "no_project_files",
            format!("{} reads no such file in a project; leave out --project", agent.title),
        )),
        None => Ok(named),
    }
}

// --- What is to happen --------------------------------------------------------------------------

fn show(out: &mut Out, plans: &[AgentPlan], setup: &Setup, wanted: &SetUp) -> Result<()> {
    for plan in plans {
        let title = out.style.paint(plan.agent.title, Paint::Bold).into_owned();
        let sign = match &plan.sign {
            Some(sign) => format!("found by {}", shown(out, sign)),
            None => "not found here".into(),
        };
        let sign = out.style.paint(&sign, Paint::Dim).into_owned();
        writeln!(out, "{title}  {sign}")?;
        if let Some(plugin) = &plan.plugin {
            let plugin = shown(out, plugin);
            writeln!(out, "  its plugin slm-mesh is on ({plugin}) and brings all that it needs")?;
            if setup.is_beside_plugin(plan.agent) {
                let text = format!(
                    "an entry or hooks of setup stand beside it: run `slm-mesh setup {} --uninstall`",
                    plan.agent.name
                );
                writeln!(out, "  {}", out.style.paint(&text, Paint::Warn))?;
            }
        }
        let has_changes = plan.changes().next().is_some();
        for file in plan.files.iter().flatten() {
            match file.action {
                Action::Keep => {}
                _ if wanted.diff => diff(out, file)?,
                _ => summary(out, file)?,
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
        writeln!(out)?;
    }
    Ok(())
}

/// Shows what happens to a file: how many lines are added and removed, and which of our parts they are.
fn summary(out: &mut Out, file: &FilePlan) -> Result<()> {
    let input = InternedInput::new(file.before.as_str(), file.after.as_str());
    let diff = Diff::compute(Algorithm::Myers, &input);
    let (more, less) = (diff.count_additions(), diff.count_removals());
    let lines = if file.action == Action::Remove || file.is_own_text() {
        String::new()
    } else {
        format!("  +{more} -{less}")
    };
    let path = shown(out, &file.path);
    let lines = out.style.paint(&lines, Paint::Dim).into_owned();
    writeln!(out, "  {} {}{lines}", file.action.as_str(), out.style.paint(&path, Paint::Bold))?;
    let width = out.style.width.map(|width| width.saturating_sub(4));
    for part in file.parts() {
        for line in wrap(&part_words(part), width) {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

/// A part of a file in words.
fn part_words(part: &Part) -> String {
    match part {
        Part::Server(_) => "the server".into(),
        Part::Hooks { events, .. } => {
            let mut names: Vec<&str> = events.iter().map(|event| event.name).collect();
            names.dedup();
            format!("hooks: {}", names.join(", "))
        }
        Part::Allow => "leave to use the mesh's tools without asking".into(),
        Part::Setting(name) => format!("the setting {name}"),
        Part::Skill(skill) => format!("the skill {}", skill.name),
        Part::Script(_) => "the plugin".into(),
    }
}

/// Asks the person whether to write this many files; they can look at the changes first.
fn agreed(out: &mut Out, plans: &[AgentPlan], changes: usize) -> Result<bool> {
    let files = count(u64::try_from(changes).unwrap_or(u64::MAX), "file", "files");
    loop {
        match &*answer(out, &format!("Write {files}? [y/N] (d: show the changes)"))? {
            "d" | "D" | "diff" => {
                for file in plans.iter().flat_map(AgentPlan::changes) {
                    diff(out, file)?;
                }
            }
            answer => return Ok(is_yes(answer)),
        }
    }
}

fn diff(out: &mut Out, file: &FilePlan) -> Result<()> {
    let path = shown(out, &file.path);
    // Files that are ours as a whole need no diff.
    if file.action == Action::Remove || file.is_own_text() {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a Path>,
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
        return out.document(&document(plans, setup, wanted, failures));
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
            writeln!(out, "{}: {}.", plan.agent.title, plan.agent.settings.after)?;
        }
        if wanted.no_hooks && plans.iter().any(|plan| plan.agent.has_hooks()) {
            writeln!(
                out,
                "Without hooks, agents are not told of messages while they work, nor of locked \
                 files before they edit them."
            )?;
        }
        let can_wake = |plan: &AgentPlan| plan.agent.has_wake();
        if let Some(plan) = plans.iter().find(|plan| !wanted.wake && can_wake(plan)) {
            let Agent { title, name, .. } = plan.agent;
            writeln!(
                out,
                "`slm-mesh setup {name} --wake` lets messages wake {title}; it switches its \
                 experimental mode on."
            )?;
        }
    }
    if let Some(note) =
        passing(&setup.program.path).filter(|_| done > 0 && !wanted.uninstall && !wanted.dry_run)
    {
        super::out::note(&format!("{} {note}", setup.program.path));
    }
    Ok(())
}

/// A warning about a program in a place that does not last: a build folder, or the cache of `npx`,
/// `uvx` or the like.
fn passing(program: &str) -> Option<&'static str> {
    let lies_in = |folders: &[&str]| folders.iter().any(|folder| program.contains(folder));
    if lies_in(&["/target/debug/", "/target/release/"]) {
        Some("lies in a build folder; if that goes, agents no longer find it")
    } else if lies_in(&["/_npx/", "/.cache/", "/Caches/"]) {
        Some(
            "lies in a cache; when that is emptied, agents no longer find it: install slm-mesh, then \
             set up again",
        )
    } else {
        None
    }
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
            plugin: plan.plugin.as_deref(),
            files: plan.files.iter().map(file).collect(),
        })
        .collect();
    let changes = plans.iter().flat_map(AgentPlan::changes).count();
    let refused = plans.iter().flat_map(AgentPlan::refusals).count();
    Document {
        ok: refused == 0 && failures.is_empty(),
        dry_run: wanted.dry_run,
        changed: !wanted.dry_run && changes > failures.len(),
        program: &setup.program.path,
        agents,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn agents_and_options_are_read() {
        let full =
            SetUp { agents: vec!["zed", "codex"], project: true, yes: true, ..SetUp::default() };
        assert_eq!(command::<SetUp>("setup"), SetUp::default());
        assert_eq!(command::<SetUp>("setup zed --hooks codex --project -y"), full);
        let bare = SetUp { no_hooks: true, wake: true, allow: true, ..SetUp::default() };
        assert_eq!(command::<SetUp>("setup --no-hooks --allow --wake"), bare);
        let out = SetUp { uninstall: true, dry_run: true, diff: true, ..SetUp::default() };
        assert_eq!(command::<SetUp>("setup --uninstall --dry-run --diff"), out);
        assert!(refused("setup claude").contains("did you mean `claude-code`?"));
        assert!(refused("setup --uninstall --allow").contains("leave out `--hooks`"));
        assert!(refused("setup --hooks --no-hooks").contains("exclude each other"));
        assert!(refused("setup --dry-run --yes").contains("exclude each other"));
        assert!(refused("setup --hook").contains("did you mean `--hooks`?"));
        assert!(refused("doctor zed").contains("unexpected word"));
    }
}
