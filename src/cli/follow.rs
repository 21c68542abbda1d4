//! Following what happens across restarts of the broker.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use serde::de::DeserializeOwned;

use super::out::note;
use crate::api::{Code, Request};
use crate::client::{Client, ClientError, StartPolicy};

/// How often to look for a broker that has gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long to leave a busy broker alone, unless it says.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);

/// A client that waits for a broker that has gone.
pub(super) struct Patient {
    client: Client,
    /// Whether to say nothing about waiting.
    quiet: bool,
    /// Whether it was said that the broker has gone.
    told: bool,
}

impl Patient {
    /// Asks through `client`. A broker that stops from now on is waited for, not started again, since
    /// someone has stopped it. The process exits when nobody reads its output any more.
    pub(super) fn new(mut client: Client, quiet: bool) -> Self {
        end_with_reader();
        client.set_start_policy(StartPolicy::Never);
        Self { client, quiet, told: false }
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// Those that waiting cannot resolve.
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

    /// The client, for requests that may fail.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Writes a note for people.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }
}

/// Exits when nobody reads the output any more: after `| head` has ended there may never be another
/// write that could fail.
fn end_with_reader() {
    std::thread::spawn(|| {
        let stdout = std::io::stdout();
        // No flag is asked for: that the other end has closed is always reported.
        let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
        // An output that cannot be polled is written to until that fails.
        let is_polled = retry_on_intr(|| poll(&mut polled, None)).is_ok();
        let [stdout] = polled;
        if is_polled && stdout.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            std::process::exit(0);
        }
    });
}
