//! Our table in Codex' file, read with spans and changed by splices.
//!
//! The editor of `toml_edit` itself (0.25) would not do: it turns all line ends into `\n`, reorders dotted
//! keys, and removes the comments above a table together with it.

use std::ops::Range;

use toml_edit::{Document, Item};

use super::plan::Program;
use super::plan::server::Entry;
use super::text::{Splice, apply, line_start, newline, next_line, with_empty_line};
use super::{ENTRY, Trouble, json};
use crate::config::DATA_DIR;

/// The table of all servers.
const SERVERS: &str = "mcp_servers";

/// Where the entry is.
enum At {
    /// Nowhere.
    Absent,
    /// To be put into the inline table that ends before this byte, which is empty or not.
    Inline { end: usize, is_empty: bool },
}

pub(super) fn parse(text: &str) -> Result<Document<&str>, Trouble> {
    Document::parse(text).map_err(|error| {
        let what = error.message().lines().next().unwrap_or_default();
        Trouble::malformed(text, error.span().map_or(0, |span| span.start), what)
    })
}

fn entry<'a>(document: &'a Document<&str>) -> Option<&'a Item> {
    document.as_table().get(SERVERS)?.as_table_like()?.get(ENTRY)
}

/// The entry, if there is one.
///
/// # Errors
/// The text is no TOML.
pub(super) fn find(text: &str) -> Result<Option<Entry>, Trouble> {
    let document = parse(text)?;
    let Some(item) = entry(&document) else { return Ok(None) };
    let get = |key: &str| item.as_table_like().and_then(|table| table.get(key));
    let command = get("command").and_then(Item::as_str).map(str::to_owned);
    let args = get("args").and_then(Item::as_array).into_iter().flatten();
    let args = args.map(|value| value.as_str().unwrap_or("?").to_owned()).collect();
    let env = get("env").and_then(Item::as_table_like);
    let data_dir = env.and_then(|env| env.get(DATA_DIR)).and_then(Item::as_str).map(str::to_owned);
    let is_off = get("enabled").and_then(Item::as_bool) == Some(false);
    Ok(Some(Entry { command, args, data_dir, is_off }))
}

/// Adds the entry, which is not there yet.
///
/// # Errors
/// The text is no TOML, or `mcp_servers` is no table.
pub(super) fn add(text: &str, program: &Program) -> Result<String, Trouble> {
    let at = whereabouts(text)?;
    let line = newline(text);
    let done = match at {
        At::Inline { end, is_empty } => {
            let comma = if is_empty { " " } else { ", " };
            let inner = text.get(..end).unwrap_or_default().trim_end().len();
            let entry = format!("{comma}{} ", inline(program));
            apply(text, &[Splice { range: inner..end, with: entry }])
        }
        At::Absent => {
            let before = match text {
                "" => String::new(),
                text if text.ends_with('\n') => line.to_owned(),
                _ => format!("{line}{line}"),
            };
            format!("{text}{before}{}", block(program, line))
        }
    };
    checked(done)
}

/// Gives the entry another command and no arguments, and leaves the rest of it.
///
/// # Errors
/// The text is no TOML, or the entry has no command.
pub(super) fn update(text: &str, program: &Program) -> Result<String, Trouble> {
    let document = parse(text)?;
    let table = entry(&document).and_then(Item::as_table_like).ok_or(Trouble::Internal)?;
    let span = |key: &str| table.get(key).and_then(Item::span);
    let at = span("command").ok_or(Trouble::Internal)?;
    let mut splices = vec![Splice { range: at.clone(), with: quoted(&program.path) }];
    splices.extend(span("args").map(|range| Splice { range, with: "[]".into() }));
    let dir = quoted(&program.data_dir);
    let env = table.get("env").and_then(Item::as_table_like);
    let known = env.and_then(|env| env.get(DATA_DIR)).and_then(Item::span);
    match (known, span("env"), program.is_usual_dir) {
        (Some(range), ..) => splices.push(Splice { range, with: dir }),
        (None, _, true) => {}
        // After its bracket, in a line of its own if it has a header.
        (None, Some(env), false) => {
            let header = text.get(env.start..).is_some_and(|env| env.starts_with('['));
            let (at, end) = if header {
                (next_line(text, env.start), newline(text))
            } else {
                (env.start + 1, ",")
            };
            splices.push(Splice::insert(at, format!(" {DATA_DIR} = {dir}{end}")));
        }
        (None, None, false) => {
            let inline = entry(&document).is_some_and(Item::is_inline_table);
            let (at, before) =
                if inline { (at.end, ", ".into()) } else { (at.end, newline(text).to_owned()) };
            splices.push(Splice::insert(at, format!("{before}env = {{ {DATA_DIR} = {dir} }}")));
        }
    }
    splices.sort_by_key(|splice| splice.range.start);
    checked(apply(text, &splices))
}

/// Takes the entry out; what it was comes with the rest.
///
/// # Errors
/// The text is no TOML, or the entry is written in a way that is not understood.
pub(super) fn remove(text: &str) -> Result<(String, Option<String>), Trouble> {
    swap(text, None)
}

/// Puts an entry of our own in the place of the entry; what it was comes with the rest.
///
/// # Errors
/// As [`remove`].
pub(super) fn replace(text: &str, program: &Program) -> Result<(String, Option<String>), Trouble> {
    let line = newline(text);
    let is_inline = matches!(whereabouts(text)?, At::Inline { .. });
    let new = if is_inline { inline(program) } else { block(program, line) };
    swap(text, Some(&new))
}

/// Puts back what [`remove`] or [`replace`] gave, in the place of the entry.
///
/// # Errors
/// It does not fit any more.
pub(super) fn restore(text: &str, old: &str) -> Result<String, Trouble> {
    Ok(swap(text, Some(old))?.0)
}

/// The entry as a table with a header.
fn block(program: &Program, line: &str) -> String {
    let command = quoted(&program.path);
    let env = env(program).map(|env| format!("{env}{line}")).unwrap_or_default();
    format!("[{SERVERS}.{ENTRY}]{line}command = {command}{line}args = []{line}{env}")
}

/// The entry as a member of an inline table.
fn inline(program: &Program) -> String {
    let env = env(program).map(|env| format!(", {env}")).unwrap_or_default();
    format!("{ENTRY} = {{ command = {}, args = []{env} }}", quoted(&program.path))
}

/// The variables, if there are any.
fn env(program: &Program) -> Option<String> {
    Some(format!("env = {{ {DATA_DIR} = {} }}", quoted(program.told_dir()?)))
}

fn swap(text: &str, new: Option<&str>) -> Result<(String, Option<String>), Trouble> {
    let document = parse(text)?;
    let Some(item) = entry(&document) else { return Ok((text.into(), None)) };
    let servers = document.as_table().get(SERVERS);
    if let Some(inline) = servers.and_then(Item::as_inline_table) {
        return swap_inline(text, inline, new);
    }
    let Some(table) = item.as_table().filter(|table| !table.is_dotted()) else {
        return Err(Trouble::not_a(text, Some(&[SERVERS, ENTRY]), "a table with a header", 0));
    };
    // From its header to the last line of its last value; tables within it go with it.
    let blocks = blocks(text, table);
    let whole = whole(&blocks).ok_or(Trouble::Internal)?;
    let old = text.get(whole.clone()).unwrap_or_default().to_owned();
    // A table of someone else in between stays.
    let headers = old.lines().filter(|line| line.trim_start().starts_with('[')).count();
    let is_header = |block: &&Range<usize>| {
        text.get((*block).clone()).is_some_and(|text| text.trim_start().starts_with('['))
    };
    let own = blocks.iter().filter(is_header).count();
    let mut splices: Vec<_> = if headers <= own {
        vec![Splice::remove(whole.clone())]
    } else {
        blocks.into_iter().map(Splice::remove).collect()
    };
    if let Some(splice) = splices.first_mut() {
        if let Some(new) = new {
            new.clone_into(&mut splice.with);
        } else {
            splice.range = with_empty_line(text, splice.range.clone());
        }
    }
    Ok((checked(apply(text, &splices))?, Some(old)))
}

/// The lines in which the parts of a table stand, in order.
pub(super) fn blocks(text: &str, table: &toml_edit::Table) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    collect(table, &mut spans);
    let lines = |span: Range<usize>| {
        line_start(text, span.start)..next_line(text, span.end.saturating_sub(1))
    };
    let mut blocks: Vec<_> = spans.into_iter().map(lines).collect();
    blocks.sort_by_key(|block| block.start);
    blocks.dedup();
    blocks
}

/// From the first to the last of them.
pub(super) fn whole(blocks: &[Range<usize>]) -> Option<Range<usize>> {
    Some(blocks.first()?.start..blocks.last()?.end)
}

fn collect(table: &toml_edit::Table, spans: &mut Vec<Range<usize>>) {
    spans.extend(table.span());
    for (key, item) in table {
        match item {
            Item::Table(inner) => collect(inner, spans),
            Item::ArrayOfTables(inner) => inner.iter().for_each(|table| collect(table, spans)),
            _ => {
                spans.extend(item.span());
                spans.extend(table.key(key).and_then(toml_edit::Key::span));
            }
        }
    }
}

fn swap_inline(
    text: &str,
    servers: &toml_edit::InlineTable,
    new: Option<&str>,
) -> Result<(String, Option<String>), Trouble> {
    let keys: Vec<_> = servers.iter().map(|(key, _)| key).collect();
    let span = |key: &str| {
        let start = servers.key(key).and_then(toml_edit::Key::span)?.start;
        Some(start..servers.get(key)?.span()?.end)
    };
    let index = keys.iter().position(|key| *key == ENTRY).ok_or(Trouble::Internal)?;
    let own = span(ENTRY).ok_or(Trouble::Internal)?;
    let old = text.get(own.clone()).unwrap_or_default().to_owned();
    let splice = if let Some(new) = new {
        Splice { range: own, with: new.into() }
    } else {
        let next = keys.get(index + 1).and_then(|key| span(key));
        let previous = index.checked_sub(1).and_then(|index| span(keys.get(index)?));
        Splice::remove(match (previous, next) {
            (Some(previous), _) => previous.end..own.end,
            (None, Some(next)) => own.start..next.start,
            (None, None) => own,
        })
    };
    Ok((checked(apply(text, &[splice]))?, Some(old)))
}

fn whereabouts(text: &str) -> Result<At, Trouble> {
    let document = parse(text)?;
    match document.as_table().get(SERVERS) {
        None => Ok(At::Absent),
        Some(item) => match (item.as_inline_table(), item.span()) {
            (Some(table), Some(span)) => {
                Ok(At::Inline { end: span.end.saturating_sub(1), is_empty: table.is_empty() })
            }
            _ if item.is_table() => Ok(At::Absent),
            (_, span) => {
                let at = span.map_or(0, |span| span.start);
                Err(Trouble::not_a(text, Some(&[SERVERS]), "a table", at))
            }
        },
    }
}

/// A basic string (TOML 1.0, "String"): JSON's escapes are a subset of its own.
pub(super) fn quoted(text: &str) -> String {
    json::quoted(text).replace('\u{7f}', "\\u007F")
}

pub(super) fn checked(text: String) -> Result<String, Trouble> {
    match parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(Trouble::Internal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str) -> Program {
        Program { path: path.into(), is_usual_dir: true, ..Program::default() }
    }

    #[test]
    fn added_at_the_end_and_taken_out_again() {
        for text in [
            "",
            "model = \"x\"\n",
            "model = \"x\"",
            "model = \"x\" # c\r\n\r\n[mcp_servers.a]\r\ncommand = \"q\"\r\n# tail\r\n",
            "[mcp_servers]\na = { command = \"x\" }\n",
            "mcp_servers.a.command = \"x\"\n",
        ] {
            let added = add(text, &program("/a b/slm-mesh")).unwrap();
            assert!(added.starts_with(text), "{added}");
            let found = find(&added).unwrap().unwrap();
            assert_eq!(found.command.as_deref(), Some("/a b/slm-mesh"));
            assert_eq!(found.args, Vec::<String>::new());
            assert_eq!(added.contains("\r\n"), text.contains("\r\n"));
            let (left, old) = remove(&added).unwrap();
            assert_eq!(left.trim_end(), text.trim_end(), "{added:?}");
            assert!(old.unwrap().starts_with("[mcp_servers.slm-mesh]"));
        }
    }

    #[test]
    fn inline_tables_get_their_entry_inside() {
        for (text, expected) in [
            (
                "mcp_servers = {}\n",
                "mcp_servers = { slm-mesh = { command = \"/x\", args = [] } }\n",
            ),
            (
                "mcp_servers = { a = {command=\"q\"} } # c\n",
                "mcp_servers = { a = {command=\"q\"}, slm-mesh = { command = \"/x\", args = [] } } # c\n",
            ),
        ] {
            let added = add(text, &program("/x")).unwrap();
            assert_eq!(added, expected);
            let (left, old) = remove(&added).unwrap();
            assert!(find(&left).unwrap().is_none(), "{left}");
            let (other, ours) = replace(&added, &program("/y")).unwrap();
            assert_eq!((&ours, other), (&old, added.replace("/x", "/y")));
            assert_eq!(restore(&added.replace("/x", "/y"), &old.unwrap()).unwrap(), added);
        }
    }

    #[test]
    fn an_entry_is_taken_out_with_what_belongs_to_it_and_nothing_else() {
        let text = "# mine\n[mcp_servers.slm-mesh]\ncommand = \"node\" # why\nargs = [\n \"x.js\",\n]\n\n\
                    [mcp_servers.slm-mesh.env]\nA = \"1\"\n\n# other\n[mcp_servers.b]\ncommand = \"b\"\n";
        let (left, old) = remove(text).unwrap();
        assert_eq!(left, "# mine\n\n# other\n[mcp_servers.b]\ncommand = \"b\"\n");
        // Replaced, it keeps its place, and comes back to it.
        let (replaced, same) = replace(text, &program("/x")).unwrap();
        assert_eq!(same, old);
        let ours = "[mcp_servers.slm-mesh]\ncommand = \"/x\"\nargs = []\n";
        let expected = format!("# mine\n{ours}\n# other\n[mcp_servers.b]\ncommand = \"b\"\n");
        assert_eq!(replaced, expected);
        assert_eq!(restore(&replaced, &old.unwrap()).unwrap(), text);
        // With a table of someone else in between, each goes by itself.
        let text = "[mcp_servers.slm-mesh]\ncommand = \"x\"\nargs = [\"y\"]\n[other]\na = 1 # one\n\
                    [mcp_servers.slm-mesh.env]\nA = \"1\"\n";
        assert_eq!(remove(text).unwrap().0, "[other]\na = 1 # one\n");
    }

    #[test]
    fn another_path_is_changed_in_its_place() {
        let text = "[mcp_servers.slm-mesh]\nargs = [\"mcp\"]   # a\ncommand = 'old/slm-mesh'\nenabled = true\n";
        let updated = update(text, &program("/new")).unwrap();
        assert_eq!(
            updated,
            "[mcp_servers.slm-mesh]\nargs = []   # a\ncommand = \"/new\"\nenabled = true\n"
        );
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_place() {
        for (text, place) in [("a = 1\nb = = 2\n", (2, 5)), ("[x\n", (1, 3)), ("é = 1", (1, 1))] {
            let Err(Trouble::Malformed { line, column, what }) = add(text, &program("/x")) else {
                panic!("{text}");
            };
            assert_eq!((line, column), place, "{text}: {what}");
        }
        assert!(matches!(add("mcp_servers = 5", &program("/x")), Err(Trouble::Unexpected(_))));
    }

    #[test]
    fn another_data_directory_is_among_the_variables() {
        let other = Program { path: "/x".into(), data_dir: "/d".into(), is_usual_dir: false };
        let dir = |text: &str| find(text).unwrap().unwrap().data_dir;
        for text in ["", "mcp_servers = {}\n"] {
            let added = add(text, &other).unwrap();
            assert_eq!(dir(&added).as_deref(), Some("/d"), "{added}");
        }
        let head = "[mcp_servers.slm-mesh]\ncommand = \"/old/slm-mesh\"\n";
        for env in [
            "",
            "env = {}\n",
            "env = { A = \"1\" }\n",
            "env = { SLM_MESH_DATA_DIR = \"/e\" }\n",
            "[mcp_servers.slm-mesh.env]\nA = \"1\"\n",
            "[mcp_servers.slm-mesh.env]\nSLM_MESH_DATA_DIR = \"/e\"\n",
        ] {
            let updated = update(&format!("{head}{env}"), &other).unwrap();
            assert_eq!(dir(&updated).as_deref(), Some("/d"), "{updated}");
            assert_eq!(updated.contains("A = "), env.contains("A = "), "{updated}");
        }
        let inline = "mcp_servers = { slm-mesh = { command = \"/old/slm-mesh\" } }\n";
        assert_eq!(dir(&update(inline, &other).unwrap()).as_deref(), Some("/d"));
    }
}
