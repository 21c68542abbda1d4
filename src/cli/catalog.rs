//! All commands. The help, the completions of shells and the man page are made from this list.

use super::command::Entry;
use super::words::{Result, UsageError};
use super::{
    clean, completions, demo, doctor, emit, events, export, guard, help, history, hook, hubs,
    inbox, invite, join, kick, leave, lock, machines, mcp, memory, notify, peers, rename, reply,
    secret, send, session, setup, start, state, status, stop, suggest, top, version, web, whoami,
};

/// The commands, in the order of the overview within each group.
pub(super) static ENTRIES: &[Entry] = &[
    status::ENTRY,
    top::ENTRY,
    web::ENTRY,
    start::ENTRY,
    stop::ENTRY,
    demo::ENTRY,
    clean::ENTRY,
    send::ENTRY,
    send::BROADCAST,
    reply::ENTRY,
    history::ENTRY,
    whoami::ENTRY,
    inbox::ENTRY,
    notify::ENTRY,
    peers::ENTRY,
    rename::ENTRY,
    kick::ENTRY,
    memory::ENTRY,
    memory::RECALL,
    export::ENTRY,
    state::ENTRY,
    lock::ENTRY,
    events::ENTRY,
    emit::ENTRY,
    setup::ENTRY,
    doctor::ENTRY,
    mcp::ENTRY,
    hook::ENTRY,
    session::ENTRY,
    guard::ENTRY,
    help::ENTRY,
    invite::ENTRY,
    join::ENTRY,
    leave::ENTRY,
    machines::ENTRY,
    hubs::ENTRY,
    secret::ENTRY,
    completions::ENTRY,
    version::ENTRY,
];

/// The entry of the command `name`.
///
/// # Errors
/// There is no such command; the error names the nearest one.
pub(super) fn find(name: &str) -> Result<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let hint = suggest::hint(name, ENTRIES.iter().map(|entry| entry.name));
        let message = format!("unknown command {name:?}{hint}");
        UsageError { message, command: None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_described() {
        for entry in ENTRIES {
            assert!(!entry.summary.is_empty() && !entry.examples.is_empty(), "{}", entry.name);
            assert!(entry.usage.iter().all(|usage| usage.starts_with(entry.name)));
            assert!(find(entry.name).is_ok_and(|found| std::ptr::eq(found, entry)));
            for usage in entry.usage {
                for word in usage.split([' ', '[', ']', '.']) {
                    let known = !word.starts_with("--") || entry.option_names().contains(&word);
                    assert!(known, "{word} of {}", entry.name);
                }
            }
        }
    }

    #[test]
    fn option_names_are_taken_from_how_they_are_written() {
        let events = find("events").unwrap().option_names();
        for name in ["--type", "--since", "--limit", "-f", "--follow", "--json", "--data-dir", "-h"]
        {
            assert!(events.contains(&name), "{name}");
        }
        assert!(!events.contains(&"T"));
    }
}
