//! `slm-mesh hook`

use super::Failure;
use super::command::{Entry, Group, Task};
use super::words::{Result, Words};
use crate::agents;
use crate::names::AUTO;

pub(super) const ENTRY: Entry = Entry {
    name: "hook",
    group: Group::Agents,
    summary: "be the hook of an agent",
    usage: &["hook <agent> [--wait]"],
    about: &[
        "Agents run this at points of their turn, as their configuration says; docs/agents.md \
         has it for each. <agent> is claude-code, codex, qwen, kimi, gemini-cli, copilot, cursor, \
         windsurf, or auto for whichever calls. It reads what the agent writes to its standard \
         input and answers in the agent's form: waiting messages are put into the context, and \
         an edit of a file that someone else has locked is refused.",
        "Without a broker, without a session of the agent in the mesh, on any error and after \
         SLM_MESH_HOOK_MS (45; on a machine that has joined a hub 400; before an edit 2000) it \
         says nothing and exits with 0; before an edit it tells the agent if it could not look. \
         SLM_MESH_LOG=debug makes it say why. It starts no broker.",
    ],
    options: &[(
        "--wait",
        "stay beside the agent until a message comes, and end with 2 and its text (Claude Code, \
         `asyncRewake`; others: end at once)",
    )],
    examples: &[("hook claude-code", "as a command in ~/.claude/settings.json")],
    parse,
};

fn parse(words: &mut Words) -> Result<Task> {
    let waits = words.flag("--wait");
    let [name] = words.required(["<agent>"])?;
    let agent = agents::with_hooks().find(|agent| agent.is_called(&name));
    if agent.is_none() && name != AUTO {
        let known = agents::with_hooks().map(|agent| agent.agent_type).chain([AUTO]);
        return Err(words.none_of("<agent>", &name, known));
    }
    Ok(Task::Hook { agent, waits })
}

impl Failure {
    /// A person has run the hook of an agent.
    #[must_use]
    pub fn hook_by_hand() -> Self {
        Self::other(
            "by_hand",
            "agents run this and write to its standard input, which is a terminal here: see \
             `slm-mesh help hook`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::{Agent, CLAUDE_CODE};
    use crate::cli::invocation::testing::{refused, task};

    fn hook(line: &str) -> (Option<&'static Agent>, bool) {
        match task(line) {
            Task::Hook { agent, waits } => (agent, waits),
            task => panic!("{line}: {task:?}"),
        }
    }

    #[test]
    fn each_agent_has_its_name() {
        for agent in agents::with_hooks() {
            for name in [agent.agent_type, agent.name] {
                assert_eq!(hook(&format!("hook {name}")), (Some(agent), false));
            }
        }
        assert_eq!(hook("hook claude-code --wait"), (Some(&CLAUDE_CODE), true));
        assert_eq!(hook("hook auto --wait"), (None, true));
        assert!(refused("hook").contains("<agent> is missing"));
        assert!(refused("hook claude-cod").contains("did you mean `claude-code`?"));
    }
}
