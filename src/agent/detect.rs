//! Which agent has started this process.
//!
//! The evidence, in order: the name that the client gives itself, the variables that agents set for
//! their children, the programs above this process. Variables come second because an agent inherits
//! those of an agent that started it, and programs last because anything may wrap them.

use std::ffi::OsStr;
use std::path::Path;

use crate::agents::{self, Agent};
use crate::limits::NAME_CHARS_MAX;
use crate::names::{UNKNOWN_AGENT, fold};
use crate::platform;

/// Interpreters, whose first argument is the actual program. A version may follow the name.
const INTERPRETERS: &[&str] = &["node", "bun", "deno", "python"];

/// Options of interpreters whose value is the next argument.
const WITH_VALUE: &[&str] = &[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "-X",
    "-W",
];

/// A running program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    /// Its name, which the system may have cut short.
    pub name: String,
    /// Its command line, beginning with its path.
    pub arguments: Vec<String>,
}

/// The type of the agent that started this process; [`UNKNOWN_AGENT`] if there is no evidence.
/// `client_name` is the `clientInfo.name` of an MCP client.
#[must_use]
pub fn agent_type(client_name: Option<&str>) -> String {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    agent_type_from(client_name, is_set, || {
        platform::ancestors(std::process::id()).into_iter().map(program)
    })
}

/// The agent whose program the process `pid` runs; `None` if that is not a known agent.
#[must_use]
pub fn agent_of(pid: u32) -> Option<&'static Agent> {
    agent_of_program(&program(pid))
}

pub(super) fn program(pid: u32) -> Program {
    Program {
        name: platform::command_name(pid).unwrap_or_default(),
        arguments: platform::command_line(pid).unwrap_or_default(),
    }
}

/// Like [`agent_type`], for any environment. `programs` gives those above this process, the nearest
/// first. It is only called if they are needed, since listing them takes time.
pub fn agent_type_from<I: IntoIterator<Item = Program>>(
    client_name: Option<&str>,
    is_set: impl Fn(&str) -> bool,
    programs: impl FnOnce() -> I,
) -> String {
    if let Some(agent) = client_name.and_then(type_of_client) {
        return agent;
    }
    let is_marked = |agent: &&Agent| {
        let mut all = agent.variables.iter().chain(agent.terminal_variables);
        all.any(|variable| is_set(variable))
    };
    let mut named: Vec<&Agent> = agents::ALL.into_iter().filter(is_marked).collect();
    // An editor's variables are set in its terminals, where other agents are started.
    named.sort_by_key(|agent| agent.is_editor());
    if let [agent] = named[..] {
        return agent.agent_type.to_owned();
    }
    // Variables of several agents: one of them has started another, and the nearest is ours.
    let mut agents = programs().into_iter().filter_map(|program| agent_of_program(&program));
    let nearest = agents.find(|agent| named.is_empty() || named.contains(agent));
    nearest.or(named.first().copied()).map_or(UNKNOWN_AGENT, |agent| agent.agent_type).to_owned()
}

/// The agent type for the name that a client gives itself: a known type, or else the name, folded.
/// `None` if folding leaves nothing.
fn type_of_client(name: &str) -> Option<String> {
    let folded = fold(name, NAME_CHARS_MAX);
    let known = agents::of_client(&folded).map(|agent| agent.agent_type.to_owned());
    known.or_else(|| (!folded.is_empty()).then_some(folded))
}

pub(super) fn agent_of_program(program: &Program) -> Option<&'static Agent> {
    let own_path = program.arguments.first().map(String::as_str).unwrap_or_default();
    let own_name = file_name(own_path);
    agents::of_process(&program.name).or_else(|| agents::of_process(own_name)).or_else(|| {
        let script = script(program)?;
        agents::of_script(script).or_else(|| agents::of_process(stem(script)))
    })
}

/// The names of a program: its own, that of its file, and that of the script if it is an interpreter.
pub(super) fn called(program: &Program) -> impl Iterator<Item = &str> {
    let first_word = program.name.split(' ').next().unwrap_or_default();
    let own_path = program.arguments.first().map(String::as_str).unwrap_or_default();
    [first_word, file_name(own_path)].into_iter().chain(script(program).map(stem))
}

/// The script that an interpreter runs.
fn script(program: &Program) -> Option<&str> {
    let own_path = program.arguments.first().map(String::as_str).unwrap_or_default();
    if !is_interpreter(file_name(own_path)) && !is_interpreter(&program.name) {
        return None;
    }
    let mut arguments = program.arguments.iter().skip(1).map(String::as_str);
    loop {
        match arguments.next()? {
            option if WITH_VALUE.contains(&option) => drop(arguments.next()),
            "run" => {}
            option if option.starts_with('-') => {}
            script => return Some(script),
        }
    }
}

fn stem(script: &str) -> &str {
    let name = file_name(script);
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

/// Whether a program file is one of those that the agent is made of.
#[must_use]
pub fn is_program_of(agent: &Agent, path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).and_then(agents::of_process) == Some(agent)
}

fn is_interpreter(name: &str) -> bool {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&name)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::names;

    pub(in crate::agent) fn program_of(line: &str) -> Program {
        let arguments: Vec<String> = line.split('|').map(str::to_owned).collect();
        let name = file_name(&arguments[0]).chars().take(15).collect();
        Program { name, arguments }
    }

    fn detect(client: Option<&str>, variables: &[&str], programs: &[&str]) -> String {
        let is_set = |name: &str| variables.contains(&name);
        agent_type_from(client, is_set, || programs.iter().map(|line| program_of(line)))
    }

    #[test]
    fn known_clients_have_their_agent_type() {
        for (client, agent) in [
            ("claude-code", "claude-code"),
            ("codex-mcp-client", "codex"),
            ("gemini-cli-mcp-client", "gemini-cli"),
            ("gemini-cli-mcp-client-slm-mesh", "gemini-cli"),
            ("opencode", "opencode"),
            ("qwen-cli-mcp-client-slm-mesh", "qwen-code"),
            ("Zed", "zed"),
            ("Cline", "cline"),
            ("@cline/core", "cline"),
            ("Visual Studio Code", "vscode"),
            ("Visual Studio Code - Insiders", "vscode"),
            ("cursor-vscode", "cursor"),
            ("windsurf-client", "windsurf"),
            ("antigravity-client", "antigravity"),
        ] {
            assert_eq!(detect(Some(client), &[], &[]), agent, "{client}");
        }
    }

    #[test]
    fn other_clients_are_called_by_their_own_name() {
        for (client, agent) in [
            ("aider", "aider"),
            ("My Agent 2.0", "my-agent-2.0"),
            ("claude-code-2", "claude-code-2"),
            ("claude-codex", "claude-codex"),
            ("gemini-cli-mcp-clients", "gemini-cli-mcp-clients"),
        ] {
            assert_eq!(detect(Some(client), &["CLAUDECODE"], &["codex"]), agent, "{client}");
        }
        let long = detect(Some(&"x".repeat(65)), &[], &[]);
        assert_eq!((long.len(), names::check_form(&long)), (64, Ok(())));
        // A name of which nothing is left tells nothing.
        for nothing in ["", "-", "???", "агент"] {
            assert_eq!(detect(Some(nothing), &["CLAUDECODE"], &[]), "claude-code");
            assert_eq!(detect(Some(nothing), &[], &[]), "unknown");
        }
    }

    #[test]
    fn client_goes_before_variables_and_these_before_programs() {
        assert_eq!(detect(Some("codex-mcp-client"), &["CLAUDECODE"], &["gemini"]), "codex");
        assert_eq!(detect(None, &["CLAUDECODE"], &["gemini"]), "claude-code");
        assert_eq!(detect(None, &[], &["bash", "gemini"]), "gemini-cli");
        assert_eq!(detect(None, &[], &["bash", "init"]), "unknown");
    }

    #[test]
    fn programs_are_not_looked_at_without_need() {
        let never = || -> [Program; 0] { panic!("looked") };
        assert_eq!(agent_type_from(Some("zed"), |_| true, never), "zed");
        assert_eq!(agent_type_from(None, |name| name == "OPENCODE", never), "opencode");
    }

    #[test]
    fn each_variable_tells_its_agent() {
        for agent in agents::ALL {
            for variable in agent.variables.iter().chain(agent.terminal_variables) {
                assert_eq!(detect(None, &[variable], &[]), agent.agent_type);
            }
        }
        for variable in ["CODEX_HOME", "GEMINI_API_KEY", "ANTHROPIC_API_KEY", "CLAUDE_CONFIG_DIR"] {
            assert_eq!(detect(None, &[variable], &[]), "unknown", "{variable}");
        }
        let both = ["CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT"];
        assert_eq!(detect(None, &both, &["codex"]), "claude-code");
    }

    #[test]
    fn of_several_agents_the_nearest_counts() {
        let both = ["CLAUDECODE", "CODEX_SANDBOX"];
        assert_eq!(detect(None, &both, &["codex", "bash", "claude"]), "codex");
        assert_eq!(detect(None, &both, &["claude", "bash", "codex"]), "claude-code");
        // A program that no variable speaks of is no more than where they were started.
        assert_eq!(detect(None, &both, &["zed", "codex"]), "codex");
        assert_eq!(detect(None, &both, &["bash"]), "claude-code");
        assert_eq!(detect(None, &["CURSOR_TRACE_ID", "GEMINI_CLI"], &["cursor"]), "cursor");
        assert_eq!(detect(None, &["CURSOR_TRACE_ID", "GEMINI_CLI"], &[]), "gemini-cli");
        assert_eq!(detect(None, &[], &["aider", "code"]), "aider");
    }

    #[test]
    fn programs_are_known_by_name_and_by_script() {
        for (line, agent) in [
            ("claude", "claude-code"),
            ("/usr/local/bin/claude|--resume", "claude-code"),
            ("node|/usr/bin/claude|-p", "claude-code"),
            ("/opt/node22|--no-warnings|/x/@anthropic-ai/claude-code/cli.js", "claude-code"),
            ("/x/codex-x86_64-unknown-linux-musl|mcp", "codex"),
            ("node|/usr/lib/node_modules/@openai/codex/bin/codex.js", "codex"),
            ("node|/usr/bin/gemini", "gemini-cli"),
            ("node|--import|tsx|-r|./x.js|/usr/bin/gemini", "gemini-cli"),
            ("bun|run|/home/u/.bun/bin/opencode.mjs", "opencode"),
            ("/usr/bin/python3.12|-m|aider", "aider"),
            ("python3|/home/u/.local/bin/aider", "aider"),
            ("/Applications/Cursor.app/Contents/MacOS/Cursor", "cursor"),
            ("/x/Cursor Helper (Plugin)|--type=utility", "cursor"),
            ("/x/Code Helper (Plugin)", "vscode"),
            ("/usr/share/code/code|--type=zygote", "vscode"),
            ("zed-editor", "zed"),
        ] {
            assert_eq!(detect(None, &[], &[line]), agent, "{line}");
        }
        for line in [
            "",
            "bash",
            "Claude",
            "claudex",
            "codex-helper",
            "vim|claude",
            "cat|/usr/bin/claude",
            "node",
            "node|--version",
            "node|/srv/server.js|claude",
            "nodejs-thing|/usr/bin/claude",
        ] {
            assert_eq!(detect(None, &[], &[line]), "unknown", "{line}");
        }
        // It renamed itself; its arguments still tell.
        let renamed =
            Program { name: "MainThread".to_owned(), arguments: vec!["claude".to_owned()] };
        assert_eq!(agent_type_from(None, |_| false, || [renamed]), "claude-code");
    }

    #[test]
    fn whoever_runs_the_tests_can_be_asked_for() {
        assert_eq!(names::check_form(&agent_type(None)), Ok(()));
        assert_eq!(agent_type(Some("Zed")), "zed");
    }
}
