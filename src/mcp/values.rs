//! What the value of an argument means, however its client has written it.
//!
//! Some models and clients write numbers, booleans and lists as strings, or JSON where a text is
//! expected. If that has one meaning only, it is accepted. Anything else stays as it is, and is refused by
//! the rule of its argument.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// The type of an argument, as its schema names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum ArgumentKind {
    #[serde(rename = "string")]
    Text,
    #[serde(rename = "integer")]
    Number,
    #[serde(rename = "boolean")]
    Flag,
    /// A list of words without commas.
    #[serde(rename = "array")]
    List,
    /// Any JSON.
    #[serde(rename = "object")]
    Json,
}

/// The value of the argument `name`; none if it is empty, since some models write every argument that
/// they know of.
pub(super) fn understood<'a>(
    name: &str,
    kind: ArgumentKind,
    raw: &'a RawValue,
) -> Option<Cow<'a, RawValue>> {
    let written = raw.get();
    let is_empty = written == r#""""# && !matches!(name, "summary" | "value" | "message");
    if written == "null" || is_empty {
        return None;
    }
    let meant = if kind == ArgumentKind::Text {
        // As it is written: a number keeps its digits, an object its order. `since` may be a number.
        let is_text = written.starts_with('"') || name == "since";
        if is_text { None } else { json_of(written) }
    } else {
        let text: Option<String> = serde_json::from_str(written).ok();
        if kind != ArgumentKind::Json && text.as_deref().is_some_and(|text| text.trim() == "null") {
            return None;
        }
        match (kind, text) {
            (ArgumentKind::Flag, text) => {
                flag(text.as_deref().unwrap_or(written)).and_then(|flag| json_of(&flag))
            }
            (ArgumentKind::Number, Some(text)) => {
                json_in(&text, |first| matches!(first, '-' | '0'..='9'))
            }
            (ArgumentKind::Json, Some(text)) => json_in(&text, |first| matches!(first, '{' | '[')),
            (ArgumentKind::List, Some(text)) => list(&text),
            _ => None,
        }
    };
    Some(meant.map_or(Cow::Borrowed(raw), Cow::Owned))
}

/// Plain data as JSON: cannot fail.
fn json_of(value: &(impl Serialize + ?Sized)) -> Option<Box<RawValue>> {
    to_raw_value(value).ok()
}

/// The JSON that `text` is, if it begins as it should.
fn json_in(text: &str, begins: fn(char) -> bool) -> Option<Box<RawValue>> {
    let json: Box<RawValue> = serde_json::from_str(text).ok()?;
    json.get().starts_with(begins).then_some(json)
}

fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A list as JSON, or its words with commas between them.
fn list(text: &str) -> Option<Box<RawValue>> {
    json_in(text, |first| first == '[').or_else(|| {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        json_of(&words.collect::<Vec<_>>())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(name: &str, written: &str) -> Option<Value> {
        let kind = match name {
            "limit" | "wait" | "ifVersion" | "ttlSeconds" => ArgumentKind::Number,
            "shared" => ArgumentKind::Flag,
            "types" => ArgumentKind::List,
            "payload" => ArgumentKind::Json,
            _ => ArgumentKind::Text,
        };
        let raw = RawValue::from_string(written.to_owned()).unwrap();
        understood(name, kind, &raw).map(|meant| serde_json::from_str(meant.get()).unwrap())
    }

    #[test]
    fn any_json_is_given_on_as_it_was_written() {
        for (written, kept) in [
            ("{\"n\": 123456789012345678901}", "{\"n\": 123456789012345678901}"),
            (r#""{\"n\": 123456789012345678901}""#, "{\"n\": 123456789012345678901}"),
            ("123456789012345678901", "123456789012345678901"),
            (r#""5""#, r#""5""#),
            (r#""a text""#, r#""a text""#),
        ] {
            let raw = RawValue::from_string(written.to_owned()).unwrap();
            assert_eq!(understood("payload", ArgumentKind::Json, &raw).unwrap().get(), kept);
        }
    }

    #[test]
    fn what_has_one_meaning_is_taken() {
        for (name, written, meant) in [
            ("limit", r#""5""#, json!(5)),
            ("limit", r#"" 5 ""#, json!(5)),
            ("wait", r#""0""#, json!(0)),
            ("wait", "5.0", json!(5.0)),
            ("ifVersion", r#""9007199254740991""#, json!(9_007_199_254_740_991_u64)),
            ("ttlSeconds", r#""60.0""#, json!(60.0)),
            ("shared", r#""true""#, json!(true)),
            ("shared", r#""False""#, json!(false)),
            ("shared", "1", json!(true)),
            ("shared", r#""0""#, json!(false)),
            ("shared", "true", json!(true)),
            ("types", r#""a.b""#, json!(["a.b"])),
            ("types", r#""[\"a.b\", \"c.*\"]""#, json!(["a.b", "c.*"])),
            ("types", r#""a.b, #build""#, json!(["a.b", "#build"])),
            ("types", r#"["a.b"]"#, json!(["a.b"])),
            ("payload", r#""{\"x\": 1}""#, json!({"x": 1})),
            ("payload", r#""[1]""#, json!([1])),
            ("payload", r#""5""#, json!("5")),
            ("payload", r#""done""#, json!("done")),
            ("payload", "5", json!(5)),
            (
                "message",
                r#"{"b": 1, "a": 36893488147419103232}"#,
                json!(r#"{"b": 1, "a": 36893488147419103232}"#),
            ),
            ("value", "5.0", json!("5.0")),
            ("value", "false", json!("false")),
            ("value", r#""5""#, json!("5")),
            ("to", "5", json!("5")),
            ("since", "0", json!(0)),
            ("since", r#""0""#, json!("0")),
            ("summary", r#""""#, json!("")),
        ] {
            assert_eq!(read(name, written), Some(meant), "{name}: {written}");
        }
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        for (name, written) in [
            ("limit", "null"),
            ("value", "null"),
            ("limit", r#""""#),
            ("replyTo", r#""""#),
            ("shared", r#""null""#),
            ("types", r#""null""#),
        ] {
            assert_eq!(read(name, written), None, "{name}: {written}");
        }
        assert_eq!(read("value", r#""null""#), Some(json!("null")), "a text like any other");
    }

    #[test]
    fn what_has_no_meaning_stays_as_it_is() {
        for (name, written) in [
            ("limit", r#""five""#),
            ("limit", r#""5 minutes""#),
            ("limit", "[5]"),
            ("wait", r#""true""#),
            ("shared", r#""maybe""#),
            ("shared", "2"),
            ("types", "5"),
            ("types", "[5]"),
            ("since", "[1]"),
        ] {
            let stays: Value = serde_json::from_str(written).unwrap();
            assert_eq!(read(name, written), Some(stays), "{name}: {written}");
        }
    }
}
