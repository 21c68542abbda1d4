//! `slm-mesh top`: the mesh, live, on the whole terminal.
//!
//! | module | what it does |
//! |---|---|
//! | [`keys`] | bytes of a terminal to keys |
//! | [`clean`] | what others wrote, made fit for a cell |
//! | [`app`] | the state: keys, answers and time in, requests out |
//! | [`view`] | state to cells |
//! | [`screen`] | cells to bytes, only what has changed |
//! | [`terminal`] | the terminal taken over and given back |
//! | [`shell`] | the loop that owns descriptors and clocks |
//!
//! All but the last two are pure.

mod app;
mod clean;
mod keys;
mod screen;
mod shell;
mod terminal;
mod view;

use std::env;

use super::words::UsageError;
use super::{Context, Exit, Failure, Result};
use crate::client::StartPolicy;
use crate::platform;

pub(super) fn run(context: &mut Context) -> Result<Exit> {
    let usage = |message: &str| {
        Err(Failure::Usage(UsageError { message: message.into(), command: Some("top") }))
    };
    if context.out.json {
        return usage("`top` is drawn on a terminal and has no JSON; use `events --follow --json`");
    }
    if !platform::stdin_is_terminal() || !platform::stdout_is_terminal() {
        return usage(
            "`top` needs a terminal for its input and output; scripts use \
             `slm-mesh events --follow --json`",
        );
    }
    if env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return usage(
            "`top` draws on the whole screen, which TERM=dumb cannot; use \
             `slm-mesh events --follow`",
        );
    }
    // Whether there is a broker is told before anything is drawn.
    context.client(StartPolicy::Never)?;
    let home = context.out.home.clone();
    shell::run(&context.config, home, context.out.style.color)
}
