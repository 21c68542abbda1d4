//! `slm-mesh session`

use super::command::{Entry, Group, Task};
use super::words::{Result, Words};
use crate::limits::NAME_CHARS_MAX;
use crate::names;

pub(super) const ENTRY: Entry = Entry {
    name: "session",
    group: Group::Other,
    summary: "serve the plugin of an agent, on standard input and output",
    usage: &["session --agent NAME"],
    about: &[
        "Plugins run this; docs/cli-reference.md has the lines that are spoken. It acts for the \
         peer of the agent's MCP server, hands out messages as they come, and says whether a file \
         may be edited. It ends with its input, and starts no broker.",
    ],
    options: &[("--agent NAME", "the type of the agent, as `peers` shows it")],
    examples: &[("session --agent opencode", "")],
    parse,
};

fn parse(words: &mut Words) -> Result<Task> {
    let agent = words.text("--agent")?;
    let agent =
        agent.ok_or_else(|| words.error("`--agent NAME` is missing: whose plugin it is"))?;
    if names::fold(&agent, NAME_CHARS_MAX) != agent {
        return Err(words.error(format!("{agent:?} is no type of an agent: opencode, for example")));
    }
    words.end()?;
    Ok(Task::Session(agent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{refused, task};

    #[test]
    fn a_plugin_says_whose_it_is() {
        let session = task("session --agent opencode");
        assert!(matches!(session, Task::Session(agent) if agent == "opencode"));
        assert!(refused("session").contains("`--agent NAME` is missing"));
        assert!(refused("session --agent Open").contains("no type of an agent"));
    }
}
