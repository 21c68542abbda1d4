//! The MCP server: one agent's way into the mesh, JSON-RPC on standard input and output.

mod answers;
mod arguments;
mod catalog;
mod flow;
mod jobs;
mod outbox;
mod presence;
mod project;
mod protocol;
mod reading;
mod resource;
mod roots;
mod server;
mod session;
mod subscriptions;
mod trim;
mod unread;

use uuid::{Builder, Uuid};

/// A random id for what is sent, so that it can be sent again without harm. None if the system has
/// no randomness to give, and then nothing is repeated.
fn random_id() -> Option<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(Builder::from_random_bytes(bytes).into_uuid())
}
