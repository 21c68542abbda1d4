//! `slm-mesh completions`: what shells need to complete a command line, and the man page, all made of
//! the table of commands.
//!
//! The scripts know nothing: they ask this program for the words that may stand next, which may be
//! names of peers, handles, keys, as they are just now.

mod man;
mod next;

use std::io::Write;

use super::catalog::Entry;
use super::suggest;
use super::words::{UsageError, Words};
use super::{Command, Context, Exit, Out, Result};

const BASH: &str = include_str!("completions/slm-mesh.bash");
const ZSH: &str = include_str!("completions/slm-mesh.zsh");
const FISH: &str = include_str!("completions/slm-mesh.fish");

/// What can be written.
const KINDS: [(&str, Completions); 4] = [
    ("bash", Completions::Text(BASH)),
    ("zsh", Completions::Text(ZSH)),
    ("fish", Completions::Text(FISH)),
    ("man", Completions::Man),
];

/// `completions`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completions {
    /// The script of a shell.
    Text(&'static str),
    /// The man page.
    Man,
    /// The words that may stand in the place of the last of these.
    Next(Vec<String>),
}

pub(super) fn parse(entry: &Entry, words: Words) -> std::result::Result<Command, UsageError> {
    let unknown = words.error("");
    let names = vec!["<shell>"; WORDS_MAX];
    let mut texts = words.texts_left(&names, 1, &entry.option_names())?.into_iter();
    let kind = texts.next().unwrap_or_default();
    let rest: Vec<String> = texts.collect();
    if kind == "words" {
        return Ok(Command::Completions(Completions::Next(rest)));
    }
    let known = KINDS.iter().map(|(name, _)| *name);
    let found = KINDS.iter().find(|(name, _)| *name == kind).map(|(_, found)| found.clone());
    match (found, rest.first()) {
        (Some(found), None) => Ok(Command::Completions(found)),
        (Some(_), Some(extra)) => {
            Err(UsageError { message: format!("unexpected word {extra:?}"), ..unknown })
        }
        (None, _) => {
            let hint = suggest::hint(&kind, known);
            let message =
                format!("<shell> must be one of bash, zsh, fish, man, not {kind:?}{hint}");
            Err(UsageError { message, ..unknown })
        }
    }
}

/// Most words of a line that is completed.
const WORDS_MAX: usize = 64;

/// Writes what needs no broker; none if it does.
pub(super) fn text(wanted: &Completions) -> Option<String> {
    match wanted {
        Completions::Text(script) => Some((*script).to_owned()),
        Completions::Man => Some(man::page()),
        Completions::Next(_) => None,
    }
}

/// Lists the words that may stand next: a line each, with what it means behind a tab.
pub(super) fn next(context: &mut Context, words: &[String]) -> Result<Exit> {
    let found = next::words(&context.config, words);
    let out: &mut Out = &mut context.out;
    for (word, about) in found {
        // A word that a shell would take apart cannot be given so.
        let is_plain =
            |c: char| c.is_ascii_alphanumeric() || "-_./@#:+%,=".contains(c) || !c.is_ascii();
        if word.chars().all(|c| is_plain(c) && !c.is_control() && !c.is_whitespace()) {
            writeln!(out, "{word}\t{}", super::text::escape(&about))?;
        }
    }
    Ok(Exit::Done)
}
