//! Environment variables that agents set, and what they say in them.
//!
//! Everything that an agent starts inherits them, including other agents. So a variable counts only for
//! the agent it belongs to.

use std::ffi::OsString;

use crate::agents::{self, Agent, Said};
use crate::limits::TAG_CHARS_MAX;

/// Whether this process has the environment of a command that `agent` runs.
#[must_use]
pub fn is_of_commands(agent: &Agent) -> bool {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    agent.variables.iter().any(is_set)
}

/// What an agent of this type says in the environment of this process; `None` if it says nothing or has
/// no variable for it.
#[must_use]
pub fn said(agent: &str, what: Said) -> Option<OsString> {
    said_in(agent, what, |name| std::env::var_os(name))
}

/// The session id that an agent of this type gives, if the mesh accepts it.
#[must_use]
pub fn session(agent: &str) -> Option<Box<str>> {
    id_said(agent, Said::Session)
}

/// The id of the main session, if the agent is a subagent with a session id of its own.
#[must_use]
pub fn main_session(agent: &str) -> Option<Box<str>> {
    id_said(agent, Said::MainSession).filter(|id| session(agent).is_some_and(|own| own != *id))
}

fn id_said(agent: &str, what: Said) -> Option<Box<str>> {
    let id = said(agent, what)?.into_string().ok()?;
    (1..=TAG_CHARS_MAX).contains(&id.chars().count()).then(|| id.into())
}

/// Like [`said`], for any environment.
fn said_in(agent: &str, what: Said, lookup: impl Fn(&str) -> Option<OsString>) -> Option<OsString> {
    let (_, name) = agents::of_type(agent)?.says.iter().find(|(said, _)| *said == what)?;
    lookup(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_counts_for_the_agent_it_belongs_to_and_no_other() {
        let everything = |name: &str| Some(OsString::from(name));
        let said = |agent, what| said_in(agent, what, everything);
        assert_eq!(said("claude-code", Said::Project), Some("CLAUDE_PROJECT_DIR".into()));
        assert_eq!(said("claude-code", Said::Session), Some("CLAUDE_CODE_SESSION_ID".into()));
        assert_eq!(said("codex", Said::Session), Some("CODEX_THREAD_ID".into()));
        for what in [Said::Project, Said::InboxSocket, Said::InboxToken] {
            assert_eq!(said("codex", what), None);
        }
        for agent in ["gemini-cli", "opencode", "unknown", "claude-code-2", ""] {
            for what in [Said::Session, Said::Project, Said::InboxSocket, Said::InboxToken] {
                assert_eq!(said(agent, what), None, "{agent}");
            }
        }
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        assert_eq!(said_in("claude-code", Said::Session, |_| Some("".into())), None);
        assert_eq!(said_in("claude-code", Said::Session, |_| None), None);
    }
}
