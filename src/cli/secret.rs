//! `slm-mesh secret`

use super::command::{Entry, Group, Standalone, standalone};
use super::out::{Out, write_object};
use super::{Failure, Result};
use crate::config;

pub(super) const ENTRY: Entry = Entry {
    name: "secret",
    group: Group::Machines,
    summary: "print a fresh shared secret",
    usage: &["secret"],
    about: &["A key of 256 random bits, as SLM_MESH_SHARED_SECRET takes it. It is kept nowhere."],
    options: &[],
    examples: &[("secret", "")],
    parse: standalone::<Secret>,
};

/// Prints a fresh shared secret.
#[derive(Debug, Default)]
struct Secret;

impl Standalone for Secret {
    fn run(&self, out: &mut Out) -> Result<()> {
        let secret = config::Secret::fresh().map_err(|error| {
            Failure::other("no_randomness", format!("the system has no random bytes: {error}"))
        })?;
        if out.json {
            write_object!(out, "ok" => true, "secret" => secret.reveal())
        } else {
            writeln!(out, "{}", secret.reveal())
        }
    }
}
