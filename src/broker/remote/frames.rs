//! What a relay says.

use std::collections::btree_map::Entry;

use super::{Asked, Closing, Remote, Stage, Taken, Told, Whose};
use crate::api::{Code, Detail, Endpoint, Refusal};
use crate::broker::links::News;
use crate::broker::uplink::same_major;
use crate::limits::UNREAD_TIME_MAX;
use crate::mesh::Departed;
use crate::model::{LeaveReason, Monotonic, PeerId};
use crate::wire::frames::{EndedProcess, Hello, Here, Request, ToHub};

type Result<T> = std::result::Result<T, Closing>;

impl Remote {
    /// A frame has come. `whose` tells whose a peer is now. Gives what is for the turn of the mesh;
    /// everything else is [told](Remote::take_told).
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn frame<'a, 'm>(
        &mut self,
        text: &'a str,
        now: Monotonic,
        whose: impl Fn(PeerId) -> Whose<'m>,
    ) -> Result<Option<Taken<'a>>> {
        self.heard = now;
        let frame = ToHub::decode(text).map_err(|error| Closing::new(error.to_string()))?;
        let Some(frame) = frame else { return Ok(None) };
        match (self.stage, frame) {
            (Stage::New, ToHub::Hello(hello)) => self.greeted(&hello)?,
            (Stage::New, _) => return Err(Closing::new("the first frame must be `hello`")),
            (_, ToHub::Hello(_)) => return Err(Closing::new("`hello` is said once")),
            (Stage::Greeted, ToHub::Peers { here, ended, got }) => {
                // Without a word nothing is known, as of what was before the first that is named.
                self.got = Some(got.unwrap_or_else(|| vec![u64::MAX]));
                self.named(here, &ended, &whose)?;
            }
            (Stage::Greeted, _) => return Err(Closing::new("the second frame must be `peers`")),
            (_, ToHub::Peers { .. }) => return Err(Closing::new("`peers` is said once")),
            (Stage::Stands, ToHub::Request(request)) => {
                return self.asked(request).map(|asked| Some(Taken::Asked(asked)));
            }
            (Stage::Stands, ToHub::Facts { id, facts }) => {
                let is_open = self.open.contains_key(&id);
                return Ok(is_open.then_some(Taken::Facts(id, facts)));
            }
            (Stage::Stands, frame) => self.heard_of(frame, &whose)?,
        }
        Ok(None)
    }

    fn greeted(&mut self, hello: &Hello<'_>) -> Result<()> {
        same_major(&hello.version)
            .map_err(|words| Closing::new(format!("the machine that joins {words}")))?;
        self.said = Some(((&*hello.name).into(), (&*hello.version).into()));
        self.stage = Stage::Greeted;
        Ok(())
    }

    fn named<'m>(
        &mut self,
        here: Vec<Here>,
        ended: &[EndedProcess],
        whose: &impl Fn(PeerId) -> Whose<'m>,
    ) -> Result<()> {
        self.stage = Stage::Stands;
        for here in here {
            self.is_up(here, whose)?;
        }
        for EndedProcess { peer, path } in ended {
            if self.is_its(*peer, whose)? && is_at(*peer, path, whose) {
                self.told.push(Told::News(News::Ended(*peer)));
            }
        }
        self.told.push(Told::Ready);
        Ok(())
    }

    fn asked<'a>(&mut self, request: Request<'a>) -> Result<Asked<'a>> {
        let Request { id, by, method, path, body, agent_start, has_gone } = request;
        self.has_room_for(id)?;
        let endpoint = endpoint(&method, &path);
        self.open.insert(id, matches!(endpoint, Ok(Endpoint::Lock)));
        Ok(Asked {
            id,
            by,
            endpoint,
            body: body.unwrap_or_default().as_bytes(),
            agent_start: agent_start.map(|start| (&*start).into()),
            has_gone,
        })
    }

    fn heard_of<'m>(
        &mut self,
        frame: ToHub<'_>,
        whose: &impl Fn(PeerId) -> Whose<'m>,
    ) -> Result<()> {
        let told = match frame {
            ToHub::Cancel { id } => {
                if self.open.contains_key(&id) {
                    self.told.push(Told::HungUp(id));
                }
                return Ok(());
            }
            ToHub::Lost { id, after } => {
                self.lost(id, after);
                return Ok(());
            }
            ToHub::Up(here) => return self.is_up(here, whose),
            ToHub::Process { peer, known } => return self.process(peer, known, whose),
            // True of a message whatever has become of the way since.
            ToHub::Ack { message, by } => {
                if self.is_its(by, whose)? {
                    self.told.push(Told::News(News::Acknowledged(by, message)));
                }
                return Ok(());
            }
            ToHub::Written { seq, to } => {
                if self.is_its(to, whose)? {
                    self.told.push(Told::News(News::Written(to, seq)));
                }
                return Ok(());
            }
            ToHub::Down { peer } => {
                if self.concerns(peer, whose)? {
                    self.up.remove(&peer);
                    self.held_back.remove(&peer);
                    self.told.push(Told::News(News::Down(peer)));
                }
                return Ok(());
            }
            ToHub::Ended { peer } => (peer, Told::News(News::Ended(peer))),
            ToHub::NamedEnded { peer } => (peer, Told::News(News::NamedEnded(peer))),
            ToHub::AgentLives { peer } => (peer, Told::News(News::AgentLives(peer))),
            ToHub::AgentEnded { peer } => (peer, Told::News(News::AgentEnded(peer))),
            ToHub::Hello(_) | ToHub::Peers { .. } | ToHub::Request(_) | ToHub::Facts { .. } => {
                return Ok(());
            }
        };
        let (peer, told) = told;
        if self.concerns(peer, whose)? {
            self.told.push(told);
        }
        Ok(())
    }

    fn lost(&mut self, id: u64, after: Option<u64>) {
        if self.given.remove(&id).is_none() {
            return;
        }
        let read = after.is_some_and(|ms| u128::from(ms) > UNREAD_TIME_MAX.as_millis());
        self.told.push(Told::Gone { id, lost: !read });
    }

    /// Whether a peer is the machine's.
    fn is_its<'m>(&self, peer: PeerId, whose: &impl Fn(PeerId) -> Whose<'m>) -> Result<bool> {
        match whose(peer) {
            Whose::Its(_) => Ok(true),
            Whose::Nobodys => Ok(false),
            Whose::Others => {
                Err(Closing::new(format!("peer {peer} is not one of {}", self.machine)))
            }
        }
    }

    /// Whether what is said of the way to a peer, or of its process, is about the present one.
    fn concerns<'m>(&self, peer: PeerId, whose: &impl Fn(PeerId) -> Whose<'m>) -> Result<bool> {
        Ok(self.is_its(peer, whose)? && !self.fenced.contains_key(&peer))
    }

    fn is_up<'m>(&mut self, here: Here, whose: &impl Fn(PeerId) -> Whose<'m>) -> Result<()> {
        let Here { peer, path, link, process, confirmed, written } = here;
        if !self.is_its(peer, whose)? {
            // It may have left while there was no connection.
            if !self.fenced.contains_key(&peer) {
                let reason = LeaveReason::Timeout;
                self.departed(&Departed { peer, machine: None, reason, uds_path: None });
            }
            return Ok(());
        }
        if !confirmed.is_empty() || !written.is_empty() {
            self.told.push(Told::Confirmed { peer, messages: confirmed, written });
        }
        if self.concerns(peer, whose)? && is_at(peer, &path, whose) {
            self.up.insert(peer, link);
            self.held_back.remove(&peer);
            self.told.push(Told::News(News::Up(peer, process)));
        }
        Ok(())
    }

    fn process<'m>(
        &mut self,
        peer: PeerId,
        known: bool,
        whose: &impl Fn(PeerId) -> Whose<'m>,
    ) -> Result<()> {
        let is_its = self.is_its(peer, whose)?;
        match self.fenced.entry(peer) {
            Entry::Occupied(mut fence) if !known => {
                *fence.get_mut() -= 1;
                if *fence.get() == 0 {
                    fence.remove();
                }
            }
            Entry::Vacant(_) if is_its => {
                self.told.push(Told::News(News::Process(peer, known)));
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {}
        }
        Ok(())
    }
}

/// Whether this is the peer's present socket: what was asked for last may have been lost with a
/// connection.
fn is_at<'m>(peer: PeerId, path: &str, whose: &impl Fn(PeerId) -> Whose<'m>) -> bool {
    whose(peer) == Whose::Its(Some(path))
}

/// The endpoint that is meant, as the gate of this machine's own clients has it.
fn endpoint(method: &str, path: &str) -> std::result::Result<Endpoint, Refusal> {
    let wrong = |allow: &'static str| {
        let message = format!("this endpoint takes {allow} only");
        Refusal::new(Code::MethodNotAllowed, message).with(Detail::Allow(allow))
    };
    match Endpoint::find(path) {
        Some(endpoint) if endpoint.method() == method => Ok(endpoint),
        Some(endpoint) => Err(wrong(endpoint.method())),
        None if path == "*" => Err(wrong("GET, POST")),
        None => {
            let shown: String = path.chars().take(64).collect();
            Err(Refusal::new(Code::UnknownEndpoint, format!("there is no endpoint `{shown}`")))
        }
    }
}
