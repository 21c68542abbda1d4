//! A hub as a process, for tests that play the machines.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use slm_mesh::config::{DISCOVERY, HOST, WS_PORT};
use slm_mesh::lan::channel::Way;
use slm_mesh::lan::key::MachineKey;

use super::broker::{Broker, Setup};
use super::relay::{Machine, Relay, free_port};

/// A hub, and where it is for other machines.
pub(crate) struct Hub {
    pub(crate) broker: Broker,
    pub(crate) address: SocketAddr,
}

impl Hub {
    /// A broker that becomes one when it invites.
    pub(crate) fn new() -> Self {
        Self::with(|setup| setup)
    }

    /// One by its settings.
    pub(crate) fn by_settings() -> Self {
        Self::with(|setup| setup.with(HOST, "0.0.0.0"))
    }

    pub(crate) fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let port = free_port();
        let setup = Setup::new().with(WS_PORT, &port.to_string()).with(DISCOVERY, "false");
        let broker = change(setup).start();
        Self { broker, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Invites a machine; the code.
    pub(crate) fn invite(&self, more: &Value) -> String {
        let mut body = json!({"action": "invite"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.broker.ok("/machines", &body);
        assert!(!answer["addresses"].as_array().unwrap().is_empty(), "{answer}");
        answer["code"].as_str().unwrap().to_owned()
    }

    /// A machine that has joined by an invitation, and its connection.
    pub(crate) fn joined(&self, name: &str) -> (Machine, Relay) {
        let machine = self.machine(name);
        let relay = machine.join(&self.invite(&json!({}))).unwrap();
        (machine, relay)
    }

    pub(crate) fn machine(&self, name: &str) -> Machine {
        Machine::new(&self.keys(), name)
    }

    /// Where the keys of machines are.
    pub(crate) fn keys(&self) -> PathBuf {
        self.broker.dir().with_file_name("machines")
    }

    /// Its own machine's key.
    pub(crate) fn key(&self) -> MachineKey {
        MachineKey::load_or_make(&self.broker.dir().join("machine.key")).unwrap()
    }

    /// A machine that has joined before comes again.
    pub(crate) fn again(&self, machine: &Machine) -> Result<Relay, String> {
        machine.connect(self.address, Way::Joined(self.key().id()))
    }

    pub(crate) fn machines(&self) -> Value {
        self.broker.ok("/machines", &json!({"action": "list"}))
    }

    pub(crate) fn is_connected(&self, name: &str) -> bool {
        let all = self.machines();
        let all = all["machines"].as_array().unwrap();
        all.iter().any(|it| it["name"] == name && it["connected"] == true)
    }

    pub(crate) fn peers(&self) -> Vec<Value> {
        let all = self.broker.ok("/peers", &json!({"scope": "mesh", "includeStale": true}));
        all["peers"].as_array().unwrap().clone()
    }

    pub(crate) fn locks(&self) -> usize {
        let all = self.broker.ok("/lock", &json!({"action": "query"}));
        all["locks"].as_array().unwrap().len()
    }
}
