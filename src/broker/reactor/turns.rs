//! The turn as the reactor sees it: what goes into it, and what is done once it has committed.

use super::{Fatal, IDLE_BEFORE_CARE, REST, Reactor, SILENCE};
use crate::broker::connection::{Connection, Granted, Progress};
use crate::broker::links::News;
use crate::broker::reactor::End;
use crate::broker::table::Key;
use crate::broker::turn::Ended;
use crate::log;
use crate::mesh::{Effects, Interest, Lost, Mesh, Ticket};
use crate::model::{LeaveReason, Monotonic, Now};
use crate::store::{Store, StoreError};

impl<S: Store> Reactor<S> {
    pub(super) fn run_turn(&mut self, now: Now) -> Result<(), Fatal> {
        self.hear_news(now);
        if self.resting.is_some_and(|until| until <= now.mono) {
            self.resting = None;
        }
        let tries = self.failing && self.resting.is_none();
        if tries {
            // What lacks room may find it where old rows were.
            self.turn.start(now, true);
            self.turn.with_mesh(Mesh::make_room);
            self.end_turn(now)?;
        }
        if tries && self.resting.is_none() {
            // Whether it works again is found out without making anyone's request fail.
            self.turn.start(now, false);
            self.turn.with_mesh(|_, _| Ok(()));
            self.end_turn(now)?;
        }
        let rested = self.resting.is_none();
        let due = self.turn.mesh.next_deadline(now).is_some_and(|at| at <= now.mono);
        let own = rested && (due || self.wants_turn_of_its_own());
        if !own && self.ready.is_empty() && self.woken.is_empty() {
            return Ok(());
        }
        self.turn.start(now, !rested);
        if rested {
            self.tell_core(due);
        }
        self.ask_again(now.mono);
        self.serve(now.mono);
        self.grant_locks(now.mono);
        self.end_turn(now)
    }

    fn end_turn(&mut self, now: Now) -> Result<(), Fatal> {
        let ended = self.turn.end()?;
        self.after_turn(ended, now);
        self.bound_buffers(now.mono);
        Ok(())
    }

    /// What happened to the ways to peers and needs no turn.
    pub(super) fn hear_news(&mut self, now: Now) {
        for news in self.links.take_news() {
            let mesh = &mut self.turn.mesh;
            match news {
                News::Up(peer, known) => self.came_up.push((peer, known)),
                News::Listens(peer, pid) => {
                    if self.agents.are_above(peer, pid) {
                        mesh.agent_lives(peer);
                    }
                }
                News::Down(peer) => {
                    self.came_up.retain(|(other, _)| *other != peer);
                    mesh.link_down(peer);
                }
                News::Process(peer, known) => mesh.process_known(peer, known, now),
                News::Ended(peer) => self.crashed.push(peer),
                News::NamedEnded(peer) => mesh.named_process_ended(peer),
                News::Acknowledged(peer, id) => mesh.acknowledged(peer, id, now),
                News::Written(peer, seq) => mesh.frame_written(peer, seq, now),
            }
        }
    }

    /// What happened to the ways to peers and is part of a turn.
    fn tell_core(&mut self, due: bool) {
        self.crashed_now.append(&mut self.crashed);
        for peer in &self.crashed_now {
            self.turn.with_mesh(|mesh, now| mesh.process_ended(*peer, now));
        }
        // After the servers: of those that ended with their agent it is told how they ended.
        self.alone_now.append(&mut self.alone);
        for peer in &self.alone_now {
            self.turn.with_mesh(|mesh, now| mesh.agent_ended(*peer, now));
        }
        self.lost_now.append(&mut self.lost);
        for (fence, lost) in &self.lost_now {
            self.turn.with_mesh(|mesh, now| mesh.grant_lost(*fence, *lost, now));
        }
        while let Some((peer, known)) = self.came_up.last() {
            let (peer, known) = (*peer, *known);
            if !self.turn.with_mesh(|mesh, now| mesh.link_up(peer, known, now)) {
                return;
            }
            self.came_up.pop();
            self.links.announced(peer);
        }
        if due {
            self.turn.with_mesh(crate::mesh::Mesh::tick);
        }
    }

    /// Held requests that may have an answer now.
    fn ask_again(&mut self, now: Monotonic) {
        while !self.turn.is_full()
            && let Some(key) = self.woken.pop_front()
        {
            self.ask_one_again(key, now);
        }
    }

    /// Gives whether there was something to ask.
    fn ask_one_again(&mut self, key: Key, now: Monotonic) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let Some(hold) = connection.take_hold() else { return false };
        self.held.remove(key, hold.on, hold.event_types());
        if let Err(hold) = self.turn.ask_again(key, hold) {
            connection.put_hold(hold);
            self.settle(key, Progress::Fine, now);
        }
        true
    }

    /// Held requests for locks that can be answered after what has happened in the turn: before it
    /// ends, so that nobody comes in between. Those that do not fit it are for the next.
    fn grant_locks(&mut self, now: Monotonic) {
        while !self.turn.is_full()
            && let Some(ticket) = self.turn.mesh.next_waiter()
        {
            let key = self.held.place(ticket).or_else(|| self.held_now(ticket));
            let asked = key.is_some_and(|key| self.ask_one_again(key, now));
            if !asked {
                self.turn.mesh.withdraw(ticket);
            }
        }
    }

    /// The connection whose request has taken this place in this turn.
    fn held_now(&self, ticket: Ticket) -> Option<Key> {
        let is_its = |key: &&Key| {
            let hold = self.connections.get(**key).and_then(Connection::held);
            hold.is_some_and(|hold| hold.on == Interest::Lock(ticket))
        };
        self.turn.holds.iter().find(is_its).copied()
    }

    /// The connections of those who got a lock that they had waited for: they may not take the
    /// answer.
    fn note_grants(&mut self, now: Monotonic) {
        for (key, fence) in std::mem::take(&mut self.turn.grants) {
            match self.connections.get_mut(key) {
                Some(connection) => connection.marks.granted = Some(Granted { fence, at: now }),
                None => self.lost.push((fence, Lost::Unwritten)),
            }
        }
    }

    /// Requests of the connections that have some.
    fn serve(&mut self, now: Monotonic) {
        // Those that come back into the queue meanwhile are for the next turn.
        for _ in 0..self.ready.len() {
            if self.turn.is_full() || self.buffered > self.buffered_max {
                break;
            }
            let Some(key) = self.ready.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.marks.queued = false;
            let turn = &mut self.turn;
            let has_gone = connection.has_hung_up();
            let mut asked = false;
            let progress = connection.serve(now, &mut self.scratch, |incoming| {
                asked = true;
                turn.take(key, &incoming, has_gone)
            });
            if asked {
                // Whoever goes on has taken what it was given.
                connection.marks.granted = None;
            }
            self.settle(key, progress, now);
        }
    }

    fn after_turn(&mut self, ended: Ended, now: Now) {
        match ended {
            Ended::Empty => self.answer(now.mono),
            Ended::Committed { effects, wrote } => {
                self.crashed_now.clear();
                self.alone_now.clear();
                self.note_holds(now.mono);
                self.note_grants(now.mono);
                self.lost_now.clear();
                self.carry_out(effects, now);
                if self.resting.is_none() {
                    self.failing = false;
                }
                if wrote {
                    self.maintain(false);
                    self.care_at = Some(now.mono.plus(IDLE_BEFORE_CARE));
                }
            }
            Ended::Failed(error) => {
                if self.silent_until.is_none_or(|until| until <= now.mono) {
                    let what = if matches!(error, StoreError::Unsure(_)) {
                        "this turn may be kept or not"
                    } else {
                        "nothing of this turn was kept"
                    };
                    log::error(format_args!("{error}; {what}"));
                    self.silent_until = Some(now.mono.plus(SILENCE));
                }
                // That they have crashed was forgotten with the turn.
                self.crashed.append(&mut self.crashed_now);
                self.alone.append(&mut self.alone_now);
                self.lost.append(&mut self.lost_now);
                self.failing = true;
                self.resting = Some(now.mono.plus(REST));
                self.turn.fail(error, |key| {
                    self.connections.get_mut(key).and_then(Connection::take_hold)
                });
                self.answer(now.mono);
            }
        }
    }

    /// Requests that are held since this turn.
    fn note_holds(&mut self, now: Monotonic) {
        let mut keys = std::mem::take(&mut self.turn.holds);
        // Asked again in the turn that held it, a request is in the list twice.
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Some(hold) = connection.held() else { continue };
            self.held.add(key, hold.on, hold.event_types());
            // Its client had gone before it was held: there will be no event.
            if connection.has_hung_up() {
                self.end_hold(key, now);
            }
        }
    }

    /// Does what the mesh has asked for: pushes first, answers after, then everything else.
    pub(super) fn carry_out(&mut self, effects: Effects, now: Now) {
        for push in &effects.pushes {
            self.links.add(push);
        }
        self.links.flush(now.mono, &mut self.timers);
        self.hear_news(now);
        self.answer(now.mono);
        for departed in &effects.departed {
            // One that has come back in the same turn may have its socket in the same place.
            let back = effects.connect.iter().any(|(peer, _)| *peer == departed.peer);
            let crashed = departed.reason == LeaveReason::Crashed && !back;
            let remove = departed.uds_path.as_deref().filter(|_| crashed);
            log::info(format_args!("peer {}: left ({})", departed.peer, departed.reason.as_str()));
            self.links.depart(departed.peer, remove, &mut self.timers);
            self.agents.forget(departed.peer);
        }
        for peer in effects.disconnect {
            let mut sockets = effects.connect.iter().filter(|(other, _)| *other == peer);
            if sockets.any(|(_, path)| !self.links.leads_to(peer, path)) {
                // That was its former process: another listens for it now.
                self.crashed.retain(|other| *other != peer);
            }
            self.links.disconnect(peer, &mut self.timers);
        }
        for path in effects.abandoned {
            self.links.remove_socket(&path);
        }
        for (peer, path) in effects.connect {
            // It may have left in the same turn.
            if !self.turn.mesh.is_present(peer) {
                continue;
            }
            self.links.connect(peer, path, now.mono, &mut self.timers);
        }
        for (peer, pid) in effects.watch {
            if self.turn.mesh.is_present(peer) {
                self.links.watch_named(peer, pid);
            }
        }
        for wanted in effects.agents {
            let peer = wanted.peer;
            if self.turn.mesh.is_present(peer) && self.agents.watch(wanted) == Some(false) {
                self.alone.push(peer);
            }
        }
        let Effects { inboxes, events, gone, shutdown, .. } = effects;
        self.woken.extend(self.held.woken(&inboxes, &events, &gone));
        if shutdown {
            log::info(format_args!("asked to stop by a request"));
            self.end = Some(End::Stopped);
        }
    }

    /// Sends the answers of the turn.
    fn answer(&mut self, now: Monotonic) {
        let Self { turn, connections, .. } = self;
        let mesh = &turn.mesh;
        turn.answers.finish(|sent| mesh.confirm(sent));
        let mut answered: Vec<Key> = Vec::with_capacity(turn.answers.len());
        turn.answers.each(|key, response| {
            let Some(connection) = connections.get_mut(key) else { return };
            let added = match response {
                Some(response) => connection.answer(&response),
                None => connection.answer_continue(),
            };
            if let Err(full) = added {
                log::error(format_args!("an answer was lost: {full}"));
                connection.close_after();
            }
            if answered.last() != Some(&key) {
                answered.push(key);
            }
        });
        turn.answers.clear();
        for key in answered {
            if let Some(connection) = self.connections.get_mut(key) {
                let progress = connection.flush(now);
                self.settle(key, progress, now);
            }
        }
    }
}
