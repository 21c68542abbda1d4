//! An agent's session as a hook finds it: a peer with a socket, and its token beside that.

use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use serde_json::{Value, json};
use slm_mesh::api::{
    Fetch, ListPeers, LockFile, LockInfo, LockReply, LocksReply, Messages, PeerInfo, PeersReply,
    Place, Register, Registered, Request, SendMessage,
};
use slm_mesh::client::{Client, StartPolicy};
use slm_mesh::config::HOOK_MS;
use slm_mesh::model::MessageKind;

use super::{Mesh, Ran};

/// See the module.
pub struct Session {
    pub id: String,
    pub name: String,
    pub client: Client,
    pub token_file: PathBuf,
    _listener: UnixListener,
}

impl Session {
    /// A peer called `name`, whose agent's session is `session` and whose agent is process `agent`.
    /// The broker has to run.
    pub fn new(mesh: &Mesh, name: &str, session: Option<&str>, agent: Option<u32>) -> Self {
        Self::of_type(mesh, name, "test-agent", session, agent)
    }

    pub fn of_type(
        mesh: &Mesh,
        name: &str,
        agent_type: &str,
        session: Option<&str>,
        agent: Option<u32>,
    ) -> Self {
        Self::with(mesh, name, |register| {
            register.agent_type = Some(agent_type.into());
            register.session_id = session.map(Into::into);
            register.agent_pid = agent;
        })
    }

    /// One that says something else of itself, too.
    pub fn with(mesh: &Mesh, name: &str, change: impl FnOnce(&mut Register)) -> Self {
        let socket = mesh.data_dir().join("peers").join(format!("{name}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let mut client = Client::open(&mesh.config(), StartPolicy::Never).unwrap();
        let mut register = Register {
            pid: std::process::id(),
            project_path: mesh.work().to_str().unwrap().into(),
            name: Some(name.into()),
            uds_path: Some(socket.to_str().unwrap().into()),
            private: true,
            ..Register::default()
        };
        change(&mut register);
        let registered: Registered = client.call(&Request::Register(Box::new(register))).unwrap();
        client.use_token(&registered.peer_token);
        let token_file = socket.with_extension("token");
        let mut file = std::fs::OpenOptions::new();
        let file = file.write(true).create_new(true).mode(0o600).open(&token_file);
        std::io::Write::write_all(&mut file.unwrap(), registered.peer_token.as_bytes()).unwrap();
        let id = registered.peer_id.to_string();
        Self { id, name: registered.name.into(), client, token_file, _listener: listener }
    }

    pub fn send(&mut self, to: &str, text: &str) {
        let request = Request::Send(SendMessage {
            from_peer: None,
            to_peer: to.into(),
            payload: text.into(),
            kind: MessageKind::Text,
            reply_to: None,
            id: None,
            place: Place::default(),
        });
        self.client.call_bytes(&request).unwrap();
    }

    /// What it has not read.
    pub fn unread(&mut self) -> Vec<String> {
        let fetch = Fetch { peek: true, limit: Some(1000), ..Fetch::default() };
        let reply: Messages = self.client.call(&Request::Fetch(fetch)).unwrap();
        reply.messages.iter().map(|message| message.payload.to_string()).collect()
    }

    /// Its row among the peers.
    pub fn row(&mut self) -> PeerInfo {
        let ask = Request::Peers(ListPeers { include_stale: true, ..ListPeers::default() });
        let reply: PeersReply = self.client.call(&ask).unwrap();
        reply.peers.into_iter().find(|peer| peer.id.to_string() == self.id).unwrap()
    }

    pub fn lock(&mut self, file: &str, reason: Option<&str>, minutes: u32) -> LockInfo {
        let ask = Request::Lock(LockFile {
            peer_id: None,
            path: slm_mesh::api::LockPath::of(file),
            reason: reason.map(Into::into),
            ttl_minutes: Some(minutes),
            ..LockFile::default()
        });
        self.client.call::<LockReply>(&ask).unwrap().lock
    }

    pub fn unlock(&mut self, file: &str) {
        let path = slm_mesh::api::LockPath::of(file);
        let ask = Request::Unlock { peer_id: None, path, force: false };
        self.client.call_bytes(&ask).unwrap();
    }

    /// All locks.
    pub fn locks(&mut self) -> Vec<LockInfo> {
        let ask = Request::QueryLocks { peer_id: None, path: None };
        self.client.call::<LocksReply>(&ask).unwrap().locks
    }

    /// The one lock there is.
    pub fn only_lock(&mut self) -> LockInfo {
        let locks = self.locks();
        assert_eq!(locks.len(), 1, "{locks:?}");
        locks[0].clone()
    }
}

/// A mesh whose broker runs and whose hooks have time: how fast they are is not tested.
pub fn mesh_with_patient_hooks() -> Mesh {
    let mesh = Mesh::unlimited().with(HOOK_MS, "20000");
    mesh.start();
    mesh
}

/// Runs the hook of `agent`.
pub fn hook(mesh: &Mesh, agent: &str, input: &Value) -> Ran {
    mesh.run_with_input(&format!("hook {agent}"), input.to_string().as_bytes())
}

/// What Claude Code writes before an edit.
pub fn edit(session: &str, file: &str) -> Value {
    json!({
        "session_id": session, "hook_event_name": "PreToolUse", "tool_name": "Edit",
        "tool_input": {"file_path": file, "old_string": "a", "new_string": "b"},
    })
}

impl Ran {
    /// What it says of an edit that it allows, in the form of Claude Code and Codex.
    #[track_caller]
    pub fn warned(&self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        let output = &self.json()["hookSpecificOutput"];
        assert!(output.get("permissionDecision").is_none(), "{self:?}");
        assert_eq!(output["hookEventName"], "PreToolUse", "{self:?}");
        output["additionalContext"].as_str().unwrap_or_else(|| panic!("{self:?}")).into()
    }

    /// It said nothing and ended well.
    #[track_caller]
    pub fn is_silent(&self) {
        assert_eq!((self.code, &*self.out, &*self.err), (Some(0), "", ""), "{self:?}");
    }
}
