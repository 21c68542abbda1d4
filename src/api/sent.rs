//! The answer to a message that was sent, as it is written and as clients read it.

use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::MessageId;

/// Answer to `POST /send`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// One recipient.
    Direct {
        /// The message.
        message_id: MessageId,
        /// Nobody has the name now: it waits for the next who does.
        queued: bool,
        /// It is confirmed, as far as known.
        delivered: bool,
        /// Its frame was handed to a live push connection.
        pushed: bool,
        /// It does not wake its recipient now: why, until when, and how to change it.
        damped: Option<Box<str>>,
    },
    /// All present peers, or those of a group.
    Broadcast {
        /// The message; none if there was nobody.
        message_id: Option<MessageId>,
        /// To how many.
        recipients: u32,
        /// How many have confirmed it, as far as known.
        delivered: u32,
        /// To how many live push connections it was handed.
        pushed: u32,
        /// It does not wake all of them now: why, until when, and how to change it.
        damped: Option<Box<str>>,
    },
}

impl Sent {
    /// Why it does not wake its recipient now, until when, and how to change it.
    #[must_use]
    pub fn damped(&self) -> Option<&str> {
        let (Self::Direct { damped, .. } | Self::Broadcast { damped, .. }) = self;
        damped.as_deref()
    }
}

impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Direct { message_id, queued, delivered, pushed, damped: _ } => {
                map.serialize_entry("messageId", message_id)?;
                map.serialize_entry("handle", &message_id.handle())?;
                if *queued {
                    map.serialize_entry("queued", queued)?;
                }
                map.serialize_entry("delivered", delivered)?;
                map.serialize_entry("pushed", pushed)?;
            }
            Self::Broadcast { message_id, recipients, delivered, pushed, damped: _ } => {
                map.serialize_entry("messageIds", message_id.as_slice())?;
                if let Some(id) = message_id {
                    map.serialize_entry("handle", &id.handle())?;
                }
                map.serialize_entry("recipients", recipients)?;
                map.serialize_entry("delivered", delivered)?;
                map.serialize_entry("pushed", pushed)?;
            }
        }
        if let Some(reason) = self.damped() {
            map.serialize_entry("damped", &true)?;
            map.serialize_entry("dampedReason", reason)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number {
            Flag(bool),
            Count(u32),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Form {
            message_id: Option<MessageId>,
            message_ids: Option<Vec<MessageId>>,
            #[serde(default)]
            queued: bool,
            #[serde(default)]
            recipients: u32,
            delivered: Number,
            pushed: Number,
            damped_reason: Option<Box<str>>,
        }
        let form = Form::deserialize(deserializer)?;
        match (form.message_id, form.message_ids, form.delivered, form.pushed) {
            (Some(message_id), None, Number::Flag(delivered), Number::Flag(pushed)) => {
                let (queued, damped) = (form.queued, form.damped_reason);
                Ok(Self::Direct { message_id, queued, delivered, pushed, damped })
            }
            (None, Some(ids), Number::Count(delivered), Number::Count(pushed)) => {
                Ok(Self::Broadcast {
                    message_id: ids.first().copied(),
                    recipients: form.recipients,
                    delivered,
                    pushed,
                    damped: form.damped_reason,
                })
            }
            _ => Err(D::Error::custom("neither the answer to a message nor to a broadcast")),
        }
    }
}
