//! A file's text before, and what it is to be: the rules, without touching a file.

use std::path::Path;

use jsonc_parser::ast::Value;
use serde::{Deserialize, Serialize};

use super::agents::{Event, HookShape, Part, Shape};
use super::json::{self, New, Node};
use super::{ENTRY, Trouble, toml};

/// The name of the list of hooks, in each agent's file.
const HOOKS: &str = "hooks";
/// The mark that some editors put before the first character of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What has to be known to take out of a file just what was put into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// The program that was entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// An entry of someone else that had to go, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// Lists that were not there before, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<Vec<String>>,
}

impl Memory {
    fn note_made(&mut self, path: &[&str]) {
        let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
        if !self.made.contains(&path) {
            self.made.push(path);
        }
    }

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

/// How much of what belongs into a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// All of it, as it would be written now.
    Current,
    /// Something else under our name: another program, or an older form.
    Other,
}

/// Puts the parts into a text. `memory` is what is remembered of that file.
///
/// # Errors
/// The text cannot be read, or something else is where an entry would go.
pub fn install(
    before: Option<&str>,
    parts: &[Part],
    program: &str,
    memory: &Memory,
) -> Result<Planned, Trouble> {
    let (mark, text) = split_mark(before.unwrap_or_default());
    let mut planned = Planned { text: text.to_owned(), memory: memory.clone() };
    for part in parts {
        match part {
            Part::Server(Shape::Toml) => install_toml(&mut planned, program)?,
            Part::Server(shape) => install_server(&mut planned, *shape, program)?,
            Part::Hooks { shape, agent, events } => {
                install_hooks(&mut planned, *shape, &hook_command(program, agent), agent, events)?;
            }
            Part::Command(skill) => skill.file.clone_into(&mut planned.text),
        }
    }
    planned.memory.program = Some(program.to_owned());
    planned.text.insert_str(0, mark);
    Ok(planned)
}

/// Takes the parts out of a text; entries that are not ours stay.
///
/// # Errors
/// The text cannot be read.
pub fn uninstall(before: &str, parts: &[Part], memory: &Memory) -> Result<String, Trouble> {
    let (mark, text) = split_mark(before);
    let mut text = text.to_owned();
    for part in parts {
        text = match part {
            Part::Server(Shape::Toml) => uninstall_toml(&text, memory)?,
            Part::Server(shape) => uninstall_server(&text, *shape, memory)?,
            Part::Hooks { agent, .. } => without_hooks(&text, agent)?,
            Part::Command(skill) if text == skill.file => String::new(),
            Part::Command(_) => text,
        };
    }
    for path in memory.made.iter().rev() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_empty = json::read(&text, |root| {
            root.and_then(|root| json::find(root, &path)).is_some_and(|value| match value {
                Value::Object(object) => object.properties.is_empty(),
                Value::Array(array) => array.elements.is_empty(),
                // Ours is the version of a list of hooks that is gone.
                _ => root.is_some_and(|root| json::find(root, &[HOOKS]).is_none()),
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
pub fn look(text: &str, part: &Part, program: &str) -> Result<(Found, Option<String>), Trouble> {
    let (_, text) = split_mark(text);
    match part {
        Part::Server(Shape::Toml) => Ok(match toml::find(text, ENTRY)? {
            None => (Found::Absent, None),
            Some(entry) if is_current_toml(&entry, program) => (Found::Current, entry.command),
            Some(entry) => (Found::Other, entry.command),
        }),
        Part::Server(shape) => json::read(text, |root| {
            let entry = root.and_then(|root| json::find(root, &path_of(*shape)));
            let Some(entry) = entry else { return (Found::Absent, None) };
            let (command, args) = command_of(entry, *shape);
            let found =
                if is_current(command, &args, program) { Found::Current } else { Found::Other };
            (found, command.map(str::to_owned))
        }),
        Part::Hooks { shape, agent, events } => {
            let command = hook_command(program, agent);
            let (found, other) = json::read(text, |root| {
                let own = own_hooks(root, agent);
                let current = hooks_are_current(root, *shape, &command, &own, events);
                let other = own.first().map(|(_, command)| command.clone());
                (if current { Found::Current } else { Found::Other }, other)
            })?;
            Ok(if other.is_none() { (Found::Absent, None) } else { (found, other) })
        }
        Part::Command(skill) => {
            let found = if text == skill.file { Found::Current } else { Found::Other };
            Ok((found, None))
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

// --- The server's entry -------------------------------------------------------------------------

fn path_of(shape: Shape) -> [&'static str; 2] {
    match shape {
        Shape::Json { list, .. } => [list, ENTRY],
        Shape::Opencode | Shape::Toml => ["mcp", ENTRY],
    }
}

fn entry(shape: Shape, program: &str) -> Node {
    let command = Node::text(program);
    match shape {
        Shape::Json { kind, env, .. } => {
            let mut members = Vec::new();
            if kind {
                members.push(("type", Node::text("stdio")));
            }
            members.extend([("command", command), ("args", Node::List(Vec::new()))]);
            if env {
                members.push(("env", Node::Map(Vec::new())));
            }
            Node::Map(members)
        }
        Shape::Opencode | Shape::Toml => Node::Map(vec![
            ("type", Node::text("local")),
            ("command", Node::List(vec![command])),
            ("enabled", Node::Bool(true)),
        ]),
    }
}

/// Program and arguments of an entry. Arguments that are no texts are none of ours.
fn command_of<'b>(entry: &'b Value<'_>, shape: Shape) -> (Option<&'b str>, Vec<&'b str>) {
    let Value::Object(object) = entry else { return (None, Vec::new()) };
    let texts = |name: &str| -> Vec<&'b str> {
        let list = json::get(object, name).map(json::elements).unwrap_or_default();
        let text = |value: &'b Value<'_>| match value {
            Value::StringLit(text) => &*text.value,
            _ => "?",
        };
        list.iter().map(text).collect()
    };
    if shape == Shape::Opencode {
        let mut line = texts("command").into_iter();
        return (line.next(), line.collect());
    }
    (json::text_of(entry, "command"), texts("args"))
}

/// `slm-mesh` and `slm-mesh mcp` are the same, where an agent starts them.
fn is_current(command: Option<&str>, args: &[&str], program: &str) -> bool {
    command == Some(program) && (args.is_empty() || args == ["mcp"])
}

fn is_current_toml(entry: &toml::Found, program: &str) -> bool {
    let args: Vec<&str> = entry.args.iter().flatten().map(String::as_str).collect();
    is_current(entry.command.as_deref(), &args, program)
}

/// Whether a command is this program, wherever it lies.
#[must_use]
pub fn is_ours(command: &str) -> bool {
    let name = Path::new(command).file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name == ENTRY || name.starts_with("slm-mesh-"))
}

fn install_server(planned: &mut Planned, shape: Shape, program: &str) -> Result<(), Trouble> {
    enum Now {
        Absent {
            list: bool,
        },
        Current,
        /// Ours, elsewhere: what else stands in it stays.
        Moved {
            command: String,
            raw: String,
        },
        Other {
            raw: String,
        },
    }
    let path = path_of(shape);
    let text = &planned.text;
    let now = json::read(text, |root| {
        let Some(value) = root.and_then(|root| json::find(root, &path)) else {
            let list = root.and_then(|root| json::find(root, &path[..1]));
            return Now::Absent { list: list.is_some() };
        };
        let raw = json::raw(text, value).to_owned();
        match command_of(value, shape) {
            (command, args) if is_current(command, &args, program) => Now::Current,
            (Some(command), _) if is_ours(command) => {
                Now::Moved { command: command.to_owned(), raw }
            }
            _ => Now::Other { raw },
        }
    })?;
    let memory = &mut planned.memory;
    match now {
        Now::Current => {}
        Now::Absent { list } => {
            if !list {
                memory.note_made(&path[..1]);
            }
            planned.text = json::set(text, &path, &New::Value(&entry(shape, program)))?;
        }
        Now::Moved { command, raw } => {
            memory.note_replaced(Some(&command), raw);
            let (command, args) = match shape {
                Shape::Opencode => (Node::List(vec![Node::text(program)]), None),
                _ => (Node::text(program), Some(Node::List(Vec::new()))),
            };
            let inner = |name| [path[0], path[1], name];
            let mut text = json::set(text, &inner("command"), &New::Value(&command))?;
            if let Some(args) = args {
                text = json::set(&text, &inner("args"), &New::Value(&args))?;
            }
            planned.text = text;
        }
        Now::Other { raw } => {
            memory.note_replaced(None, raw);
            planned.text = json::set(text, &path, &New::Value(&entry(shape, program)))?;
        }
    }
    Ok(())
}

fn uninstall_server(text: &str, shape: Shape, memory: &Memory) -> Result<String, Trouble> {
    let path = path_of(shape);
    let ours = json::read(text, |root| {
        let value = root.and_then(|root| json::find(root, &path));
        value.and_then(|value| command_of(value, shape).0).is_some_and(is_ours)
    })?;
    match (&memory.replaced, ours) {
        (_, false) => Ok(text.into()),
        (Some(old), true) => json::set(text, &path, &New::Raw(old)),
        (None, true) => json::remove(text, &path),
    }
}

fn install_toml(planned: &mut Planned, program: &str) -> Result<(), Trouble> {
    let text = &planned.text;
    planned.text = match toml::find(text, ENTRY)? {
        None => toml::add(text, ENTRY, program)?,
        Some(entry) if is_current_toml(&entry, program) => return Ok(()),
        Some(toml::Found { command: Some(command), .. }) if is_ours(&command) => {
            let (_, old) = toml::remove(text, ENTRY)?;
            planned.memory.note_replaced(Some(&command), old.unwrap_or_default());
            toml::update(text, ENTRY, program)?
        }
        Some(_) => {
            let (text, old) = toml::replace(text, ENTRY, program)?;
            planned.memory.note_replaced(None, old.unwrap_or_default());
            text
        }
    };
    Ok(())
}

fn uninstall_toml(text: &str, memory: &Memory) -> Result<String, Trouble> {
    let command = toml::find(text, ENTRY)?.and_then(|entry| entry.command);
    if !command.is_some_and(|command| is_ours(&command)) {
        return Ok(text.into());
    }
    match &memory.replaced {
        Some(old) => toml::restore(text, ENTRY, old),
        None => Ok(toml::remove(text, ENTRY)?.0),
    }
}

// --- Hooks --------------------------------------------------------------------------------------

/// The command line of a hook, as a shell reads it.
#[must_use]
pub fn hook_command(program: &str, agent: &str) -> String {
    format!("{} hook {agent}", shell_word(program))
}

/// One word to a POSIX shell.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether a command line is a hook of ours for `agent`, wherever the program lies.
fn is_own_hook(line: &str, agent: &str) -> bool {
    let program = line.strip_suffix(agent).and_then(|line| line.strip_suffix(" hook "));
    program.is_some_and(|program| is_ours(program.trim_matches(['\'', '"'])))
}

fn element(shape: HookShape, command: &str, matcher: Option<&'static str>) -> Node {
    let command = ("command", Node::text(command));
    let matcher = matcher.map(|matcher| ("matcher", Node::text(matcher)));
    match shape {
        HookShape::Groups { timeout, name } => {
            let mut hook = vec![("type", Node::text("command")), command];
            if name {
                hook.insert(0, ("name", Node::text(ENTRY)));
            }
            hook.push(("timeout", Node::Number(timeout)));
            let hooks = ("hooks", Node::List(vec![Node::Map(hook)]));
            Node::Map(matcher.into_iter().chain([hooks]).collect())
        }
        HookShape::Versioned { timeout } => {
            let timeout = ("timeout", Node::Number(timeout));
            Node::Map([command].into_iter().chain(matcher).chain([timeout]).collect())
        }
        // What the hook says is its reason for a refusal.
        HookShape::Plain => Node::Map(vec![command, ("show_output", Node::Bool(true))]),
    }
}

/// Where a hook of ours is: event, place in its list, and, in a group with others, place in that.
type Spot = (String, usize, Option<usize>);

/// The hooks of ours with their commands, in order.
fn own_hooks(root: Option<&Value<'_>>, agent: &str) -> Vec<(Spot, String)> {
    let mut found = Vec::new();
    let Some(Value::Object(events)) = root.and_then(|root| json::find(root, &[HOOKS])) else {
        return found;
    };
    let own = |value: &Value<'_>| {
        let line = json::text_of(value, "command")?;
        is_own_hook(line, agent).then(|| line.to_owned())
    };
    for event in &events.properties {
        let name = event.name.as_str();
        for (at, element) in json::elements(&event.value).iter().enumerate() {
            let group = json::find(element, &[HOOKS]).map(json::elements).unwrap_or_default();
            let inner: Vec<_> = group.iter().map(own).collect();
            let whole = own(element).or_else(|| {
                // A group of nothing else goes as a whole.
                let all = inner.iter().all(Option::is_some);
                inner.first().filter(|_| all).cloned().flatten()
            });
            if let Some(command) = whole {
                found.push(((name.to_owned(), at, None), command));
                continue;
            }
            for (inner, command) in inner.into_iter().enumerate() {
                let spot = || (name.to_owned(), at, Some(inner));
                found.extend(command.map(|command| (spot(), command)));
            }
        }
    }
    found
}

/// Whether there is one hook for each event, as it would be written now, and none besides.
fn hooks_are_current(
    root: Option<&Value<'_>>,
    shape: HookShape,
    command: &str,
    own: &[(Spot, String)],
    events: &[Event],
) -> bool {
    own.len() == events.len()
        && events.iter().all(|(event, matcher)| {
            let wanted = element(shape, command, *matcher);
            let list = root.and_then(|root| json::find(root, &[HOOKS, event]));
            list.is_some_and(|list| json::elements(list).iter().any(|element| wanted.is(element)))
        })
}

fn install_hooks(
    planned: &mut Planned,
    shape: HookShape,
    command: &str,
    agent: &str,
    events: &[Event],
) -> Result<(), Trouble> {
    let current = json::read(&planned.text, |root| {
        let own = own_hooks(root, agent);
        hooks_are_current(root, shape, command, &own, events)
    })?;
    if current {
        return Ok(());
    }
    let mut text = without_hooks(&planned.text, agent)?;
    let has = |text: &str, path: &[&str]| {
        json::read(text, |root| root.and_then(|root| json::find(root, path)).is_some())
    };
    if matches!(shape, HookShape::Versioned { .. }) && !has(&text, &["version"])? {
        planned.memory.note_made(&["version"]);
        text = json::set(&text, &["version"], &New::Value(&Node::Number(1)))?;
    }
    for (event, matcher) in events {
        for path in [&[HOOKS][..], &[HOOKS, event]] {
            if !has(&text, path)? {
                planned.memory.note_made(path);
            }
        }
        text = json::append(&text, &[HOOKS, event], &element(shape, command, *matcher))?;
    }
    planned.text = text;
    Ok(())
}

fn without_hooks(text: &str, agent: &str) -> Result<String, Trouble> {
    let own = json::read(text, |root| own_hooks(root, agent))?;
    let mut text = text.to_owned();
    // From the last to the first, so that the places before it stay true.
    for ((event, at, inner), _) in own.iter().rev() {
        text = match inner {
            Some(inner) => {
                let path = [HOOKS, event, &at.to_string(), HOOKS];
                json::remove_element(&text, &path, *inner)?
            }
            None => json::remove_element(&text, &[HOOKS, event], *at)?,
        };
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &[Event] = &[("Stop", None), ("PreToolUse", Some("Write"))];
    const HOOK_PARTS: &[Part] = &[Part::Hooks {
        shape: HookShape::Groups { timeout: 5, name: false },
        agent: "codex",
        events: EVENTS,
    }];

    fn installed(text: &str, program: &str) -> Planned {
        install(Some(text), HOOK_PARTS, program, &Memory::default()).unwrap()
    }

    #[test]
    fn hooks_of_others_stay_even_in_one_group_with_ours() {
        let mine = r#"{"hooks": {"Stop": [{"hooks": [{"command": "mine"}, {"command": "/old/slm-mesh hook codex"}]}], "Other": [{"hooks": [{"command": "/old/slm-mesh hook codex"}, {"command": "'/o d/slm-mesh' hook codex"}]}]}}"#;
        let planned = installed(mine, "/new/slm-mesh");
        assert!(
            !planned.text.contains("/old") && !planned.text.contains("o d"),
            "{}",
            planned.text
        );
        assert_eq!(planned.text.matches("/new/slm-mesh hook codex").count(), EVENTS.len());
        assert!(planned.text.contains(r#"{"hooks": [{"command": "mine"}]}"#), "{}", planned.text);
        let again = installed(&planned.text, "/new/slm-mesh");
        assert_eq!(again.text, planned.text);
        let without = uninstall(&planned.text, HOOK_PARTS, &planned.memory).unwrap();
        assert_eq!(
            without,
            r#"{"hooks": {"Stop": [{"hooks": [{"command": "mine"}]}], "Other": []}}"#
        );
    }

    #[test]
    fn a_hook_for_another_agent_or_by_another_program_is_none_of_ours() {
        for (line, own) in [
            ("/x/slm-mesh hook codex", true),
            ("'/a b/slm-mesh' hook codex", true),
            ("slm-mesh hook codex", true),
            ("/x/slm-mesh-1.2 hook codex", true),
            ("/x/slm-mesh hook cursor", false),
            ("/x/slm-mesher hook codex", false),
            ("/x/other hook codex", false),
            ("/x/slm-mesh hook codex --more", false),
            ("hook codex", false),
        ] {
            assert_eq!(is_own_hook(line, "codex"), own, "{line}");
        }
    }

    #[test]
    fn a_path_is_one_word_to_the_shell() {
        for path in [
            "/usr/bin/slm-mesh",
            "/a b/slm-mesh",
            "/a'b/slm-mesh",
            "/$(x)/`y`/slm-mesh",
            "/é/slm-mesh",
        ] {
            let command = hook_command(path, "codex");
            let shell = format!("set -- {command}; printf '%s|' \"$@\"");
            let said = std::process::Command::new("sh").args(["-c", &shell]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{path}|hook|codex|"));
            assert!(is_own_hook(&command, "codex"), "{command}");
        }
    }

    #[test]
    fn only_what_says_nothing_is_blank() {
        for (text, blank) in [
            ("", true),
            (" \n", true),
            ("{}\n", true),
            ("\u{feff}{ }", true),
            ("{\"a\": 1}", false),
            ("// c\n{}", false),
        ] {
            assert_eq!(is_blank(text), blank, "{text:?}");
        }
    }

    #[test]
    fn whatever_an_object_has_stays_in_it() {
        // Members in any combination, on one line and on many, with and without comments.
        let members = [
            "\"a\": 1",
            "\"b\": {\"c\": [1, {\"d\": null}]}",
            "\"mcpServers\": {\"x\": {}}",
            "\"e\": \"}\\\"//\"",
        ];
        let part = [Part::Server(Shape::Json { list: "mcpServers", kind: true, env: true })];
        let layouts = [
            ("{", ", ", "", "}"),
            ("{\n  ", ",\n  ", "", "\n}\n"),
            ("{ // s\r\n\t", ", /* m */ // n\r\n\t", ",", " // t\r\n}"),
            ("/* {} */{", "\n,", "/**/", "}//"),
        ];
        for chosen in 0..1 << members.len() {
            let some: Vec<_> = (0..members.len())
                .filter(|bit| chosen >> bit & 1 == 1)
                .map(|bit| members[bit])
                .collect();
            for (open, between, last, close) in layouts {
                let last = if some.is_empty() { "" } else { last };
                let text = format!("{open}{}{last}{close}", some.join(between));
                let planned =
                    install(Some(&text), &part, "/p/slm-mesh", &Memory::default()).unwrap();
                let look = look(&planned.text, &part[0], "/p/slm-mesh").unwrap();
                assert_eq!(look.0, Found::Current, "{text}\n{}", planned.text);
                let mut rest = planned.text.chars();
                // What there was is there in its order; commas may be new.
                for c in text.chars().filter(|c| !c.is_whitespace()) {
                    assert!(
                        rest.any(|other| other == c),
                        "{c:?} of\n{text}\nis not in\n{}",
                        planned.text
                    );
                }
                let without = uninstall(&planned.text, &part, &planned.memory).unwrap();
                let bare = |text: &str| text.split_whitespace().collect::<String>();
                let comma = |text: &str| bare(text).replace(',', "");
                assert_eq!(comma(&without), comma(&text), "{}", planned.text);
            }
        }
    }
}
