//! The shapes of MCP: versions, what is read of `params`, and results as each era has them.
//!
//! The server speaks the protocol of two eras. In the legacy one (revisions 2024-11-05 to 2025-11-25)
//! client and server introduce themselves in a handshake, `initialize`. In the modern one (2026-07-28)
//! there is none: each request has the version and the capabilities of its client in `params._meta`, and
//! each result says what kind of result it is.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::catalog;
use super::outbox::RpcError;
use super::waking::channel;
use crate::text::armour;
use crate::wire::jsonrpc::{INVALID_PARAMS, Id, UNSUPPORTED_PROTOCOL_VERSION};

/// The versions with a handshake, oldest first.
const LEGACY_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// The version for a client that asks for one without a handshake, or for an unknown one.
const LEGACY_LATEST: &str = "2025-11-25";
/// The versions without a handshake.
const MODERN_VERSIONS: [&str; 1] = ["2026-07-28"];

/// The keys of `_meta` in the modern era (MCP 2026-07-28, `RequestMetaObject` and its like).
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// How long a client may keep what cannot change while this process lives, ms.
const STATIC_TTL_MS: u64 = 3_600_000;

/// The era of the protocol in which a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// With a handshake.
    Legacy,
    /// Without.
    Modern,
}

/// The version that is agreed on in a handshake: the one asked for if it is known.
pub(super) fn negotiate(asked: &str) -> &'static str {
    LEGACY_VERSIONS.into_iter().find(|version| *version == asked).unwrap_or(LEGACY_LATEST)
}

/// Reads `params` of a method; if there are none, `{}`.
///
/// # Errors
/// -32602, if they are not what the method takes.
pub(super) fn read<T: DeserializeOwned>(params: Option<&RawValue>) -> Result<T, RpcError> {
    let text = params.map_or("{}", RawValue::get);
    serde_json::from_str(text)
        .map_err(|error| RpcError::new(INVALID_PARAMS, format!("Invalid params: {error}")))
}

/// Who the client says it is.
#[derive(Debug, Deserialize)]
pub(super) struct ClientInfo {
    pub(super) name: String,
}

/// The `params` of `initialize` that are used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Initialize {
    /// What the client would like to speak.
    pub(super) protocol_version: String,
    #[serde(default)]
    pub(super) capabilities: Value,
    #[serde(default)]
    pub(super) client_info: Option<ClientInfo>,
}

/// `_meta` of a modern request.
#[derive(Debug)]
pub(super) struct Meta {
    /// Who the client says it is.
    pub(super) client: Option<ClientInfo>,
}

impl Meta {
    /// Reads `_meta`: `Ok(None)` if it names no protocol version, as in the legacy era.
    ///
    /// # Errors
    /// -32602 if something that must be there is missing, -32022 for another version.
    pub(super) fn read(params: Option<&RawValue>) -> Result<Option<Self>, RpcError> {
        #[derive(Default, Deserialize)]
        struct Params<'a> {
            #[serde(borrow, default, rename = "_meta")]
            meta: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Members<'a> {
            #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
            version: Option<Cow<'a, str>>,
            #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
            capabilities: Option<&'a RawValue>,
            #[serde(default, rename = "io.modelcontextprotocol/clientInfo")]
            client: Option<Value>,
        }
        let invalid = |message: String| RpcError::new(INVALID_PARAMS, message);
        let text = params.map_or("{}", RawValue::get);
        if !text.starts_with('{') {
            return Err(invalid("Invalid params: they must be an object".to_owned()));
        }
        let params: Params<'_> = serde_json::from_str(text)
            .map_err(|error| invalid(format!("Invalid params: {error}")))?;
        let Some(meta) = params.meta else { return Ok(None) };
        if !meta.get().starts_with('{') {
            return Err(invalid("Invalid params: `_meta` must be an object".to_owned()));
        }
        let meta: Members<'_> = serde_json::from_str(meta.get())
            .map_err(|error| invalid(format!("Invalid params: `_meta`: {error}")))?;
        let Some(version) = meta.version else { return Ok(None) };
        if !MODERN_VERSIONS.contains(&&*version) {
            return Err(RpcError {
                code: UNSUPPORTED_PROTOCOL_VERSION,
                message: "Unsupported protocol version".to_owned(),
                data: Some(json!({"supported": MODERN_VERSIONS, "requested": version})),
            });
        }
        if !meta.capabilities.is_some_and(|raw| raw.get().starts_with('{')) {
            return Err(invalid(
                "Invalid params: `_meta` must have \
                 `io.modelcontextprotocol/clientCapabilities`, an object"
                    .to_owned(),
            ));
        }
        let client = meta.client.and_then(|client| serde_json::from_value(client).ok());
        Ok(Some(Self { client }))
    }
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// An empty object.
    Empty,
    /// `initialize`
    Initialize {
        /// The version agreed on.
        version: &'static str,
        /// Whether the client is told of the channel to its agent.
        has_channel: bool,
    },
    /// `server/discover`
    Discover,
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
    /// `prompts/get`
    Prompt {
        description: &'a str,
        /// What the user says.
        text: &'a str,
    },
    /// `tools/call`
    Tool {
        /// One block each.
        texts: &'a [String],
        /// The tool could not do what it was asked.
        is_error: bool,
    },
    /// `resources/read`
    Resource { uri: &'a str, text: &'a str },
    /// `subscriptions/listen`, at its end.
    Listen(&'a Id),
}

/// A result, in the form of its era.
#[derive(Clone, Copy, Debug)]
pub(super) struct MethodResult<'a> {
    pub(super) era: Era,
    pub(super) body: Body<'a>,
}

impl Serialize for MethodResult<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.body.write(&mut map)?;
        if self.era == Era::Modern {
            map.serialize_entry("resultType", "complete")?;
            if let Some((ttl_ms, scope)) = self.body.caching() {
                map.serialize_entry("ttlMs", &ttl_ms)?;
                map.serialize_entry("cacheScope", scope)?;
            }
            map.serialize_entry("_meta", &ResultMeta(self.body))?;
        }
        map.end()
    }
}

impl Body<'_> {
    /// How long a client may keep it, and whether others may see it (MCP 2026-07-28,
    /// `CacheableResult`).
    fn caching(&self) -> Option<(u64, &'static str)> {
        match self {
            Self::Discover | Self::Tools | Self::Prompts | Self::Resources | Self::Templates => {
                Some((STATIC_TTL_MS, "public"))
            }
            Self::Resource { .. } => Some((0, "private")),
            _ => None,
        }
    }

    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match *self {
            Self::Empty | Self::Listen(_) => Ok(()),
            Self::Initialize { version, has_channel } => {
                map.serialize_entry("protocolVersion", version)?;
                // Only here: in the modern era a client asks for logging with each request, and there
                // is nothing to log about a single one.
                let mut capabilities = json!({
                    "logging": {}, "prompts": {}, "resources": {"subscribe": true}, "tools": {},
                });
                if has_channel && let Value::Object(capabilities) = &mut capabilities {
                    let experimental = json!({channel::CAPABILITY: {}});
                    capabilities.insert("experimental".to_owned(), experimental);
                }
                map.serialize_entry("capabilities", &capabilities)?;
                map.serialize_entry("serverInfo", &ServerInfo)?;
                map.serialize_entry("instructions", catalog::INSTRUCTIONS)
            }
            Self::Discover => {
                map.serialize_entry("supportedVersions", &MODERN_VERSIONS)?;
                map.serialize_entry(
                    "capabilities",
                    &json!({"prompts": {}, "resources": {"subscribe": true}, "tools": {}}),
                )?;
                map.serialize_entry("instructions", catalog::INSTRUCTIONS)
            }
            Self::Tools => map.serialize_entry("tools", &*catalog::TOOLS),
            Self::Prompts => map.serialize_entry("prompts", &catalog::PROMPTS),
            Self::Resources => map.serialize_entry("resources", &*catalog::RESOURCES),
            Self::Templates => map.serialize_entry("resourceTemplates", &*catalog::TEMPLATES),
            Self::Prompt { description, text } => {
                map.serialize_entry("description", description)?;
                map.serialize_entry("messages", &[UserText(text)])
            }
            Self::Tool { texts, is_error } => {
                let blocks: Vec<TextBlock<'_>> = texts.iter().map(|text| TextBlock(text)).collect();
                map.serialize_entry("content", &blocks)?;
                if is_error {
                    map.serialize_entry("isError", &true)?;
                }
                Ok(())
            }
            Self::Resource { uri, text } => {
                map.serialize_entry("contents", &[ResourceText { uri, text }])
            }
        }
    }
}

/// Implements `Serialize` for an object with these members.
macro_rules! object {
    ($type:ty, $this:ident => { $($key:tt: $value:expr),* $(,)? }) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $this = self;
                let mut map = serializer.serialize_map(None)?;
                $(map.serialize_entry($key, &$value)?;)*
                map.end()
            }
        }
    };
}

/// Text in which nothing that others wrote can end its quotation marks.
struct TextBlock<'a>(&'a str);
object!(TextBlock<'_>, this => {"type": "text", "text": armour(this.0)});

struct UserText<'a>(&'a str);
object!(UserText<'_>, this => {"role": "user", "content": TextBlock(this.0)});

struct ResourceText<'a> {
    uri: &'a str,
    text: &'a str,
}
object!(ResourceText<'_>, this => {
    "uri": this.uri, "mimeType": "application/json", "text": armour(this.text),
});

struct ServerInfo;
object!(ServerInfo, _this => {
    "name": env!("CARGO_PKG_NAME"), "title": "SLM Mesh", "version": env!("CARGO_PKG_VERSION"),
});

struct ResultMeta<'a>(Body<'a>);

impl Serialize for ResultMeta<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(SERVER_INFO, &ServerInfo)?;
        if let Body::Listen(id) = self.0 {
            map.serialize_entry(SUBSCRIPTION_ID, id)?;
        }
        map.end()
    }
}

/// `_meta` of what is sent for a subscription.
pub(super) struct SubscriptionMeta<'a>(pub(super) &'a Id);
object!(SubscriptionMeta<'_>, this => {SUBSCRIPTION_ID: this.0});
