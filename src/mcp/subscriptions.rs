//! The notifications that the client asked for: changes of resources, as each era has them, and log
//! messages.

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
    /// Those of `resources/subscribe`, in the legacy era.
    pub(super) subscribed: Topics,
    listens: Vec<Listen>,
    /// What has changed and was not announced, as the client does not read.
    untold: Topics,
    /// The least severe messages that are logged to the client; none are before it has asked for them.
    level: Option<LogLevel>,
}

impl Subscriptions {
    /// `logging/setLevel`
    pub(super) fn set_level(&mut self, params: Option<&RawValue>) -> Result<(), RpcError> {
        #[derive(Deserialize)]
        struct SetLevel {
            level: LogLevel,
        }
        self.level = Some(read::<SetLevel>(params)?.level);
        Ok(())
    }

    /// `subscriptions/listen`: confirms what will be announced, and keeps the request open.
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
        let uris = notifications.resource_subscriptions.iter();
        let topics: Topics = uris.filter_map(|uri| Topic::parse(uri)).collect();
        // The acknowledgement comes first (SubscriptionsAcknowledgedNotification).
        let notifications =
            Filter { resource_subscriptions: topics.iter().copied().map(Topic::uri).collect() };
        let acknowledged = Acknowledged { meta: SubscriptionMeta(to), notifications };
        out.notify("notifications/subscriptions/acknowledged", &acknowledged);
        self.listens.push(Listen { to: to.clone(), topics });
        Ok(())
    }

    /// Ends a `subscriptions/listen` that was cancelled; returns whether there was one.
    pub(super) fn end(&mut self, id: &Id) -> bool {
        let before = self.listens.len();
        self.listens.retain(|listen| listen.to != *id);
        before != self.listens.len()
    }

    /// Ends all `subscriptions/listen`, as the process is about to end.
    pub(super) fn end_all(&mut self, out: &mut Outbox) {
        for listen in self.listens.drain(..) {
            let body = Body::Listen(&listen.to);
            out.respond(&listen.to, &MethodResult { era: Era::Modern, body }, Vec::new());
        }
    }

    /// A resource has changed. A client that does not read is told once it reads again.
    pub(super) fn changed(&mut self, topic: Topic, out: &mut Outbox) {
        if out.is_congested() {
            self.untold.insert(topic);
            return;
        }
        let uri = &topic.uri();
        let method = "notifications/resources/updated";
        if self.subscribed.contains(&topic) {
            out.notify(method, &Updated { uri, meta: None });
        }
        for listen in self.listens.iter().filter(|listen| listen.topics.contains(&topic)) {
            out.notify(method, &Updated { uri, meta: Some(SubscriptionMeta(&listen.to)) });
        }
    }

    /// Announces what could not be announced before.
    pub(super) fn catch_up(&mut self, out: &mut Outbox) {
        if !self.untold.is_empty() && !out.is_congested() {
            for topic in std::mem::take(&mut self.untold) {
                self.changed(topic, out);
            }
        }
    }

    /// Logs a message to a client that asked for messages of this level. One that does not read misses it.
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
