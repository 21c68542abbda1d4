//! A file's text before, and what it is to be: the rules, without touching a file.
//!
//! | module | what it puts in and takes out |
//! |---|---|
//! | `server` | the server's entry |
//! | [`hooks`] | hooks |
//! | `settings` | permission to use the tools, and settings that have to be true |

pub mod hooks;
pub(super) mod server;

mod settings;

use std::borrow::Cow;
use std::path::Path;

use jsonc_parser::ast::Value;
use serde::{Deserialize, Serialize};

use self::hooks::Wanted;
use super::targets::Part;
use super::{ENTRY, Trouble, json};

/// The mark that some editors put before the first character of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// The line of a script of ours that names the program; its path is put there.
const PROGRAM: &str = "PROGRAM = \"slm-mesh\"";
/// The lines with the options that the script gives the program before the command.
const OPTIONS: [&str; 2] = ["OPTIONS = []", "OPTIONS: string[] = []"];

/// What is entered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Its absolute path.
    pub path: String,
    /// The data directory that it is to use.
    pub data_dir: String,
    /// It is the one that the program finds by itself.
    pub is_usual_dir: bool,
}

impl Program {
    /// The data directory, if the program has to be told.
    #[must_use]
    pub fn told_dir(&self) -> Option<&str> {
        (!self.is_usual_dir).then_some(&self.data_dir)
    }

    /// Whether an entry with this directory, or none, uses ours.
    #[must_use]
    pub fn is_dir(&self, dir: Option<&str>) -> bool {
        dir.map_or(self.is_usual_dir, |dir| dir == self.data_dir)
    }
}

/// What has to be remembered to take out of a file exactly what was put into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// The program that was entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The text of an entry that was not ours and had to be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// Lists and settings that were not there before, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<Vec<String>>,
    /// Permissions that its person had given before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub had_leave: Vec<String>,
}

impl Memory {
    fn note_replaced(&mut self, command: Option<&str>, old: String) {
        let own = command.is_some() && command == self.program.as_deref();
        if !own && self.replaced.is_none() {
            self.replaced = Some(old);
        }
    }
}

/// What a file is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its text.
    pub text: String,
    /// What to remember.
    pub memory: Memory,
}

impl Planned {
    /// Remembers what on the way to `path`, and at its end, is still to be made.
    fn note_missing(&mut self, path: &[&str]) -> Result<(), Trouble> {
        for length in 1..=path.len() {
            let path = path.get(..length).unwrap_or_default();
            let made: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
            let is_there = json::read_at(&self.text, path, |value| value.is_some())?;
            if !is_there && !self.memory.made.contains(&made) {
                self.memory.made.push(made);
            }
        }
        Ok(())
    }
}

/// How much of what belongs into a file is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    #[default]
    Absent,
    /// All of it, as it would be written now.
    Current,
    /// Something else under our name: another program or data directory, or an older form.
    Other,
}

/// What is seen of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// How much of it is there.
    pub found: Found,
    /// The command that stands there.
    pub command: Option<String>,
    /// The data directory that stands there.
    pub data_dir: Option<String>,
    /// It is switched off there.
    pub is_off: bool,
    /// Events without a hook of ours.
    pub missing: Vec<String>,
}

/// Puts the parts into a text. `memory` is what is remembered of that file.
///
/// # Errors
/// The text cannot be read, or something else is where an entry would go.
pub fn install(
    before: &str,
    parts: &[Part],
    program: &Program,
    memory: &Memory,
) -> Result<Planned, Trouble> {
    let (mark, text) = split_mark(before);
    let mut planned = Planned { text: text.to_owned(), memory: memory.clone() };
    for part in parts {
        match part {
            Part::Server(shape) => server::install(&mut planned, *shape, program)?,
            Part::Hooks { shape, agent, events } => {
                Wanted { shape: *shape, agent, events, program }.install(&mut planned)?;
            }
            Part::Allow => settings::allow(&mut planned)?,
            Part::Setting(name) => settings::set(&mut planned, name)?,
            Part::Skill(_) | Part::Script(_) => {
                planned.text = whole(part, program).unwrap_or_default().into_owned();
            }
        }
    }
    planned.memory.program = Some(program.path.clone());
    planned.text.insert_str(0, mark);
    Ok(planned)
}

/// The text of a file that is ours as a whole.
#[must_use]
pub fn whole(part: &Part, program: &Program) -> Option<Cow<'static, str>> {
    match part {
        Part::Skill(skill) => Some(skill.file.into()),
        Part::Script(text) => {
            let path = format!("PROGRAM = {}", json::quoted(&program.path));
            let mut text = text.replacen(PROGRAM, &path, 1);
            if let Some(dir) = program.told_dir() {
                for empty in OPTIONS {
                    let told = format!("[\"--data-dir\", {}]", json::quoted(dir));
                    text = text.replacen(empty, &empty.replace("= []", &format!("= {told}")), 1);
                }
            }
            Some(text.into())
        }
        _ => None,
    }
}

/// Takes the parts out of a text; entries that are not ours stay.
///
/// # Errors
/// The text cannot be read.
pub fn uninstall(
    before: &str,
    parts: &[Part],
    program: &Program,
    memory: &Memory,
) -> Result<String, Trouble> {
    let (mark, text) = split_mark(before);
    let mut text = text.to_owned();
    for part in parts {
        text = match part {
            Part::Server(shape) => server::uninstall(&text, *shape, memory)?,
            Part::Hooks { shape, agent, .. } => hooks::uninstall(&text, *shape, agent)?,
            Part::Allow => settings::forbid(&text, memory)?,
            // Goes below, if it was made.
            Part::Setting(_) => text,
            Part::Skill(_) | Part::Script(_) => {
                let is_ours = whole(part, program).is_some_and(|own| own == text);
                if is_ours { String::new() } else { text }
            }
        };
    }
    for path in memory.made.iter().rev() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_empty = json::read(&text, |root| {
            root.and_then(|root| json::find(root, &path)).is_some_and(|value| match value {
                Value::Object(object) => object.properties.is_empty(),
                Value::Array(array) => array.elements.is_empty(),
                Value::BooleanLit(_) => true,
                // Ours is the version of a list of hooks that is gone.
                _ => root.is_some_and(|root| json::find(root, &[hooks::HOOKS]).is_none()),
            })
        })?;
        if is_empty {
            text = json::remove(&text, &path)?;
        }
    }
    text.insert_str(0, mark);
    Ok(text)
}

/// How much of a part is in a text.
///
/// # Errors
/// The text cannot be read.
pub fn look(text: &str, part: &Part, program: &Program) -> Result<Look, Trouble> {
    let (_, text) = split_mark(text);
    match part {
        Part::Server(shape) => server::look(text, *shape, program),
        Part::Hooks { shape, agent, events } => {
            Wanted { shape: *shape, agent, events, program }.look(text)
        }
        Part::Allow => settings::look_leave(text),
        Part::Setting(name) => settings::look(text, name),
        Part::Skill(_) | Part::Script(_) => {
            let is_ours = whole(part, program).is_some_and(|own| own == text);
            let found = match (text.is_empty(), is_ours) {
                (true, _) => Found::Absent,
                (_, true) => Found::Current,
                _ => Found::Other,
            };
            Ok(Look { found, ..Look::default() })
        }
    }
}

/// Whether nothing is left that a person would miss.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    let (_, text) = split_mark(text);
    text.trim().is_empty() || text.split_whitespace().collect::<String>() == "{}"
}

fn split_mark(text: &str) -> (&str, &str) {
    let rest = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    text.split_at(text.len() - rest.len())
}

/// Whether a command is this program, wherever it lies.
#[must_use]
pub fn is_ours(command: &str) -> bool {
    let name = Path::new(command).file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name == ENTRY || name.starts_with("slm-mesh-"))
}

#[cfg(test)]
mod tests;
