//! The core alone, without a socket, a file or a clock: what happens is a list of calls, what comes of
//! it a list of effects.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: to panic is how it fails"
)]

mod alone;
mod limits;
mod loops;
mod machines;
mod sessions;
mod expiry;
