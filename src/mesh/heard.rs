//! What was last heard of each kind of agent: its sessions, its hooks, and how they were woken. It tells
//! whether what was set up works.
//!
//! It changes with each hook, and is stored once a minute, or when a wake ends differently from the last
//! one.

use std::collections::BTreeMap;

use super::Mesh;
use crate::api::AgentInfo;
use crate::limits::{AGENT_KINDS_MAX, HEARD_EVERY};
use crate::model::{How, Moment, Monotonic, Now, PeerId, SentStatus, Way};
use crate::store::{Result, Store};

/// Something that was heard.
#[derive(Clone, Copy, Debug)]
pub(super) enum AgentNews {
    /// A session that is new.
    Registered,
    /// A hook.
    Hook(Option<Moment>),
    /// It is to be woken.
    Wakes(Way),
    /// It was told, or its own queue has said this.
    Told(Way, How),
    /// It could not be told.
    Failed(Way),
}

impl AgentNews {
    fn note(self, info: &mut AgentInfo, now: Now) {
        let at = Some(now.wall);
        let (way, status) = match self {
            Self::Registered => {
                info.registered_at = at;
                return;
            }
            Self::Hook(moment) => {
                (info.hook_at, info.hook_moment) = (at, moment);
                return;
            }
            // What came of the last one is of interest until something has come of this one.
            Self::Wakes(way) => {
                (way, info.wake_status.take().filter(|_| info.wake_by == Some(way)))
            }
            Self::Told(way, how) => {
                (way, Some(how.status().map_or("notified", SentStatus::as_str).into()))
            }
            Self::Failed(way) => (way, Some("failed".into())),
        };
        (info.wake_at, info.wake_by, info.wake_status) = (at, Some(way), status);
    }
}

/// A kind of agent.
#[derive(Debug)]
struct AgentKind {
    info: AgentInfo,
    /// When it was stored; if none, it is stored with the next news.
    stored: Option<Monotonic>,
}

/// All kinds of agents, by name.
#[derive(Debug, Default)]
pub(super) struct AgentsHeard(BTreeMap<Box<str>, AgentKind>);

impl AgentsHeard {
    /// What the store knows. What it has that is not understood is of another version, and left.
    pub(super) fn load(store: &mut impl Store) -> Result<Self> {
        let known = store.heard()?.into_iter().filter_map(|(kind, facts)| {
            let info: AgentInfo = serde_json::from_str(&facts).ok()?;
            Some((kind, AgentKind { info, stored: None }))
        });
        Ok(Self(known.collect()))
    }

    /// For `status`, by name.
    pub(super) fn list(&self) -> Vec<AgentInfo> {
        self.0.values().map(|kind| kind.info.clone()).collect()
    }

    /// A turn was forgotten, and what it has stored.
    pub(super) fn abort(&mut self) {
        for kind in self.0.values_mut() {
            kind.stored = None;
        }
    }

    pub(super) fn check(&self) {
        assert!(self.0.len() <= AGENT_KINDS_MAX, "kinds of agents are bounded");
    }

    /// There is news of a kind of agent.
    fn note(
        &mut self,
        store: &mut impl Store,
        kind: &str,
        news: AgentNews,
        now: Now,
    ) -> Result<()> {
        if !self.0.contains_key(kind) && self.0.len() >= AGENT_KINDS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, kind)| kind.info.heard_at());
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                store.put_heard(&oldest, None)?;
                self.0.remove(&oldest);
            }
        }
        let known = self.0.entry(kind.into()).or_insert_with(|| AgentKind {
            info: AgentInfo { agent_type: kind.into(), ..AgentInfo::default() },
            stored: None,
        });
        let before = (known.info.wake_by, known.info.wake_status.clone());
        news.note(&mut known.info, now);
        let changed = before != (known.info.wake_by, known.info.wake_status.clone());
        let due = known.stored.is_none_or(|stored| now.mono.since(stored) >= HEARD_EVERY);
        if changed || due {
            // Plain data into memory: cannot fail.
            let facts = serde_json::to_string(&known.info).unwrap_or_default();
            store.put_heard(kind, Some(&facts))?;
            known.stored = Some(now.mono);
        }
        Ok(())
    }
}

impl<S: Store> Mesh<S> {
    /// There is news of the agent of a peer that is here.
    pub(super) fn heard_of(&mut self, peer: PeerId, news: AgentNews) -> Result<()> {
        let Some(present) = self.peers.get(&peer) else { return Ok(()) };
        self.heard.note(&mut self.store, &present.record.agent_type, news, self.now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Timestamp;
    use crate::store::memory::MemoryStore;

    fn at(seconds: u64) -> Now {
        let wall = Timestamp(1_800_000_000_000 + i64::try_from(seconds).unwrap() * 1000);
        Now { wall, mono: Monotonic(Duration::from_secs(seconds)), ..Now::default() }
    }

    fn note(
        heard: &mut AgentsHeard,
        store: &mut MemoryStore,
        kind: &str,
        news: AgentNews,
        now: Now,
    ) -> bool {
        store.begin_turn().unwrap();
        heard.note(store, kind, news, now).unwrap();
        let wrote = store.turn_wrote();
        store.commit_turn().unwrap();
        heard.check();
        wrote
    }

    #[test]
    fn it_is_stored_once_a_minute_or_when_a_wake_comes_to_something_else() {
        let (mut heard, mut store) = (AgentsHeard::default(), MemoryStore::new());
        let mut codex = |news, now| note(&mut heard, &mut store, "codex", news, now);
        assert!(codex(AgentNews::Registered, at(0)));
        assert!(!codex(AgentNews::Hook(Some(Moment::Prompt)), at(1)));
        assert!(!codex(AgentNews::Hook(Some(Moment::Tool)), at(59)));
        assert!(codex(AgentNews::Hook(Some(Moment::Tool)), at(60)));
        assert!(codex(AgentNews::Wakes(Way::Queue), at(61)), "the first");
        assert!(codex(AgentNews::Told(Way::Queue, How::Sent), at(62)));
        assert!(!codex(AgentNews::Wakes(Way::Queue), at(63)));
        assert!(!codex(AgentNews::Told(Way::Queue, How::Sent), at(64)), "the same again");
        assert!(codex(AgentNews::Told(Way::Queue, How::NotRunning), at(65)));
        assert!(!codex(AgentNews::Hook(Some(Moment::Stop)), at(66)));
        let expected = AgentInfo {
            agent_type: "codex".into(),
            registered_at: Some(at(0).wall),
            hook_at: Some(at(66).wall),
            hook_moment: Some(Moment::Stop),
            wake_at: Some(at(65).wall),
            wake_by: Some(Way::Queue),
            wake_status: Some("not-running".into()),
        };
        assert_eq!(heard.list(), std::slice::from_ref(&expected));
        let stored = AgentsHeard::load(&mut store).unwrap().list();
        let hook = (Some(at(60).wall), Some(Moment::Tool));
        assert_eq!(
            stored,
            [AgentInfo { hook_at: hook.0, hook_moment: hook.1, ..expected }],
            "but for the last seconds"
        );
        // A turn that failed may have been the one that stored it.
        heard.abort();
        assert!(note(&mut heard, &mut store, "codex", AgentNews::Hook(None), at(67)));
    }

    #[test]
    fn of_too_many_kinds_the_one_not_heard_of_for_longest_is_forgotten() {
        let (mut heard, mut store) = (AgentsHeard::default(), MemoryStore::new());
        for n in 0..=AGENT_KINDS_MAX as u64 {
            note(&mut heard, &mut store, &format!("agent-{n}"), AgentNews::Registered, at(n));
            note(&mut heard, &mut store, "agent-0", AgentNews::Hook(None), at(n));
        }
        let names: Vec<_> = heard.list().into_iter().map(|info| info.agent_type).collect();
        assert_eq!(names.len(), AGENT_KINDS_MAX);
        assert!(names.contains(&"agent-0".into()) && !names.contains(&"agent-1".into()));
        assert_eq!(AgentsHeard::load(&mut store).unwrap().list().len(), AGENT_KINDS_MAX);
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let mut store = MemoryStore::new();
        store.begin_turn().unwrap();
        store.put_heard("codex", Some("{}")).unwrap();
        store.put_heard("new", Some(r#"{"agentType":"new","wakeBy":"telepathy"}"#)).unwrap();
        store.commit_turn().unwrap();
        assert!(AgentsHeard::load(&mut store).unwrap().list().is_empty());
    }
}
