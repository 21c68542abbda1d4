//! Hooks: which are ours, and what they are to be.

use jsonc_parser::ast::Value;

use super::{Found, Look, Planned, Program, is_ours};
use crate::agents::{Event, HookShape};
use crate::setup::json::{self, Node};
use crate::setup::{ENTRY, Trouble, toml_hooks};

/// The name of the list of hooks, in each agent's file.
pub(super) const HOOKS: &str = "hooks";
/// What Claude Code shows when a hook that waited has woken it.
const WOKEN: &str = "slm-mesh: a message arrived";
/// The argument that makes a hook wait.
const WAIT: &str = " --wait";

/// The hooks that are to be in a file.
#[derive(Clone, Copy)]
pub(in crate::setup) struct Wanted<'a> {
    pub(in crate::setup) shape: HookShape,
    pub(in crate::setup) agent: &'a str,
    pub(in crate::setup) events: &'a [Event],
    pub(in crate::setup) program: &'a Program,
}

/// The command line of a hook, as a shell reads it.
#[must_use]
pub fn command(program: &Program, agent: &str, waits: bool) -> String {
    let wait = if waits { WAIT } else { "" };
    let mut line = format!("{} hook {agent}{wait}", shell_word(&program.path));
    if let Some(dir) = program.told_dir() {
        line.push_str(" --data-dir ");
        line.push_str(&shell_word(dir));
    }
    line
}

/// One word to a POSIX shell.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether a command line is a hook of ours for `agent`, wherever the program lies; and if so,
/// whether it waits.
pub(crate) fn is_own(line: &str, agent: &str) -> Option<bool> {
    let (program, rest) = line.split_once(&format!(" hook {agent}"))?;
    let waits = rest.starts_with(WAIT);
    let rest = rest.strip_prefix(WAIT).unwrap_or(rest);
    let is_own = (rest.is_empty() || rest.starts_with(" --data-dir "))
        && is_ours(program.trim_matches(['\'', '"']));
    is_own.then_some(waits)
}

/// A hook of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// For which event.
    pub event: String,
    /// Its place in the list of that event.
    pub group: usize,
    /// Its place in a group with hooks of others.
    pub inner: Option<usize>,
    /// Its command line.
    pub command: String,
    /// For which tools.
    pub matcher: Option<String>,
    /// Its time limit, if it has one.
    pub seconds: Option<u64>,
    /// It waits in the background.
    pub waits: bool,
}

/// The hooks of ours in a text, in order.
///
/// # Errors
/// The text cannot be read.
pub fn own(text: &str, shape: HookShape, agent: &str) -> Result<Vec<Own>, Trouble> {
    json::read(text, |root| own_in(root, shape, agent))
}

/// The member with the command line.
fn line_of(shape: HookShape) -> &'static str {
    if shape == HookShape::Bash { "bash" } else { "command" }
}

fn own_in(root: Option<&Value<'_>>, shape: HookShape, agent: &str) -> Vec<Own> {
    let mut found = Vec::new();
    let Some(Value::Object(events)) = root.and_then(|root| json::find(root, &[HOOKS])) else {
        return found;
    };
    for event in &events.properties {
        for (group, element) in json::elements(&event.value).iter().enumerate() {
            let own = |value: &Value<'_>| {
                let line = json::text_of(value, line_of(shape))?;
                let seconds = match json::find(value, &["timeout"]) {
                    Some(Value::NumberLit(number)) => number.value.parse().ok(),
                    _ => None,
                };
                Some(Own {
                    event: event.name.as_str().to_owned(),
                    group,
                    inner: None,
                    command: line.to_owned(),
                    matcher: json::text_of(element, "matcher").map(str::to_owned),
                    seconds,
                    waits: is_own(line, agent)?,
                })
            };
            if let Some(own) = own(element) {
                found.push(own);
                continue;
            }
            let hooks = json::find(element, &[HOOKS]).map(json::elements).unwrap_or_default();
            let inner: Vec<_> = hooks.iter().map(own).collect();
            if inner.iter().all(Option::is_some) {
                // A group of nothing else is one.
                found.extend(inner.into_iter().next().flatten());
                continue;
            }
            for (at, own) in inner.into_iter().enumerate() {
                found.extend(own.map(|own| Own { inner: Some(at), ..own }));
            }
        }
    }
    found
}

/// The place of the hook for an event.
struct Slot {
    /// The one of ours that it takes the place of.
    at: Option<usize>,
    /// It is there already, as it is to be.
    same: bool,
}

impl Wanted<'_> {
    fn element(&self, event: &Event) -> Node {
        let line = Node::text(command(self.program, self.agent, event.waits));
        let matcher = event.matcher.map(|matcher| ("matcher", Node::text(matcher)));
        let kind = ("type", Node::text("command"));
        let mut hook = Vec::new();
        match self.shape {
            HookShape::Groups { second, name } => {
                if name {
                    hook.push(("name", Node::text(ENTRY)));
                }
                hook.extend([kind, ("command", line)]);
                if event.waits {
                    hook.push(("asyncRewake", Node::Bool(true)));
                }
                hook.push(("timeout", Node::Number(event.seconds * second)));
                if event.waits {
                    hook.push(("rewakeSummary", Node::text(WOKEN)));
                }
                let hooks = ("hooks", Node::Lines(vec![Node::Map(hook)]));
                return Node::Map(matcher.into_iter().chain([hooks]).collect());
            }
            HookShape::Versioned => {
                hook.push(("command", line));
                hook.extend(matcher);
                hook.push(("timeout", Node::Number(event.seconds)));
            }
            // What the hook says is its reason for a refusal.
            HookShape::Plain => hook.extend([("command", line), ("show_output", Node::Bool(true))]),
            HookShape::Bash | HookShape::Toml => {
                hook.extend([kind, ("bash", line)]);
                hook.extend(matcher);
                hook.push(("timeoutSec", Node::Number(event.seconds)));
            }
        }
        Node::Map(hook)
    }

    pub(super) fn look(&self, text: &str) -> Result<Look, Trouble> {
        let events = self.events;
        let (own, is_current) = if self.shape == HookShape::Toml {
            let own = toml_hooks::own(text, self.agent)?;
            let current = toml_hooks::are_current(&own, self);
            (own, current)
        } else {
            let (own, slots) = self.slots(text)?;
            let current = own.len() == events.len() && slots.iter().all(|slot| slot.same);
            (own, current)
        };
        let has = |event: &&Event| {
            own.iter().any(|own| own.event == event.name && own.waits == event.waits)
        };
        let name = |event: &Event| {
            let waits = if event.waits { " (the one that waits)" } else { "" };
            format!("{}{waits}", event.name)
        };
        Ok(Look {
            found: match own.first() {
                None => Found::Absent,
                Some(_) if is_current => Found::Current,
                Some(_) => Found::Other,
            },
            missing: events.iter().filter(|event| !has(event)).map(name).collect(),
            command: own.into_iter().next().map(|own| own.command),
            ..Look::default()
        })
    }

    /// The hooks of ours in a text, and for each event which of them is meant for it.
    fn slots(&self, text: &str) -> Result<(Vec<Own>, Vec<Slot>), Trouble> {
        json::read(text, |root| {
            let own = own_in(root, self.shape, self.agent);
            let mut used = vec![false; own.len()];
            let mut find = |event: &Event| {
                // One among hooks of others is taken out, and made anew by itself.
                let fits = |own: &Own| {
                    own.event == event.name && own.waits == event.waits && own.inner.is_none()
                };
                let at = own.iter().zip(&used).position(|(own, used)| !used && fits(own));
                let Some((own, used)) = at.and_then(|at| Some((own.get(at)?, used.get_mut(at)?)))
                else {
                    return Slot { at: None, same: false };
                };
                *used = true;
                let path = [HOOKS, event.name, &own.group.to_string()];
                let value = root.and_then(|root| json::find(root, &path));
                let wanted = self.element(event);
                Slot { at, same: value.is_some_and(|value| wanted.is(value)) }
            };
            let slots = self.events.iter().map(&mut find).collect();
            (own, slots)
        })
    }

    pub(super) fn install(&self, planned: &mut Planned) -> Result<(), Trouble> {
        if self.shape == HookShape::Toml {
            planned.text = toml_hooks::install(&planned.text, self)?;
            return Ok(());
        }
        let mut text = planned.text.clone();
        let (own, slots) = self.slots(&text)?;
        // Each in its place: some agents remember a decision about a hook by its place.
        for (event, slot) in self.events.iter().zip(&slots).filter(|(_, slot)| !slot.same) {
            let Some(own) = slot.at.and_then(|at| own.get(at)) else { continue };
            let node = self.element(event);
            text = json::replace(&text, &[HOOKS, event.name, &own.group.to_string()], &node)?;
        }
        let kept: Vec<_> = slots.iter().filter_map(|slot| slot.at).collect();
        let others =
            own.iter().enumerate().filter(|(at, _)| !kept.contains(at)).map(|(_, own)| own);
        planned.text = without(&text, others)?;
        let has_version = json::read_at(&planned.text, &["version"], |version| version.is_some())?;
        if self.shape == HookShape::Versioned && !has_version {
            planned.note_missing(&["version"])?;
            planned.text = json::set(&planned.text, &["version"], Node::Number(1))?;
        }
        for (event, _) in self.events.iter().zip(&slots).filter(|(_, slot)| slot.at.is_none()) {
            let path = [HOOKS, event.name];
            planned.note_missing(&path)?;
            let node = self.element(event);
            planned.text = json::append(&planned.text, &path, node)?;
        }
        Ok(())
    }
}

pub(super) fn uninstall(text: &str, shape: HookShape, agent: &str) -> Result<String, Trouble> {
    if shape == HookShape::Toml {
        return toml_hooks::uninstall(text, agent);
    }
    without(text, own(text, shape, agent)?.iter())
}

/// The text without these hooks, which are in order.
fn without<'a>(
    text: &str,
    own: impl DoubleEndedIterator<Item = &'a Own>,
) -> Result<String, Trouble> {
    let mut text = text.to_owned();
    // From the last to the first, so that the places before it stay true.
    for own in own.rev() {
        let group = own.group.to_string();
        text = match own.inner {
            Some(inner) => json::remove_element(&text, &[HOOKS, &own.event, &group, HOOKS], inner)?,
            None => json::remove_element(&text, &[HOOKS, &own.event], own.group)?,
        };
    }
    Ok(text)
}
