//! Hooks in a TOML file: `[[hooks]]`, one table for each event.

use toml_edit::{Document, Item, Table};

use super::Trouble;
use super::plan::hooks::{Own, Wanted, command, is_own};
use super::text::{Splice, apply, newline, with_empty_line};
use super::toml::{blocks, checked, parse, quoted, whole};

const HOOKS: &str = "hooks";

fn tables<'a>(text: &str, document: &'a Document<&str>) -> Result<Vec<&'a Table>, Trouble> {
    let Some(item) = document.as_table().get(HOOKS) else { return Ok(Vec::new()) };
    let at = item.span().map_or(0, |span| span.start);
    let hooks = item.as_array_of_tables();
    let hooks = hooks
        .ok_or_else(|| Trouble::not_a(text, Some(&[HOOKS]), "a list of tables, [[hooks]]", at))?;
    Ok(hooks.iter().collect())
}

/// The hooks of ours, in order; each is a group of its own.
///
/// # Errors
/// The text is no TOML, or its hooks are written in another way.
pub(super) fn own(text: &str, agent: &str) -> Result<Vec<Own>, Trouble> {
    let document = parse(text)?;
    let own = |(group, table): (usize, &Table)| {
        let get = |key: &str| table.get(key).and_then(Item::as_str).map(str::to_owned);
        let (event, command, matcher) = (get("event")?, get("command")?, get("matcher"));
        let seconds = table.get("timeout").and_then(Item::as_integer);
        let seconds = seconds.and_then(|seconds| seconds.try_into().ok());
        let waits = is_own(&command, agent)?;
        Some(Own { event, group, inner: None, command, matcher, seconds, waits })
    };
    Ok(tables(text, &document)?.into_iter().enumerate().filter_map(own).collect())
}

/// Whether there is one hook for each event, as it would be written now, and none besides.
pub(super) fn are_current(own: &[Own], wanted: &Wanted<'_>) -> bool {
    let Wanted { agent, events, program, .. } = *wanted;
    own.len() == events.len()
        && own.iter().zip(events).all(|(own, event)| {
            own.event == event.name
                && own.command == command(program, agent, event.waits)
                && own.matcher.as_deref() == event.matcher
                && own.seconds == Some(event.seconds.into())
        })
}

/// Puts the hooks in, at the end.
///
/// # Errors
/// As [`own`].
pub(super) fn install(text: &str, wanted: &Wanted<'_>) -> Result<String, Trouble> {
    let Wanted { agent, events, program, .. } = *wanted;
    if are_current(&own(text, agent)?, wanted) {
        return Ok(text.into());
    }
    let mut text = uninstall(text, agent)?;
    let line = newline(&text);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(line);
    }
    for event in events {
        let blank = if text.is_empty() { "" } else { line };
        let matcher = event.matcher.map(|matcher| format!("matcher = {}{line}", quoted(matcher)));
        text = format!(
            "{text}{blank}[[{HOOKS}]]{line}event = {}{line}{}command = {}{line}timeout = {}{line}",
            quoted(event.name),
            matcher.unwrap_or_default(),
            quoted(&command(program, agent, event.waits)),
            event.seconds,
        );
    }
    checked(text)
}

/// Takes the hooks of ours out, each with the empty line before it.
///
/// # Errors
/// As [`own`].
pub(super) fn uninstall(text: &str, agent: &str) -> Result<String, Trouble> {
    let document = parse(text)?;
    let tables = tables(text, &document)?;
    let own = own(text, agent)?;
    let lines = own.iter().filter_map(|own| whole(&blocks(text, tables.get(own.group)?)));
    let splices: Vec<_> = lines.map(|lines| Splice::remove(with_empty_line(text, lines))).collect();
    checked(apply(text, &splices))
}

#[cfg(test)]
mod tests {
    use super::super::plan::Program;
    use super::*;
    use crate::agents::{Event, HookShape};

    const EVENTS: &[Event] = &[
        Event { name: "PreToolUse", matcher: Some("Write"), seconds: 5, waits: false },
        Event { name: "Stop", matcher: None, seconds: 5, waits: false },
    ];

    fn put_in(text: &str, path: &str) -> Result<String, Trouble> {
        let program = Program { path: path.into(), is_usual_dir: true, ..Program::default() };
        let (shape, agent, events) = (HookShape::Toml, "kimi", EVENTS);
        install(text, &Wanted { shape, agent, events, program: &program })
    }

    #[test]
    fn put_in_and_taken_out_again_with_those_of_others_around() {
        for text in [
            "",
            "a = 1",
            "a = 1\r\n",
            "# top\na = 1\n\n[[hooks]]\nevent = \"Stop\" # mine\ncommand = \"mine\"\n",
        ] {
            let put = put_in(text, "/a b/slm-mesh").unwrap();
            assert!(put.starts_with(text), "{put}");
            assert_eq!(own(&put, "kimi").unwrap().len(), 2, "{put}");
            assert_eq!(put.contains("\r\n"), text.contains("\r\n"));
            assert_eq!(put_in(&put, "/a b/slm-mesh").unwrap(), put);
            let moved = put_in(&put, "/b/slm-mesh").unwrap();
            assert!(!moved.contains("/a b") && moved.contains("/b/slm-mesh hook kimi"), "{moved}");
            let more = format!("{moved}\n[b]\nc = 1\n");
            let out = uninstall(&more, "kimi").unwrap();
            let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
            let expected = format!("{}\n\n[b]\nc = 1", text.trim_end());
            assert_eq!(lines(out.trim()), lines(expected.trim()));
        }
    }

    #[test]
    fn hooks_in_another_form_are_refused() {
        let text = "hooks = []\n";
        let refused = put_in(text, "/x/slm-mesh").unwrap_err();
        assert!(matches!(refused, Trouble::Unexpected(why) if why.contains("[[hooks]]")));
    }
}
