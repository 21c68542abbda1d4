//! Takes a command line apart: options by name, the rest in order, with errors that name the word, what
//! was expected, and the nearest known word.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::mem;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use pico_args::Arguments;

use super::suggest;

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    /// What is wrong and what was expected.
    pub message: String,
    /// The command it is about, if one was named.
    pub command: Option<&'static str>,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UsageError {}

pub(super) type Result<T> = std::result::Result<T, UsageError>;

/// The words that have not been used yet.
pub(super) struct Words {
    options: Arguments,
    /// The words after `--`, which are never options.
    literal: Vec<OsString>,
    /// Options written `--name=value`, whose value may begin with a dash.
    joined: Vec<OsString>,
    /// The command they belong to, for errors.
    command: Option<&'static str>,
    /// The options that it knows.
    known: Vec<&'static str>,
}

impl Words {
    pub(super) fn new(words: Vec<OsString>) -> Self {
        let mut before = Vec::new();
        let mut joined = Vec::new();
        let mut words = words.into_iter();
        for word in words.by_ref() {
            if word == "--" {
                break;
            }
            match split_joined(&word) {
                Some((name, value)) => {
                    joined.push(name.clone());
                    before.extend([name, value]);
                }
                None => before.push(word),
            }
        }
        let literal = words.collect();
        Self {
            options: Arguments::from_vec(before),
            literal,
            joined,
            command: None,
            known: Vec::new(),
        }
    }

    /// An error about the command at hand.
    pub(super) fn error(&self, message: impl Into<String>) -> UsageError {
        UsageError { message: message.into(), command: self.command }
    }

    /// The next word, as the name of a command or an action; none if it looks like an option.
    pub(super) fn command(&mut self) -> Result<Option<String>> {
        let word = self.options.subcommand().map_err(|_| self.error("not valid UTF-8"))?;
        Ok(word)
    }

    /// From now on, errors are about `command`, which knows these options.
    pub(super) fn belong_to(&mut self, command: Option<&'static str>, options: Vec<&'static str>) {
        (self.command, self.known) = (command, options);
    }

    pub(super) fn flag(&mut self, names: impl Into<pico_args::Keys>) -> bool {
        self.options.contains(names)
    }

    /// The value of an option, as bytes.
    pub(super) fn os_value(&mut self, name: &'static str) -> Result<Option<OsString>> {
        let take = |value: &OsStr| Ok::<_, std::convert::Infallible>(value.to_owned());
        let value = self.options.opt_value_from_os_str(name, take);
        let value = value.map_err(|_| self.error(format!("`{name}` needs a value after it")))?;
        let is_option = value.as_ref().is_some_and(|value| value.as_bytes().starts_with(b"--"));
        if is_option && !self.joined.iter().any(|joined| joined == name) {
            return Err(self.error(format!(
                "`{name}` needs a value after it; write `{name}=...` for one that begins with --"
            )));
        }
        Ok(value)
    }

    /// The value of an option.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        let Some(value) = self.os_value(name)? else { return Ok(None) };
        value
            .into_string()
            .map(Some)
            .map_err(|_| self.error(format!("`{name}` is not valid UTF-8")))
    }

    /// The value of an option, parsed.
    pub(super) fn value<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.error(format!("`{name}` must be {expected}, not {text:?}"))),
        }
    }

    /// The value of an option that takes one of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        Err(self.none_of(&format!("`{name}`"), &text, choices.iter().map(|(word, _)| *word)))
    }

    /// The error that `word` is none of the `known` ones, which `what` has to be.
    pub(super) fn none_of<'a>(
        &self,
        what: &str,
        word: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> UsageError {
        let known: Vec<&str> = known.collect();
        let hint = suggest::hint(word, known.iter().copied());
        self.error(format!("{what} must be one of {}, not {word:?}{hint}", known.join(", ")))
    }

    /// The values of an option that may be given several times.
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Vec<String>> {
        let mut values = Vec::new();
        while let Some(value) = self.text(name)? {
            values.push(value);
        }
        Ok(values)
    }

    /// The next word as an action, which has to be one of `known`.
    pub(super) fn action(&mut self, known: &[&'static str]) -> Result<&'static str> {
        let list = known.join(", ");
        let Some(word) = self.command()? else {
            return Err(self.error(format!("one of {list} is missing")));
        };
        known.iter().copied().find(|action| *action == word).ok_or_else(|| {
            let hint = suggest::hint(&word, known.iter().copied());
            self.error(format!("unknown action {word:?}: it must be one of {list}{hint}"))
        })
    }

    /// Refuses an option that only some actions have, `given` with another.
    pub(super) fn only_for(
        &self,
        name: &str,
        given: bool,
        action: &str,
        actions: &[&str],
    ) -> Result<()> {
        if !given || actions.contains(&action) {
            return Ok(());
        }
        let actions = actions.join("` and `");
        Err(self.error(format!("`{name}` belongs to `{actions}`, not to `{action}`")))
    }

    /// The words left, once all options have been taken. `names` say what they are: `<path>` has to
    /// be there, `[path]` may.
    pub(super) fn rest(&mut self, names: &[&str]) -> Result<Vec<OsString>> {
        let options = mem::replace(&mut self.options, Arguments::from_vec(Vec::new()));
        let free = options.finish();
        if let Some(unknown) = free.iter().find(|word| is_option(word)) {
            let shown = unknown.to_string_lossy();
            if self.known.contains(&&*shown) {
                return Err(self.error(format!("`{shown}` is given twice")));
            }
            let hint = suggest::hint(&shown, self.known.iter().copied());
            return Err(self.error(format!("unknown option {shown:?}{hint}")));
        }
        let words: Vec<OsString> = free.into_iter().chain(mem::take(&mut self.literal)).collect();
        if let Some(missing) = names.get(words.len()).filter(|name| name.starts_with('<')) {
            return Err(self.error(format!("{missing} is missing")));
        }
        if let Some(extra) = words.get(names.len()) {
            let quote = if names.is_empty() { "" } else { "; put quotes around what has spaces" };
            let extra = extra.to_string_lossy();
            return Err(self.error(format!("unexpected word {extra:?}{quote}")));
        }
        Ok(words)
    }

    /// As [`Words::rest`], as text.
    pub(super) fn texts_left(&mut self, names: &[&str]) -> Result<Vec<String>> {
        let words = self.rest(names)?;
        let text = |word: OsString| {
            word.into_string().map_err(|word| {
                self.error(format!("{:?} is not valid UTF-8", word.to_string_lossy()))
            })
        };
        words.into_iter().map(text).collect()
    }

    /// As [`Words::texts_left`], where all have to be there.
    pub(super) fn required<const N: usize>(&mut self, names: [&str; N]) -> Result<[String; N]> {
        let mut texts = self.texts_left(&names)?.into_iter();
        Ok(names.map(|_| texts.next().unwrap_or_default()))
    }

    /// As [`Words::texts_left`], where one may be there.
    pub(super) fn optional(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.texts_left(&[name])?.pop())
    }

    /// Refuses words that are left.
    pub(super) fn end(&mut self) -> Result<()> {
        self.rest(&[]).map(drop)
    }
}

/// Takes `--name=value` apart. (The parser could, but it also takes quotes off the value.)
fn split_joined(word: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = word.as_bytes();
    if !bytes.starts_with(b"--") {
        return None;
    }
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = bytes.split_at_checked(at)?;
    let value = value.get(1..)?;
    Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
}

/// `-` alone means the standard input.
fn is_option(word: &OsStr) -> bool {
    word.as_bytes().starts_with(b"-") && word != "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Words {
        Words::new(line.iter().map(Into::into).collect())
    }

    #[test]
    fn options_may_stand_anywhere_and_be_joined() {
        let mut words = words(&["bob", "--type=a=\"b\"", "hi", "--from", "me", "--", "--type"]);
        assert_eq!(words.text("--type").unwrap().as_deref(), Some("a=\"b\""));
        assert_eq!(words.text("--from").unwrap().as_deref(), Some("me"));
        assert_eq!(words.text("--other").unwrap(), None);
        let rest = words.required(["a", "b", "c"]).unwrap();
        assert_eq!(rest, ["bob", "hi", "--type"]);
    }

    #[test]
    fn values_are_not_taken_from_the_next_option() {
        assert!(words(&["--from", "--json"]).text("--from").is_err());
        assert!(words(&["--from"]).text("--from").is_err());
        let mut joined = words(&["--from=--json"]);
        assert_eq!(joined.text("--from").unwrap().as_deref(), Some("--json"));
        assert_eq!(words(&["--from="]).text("--from").unwrap().as_deref(), Some(""));
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let rest = |line: &[&str], names: &[&str]| {
            let mut words = words(line);
            words.belong_to(None, vec!["--ttl", "--reason"]);
            words.texts_left(names).map_err(|error| error.message)
        };
        assert_eq!(rest(&["-"], &["<x>"]).unwrap(), ["-"]);
        assert_eq!(rest(&[], &["[x]"]).unwrap(), [""; 0]);
        assert_eq!(rest(&[], &["<x>"]).unwrap_err(), "<x> is missing");
        assert_eq!(rest(&["a"], &["<x>", "<y>"]).unwrap_err(), "<y> is missing");
        assert!(rest(&["a", "b"], &["<x>"]).unwrap_err().contains("unexpected word \"b\"; put"));
        assert!(rest(&["--tll"], &[]).unwrap_err().contains("did you mean `--ttl`?"));
        assert!(rest(&["--ttl"], &[]).unwrap_err().contains("given twice"));
        assert!(rest(&["-x"], &[]).unwrap_err().contains("unknown option \"-x\""));
    }

    #[test]
    fn options_can_be_repeated_where_that_makes_sense() {
        let mut words = words(&["--type", "a", "--type=b"]);
        assert_eq!(words.texts("--type").unwrap(), ["a", "b"]);
    }

    #[test]
    fn choices_are_listed_and_suggested() {
        let choices = [("text", 1), ("json", 2)];
        assert_eq!(words(&["--type", "json"]).choice("--type", &choices), Ok(Some(2)));
        let error = words(&["--type", "jsn"]).choice("--type", &choices).unwrap_err();
        assert_eq!(
            error.message,
            "`--type` must be one of text, json, not \"jsn\"; did you mean `json`?"
        );
    }
}
