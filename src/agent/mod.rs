//! The agent on whose behalf this process runs: which one it is, and in which repository it works.
//!
//! Everything here is read from what is there anyway. No program of git or of an agent is run, and
//! nothing that is missing or broken is an error: the mesh works without knowing any of it.

pub mod above;
pub mod codex;
pub mod detect;
pub mod git;
pub mod namespace;
mod remote;
pub mod variables;
