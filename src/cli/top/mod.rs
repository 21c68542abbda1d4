//! `slm-mesh top`: the mesh, live, on the whole terminal.
//!
//! | module | what it does |
//! |---|---|
//! | [`keys`] | bytes of a terminal to keys |
//! | [`clean`] | what others wrote, made fit for a cell |
//! | [`picture`], [`charts`] | what is known of the mesh |
//! | [`asks`] | what is asked of the broker, and when |
//! | [`panes`] | who gets which part of the screen |
//! | [`app`] | the state: keys, answers and time in, requests out |
//! | [`typing`], [`reading`] | what keys do, and the texts to read |
//! | [`view`] | state to cells |
//! | [`screen`] | cells to bytes, only what has changed |
//! | [`terminal`] | the terminal taken over and given back |
//! | [`shell`] | the loop that owns descriptors and clocks |
//!
//! All but the last two are pure.

mod app;
mod asks;
mod charts;
mod clean;
mod keys;
mod panes;
mod picture;
mod reading;
mod screen;
mod shell;
mod terminal;
mod typing;
mod view;

#[cfg(test)]
mod tests;

use std::env;

use super::command::{Command, Context, Entry, Group, alone};
use super::words::UsageError;
use super::{Failure, Result};
use crate::client::StartPolicy;
use crate::platform;

pub(super) const ENTRY: Entry = Entry {
    name: "top",
    group: Group::Broker,
    summary: "watch peers, messages, locks and events, live",
    usage: &["top"],
    about: &[
        "Draws on the whole terminal: who is here, messages as they pass and how far they have \
         come, locks with the time left, events, and charts of messages a second and of \
         delivery times. `?` lists the keys: to read a message in full, send one, release a \
         lock, filter. `q` or Ctrl-C leaves.",
        "Reading here marks nothing as read, and agents do not see that you look. Starts no \
         broker: without one, it says so and exits with 3; one that stops later is waited for. \
         As long as it looks, the broker does not stop for want of peers. For scripts there is \
         `events --follow --json`.",
    ],
    options: &[],
    examples: &[("top", ""), ("NO_COLOR=1 slm-mesh top", "without colours")],
    parse: alone::<Top>,
};

#[derive(Debug, Default)]
struct Top;

impl Command for Top {
    fn run(&self, context: &mut Context) -> Result<()> {
        let usage = |message: &str| {
            Err(Failure::Usage(UsageError { message: message.into(), command: Some("top") }))
        };
        if context.out.json {
            return usage(
                "`top` is drawn on a terminal and has no JSON; use `events --follow --json`",
            );
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
        shell::run(&context.config, home, context.out.style.color).map(drop)
    }
}
