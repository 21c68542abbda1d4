//! The git guard: a pre-commit hook that refuses to commit files that someone else has locked. It is for
//! people, and for edits that agents make in a shell, which their hooks do not see.
//!
//! | module | what it does |
//! |---|---|
//! | `script` | the hook's text, and whether a file is one; no I/O |
//! | `git` | questions to git |
//! | `install` | puts the hook in its place and takes it out |
//! | `status` | which working trees it reaches |
//! | `check` | what the hook runs |

pub mod check;
pub mod git;
pub mod install;
mod script;
pub mod status;
