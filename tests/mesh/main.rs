//! The real program: brokers, sessions and commands as processes, over real sockets, each test with a
//! data directory of its own. One binary of all of them, so that the library is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: to panic is how it fails"
)]

mod common;

mod cli;
mod completions;
mod conversations;
mod crowd;
mod doctor;
mod guard;
mod hooks;
mod http;
mod http_delivery;
mod identity;
mod in_agents;
mod integrations;
mod lifecycle;
mod locks;
#[cfg(feature = "lan")]
mod machines;
#[cfg(all(feature = "lan", target_os = "linux"))]
mod machines_bad_input;
#[cfg(feature = "lan")]
mod machines_cli;
mod mailbox;
mod mcp;
mod mcp_answers;
#[cfg(all(feature = "lan", target_os = "linux"))]
mod network;
#[cfg(all(feature = "lan", target_os = "linux"))]
mod network_mesh;
mod memory;
mod notify;
mod npm;
mod push;
mod page;
mod page_browser;
mod python;
#[cfg(feature = "lan")]
mod relays;
mod sandbox;
mod session;
mod setup;
mod setup_forms;
mod storage;
mod top;
mod waiting;
mod waking;
