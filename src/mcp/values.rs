//! What the value of an argument means, however its client has written it.
//!
//! Some models and clients write numbers, booleans and lists as strings, or JSON where a text is
//! expected. Where that has one meaning it is taken; all else stays as it is, to be refused in the
//! words of its argument.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::compact;

/// What an argument is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flag,
    /// Of words without commas.
    List,
    /// Any JSON.
    Json,
    /// A text or a number.
    Either,
}

/// The arguments of all tools that are no texts.
fn kind(name: &str) -> Kind {
    match name {
        "limit" | "wait" | "ifVersion" | "ttlSeconds" | "ttlMinutes" => Kind::Number,
        "shared" => Kind::Flag,
        "types" => Kind::List,
        "payload" => Kind::Json,
        "since" => Kind::Either,
        _ => Kind::Text,
    }
}

/// The value of the argument `name`. None if it says nothing: some models fill in every argument
/// they know of, if with nothing.
pub(super) fn understood(name: &str, raw: &RawValue) -> Option<Value> {
    let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    let kind = kind(name);
    Some(match (kind, value) {
        (_, Value::Null) => return None,
        (_, Value::String(text)) if text.is_empty() => {
            let may_be_empty = matches!(name, "summary" | "value" | "message");
            return may_be_empty.then_some(Value::String(text));
        }
        (Kind::Number | Kind::Flag | Kind::List, Value::String(text)) if text.trim() == "null" => {
            return None;
        }
        (Kind::Text, value @ Value::String(_)) | (Kind::Either, value) => value,
        // As it is written: a number keeps its digits, an object its order.
        (Kind::Text, _) => raw.get().into(),
        (Kind::Number, Value::String(text)) => {
            json(&text).filter(Value::is_number).unwrap_or_else(|| text.into())
        }
        (Kind::Flag, value) => flag(&value).map_or(value, Value::Bool),
        (Kind::List, Value::String(text)) => list(&text),
        (Kind::Json, Value::String(text)) => json(&text)
            .filter(|value| value.is_object() || value.is_array())
            .unwrap_or_else(|| text.into()),
        (Kind::Number | Kind::List | Kind::Json, value) => value,
    })
}

/// The JSON text of an argument that is any JSON, as it was written, if that is how [`understood`]
/// takes it: a number in a [`Value`] has no more digits than fit its type.
pub(super) fn as_written(raw: &RawValue) -> String {
    let text: Option<String> = serde_json::from_str(raw.get()).ok();
    let inner =
        text.filter(|text| json(text).is_some_and(|value| value.is_object() || value.is_array()));
    compact(inner.as_deref().unwrap_or(raw.get()))
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn flag(value: &Value) -> Option<bool> {
    let text = match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match text.as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A list as JSON, or its words with commas between them.
fn list(text: &str) -> Value {
    if let Some(list) = json(text).filter(Value::is_array) {
        return list;
    }
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(name: &str, written: &str) -> Option<Value> {
        understood(name, &RawValue::from_string(written.to_owned()).unwrap())
    }

    #[test]
    fn any_json_is_given_on_as_it_was_written() {
        for (written, kept) in [
            ("{\"n\": 123456789012345678901}", "{\"n\":123456789012345678901}"),
            (r#""{\"n\": 123456789012345678901}""#, "{\"n\":123456789012345678901}"),
            ("123456789012345678901", "123456789012345678901"),
            (r#""5""#, r#""5""#),
            (r#""a text""#, r#""a text""#),
        ] {
            let raw = RawValue::from_string(written.to_owned()).unwrap();
            assert_eq!(as_written(&raw), kept);
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
