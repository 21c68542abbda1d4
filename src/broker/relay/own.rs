//! What a relay answers itself: what is about this machine, and not about the mesh.

use std::time::Duration;

use serde_json::value::RawValue;

use super::Relay;
use crate::api::{Code, Endpoint, Health, HubInfo, MachinesReply, Refusal, Reply, Request};
use crate::broker::room::Room;
use crate::broker::uplink::Answered;
use crate::model::{Monotonic, Timestamp};
use crate::role::Kind;

impl Relay {
    /// The answer to a request that is not for the hub. `is_person`: this machine's own token came with
    /// it.
    pub(super) fn own(
        &mut self,
        endpoint: Endpoint,
        is_person: bool,
        body: &[u8],
    ) -> Option<Result<Reply, Refusal>> {
        match endpoint {
            Endpoint::Health => Some(Ok(self.health())),
            // Whoever may stop what serves this directory stops this, and not the hub.
            Endpoint::Shutdown if is_person => {
                self.shutdown = true;
                Some(Ok(Reply::Done {}))
            }
            Endpoint::Page if is_person => Some(self.gate.open_page(self.now)),
            // Helpers are processes of this machine.
            Endpoint::Reload if is_person => {
                self.reload = true;
                Some(Ok(Reply::Done {}))
            }
            Endpoint::Machines => Some(self.machines(is_person, body)),
            _ => None,
        }
    }

    fn uptime(&self) -> u64 {
        self.now.mono.since(self.started).as_secs()
    }

    fn health(&self) -> Reply {
        let standing = self.uplink.standing();
        Reply::Health(Health {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: self.uptime(),
            mesh: Some(self.mesh_id.clone()),
            role: Some(Kind::Client.as_str().into()),
            hub: Some(standing.connected),
        })
    }

    fn machines(&mut self, is_person: bool, body: &[u8]) -> Result<Reply, Refusal> {
        let request = Request::decode(Endpoint::Machines, body)?;
        let forbidden = |message: &str| Err(Refusal::new(Code::Forbidden, message));
        if !is_person {
            return forbidden("only the person at this machine may do this");
        }
        match request {
            Request::ListMachines => {
                // Whoever asks how it stands waits for that.
                self.uplink.hurry(self.now.mono);
                Ok(Reply::Machines(MachinesReply {
                    role: Kind::Client.as_str().into(),
                    machines: Vec::new(),
                    hub: Some(self.hub_info()),
                    listen: None,
                }))
            }
            Request::LeaveHub {} => self.leave(),
            _ => forbidden(
                "this machine has joined the mesh of another: only the person at its hub may do \
                 this; run it there",
            ),
        }
    }

    /// The next start finds nothing that was joined, and knows no hub that has the secret.
    fn leave(&mut self) -> Result<Reply, Refusal> {
        if let Some(wire) = &self.wire {
            wire.hub().forget().map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
        }
        self.shutdown = true;
        Ok(Reply::Done {})
    }

    /// The hub, and how the way to it stands.
    pub(super) fn hub_info(&self) -> HubInfo {
        let standing = self.uplink.standing();
        HubInfo {
            id: self.hub(),
            name: standing.hub,
            own_name: standing.you.map(|name| name.as_str().into()),
            address: self.wire.as_ref().and_then(super::HubConnection::address),
            connected: standing.connected,
            since: Some(self.on_wall(standing.since)),
            problem: self.uplink.problem(self.now.mono),
            refused: standing.refused,
        }
    }

    /// When that was, by this machine's wall clock.
    fn on_wall(&self, at: Monotonic) -> Timestamp {
        let ago: Duration = self.now.mono.since(at);
        let ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.now.wall.0.saturating_sub(ms))
    }

    /// The hub's answer to `GET /status`, with what is true of this machine in it: what serves here is
    /// this process.
    pub(super) fn with_own_status(&self, answered: &mut Answered) {
        if let Some(body) = self.own_status(&answered.body) {
            answered.body = body;
        }
    }

    fn own_status(&self, body: &str) -> Option<Box<str>> {
        // The rest is passed on as it came, whatever a newer hub says.
        let mut fields: std::collections::BTreeMap<Box<str>, Box<RawValue>> =
            serde_json::from_str(body).ok()?;
        let own = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime": self.uptime(),
            "pid": std::process::id(),
            "port": self.gate.port(),
            "role": Kind::Client.as_str(),
            "host": self.uplink.standing().you,
            "hub": self.hub_info(),
        });
        for (name, value) in own.as_object()? {
            fields.insert(name.as_str().into(), serde_json::value::to_raw_value(value).ok()?);
        }
        serde_json::to_string(&fields).ok().map(Into::into)
    }
}
