//! The agent that a process belongs to: the nearest known one among the processes above it.
//!
//! Agents start servers, hooks and commands through wrappers (`timeout`, `npx`, a shell), so the
//! direct parent says little. An agent above the nearest one is another session, which has started it.

use super::detect::{self, Program};
use crate::agents::{Agent, Grouping};
use crate::platform;

/// Programs that run another program and are never an agent themselves. `slm-mesh` is the script in the
/// npm package that starts this program.
const WRAPPERS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "ksh", "fish", "busybox", "env", "timeout", "nice", "ionice",
    "nohup", "setsid", "stdbuf", "time", "npm", "npx", "pnpm", "pnpx", "yarn", "bunx", "uv", "uvx",
    "pipx", "mise", "direnv", "slm-mesh",
];

/// A process that runs a known agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentProcess {
    /// Its process id. For an editor with several processes, that of the first, which started the others.
    pub pid: u32,
    /// The agent.
    pub agent: &'static Agent,
}

/// The processes above a process, up to the nearest agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Above {
    /// The nearest process that runs a known agent.
    pub nearest: Option<AgentProcess>,
    /// The processes below that agent, the nearest first; all of them if there is no agent.
    pub below: Vec<u32>,
    /// The first of these that is not a wrapper. An unknown agent would be this one.
    unwrapped: Option<u32>,
}

/// Looks at the processes above `pid`.
#[must_use]
pub fn above(pid: u32) -> Above {
    let chain: Vec<(u32, Program)> =
        platform::ancestors(pid).into_iter().map(|pid| (pid, detect::program(pid))).collect();
    look(&chain)
}

fn look(chain: &[(u32, Program)]) -> Above {
    let agents: Vec<Option<&'static Agent>> =
        chain.iter().map(|(_, program)| detect::agent_of_program(program)).collect();
    let nearest = agents.iter().position(Option::is_some).unwrap_or(chain.len());
    let (below, rest) = chain.split_at(nearest);
    let agent = agents.get(nearest).copied().flatten();
    let processes = match agent {
        Some(one) if one.grouping != Grouping::Single => {
            agents.iter().skip(nearest).take_while(|agent| **agent == Some(one)).count()
        }
        _ => 1,
    };
    let process = rest.get(processes - 1).map(|(pid, _)| *pid);
    Above {
        nearest: agent.zip(process).map(|(agent, pid)| AgentProcess { pid, agent }),
        unwrapped: below.iter().find(|(_, program)| !is_wrapper(program)).map(|(pid, _)| *pid),
        below: below.iter().map(|(pid, _)| *pid).collect(),
    }
}

impl Above {
    /// The process of the agent of this type. If the nearest known agent is of another type, or there is
    /// none, this is the first process that is not a wrapper: its program is not known to be an agent.
    #[must_use]
    pub fn agent_pid(&self, agent: &str) -> Option<u32> {
        let nearest = self.nearest.map(|nearest| nearest.pid);
        match self.nearest {
            Some(process) if process.agent.agent_type == agent => nearest,
            _ => self.unwrapped.or(nearest),
        }
    }
}

fn is_wrapper(program: &Program) -> bool {
    detect::called(program).any(|name| WRAPPERS.contains(&name))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::agents;
    use crate::files::tests::TempDir;

    fn chain(lines: &[&str]) -> Vec<(u32, Program)> {
        // From 100 down, the nearest first.
        (1..=100).rev().zip(lines.iter().map(|line| detect::tests::program_of(line))).collect()
    }

    fn pid(lines: &[&str], agent: &str) -> Option<u32> {
        look(&chain(lines)).agent_pid(agent)
    }

    #[test]
    fn the_nearest_agent_counts_behind_any_wrapper() {
        for lines in [
            &["claude", "bash", "init"][..],
            &["timeout|60|slm-mesh", "claude", "bash", "claude"],
            &["sh|-c|slm-mesh", "node|/usr/bin/npx|-y|slm-mesh", "node|/usr/bin/claude", "zsh"],
            &["env|A=b|slm-mesh", "/usr/bin/bash|/x/wrap.sh", "npm exec slm-mesh", "claude"],
            &["some-launcher", "claude"],
        ] {
            let at = lines.iter().position(|line| line.contains("claude")).unwrap();
            let expected = 100 - u32::try_from(at).unwrap();
            assert_eq!(pid(lines, "claude-code"), Some(expected), "{lines:?}");
            let above = look(&chain(lines));
            let agent = agents::of_type("claude-code").unwrap();
            assert_eq!(above.nearest, Some(AgentProcess { pid: expected, agent }));
            assert_eq!(above.below.len(), at);
        }
    }

    #[test]
    fn an_agent_that_is_not_known_is_the_first_that_is_no_wrapper() {
        assert_eq!(pid(&["my-agent", "bash"], "my-agent"), Some(100));
        assert_eq!(pid(&["timeout|9|x", "sh|-c|x", "my-agent", "bash"], "my-agent"), Some(98));
        let npx =
            ["node|/x/.bin/slm-mesh|mcp", "sh|-c|slm-mesh mcp", "npm exec slm-mesh", "my-agent"];
        assert_eq!(pid(&npx, "my-agent"), Some(97));
        // Another agent has started it: that one is not meant.
        assert_eq!(pid(&["sh|-c|x", "my-agent", "bash", "claude"], "my-agent"), Some(99));
        assert_eq!(pid(&["python3|agent.py", "bash", "codex"], "claude-code"), Some(100));
        // It has no process of its own there: an extension of an editor.
        assert_eq!(pid(&["code|--type=utility", "code"], "cline"), Some(99));
        assert_eq!(pid(&["sh", "bash"], "x"), None);
        assert_eq!(pid(&[], "x"), None);
    }

    #[test]
    fn an_editor_is_its_first_process_and_other_agents_are_each_their_own() {
        let cursor = ["sh|-c|x", "cursor|--type=utility", "cursor|--type=zygote", "cursor", "init"];
        assert_eq!(pid(&cursor, "cursor"), Some(97));
        assert_eq!(look(&chain(&cursor)).below, [100]);
        // A terminal of it is between: another editor window is not ours.
        assert_eq!(pid(&["cursor-agent", "bash", "cursor"], "cursor"), Some(100));
        assert_eq!(pid(&["zed", "code"], "zed"), Some(100));
        assert_eq!(pid(&["copilot|/x/preload", "copilot", "bash"], "copilot-cli"), Some(99));
        assert_eq!(pid(&["copilot", "bash", "copilot"], "copilot-cli"), Some(100));
        assert_eq!(pid(&["claude", "claude"], "claude-code"), Some(100));
        assert_eq!(pid(&["codex", "node|/x/@openai/codex/bin/codex.js"], "codex"), Some(100));
    }

    /// A process that is called `name` and runs a line of shell. What it starts last says its id.
    fn stand_in(dir: &Path, name: &str, line: &str) -> (Child, u32) {
        let program = dir.join(name);
        let shell = Path::new("/bin/sh").canonicalize().unwrap();
        if !program.exists() {
            symlink(shell, &program).unwrap();
        }
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(&program);
        // What is behind the line keeps the shell from becoming what it starts.
        command.arg("-c").arg(format!("{line}; true")).env("PATH", path);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut text).unwrap();
        (child, text.trim().parse().unwrap())
    }

    #[test]
    fn real_process_trees_are_looked_at() {
        let dir = TempDir::new();
        let leaf = dir.path().join("leaf");
        std::fs::write(&leaf, "echo $$; read line").unwrap();
        let leaf = format!("sh {}", leaf.display());
        for (name, agent, line) in [
            ("claude", "claude-code", format!("sh -c '{leaf}; true'")),
            ("codex", "codex", format!("timeout 60 {leaf}")),
            ("gemini", "gemini-cli", format!("env A=b sh -c \"nice sh -c '{leaf}; true'; true\"")),
        ] {
            let (mut child, pid) = stand_in(dir.path(), name, &line);
            let above = above(pid);
            let found = agents::of_type(agent).map(|agent| AgentProcess { pid: child.id(), agent });
            assert_eq!(above.nearest, found, "{line}");
            assert_eq!(above.agent_pid(agent), Some(child.id()));
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        // A helper of an editor, started by the editor.
        symlink(Path::new("/bin/sh").canonicalize().unwrap(), dir.path().join("cursor")).unwrap();
        let line = format!("cursor -c '{leaf}; true'");
        let (mut child, pid) = stand_in(dir.path(), "cursor", &line);
        assert_eq!(above(pid).agent_pid("cursor"), Some(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
