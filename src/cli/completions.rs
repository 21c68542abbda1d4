//! `slm-mesh completions`: scripts with which shells complete command lines, and the man page, all made
//! from the catalogue.
//!
//! The scripts ask this program for the words that may come next, which may be the present names of
//! peers, handles of messages, keys of the state.

mod man;
mod next;

use std::iter;

use super::Result;
use super::command::{Command, Context, Entry, Group, Standalone, Task};
use super::out::Out;
use super::words::{self, Words};

const BASH: &str = include_str!("completions/slm-mesh.bash");
const ZSH: &str = include_str!("completions/slm-mesh.zsh");
const FISH: &str = include_str!("completions/slm-mesh.fish");

/// Most words of a line that is completed.
const WORDS_MAX: usize = 64;

pub(super) const ENTRY: Entry = Entry {
    name: "completions",
    group: Group::Other,
    summary: "what a shell needs to complete command lines, and the man page",
    usage: &["completions bash|zsh|fish", "completions man"],
    about: &[
        "Commands and options are completed, and the names of peers, handles of messages, keys \
         and locked files as they are just now. Starts no broker for that.",
    ],
    options: &[],
    examples: &[
        ("source <(slm-mesh completions bash)", "in ~/.bashrc"),
        ("source <(slm-mesh completions zsh)", "in ~/.zshrc, after compinit"),
        ("slm-mesh completions fish | source", "in ~/.config/fish/config.fish"),
        ("slm-mesh completions man > slm-mesh.1", "the man page"),
    ],
    parse,
};

fn parse(words: &mut Words) -> words::Result<Task> {
    let names = iter::once("<shell>").chain(iter::repeat_n("[word]", WORDS_MAX - 1));
    let mut texts = words.texts_left(&names.collect::<Vec<_>>())?.into_iter();
    let kind = texts.next().unwrap_or_default();
    if kind == "words" {
        return Ok(Task::command(NextWords(texts.collect())));
    }
    let known = ["bash", "zsh", "fish", "man"];
    let Some(kind) = known.into_iter().find(|known| *known == kind) else {
        return Err(words.none_of("<shell>", &kind, known.into_iter()));
    };
    if let Some(extra) = texts.next() {
        return Err(words.error(format!("unexpected word {extra:?}")));
    }
    Ok(Task::standalone(Completions(kind)))
}

/// The script of this shell, or the man page.
#[derive(Debug, PartialEq, Eq)]
struct Completions(&'static str);

impl Standalone for Completions {
    fn run(&self, out: &mut Out) -> Result<()> {
        let text = match self.0 {
            "bash" => BASH,
            "zsh" => ZSH,
            "fish" => FISH,
            _ => &man::page(),
        };
        out.text_or_document("text", text)
    }
}

/// Lists the words that may replace the last of these, one a line, each followed by a tab and its
/// meaning.
#[derive(Debug, PartialEq, Eq)]
struct NextWords(Vec<String>);

impl Command for NextWords {
    fn run(&self, context: &mut Context) -> Result<()> {
        for (word, about) in next::words(&context.config, &self.0) {
            // A word that needs quotes in a shell is not offered.
            let is_plain =
                |c: char| c.is_ascii_alphanumeric() || "-_./@#:+%,=".contains(c) || !c.is_ascii();
            if word.chars().all(|c| is_plain(c) && !c.is_control() && !c.is_whitespace()) {
                writeln!(context.out, "{word}\t{}", super::text::escape(&about))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn a_shell_is_named_or_words_are_completed() {
        let words = NextWords(vec!["send".into(), "--ty".into()]);
        assert_eq!(command::<NextWords>("completions words -- send --ty"), words);
        assert_eq!(command::<Completions>("completions man"), Completions("man"));
        assert!(refused("completions tcsh").contains("bash, zsh, fish, man"));
        assert!(refused("completions bash zsh").contains("unexpected word"));
    }
}
