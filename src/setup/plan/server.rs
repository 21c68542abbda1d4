//! The server's entry.

use jsonc_parser::ast::Value;

use super::{Found, Look, Memory, Planned, Program, is_ours};
use crate::agents::{self, Shape, Tools};
use crate::config::DATA_DIR;
use crate::setup::json::{self, Node};
use crate::setup::{ENTRY, Trouble, toml};

fn path_of(shape: Shape) -> [&'static str; 2] {
    match shape {
        Shape::Json(entry) => [entry.list, ENTRY],
        Shape::Opencode | Shape::Toml => ["mcp", ENTRY],
    }
}

/// The name of the table of variables.
fn env_of(shape: Shape) -> &'static str {
    if shape == Shape::Opencode { "environment" } else { "env" }
}

fn entry(shape: Shape, program: &Program) -> Node {
    let command = Node::text(&program.path);
    let dir = program.told_dir().map(|dir| vec![(DATA_DIR, Node::text(dir))]);
    let mut members = Vec::new();
    if let Shape::Json(agents::Entry { kind, env, tools, .. }) = shape {
        members.extend(kind.map(|kind| ("type", Node::text(kind))));
        members.extend([("command", command), ("args", Node::List(Vec::new()))]);
        if env || dir.is_some() {
            members.push(("env", Node::Map(dir.unwrap_or_default())));
        }
        match tools {
            Tools::AsListed => {}
            Tools::Named => members.push(("tools", Node::List(vec![Node::text("*")]))),
            Tools::Loaded => members.push(("alwaysLoadTools", Node::Bool(true))),
        }
    } else {
        members.extend([("type", Node::text("local")), ("command", Node::List(vec![command]))]);
        members.extend(dir.map(|dir| (env_of(shape), Node::Map(dir))));
        members.push(("enabled", Node::Bool(true)));
    }
    Node::Map(members)
}

/// What stands in an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::setup) struct Entry {
    /// `command`, if it is a text.
    pub(in crate::setup) command: Option<String>,
    /// `args`. Arguments that are not texts are not ours.
    pub(in crate::setup) args: Vec<String>,
    /// The data directory among its variables.
    pub(in crate::setup) data_dir: Option<String>,
    /// It is switched off.
    pub(in crate::setup) is_off: bool,
}

impl Entry {
    /// `slm-mesh` and `slm-mesh mcp` are the same, where an agent starts them.
    fn is_current(&self, program: &Program) -> bool {
        self.command.as_ref() == Some(&program.path)
            && (self.args.is_empty() || self.args == ["mcp"])
            && program.is_dir(self.data_dir.as_deref())
    }

    fn look(self, program: &Program) -> Look {
        let found = if self.is_current(program) { Found::Current } else { Found::Other };
        let Self { command, data_dir, is_off, .. } = self;
        Look { found, command, data_dir, is_off, ..Look::default() }
    }
}

fn read(value: &Value<'_>, shape: Shape) -> Entry {
    let texts = |name: &str| {
        let list = json::find(value, &[name]).map(json::elements).unwrap_or_default();
        list.iter().map(|value| match value {
            Value::StringLit(text) => text.value.to_string(),
            _ => "?".into(),
        })
    };
    let is = |name: &str, wanted: bool| {
        let value = json::find(value, &[name]);
        matches!(value, Some(Value::BooleanLit(value)) if value.value == wanted)
    };
    let text = |value, name: &str| json::text_of(value, name).map(str::to_owned);
    let (command, args) = if shape == Shape::Opencode {
        let mut line = texts("command");
        (line.next(), line.collect())
    } else {
        (text(value, "command"), texts("args").collect())
    };
    let data_dir = json::find(value, &[env_of(shape)]).and_then(|env| text(env, DATA_DIR));
    Entry { command, args, data_dir, is_off: is("enabled", false) || is("disabled", true) }
}

fn find(text: &str, shape: Shape) -> Result<Option<Entry>, Trouble> {
    if shape == Shape::Toml {
        return toml::find(text);
    }
    json::read_at(text, &path_of(shape), |value| value.map(|value| read(value, shape)))
}

pub(super) fn look(text: &str, shape: Shape, program: &Program) -> Result<Look, Trouble> {
    Ok(find(text, shape)?.map(|found| found.look(program)).unwrap_or_default())
}

pub(super) fn install(
    planned: &mut Planned,
    shape: Shape,
    program: &Program,
) -> Result<(), Trouble> {
    let (path, is_toml) = (path_of(shape), shape == Shape::Toml);
    if !is_toml {
        planned.note_missing(&path[..1])?;
    }
    let text = &planned.text;
    let written = || json::set(text, &path, entry(shape, program));
    let Some(found) = find(text, shape)? else {
        planned.text = if is_toml { toml::add(text, program)? } else { written()? };
        return Ok(());
    };
    if found.is_current(program) {
        return Ok(());
    }
    let old = || json::read_at(text, &path, |value| Some(json::raw(text, value?).to_owned()));
    let command = found.command.filter(|command| is_ours(command));
    let (text, old) = match (&command, is_toml) {
        (Some(_), true) => (toml::update(text, program)?, toml::remove(text)?.1),
        (None, true) => toml::replace(text, program)?,
        (Some(_), false) => (update(text, shape, program, found.data_dir.is_some())?, old()?),
        (None, false) => (written()?, old()?),
    };
    planned.memory.note_replaced(command.as_deref(), old.unwrap_or_default());
    planned.text = text;
    Ok(())
}

/// Gives an entry of ours another command; what else stands in it stays.
fn update(text: &str, shape: Shape, program: &Program, has_dir: bool) -> Result<String, Trouble> {
    let (path, command) = (path_of(shape), Node::text(&program.path));
    let mut text = text.to_owned();
    let mut set = |names: &[&'static str], node: Node| -> Result<(), Trouble> {
        text = json::set(&text, &[&path[..], names].concat(), node)?;
        Ok(())
    };
    if shape == Shape::Opencode {
        set(&["command"], Node::List(vec![command]))?;
    } else {
        set(&["command"], command)?;
        set(&["args"], Node::List(Vec::new()))?;
    }
    if has_dir || !program.is_usual_dir {
        set(&[env_of(shape), DATA_DIR], Node::text(&program.data_dir))?;
    }
    Ok(text)
}

pub(super) fn uninstall(text: &str, shape: Shape, memory: &Memory) -> Result<String, Trouble> {
    let command = find(text, shape)?.and_then(|entry| entry.command);
    if !command.is_some_and(|command| is_ours(&command)) {
        return Ok(text.into());
    }
    match (&memory.replaced, shape) {
        (Some(old), Shape::Toml) => toml::restore(text, old),
        (None, Shape::Toml) => Ok(toml::remove(text)?.0),
        (Some(old), _) => json::set(text, &path_of(shape), Node::Raw(old.clone())),
        (None, _) => json::remove(text, &path_of(shape)),
    }
}
