//! A command line, from its words to what the process is to be.

use std::ffi::OsString;

use super::actor::CLI;
use super::command::{Global, Group, Standalone, Task};
use super::out::Out;
use super::status::Status;
use super::version::Version;
use super::words::{Result, Words};
use super::{Failure, catalog, help::Help};
use crate::client::StartPolicy;
use crate::{names, role};

/// A command line, read and checked.
#[derive(Debug)]
pub struct Invocation {
    /// The options that every command takes.
    pub global: Global,
    /// What the process is to be.
    pub task: Task,
}

impl Invocation {
    /// Reads a command line, the program's name not included. Without a command it is that of a
    /// person who wants to know how the broker is, if the standard input is a terminal, else that of
    /// an agent which starts its MCP server.
    ///
    /// # Errors
    /// What is wrong with it, with the nearest known word. Whether `--json` was asked for can be told
    /// all the same: see [`wants_json`].
    pub fn parse(line: Vec<OsString>, stdin_is_terminal: bool) -> Result<Self> {
        let mut words = Words::new(line);
        let help = words.flag(["-h", "--help"]);
        let global = Global {
            json: words.flag("--json"),
            data_dir: words.os_value("--data-dir")?,
            acts_as: words.value("--as", "a name, or `cli`", |name| {
                (name == CLI || names::check(name).is_ok()).then(|| name.to_owned())
            })?,
        };
        let task = match words.command()? {
            Some(name) => {
                let entry = catalog::find(&name)?;
                words.belong_to(Some(entry.name), entry.option_names());
                if help {
                    Task::standalone(Help { about: Some(entry) })
                } else {
                    let task = (entry.parse)(&mut words)?;
                    let is_missing = cfg!(not(feature = "lan")) && entry.group == Group::Machines;
                    if is_missing { Task::standalone(NoNetwork) } else { task }
                }
            }
            None if help => Task::standalone(Help { about: None }),
            None if words.flag(["-V", "--version"]) | words.flag("-v") => Task::standalone(Version),
            None => {
                let known = ["--json", "--data-dir", "--as", "--help", "--version", "-h", "-v"];
                words.belong_to(None, known.to_vec());
                // A command after `--` is not recognised as one.
                words.end()?;
                if stdin_is_terminal {
                    Task::command(Status { start: StartPolicy::IfNeeded })
                } else {
                    Task::McpServer
                }
            }
        };
        Ok(Self { global, task })
    }
}

/// Whether a command line that could not be read asks for JSON.
#[must_use]
pub fn wants_json(line: &[OsString]) -> bool {
    line.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// A command about several machines, in a build for one.
#[derive(Debug)]
struct NoNetwork;

impl Standalone for NoNetwork {
    fn run(&self, _: &mut Out) -> super::Result<()> {
        Err(no_network())
    }
}

/// Why a build for one machine does nothing about several.
pub(super) fn no_network() -> Failure {
    Failure::other("no_network", role::NO_NETWORK)
}

#[cfg(test)]
pub(super) mod testing {
    //! Command lines as tests write them: words between spaces, `~` for a space within one.

    use std::any::Any;

    use super::*;
    use crate::cli::command::{AnyCommand, Work};

    pub(in crate::cli) fn parse(line: &str) -> Result<Invocation> {
        let word = |word: &str| OsString::from(word.replace('~', " "));
        Invocation::parse(line.split_whitespace().map(word).collect(), true)
    }

    pub(in crate::cli) fn task(line: &str) -> Task {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).task
    }

    /// The command that a line is read as.
    pub(in crate::cli) fn command<C: Any>(line: &str) -> C {
        let command: Box<dyn Any> = match task(line) {
            Task::Command(Work(AnyCommand::Ordinary(command))) => command,
            Task::Command(Work(AnyCommand::Standalone(command))) => command,
            task => panic!("{line}: {task:?}"),
        };
        *command.downcast().unwrap_or_else(|_| panic!("{line}: another command"))
    }

    /// What is wrong with a line.
    pub(in crate::cli) fn refused(line: &str) -> String {
        match parse(line) {
            Ok(invocation) => panic!("{line}: {invocation:?}"),
            Err(error) => error.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{command, parse, refused, task};
    use super::*;
    use crate::cli::catalog::ENTRIES;
    use crate::cli::command::Entry;

    #[test]
    fn help_and_version_are_options_too() {
        for line in ["-v", "-V", "--version", "version"] {
            command::<Version>(line);
        }
        let about = |line: &str| command::<Help>(line).about.map(|entry: &Entry| entry.name);
        for line in ["help", "-h", "--help"] {
            assert_eq!(about(line), None, "{line}");
        }
        for line in ["help send", "send --help", "send -h too many words"] {
            assert_eq!(about(line), Some("send"), "{line}");
        }
    }

    #[test]
    fn without_a_command_the_input_decides() {
        for line in ["", "--json"] {
            assert_eq!(command::<Status>(line).start, StartPolicy::IfNeeded, "{line}");
        }
        let of_agent = Invocation::parse(Vec::new(), false).unwrap();
        assert!(matches!(of_agent.task, Task::McpServer));
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        let global = Global { json: true, data_dir: Some("/d".into()), acts_as: None };
        for line in ["--json --data-dir /d status", "status --data-dir=/d --json"] {
            assert_eq!(parse(line).unwrap().global, global);
            assert_eq!(command::<Status>(line).start, StartPolicy::Never);
        }
        assert!(parse("send bob -- --json").unwrap().global == Global::default());
    }

    #[test]
    fn commands_of_one_word_take_no_other() {
        let alone = ["mcp", "stop", "status", "top", "clean", "doctor", "demo", "whoami", "export"];
        for name in alone {
            task(name);
            assert!(refused(&format!("{name} now")).contains("unexpected word \"now\""), "{name}");
        }
        assert!(ENTRIES.iter().filter(|entry| alone.contains(&entry.name)).count() == alone.len());
    }

    #[test]
    fn unknown_words_are_errors_with_the_nearest_known_one() {
        assert!(refused("staus").contains("unknown command \"staus\"; did you mean `status`?"));
        assert!(refused("frobnicate").ends_with("unknown command \"frobnicate\""));
        assert!(refused("help sed").contains("did you mean `send`?"));
        assert!(refused("--jsn").contains("did you mean `--json`?"));
        assert!(refused("--jsn status").contains("did you mean `--json`?"));
        assert!(refused("status --verbose").contains("unknown option \"--verbose\""));
        assert!(refused("status --data-dir").contains("needs a value"));
    }
}
