//! Several machines in one mesh: who may join, what a machine may do, and what is whose; without a
//! network.

mod joining;
mod people;
mod places;

use crate::alone::Alone;
use serde_json::{Value, json};
use slm_mesh::api::{Endpoint, Request};
use slm_mesh::mesh::{Caller, Credential, Failure, Outcome, Settings};
use slm_mesh::model::{MachineId, MachineName, PeerId};

/// What the clones of one repository have in common.
const CLONE: &str = "abababababababababababababababababababababababababababababababab";

fn name(text: &str) -> MachineName {
    MachineName::new(text).unwrap()
}

fn id(n: u8) -> MachineId {
    MachineId([n; 32])
}

/// Who asks.
#[derive(Clone, Copy)]
enum As<'a> {
    /// The person on this machine; on the hub with an empty name.
    Person(&'a str),
    /// Whoever has this token, on this machine.
    Token(&'a str, &'a str),
}

const HUB: As<'static> = As::Person("");

/// A hub.
struct World(Alone);

impl World {
    /// One that the machines `laptop` and `tower` have joined.
    fn new() -> Self {
        let mut world = Self::bare(0);
        for (n, name) in [(1, "laptop"), (2, "tower")] {
            let given = world.admit(id(n), Credential::Secret, name).unwrap();
            assert_eq!(given.as_str(), name);
            world.0.turn(|mesh, now| mesh.machine_up(given, now).unwrap());
        }
        world
    }

    fn bare(rate_limit: u32) -> Self {
        let machine_name = Some(name("Desk"));
        let settings = Settings { machine_name, is_hub: true, rate_limit, ..Settings::default() };
        Self(Alone::new(settings))
    }

    fn admit(
        &mut self,
        id: MachineId,
        proof: Credential,
        wished: &str,
    ) -> Result<MachineName, String> {
        let from = (wished, "192.0.2.1");
        self.0.turn(|mesh, now| match mesh.admit(id, proof, from, now) {
            Ok(name) => Ok(name),
            Err(Failure::Refused(refusal)) => Err(refusal.message.into()),
            Err(Failure::Store(error)) => panic!("{error}"),
        })
    }

    /// The answer, as it is on the wire.
    fn answer(&mut self, who: As<'_>, endpoint: Endpoint, body: &Value) -> Result<Value, Value> {
        let request = Request::decode(endpoint, body.to_string().as_bytes()).unwrap();
        self.0.turn(|mesh, now| {
            let caller = match who {
                As::Person("") => Caller::Broker,
                As::Person(machine) => Caller::Operator(name(machine)),
                As::Token(token, machine) => mesh.authenticate(token, MachineName::new(machine)),
            };
            let mut text = Vec::new();
            match mesh.handle(caller, &request, now) {
                Ok(Outcome::Reply(reply)) => {
                    reply.write_to(&mut text);
                    Ok(serde_json::from_slice(&text).unwrap())
                }
                Ok(Outcome::Hold { .. }) => panic!("held: {body}"),
                Err(Failure::Refused(refusal)) => {
                    refusal.write_to(&mut text);
                    Err(serde_json::from_slice(&text).unwrap())
                }
                Err(Failure::Store(error)) => panic!("{error}"),
            }
        })
    }

    fn ask(&mut self, who: As<'_>, endpoint: Endpoint, body: &Value) -> Value {
        self.answer(who, endpoint, body).unwrap_or_else(|refusal| panic!("{body}: {refusal}"))
    }

    fn refused(&mut self, who: As<'_>, endpoint: Endpoint, body: &Value) -> (String, String) {
        let refusal = self.answer(who, endpoint, body).unwrap_err();
        let text = |field: &str| refusal[field].as_str().unwrap().to_owned();
        (text("code"), text("error"))
    }

    /// A peer in `/w`, with its token and id.
    fn come(&mut self, who: As<'_>, called: &str, more: &Value) -> (String, PeerId) {
        let mut body = json!({
            "pid": 7, "projectPath": "/w", "gitRoot": "/w", "repoId": "/w/.git", "name": called,
            "udsPath": format!("/peers/{called}.sock"),
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = self.ask(who, Endpoint::Register, &body);
        let id = PeerId::parse(reply["peerId"].as_str().unwrap()).unwrap();
        (reply["peerToken"].as_str().unwrap().to_owned(), id)
    }

    fn lock(&mut self, who: As<'_>, path: &str) -> bool {
        let body = json!({"action": "lock", "filePath": path});
        match self.answer(who, Endpoint::Lock, &body) {
            Ok(_) => true,
            Err(refusal) => {
                assert_eq!(refusal["code"], "locked", "{refusal}");
                false
            }
        }
    }

    /// The texts that wait for someone, with who has sent each.
    fn inbox(&mut self, who: As<'_>, of: Option<&str>) -> Vec<(String, String, String)> {
        let body = json!({"peerId": of, "peek": true, "filter": "all"});
        let reply = self.ask(who, Endpoint::Messages, &body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        reply["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (text(&it["payload"]), text(&it["fromPeer"]), text(&it["fromName"])))
            .collect()
    }

    fn names(&mut self, who: As<'_>, body: &Value) -> (Vec<String>, u64) {
        let reply = self.ask(who, Endpoint::Peers, body);
        let peers = reply["peers"].as_array().unwrap();
        let names = peers.iter().map(|peer| peer["name"].as_str().unwrap().to_owned()).collect();
        (names, reply["elsewhere"].as_u64().unwrap_or(0))
    }

    fn send(&mut self, who: As<'_>, from: Option<&str>, to: &str, text: &str) -> Value {
        let body = json!({"fromPeer": from, "toPeer": to, "payload": text});
        self.ask(who, Endpoint::Send, &body)
    }
}
