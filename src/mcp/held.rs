//! Requests that the broker may hold until it is their turn, each on a connection of its own, so that
//! others are not held up. To abandon one, its connection is closed, which removes it from the queue.

use std::time::Instant;

use mio::{Registry, Token};

use super::server::{Outgoing, Purpose};
use crate::client::{BrokerLink, ClientError, LinkEvent, wait_of};
use crate::config::Config;

/// See the module.
#[derive(Debug)]
pub(super) struct HeldRequests {
    config: Config,
    registry: Registry,
    /// The first of the tokens.
    first: usize,
    /// Each with two tokens, by its place.
    slots: Vec<Option<HeldRequest>>,
}

#[derive(Debug)]
struct HeldRequest {
    purpose: Purpose,
    link: BrokerLink<Purpose>,
}

impl HeldRequests {
    /// None yet. Tokens from `first` on are used for them.
    pub(super) fn new(config: Config, registry: Registry, first: Token) -> Self {
        Self { config, registry, first: first.0, slots: Vec::new() }
    }

    /// Whether a request is one that the broker may hold.
    pub(super) fn are_for(outgoing: &Outgoing) -> bool {
        wait_of(&outgoing.request) > 0
    }

    /// Asks the broker, on a connection of its own.
    ///
    /// # Errors
    /// There are no descriptors for it.
    pub(super) fn submit(&mut self, outgoing: Outgoing, now: Instant) -> Result<(), ClientError> {
        let registry = self.registry.try_clone().map_err(|error| ClientError::Unreachable {
            reason: format!("no connection can be made: {error}").into(),
        })?;
        let at = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let (stream, launch) = (Token(self.first + 2 * at), Token(self.first + 2 * at + 1));
        let mut link = BrokerLink::new(self.config.clone(), registry, stream, launch);
        let Outgoing { purpose, request, token, start, until } = outgoing;
        link.submit(purpose, request, token.as_deref(), start, until, now);
        let wait = Some(HeldRequest { purpose, link });
        match self.slots.get_mut(at) {
            Some(slot) => *slot = wait,
            None => self.slots.push(wait),
        }
        Ok(())
    }

    /// Abandons the request for this purpose.
    pub(super) fn forget(&mut self, purpose: Purpose) {
        for slot in &mut self.slots {
            slot.take_if(|wait| wait.purpose == purpose);
        }
    }

    /// When [`HeldRequests::advance`] has to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.slots.iter().flatten().filter_map(|wait| wait.link.deadline()).min()
    }

    /// Does what is to be done now.
    pub(super) fn advance(&mut self, now: Instant) {
        for wait in self.slots.iter_mut().flatten() {
            if wait.link.deadline().is_some_and(|at| at <= now) {
                wait.link.advance(now);
            }
        }
    }

    /// The descriptor behind a token is ready.
    pub(super) fn handle_ready(&mut self, token: Token, now: Instant) {
        let Some(at) = token.0.checked_sub(self.first) else { return };
        let Some(Some(wait)) = self.slots.get_mut(at / 2) else { return };
        if at % 2 == 0 {
            wait.link.handle_stream_ready(now);
        } else {
            wait.link.handle_launch_ready(now);
        }
    }

    /// The next result of a request.
    pub(super) fn poll_finished(&mut self) -> Option<(Purpose, Result<Vec<u8>, ClientError>)> {
        for slot in &mut self.slots {
            // The end of such a connection says nothing about the broker.
            while let Some(event) = slot.as_mut().and_then(|wait| wait.link.poll_event()) {
                if let LinkEvent::Finished(purpose, result) = event {
                    *slot = None;
                    return Some((purpose, result));
                }
            }
        }
        None
    }
}
