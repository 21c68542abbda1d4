//! Replies of the broker as agents get them: compact JSON, without what only costs them context.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON object whose values stay as they are, in their order.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                /// A name, borrowed if it has no escapes.
                #[derive(serde::Deserialize)]
                struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The object `body` without its members in `dropped`, wherever they are, and without what is null
/// (but at the top, where null is an answer). None if it is no object.
pub(super) fn trim(body: &[u8], dropped: &[&str]) -> Option<String> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    let mut out = String::with_capacity(body.len());
    raw.get().starts_with('{').then_some(())?;
    write(raw, dropped, true, &mut out)?;
    Some(out)
}

fn write(raw: &RawValue, dropped: &[&str], top: bool, out: &mut String) -> Option<()> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).ok()?;
            let kept = members.iter().filter(|(name, value)| {
                !dropped.contains(&&**name) && (top || value.get() != "null")
            });
            out.push('{');
            for (at, (name, value)) in kept.enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(name).ok()?);
                out.push(':');
                write(value, dropped, false, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (at, item) in items.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, dropped, false, out)?;
            }
            out.push(']');
        }
        _ => out.push_str(text),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_named_members_go_and_the_order_stays() {
        let body = br#" {"ok" : true, "entry": null, "peers": [ {"z":1,"udsPath":"/s","a":null,
            "b":{"c":null,"d":[null,{"udsPath":1}]}} ], "t\u0065xt": "a \"b\" : null"} "#;
        assert_eq!(
            trim(body, &["udsPath"]).unwrap(),
            r#"{"ok":true,"entry":null,"peers":[{"z":1,"b":{"d":[null,{}]}}],"text":"a \"b\" : null"}"#
        );
        assert_eq!(trim(b"{}", &[]).unwrap(), "{}");
        for bad in ["", "[]", "5", "{", "{} {}"] {
            assert_eq!(trim(bad.as_bytes(), &[]), None, "{bad}");
        }
    }
}
