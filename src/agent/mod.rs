//! The agent on whose behalf this process runs: which one it is, and in which repository it works.
//!
//! All of this is read from processes, variables and files. Neither git nor any agent is run, and
//! nothing that is missing or broken is an error: the mesh works without this knowledge.

pub mod above;
pub mod codex;
pub mod detect;
pub mod git;
pub mod namespace;
mod remote;
pub mod variables;
