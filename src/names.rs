//! Names of peers and agents: what a name may be, and how one is made when none was asked for.
//!
//! Pure functions over text. Whether a name is taken is not known here: uniqueness among the
//! present peers is a rule of [`crate::mesh`].

use std::error::Error;
use std::fmt;

use uuid::Uuid;

use crate::agents;
use crate::limits::{AGENT_WORD_CHARS_MAX, AUTO_NAME_CHARS_MAX, NAME_CHARS_MAX};

/// The agent type of a peer whose agent could not be told.
pub const UNKNOWN_AGENT: &str = "unknown";

/// Asks for an automatic name where a name is expected.
pub const AUTO: &str = "auto";

/// Words that have a meaning of their own where a peer is named: no peer may have one as its name, in
/// upper or lower case.
pub const RESERVED: [&str; 5] = ["all", "cli", AUTO, "repo", "directory"];

/// Names that would make a peer look like the mesh itself, like a person, or like a part of its
/// agent's own conversation. A peer that asks for one, in upper or lower case, gets a number behind it.
pub const MISLEADING: [&str; 6] = ["user", "human", "system", "assistant", "mesh", "slm-mesh"];

/// What a topic begins with where a peer is named.
pub const TOPIC: char = '#';

/// The group of the peers in the sender's repository.
pub const REPO: &str = "repo";

/// The group of the peers in the sender's directory.
pub const DIRECTORY: &str = "directory";

/// The group of all peers.
pub const ALL: &str = "all";

/// The namespace of shared state that is meant on the wire if none is named: the one of the whole mesh.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What agents and people call [`DEFAULT_NAMESPACE`]. If they name none, they mean that of their project.
pub const SHARED_NAMESPACE: &str = "shared";

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// No character at all.
    Empty,
    /// More than [`NAME_CHARS_MAX`] characters.
    TooLong,
    /// This character is not one of `A-Z a-z 0-9 . _ -`.
    Character(char),
    /// One of [`RESERVED`].
    Reserved,
    /// A UUID, with or without its hyphens: it would be taken for the id of a peer.
    Uuid,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name has at least one character"),
            Self::TooLong => write!(f, "a name has at most {NAME_CHARS_MAX} characters"),
            Self::Character(c) => {
                write!(f, "{c:?} is not allowed in a name, only letters, digits, '.', '_' and '-'")
            }
            Self::Reserved => write!(f, "the words {} are reserved", RESERVED.join(", ")),
            Self::Uuid => f.write_str("a name must not have the form of a UUID"),
        }
    }
}

impl Error for NameError {}

/// Checks that `text` has the form of a name: 1 to [`NAME_CHARS_MAX`] of `A-Z a-z 0-9 . _ -`.
///
/// This is all that is asked of an agent type, a label, or a topic behind its `#`. A peer's name must pass [`check`].
///
/// # Errors
///
/// [`NameError::Empty`], [`NameError::TooLong`] or [`NameError::Character`].
pub fn check_form(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(c) = text.chars().find(|&c| !is_name_char(c)) {
        return Err(NameError::Character(c));
    }
    // Only ASCII is left, so bytes are characters.
    if text.len() > NAME_CHARS_MAX {
        return Err(NameError::TooLong);
    }
    Ok(())
}

/// Checks that `name` may be the name of a peer: the form of a name, not reserved, not a UUID.
///
/// # Errors
///
/// The first rule that `name` breaks.
pub fn check(name: &str) -> Result<(), NameError> {
    check_form(name)?;
    if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
        return Err(NameError::Reserved);
    }
    if Uuid::try_parse(name).is_ok() {
        return Err(NameError::Uuid);
    }
    Ok(())
}

/// Whether it is one of [`MISLEADING`], which no peer gets without a number.
#[must_use]
pub fn is_misleading(name: &str) -> bool {
    MISLEADING.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// A name in lower case: names that differ only in case are the same name.
#[must_use]
pub fn key(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}

/// Folds any text to the form of a name: lower case, each run of other characters one `-`, no `-`
/// or `.` at the ends, at most `chars_max` characters. Empty if nothing is left.
#[must_use]
pub fn fold(text: &str, chars_max: usize) -> String {
    let mut folded = String::new();
    for c in text.chars() {
        if folded.len() > chars_max {
            break;
        }
        let c = if is_name_char(c) { c.to_ascii_lowercase() } else { '-' };
        let at_start = folded.is_empty() && matches!(c, '-' | '.');
        let repeated = c == '-' && folded.ends_with('-');
        if !at_start && !repeated {
            folded.push(c);
        }
    }
    cut(&mut folded, chars_max);
    folded
}

/// The name of a peer that asked for none: project folder and agent, `webapp-claude`.
///
/// `project_path` is a path with `/`; its last part counts. An unknown agent adds nothing, a folder
/// without a usable character neither; if both are missing it is `agent`. The result passes
/// [`check`] and has at most [`AUTO_NAME_CHARS_MAX`] characters, so that [`with_suffix`] need not
/// cut it.
#[must_use]
pub fn automatic_name(project_path: &str, agent_type: &str) -> String {
    let folder = project_path.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    let word = agent_word(agent_type);
    // Word and hyphen are taken off first: the folder is what is cut, since it comes first and
    // stays recognisable.
    let mut name = fold(folder, AUTO_NAME_CHARS_MAX - word.len() - 1);
    if !name.is_empty() && !word.is_empty() {
        name.push('-');
    }
    name.push_str(&word);
    match check(&name) {
        Ok(()) => name,
        Err(NameError::Empty) => "agent".to_owned(),
        // A folder that is called `cli`, or by a UUID, and an unknown agent.
        Err(_) => {
            name.push_str("-agent");
            name
        }
    }
}

/// `name` with a number behind it, `name-2`, cut where that would be longer than a name may be.
#[must_use]
pub fn with_suffix(name: &str, number: u32) -> String {
    let suffix = format!("-{number}");
    let mut numbered = name.to_owned();
    cut(&mut numbered, NAME_CHARS_MAX.saturating_sub(suffix.len()));
    numbered.push_str(&suffix);
    numbered
}

/// The nearest of `known`: one that begins with `word`, or one that few slips of the finger turn
/// into it.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let candidates = known.into_iter().map(|known| {
        let begun = !word.trim_start_matches('-').is_empty() && known.starts_with(&word);
        (if begun { 0 } else { distance(&word, known) }, known)
    });
    let (slips, known) = candidates.min_by_key(|(slips, _)| *slips)?;
    // One slip in a short word, two in a longer one.
    let allowed = if word.chars().count() <= 4 { 1 } else { 2 };
    (slips <= allowed).then_some(known)
}

/// Slips between two words: characters added, left out, changed, or swapped with their neighbour
/// (the optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let changed = at(&last, j) + usize::from(x != y);
            let mut best = changed.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

/// The short word by which people call an agent; empty if it is unknown.
fn agent_word(agent_type: &str) -> String {
    match agents::of_type(agent_type).and_then(|agent| agent.short) {
        Some(short) => short.to_owned(),
        None if agent_type == UNKNOWN_AGENT => String::new(),
        None => fold(agent_type, AGENT_WORD_CHARS_MAX),
    }
}

/// Cuts `text` to `chars_max` characters, and off its end what a fold would not leave there.
fn cut(text: &mut String, chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
    }
    let kept = text.trim_end_matches(['-', '.']).len();
    text.truncate(kept);
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0b6e8b5c-5a1e-4a52-9d4e-2d3c7f6a8b90";

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("peers", "peers", 0),
            ("peer", "peers", 1),
            ("pers", "peers", 1),
            ("peesr", "peers", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn form_of_a_name_has_one_to_64_of_its_characters() {
        for good in ["a", "A", "0", ".", "-", "_", "webapp-claude-2", "a.b_C-9"] {
            assert_eq!(check_form(good), Ok(()), "{good}");
        }
        assert_eq!(check_form(""), Err(NameError::Empty));
        assert_eq!(check_form(&"a".repeat(64)), Ok(()));
        assert_eq!(check_form(&"a".repeat(65)), Err(NameError::TooLong));
        for (bad, c) in [("a b", ' '), ("a/b", '/'), ("é", 'é'), ("a\n", '\n'), ("@a", '@')] {
            assert_eq!(check_form(bad), Err(NameError::Character(c)), "{bad}");
        }
    }

    #[test]
    fn reserved_words_and_uuids_are_no_names() {
        for word in ["all", "cli", "auto", "repo", "directory", "ALL", "Cli"] {
            assert_eq!(check(word), Err(NameError::Reserved), "{word}");
            assert_eq!(check_form(word), Ok(()), "{word}");
            assert_eq!(check(&format!("{word}-2")), Ok(()));
        }
        assert_eq!(check(UUID), Err(NameError::Uuid));
        assert_eq!(check(&UUID.to_uppercase()), Err(NameError::Uuid));
        assert_eq!(check(&UUID.replace('-', "")), Err(NameError::Uuid));
        assert_eq!(check(&UUID[1..]), Ok(()));
        assert_eq!(check(&format!("{UUID}0")), Ok(()));
        assert_eq!(check(&UUID.replacen('0', "g", 1)), Ok(()));
    }

    #[test]
    fn some_names_would_mislead() {
        for word in MISLEADING {
            assert!(is_misleading(word) && is_misleading(&word.to_uppercase()), "{word}");
            assert_eq!(check(word), Ok(()), "{word} can be asked for");
            assert!(!is_misleading(&with_suffix(word, 2)));
        }
        assert_eq!(key("Web-App"), key("wEB-aPP"));
        assert_ne!(key("web-app"), key("web-app-2"));
    }

    #[test]
    fn fold_keeps_what_a_name_may_have() {
        for (text, folded) in [
            ("Visual Studio Code", "visual-studio-code"),
            ("@cline/core", "cline-core"),
            ("  a  b  ", "a-b"),
            ("--a--b--", "a-b"),
            ("a_b.c", "a_b.c"),
            (".hidden", "hidden"),
            ("tail.", "tail"),
            ("Büro", "b-ro"),
            ("проект", ""),
            ("", ""),
            ("-.-", ""),
        ] {
            assert_eq!(fold(text, 64), folded, "{text}");
        }
        assert_eq!(fold(&"a".repeat(64), 64).len(), 64);
        assert_eq!(fold(&"a".repeat(65), 64).len(), 64);
        assert_eq!(fold("abc-def", 4), "abc");
        assert_eq!(fold("abc-def", 5), "abc-d");
        assert_eq!(fold("abc", 0), "");
    }

    #[test]
    fn automatic_names_are_folder_and_agent() {
        for (path, agent, name) in [
            ("/home/u/webapp", "claude-code", "webapp-claude"),
            ("/home/u/webapp/", "gemini-cli", "webapp-gemini"),
            ("/home/u/Web App", "codex", "web-app-codex"),
            ("/srv/x", "qwen-code", "x-qwen"),
            ("/home/u/webapp", "unknown", "webapp"),
            ("/home/u/webapp", "", "webapp"),
            ("/", "claude-code", "claude"),
            ("", "claude-code", "claude"),
            ("/", "unknown", "agent"),
            ("/home/проект", "unknown", "agent"),
            ("/home/u/cli", "unknown", "cli-agent"),
            ("/home/u/All", "unknown", "all-agent"),
            ("/home/u/cli", "codex", "cli-codex"),
            ("/home/u/.config", "aider", "config-aider"),
        ] {
            assert_eq!(automatic_name(path, agent), name, "{path} {agent}");
        }
        assert_eq!(automatic_name(&format!("/x/{UUID}"), "unknown"), format!("{UUID}-agent"));
    }

    #[test]
    fn automatic_names_are_names_and_leave_room_for_a_suffix() {
        for folder in [0, 1, 31, 48, 49, 55, 56, 57, 64, 300] {
            for agent in [0, 1, 23, 24, 25, 64] {
                let path = format!("/p/{}", "f".repeat(folder));
                let name = automatic_name(&path, &"a".repeat(agent));
                assert!(name.len() <= AUTO_NAME_CHARS_MAX, "{name}");
                assert_eq!(check(&name), Ok(()));
                assert_eq!(with_suffix(&name, 2000), format!("{name}-2000"));
            }
        }
    }

    #[test]
    fn suffix_cuts_only_where_it_must() {
        assert_eq!(with_suffix("webapp", 2), "webapp-2");
        assert_eq!(with_suffix(&"a".repeat(62), 2), format!("{}-2", "a".repeat(62)));
        assert_eq!(with_suffix(&"a".repeat(63), 2), format!("{}-2", "a".repeat(62)));
        assert_eq!(with_suffix(&"a".repeat(64), 10), format!("{}-10", "a".repeat(61)));
        assert_eq!(check(&with_suffix(&"a".repeat(64), u32::MAX)), Ok(()));
    }
}
