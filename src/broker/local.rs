//! The mesh in this process, as the room that answers.

use std::time::Duration;

use super::connection::{Flow, Incoming};
use super::front::Front;
use super::held::{Asker, Cut};
use super::links::News;
use super::room::{Room, Said};
use super::turn::{Ended, Turn};
use super::untold::Untold;
use crate::log;
use crate::mesh::{Effects, Mesh};
use crate::model::{Monotonic, Now, PeerId};
use crate::role::Kind;
use crate::store::journal::JournaledSqlite;
use crate::store::{Result, Store, StoreError};

/// The storage of the mesh.
pub(super) type Backend = JournaledSqlite;

/// A storage with an orderly end.
pub(super) trait Close: Store {
    /// See [`Room::close`].
    fn close(self) -> Result<()>;
}

impl Close for Backend {
    fn close(self) -> Result<()> {
        self.close()
    }
}

/// How long what needs no answer rests after the storage has failed.
const REST: Duration = Duration::from_secs(1);
/// How often the log is told that the storage fails: a full disk fails each turn.
const SILENCE: Duration = Duration::from_secs(60);
/// How long nothing must have happened before the store does what nobody waits for.
const IDLE_BEFORE_CARE: Duration = Duration::from_millis(100);
/// How long after that it is tried again if it could not be done.
const CARE_PAUSE: Duration = Duration::from_secs(5);

/// Turns by which it is found out whether the storage works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// Old rows are removed: what lacks room may find it where they were.
    Room,
    /// Something is written, without making anyone's request fail.
    Write,
}

/// See the module.
pub(super) struct Local<S> {
    pub(super) turn: Turn<S>,
    pub(super) untold: Untold,
    /// The storage has failed: what needs no answer rests until then.
    resting: Option<Monotonic>,
    /// After that.
    trial: Option<Trial>,
    /// That the storage fails was said in the log, and is not said again until then.
    silent_until: Option<Monotonic>,
    /// The same of the care of the storage.
    care_silent_until: Option<Monotonic>,
    /// A turn has written since the store was last looked after.
    wrote: bool,
    /// When the store may do what nobody waits for.
    care_at: Option<Monotonic>,
}

impl<S: Store> Local<S> {
    pub(super) fn new(turn: Turn<S>) -> Self {
        Self {
            turn,
            untold: Untold::default(),
            resting: None,
            trial: None,
            silent_until: None,
            care_silent_until: None,
            wrote: false,
            care_at: None,
        }
    }

    /// Whether the core has something to do that no client waits for.
    fn wants_turn_of_its_own(&self) -> bool {
        !self.untold.is_empty()
            || self.turn.held.has_lost()
            || self.turn.mesh.wants_feed()
            || self.turn.mesh.has_many_marks()
            || self.turn.mesh.has_waiters()
    }

    /// Tells the core in the turn what has happened, unless it rests.
    pub(super) fn tell_core(&mut self) {
        if self.resting.is_none() {
            self.untold.tell(&mut self.turn);
        }
    }

    /// Ends the turn: what is to be done, and whether the turn is kept.
    ///
    /// # Errors
    /// The broker has to end.
    pub(super) fn finish(&mut self) -> Result<(Effects, bool)> {
        self.turn.grant_locks();
        self.end_turn()
    }

    fn end_turn(&mut self) -> Result<(Effects, bool)> {
        match self.turn.end()? {
            Ended::Empty => Ok((Effects::default(), true)),
            Ended::Committed { effects, wrote } => {
                self.untold.commit();
                self.wrote |= wrote;
                Ok((effects, true))
            }
            Ended::Failed(error) => {
                let now = self.turn.now().mono;
                if may_say(&mut self.silent_until, now) {
                    let what = if matches!(error, StoreError::Unsure(_)) {
                        "this turn may be kept or not"
                    } else {
                        "nothing of this turn was kept"
                    };
                    log::error(format_args!("{error}; {what}"));
                }
                self.untold.abort();
                self.resting = Some(now.plus(REST));
                self.trial = None;
                self.turn.fail(error);
                Ok((Effects::default(), false))
            }
        }
    }

    /// Gives whether the store has to be looked after again.
    fn maintain(&mut self, idle: bool, now: Monotonic) -> bool {
        self.turn.mesh.maintain(idle).unwrap_or_else(|error| {
            if may_say(&mut self.care_silent_until, now) {
                log::warn(format_args!("care of the storage failed: {error}"));
            }
            true
        })
    }
}

/// Whether something that goes on failing may be said in the log again, which it then is.
fn may_say(silent_until: &mut Option<Monotonic>, now: Monotonic) -> bool {
    let may = silent_until.is_none_or(|until| until <= now);
    if may {
        *silent_until = Some(now.plus(SILENCE));
    }
    may
}

impl<S: Close> Room for Local<S> {
    fn role(&self) -> Kind {
        Kind::Broker
    }

    fn start(&mut self) -> Effects {
        self.turn.mesh.take_effects()
    }

    fn prepare(&mut self, now: Now) -> Result<Option<Effects>> {
        if self.resting.is_some_and(|until| until <= now.mono) {
            self.resting = None;
            self.trial = Some(Trial::Room);
        }
        match self.trial {
            None => return Ok(None),
            Some(Trial::Room) => {
                self.trial = Some(Trial::Write);
                self.turn.start(now, true);
                self.turn.with_mesh(Mesh::make_room);
            }
            Some(Trial::Write) => {
                self.trial = None;
                self.turn.start(now, false);
                self.turn.with_mesh(|_, _| Ok(()));
            }
        }
        self.end_turn().map(|(effects, _)| Some(effects))
    }

    fn begin(&mut self, now: Now, asking: bool) -> bool {
        let rested = self.resting.is_none();
        let due = rested && self.turn.mesh.next_deadline(now).is_some_and(|at| at <= now.mono);
        self.turn.held.wake_due(now.mono);
        let own = due || (rested && self.wants_turn_of_its_own());
        if !own && !asking && !self.turn.held.is_busy() {
            return false;
        }
        self.turn.start(now, !rested);
        if rested {
            self.tell_core();
            while let Some((fence, lost)) = self.turn.held.next_lost() {
                self.turn.with_mesh(|mesh, now| mesh.grant_lost(fence, lost, now));
            }
            if due {
                self.turn.with_mesh(Mesh::tick);
            }
            if self.turn.mesh.has_many_marks() {
                self.turn.with_mesh(|_, _| Ok(()));
            }
        }
        self.turn.ask_woken();
        true
    }

    fn is_full(&self) -> bool {
        self.turn.is_full()
    }

    fn take(&mut self, asker: Asker, incoming: &Incoming<'_>, has_gone: bool) -> Flow {
        self.turn.held.goes_on(asker);
        self.turn.take(asker, incoming, has_gone)
    }

    fn end(&mut self) -> Result<Effects> {
        self.finish().map(|(effects, _)| effects)
    }

    fn take_announced(&mut self) -> Vec<PeerId> {
        self.untold.take_announced()
    }

    fn answers(&mut self, give: &mut dyn FnMut(Asker, Said<'_>)) {
        let Turn { mesh, answers, .. } = &mut self.turn;
        answers.finish(|sent| mesh.confirm(sent));
        answers.each(give);
        answers.clear();
    }

    fn take_care(&mut self, now: Monotonic) {
        if std::mem::take(&mut self.wrote) {
            self.maintain(false, now);
            self.care_at = Some(now.plus(IDLE_BEFORE_CARE));
        } else if self.care_at.is_some_and(|at| at <= now) {
            self.care_at = self.maintain(true, now).then(|| now.plus(CARE_PAUSE));
        }
    }

    fn hear(&mut self, news: News, now: Now) {
        self.untold.hear(news, &mut self.turn.mesh, now);
    }

    fn was_former(&mut self, peer: PeerId) {
        self.untold.was_former(peer);
    }

    fn hung_up(&mut self, asker: Asker, now: Monotonic) {
        let Turn { mesh, held, .. } = &mut self.turn;
        held.hung_up(asker, now, mesh);
    }

    fn closed(&mut self, asker: Asker, now: Monotonic, cut: &mut dyn FnMut() -> Option<Cut>) {
        let Turn { mesh, held, .. } = &mut self.turn;
        held.closed(asker, now, mesh, cut);
    }

    fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        if self.turn.held.is_busy() || self.trial.is_some() {
            return Some(now.mono);
        }
        let core = match self.resting {
            // While the storage rests, so does the core. Then it is tried.
            Some(until) => Some(until),
            None if self.wants_turn_of_its_own() => Some(now.mono),
            None => self.turn.mesh.next_deadline(now),
        };
        [core, self.turn.held.next_deadline(), self.care_at].into_iter().flatten().min()
    }

    fn is_idle(&self, counts: &dyn Fn(Asker) -> bool) -> bool {
        self.turn.mesh.present() == 0 && !self.turn.held.iter().any(|(asker, _)| counts(asker))
    }

    fn goodbye(&mut self, reason: &str, now: Now) -> Effects {
        self.turn.mesh.goodbye(reason, now);
        self.turn.mesh.take_effects()
    }

    fn end_held(&mut self) -> Vec<Asker> {
        self.turn.held.end()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.turn.mesh.into_store().close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Endpoint, Reply, Request};
    use crate::broker::clock::Clock;
    use crate::broker::entropy::SystemEntropy;
    use crate::broker::gate::Gate;
    use crate::broker::sockets::Sockets;
    use crate::files::tests::TempDir;
    use crate::mesh::{Caller, Outcome, Settings};
    use crate::store::sqlite::Options;

    fn local(temp: &TempDir, now: Now) -> Local<JournaledSqlite> {
        let path = temp.path().join("mesh.db");
        let store = JournaledSqlite::open(&path, &Options::default()).unwrap();
        let entropy = Box::new(SystemEntropy::new().unwrap());
        let mesh = Mesh::new(store, entropy, Settings::default(), now).unwrap();
        let gate = Gate::new(7899, "token".into());
        let turn = Turn::new(mesh, gate, Sockets::new("/nowhere".into()), Clock::start());
        Local::new(turn)
    }

    /// Asks in the turn that is open.
    fn ask(local: &mut Local<JournaledSqlite>, endpoint: Endpoint, body: &str) -> Reply {
        let asked = Request::decode(endpoint, body.as_bytes()).unwrap();
        let mut reply = None;
        local.turn.with_mesh(|mesh, now| {
            let Ok(Outcome::Reply(done)) = mesh.handle(Caller::Broker, &asked, now) else {
                panic!("it is not answered")
            };
            reply = Some(done);
            Ok(())
        });
        reply.unwrap()
    }

    #[test]
    fn marks_of_a_message_to_many_do_not_wait_for_the_next_request() {
        let temp = TempDir::new();
        let now = Now::default();
        let mut local = local(&temp, now);
        local.turn.start(now, false);
        for n in 0..64 {
            let body = format!(r#"{{"pid":1,"projectPath":"/p","name":"p{n}","udsPath":"/{n}"}}"#);
            let Reply::Registered(registered) = ask(&mut local, Endpoint::Register, &body) else {
                panic!("not registered")
            };
            local.turn.with_mesh(|mesh, now| mesh.link_up(registered.peer_id, false, now));
        }
        local.finish().unwrap();
        // A turn feeds for so long only.
        while local.turn.mesh.wants_feed() {
            local.turn.start(now, false);
            local.finish().unwrap();
        }
        local.turn.start(now, false);
        ask(&mut local, Endpoint::Send, r#"{"fromPeer":"cli","toPeer":"all","payload":"now"}"#);
        let (effects, _) = local.finish().unwrap();
        let messages = effects.pushes.iter().filter_map(|push| match push.to {
            crate::mesh::PushTarget::One(peer) => Some((peer, push.frame.message()?)),
            crate::mesh::PushTarget::AllBut(_) => None,
        });
        // What is due now, and then nothing.
        local.begin(now, false);
        local.end().unwrap();
        assert!(!local.begin(now, false));
        for (peer, seq) in messages {
            local.hear(News::Written(peer, seq), now);
        }
        assert_eq!(local.next_deadline(now), Some(now.mono));
        assert!(local.begin(now, false));
        local.end().unwrap();
        assert!(!local.begin(now, false), "they are written");
        assert_eq!(local.turn.mesh.store_mut().counts().messages.undelivered, 0);
    }

    #[test]
    fn a_store_that_could_not_settle_is_looked_after_again() {
        let temp = TempDir::new();
        let mut now = Now::default();
        let mut local = local(&temp, now);
        // A turn in which something is written, and the care that follows.
        local.turn.start(now, false);
        local.turn.with_mesh(Mesh::make_room);
        local.finish().unwrap();
        local.wrote = true;
        local.take_care(now.mono);
        local.turn.mesh.store_mut().refuse_commits(true);
        let mut care = |local: &mut Local<Backend>| {
            now.mono = local.care_at.expect("it is to be looked after");
            local.take_care(now.mono);
        };
        care(&mut local);
        care(&mut local);
        local.turn.mesh.store_mut().refuse_commits(false);
        // The store rests for a second of its own clock.
        while local.care_at.is_some() {
            std::thread::sleep(Duration::from_millis(20));
            care(&mut local);
        }
        assert!(!local.turn.mesh.store_mut().maintain(true).unwrap());
    }
}
