//! `slm-mesh hubs` and `slm-mesh secret`

use std::io::Write;

use serde_json::json;

use super::out::Out;
use super::{Exit, Failure, Result};
use crate::config::Secret;

/// Prints a fresh shared secret.
pub(super) fn secret(out: &mut Out) -> Result<Exit> {
    let secret = Secret::fresh().map_err(|error| {
        Failure::other("no_randomness", format!("the system has no random bytes: {error}"))
    })?;
    if out.json {
        let document = json!({"ok": true, "secret": secret.reveal()});
        out.document(document.to_string().as_bytes())?;
    } else {
        writeln!(out, "{}", secret.reveal())?;
    }
    Ok(Exit::Done)
}

/// Lists the hubs that are to be heard.
#[cfg(feature = "lan")]
pub(super) fn hubs(context: &mut super::Context) -> Result<Exit> {
    use super::table::{Table, elastic, fixed};
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
    let stored = stored::read(&config.paths.machines());
    let stored = stored.map_err(|error| Failure::other("file_error", error.to_string()))?;
    let known = match stored {
        Some(Stored::Client { hub, .. } | Stored::Pinned(hub)) => Some(hub.id),
        Some(Stored::Hub) | None => None,
    };
    let heard = discovery::listen(DISCOVERY_TIME, known);
    let heard = heard.map_err(|error| Failure::other("no_discovery", error.to_string()))?;
    let (hubs, more) = heard.into_all();
    // By its word only, which others may have heard and say again: whether it is, the handshake tells.
    let is_known = |hub: &discovery::Candidate| known.is_some_and(|id| hub.tag.is_of(&id));
    let out = &mut context.out;
    if out.json {
        let hubs: Vec<_> = hubs
            .iter()
            .map(|hub| {
                let addresses: Vec<String> =
                    hub.addresses.iter().map(ToString::to_string).collect();
                json!({"name": hub.name.as_str(), "addresses": addresses, "known": is_known(hub)})
            })
            .collect();
        out.document(json!({"ok": true, "hubs": hubs, "more": more}).to_string().as_bytes())?;
        return Ok(Exit::Done);
    }
    if hubs.is_empty() {
        writeln!(out, "No hub was heard in {} s.", DISCOVERY_TIME.as_secs())?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([fixed("NAME"), elastic("ADDRESSES", 21), fixed("KNOWN")]);
    for hub in &hubs {
        let addresses: Vec<String> = hub.addresses.iter().map(ToString::to_string).collect();
        let known = if is_known(hub) { "by its word" } else { "" };
        table.push([hub.name.as_str().into(), addresses.join(", ").into(), known.into()]);
    }
    table.write(out, &out.style.clone())?;
    if more > 0 {
        writeln!(out, "{more} more were heard than are shown.")?;
    }
    Ok(Exit::Done)
}

#[cfg(not(feature = "lan"))]
pub(super) fn hubs(_: &mut super::Context) -> Result<Exit> {
    Err(Failure::other("no_network", crate::role::NO_NETWORK))
}
