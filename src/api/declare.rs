//! How requests are declared: each field once, with its name on the wire and the rule by which brokers
//! read it and clients write it.

use serde::Serialize;

use super::fields::{Fields, Kind};
use super::refusal::Refusal;

type Result<T> = std::result::Result<T, Refusal>;

/// A JSON object that is being written.
pub(crate) struct Object(Vec<u8>);

impl Object {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(128))
    }

    /// Adds a member; `name` has nothing to be escaped.
    pub(super) fn add(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        // Plain data into memory: cannot fail. If it did, this would be no JSON, and refused.
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    /// What was written.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(if self.0.is_empty() { b"{}" } else { b"}" });
        self.0
    }
}

/// How a field is read, and when it is written. The rule of a field that may be left out is its
/// [`Kind`].
pub(super) trait Rule<T> {
    /// # Errors
    /// `invalid_request`: which field, and what was expected.
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Result<T>;

    fn write(&self, value: &T, name: &str, object: &mut Object);
}

impl<K: Kind> Rule<Option<K::Value>> for K {
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Result<Option<K::Value>> {
        fields.take(name, self)
    }

    fn write(&self, value: &Option<K::Value>, name: &str, object: &mut Object) {
        if let Some(value) = value {
            object.add(name, value);
        }
    }
}

/// A field that has to be there.
pub(super) struct Need<K>(pub(super) K);

impl<K: Kind> Rule<K::Value> for Need<K> {
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Result<K::Value> {
        fields.need(name, &self.0)
    }

    fn write(&self, value: &K::Value, name: &str, object: &mut Object) {
        object.add(name, value);
    }
}

/// A field that has this value when it is left out, and is always written.
pub(super) struct Or<K: Kind>(pub(super) K, pub(super) fn() -> K::Value);

impl<K: Kind> Rule<K::Value> for Or<K> {
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Result<K::Value> {
        Ok(fields.take(name, &self.0)?.unwrap_or_else(self.1))
    }

    fn write(&self, value: &K::Value, name: &str, object: &mut Object) {
        object.add(name, value);
    }
}

/// A field that is left out when it is `false`, 0 or empty.
pub(super) struct IfAny<K>(pub(super) K);

impl<K: Kind<Value: Default + PartialEq>> Rule<K::Value> for IfAny<K> {
    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Result<K::Value> {
        Ok(fields.take(name, &self.0)?.unwrap_or_default())
    }

    fn write(&self, value: &K::Value, name: &str, object: &mut Object) {
        if *value != K::Value::default() {
            object.add(name, value);
        }
    }
}

/// A field that is never on the wire.
pub(super) struct Unsaid;

impl<T: Default> Rule<T> for Unsaid {
    fn read(&self, _: &mut Fields<'_>, _: &str) -> Result<T> {
        Ok(T::default())
    }

    fn write(&self, _: &T, _: &str, _: &mut Object) {}
}

/// Fields that stand together in requests.
pub(crate) trait Part: Sized {
    /// # Errors
    /// `invalid_request`: which field, and what was expected.
    fn read(fields: &mut Fields<'_>) -> Result<Self>;

    fn write(&self, object: &mut Object);
}

impl<P: Part> Part for Box<P> {
    fn read(fields: &mut Fields<'_>) -> Result<Self> {
        P::read(fields).map(Self::new)
    }

    fn write(&self, object: &mut Object) {
        P::write(self, object);
    }
}

/// A part whose fields stand beside the others.
pub(super) struct Flat;

impl<P: Part> Rule<P> for Flat {
    fn read(&self, fields: &mut Fields<'_>, _: &str) -> Result<P> {
        P::read(fields)
    }

    fn write(&self, part: &P, _: &str, object: &mut Object) {
        part.write(object);
    }
}

/// The same, if there is a field of this name.
pub(super) struct FlatIf(pub(super) &'static str);

impl<P: Part> Rule<Option<P>> for FlatIf {
    fn read(&self, fields: &mut Fields<'_>, _: &str) -> Result<Option<P>> {
        fields.has(self.0).then(|| P::read(fields)).transpose()
    }

    fn write(&self, part: &Option<P>, _: &str, object: &mut Object) {
        if let Some(part) = part {
            part.write(object);
        }
    }
}

/// The name of a field on the wire: its own, unless there is another.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}

/// Declares parts of requests, a field a line: `name "nameOnTheWire": Type = RULE`. They are read and
/// written in this order.
macro_rules! parts {
    ($(
        $(#[$meta:meta])*
        pub struct $part:ident {
            $( $(#[$doc:meta])* $field:ident $($wire:literal)? : $type:ty = $rule:expr ),* $(,)?
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $part {
            $( $(#[$doc])* pub $field: $type, )*
        }

        impl Part for $part {
            fn read(fields: &mut Fields<'_>) -> Result<Self, Refusal> {
                Ok(Self {
                    $( $field: $rule.read(fields, wire_name!($field $($wire)?))?, )*
                })
            }

            fn write(&self, object: &mut Object) {
                $( $rule.write(&self.$field, wire_name!($field $($wire)?), object); )*
            }
        }
    )* };
}

/// Declares [`super::Request`], a request an entry: its fields or the part that has them, its endpoint,
/// the action of an endpoint that has several, and `with` which field it is this one, rather than one
/// that comes after it.
macro_rules! requests {
    ($(
        $(#[$meta:meta])*
        $request:ident
        $( ($part:ident: $body:ty) )?
        $( { $( $(#[$doc:meta])* $field:ident $($wire:literal)? : $type:ty = $rule:expr ),* $(,)? } )?
        => $endpoint:ident $($action:literal)? $(with $key:literal)?;
    )*) => {
        /// A request, decoded.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request { $(
            $(#[$meta])*
            $request $( ($body) )? $( { $( $(#[$doc])* $field: $type, )* } )?,
        )* }

        impl Request {
            /// The actions of endpoints that have several.
            pub(super) const ACTIONS: &[(Endpoint, &str)] =
                &[$( $( (Endpoint::$endpoint, $action), )? )*];

            /// Where it is sent to.
            #[must_use]
            pub fn endpoint(&self) -> Endpoint {
                match self { $( Self::$request { .. } => Endpoint::$endpoint, )* }
            }

            /// The request to `endpoint` with this action and these fields.
            pub(super) fn read(
                endpoint: Endpoint,
                action: Option<&str>,
                fields: &mut Fields<'_>,
            ) -> Result<Self, Refusal> {
                Ok(match (endpoint, action) {
                    $( (Endpoint::$endpoint, action!($($action)?)) $( if fields.has($key) )? => {
                        Self::$request
                        $( (<$body>::read(fields)?) )?
                        $( { $( $field: $rule.read(fields, wire_name!($field $($wire)?))?, )* } )?
                    } )*
                    _ => return Err(Refusal::field("action", &Action(endpoint).expected())),
                })
            }

            /// The body that [`Request::decode`] reads back, for clients.
            #[must_use]
            pub fn body(&self) -> Vec<u8> {
                let mut object = Object::new();
                match self { $(
                    Self::$request $( ($part) )? $( { $($field),* } )? => {
                        $( object.add("action", $action); )?
                        $( $part.write(&mut object); )?
                        $( $( $rule.write($field, wire_name!($field $($wire)?), &mut object); )* )?
                    }
                )* }
                object.end()
            }
        }
    };
}

/// The pattern of an action.
macro_rules! action {
    () => {
        _
    };
    ($action:literal) => {
        Some($action)
    };
}

pub(super) use {action, parts, requests, wire_name};
