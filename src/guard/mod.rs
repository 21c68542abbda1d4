//! The git guard: a pre-commit hook by which nobody commits a file that another has locked. It is
//! for people, and for the edits that agents make in a shell, which no gate of theirs sees.
//!
//! | module | what it does |
//! |---|---|
//! | `script` | the hook's text, and whether a file is one; no I/O |
//! | `git` | what git is asked |
//! | `install` | puts the hook in its place and takes it out |
//! | `status` | which working trees it reaches |
//! | `check` | what the hook runs |

pub mod check;
pub mod git;
pub mod install;
mod script;
pub mod status;
