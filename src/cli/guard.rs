//! `slm-mesh guard`

use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::command::{Command, Context, Entry, Group, Task};
use super::out::{Out, note, write_object};
use super::text::escape;
use super::words::{self, Words};
use super::{Failure, Result, place};
use crate::api::LockInfo;
use crate::client::{Client, ClientError};
use crate::guard::check::{CheckError, others_locks};
use crate::guard::install::{self, InstallError, Installed, Uninstalled};
use crate::guard::status::{self, State, Tree};
use crate::model::Party;
use crate::text::quote;

/// How long a commit waits for a broker that does not answer.
const CHECK_TIME_MAX: Duration = Duration::from_secs(1);

pub(super) const ENTRY: Entry = Entry {
    name: "guard",
    group: Group::Agents,
    summary: "keep files that others have locked out of git commits",
    usage: &[
        "guard install [--uninstall] [--global]",
        "guard uninstall",
        "guard status",
        "guard check [--quiet]",
    ],
    about: &[
        "`install` adds a pre-commit hook to the repository of this directory, where \
         core.hooksPath says or where all its working trees have their hooks. A hook that is \
         there already is kept and run first. Working trees with hooks of their own are named. \
         Hooks that all your repositories share (core.hooksPath in the configuration of the user \
         or the system) are written to only with --global. `uninstall` takes the guard out and \
         puts the previous hook back as it was.",
        "`status` tells for each working tree whether its commits are guarded.",
        "`check` is what the hook runs: it exits with 1 if someone else has locked a file of the \
         commit, and with 0 in any other case, also without a broker. Run by an agent, its own \
         locks are fine; run by you, those of `cli` are. The commit of a merge is never \
         refused; `git commit --no-verify` bypasses the guard.",
    ],
    options: &[
        ("--uninstall", "the same as `guard uninstall`"),
        ("--global", "also if the hooks are those of all repositories"),
        ("-q, --quiet", "say nothing but why a commit is refused"),
    ],
    examples: &[("guard install", ""), ("guard check", "would this commit be refused?")],
    parse,
};

#[derive(Debug, PartialEq, Eq)]
struct Guard {
    action: Action,
    /// Put it into hooks that all repositories share, too.
    global: bool,
    /// Say nothing but why a commit is refused.
    quiet: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Install,
    Uninstall,
    Check,
    Status,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let quiet = words.flag(["-q", "--quiet"]);
    let undo = words.flag("--uninstall");
    let global = words.flag("--global");
    let action = words.action(&["install", "uninstall", "check", "status"])?;
    words.only_for("--quiet", quiet, action, &["check"])?;
    words.only_for("--uninstall", undo, action, &["install"])?;
    words.only_for("--global", global, action, &["install"])?;
    let action = match action {
        "install" if !undo => Action::Install,
        "check" => Action::Check,
        "status" => Action::Status,
        _ => Action::Uninstall,
    };
    words.end()?;
    Ok(Task::command(Guard { action, global, quiet }))
}

impl Command for Guard {
    fn run(&self, context: &mut Context) -> Result<()> {
        let here = place::working_directory()?;
        match self.action {
            Action::Install => install(context, &here, self.global),
            Action::Uninstall => {
                context.check_is_person("to take the guard out")?;
                uninstall(context, &here)
            }
            Action::Status => tell_status(context, &here),
            Action::Check => check(context, &here, self.quiet),
        }
    }

    /// A commit is not held up for it.
    fn checks_data_dir(&self) -> bool {
        false
    }
}

fn install(context: &mut Context, here: &Path, global: bool) -> Result<()> {
    let program = env::current_exe().map_err(|error| {
        Failure::other("guard", format!("the program's own place is not known: {error}"))
    })?;
    // A hook runs with another environment.
    let data_dir = context.global.data_dir.as_ref().map(|_| context.config.paths.dir());
    let Installed { hook, already, kept, unreached } =
        install::install(here, &program, data_dir, global).map_err(|error| failure(&error))?;
    let out = &mut context.out;
    if out.json {
        let (hook, kept) = (shown(&hook), kept.as_deref().map(shown));
        let unreached: Vec<ShownTree> = unreached.iter().map(ShownTree::of).collect();
        return write_object!(
            out,
            "ok" => true, "hook" => hook, "installed" => !already, "kept" => kept,
            "unreached" => unreached
        );
    }
    let hook = out.path(&shown(&hook));
    if already {
        writeln!(out, "The guard is there already: {hook}.")?;
    } else {
        writeln!(out, "Commits are guarded now, by {hook}.")?;
    }
    if let Some(kept) = kept {
        let kept = out.path(&shown(&kept));
        writeln!(out, "The hook that was there before is run first; it is {kept}.")?;
    }
    if !unreached.is_empty() {
        writeln!(out, "It does not reach these working trees, which have hooks of their own:")?;
        for tree in &unreached {
            tree_line(out, tree)?;
        }
        writeln!(out, "Run `slm-mesh guard install` in each of them, too.")?;
    }
    Ok(())
}

/// A working tree in a document.
#[derive(Serialize)]
struct ShownTree {
    worktree: String,
    hook: Option<String>,
    state: State,
}

impl ShownTree {
    fn of(tree: &Tree) -> Self {
        let hook = tree.hook.as_deref().map(shown);
        Self { worktree: shown(&tree.path), hook, state: tree.state }
    }
}

fn tree_line(out: &mut Out, tree: &Tree) -> Result<()> {
    let path = out.path(&shown(&tree.path));
    let hook = tree.hook.as_deref();
    let hook = hook.map_or_else(String::new, |hook| format!(": {}", out.path(&shown(hook))));
    writeln!(out, "  {path}: {}{hook}", in_words(tree.state))
}

/// Whether the commits of a working tree are guarded.
pub(super) fn in_words(state: State) -> &'static str {
    match state {
        State::Guarded => "guarded",
        State::Broken => {
            "the guard cannot run, since its program has gone or it may not be executed"
        }
        State::Changed => "the guard, with changes by someone",
        State::Other => "not guarded, another hook",
        State::None => "not guarded",
        State::Unknown => "cannot be told",
    }
}

fn tell_status(context: &mut Context, here: &Path) -> Result<()> {
    let status = status::status(here).map_err(|error| failure(&error.into()))?;
    let guarded = status.trees.iter().all(|tree| tree.state == State::Guarded);
    let out = &mut context.out;
    if out.json {
        let trees: Vec<ShownTree> = status.trees.iter().map(ShownTree::of).collect();
        return write_object!(
            out,
            "ok" => true, "guarded" => guarded, "shared" => status.shared, "worktrees" => trees
        );
    }
    writeln!(out, "Commits in the working trees of this repository:")?;
    for tree in &status.trees {
        tree_line(out, tree)?;
    }
    if let Some(scope) = &status.shared {
        writeln!(out, "The hooks are those of all repositories (core.hooksPath is {scope}).")?;
    }
    if !guarded {
        writeln!(out, "`slm-mesh guard install` guards the working tree in which it is run.")?;
    }
    Ok(())
}

fn uninstall(context: &mut Context, here: &Path) -> Result<()> {
    let Uninstalled { hook, absent, restored } =
        install::uninstall(here).map_err(|error| failure(&error))?;
    let out = &mut context.out;
    if out.json {
        let hook = shown(&hook);
        return write_object!(
            out,
            "ok" => true, "hook" => hook, "uninstalled" => !absent, "restored" => restored
        );
    }
    let hook = out.path(&shown(&hook));
    match (absent, restored) {
        (_, true) => writeln!(out, "The guard is gone; {hook} is as it was before."),
        (false, false) => writeln!(out, "The guard is gone: {hook}."),
        (true, false) => writeln!(out, "There was no guard: {hook}."),
    }
}

/// Exits with 1 only for a lock of someone else, which is what the hook relies on.
fn check(context: &mut Context, here: &Path, quiet: bool) -> Result<()> {
    let mut client = Client::until(&context.config, Instant::now() + CHECK_TIME_MAX);
    let out = &mut context.out;
    let (locks, trouble) = match others_locks(&mut client, here) {
        Ok(locks) => (locks, None),
        Err(CheckError::Client(ClientError::NoBroker)) => (Vec::new(), None),
        Err(CheckError::Client(error)) => (Vec::new(), Some(error.to_string())),
        Err(CheckError::Git(error)) => (Vec::new(), Some(error.to_string())),
    };
    if let Some(trouble) = trouble.filter(|_| !quiet) {
        note(&format!("locks could not be looked at, so nothing is refused: {}", escape(&trouble)));
    }
    if locks.is_empty() {
        return match (out.json, quiet) {
            (true, _) => write_object!(out, "ok" => true, "locks" => locks),
            (false, true) => Ok(()),
            (false, false) => writeln!(out, "Nobody else has locked a file of this commit."),
        };
    }
    if out.json {
        write_object!(
            out,
            "ok" => false, "error" => "files of this commit are locked by others",
            "code" => "locked", "locks" => locks
        )?;
    } else {
        refuse(out, &locks);
    }
    Err(Failure::Reported)
}

/// Lists the locks on the standard error, which git shows.
fn refuse(out: &Out, locks: &[LockInfo]) {
    note("this commit has files that others have locked:");
    for lock in locks {
        let reason = match &lock.reason {
            Some(reason) => format!(" (reason {})", quote(reason)),
            None => String::new(),
        };
        let (file, holder) =
            (out.path(&lock.file_path), lock.locked_by.shown_as(&lock.locked_by_name));
        note(&format!("  {file}: {holder}{reason}, free {}", out.age(lock.expires_at)));
    }
    let peer = locks.iter().find(|lock| lock.locked_by.peer().is_some());
    let ask = match peer {
        Some(lock) => format!("ask (`slm-mesh send {} ...`)", escape(&lock.locked_by_name)),
        None if locks.iter().any(|lock| lock.locked_by == Party::Cli) => {
            "ask whoever locked it (`slm-mesh send cli ...`)".into()
        }
        None => "wait".into(),
    };
    note(&format!(
        "{ask}, leave them out (`git restore --staged FILE`), or go on all the same with \
         `git commit --no-verify`"
    ));
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn failure(error: &InstallError) -> Failure {
    let code = match error {
        InstallError::Git(_) => "no_repository",
        InstallError::Changed(_) | InstallError::InTheWay { .. } | InstallError::Husky(_) => {
            "hook_in_the_way"
        }
        InstallError::Shared { .. } => "hooks_shared",
        InstallError::File { .. } => "file_error",
    };
    Failure::other(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn options_belong_to_actions() {
        let guard = |action, quiet| Guard { action, global: false, quiet };
        assert_eq!(command::<Guard>("guard install"), guard(Action::Install, false));
        assert_eq!(command::<Guard>("guard uninstall"), guard(Action::Uninstall, false));
        assert_eq!(command::<Guard>("guard install --uninstall"), guard(Action::Uninstall, false));
        assert_eq!(command::<Guard>("guard check -q"), guard(Action::Check, true));
        assert_eq!(command::<Guard>("guard status"), guard(Action::Status, false));
        let global = Guard { action: Action::Install, global: true, quiet: false };
        assert_eq!(command::<Guard>("guard install --global"), global);
        assert!(refused("guard check --global").contains("belongs to `install`"));
        assert!(refused("guard check --uninstall").contains("belongs to `install`"));
    }
}
