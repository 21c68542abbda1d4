//! Requests: asked, held, asked again, and answers that are lost.

use serde_json::Value;
use slm_mesh::api::{Claimed, Endpoint, LockReply, Messages, ProcessFacts, Reply, Request};
use slm_mesh::broker::held::{Asker, Cut, Hold, Key};
use slm_mesh::mesh::{Caller, Credential, Failure, Interest, Lost, Mesh, Outcome};
use slm_mesh::model::{Monotonic, Seq};
use slm_mesh::store::Store;

use super::{Answer, Backend, Input, Token, World};

impl<B: Backend> World<B> {
    /// Asks again for requests that wait for locks and have an answer now, in the turn.
    pub(super) fn grant_locks(&mut self) {
        while let Some((asker, hold)) = self.held.next_waiter(self.mesh.as_mut().unwrap()) {
            self.ask_again(asker, hold);
        }
    }

    pub(super) fn ask_again(&mut self, asker: Asker, mut hold: Box<Hold>) {
        let (now, before) = (self.now, hold.again());
        let answer = match self.mesh().handle_held(hold.caller, &hold.request, before, now) {
            Ok(Outcome::Hold { on, until }) => {
                // A claim may be looked at again before its time is over.
                let over = match on {
                    Interest::Claim { until, .. } => until,
                    _ => before.until,
                };
                let waits = now.mono < until && until <= over && on == before.on;
                assert!(waits && !before.hung_up, "held beyond its time");
                hold.wait_on(on, until);
                return self.held.hold(asker, hold);
            }
            Ok(Outcome::Reply(reply)) => {
                self.held.answered(asker, &reply);
                Answer::Reply(reply)
            }
            Err(Failure::Refused(refusal)) => Answer::Refused(refusal),
            Err(Failure::Store(error)) => panic!("{error}"),
        };
        let fence = match &answer {
            Answer::Reply(Reply::Locked(LockReply { lock, .. })) => Some(lock.fence),
            _ => None,
        };
        if before.hung_up {
            match (before.on, &answer) {
                (Interest::Inbox(_), Answer::Reply(reply)) => {
                    assert_eq!(*reply, Reply::Messages(Messages::default()));
                }
                (Interest::Claim { .. }, Answer::Reply(reply)) => {
                    assert_eq!(*reply, Reply::Claimed(Claimed::default()));
                }
                // Its peer may have left.
                _ => {}
            }
            // Nobody gets it.
            let mesh = self.mesh.as_mut().unwrap();
            self.held.closed(asker, now.mono, mesh, || panic!("nothing was written yet"));
            assert_eq!(fence, None, "a lock for whoever has gone");
            return;
        }
        self.now_in.granted.extend(fence.map(|fence| (asker, fence)));
        let mut answers = self.now_in.answers.iter_mut();
        // One that was held in this very turn is seen with what it came to.
        if let Some((.., shown)) = answers.find(|(_, other, _)| *other == asker) {
            *shown = answer;
        } else {
            let (home, body) = (self.homes[&asker], self.bodies[&asker].clone());
            self.now_in.late.push((home, body, answer));
        }
    }

    /// Tells of locks whose new holders did not get the answer.
    pub(super) fn tell_lost(&mut self) {
        let now = self.now;
        while let Some((fence, lost)) = self.held.next_lost() {
            self.now_in.lost.push((fence, lost));
            self.mesh().grant_lost(fence, lost, now).unwrap();
        }
    }

    pub(super) fn input(&mut self, at: usize, input: &Input) {
        let now = self.now;
        match input {
            Input::Listen(_)
            | Input::HangUpLink(_)
            | Input::Read { .. }
            | Input::ProcessEnded(_)
            | Input::NamedEnded(_)
            | Input::AgentEnded(_)
            | Input::CutOff(_) => {}
            Input::Dial(id) => {
                let name = format!("m{}", id.0[0] % 2);
                let admitted =
                    match self.mesh().admit(*id, Credential::Secret, (&name, "here"), now) {
                        Ok(name) => Some(name),
                        Err(Failure::Refused(_)) => None,
                        Err(Failure::Store(error)) => panic!("{error}"),
                    };
                self.now_in.admitted.push((*id, admitted));
            }
            Input::Request { token, endpoint, body } => {
                let asker = Asker::Remote { machine: Key::SINGLE, id: self.askers };
                self.askers += 1;
                let answer = self.ask(asker, token, *endpoint, body);
                self.now_in.answers.push((at, asker, answer));
            }
            Input::Tick => self.mesh().tick(now).unwrap(),
            Input::HangUp(n) => {
                let waiting: Vec<Asker> = self.held.iter().map(|(asker, _)| asker).collect();
                if waiting.is_empty() {
                    return;
                }
                let asker = waiting[n % waiting.len()];
                let mesh = self.mesh.as_mut().unwrap();
                if n % 3 == 0 {
                    self.held.closed(asker, now.mono, mesh, || panic!("it was given nothing"));
                    return;
                }
                let inbox = match self.held.get(asker).unwrap().again().on {
                    Interest::Inbox(recipient) => Some(recipient),
                    _ => None,
                };
                let unread = |mesh: &mut Mesh<B::Store>| {
                    inbox.map(|of| mesh.store_mut().unread_count(of).unwrap())
                };
                let before = unread(mesh);
                self.held.hung_up(asker, now.mono, mesh);
                while let Some((asker, hold)) = self.held.next_woken() {
                    self.ask_again(asker, hold);
                }
                let left = unread(self.mesh());
                assert_eq!(left, before, "nothing is marked read for nobody");
            }
            Input::AnswerLost { nth, written } => {
                if self.granted.is_empty() {
                    return;
                }
                let Granted { asker, fence, at } = self.granted.remove(nth % self.granted.len());
                let (cut, lost) = if *written {
                    (Cut::Reset, Lost::Reset { after: now.mono.since(at) })
                } else {
                    (Cut::Unwritten, Lost::Unwritten)
                };
                self.missed.push((fence, lost));
                let mesh = self.mesh.as_mut().unwrap();
                self.held.closed(asker, now.mono, mesh, || Some(cut));
                self.tell_lost();
            }
        }
    }

    fn ask(&mut self, asker: Asker, token: &Token, endpoint: Endpoint, body: &str) -> Answer {
        let (now, mesh) = (self.now, self.mesh.as_mut().unwrap());
        if token.home().is_some_and(|home| !self.machines.contains(&home)) {
            return Answer::Unsent;
        }
        let caller = match token {
            Token::Person(home) => home.map_or(Caller::Broker, Caller::Operator),
            Token::Peer(token, home) => mesh.authenticate(token, *home),
        };
        let mut request = match Request::decode(endpoint, body.as_bytes()) {
            Ok(request) => request,
            Err(refusal) => return Answer::Refused(refusal),
        };
        if let Request::Register(register) = &mut request {
            register.facts = facts(body);
        }
        let renamed = match (&request, caller) {
            (Request::Rename { .. }, Caller::Peer(id)) => vec![id],
            (Request::Rename { peer_id: Some(who), .. }, _) => {
                let present = mesh.store_mut().present_peers().unwrap().into_iter();
                let is_it = |name: &str, id: &str| {
                    name.eq_ignore_ascii_case(who) || id.starts_with(&who.to_lowercase())
                };
                let meant = present.filter(|it| is_it(&it.name, &it.id.to_string()));
                meant.map(|record| record.id).collect()
            }
            _ => Vec::new(),
        };
        match mesh.handle(caller, &request, now) {
            Ok(Outcome::Reply(reply)) => {
                self.now_in.renamed.extend(renamed);
                Answer::Reply(reply)
            }
            Ok(Outcome::Hold { on, until }) => {
                self.bodies.insert(asker, body.to_owned());
                self.homes.insert(asker, token.home());
                self.held.hold(asker, Hold::new(caller, request, on, until));
                Answer::Held
            }
            Err(Failure::Refused(refusal)) => Answer::Refused(refusal),
            Err(Failure::Store(error)) => panic!("{error}"),
        }
    }
}

/// What the kernel would say of a registration.
fn facts(body: &str) -> ProcessFacts {
    let body: Value = serde_json::from_str(body).unwrap();
    let is = |fact: &str| body["facts"][fact] == true;
    ProcessFacts {
        agent_start: body["agentPid"].as_u64().and(body["facts"]["start"].as_str()).map(Into::into),
        descends: is("descends"),
        former_gone: is("gone"),
        former_ended: is("ended"),
    }
}

/// An answer that gave a lock to someone who had waited, and when it left.
pub(super) struct Granted {
    pub(super) asker: Asker,
    pub(super) fence: Seq,
    pub(super) at: Monotonic,
}
