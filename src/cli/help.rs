//! `slm-mesh help` and `--help`, for the program and for each command, made from the catalogue.

use std::fmt::Write;

use super::Result;
use super::catalog::{self, ENTRIES};
use super::command::{Entry, GLOBAL_OPTIONS, Group, Standalone, Task};
use super::out::Out;
use super::words::{self, Words};

/// Most columns of a line.
const WIDTH: usize = 80;
/// Indents the continuation lines of a usage.
const USAGE_INDENT: &str = "           ";
/// Stands for a space at which a line must not be broken.
const UNBROKEN: char = '\u{1}';
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the program does, in a sentence.
const ABOUT: &str = "AI coding agents that run side by side find each other, send messages, share \
                     state, lock files and react to events.";

pub(super) const ENTRY: Entry = Entry {
    name: "help",
    group: Group::Other,
    summary: "this text, or that of a command",
    usage: &["help [command]"],
    about: &[],
    options: &[],
    examples: &[("help send", "")],
    parse,
};

#[derive(Debug)]
pub(super) struct Help {
    /// The command that it is about, or the program.
    pub(super) about: Option<&'static Entry>,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let about = words.optional("[command]")?;
    let about = about.as_deref().map(catalog::find).transpose()?;
    Ok(Task::standalone(Help { about }))
}

impl Standalone for Help {
    fn run(&self, out: &mut Out) -> Result<()> {
        out.text_or_document("help", &self.about.map_or_else(about_program, about_command))
    }
}

fn about_program() -> String {
    let mut out = format!("slm-mesh {VERSION}\n\n");
    paragraph(&mut out, "", ABOUT);
    out.push_str("\nUsage: slm-mesh [--json] [--data-dir DIR] [--as NAME] <command>\n");
    let width = ENTRIES.iter().map(|entry| entry.name.len()).max().unwrap_or_default();
    for group in Group::ALL {
        let _ = write!(out, "\n{}:\n", group.title());
        let entries = ENTRIES.iter().filter(|entry| entry.group == group);
        list(&mut out, width, entries.map(|entry| (entry.name, entry.summary)));
    }
    out.push_str("\nOptions:\n");
    let version = ("-v, --version", "the version");
    list(&mut out, 0, GLOBAL_OPTIONS.iter().copied().chain([version]));
    out.push('\n');
    paragraph(
        &mut out,
        "",
        "Without a command: the broker's status, on a terminal; else the MCP server of an agent. \
         `slm-mesh help <command>` tells more about each.",
    );
    out.push('\n');
    paragraph(
        &mut out,
        "",
        "Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no broker is running and the \
         command starts none.",
    );
    out
}

fn about_command(entry: &Entry) -> String {
    let mut out = String::new();
    paragraph(&mut out, "", &format!("slm-mesh {}: {}", entry.name, entry.summary));
    for (i, usage) in entry.usage.iter().enumerate() {
        let before = if i == 0 { "\nUsage: " } else { "       " };
        out.push_str(before);
        let mut lines = String::new();
        paragraph(&mut lines, USAGE_INDENT, &unbroken(&format!("slm-mesh {usage}")));
        out.push_str(&lines.trim_start().replace(UNBROKEN, " "));
    }
    for about in entry.about {
        out.push('\n');
        paragraph(&mut out, "", about);
    }
    out.push_str("\nOptions:\n");
    list(&mut out, 0, entry.options.iter().chain(GLOBAL_OPTIONS).copied());
    out.push_str("\nExamples:\n");
    for (example, about) in entry.examples {
        let program = if example.contains("slm-mesh") { "" } else { "slm-mesh " };
        let line = format!("  {program}{example}");
        let _ = match (about.is_empty(), line.len() + about.len() + "    # ".len() <= WIDTH) {
            (true, _) => writeln!(out, "{line}"),
            (false, true) => writeln!(out, "{line}    # {about}"),
            (false, false) => writeln!(out, "  # {about}\n{line}"),
        };
    }
    out
}

/// A usage in which lines can be broken only at spaces outside of brackets.
fn unbroken(usage: &str) -> String {
    let mut depth = 0_usize;
    let word = |c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ' ' && depth > 0 { UNBROKEN } else { c }
    };
    usage.chars().map(word).collect()
}

/// Words and their meanings in two columns, the first at least `width` wide.
fn list<'a>(out: &mut String, width: usize, items: impl Iterator<Item = (&'a str, &'a str)>) {
    let items: Vec<_> = items.collect();
    let width = items.iter().map(|(word, _)| word.len()).max().unwrap_or_default().max(width);
    for (word, meaning) in items {
        let first = format!("  {word:width$}  ");
        let mut lines = String::new();
        paragraph(&mut lines, &" ".repeat(first.len()), meaning);
        out.push_str(&first);
        out.push_str(lines.trim_start());
    }
}

/// Appends `text`, wrapped into lines that begin with `indent`.
fn paragraph(out: &mut String, indent: &str, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(out, "{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{indent}{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_complete_and_fits_a_terminal() {
        let program = about_program();
        for entry in ENTRIES {
            assert!(program.contains(entry.name) && program.contains(entry.summary));
            let own = about_command(entry);
            for (option, _) in entry.options {
                assert!(own.contains(option), "{option}");
            }
            assert!(own.contains("Usage: slm-mesh ") && own.contains("Examples:\n  "));
            for line in own.lines().chain(program.lines()) {
                assert!(line.len() <= WIDTH, "{line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }
}
