//! Tool calls and reads of resources that have no answer yet.

use std::path::Path;
use std::time::{Duration, Instant};

use super::answers;
use super::arguments::{Tool, ToolCall, peers_request};
use super::resource::{Resource, Topic};
use super::session::ReturnAddress;
use crate::agent::namespace::on_the_wire;
use crate::api::{Fetch, Filter, ReadEvents, Request};
use crate::client::{ClientError, wait_of};
use crate::limits::CALL_TIME_MAX;
use crate::wire::jsonrpc::Id;

/// How much longer a job waits after its request was sent: the link to the broker ends at the same time,
/// and then says whether the request had gone out.
const GRACE_TIME: Duration = Duration::from_millis(100);

/// Names a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobId(pub(super) u64);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    Tool(Tool, ToolCall),
    /// Reading a resource, whose URI this is.
    Read(Resource, String),
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Stage {
    /// It waits until this session is in the mesh and it is its turn.
    Waiting,
    /// The broker was asked.
    Sent,
    /// There was no message. It waits for one.
    Watching {
        /// When it is answered, message or not.
        until: Instant,
        /// When to look again without a sign.
        look_at: Option<Instant>,
    },
    /// The result is there; what is unread is being looked up.
    Noticing(Ready),
}

/// A result.
#[derive(Debug)]
pub(super) enum Ready {
    /// As it stands.
    Text { text: String, is_error: bool },
    /// The status of the broker. Who this session is, is added when it is given to the agent.
    Status(Vec<u8>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) asked: ReturnAddress,
    pub(super) work: Work,
    pub(super) stage: Stage,
    /// When it was called.
    pub(super) begun: Instant,
    /// When it fails, unless it waits for a message.
    pub(super) deadline: Instant,
    /// When a job that waits for messages stops waiting.
    pub(super) watch_until: Option<Instant>,
    /// How many signs of messages there had been when the broker was asked.
    pub(super) signs: u64,
    /// It has been tried once more, after another registration.
    pub(super) retried: bool,
}

impl Job {
    pub(super) fn new(id: JobId, asked: ReturnAddress, work: Work, now: Instant) -> Self {
        let watch_until = match &work {
            Work::Tool(_, ToolCall::Inbox { wait: wait @ 1.., .. }) => {
                Some(now + Duration::from_secs(*wait))
            }
            _ => None,
        };
        // How long the broker may hold the request.
        let held = match &work {
            Work::Tool(_, ToolCall::Ask(request)) => wait_of(request),
            _ => 0,
        };
        Self {
            id,
            asked,
            work,
            stage: Stage::Waiting,
            begun: now,
            deadline: now + CALL_TIME_MAX + Duration::from_secs(held),
            watch_until,
            signs: 0,
            retried: false,
        }
    }

    /// The tool, if it is a call of one.
    pub(super) fn tool(&self) -> Option<Tool> {
        match &self.work {
            Work::Tool(tool, _) => Some(*tool),
            Work::Read(..) => None,
        }
    }

    /// What it fetches, if it hands messages over, which are then marked read.
    pub(super) fn fetch(&self) -> Option<&Fetch> {
        match &self.work {
            Work::Tool(_, ToolCall::Inbox { fetch, .. }) if fetch.filter != Filter::Sent => {
                Some(fetch)
            }
            _ => None,
        }
    }

    /// What the broker is asked, if it is the same whoever asks.
    pub(super) fn asked_as_is(&self) -> Option<&Request> {
        match &self.work {
            Work::Tool(_, ToolCall::Ask(request)) => Some(request),
            _ => None,
        }
    }

    /// What the broker is asked, by the peer `own`.
    pub(super) fn request(&self, own: Option<&str>) -> Request {
        match &self.work {
            Work::Tool(_, ToolCall::Ask(request)) => request.clone(),
            Work::Tool(_, ToolCall::Peers(scope)) => peers_request(scope.clone(), own),
            Work::Tool(_, ToolCall::Inbox { fetch, .. }) => Request::Fetch(fetch.clone()),
            Work::Tool(_, ToolCall::Status) => Request::Status,
            Work::Read(resource, _) => match resource {
                Resource::Topic(Topic::Inbox) => {
                    Request::Fetch(Fetch { peek: true, ..Fetch::default() })
                }
                Resource::Topic(Topic::Peers) => peers_request(crate::api::Scope::Machine, own),
                Resource::Topic(Topic::Locks) => Request::QueryLocks { peer_id: None, path: None },
                Resource::Topic(Topic::Events) => Request::ReadEvents(ReadEvents::default()),
                Resource::State(namespace) => {
                    let namespace = Some(on_the_wire(Some(namespace), "").into());
                    Request::ListState { namespace, prefix: None, after: None, limit: None }
                }
            },
        }
    }

    /// Which messages its answer is about, if it is about messages.
    pub(super) fn filter(&self) -> Option<Filter> {
        match &self.work {
            Work::Tool(_, ToolCall::Inbox { fetch, .. }) => Some(fetch.filter),
            Work::Read(Resource::Topic(Topic::Inbox), _) => Some(Filter::Unread),
            _ => None,
        }
    }

    /// The result of a job that is answered with what the broker said. Relative paths are from `project`.
    pub(super) fn plain_result(&self, body: &[u8], project: &Path) -> Option<String> {
        match &self.work {
            Work::Tool(_, call) => answers::result(call, body, project),
            Work::Read(..) => answers::result(&ToolCall::Ask(self.request(None)), body, project),
        }
    }

    /// When it needs attention.
    fn due(&self) -> Instant {
        match self.stage {
            Stage::Watching { until, look_at } => look_at.map_or(until, |at| at.min(until)),
            Stage::Sent => self.deadline + GRACE_TIME,
            _ => self.deadline,
        }
    }

    /// Why it fails when its time is over.
    pub(super) fn timed_out(&self) -> ClientError {
        let error = ClientError::TimedOut { after: CALL_TIME_MAX };
        match (&self.stage, self.asked_as_is()) {
            (Stage::Sent, Some(request)) => error.told_of(request),
            _ => error,
        }
    }
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    list: Vec<Job>,
    count: u64,
    /// How many signs of messages there have been.
    signs: u64,
}

impl Jobs {
    /// The id of the next one.
    pub(super) fn next_id(&mut self) -> JobId {
        self.count += 1;
        JobId(self.count)
    }

    pub(super) fn push(&mut self, job: Job) {
        self.list.push(job);
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// When this job fails.
    pub(super) fn deadline_of(&self, id: JobId) -> Option<Instant> {
        self.list.iter().find(|job| job.id == id).map(|job| job.deadline)
    }

    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.list.iter_mut().find(|job| job.id == id)
    }

    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let at = self.list.iter().position(|job| job.id == id)?;
        Some(self.list.remove(at))
    }

    /// The job that answers this request.
    pub(super) fn find(&self, request: &Id) -> Option<JobId> {
        self.list.iter().find(|job| job.asked.to == *request).map(|job| job.id)
    }

    /// Those for which `wanted` holds.
    pub(super) fn ids(&self, wanted: impl Fn(&Job) -> bool) -> Vec<JobId> {
        self.list.iter().filter(|job| wanted(job)).map(|job| job.id).collect()
    }

    /// The jobs that can be asked now, the oldest first; behind them those that wait for a message, the
    /// newest first: the client may have given up the older ones without saying so.
    pub(super) fn waiting(&self) -> Vec<JobId> {
        let waits = |job: &Job| matches!(job.stage, Stage::Waiting);
        let mut ids = self.ids(|job| waits(job) && job.watch_until.is_none());
        let mut watchers = self.ids(|job| waits(job) && job.watch_until.is_some());
        watchers.sort_by_key(|id| std::cmp::Reverse(id.0));
        ids.append(&mut watchers);
        ids
    }

    /// Whether messages are being fetched for one.
    pub(super) fn is_fetching(&self) -> bool {
        let is_asking = |job: &Job| matches!(job.stage, Stage::Waiting | Stage::Sent);
        self.list.iter().any(|job| job.fetch().is_some() && is_asking(job))
    }

    /// Whether the agent waits for an answer of the broker.
    pub(super) fn is_asking(&self) -> bool {
        self.list.iter().any(|job| !matches!(job.stage, Stage::Watching { .. }))
    }

    /// Those that need attention at `now`.
    pub(super) fn due(&self, now: Instant) -> Vec<JobId> {
        self.ids(|job| job.due() <= now)
    }

    /// When the next one needs attention.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.list.iter().map(Job::due).min()
    }

    /// How many signs of messages there have been. An answer that was made before the last of them may
    /// lack a message.
    pub(super) fn signs(&self) -> u64 {
        self.signs
    }

    /// There may be a message: those that wait for one look again. Returns whether there were any.
    pub(super) fn wake_watchers(&mut self, now: Instant) -> bool {
        self.signs += 1;
        let mut woken = false;
        for job in &mut self.list {
            if matches!(job.stage, Stage::Watching { .. }) {
                job.stage = Stage::Waiting;
                job.deadline = now + CALL_TIME_MAX;
                woken = true;
            }
        }
        woken
    }
}
