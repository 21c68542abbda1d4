//! The MCP server: one agent's way into the mesh, JSON-RPC on standard input and output.

mod answers;
mod arguments;
mod catalog;
mod flow;
mod handover;
mod jobs;
mod news;
mod outbox;
mod outcomes;
mod inbox_answer;
mod presence;
mod project;
mod protocol;
mod push;
mod quotes;
mod reading;
mod resource;
mod roots;
mod serve;
mod server;
mod session;
pub(crate) mod stdio;
mod subscriptions;
mod trim;
mod unread;
mod values;
mod held;
mod waking;

use std::fmt;
use std::io;

use crate::config::Config;
use crate::log;

/// Serves one agent at standard input and output, until it closes the input, this process is asked
/// to end (SIGTERM, SIGINT), or its parent has ended.
///
/// It also serves if the settings cannot be used: clients show a server that ends at its start as failed,
/// without the reason. Every tool that is called then says what is wrong.
///
/// # Errors
/// The poll or one of its first descriptors cannot be made. Later failures are reported to the agent.
pub fn run(config: Result<Config, impl fmt::Display>) -> io::Result<()> {
    if let Ok(config) = &config {
        log::set_level(config.log);
    }
    serve::serve(config.map_err(|error| error.to_string()))
}
