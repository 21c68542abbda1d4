//! The turn as the reactor sees it: what goes into it, and what is done once it is over.

use super::{Fatal, Reactor};
use crate::broker::held::Asker;
use crate::broker::links::News;
use crate::broker::reactor::End;
use crate::broker::room::Said;
use crate::log;
use crate::mesh::Effects;
use crate::model::{LeaveReason, Monotonic, Now};
use crate::wire::http::server::Response;

impl Reactor {
    pub(super) fn run_turn(&mut self, now: Now) -> Result<(), Fatal> {
        self.hear_news(now);
        while let Some(effects) = self.room.prepare(now)? {
            self.carry_out(effects, now);
        }
        if self.room.begin(now, !self.ready.is_empty()) {
            self.serve(now.mono);
            let effects = self.room.end()?;
            self.carry_out(effects, now);
            self.bound_buffers(now.mono);
        }
        Ok(())
    }

    /// Tells the room what happened to the ways to peers.
    pub(super) fn hear_news(&mut self, now: Now) {
        for news in self.links.take_news() {
            match news {
                News::Listens(peer, pid) => {
                    if self.agents.are_above(peer, pid) {
                        self.room.hear(News::AgentLives(peer), now);
                    }
                }
                news => self.room.hear(news, now),
            }
        }
    }

    /// Requests of the connections that have some.
    fn serve(&mut self, now: Monotonic) {
        // Those that come back into the queue meanwhile are for the next turn.
        for _ in 0..self.ready.len() {
            if self.room.is_full() || self.buffered > self.buffered_max {
                break;
            }
            let Some(key) = self.ready.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.marks.queued = false;
            let room = &mut self.room;
            let has_gone = connection.has_hung_up();
            let progress = connection.serve(now, &mut self.scratch, |incoming| {
                room.take(Asker::Http(key), &incoming, has_gone)
            });
            self.settle(key, progress, now);
        }
    }

    /// Does what the room has asked for: pushes first, answers after, then everything else.
    pub(super) fn carry_out(&mut self, effects: Effects, now: Now) {
        for peer in self.room.take_announced() {
            self.links.announced(peer);
        }
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
            self.links.depart(departed.peer, remove, now.mono, &mut self.timers);
            self.agents.forget(departed.peer);
        }
        for peer in effects.disconnect {
            let mut sockets = effects.connect.iter().filter(|(other, _)| *other == peer);
            if sockets.any(|(_, path)| !self.links.leads_to(peer, path)) {
                // That was its former process: another listens for it now.
                self.room.was_former(peer);
            }
            self.links.disconnect(peer, now.mono, &mut self.timers);
        }
        for path in effects.abandoned.into_iter().map(|it| it.path) {
            self.links.remove_socket(&path);
        }
        for (peer, path) in effects.connect {
            self.links.connect(peer, path, now.mono, &mut self.timers);
        }
        for (peer, pid) in effects.watch {
            self.links.watch_named(peer, pid, now.mono, &mut self.timers);
        }
        for wanted in effects.agents {
            let peer = wanted.peer;
            if self.agents.watch(wanted) == Some(false) {
                self.room.hear(News::AgentEnded(peer), now);
            }
        }
        if effects.reload {
            self.helpers.reload(now.mono);
        }
        if effects.shutdown {
            log::info(format_args!("asked to stop by a request"));
            self.end = Some(End::Stopped);
        }
    }

    /// Sends the answers that may leave.
    fn answer(&mut self, now: Monotonic) {
        let Self { room, connections, .. } = self;
        let mut answered = std::mem::take(&mut self.answered);
        room.answers(&mut |asker, said| {
            let Asker::Http(key) = asker else { return };
            let Some(connection) = connections.get_mut(key) else { return };
            let added = match said {
                Said::Answer(response) => connection.answer(&response),
                Said::Held(response) => {
                    let after = connection.release();
                    connection.answer(&Response { connection: after, ..response })
                }
                Said::Continue => connection.answer_continue(),
                Said::Nothing => {
                    connection.release();
                    connection.close_after();
                    Ok(())
                }
            };
            if let Err(full) = added {
                log::error(format_args!("an answer was lost: {full}"));
                connection.close_after();
            }
            if answered.last() != Some(&key) {
                answered.push(key);
            }
        });
        for key in answered.drain(..) {
            if let Some(connection) = self.connections.get_mut(key) {
                let progress = connection.flush(now);
                self.settle(key, progress, now);
            }
        }
        self.answered = answered;
    }
}
