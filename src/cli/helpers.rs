//! What the commands of helpers have in common: switching one on and off, and being one.

use std::io;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::command::Context;
use super::follow::Patient;
use super::{Failure, Result};
use crate::api::{Code, Events, ReadEvents, Request};
use crate::client::{Client, ClientError, StartPolicy};
use crate::data_dir;
use crate::helper::{HelperFiles, Position, StoredSettings};
use crate::log;
use crate::model::Seq;
use crate::platform::BrokerLock;
use crate::role::{self, Role};

pub(super) fn file_error(error: impl Into<io::Error>) -> Failure {
    Failure::other("file_error", format!("the data directory: {}", error.into()))
}

/// What is stored of a helper.
pub(super) fn settings<T: DeserializeOwned>(files: &HelperFiles) -> Result<StoredSettings<T>> {
    files.settings().map_err(|error| {
        Failure::other(
            "file_error",
            format!("the settings cannot be read ({error}): store them anew"),
        )
    })
}

/// Stores how a helper is to be, and has a broker that runs look at it. Gives when that takes effect,
/// in words.
pub(super) fn switch_on<T: Serialize>(
    context: &Context,
    files: &HelperFiles,
    settings: &T,
) -> Result<&'static str> {
    data_dir::prepare(&context.config.paths)?;
    files.set_settings(settings).map_err(file_error)?;
    Ok(match reload(context)? {
        Reload::Done => "from now on",
        Reload::NoBroker => "as soon as a broker runs",
        Reload::Older => {
            "as soon as the broker, which is of an older version, is started anew: slm-mesh stop"
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reload {
    Done,
    NoBroker,
    /// It knows of no helpers.
    Older,
}

fn reload(context: &Context) -> Result<Reload> {
    let opened = Client::open(&context.config.of_any_role(), StartPolicy::Never);
    match opened.and_then(|mut client| client.call_bytes(&Request::Reload)) {
        Ok(_) => Ok(Reload::Done),
        Err(ClientError::NoBroker) => Ok(Reload::NoBroker),
        Err(error) if error.code() == Some(Code::UnknownEndpoint) => Ok(Reload::Older),
        Err(error) => Err(error.into()),
    }
}

/// Switches a helper off, and removes its files.
pub(super) fn switch_off(context: &mut Context, files: &HelperFiles, done: &str) -> Result<()> {
    if files.switch_off().map_err(file_error)? {
        reload(context)?;
        if !files.clear().map_err(file_error)? {
            let message = "the helper is switched off, and has not ended yet";
            return Err(Failure::other("still_running", message));
        }
    }
    if context.out.json {
        context.out.document(&json!({"ok": true, "on": false}))
    } else {
        writeln!(context.out, "{done}")
    }
}

/// Writes the state of a helper for scripts; `by` is what it works with, none if it is off.
pub(super) fn say_status(
    context: &mut Context,
    files: &HelperFiles,
    by: Option<&str>,
) -> Result<()> {
    context.out.document(&json!({
        "ok": true, "on": by.is_some(), "by": by, "running": files.is_running(),
    }))
}

/// What follows the sentence that a helper is switched on.
pub(super) fn running_text(files: &HelperFiles) -> &'static str {
    if files.is_running() { "" } else { ", as soon as a broker runs" }
}

/// Makes this process the helper. Gives none if another process is the helper and does not end.
pub(super) fn take(context: &Context, files: &HelperFiles) -> Result<Option<BrokerLock>> {
    log::set_level(context.config.log);
    files.take().map_err(file_error)
}

/// The role of this machine, which says whose mesh the data directory is part of.
pub(super) fn role(context: &Context) -> Result<Role> {
    Ok(role::of(&context.config).map_err(ClientError::from)?.role)
}

/// Where a helper goes on. `to` names the recipient, if there may be another later. A position in
/// another mesh, or in another database, is ignored: then the helper begins anew.
pub(super) fn position(
    context: &Context,
    files: &HelperFiles,
    to: &str,
    patient: &mut Patient,
) -> Result<Position> {
    let request = Request::ReadEvents(ReadEvents { limit: Some(1), ..ReadEvents::default() });
    let Events { last_seq, .. } = patient.ask(&request)?;
    let of = match role(context)? {
        Role::Relay { hub, .. } => hub.map_or_else(String::new, |hub| hub.to_string()),
        // A database that was moved aside still exists, so that its inode number is not used again.
        Role::Broker | Role::Hub { .. } => std::fs::metadata(context.config.paths.db())
            .map_or_else(|_| String::new(), |file| file.ino().to_string()),
    };
    let of = format!("{of} {to}").trim().into();
    let stored = files.position().filter(|it| it.of == of && it.seq <= last_seq);
    Ok(stored.unwrap_or(Position { seq: Seq(0), of }))
}
