//! `slm-mesh mcp`

use super::command::{Entry, Group, Task};

pub(super) const ENTRY: Entry = Entry {
    name: "mcp",
    group: Group::Other,
    summary: "be the MCP server of an agent, on standard input and output",
    usage: &["mcp"],
    about: &[
        "Agents run this. `slm-mesh` without a command does the same when its standard input \
         is not a terminal.",
    ],
    options: &[],
    examples: &[("mcp", "")],
    parse: |words| {
        words.end()?;
        Ok(Task::McpServer)
    },
};
