//! What the client wants to be told of unasked: changes of resources, in the way of either era, and
//! log messages.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::outbox::{Outbox, RpcError};
use super::protocol::{Body, Era, MethodResult, SubscriptionMeta, read};
use super::resource::{Topic, Topics};
use crate::limits::RPC_LISTENS_MAX;
use crate::wire::jsonrpc::{INTERNAL_ERROR, INVALID_PARAMS, Id};

/// How severe a log message is: those of RFC 5424 (MCP 2025-11-25, Logging), least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
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
    level: Option<LogLevel>,
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
            level: LogLevel,
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
        let notifications =
            Filter { resource_subscriptions: topics.iter().map(Topic::uri).collect() };
        let acknowledged = Acknowledged { meta: SubscriptionMeta(to), notifications };
        out.notify("notifications/subscriptions/acknowledged", &acknowledged);
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
            out.respond(&listen.to, &MethodResult { era: Era::Modern, body }, Vec::new());
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
            out.notify(method, &Updated { uri, meta: None });
        }
        for listen in self.listens.iter().filter(|listen| listen.topics.contains(topic)) {
            out.notify(method, &Updated { uri, meta: Some(SubscriptionMeta(&listen.to)) });
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
    pub(super) fn log(&self, level: LogLevel, data: &str, out: &mut Outbox) {
        if self.level.is_some_and(|least| level >= least) && !out.is_congested() {
            let logger = env!("CARGO_PKG_NAME");
            out.notify("notifications/message", &Logged { level, logger, data });
        }
    }
}

/// Changes of which resources are told.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resource_subscriptions: Vec<String>,
}

#[derive(Serialize)]
struct Updated<'a> {
    uri: &'a str,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<SubscriptionMeta<'a>>,
}

#[derive(Serialize)]
struct Acknowledged<'a> {
    #[serde(rename = "_meta")]
    meta: SubscriptionMeta<'a>,
    notifications: Filter,
}

#[derive(Serialize)]
struct Logged<'a> {
    level: LogLevel,
    logger: &'a str,
    data: &'a str,
}
