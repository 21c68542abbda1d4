//! Which files of an agent are written, and what goes into each: its row of the table, with the
//! names of files resolved.

use std::path::{Path, PathBuf};

use super::standing;
use crate::agents::settings::At;
use crate::agents::{Agent, Event, HookShape, Place, Plugin, Shape};
use crate::platform::is_program;
use crate::skills::{self, Skill};

/// What goes into a file.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The server's entry.
    Server(Shape),
    /// Hooks.
    Hooks {
        /// How they are written.
        shape: HookShape,
        /// The agent, as `slm-mesh hook` knows it.
        agent: &'static str,
        /// For which events.
        events: &'static [Event],
    },
    /// Permission for the agent to use the tools without asking.
    Allow,
    /// A setting that has to be `true`.
    Setting(&'static str),
    /// The whole file is the text of a skill.
    Skill(&'static Skill),
    /// The whole file is a script for the agent, which has to know where the program is.
    Script(&'static str),
}

impl Part {
    /// Whether our plugin for the agent brings it, too.
    #[must_use]
    pub fn is_in_plugin(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Hooks { .. } | Self::Skill(_))
    }
}

/// A file, and what goes into it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// What goes into it.
    pub parts: Vec<Part>,
    /// It was written by an earlier version, and this one removes it.
    pub retired: bool,
}

/// What is wanted beside the server and the skills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Hooks, or what an agent has in their place.
    pub hooks: bool,
    /// What needs an experimental mode of the agent.
    pub wake: bool,
    /// Permission to use the tools without asking.
    pub allow: bool,
}

impl Extras {
    /// All of it.
    pub const ALL: Self = Self { hooks: true, wake: true, allow: true };
}

impl At {
    /// The file, for an agent's folder and for a session in `here`.
    pub(super) fn resolve(self, dir: &Path, place: &Place, here: &Path) -> PathBuf {
        match self {
            Self::In(name) => dir.join(name),
            Self::Either(usual, other) => {
                let (usual, other) = (dir.join(usual), dir.join(other));
                if !usual.exists() && other.exists() { other } else { usual }
            }
            Self::Here(name) => here.join(name),
            Self::Of(path) => path(place),
        }
    }
}

impl Agent {
    /// What shows that it is installed here: a file or folder of its own, or its program.
    #[must_use]
    pub fn sign(&self, place: &Place) -> Option<PathBuf> {
        let settings = &self.settings;
        let dir = (settings.dir)(place);
        let mut signs = settings.signs.iter().map(|sign| sign.resolve(&dir, place, &dir));
        signs.find(|path| path.exists()).or_else(|| self.program(place))
    }

    /// Its program.
    #[must_use]
    pub fn program(&self, place: &Place) -> Option<PathBuf> {
        let names = self.settings.commands;
        let mut all = place.search.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
        all.find(|path| is_program(path))
    }

    /// Its files and what goes into each; none if it has none in a project.
    #[must_use]
    pub fn targets(&self, place: &Place, extras: Extras) -> Option<Vec<Target>> {
        let settings = &self.settings;
        let dir = match &place.project {
            Some(project) => project.join(settings.project_dir?),
            None => (settings.dir)(place),
        };
        let mut targets: Vec<Target> = Vec::new();
        let mut add =
            |path: PathBuf, part: Part| match targets.iter_mut().find(|target| target.path == path)
            {
                Some(target) => target.parts.push(part),
                None => targets.push(Target { path, parts: vec![part], retired: false }),
            };
        if let Some((file, shape)) = settings.server {
            add(file.resolve(&dir, place, &dir), Part::Server(shape));
        }
        if let Some(hooks) = settings.hooks.filter(|_| extras.hooks) {
            let (shape, events) = (hooks.shape, hooks.events);
            add(dir.join(hooks.file), Part::Hooks { shape, agent: self.name, events });
        }
        if let Some(file) = settings.allow.filter(|_| extras.allow) {
            add(dir.join(file), Part::Allow);
        }
        // Where there is no entry for the server, the script brings it.
        let is_wanted = extras.hooks || settings.server.is_none();
        if let Some((file, text)) = settings.script.filter(|_| is_wanted) {
            add(dir.join(file), Part::Script(text));
        }
        if let Some(wake) = settings.wake.filter(|_| extras.wake) {
            let ((file, name), (script, text)) = (wake.setting, wake.script);
            add(dir.join(file), Part::Setting(name));
            add(dir.join(script), Part::Script(text));
        }
        for skill in &skills::ALL {
            let part = Part::Skill(skill);
            if let Some(name) = settings.command_dir {
                add(dir.join(name).join(format!("{}.md", skill.name)), part);
            }
            if let Some(name) = settings.skills {
                add(dir.join(name).join(skill.name).join("SKILL.md"), part);
            }
        }
        if let Some(name) = settings.retired {
            targets.extend(skills::ALL.iter().map(|skill| Target {
                path: dir.join(name).join(format!("{}.md", skill.name)),
                parts: vec![Part::Skill(skill)],
                retired: true,
            }));
        }
        Some(targets)
    }

    /// Whether there are hooks for it, or a script in their place.
    #[must_use]
    pub fn has_hooks(&self) -> bool {
        self.settings.hooks.is_some() || self.settings.script.is_some()
    }

    /// Whether permission to use the tools can be written into its settings.
    #[must_use]
    pub fn has_leave(&self) -> bool {
        self.settings.allow.is_some()
    }

    /// Whether there is something for it that needs an experimental mode.
    #[must_use]
    pub fn has_wake(&self) -> bool {
        self.settings.wake.is_some()
    }

    /// The file or folder that shows that our own plugin is installed and enabled.
    #[must_use]
    pub fn plugin(&self, place: &Place) -> Option<PathBuf> {
        let settings = &self.settings;
        let dir = (settings.dir)(place);
        match settings.plugin? {
            Plugin::Enabled(file) => standing::enables_plugin(dir.join(file)),
            Plugin::Toml(file) => standing::enables_plugin_in_toml(dir.join(file)),
            Plugin::Folder(name) => Some(dir.join(name)).filter(|path| path.is_dir()),
        }
    }
}
