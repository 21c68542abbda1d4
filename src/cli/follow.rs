//! Asking on and on, also over a restart of the broker.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::out::note;
use crate::api::{Code, Request};
use crate::client::{Client, ClientError, StartPolicy};

/// How often a broker is looked for that has gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a broker that cannot serve now is left alone, when it does not say.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);

/// A client that waits for a broker that has gone.
pub(super) struct Patient {
    client: Client,
    /// Nothing is said of it.
    quiet: bool,
    /// Said that the broker has gone.
    told: bool,
}

impl Patient {
    /// Asks by `client`. A broker that stops from now on is waited for, not started: someone has
    /// stopped it. The process ends when nobody reads its output any more.
    pub(super) fn new(mut client: Client, quiet: bool) -> Self {
        end_with_reader();
        client.set_start_policy(StartPolicy::Never);
        Self { client, quiet, told: false }
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// Those that waiting does not help with.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, ClientError> {
        loop {
            let error = match self.client.call(request) {
                Ok(answer) => {
                    if std::mem::take(&mut self.told) {
                        self.note("the broker is back");
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let pause = match (&error, error.code()) {
                (ClientError::Refused(refused), Some(Code::RateLimited | Code::Unavailable)) => {
                    refused.retry_after.unwrap_or(BUSY_INTERVAL)
                }
                (
                    ClientError::NoBroker
                    | ClientError::Unreachable { .. }
                    | ClientError::TimedOut { .. }
                    | ClientError::InDoubt { .. }
                    | ClientError::NotOurs { .. },
                    _,
                ) => {
                    if !std::mem::replace(&mut self.told, true) {
                        self.note("the broker has stopped; waiting until it is back");
                    }
                    LOOK_INTERVAL
                }
                _ => return Err(error),
            };
            std::thread::sleep(pause);
        }
    }

    /// The client, for what need not be waited for.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// For people only.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }
}

/// Ends this process when nobody reads its output any more, however long nothing happens: with
/// `| head` there may be no next write to fail.
fn end_with_reader() {
    std::thread::spawn(|| {
        let stdout = std::io::stdout();
        loop {
            // Nothing is waited for but what is always told: that the other end is gone.
            let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut polled, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return,
            }
            let [stdout] = polled;
            if stdout.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                std::process::exit(0);
            }
            // Something that cannot be polled.
            return;
        }
    });
}
