//! What the client wants to be told of unasked: changes of resources, in the way of either era, and
//! log messages.

use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::outbox::{Outbox, RpcError};
use super::protocol::{Body, Era, Outcome, SubscriptionMeta, read};
use super::resource::{Topic, Topics};
use crate::limits::RPC_LISTENS_MAX;
use crate::wire::jsonrpc::{INTERNAL_ERROR, INVALID_PARAMS, Id};

/// How severe a log message is: those of RFC 5424 (MCP 2025-11-25, Logging), least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

/// An open `subscriptions/listen` (MCP 2026-07-28, Subscriptions).
#[derive(Debug)]
struct Listen {
    to: Id,
    topics: Topics,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Of the legacy era.
    subscribed: Topics,
    listens: Vec<Listen>,
    /// What has changed and could not be told, since the client does not read.
    untold: Topics,
    /// Nothing is logged to a client that did not ask for it.
    level: Option<Level>,
}

impl Subscriptions {
    /// `resources/subscribe`
    pub(super) fn subscribe(&mut self, topic: Topic) {
        self.subscribed.insert(topic);
    }

    /// `resources/unsubscribe`
    pub(super) fn unsubscribe(&mut self, topic: Topic) {
        self.subscribed.remove(topic);
    }

    /// `logging/setLevel`
    pub(super) fn set_level(&mut self, params: Option<&RawValue>) -> Result<(), RpcError> {
        #[derive(Deserialize)]
        struct SetLevel {
            level: Level,
        }
        self.level = Some(read::<SetLevel>(params)?.level);
        Ok(())
    }

    /// `subscriptions/listen`: says what it will tell of, and keeps the request open.
    pub(super) fn listen(
        &mut self,
        to: &Id,
        params: Option<&RawValue>,
        out: &mut Outbox,
    ) -> Result<(), RpcError> {
        #[derive(Deserialize)]
        struct Params {
            notifications: Filter,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Filter {
            #[serde(default)]
            resource_subscriptions: Vec<String>,
        }
        let Params { notifications } = read(params)?;
        if self.listens.len() >= RPC_LISTENS_MAX {
            return Err(RpcError::new(
                INTERNAL_ERROR,
                format!("There are {RPC_LISTENS_MAX} subscriptions already; cancel one first"),
            ));
        }
        if self.listens.iter().any(|listen| listen.to == *to) {
            return Err(RpcError::new(INVALID_PARAMS, "This id has a subscription already"));
        }
        let mut topics = Topics::default();
        for uri in &notifications.resource_subscriptions {
            if let Some(topic) = Topic::parse(uri) {
                topics.insert(topic);
            }
        }
        // The acknowledgement comes first (SubscriptionsAcknowledgedNotification).
        out.notify("notifications/subscriptions/acknowledged", &Acknowledged { id: to, topics });
        self.listens.push(Listen { to: to.clone(), topics });
        Ok(())
    }

    /// Ends a `subscriptions/listen` that was cancelled; gives whether there was one.
    pub(super) fn end(&mut self, id: &Id) -> bool {
        let before = self.listens.len();
        self.listens.retain(|listen| listen.to != *id);
        before != self.listens.len()
    }

    /// Ends them all: the process is about to.
    pub(super) fn end_all(&mut self, out: &mut Outbox) {
        for listen in self.listens.drain(..) {
            let body = Body::Listen(&listen.to);
            out.respond(&listen.to, Ok(&Outcome { era: Era::Modern, body }), Vec::new());
        }
    }

    /// A resource has changed. A client that does not read is told once, when it reads again.
    pub(super) fn changed(&mut self, topic: Topic, out: &mut Outbox) {
        if out.is_congested() {
            self.untold.insert(topic);
            return;
        }
        let uri = &topic.uri();
        let method = "notifications/resources/updated";
        if self.subscribed.contains(topic) {
            out.notify(method, &Updated { uri, id: None });
        }
        for listen in self.listens.iter().filter(|listen| listen.topics.contains(topic)) {
            out.notify(method, &Updated { uri, id: Some(&listen.to) });
        }
    }

    /// Tells what could not be told before.
    pub(super) fn catch_up(&mut self, out: &mut Outbox) {
        if !self.untold.is_empty() && !out.is_congested() {
            for topic in std::mem::take(&mut self.untold).iter() {
                self.changed(topic, out);
            }
        }
    }

    /// Logs a message to a client that asked for such; one that does not read misses it.
    pub(super) fn log(&self, level: Level, data: &str, out: &mut Outbox) {
        if self.level.is_some_and(|least| level >= least) && !out.is_congested() {
            out.notify("notifications/message", &Logged { level, data });
        }
    }
}

struct Updated<'a> {
    uri: &'a str,
    id: Option<&'a Id>,
}

impl Serialize for Updated<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("uri", self.uri)?;
        if let Some(id) = self.id {
            map.serialize_entry("_meta", &SubscriptionMeta(id))?;
        }
        map.end()
    }
}

struct Acknowledged<'a> {
    id: &'a Id,
    topics: Topics,
}

impl Serialize for Acknowledged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Honoured(Topics);
        impl Serialize for Honoured {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                if !self.0.is_empty() {
                    let uris: Vec<String> = self.0.iter().map(Topic::uri).collect();
                    map.serialize_entry("resourceSubscriptions", &uris)?;
                }
                map.end()
            }
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("_meta", &SubscriptionMeta(self.id))?;
        map.serialize_entry("notifications", &Honoured(self.topics))?;
        map.end()
    }
}

struct Logged<'a> {
    level: Level,
    data: &'a str,
}

impl Serialize for Logged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("level", self.level.as_str())?;
        map.serialize_entry("logger", env!("CARGO_PKG_NAME"))?;
        map.serialize_entry("data", self.data)?;
        map.end()
    }
}
