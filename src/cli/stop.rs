//! `slm-mesh stop`

use super::command::{Command, Context, Entry, Group, alone};
use super::out::write_object;
use super::{Result, start};
use crate::client::{Client, StartPolicy};

pub(super) const ENTRY: Entry = Entry {
    name: "stop",
    group: Group::Broker,
    summary: "stop the broker, and wait until it is gone",
    usage: &["stop"],
    about: &["Agents that are connected start no new one until they next use the mesh."],
    options: &[],
    examples: &[("stop", "")],
    parse: alone::<Stop>,
};

/// Stops the broker and waits until it has let go of its lock.
#[derive(Debug, Default)]
struct Stop;

impl Command for Stop {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to stop the broker")?;
        // Whatever role the settings ask for.
        let config = context.config.of_any_role();
        start::end(&config, Client::open(&config, StartPolicy::Never)?)?;
        let out = &mut context.out;
        if out.json {
            write_object!(out, "ok" => true)
        } else {
            writeln!(out, "The broker has stopped.")
        }
    }
}
