//! `slm-mesh session --agent NAME`: started by the plugin of an agent, so that the plugin itself needs
//! no rules. It acts for the peer of the MCP server of that agent, holds a claim on what may be told,
//! and asks the lock gate; the plugin puts texts where the agent reads them.
//!
//! | module | what it does |
//! |---|---|
//! | `protocol` | the lines between the two; no I/O |
//! | `decide` | for which peer, what is claimed when, and what becomes of it; no I/O |
//! | `threads` | what takes a while, in threads: looking for the peer, and the gate |
//! | `run` | the loop over standard input and output, the broker, the parent, and the time |
//!
//! It ends with its input or its parent. It starts no broker, and waits for one that has gone.

mod decide;
mod threads;
mod protocol;
mod run;

use std::io;

use crate::config::Config;
use crate::log;

/// Serves the plugin of `agent` at standard input and output until it is gone.
///
/// # Errors
/// The process has no descriptors to begin with.
pub fn run(config: Config, agent: &str) -> io::Result<()> {
    log::set_level(config.log);
    run::Loop::new(config, agent)?.run()
}
