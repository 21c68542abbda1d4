//! What takes a while and must not hold up the loop: each has a thread of its own and gives one result.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::Instant;

use mio::{Registry, Token, Waker};

use super::decide::Sought;
use super::protocol::Edit;
use crate::api::{Events, ReadEvents, Request};
use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::hook::session::{Asker, Found, find, token};
use crate::hook::{self, HookEvent, Verdict};
use crate::limits::{CALL_TIME_MAX, SESSION_STACK_BYTES};

/// The result of a thread.
#[derive(Debug)]
pub(super) enum Done {
    /// Of looking for the peer.
    Sought(Result<Sought, ClientError>),
    /// Of the edit of this number.
    Ruled(u64, Verdict),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Threads {
    config: Config,
    agent: Box<str>,
    waker: Arc<Waker>,
    sender: Sender<Done>,
    receiver: Receiver<Done>,
}

impl Threads {
    /// `token` becomes ready when a thread has its result.
    pub(super) fn new(
        config: Config,
        agent: &str,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let waker = Arc::new(Waker::new(registry, token)?);
        Ok(Self { config, agent: agent.into(), waker, sender, receiver })
    }

    /// The next result, if there is one.
    pub(super) fn poll(&mut self) -> Option<Done> {
        self.receiver.try_recv().ok()
    }

    /// Looks for the peer.
    pub(super) fn seek(&self) {
        let (config, agent) = (self.config.clone(), self.agent.clone());
        self.spawn(
            move || Done::Sought(seek(&config, &agent)),
            || Done::Sought(Ok(Sought::Failed)),
        );
    }

    /// Asks the gate about an edit.
    pub(super) fn check(&self, edit: Edit, session: Option<Box<str>>) {
        let (config, agent, id) = (self.config.clone(), self.agent.clone(), edit.id);
        let event = HookEvent::before_edit(session, edit.cwd, edit.files);
        let check = move || Done::Ruled(id, hook::check_edit(&config, &agent, &event));
        self.spawn(check, move || Done::Ruled(id, Verdict::Silent));
    }

    /// Runs `job` in a thread; if the system has none left, gives `otherwise`.
    fn spawn(&self, job: impl FnOnce() -> Done + Send + 'static, otherwise: impl FnOnce() -> Done) {
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let spawned = Builder::new().stack_size(SESSION_STACK_BYTES).spawn(move || {
            // At the end of the process nobody reads it any more.
            let _ = sender.send(job());
            let _ = waker.wake();
        });
        if spawned.is_err() {
            let _ = self.sender.send(otherwise());
            let _ = self.waker.wake();
        }
    }
}

fn seek(config: &Config, agent: &str) -> Result<Sought, ClientError> {
    let mut client = Client::until(config, Instant::now() + CALL_TIME_MAX);
    client.wait_out_rate_limits();
    // Taken before looking, so that a peer that comes meanwhile is noticed.
    let last = ReadEvents { limit: Some(1), ..ReadEvents::default() };
    let Events { last_seq, .. } = client.call(&Request::ReadEvents(last))?;
    let asker = Asker { agent: Some(agent), ..Asker::default() };
    Ok(match find(&mut client, &asker)? {
        // A server leaves its token just after it has come.
        Found::One(peer) => token(config, &peer).map_or(Sought::Failed, |it| Sought::Me(it.into())),
        Found::Several(_) => Sought::Failed,
        Found::Nobody(_) => Sought::Nobody(last_seq),
    })
}
