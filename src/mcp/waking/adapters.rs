//! The ways that have descriptors, together, for the loop.

use std::io;
use std::time::Instant;

use mio::{Registry, Token};

use super::codex_queue::CodexQueue;
use super::inbox_socket::InboxSocket;
use super::{Notice, WayReport};
use crate::agents::Agent;
use crate::model::Way;

/// See the module.
#[derive(Debug)]
pub(in crate::mcp) struct Adapters {
    inbox_socket: Option<InboxSocket>,
    codex_queue: CodexQueue,
}

impl Adapters {
    /// What the environment offers; its descriptors are registered with `registry` under `token`.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(in crate::mcp) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self {
            inbox_socket: InboxSocket::from_environment(registry, token),
            codex_queue: CodexQueue::new(registry.try_clone()?, token),
        })
    }

    /// The agent whose inbox socket this process was given.
    pub(in crate::mcp) fn inbox_socket_of(&self) -> Option<&'static Agent> {
        self.inbox_socket.as_ref().map(InboxSocket::agent)
    }

    /// Looks whether the inbox socket is there.
    pub(in crate::mcp) fn look(&mut self, now: Instant) {
        if let Some(inbox_socket) = &mut self.inbox_socket {
            inbox_socket.look(now);
        }
    }

    /// From now on texts are queued for this thread of Codex.
    pub(in crate::mcp) fn prepare_queue(&mut self, thread: Box<str>) {
        self.codex_queue.prepare(thread);
    }

    /// Begins to tell by this way.
    pub(in crate::mcp) fn tell(&mut self, by: Way, notice: &Notice, now: Instant) {
        match (by, &mut self.inbox_socket) {
            (Way::InboxSocket, Some(inbox_socket)) => inbox_socket.tell(notice, now),
            (Way::Queue, _) => self.codex_queue.tell(notice, now),
            _ => {}
        }
    }

    /// Goes on with all of them as far as possible without waiting.
    pub(in crate::mcp) fn advance(&mut self, now: Instant) {
        if let Some(inbox_socket) = &mut self.inbox_socket {
            inbox_socket.advance(now);
        }
        self.codex_queue.advance(now);
    }

    /// The next report of one of them.
    pub(in crate::mcp) fn poll(&mut self) -> Option<(Way, WayReport)> {
        let of_socket = self.inbox_socket.as_mut().and_then(InboxSocket::poll);
        let of_socket = of_socket.map(|outcome| (Way::InboxSocket, outcome));
        of_socket.or_else(|| Some((Way::Queue, self.codex_queue.poll()?)))
    }

    /// When [`Adapters::advance`] has to be called at the latest.
    pub(in crate::mcp) fn deadline(&self) -> Option<Instant> {
        let inbox_socket = self.inbox_socket.as_ref().and_then(InboxSocket::deadline);
        inbox_socket.into_iter().chain(self.codex_queue.deadline()).min()
    }
}
