use super::*;

#[test]
fn every_row_is_complete() {
    for agent in ALL {
        let name = agent.name;
        assert!([agent.agent_type, name, agent.title].iter().all(|word| !word.is_empty()));
        assert!(!agent.processes.is_empty(), "{name}");
        // A way that needs a socket or a script has one.
        let says = |what| agent.says.iter().any(|(said, _)| *said == what);
        let has_socket = agent.has_way(Way::InboxSocket);
        assert_eq!(agent.dialect.is_some(), has_socket, "{name}");
        assert_eq!(says(Said::InboxSocket) && says(Said::InboxToken), has_socket, "{name}");
    }
    for agent in with_settings() {
        let (name, settings) = (agent.name, &agent.settings);
        let has_script = settings.script.is_some() || settings.wake.is_some();
        assert_eq!(agent.has_way(Way::Plugin), has_script, "{name}");
        let hooks = settings.hooks.map_or(&[][..], |hooks| hooks.events);
        assert_eq!(agent.has_way(Way::WaitHook), hooks.iter().any(|event| event.waits), "{name}");
        assert!(settings.server.is_some() || settings.script.is_some(), "{name}");
        assert!(!settings.commands.is_empty() && !settings.signs.is_empty(), "{name}");
        assert!(!settings.after.is_empty(), "{name}");
    }
}

#[test]
fn nothing_is_said_of_two_agents() {
    let of = |words: fn(&Agent) -> Vec<&'static str>| {
        let mut all: Vec<_> = ALL.into_iter().flat_map(words).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "{all:?}");
    };
    of(|agent| vec![agent.agent_type]);
    of(|agent| vec![agent.name]);
    of(|agent| vec![agent.title]);
    of(|agent| agent.clients.to_vec());
    of(|agent| [agent.variables, agent.terminal_variables].concat());
    of(|agent| agent.processes.to_vec());
    of(|agent| agent.packages.to_vec());
    of(|agent| agent.says.iter().map(|(_, variable)| *variable).collect());
    let mut forms: Vec<_> = with_hooks().filter_map(Agent::hook_form).collect();
    let count = forms.len();
    forms.dedup();
    assert_eq!(forms.len(), count);
}

#[test]
fn agent_types_are_names_of_which_folder_names_can_be_made() {
    use crate::limits::NAME_CHARS_MAX;
    use crate::names::{check, fold};
    for agent in ALL {
        assert_eq!(check(agent.agent_type), Ok(()));
        assert_eq!(fold(agent.agent_type, NAME_CHARS_MAX), agent.agent_type);
        for client in agent.clients {
            let client = client.trim_end_matches("-*");
            assert_eq!(fold(client, NAME_CHARS_MAX), client);
        }
    }
}
