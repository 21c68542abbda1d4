//! slm-mesh: AI coding agents that run side by side find each other, send messages, share state,
//! lock files and react to events.
//!
//! The modules, in reading order. Dependencies point down only; `docs/architecture.md` has the map.

pub mod model;
pub mod text;
pub mod agents;
pub mod limits;
pub mod names;
pub mod patterns;
pub mod paths;
pub mod config;
pub mod api;
pub mod tell;
pub mod files;
pub mod store;
pub mod mesh;
pub mod wire;
pub mod platform;
pub mod data_dir;
pub mod role;
pub mod neighbour;
#[cfg(feature = "lan")]
pub mod lan;
pub mod log;
pub mod helper;
pub mod client;
pub mod agent;
pub mod hook;
pub mod guard;
pub mod skills;
pub mod setup;
pub mod broker;
pub mod mcp;
pub mod session;
pub mod memory;
pub mod notify;
pub mod cli;
