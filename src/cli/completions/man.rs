//! The man page slm-mesh(1), in the macros of man(7).

use std::fmt::Write;

use crate::cli::catalog::ENTRIES;
use crate::cli::command::{Entry, GLOBAL_OPTIONS, Group};

/// The whole page.
pub(super) fn page() -> String {
    let mut page = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(page, ".TH SLM\\-MESH 1 \"\" \"slm\\-mesh {version}\"");
    section(&mut page, "NAME");
    text(&mut page, "slm-mesh - messages, shared state and file locks for AI coding agents");
    section(&mut page, "SYNOPSIS");
    page.push_str(".B slm\\-mesh\n");
    text(&mut page, "[--json] [--data-dir DIR] [--as NAME] <command>");
    section(&mut page, "DESCRIPTION");
    text(
        &mut page,
        "Agents that run side by side find each other, send messages, share state, lock files and \
         react to events. Without a command it shows how the broker is, on a terminal; else it is \
         the MCP server of an agent.",
    );
    section(&mut page, "OPTIONS");
    options(&mut page, GLOBAL_OPTIONS);
    for group in Group::ALL {
        section(&mut page, &format!("COMMANDS: {}", group.title().to_uppercase()));
        for entry in ENTRIES.iter().filter(|entry| entry.group == group) {
            command(&mut page, entry);
        }
    }
    section(&mut page, "EXIT STATUS");
    text(
        &mut page,
        "0 done; 1 refused or failed; 2 wrong usage; 3 no broker is running and the command starts \
         none.",
    );
    section(&mut page, "FILES");
    text(&mut page, "~/.slm-mesh, or the directory that SLM_MESH_DATA_DIR names.");
    page
}

fn command(page: &mut String, entry: &Entry) {
    let _ = writeln!(page, ".SS {}", escaped(entry.name));
    text(page, &format!("{}.", entry.summary));
    page.push_str(".PP\n.nf\n");
    for usage in entry.usage {
        text(page, &format!("slm-mesh {usage}"));
    }
    page.push_str(".fi\n");
    for about in entry.about {
        page.push_str(".PP\n");
        text(page, about);
    }
    options(page, entry.options);
    if !entry.examples.is_empty() {
        page.push_str(".PP\nExamples:\n.PP\n.nf\n.RS\n");
        for (example, about) in entry.examples {
            let program = if example.contains("slm-mesh") { "" } else { "slm-mesh " };
            let about = if about.is_empty() { String::new() } else { format!("    # {about}") };
            text(page, &format!("{program}{example}{about}"));
        }
        page.push_str(".RE\n.fi\n");
    }
}

fn section(page: &mut String, title: &str) {
    let _ = writeln!(page, ".SH \"{}\"", escaped(title));
}

fn options(page: &mut String, options: &[(&str, &str)]) {
    for (written, about) in options {
        page.push_str(".TP\n.B ");
        text(page, written);
        text(page, about);
    }
}

fn text(page: &mut String, text: &str) {
    let _ = writeln!(page, "{}", escaped(text));
}

/// A line in which nothing can be mistaken for a request or an escape.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_part_of_the_page() {
        let page = page();
        for entry in ENTRIES {
            assert!(page.contains(&format!("\n.SS {}\n", escaped(entry.name))), "{}", entry.name);
        }
        assert!(page.starts_with(".TH SLM\\-MESH 1 "));
        assert_eq!(escaped(".a-b\\n"), "\\&.a\\-b\\en");
        // Only intended requests begin a line.
        let known = [".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".nf", ".fi", ".RS", ".RE"];
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(known.iter().any(|it| line.split(' ').next() == Some(it)), "{line}");
        }
    }
}
