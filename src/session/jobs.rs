//! What takes a while and must not hold up the rest: a thread for each, and one answer.

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

/// What came of one.
#[derive(Debug)]
pub(super) enum Done {
    /// Of a look for the peer.
    Sought(Result<Sought, ClientError>),
    /// Of the edit of this number.
    Ruled(u64, Verdict),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Jobs {
    config: Config,
    agent: Box<str>,
    waker: Arc<Waker>,
    sender: Sender<Done>,
    receiver: Receiver<Done>,
}

impl Jobs {
    /// `token` becomes ready when one is done.
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

    /// One that is done.
    pub(super) fn poll(&mut self) -> Option<Done> {
        self.receiver.try_recv().ok()
    }

    /// Looks which peer it is.
    pub(super) fn seek(&self) {
        let (config, agent) = (self.config.clone(), self.agent.clone());
        self.spawn(
            move || Done::Sought(seek(&config, &agent)),
            || Done::Sought(Ok(Sought::Failed)),
        );
    }

    /// Asks the gate.
    pub(super) fn check(&self, edit: Edit, session: Option<Box<str>>) {
        let (config, agent, id) = (self.config.clone(), self.agent.clone(), edit.id);
        let event = HookEvent::before_edit(session, edit.cwd, edit.files);
        let check = move || Done::Ruled(id, hook::check_edit(&config, &agent, &event));
        self.spawn(check, move || Done::Ruled(id, Verdict::Silent));
    }

    /// `otherwise` if the system has no thread for it.
    fn spawn(&self, job: impl FnOnce() -> Done + Send + 'static, otherwise: impl FnOnce() -> Done) {
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let spawned = Builder::new().stack_size(SESSION_STACK_BYTES).spawn(move || {
            // Nobody reads it any more at the end.
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
    // Before the look, so that whoever comes meanwhile is seen.
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
