//! The mesh in this process as the room that answers, for other machines, too: a [`Local`] with a door.
//!
//! What machines say is for the turn in which the clients of this machine ask, after these have had
//! their share; what the mesh has for them leaves after that. As long as the door was never opened this
//! is [`Local`] and nothing more: [`Hub::open`] opens it, at the start or when the person here invites
//! someone, and nobody's connection is cut.

mod entrance;
mod talk;

use super::answers::{last_words, unavailable};
use super::connection::{Flow, Incoming};
use super::held::{Asker, Cut, Key};
use super::lifecycle;
use super::links::News;
use super::local::{Backend, Local};
use super::remote::{Machines, Remote};
use super::room::{Room, Said};
use super::table::Kind;
use crate::api::{Refusal, Request};
use crate::lan::channel::{CLOSE_AWAY, CLOSE_NORMAL, CLOSE_POLICY};
use crate::log;
use crate::mesh::Effects;
use crate::model::{MachineName, Monotonic, Now, PeerId, Timestamp};
use crate::paths::Paths;
use crate::role::Kind as Role;
use crate::role::stored::{self, Stored};
use crate::store::Result;
use crate::wire::frames::Answer;
use crate::wire::http::server::Response;
use entrance::Entrance;
pub(super) use entrance::{Door, DoorError};
use talk::{Decided, Talk};

/// See the module.
pub(super) struct Hub {
    local: Local<Backend>,
    door: Door,
    entrance: Option<Entrance>,
    machines: Machines<Key>,
    decided: Decided,
    /// Peers of this machine of whose ways the core was told.
    announced: Vec<PeerId>,
    paths: Paths,
    /// A hub stays although nobody is here, unless a time was set for that.
    stays: bool,
    /// Someone is invited in this turn.
    invites: bool,
    ending: bool,
}

impl Hub {
    /// With the door closed.
    pub(super) fn new(local: Local<Backend>, door: Door, paths: Paths, stays: bool) -> Self {
        Self {
            local,
            door,
            entrance: None,
            machines: Machines::default(),
            decided: Decided::default(),
            announced: Vec::new(),
            paths,
            stays,
            invites: false,
            ending: false,
        }
    }

    /// Lets other machines in from now on.
    ///
    /// # Errors
    /// They cannot be.
    pub(super) fn open(&mut self, now: Monotonic) -> std::result::Result<(), DoorError> {
        let mesh = &mut self.local.turn.mesh;
        let mut entrance = self.door.open(mesh.hub_name(), now)?;
        mesh.set_hub(Some(entrance.address().to_string().into()));
        for address in mesh.machine_addresses().filter_map(|text| text.parse().ok()) {
            entrance.connections.joined_from(address);
        }
        self.entrance = Some(entrance);
        Ok(())
    }

    /// The person here invites a machine, and this was no hub: now it is one, and stays it.
    fn become_hub(&mut self) -> std::result::Result<(), Refusal> {
        let now = self.local.turn.now().mono;
        self.open(now).map_err(|error| unavailable(&error.to_string()))?;
        if let Err(error) = stored::write(&self.paths.machines(), &Stored::Hub) {
            self.entrance = None;
            self.local.turn.mesh.set_hub(None);
            return Err(unavailable(&error.to_string()));
        }
        // Clients that find the file of a broker are served all the same.
        if let Err(error) = lifecycle::write_role(&self.paths, Role::Hub) {
            log::warn(format_args!("{error}"));
        }
        Ok(())
    }

    /// Takes out of the effects what is for other machines.
    fn route(&mut self, mut effects: Effects, now: Monotonic) -> Effects {
        let mesh = &self.local.turn.mesh;
        let announced = self.local.untold.take_announced();
        if !mesh.has_machines() && effects.removed.is_empty() {
            self.announced.extend(announced);
            return effects;
        }
        for peer in announced {
            match mesh.machine_of(peer) {
                Some(machine) => self.machines.announced(machine, peer),
                None => self.announced.push(peer),
            }
        }
        self.machines.route(&mut effects, |peer| mesh.machine_of(peer));
        for machine in effects.removed.drain(..) {
            if let Some(key) = self.machines.connection(machine) {
                self.send_away(key, CLOSE_POLICY, "this machine was removed from the mesh", now);
            }
        }
        effects
    }

    /// Closes the connection of a machine.
    fn send_away(&mut self, key: Key, code: u16, words: &str, now: Monotonic) {
        self.machines.leave(key);
        if let Some(entrance) = &mut self.entrance {
            entrance.connections.close(key, code, words, now);
        }
    }

    /// What machines say, in the turn.
    fn hear_machines(&mut self) {
        let Some(entrance) = &mut self.entrance else { return };
        let now = self.local.turn.now();
        self.local.turn.start_second_part();
        let Self { local, machines, decided, door, .. } = self;
        let mut talk = Talk { local, machines, decided, now };
        talk.tell();
        talk.hear_unheard();
        entrance.connections.turn(&door.registry, now.mono, |key, heard| talk.hear(key, heard));
        talk.tick();
        entrance.look_around(now.mono);
    }

    /// The turn is over, and kept or not: does what was decided in it about connections.
    fn settle(&mut self, is_kept: bool, now: Now) {
        for (key, words) in std::mem::take(&mut self.decided.closing) {
            self.send_away(key, CLOSE_POLICY, &words, now.mono);
        }
        for (key, admitted) in std::mem::take(&mut self.decided.asked) {
            let admitted = if is_kept {
                admitted
            } else {
                Err(unavailable("the storage of the hub failed: try again"))
            };
            match admitted {
                Ok(machine) => self.let_in(key, machine, now),
                Err(refusal) => {
                    log::info(format_args!("a machine was not let in: {}", refusal.message));
                    if let Some(entrance) = &mut self.entrance {
                        entrance.connections.refuse(key, &refusal, now.mono);
                    }
                }
            }
        }
    }

    fn let_in(&mut self, key: Key, machine: MachineName, now: Now) {
        let Some(entrance) = &mut self.entrance else { return };
        log::info(format_args!("machine {machine}: connected"));
        entrance.connections.let_in(key);
        let hub = self.local.turn.mesh.hub_name();
        let hub = hub.as_ref().map_or("hub", MachineName::as_str);
        let remote = Remote::new(machine, hub, now.mono, now.wall);
        if let Some(before) = self.machines.join(key, remote) {
            let words = "this machine has connected anew";
            entrance.connections.close(before, CLOSE_NORMAL, words, now.mono);
        }
    }

    /// Whether machines have something for a turn.
    fn is_busy(&self, now: Monotonic) -> bool {
        self.next_of_machines(now).is_some_and(|at| at <= now)
    }

    /// When machines have something for a turn.
    fn next_of_machines(&self, now: Monotonic) -> Option<Monotonic> {
        let entrance = self.entrance.as_ref()?;
        let is_busy = entrance.connections.is_busy() || self.machines.is_busy();
        if is_busy || self.decided.has_unheard() {
            return Some(now);
        }
        let all = [
            entrance.connections.next_deadline(),
            entrance.next_look(),
            self.machines.next_deadline(),
        ];
        all.into_iter().flatten().min()
    }
}

impl Room for Hub {
    fn role(&self) -> Role {
        if self.entrance.is_some() { Role::Hub } else { Role::Broker }
    }

    fn start(&mut self) -> Effects {
        let effects = self.local.start();
        self.route(effects, Monotonic::default())
    }

    fn prepare(&mut self, now: Now) -> Result<Option<Effects>> {
        let effects = self.local.prepare(now)?;
        Ok(effects.map(|effects| self.route(effects, now.mono)))
    }

    fn begin(&mut self, now: Now, asking: bool) -> bool {
        self.invites = false;
        let busy = self.is_busy(now.mono);
        self.local.begin(now, asking || busy)
    }

    fn is_full(&self) -> bool {
        self.local.is_full()
    }

    fn take(&mut self, asker: Asker, incoming: &Incoming<'_>, has_gone: bool) -> Flow {
        if let Incoming::Request(request) = incoming
            && let Some(Request::Invite { .. }) = self.local.turn.order(request)
        {
            if self.entrance.is_none()
                && let Err(refusal) = self.become_hub()
            {
                return self.local.turn.refuse(asker, request, &refusal);
            }
            self.invites = true;
        }
        self.local.take(asker, incoming, has_gone)
    }

    fn end(&mut self) -> Result<Effects> {
        self.hear_machines();
        let now = self.local.turn.now();
        let (effects, is_kept) = self.local.finish()?;
        self.settle(is_kept, now);
        Ok(self.route(effects, now.mono))
    }

    fn take_announced(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.announced)
    }

    fn answers(&mut self, give: &mut dyn FnMut(Asker, Said<'_>)) {
        let Self { local, machines, entrance, invites, .. } = self;
        if let (true, Some(entrance)) = (*invites, entrance) {
            local.turn.answers.invite(|invited| entrance.complete(invited));
        }
        let now = local.turn.now().wall;
        local.answers(&mut |asker, said| {
            let Asker::Remote { machine, id } = asker else { return give(asker, said) };
            let (Said::Answer(response) | Said::Held(response)) = said else { return };
            answer(machines.get_mut(machine), id, &response, now);
        });
    }

    fn take_care(&mut self, now: Monotonic) {
        self.local.take_care(now);
    }

    fn hear(&mut self, news: News, now: Now) {
        self.local.hear(news, now);
    }

    fn was_former(&mut self, peer: PeerId) {
        self.local.was_former(peer);
    }

    fn hung_up(&mut self, asker: Asker, now: Monotonic) {
        self.local.hung_up(asker, now);
    }

    fn closed(&mut self, asker: Asker, now: Monotonic, cut: &mut dyn FnMut() -> Option<Cut>) {
        self.local.closed(asker, now, cut);
    }

    fn event(&mut self, kind: Kind, key: Key) {
        let Some(entrance) = &mut self.entrance else { return };
        match kind {
            Kind::Entrance => entrance.connections.note_waiting(),
            Kind::Machine => entrance.connections.note_ready(key),
            _ => {}
        }
    }

    fn flush(&mut self, now: Now) {
        let Some(entrance) = &mut self.entrance else { return };
        let connections = &mut entrance.connections;
        for (key, remote) in self.machines.iter_mut() {
            let mut sent = false;
            while !connections.is_full(key)
                && let Some(frame) = remote.next_frame(now.mono)
            {
                if connections.send(key, &frame).is_err() {
                    // One that is over is heard of.
                    connections.close(
                        key,
                        CLOSE_NORMAL,
                        "a frame is too long to be sent",
                        now.mono,
                    );
                }
                sent = true;
            }
            if sent {
                connections.flush(key);
            }
        }
        if self.ending {
            connections.flush_all();
        }
    }

    fn descriptors(&self) -> usize {
        self.entrance.as_ref().map_or(0, |entrance| entrance.connections.len())
    }

    fn has_output(&self) -> bool {
        self.entrance.as_ref().is_some_and(|entrance| entrance.connections.has_output())
    }

    fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        let both = [self.local.next_deadline(now), self.next_of_machines(now.mono)];
        both.into_iter().flatten().min()
    }

    fn is_idle(&self, counts: &dyn Fn(Asker) -> bool) -> bool {
        let stays = self.entrance.is_some() && (self.stays || !self.machines.is_empty());
        !stays && self.local.is_idle(counts)
    }

    /// The machines' own peers hear nothing of it: what serves them is still there.
    fn goodbye(&mut self, reason: &str, now: Now) -> Effects {
        self.flush(now);
        let keys: Vec<Key> = self.machines.iter_mut().map(|(key, _)| key).collect();
        for key in keys {
            self.send_away(key, CLOSE_AWAY, &format!("the hub has stopped ({reason})"), now.mono);
        }
        self.ending = true;
        self.local.goodbye(reason, now)
    }

    fn end_held(&mut self) -> Vec<Asker> {
        let mut held = self.local.end_held();
        let refusal = unavailable("the hub is stopping: try again in a moment");
        let now = self.local.turn.now().wall;
        held.retain(|asker| {
            let Asker::Remote { machine, id } = *asker else { return true };
            let remote = self.machines.get_mut(machine);
            last_words(&refusal, |response| answer(remote, id, response, now));
            false
        });
        held
    }

    fn close(self: Box<Self>) -> Result<()> {
        Box::new(self.local).close()
    }
}

/// Answers a request of a machine, if that is still connected.
fn answer(remote: Option<&mut Remote>, id: u64, response: &Response<'_>, now: Timestamp) {
    if let Some(remote) = remote {
        remote.answer(&Answer {
            id,
            status: response.status,
            now,
            body: std::str::from_utf8(response.body).unwrap_or_default(),
            retry_after: response.retry_after,
            allow: response.allow.map(Into::into),
        });
    }
}
