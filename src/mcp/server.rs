//! The MCP server without its descriptors: lines from the agent, answers of the broker, pushed frames
//! and the time go in; lines for the agent, requests to the broker and a deadline come out.
//!
//! After each `handle_*`, carry out what [`Server::poll`] returns, until there is nothing more; call
//! [`Server::handle_timeout`] at [`Server::deadline`].

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::jobs::{JobId, Jobs, Work};
use super::news::News;
use super::outbox::{Carried, Outbox};
use super::outcomes::UnknownOutcomes;
use super::presence::{Arrival, Order, Presence};
use super::project::{self, Project};
use super::quotes::Quotes;
use super::reading::Reading;
use super::resource::Topic;
use super::session::{ClientEvent, ClientSession};
use super::subscriptions::LogLevel;
use super::unread::Unread;
use super::waking::Notice;
use super::waking::plan::{Sign, Waking};
use crate::agent::detect;
use crate::agents::Agent;
use crate::api::{Code, Frame, HeartbeatReply, PushedMessage, Register, Registered, Request};
use crate::client::blocking::read_reply;
use crate::client::{ClientError, StartPolicy};
use crate::limits::{CALL_TIME_MAX, GOODBYE_TIME_MAX, RPC_LINE_BYTES_MAX};
use crate::log;
use crate::model::Way;
use crate::wire::jsonrpc::INVALID_REQUEST;

/// The reason of a `shutdown` frame when a person has stopped the broker.
const STOPPED: &str = "stopped";

/// What a request to the broker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Register, for the first time or again.
    Register,
    /// Report that this session is still there.
    Heartbeat,
    /// Leave the mesh.
    Unregister,
    /// Mark messages that the agent has been given.
    MarkRead,
    /// An errand: nobody waits for the answer.
    Errand,
    /// Claim messages, to tell the agent of them by a way of its own.
    Claim,
    /// Claim messages, to be quoted on the result of a tool.
    Quote,
    /// See what is unread, for the notice.
    Glance,
    /// Subscribe again, as another peer.
    Subscribe,
    /// Read events that were not pushed.
    MissedEvents,
    /// A tool call or the read of a resource.
    Job(JobId),
}

/// A request to the broker.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) purpose: Purpose,
    pub(super) request: Request,
    /// With which token; none for that of the broker.
    pub(super) token: Option<Box<str>>,
    /// Whether a broker may be started for it.
    pub(super) start: StartPolicy,
    /// When it fails, if that is to be before its own time is over.
    pub(super) until: Option<Instant>,
}

/// What the owner of the descriptors is to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Ask the broker, and pass the result to [`Server::handle_finished`].
    Ask(Box<Outgoing>),
    /// The result is not wanted any more.
    Forget(Purpose),
    /// Leave this token beside the push socket, for the hooks of this session.
    LeaveToken(Box<str>),
    /// Tell the agent by this way, and report the result with [`Server::handle_report`].
    Tell(Way, Notice),
    /// From now on, queue texts for this thread of Codex.
    PrepareQueue(Box<str>),
}

/// How the server comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It goes on.
    No,
    /// The agent has closed the input. What it asked before is still answered, until then at most.
    Draining(Instant),
    /// The session leaves the mesh, until then at most.
    Leaving(Instant),
    /// It has ended.
    Over,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Server {
    /// What goes out to the agent.
    pub(super) out: Outbox,
    pub(super) session: ClientSession,
    pub(super) presence: Presence,
    pub(super) project: Project,
    pub(super) unread: Unread,
    pub(super) jobs: Jobs,
    pub(super) reading: Reading,
    pub(super) outcomes: UnknownOutcomes,
    pub(super) news: News,
    pub(super) waking: Waking,
    pub(super) quotes: Quotes,
    pub(super) commands: VecDeque<Command>,
    /// Which agent this is, as registered.
    pub(super) agent_type: Box<str>,
    /// The client has said its name, from which the agent is known.
    client_is_met: bool,
    /// The client has said where its project is.
    root_is_told: bool,
    /// The id of the session that the last registration had.
    session_told: Option<Box<str>>,
    /// Whether the broker can push to this session.
    pub(super) push_is_live: bool,
    /// What the agent last said about its work, in case the broker forgets it.
    pub(super) summary: Option<Box<str>>,
    /// Event types that the agent has subscribed to, in case the broker forgets them.
    pub(super) subscribed: Vec<Box<str>>,
    ending: Ending,
}

impl Server {
    /// A server that asks for `name`, in a `project` that the agent may still correct.
    /// `inbox_socket_of`: the agent whose inbox socket this process was given.
    pub(super) fn new(
        name: Option<&str>,
        inbox_socket_of: Option<&'static Agent>,
        project: Project,
    ) -> Self {
        Self {
            out: Outbox::new(),
            session: ClientSession::new(inbox_socket_of),
            presence: Presence::new(name),
            project,
            unread: Unread::default(),
            jobs: Jobs::default(),
            reading: Reading::default(),
            outcomes: UnknownOutcomes::default(),
            news: News::default(),
            waking: Waking::new(inbox_socket_of),
            quotes: Quotes::default(),
            commands: VecDeque::new(),
            agent_type: crate::names::UNKNOWN_AGENT.into(),
            client_is_met: false,
            root_is_told: false,
            session_told: None,
            push_is_live: false,
            summary: None,
            subscribed: Vec::new(),
            ending: Ending::No,
        }
    }

    /// What is to be done next.
    pub(super) fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Server::handle_timeout`] has to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let ending = match self.ending {
            Ending::No | Ending::Over => None,
            Ending::Draining(until) | Ending::Leaving(until) => Some(until),
        };
        // Without a broker nothing can be marked.
        let reading = self.reading.deadline().filter(|_| self.presence.is_present());
        let waking = self.waking_deadline();
        [self.presence.deadline(), self.jobs.deadline(), reading, waking, ending]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.ending == Ending::Over
    }

    /// Whether lines from the agent are wanted.
    pub(super) fn wants_lines(&self) -> bool {
        self.ending == Ending::No && !self.out.is_congested()
    }

    /// Whether an answer may wait for a message.
    pub(super) fn can_wait(&self) -> bool {
        self.ending == Ending::No
    }

    /// Some time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.expire_jobs(now);
        self.mark_read(now);
        self.proceed(now);
    }

    /// A line of the agent.
    pub(super) fn handle_line(&mut self, line: &[u8], now: Instant) {
        self.session.handle_line(line, &mut self.out);
        if !self.client_is_met && self.session.client().is_some() {
            // Paths in the first call are relative to its project.
            self.client_is_met = true;
            self.meet_client();
        }
        while let Some(event) = self.session.events.pop_front() {
            match event {
                ClientEvent::Call { asked, tool, arguments } => {
                    self.call_tool(asked, tool, arguments.as_deref(), now);
                }
                ClientEvent::Read { asked, resource, uri } => {
                    self.begin(asked, Work::Read(resource, uri), now);
                }
                ClientEvent::Cancel(id) => self.cancel(&id, now),
                ClientEvent::Identify(thread) => self.identify(thread),
                ClientEvent::Settled => self.presence.settle(now),
                ClientEvent::Root(root) => self.handle_root(root, now),
            }
        }
        self.proceed(now);
    }

    /// A line of the agent that is too long to be read.
    pub(super) fn handle_long_line(&mut self) {
        let mib = RPC_LINE_BYTES_MAX / (1024 * 1024);
        let message = format!("Invalid request: a message may have at most {mib} MiB");
        self.out.respond_nobody(INVALID_REQUEST, &message);
    }

    fn handle_root(&mut self, root: Option<PathBuf>, now: Instant) {
        let told = root.map(Project::at);
        self.root_is_told |= told.is_some();
        if let Some(project) = told
            && project.path != self.project.path
        {
            self.project = project;
            self.presence.introduce_again(now);
        } else if !self.presence.is_present() {
            self.presence.introduce_again(now);
        }
    }

    /// There will be no more lines. What was asked is still answered.
    pub(super) fn handle_end(&mut self, now: Instant) {
        if self.ending == Ending::No {
            self.ending = Ending::Draining(now + CALL_TIME_MAX + GOODBYE_TIME_MAX);
            self.session.subscriptions.end_all(&mut self.out);
            self.answer_watchers();
            self.proceed(now);
        }
    }

    /// The agent is gone: nothing is answered any more.
    pub(super) fn stop(&mut self, now: Instant) {
        if matches!(self.ending, Ending::No | Ending::Draining(_)) {
            self.ending = Ending::Leaving(now + GOODBYE_TIME_MAX);
            for id in self.jobs.ids(|_| true) {
                self.jobs.remove(id);
                self.commands.push_back(Command::Forget(Purpose::Job(id)));
            }
            self.mark_read(now);
            self.last_errands();
            if self.presence.is_present() {
                self.unregister();
            } else if !self.presence.is_registering() {
                self.ending = Ending::Over;
            }
        }
    }

    /// Does whatever follows from what has changed.
    pub(super) fn proceed(&mut self, now: Instant) {
        match self.ending {
            Ending::Draining(until)
                if now >= until || (self.jobs.is_empty() && self.out.is_empty()) =>
            {
                return self.stop(now);
            }
            Ending::Leaving(until) if now >= until => self.ending = Ending::Over,
            _ => {}
        }
        if matches!(self.ending, Ending::Leaving(_) | Ending::Over) {
            return;
        }
        self.start_jobs();
        self.wake(now);
        while let Some(order) = self.presence.poll(now) {
            match order {
                Order::Register(start) => self.register(start),
                Order::Heartbeat => self.heartbeat(),
            }
        }
    }

    /// Finds out which agent this is, and where it works.
    fn meet_client(&mut self) {
        self.agent_type = detect::agent_type(self.session.client()).into();
        if !self.root_is_told
            && let Some(project) = Project::of_agent(&self.agent_type)
            && project.path != self.project.path
        {
            self.project = project;
        }
        self.meet_agent();
    }

    fn register(&mut self, start: StartPolicy) {
        self.meet_client();
        let mut register = project::introduction(&self.project, &self.agent_type);
        register.summary.clone_from(&self.summary);
        self.introduce(&mut register);
        let token = self.presence.fill(&mut register);
        self.tell_session(&mut register);
        let request = Request::Register(Box::new(register));
        let purpose = Purpose::Register;
        self.send(Outgoing { purpose, request, token, start, until: None });
    }

    /// Puts the id of the session into `register`, unless the broker has it from here already: a hook may
    /// have named another one since.
    fn tell_session(&mut self, register: &mut Register) {
        if let Some(session) = self.waking.session_id() {
            register.session_id = Some(session);
        }
        if register.peer_id.is_some() && register.session_id == self.session_told {
            register.session_id = None;
        } else {
            self.session_told.clone_from(&register.session_id);
        }
    }

    /// Leaves the mesh. The broker finds out whether the agent only restarts its server.
    fn unregister(&mut self) {
        self.ask(Purpose::Unregister, Request::Unregister { peer_id: None, away: true });
    }

    fn heartbeat(&mut self) {
        self.project.refresh();
        self.look_for_terminal();
        let git_branch = self.project.git_branch();
        let beat = Request::Heartbeat { peer_id: None, git_branch, session_id: None };
        self.ask(Purpose::Heartbeat, beat);
    }

    /// Asks the broker as the peer that this session is. A broker is started only if an agent waits for
    /// the answer; after a loss, that is left to the registration.
    pub(super) fn ask(&mut self, purpose: Purpose, request: Request) {
        let token = self.presence.identity().map(|identity| identity.token.clone());
        let (start, until) = match purpose {
            Purpose::Job(id) => (StartPolicy::IfNeeded, self.jobs.deadline_of(id)),
            _ => (StartPolicy::Never, None),
        };
        self.send(Outgoing { purpose, request, token, start, until });
    }

    fn send(&mut self, outgoing: Outgoing) {
        self.commands.push_back(Command::Ask(Box::new(outgoing)));
    }

    /// A request has a result.
    pub(super) fn handle_finished(
        &mut self,
        purpose: Purpose,
        result: Result<Vec<u8>, ClientError>,
        now: Instant,
    ) {
        match purpose {
            Purpose::Register => self.handle_registered(result, now),
            Purpose::Heartbeat => self.handle_heartbeat(result, now),
            Purpose::Unregister => self.ending = Ending::Over,
            Purpose::MarkRead => self.handle_marked(result, now),
            Purpose::Errand => self.handle_errand(result, now),
            Purpose::Claim => self.handle_claimed(result, now),
            Purpose::Quote => self.handle_quoted(result, now),
            Purpose::Glance => self.handle_glance(result, now),
            Purpose::Subscribe => match result {
                Ok(_) => self.look_for_events(true),
                Err(error) => {
                    log::warn(format_args!("cannot subscribe to events again: {error}"));
                }
            },
            Purpose::MissedEvents => self.handle_missed_events(result),
            Purpose::Job(id) => self.handle_job(id, result, now),
        }
        self.proceed(now);
    }

    fn handle_registered(&mut self, result: Result<Vec<u8>, ClientError>, now: Instant) {
        let result = result.and_then(|body| read_reply::<Registered>(&body));
        let resumed = result.as_ref().is_ok_and(|registered| registered.resumed);
        match self.presence.handle_registered(result, now) {
            Arrival::New => {
                self.unread = Unread::default();
                // Messages may have waited for this session.
                if resumed || self.presence.asks_for_a_name() {
                    self.unread.doubt();
                }
                self.reading = Reading::default();
                self.news = News::default();
                self.waking.reset();
                self.quotes = Quotes::default();
                if !self.subscribed.is_empty() {
                    let types = self.subscribed.clone();
                    self.ask(Purpose::Subscribe, Request::Subscribe { peer_id: None, types });
                }
                self.arrived(now);
            }
            Arrival::Back => {
                self.unread.doubt();
                self.arrived(now);
            }
            Arrival::Again => {}
            Arrival::Failed(error) => {
                self.session_told = None;
                log::warn(format_args!("not in the mesh: {error}"));
                self.fail_waiting(&error, now);
            }
        }
        if let Ending::Leaving(_) = self.ending {
            if self.presence.is_present() {
                self.unregister();
            } else {
                self.ending = Ending::Over;
            }
        }
    }

    fn arrived(&mut self, now: Instant) {
        if let Some(identity) = self.presence.identity() {
            self.commands.push_back(Command::LeaveToken(identity.token.clone()));
            let text = format!("in the mesh as {} ({})", identity.name, identity.id);
            log::info(format_args!("{text}"));
            self.session.subscriptions.log(LogLevel::Info, &text, &mut self.out);
        }
        self.jobs.wake_watchers(now);
        // Messages may have waited for this session.
        self.sign(Sign::Wake);
    }

    fn handle_heartbeat(&mut self, result: Result<Vec<u8>, ClientError>, now: Instant) {
        self.presence.handle_heartbeat();
        match result {
            Ok(body) => {
                if let Ok(HeartbeatReply { unread, session_id }) = serde_json::from_slice(&body) {
                    if let Some(session) = session_id {
                        self.learn_session(&session);
                    }
                    self.unread.counted(unread);
                    if unread > 0 && self.unread.is_doubtful() {
                        self.jobs.wake_watchers(now);
                    }
                }
            }
            Err(error) => {
                log::debug(format_args!("heartbeat: {error}"));
                self.handle_unknown(&error, now);
            }
        }
    }

    /// Registers again if `error` says that the broker no longer knows this session.
    pub(super) fn handle_unknown(&mut self, error: &ClientError, now: Instant) {
        if is_unknown(error) {
            self.presence.handle_unknown(now);
        }
    }

    /// The connection to the broker has ended.
    pub(super) fn handle_lost(&mut self, now: Instant) {
        if self.presence.is_present() && self.ending == Ending::No {
            let text = "the connection to the broker has ended";
            log::info(format_args!("{text}"));
            self.session.subscriptions.log(LogLevel::Notice, text, &mut self.out);
        }
        self.presence.handle_lost(now);
        self.proceed(now);
    }

    /// Whether the broker is connected to the push socket.
    pub(super) fn set_push_live(&mut self, live: bool, now: Instant) {
        if self.push_is_live != live {
            // What was not confirmed is pushed again, so no message is missed.
            self.push_is_live = live;
            if live && self.presence.is_present() {
                self.look_for_events(false);
            }
            self.jobs.wake_watchers(now);
            self.proceed(now);
        }
    }

    /// The broker has pushed something.
    pub(super) fn handle_frame(&mut self, frame: &Frame, now: Instant) {
        let subscriptions = &mut self.session.subscriptions;
        match frame {
            Frame::Message(message) => {
                if self.unread.pushed(message) {
                    self.message_arrived(message, now);
                }
            }
            Frame::Event(payload) => {
                subscriptions.changed(Topic::Events, &mut self.out);
                self.event_arrived(payload);
            }
            Frame::Unread(unread) => self.unread.counted(*unread),
            Frame::Shutdown(reason) if &**reason == STOPPED => {
                if self.presence.handle_stopped(now) {
                    self.commands.push_back(Command::Forget(Purpose::Register));
                }
            }
            Frame::Other(kind) => match &**kind {
                "peer_update" => subscriptions.changed(Topic::Peers, &mut self.out),
                "lock_update" => subscriptions.changed(Topic::Locks, &mut self.out),
                _ => {}
            },
            Frame::Wake => {
                self.ask_for_thread(now);
                self.sign(Sign::Wake);
            }
            Frame::Shutdown(_) => {}
        }
        self.proceed(now);
    }

    /// A message has been pushed that was not known: clients that asked for it are notified, and the
    /// agent is woken.
    fn message_arrived(&mut self, message: &PushedMessage, now: Instant) {
        let subscriptions = &mut self.session.subscriptions;
        subscriptions.changed(Topic::Inbox, &mut self.out);
        let from = message.from_peer.shown_as(&message.from_name);
        let text = format!("a message from {from} has come: call mesh_inbox");
        subscriptions.log(LogLevel::Info, &text, &mut self.out);
        self.jobs.wake_watchers(now);
        self.message_signed(!message.broadcast, now);
    }

    /// The agent has taken part of the output, with these messages.
    pub(super) fn handle_written(&mut self, carried: Carried, now: Instant) {
        for quoted in carried.quoted {
            self.waking.errands.extend(quoted.taken());
        }
        if !carried.whole.is_empty() {
            self.reading.handed_over(&carried.whole, now);
            self.mark_read(now);
        }
        self.session.subscriptions.catch_up(&mut self.out);
        self.proceed(now);
    }
}

/// Whether the broker no longer knows this session.
pub(super) fn is_unknown(error: &ClientError) -> bool {
    matches!(error.code(), Some(Code::Unauthorized | Code::PeerNotFound))
}

/// How long after a failure the broker is asked again, and how often the inbox is read when nothing is
/// pushed.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "tests/server.rs"]
pub(super) mod tests;
