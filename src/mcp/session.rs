//! The protocol with one client: which message asks for what, in both eras.
//!
//! Lines go in; what the protocol alone can answer goes to the [`Outbox`] at once, and what needs
//! the mesh comes out as [`ClientEvent`]s. No I/O, no clock.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::arguments::Tool;
use super::catalog::Prompt;
use super::outbox::{Carried, Outbox, RpcError};
use super::protocol::{self, Body, ClientInfo, Era, Initialize, Meta, MethodResult, read};
use super::resource::{Resource, Topic};
use super::roots;
use super::subscriptions::Subscriptions;
use super::waking::plan::codex_thread;
use crate::agents::{self, Agent};
use crate::model::Way;
use crate::wire::jsonrpc::{
    self, INVALID_PARAMS, Id, METHOD_NOT_FOUND, Message, RESOURCE_NOT_FOUND,
};

/// Where the answer to a request goes, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnAddress {
    /// The id of the request.
    pub(super) to: Id,
    /// The era that decides the form.
    pub(super) era: Era,
}

impl ReturnAddress {
    /// Answers the request. `messages` are those in the answer; returns whether it was queued.
    pub(super) fn answer(
        &self,
        body: Body<'_>,
        messages: impl Into<Carried>,
        out: &mut Outbox,
    ) -> bool {
        out.respond(&self.to, &MethodResult { era: self.era, body }, messages)
    }
}

/// What the client wants that the protocol alone cannot do.
#[derive(Debug)]
pub(super) enum ClientEvent {
    /// Call a tool.
    Call {
        asked: ReturnAddress,
        tool: Tool,
        /// Its arguments, an object.
        arguments: Option<Box<RawValue>>,
    },
    /// Read a resource.
    Read {
        asked: ReturnAddress,
        resource: Resource,
        /// Its URI, as it was asked for.
        uri: String,
    },
    /// Forget a call or read, which is not to be answered any more.
    Cancel(Id),
    /// The client will use this server: it has ended the handshake, or listed the tools.
    Settled,
    /// The client has said where its project is; none if it has none.
    Root(Option<PathBuf>),
    /// The client has said which thread of Codex a call comes from.
    Identify(Box<str>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct ClientSession {
    /// The agent that gave this process a socket by which it can be told.
    inbox_socket_of: Option<&'static Agent>,
    /// The version agreed on in a handshake.
    version: Option<&'static str>,
    client: Option<String>,
    offers_roots: bool,
    /// The client was told that there is a channel.
    has_channel: bool,
    /// Our request for the client's roots, until it is answered.
    asking_roots: Option<Id>,
    questions: u64,
    pub(super) subscriptions: Subscriptions,
    /// What lines have asked for and was not taken yet.
    pub(super) events: VecDeque<ClientEvent>,
}

impl ClientSession {
    pub(super) fn new(inbox_socket_of: Option<&'static Agent>) -> Self {
        Self {
            inbox_socket_of,
            version: None,
            client: None,
            offers_roots: false,
            has_channel: false,
            asking_roots: None,
            questions: 0,
            subscriptions: Subscriptions::default(),
            events: VecDeque::new(),
        }
    }

    /// What the client calls itself.
    pub(super) fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Whether the client was told that there is a channel to its agent.
    pub(super) fn has_channel(&self) -> bool {
        self.has_channel
    }

    /// Whether the client was asked for its roots and has not answered.
    pub(super) fn awaits_roots(&self) -> bool {
        self.asking_roots.is_some()
    }

    /// Takes a line.
    pub(super) fn handle_line(&mut self, line: &[u8], out: &mut Outbox) {
        match jsonrpc::parse(line) {
            Message::Request { id, method, params } => {
                if let Err(error) = self.handle_request(&id, &method, params, out) {
                    out.fail(&id, &error);
                }
            }
            Message::Notification { method, params } => {
                self.handle_notification(&method, params, out);
            }
            Message::Response { id, outcome } => {
                if id.is_some() && id == self.asking_roots {
                    self.asking_roots = None;
                    // An error counts as no roots.
                    let root = outcome.ok().and_then(roots::first_directory);
                    self.events.push_back(ClientEvent::Root(root));
                }
            }
            Message::Invalid { id, fault } => out.respond_fault(id.as_ref(), fault),
        }
    }

    /// Which era a request is of.
    fn era(&mut self, method: &str, params: Option<&RawValue>) -> Result<Era, RpcError> {
        if method == "initialize" {
            return Ok(Era::Legacy);
        }
        if let Some(Meta { client }) = Meta::read(params)? {
            self.meet(client);
            return Ok(Era::Modern);
        }
        // A ping needs no handshake (MCP 2025-11-25, Lifecycle, Initialization).
        if self.version.is_some() || method == "ping" {
            return Ok(Era::Legacy);
        }
        Err(RpcError::new(
            INVALID_PARAMS,
            "Invalid params: `_meta` must have `io.modelcontextprotocol/protocolVersion`, unless \
             the session begins with `initialize`",
        ))
    }

    fn meet(&mut self, client: Option<ClientInfo>) {
        if let Some(client) = client {
            self.client = Some(client.name);
        }
    }

    fn handle_request(
        &mut self,
        to: &Id,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Outbox,
    ) -> Result<(), RpcError> {
        let era = self.era(method, params)?;
        let asked = ReturnAddress { to: to.clone(), era };
        let listed = |body| refuse_cursor(params).map(|()| body);
        let text;
        let body = match (method, era) {
            ("initialize", _) => {
                let params: Initialize = read(params)?;
                let version = protocol::negotiate(&params.protocol_version);
                self.version = Some(version);
                self.offers_roots = params.capabilities.get("roots").is_some();
                self.meet(params.client_info);
                self.has_channel = self.channel_agent().is_some();
                Body::Initialize { version, has_channel: self.has_channel }
            }
            ("server/discover", Era::Modern) if !self.needs_legacy_era() => Body::Discover,
            ("ping", Era::Legacy) => Body::Empty,
            ("tools/list", _) => {
                let tools = listed(Body::Tools)?;
                if era == Era::Modern {
                    self.events.push_back(ClientEvent::Settled);
                }
                tools
            }
            ("tools/call", _) => {
                let call = tool_call(asked, params)?;
                self.events.extend(thread(params).map(ClientEvent::Identify));
                self.events.push_back(call);
                return Ok(());
            }
            ("prompts/list", _) => listed(Body::Prompts)?,
            ("prompts/get", _) => {
                let description;
                (description, text) = prompt(params)?;
                Body::Prompt { description, text: &text }
            }
            ("resources/list", _) => listed(Body::Resources)?,
            ("resources/templates/list", _) => listed(Body::Templates)?,
            ("resources/read", _) => {
                let uri = uri(params)?;
                let resource = Resource::parse(&uri).ok_or_else(|| no_such_resource(era, &uri))?;
                self.events.push_back(ClientEvent::Read { asked, resource, uri });
                return Ok(());
            }
            ("resources/subscribe", Era::Legacy) => {
                let uri = uri(params)?;
                let topic = Topic::parse(&uri).ok_or_else(|| no_such_resource(era, &uri))?;
                self.subscriptions.subscribed.insert(topic);
                Body::Empty
            }
            ("resources/unsubscribe", Era::Legacy) => {
                if let Some(topic) = Topic::parse(&uri(params)?) {
                    self.subscriptions.subscribed.remove(&topic);
                }
                Body::Empty
            }
            ("subscriptions/listen", Era::Modern) => {
                return self.subscriptions.listen(to, params, out);
            }
            ("logging/setLevel", Era::Legacy) => {
                self.subscriptions.set_level(params)?;
                Body::Empty
            }
            _ => return Err(no_such_method(method)),
        };
        asked.answer(body, Vec::new(), out);
        Ok(())
    }

    /// Whether nothing but the channel reaches the agent, which only exists in the legacy era.
    fn needs_legacy_era(&self) -> bool {
        self.channel_agent().is_some_and(|agent| self.inbox_socket_of != Some(agent))
    }

    /// The agent, if it is one with channels.
    fn channel_agent(&self) -> Option<&'static Agent> {
        agents::of_client(self.client()?).filter(|agent| agent.has_way(Way::Channel))
    }

    fn handle_notification(&mut self, method: &str, params: Option<&RawValue>, out: &mut Outbox) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Cancelled {
            request_id: Id,
        }
        match method {
            "notifications/initialized" => {
                self.ask_roots(out);
                self.events.push_back(ClientEvent::Settled);
            }
            "notifications/roots/list_changed" => self.ask_roots(out),
            "notifications/cancelled" => {
                if let Ok(Cancelled { request_id }) = read(params)
                    && !self.subscriptions.end(&request_id)
                {
                    self.events.push_back(ClientEvent::Cancel(request_id));
                }
            }
            // Progress of our own requests, for example, is of no use here.
            _ => {}
        }
    }

    /// Asks the client where its project is, if it can tell (MCP 2025-11-25, Roots).
    fn ask_roots(&mut self, out: &mut Outbox) {
        if self.offers_roots && self.version.is_some() {
            self.questions += 1;
            let id = Id::from(self.questions);
            out.request(&id, "roots/list");
            self.asking_roots = Some(id);
        }
    }
}

fn no_such_method(method: &str) -> RpcError {
    RpcError::new(METHOD_NOT_FOUND, format!("Method not found: {}", shown(method)))
}

fn no_such_resource(era: Era, uri: &str) -> RpcError {
    let code = match era {
        Era::Legacy => RESOURCE_NOT_FOUND,
        Era::Modern => INVALID_PARAMS,
    };
    RpcError::new(code, format!("Resource not found: {}", shown(uri)))
}

/// Text from the client, short enough for an error.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    text.chars().take(CHARS_MAX).collect()
}

/// All lists are given in one piece, so no cursor is valid.
fn refuse_cursor(params: Option<&RawValue>) -> Result<(), RpcError> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        cursor: Option<serde::de::IgnoredAny>,
    }
    match read::<Page>(params)?.cursor {
        None => Ok(()),
        Some(_) => Err(RpcError::new(INVALID_PARAMS, "Invalid params: no such cursor")),
    }
}

fn uri(params: Option<&RawValue>) -> Result<String, RpcError> {
    #[derive(Deserialize)]
    struct Uri {
        uri: String,
    }
    Ok(read::<Uri>(params)?.uri)
}

fn tool_call(asked: ReturnAddress, params: Option<&RawValue>) -> Result<ClientEvent, RpcError> {
    #[derive(Deserialize)]
    struct Call {
        name: String,
        #[serde(default)]
        arguments: Option<Box<RawValue>>,
    }
    let Call { name, arguments } = read(params)?;
    let tool = Tool::find(&name)
        .ok_or_else(|| RpcError::new(INVALID_PARAMS, format!("Unknown tool: {}", shown(&name))))?;
    if arguments.as_ref().is_some_and(|arguments| !arguments.get().starts_with('{')) {
        return Err(RpcError::new(INVALID_PARAMS, "Invalid params: `arguments` must be an object"));
    }
    Ok(ClientEvent::Call { asked, tool, arguments })
}

/// The thread of Codex that `_meta` of a call names, outside of MCP. Other values are no error.
fn thread(params: Option<&RawValue>) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Call {
        #[serde(rename = "_meta")]
        meta: serde_json::Value,
    }
    let Call { meta } = read(params).ok()?;
    codex_thread(&meta)
}

fn prompt(params: Option<&RawValue>) -> Result<(&'static str, String), RpcError> {
    #[derive(Deserialize)]
    struct Get {
        name: String,
        #[serde(default)]
        arguments: Option<std::collections::HashMap<String, String>>,
    }
    let Get { name, arguments } = read(params)?;
    let prompt = Prompt::find(&name).ok_or_else(|| {
        RpcError::new(INVALID_PARAMS, format!("Unknown prompt: {}", shown(&name)))
    })?;
    let arguments = arguments.unwrap_or_default();
    let text = prompt.text(|name| arguments.get(name).map(String::as_str));
    Ok((prompt.description(), text))
}

#[cfg(test)]
#[path = "tests/session.rs"]
mod tests;
