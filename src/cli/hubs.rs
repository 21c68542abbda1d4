//! `slm-mesh hubs`

#[cfg(feature = "lan")]
use serde_json::json;

use super::Result;
use super::command::{Command, Context, Entry, Group, alone};
#[cfg(not(feature = "lan"))]
use super::invocation::no_network;

pub(super) const ENTRY: Entry = Entry {
    name: "hubs",
    group: Group::Machines,
    summary: "list the hubs that are heard on the network",
    usage: &["hubs"],
    about: &[
        "Listens for 2 seconds, by mDNS, and shows at most 8. What it shows is what anyone on \
         the network may say of themselves. With SLM_MESH_DISCOVERY=false it refuses, and sends \
         nothing.",
    ],
    options: &[],
    examples: &[("hubs", ""), ("hubs --json", "the same for scripts")],
    parse: alone::<Hubs>,
};

/// Lists the hubs that can be heard.
#[derive(Debug, Default)]
struct Hubs;

impl Command for Hubs {
    #[cfg(feature = "lan")]
    fn run(&self, context: &mut Context) -> Result<()> {
        list(context)
    }

    #[cfg(not(feature = "lan"))]
    fn run(&self, _: &mut Context) -> Result<()> {
        Err(no_network())
    }
}

#[cfg(feature = "lan")]
fn list(context: &mut Context) -> Result<()> {
    use super::Failure;
    use super::table::{elastic, fixed};
    use crate::config::DISCOVERY;
    use crate::lan::discovery;
    use crate::limits::DISCOVERY_TIME;
    use crate::role::stored::{self, Stored};

    let config = &context.config;
    if !config.discovery {
        return Err(Failure::other(
            "discovery_off",
            format!("{DISCOVERY} says to send no packet, so no hub can be heard: unset it to look"),
        ));
    }
    let known = match stored::read(&config.paths.machines()).map_err(Failure::file)? {
        Some(Stored::Client { hub, .. } | Stored::Pinned(hub)) => Some(hub.id),
        Some(Stored::Hub) | None => None,
    };
    let heard = discovery::listen(DISCOVERY_TIME, known);
    let heard = heard.map_err(|error| Failure::other("no_discovery", error.to_string()))?;
    let (hubs, more) = heard.into_all();
    // This is only what the hub announces, and anyone may repeat it: the handshake proves it.
    let addresses = |hub: &discovery::Candidate| -> Vec<String> {
        hub.addresses.iter().map(ToString::to_string).collect()
    };
    let is_known = |hub: &discovery::Candidate| known.is_some_and(|id| hub.tag.is_of(&id));
    let out = &mut context.out;
    if out.json {
        let hub = |hub: &discovery::Candidate| {
            let known = is_known(hub);
            json!({"name": hub.name.as_str(), "addresses": addresses(hub), "known": known})
        };
        let hubs: Vec<_> = hubs.iter().map(hub).collect();
        return out.document(&json!({"ok": true, "hubs": hubs, "more": more}));
    }
    if hubs.is_empty() {
        return writeln!(out, "No hub was heard in {} s.", DISCOVERY_TIME.as_secs());
    }
    let columns = [fixed("NAME"), elastic("ADDRESSES", 21), fixed("KNOWN")];
    out.table(columns, &hubs, |_, hub| {
        let known = if is_known(hub) { "by its word" } else { "" };
        [hub.name.as_str().into(), addresses(hub).join(", ").into(), known.into()]
    })?;
    if more > 0 {
        writeln!(out, "{more} more were heard than are shown.")?;
    }
    Ok(())
}
