//! Permission to use the tools without asking, and settings that have to be true.

use jsonc_parser::ast::Value;

use super::{Found, Look, Memory, Planned};
use crate::setup::Trouble;
use crate::setup::json::{self, Node};

/// Where Claude Code has its rules for what it may do unasked.
const ALLOWED: [&str; 2] = ["permissions", "allow"];
/// The tools of the server, and of the same server as the plugin brings it.
const RULES: [&str; 2] = ["mcp__slm-mesh__*", "mcp__plugin_slm-mesh_slm-mesh__*"];

fn rule(value: &Value<'_>) -> Option<&'static str> {
    let Value::StringLit(text) = value else { return None };
    // Without the star, it is the same rule.
    let text = text.value.trim_end_matches("__*");
    RULES.into_iter().find(|rule| rule.trim_end_matches("__*") == text)
}

/// Which rules are not there.
fn missing(text: &str) -> Result<Vec<&'static str>, Trouble> {
    json::read_at(text, &ALLOWED, |list| {
        let list = list.map(json::elements).unwrap_or_default();
        let has: Vec<_> = list.iter().filter_map(rule).collect();
        RULES.into_iter().filter(|rule| !has.contains(rule)).collect()
    })
}

pub(super) fn look_leave(text: &str) -> Result<Look, Trouble> {
    let missing = missing(text)?.len();
    let found = if missing < RULES.len() { Found::Current } else { Found::Absent };
    Ok(Look { found, ..Look::default() })
}

pub(super) fn allow(planned: &mut Planned) -> Result<(), Trouble> {
    let missing = missing(&planned.text)?;
    if planned.memory.program.is_none() {
        let had = RULES.into_iter().filter(|rule| !missing.contains(rule));
        planned.memory.had_leave = had.map(str::to_owned).collect();
    }
    for rule in missing {
        planned.note_missing(&ALLOWED)?;
        planned.text = json::append(&planned.text, &ALLOWED, Node::text(rule))?;
    }
    Ok(())
}

pub(super) fn forbid(text: &str, memory: &Memory) -> Result<String, Trouble> {
    let mut text = text.to_owned();
    let is_ours = |value: &Value<'_>| {
        rule(value).is_some_and(|rule| !memory.had_leave.iter().any(|had| had == rule))
    };
    loop {
        let at = json::read_at(&text, &ALLOWED, |list| {
            list.map(json::elements).unwrap_or_default().iter().position(is_ours)
        })?;
        let Some(at) = at else { return Ok(text) };
        text = json::remove_element(&text, &ALLOWED, at)?;
    }
}

pub(super) fn look(text: &str, name: &str) -> Result<Look, Trouble> {
    let found = json::read_at(text, &[name], |value| match value {
        None => Found::Absent,
        Some(Value::BooleanLit(value)) if value.value => Found::Current,
        Some(_) => Found::Other,
    })?;
    Ok(Look { found, ..Look::default() })
}

pub(super) fn set(planned: &mut Planned, name: &'static str) -> Result<(), Trouble> {
    match look(&planned.text, name)?.found {
        Found::Current => Ok(()),
        Found::Absent => {
            planned.note_missing(&[name])?;
            planned.text = json::set(&planned.text, &[name], Node::Bool(true))?;
            Ok(())
        }
        Found::Other => {
            Err(Trouble::Unexpected(format!("--wake needs `{name}`, which is not true there")))
        }
    }
}
