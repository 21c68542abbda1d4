//! Looks at the files of an agent, plans what is to happen to them, and does it.

use std::path::PathBuf;

use super::disk::{self, File};
use super::plan::{self, Found, Look, Memory, Program};
use super::record::{Record, Turn, hash};
use super::targets::{Extras, Part, Target};
use super::{ENTRY, Trouble};
use crate::agents::{Agent, Place};

/// What is to happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Keep,
    /// It is made.
    Create,
    /// It is changed.
    Change,
    /// It is removed.
    Remove,
}

impl Action {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "unchanged",
            Self::Create => "create",
            Self::Change => "change",
            Self::Remove => "remove",
        }
    }
}

/// A file, and what is to happen to it.
#[derive(Clone, Debug)]
pub struct FilePlan {
    /// Which.
    pub path: PathBuf,
    /// What.
    pub action: Action,
    /// Its text now; empty if it is not there.
    pub before: String,
    /// Its text then; empty if it goes.
    pub after: String,
    /// A remark for the person.
    pub note: Option<String>,
    target: Target,
    old: Option<File>,
    memory: Memory,
}

/// An agent, and what is to happen to its files.
#[derive(Debug)]
pub struct AgentPlan {
    /// Which.
    pub agent: &'static Agent,
    /// What shows that it is installed.
    pub sign: Option<PathBuf>,
    /// Where our plugin is enabled, which brings server, hooks and skills itself.
    pub plugin: Option<PathBuf>,
    /// Its files; for each that cannot be changed, why.
    pub files: Vec<Result<FilePlan, (PathBuf, String)>>,
}

impl AgentPlan {
    /// The files that change.
    pub fn changes(&self) -> impl Iterator<Item = &FilePlan> {
        let files = self.files.iter().filter_map(|file| file.as_ref().ok());
        files.filter(|file| file.action != Action::Keep)
    }

    /// The files that cannot be changed, and why.
    pub fn refusals(&self) -> impl Iterator<Item = &(PathBuf, String)> {
        self.files.iter().filter_map(|file| file.as_ref().err())
    }
}

/// What is seen of a part of a file.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The file.
    pub path: PathBuf,
    /// Which part.
    pub part: Part,
    /// What is seen of it.
    pub look: Look,
}

/// The work on all files.
#[derive(Debug)]
pub struct Setup {
    /// Where the files are.
    pub place: Place,
    /// The program that is entered.
    pub program: Program,
    /// What was done before.
    pub record: Record,
    /// Folders that were made once and may be empty now.
    pub dirs: Vec<PathBuf>,
}

impl Setup {
    /// What is to happen so that `agent` knows the program. None if it has no files in a project.
    #[must_use]
    pub fn install(&self, agent: &'static Agent, extras: Extras) -> Option<AgentPlan> {
        let mut targets = agent.targets(&self.place, extras)?;
        let plugin = agent.plugin(&self.place);
        if plugin.is_some() {
            for target in &mut targets {
                target.parts.retain(|part| !part.is_in_plugin());
            }
        }
        targets.retain(|target| {
            let is_known = self.record.get(&target.path).is_some();
            !target.parts.is_empty() && (!target.retired || is_known)
        });
        Some(self.all(agent, plugin, targets, |target| {
            if target.retired { self.uninstall_file(target) } else { self.install_file(target) }
        }))
    }

    /// What is to happen so that `agent` forgets the program.
    #[must_use]
    pub fn uninstall(&self, agent: &'static Agent) -> Option<AgentPlan> {
        let targets = agent.targets(&self.place, Extras::ALL)?;
        Some(self.all(agent, None, targets, |target| self.uninstall_file(target)))
    }

    fn all(
        &self,
        agent: &'static Agent,
        plugin: Option<PathBuf>,
        targets: Vec<Target>,
        plan: impl Fn(&Target) -> Result<FilePlan, String>,
    ) -> AgentPlan {
        let plan = |target: Target| plan(&target).map_err(|why| (target.path, why));
        let files = targets.into_iter().map(plan).collect();
        AgentPlan { agent, sign: agent.sign(&self.place), plugin, files }
    }

    fn install_file(&self, target: &Target) -> Result<FilePlan, String> {
        let mut plan = FilePlan::keep(target, disk::read(&target.path)?)?;
        let entry = self.record.get(&plan.path);
        let memory = entry.map(|entry| entry.memory.clone()).unwrap_or_default();
        let planned = plan::install(&plan.before, &target.parts, &self.program, &memory)
            .map_err(|trouble| trouble.to_string())?;
        (plan.after, plan.memory) = (planned.text, planned.memory);
        if plan.old.is_none() {
            plan.action = Action::Create;
        }
        plan.finish()
    }

    fn uninstall_file(&self, target: &Target) -> Result<FilePlan, String> {
        let path = &target.path;
        let entry = self.record.get(path);
        // A file that never had anything of ours need not be understood.
        let old = disk::read(path)?.filter(|old| entry.is_some() || names_us(&old.bytes));
        let mut plan = FilePlan::keep(target, old)?;
        let Some(old) = &plan.old else { return Ok(plan) };
        let untouched = entry.filter(|entry| entry.after == hash(&old.bytes));
        let restored = match untouched {
            Some(entry) if entry.absent => Some(None),
            Some(_) => self.record.backup(path).map(Some),
            None => None,
        };
        match restored {
            Some(None) => plan.remove(),
            Some(Some(bytes)) => {
                plan.after = String::from_utf8(bytes).map_err(|_| Trouble::NotText.to_string())?;
            }
            None => {
                let none = Memory::default();
                let memory = entry.map_or(&none, |entry| &entry.memory);
                plan.after = plan::uninstall(&plan.before, &target.parts, &self.program, memory)
                    .map_err(|trouble| trouble.to_string())?;
                let own = target.is_whole();
                let made = entry.is_some_and(|entry| entry.absent);
                if (made || own) && plan.after != plan.before && plan::is_blank(&plan.after) {
                    plan.remove();
                } else if made && own && plan.after == plan.before {
                    plan.note = Some("it was changed since it was made, and stays".into());
                }
            }
        }
        plan.finish()
    }

    /// Waits until nobody else is changing the files and the record, and reads the record anew.
    ///
    /// # Errors
    /// The record cannot be had; the text says what to do.
    pub fn take_turn(&mut self) -> Result<Turn, String> {
        self.record.take_turn()
    }

    /// Does what was planned, in a turn: planned once more, since others may have changed the file or
    /// the record in the meantime.
    ///
    /// # Errors
    /// A sentence that says what is wrong; the file is as it was then.
    pub fn apply(&mut self, planned: &FilePlan, uninstall: bool) -> Result<(), String> {
        if uninstall || planned.target.retired {
            let planned = self.uninstall_file(&planned.target)?;
            self.apply_uninstall(&planned)
        } else {
            let planned = self.install_file(&planned.target)?;
            self.apply_install(&planned)
        }
    }

    fn apply_install(&mut self, planned: &FilePlan) -> Result<(), String> {
        if planned.action == Action::Keep {
            return Ok(());
        }
        let path = &planned.path;
        let mut entry = self.record.get(path).cloned().unwrap_or_default();
        let known = self.record.get(path).is_some();
        let now = planned.old.as_ref().map(|old| hash(&old.bytes));
        if !known || now.as_ref() != Some(&entry.after) {
            // What it would be without our entries is what uninstalling restores.
            let without = if known {
                let (parts, memory) = (&planned.target.parts, &entry.memory);
                let text = plan::uninstall(&planned.before, parts, &self.program, memory);
                text.unwrap_or_else(|_| planned.before.clone())
            } else {
                planned.before.clone()
            };
            let blank = known && entry.absent && plan::is_blank(&without);
            entry.absent = planned.old.is_none() || blank;
            entry.backup = None;
            if !entry.absent {
                let kept = self.record.keep(path, without.as_bytes());
                entry.backup = Some(kept.map_err(|error| self.no_backup(&error))?);
            }
        }
        let dirs = disk::write(path, planned.old.as_ref(), planned.after.as_bytes())?;
        entry.dirs.extend(dirs);
        entry.after = hash(planned.after.as_bytes());
        entry.memory = planned.memory.clone();
        self.record.set(path, entry).map_err(|error| self.no_record(&error))
    }

    fn apply_uninstall(&mut self, planned: &FilePlan) -> Result<(), String> {
        let path = &planned.path;
        match planned.action {
            // What stays there is no longer ours.
            Action::Keep => {}
            Action::Remove => disk::remove(path)?,
            Action::Create | Action::Change => {
                disk::write(path, planned.old.as_ref(), planned.after.as_bytes())?;
            }
        }
        let dirs = self.record.get(path).map(|entry| entry.dirs.clone());
        self.dirs.extend(dirs.unwrap_or_default());
        self.record.forget(path).map_err(|error| self.no_record(&error))
    }

    /// Removes the folders that were made once and are empty now.
    pub fn remove_empty_dirs(&mut self) {
        // What is within another is longer.
        self.dirs.sort_by_key(|dir| std::cmp::Reverse(dir.as_os_str().len()));
        for dir in self.dirs.drain(..) {
            // One that is in use stays.
            let _ = std::fs::remove_dir(dir);
        }
    }

    fn no_backup(&self, error: &std::io::Error) -> String {
        let dir = self.record.dir().display();
        format!("it was left as it was, for a copy of it cannot be kept in {dir}: {error}")
    }

    fn no_record(&self, error: &std::io::Error) -> String {
        let dir = self.record.dir().display();
        format!("it was changed, but that cannot be noted in {dir}: {error}")
    }

    /// What is seen in the files of `agent`; the skills left out.
    ///
    /// # Errors
    /// The first file that cannot be read, and why.
    pub fn look(&self, agent: &'static Agent) -> Result<Vec<Seen>, (PathBuf, String)> {
        let mut seen = Vec::new();
        for target in agent.targets(&self.place, Extras::ALL).unwrap_or_default() {
            let path = &target.path;
            let failed = |why: String| (path.clone(), why);
            let parts = target.parts.iter().filter(|part| !matches!(part, Part::Skill(_)));
            for part in parts {
                let old = disk::read(path).map_err(failed)?;
                let text = old.as_ref().map(text_of).transpose().map_err(failed)?;
                let look = plan::look(&text.unwrap_or_default(), part, &self.program)
                    .map_err(|trouble| failed(trouble.to_string()))?;
                seen.push(Seen { path: path.clone(), part: *part, look });
            }
        }
        Ok(seen)
    }

    /// Whether something that our plugin for `agent` brings is in its files, too.
    #[must_use]
    pub fn is_beside_plugin(&self, agent: &'static Agent) -> bool {
        let is_beside = |seen: &Seen| seen.part.is_in_plugin() && seen.look.found != Found::Absent;
        self.look(agent).is_ok_and(|seen| seen.iter().any(is_beside))
    }

    /// Whether anything of ours is in the files of `agent`.
    #[must_use]
    pub fn is_known_to(&self, agent: &'static Agent) -> bool {
        let plan = self.uninstall(agent);
        plan.is_some_and(|plan| plan.changes().next().is_some() || plan.refusals().next().is_some())
    }
}

impl FilePlan {
    /// That nothing happens to the file `target`, which is `old` if it is there.
    fn keep(target: &Target, old: Option<File>) -> Result<Self, String> {
        let text = old.as_ref().map(text_of).transpose()?.unwrap_or_default();
        Ok(Self {
            path: target.path.clone(),
            action: Action::Keep,
            before: text.clone(),
            after: text,
            note: None,
            target: target.clone(),
            old,
            memory: Memory::default(),
        })
    }

    /// Checks that what is planned can be done.
    fn finish(mut self) -> Result<Self, String> {
        if self.action == Action::Keep && self.after != self.before {
            self.action = Action::Change;
        }
        if self.action != Action::Keep {
            disk::check_writable(&self.path)?;
        }
        Ok(self)
    }

    /// Whether the whole file is a text of ours, and was before if it was there.
    #[must_use]
    pub fn is_own_text(&self) -> bool {
        self.target.is_whole() && self.action == Action::Create
    }

    /// What of ours is in it, or is to be.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.target.parts
    }

    fn remove(&mut self) {
        self.action = Action::Remove;
        self.after.clear();
    }
}

impl Target {
    /// Whether the whole file is a text of ours.
    fn is_whole(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Skill(_) | Part::Script(_)))
    }
}

fn names_us(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, ENTRY.as_bytes()).is_some()
}

fn text_of(file: &File) -> Result<String, String> {
    String::from_utf8(file.bytes.clone()).map_err(|_| Trouble::NotText.to_string())
}
