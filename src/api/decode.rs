//! Decoding requests: their fields, and what no field can say by itself, checked as far as that is
//! possible without knowing the mesh.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::declare::{Object, Part, Rule};
use super::endpoint::Endpoint;
use super::fields::{Fields, Flag, Json, Kind, List, Word, check_json, text};
use super::kinds::{NAMESPACE, is_custom_type};
use super::refusal::{Code, Refusal};
use super::request::{GitPlace, LockFiles, Place, Request, Scope};
use crate::limits::{LOCK_FILES_MAX, PAYLOAD_BYTES_MAX};
use crate::model::MessageKind;
use crate::names;

type Result<T> = std::result::Result<T, Refusal>;

impl Request {
    /// Decodes what was sent to `endpoint`.
    ///
    /// # Errors
    /// `invalid_json`, or `invalid_request` naming the field and what was expected.
    pub fn decode(endpoint: Endpoint, body: &[u8]) -> Result<Self> {
        match endpoint {
            Endpoint::Health => return Ok(Self::Health),
            Endpoint::Status => return Ok(Self::Status),
            _ => {}
        }
        let mut fields = Fields::parse(body)?;
        let request = Self::from_fields(endpoint, &mut fields);
        // What was read is JSON. What was not, or is taken as it stands, may only look like it.
        let is_read = !fields.are_left() && !matches!(request, Err(_) | Ok(Self::Emit { .. }));
        if !is_read && !body.is_empty() {
            check_json(body)?;
        }
        request
    }

    /// The request to `endpoint` that these fields are.
    ///
    /// # Errors
    /// `invalid_request` naming the field and what was expected.
    pub(crate) fn from_fields(endpoint: Endpoint, fields: &mut Fields<'_>) -> Result<Self> {
        let action = Action(endpoint);
        let action = match action.all().next() {
            Some(_) => Some(fields.need("action", &action)?),
            None => None,
        };
        match (endpoint, action) {
            (Endpoint::Messages, _) => check_forms(fields)?,
            (Endpoint::Lock, Some("lock")) => check_files(fields, true)?,
            (Endpoint::Lock, Some("query")) => check_files(fields, false)?,
            _ => {}
        }
        let request = Self::read(endpoint, action, fields)?;
        request.check()?;
        Ok(request)
    }

    /// What no field can say by itself.
    fn check(&self) -> Result<()> {
        let refuse = |message: &str| Err(Refusal::new(Code::InvalidRequest, message));
        match self {
            Self::Send(sent) => {
                if let Some(topic) = sent.to_peer.strip_prefix(names::TOPIC)
                    && let Err(error) = names::check_form(topic)
                {
                    return refuse(&format!("`toPeer`: a topic is `#` and a name: {error}"));
                }
                let is_json =
                    || serde_json::from_str::<serde::de::IgnoredAny>(&sent.payload).is_ok();
                if sent.kind == MessageKind::Json && !is_json() {
                    return Err(Refusal::field("payload", "valid JSON when `type` is json"));
                }
                Ok(())
            }
            Self::History(history) if !history.thread.is_empty() && history.after.is_none() => {
                refuse("`thread` needs `after`: answers are found after what they answer")
            }
            Self::ListState { namespace: None, prefix: Some(_), .. } => {
                refuse("`prefix` is for one namespace: leave out `allNamespaces`")
            }
            Self::ListState { namespace: Some(_), after: Some(_), .. } => {
                Err(EntryAfter::refusal())
            }
            Self::Lock(lock) if lock.steal => {
                if lock.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
                    return refuse(
                        "`reason` is missing: whoever loses the lock is told why it was taken",
                    );
                }
                if lock.wait > 0 {
                    return refuse("`steal` takes the lock at once: leave out `wait`, or `steal`");
                }
                Ok(())
            }
            Self::LockFiles(LockFiles { paths, .. }) | Self::QueryFiles { paths, .. }
                if paths.file_paths.is_empty() =>
            {
                let expected = format!("a list of 1 to {LOCK_FILES_MAX} paths");
                Err(Refusal::field("filePaths", &expected))
            }
            Self::Subscribe { types, .. } if types.is_empty() => Err(Refusal::field(
                "types",
                "a list of at least one event type, `prefix.*`, `*` or `#topic`",
            )),
            Self::Emit { kind, .. } if !is_custom_type(kind) => Err(Refusal::field(
                "type",
                "a name of [A-Za-z0-9._-] that is none of the mesh's own types (peer_joined and the \
                 like, and whatever begins with `mesh.`), such as build.finished",
            )),
            _ => Ok(()),
        }
    }
}

/// An action of an endpoint that has several.
pub(super) struct Action(pub(super) Endpoint);

impl Action {
    fn all(&self) -> impl Iterator<Item = &'static str> {
        Request::ACTIONS.iter().filter(|(of, _)| *of == self.0).map(|(_, action)| *action)
    }
}

impl Kind for Action {
    type Value = &'static str;

    fn parse(&self, raw: &RawValue) -> Option<&'static str> {
        let word = text(raw)?;
        self.all().find(|action| *action == word)
    }

    fn expected(&self) -> String {
        let mut all: Vec<_> = self.all().collect();
        all.dedup();
        format!("one of {}", all.join(", "))
    }
}

/// Requests that are told apart by a field have one of these fields.
fn check_forms(fields: &Fields<'_>) -> Result<()> {
    let forms = ["markRead", "markNotified", "markSent", "claim", "renew", "release"];
    if forms.iter().filter(|form| fields.has(form)).count() > 1 {
        let message = "`claim`, `renew`, `release`, `markSent`, `markNotified` and `markRead` are \
                       requests of their own: send one";
        return Err(Refusal::new(Code::InvalidRequest, message));
    }
    Ok(())
}

/// `filePaths` goes with no field that is for one path.
fn check_files(fields: &Fields<'_>, takes: bool) -> Result<()> {
    if !fields.has("filePaths") {
        return Ok(());
    }
    let of_one = ["steal", "wait", "place"].into_iter().find(|name| takes && fields.has(name));
    let message = match of_one {
        Some(other) => format!(
            "`{other}` is for one lock: leave it out, or send one `filePath` instead of `filePaths`"
        ),
        None if fields.has("filePath") => {
            "`filePath` and `filePaths` are two ways of saying it: send one".to_owned()
        }
        None => return Ok(()),
    };
    Err(Refusal::new(Code::InvalidRequest, message))
}

impl Part for Scope {
    fn read(fields: &mut Fields<'_>) -> Result<Self> {
        const SCOPES: [&str; 4] = ["machine", "mesh", "directory", "repo"];
        const SCOPE: Word<&str> = Word {
            expected: "machine, mesh, directory or repo",
            parse: |word| SCOPES.into_iter().find(|scope| *scope == word),
        };
        let refusal = |message: &str| Refusal::new(Code::InvalidRequest, message);
        let Place { project_path, git } = Place::read(fields)?;
        Ok(match fields.take("scope", &SCOPE)? {
            Some("directory") => Self::Directory {
                project_path: project_path
                    .ok_or_else(|| refusal("scope `directory` needs `projectPath`"))?,
            },
            Some("repo") if git == GitPlace::default() => {
                return Err(refusal("scope `repo` needs `gitRoot`, `repoId` or `repoHash`"));
            }
            Some("repo") => Self::Repo(git),
            Some("mesh") => Self::Mesh,
            _ => Self::Machine,
        })
    }

    fn write(&self, object: &mut Object) {
        match self {
            Self::Machine => object.add("scope", "machine"),
            Self::Mesh => object.add("scope", "mesh"),
            Self::Directory { project_path } => {
                object.add("scope", "directory");
                object.add("projectPath", project_path);
            }
            Self::Repo(git) => {
                object.add("scope", "repo");
                git.write(object);
            }
        }
    }
}

/// A namespace, or none with `allNamespaces`.
pub(super) struct OrAllNamespaces;

impl Rule<Option<Box<str>>> for OrAllNamespaces {
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Result<Option<Box<str>>> {
        let namespace = NAMESPACE.read(fields, name)?;
        let all = fields.take("allNamespaces", &Flag)?.unwrap_or_default();
        Ok((!all).then_some(namespace))
    }

    fn write(&self, namespace: &Option<Box<str>>, name: &str, object: &mut Object) {
        match namespace {
            Some(namespace) => object.add(name, namespace),
            None => object.add("allNamespaces", &true),
        }
    }
}

/// A namespace and a key.
pub(super) struct EntryAfter;

impl EntryAfter {
    fn refusal() -> Refusal {
        let message = "`after` is a namespace and a key, with `allNamespaces`";
        Refusal::new(Code::InvalidRequest, message)
    }
}

impl Rule<Option<[Box<str>; 2]>> for EntryAfter {
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Result<Option<[Box<str>; 2]>> {
        const TEXTS: List<Box<str>> = List {
            max: 2,
            items: "texts: a namespace and a key",
            parse: |item| text(item).map(Into::into),
        };
        let after = fields.take(name, &TEXTS)?.map(TryInto::try_into).transpose();
        after.map_err(|_| Self::refusal())
    }

    fn write(&self, after: &Option<[Box<str>; 2]>, name: &str, object: &mut Object) {
        if let Some(after) = after {
            object.add(name, after);
        }
    }
}

/// Any JSON, kept as text; `null` by default.
pub(super) struct Document;

impl Rule<Box<str>> for Document {
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Result<Box<str>> {
        let json = fields.take(name, &Json { bytes_max: PAYLOAD_BYTES_MAX })?;
        Ok(json.unwrap_or_else(|| "null".into()))
    }

    fn write(&self, json: &Box<str>, name: &str, object: &mut Object) {
        struct Raw<'a>(&'a str);
        impl Serialize for Raw<'_> {
            fn serialize<S: Serializer>(
                &self,
                serializer: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                let raw: &RawValue =
                    serde_json::from_str(self.0).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
        }
        object.add(name, &Raw(json));
    }
}

#[cfg(test)]
mod tests;
