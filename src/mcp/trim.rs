//! Replies of the broker as agents get them: compact JSON, without members of no use to them, and no
//! longer than a client takes at once.

use serde_json::value::RawValue;

use crate::api::Members;
use crate::limits::{ANSWER_BYTES_MAX, REMAINING_KEYS_BYTES_MAX};

/// The object `body` without members named in `dropped`, at any depth, and without members that are null,
/// except at the top, where null is an answer. None if it is no object.
pub(super) fn trim(body: &[u8], dropped: &[&str]) -> Option<String> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    raw.get().starts_with('{').then_some(())?;
    trimmed(raw, dropped, true)
}

fn trimmed(raw: &RawValue, dropped: &[&str], is_top: bool) -> Option<String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members): Members<'_> = serde_json::from_str(text).ok()?;
            let kept = members.iter().filter(|(name, value)| {
                !dropped.contains(&&**name) && (is_top || value.get() != "null")
            });
            let mut written = String::new();
            for (name, value) in kept {
                push(&mut written, name, &trimmed(value, dropped, false)?);
            }
            Some(if written.is_empty() { "{}".to_owned() } else { written + "}" })
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let items = items.into_iter().map(|item| trimmed(item, dropped, false));
            Some(format!("[{}]", items.collect::<Option<Vec<String>>>()?.join(",")))
        }
        _ => Some(text.to_owned()),
    }
}

/// Which end of a list stays when it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    First,
    Last,
}

/// The lists in answers of the broker.
const LISTS: [&str; 5] = ["peers", "entries", "locks", "events", "stolenFrom"];
const ENTRIES: &str = "entries";

/// A trimmed answer, whose list is cut if the answer is too long. At least one item stays, and
/// `remaining` counts the others. `lastSeq` becomes that of the last event in the list, from which to go
/// on; of entries that were left out, the keys are named.
pub(super) fn fit(answer: String, keep: Keep) -> String {
    if answer.len() <= ANSWER_BYTES_MAX {
        return answer;
    }
    cut(&answer, keep).unwrap_or(answer)
}

/// None if nothing can be cut.
fn cut(answer: &str, keep: Keep) -> Option<String> {
    let Members(members): Members<'_> = serde_json::from_str(answer).ok()?;
    let (list, items) = members.iter().find(|(name, _)| LISTS.contains(&&**name))?;
    let around = answer.len() - items.get().len();
    let keys_room = if list == ENTRIES { REMAINING_KEYS_BYTES_MAX } else { 0 };
    let mut items: Vec<&RawValue> = serde_json::from_str(items.get()).ok()?;
    if keep == Keep::Last {
        items.reverse();
    }
    let room = ANSWER_BYTES_MAX.saturating_sub(around + keys_room);
    let rest = items.split_off(count_within(room, items.iter().map(|item| item.get())).max(1));
    if rest.is_empty() {
        return None;
    }
    if keep == Keep::Last {
        items.reverse();
    }
    let joined: Vec<&str> = items.iter().map(|item| item.get()).collect();
    let mut out = String::with_capacity(ANSWER_BYTES_MAX);
    let mut remaining = rest.len() as u64;
    for (name, value) in &members {
        let last_seq = || items.last().and_then(|item| member(item, "seq"));
        match &**name {
            "remaining" => {
                remaining += serde_json::from_str::<u64>(value.get()).unwrap_or(0);
            }
            name if name == list => push(&mut out, name, &format!("[{}]", joined.join(","))),
            name @ "lastSeq" if keep == Keep::First => {
                push(&mut out, name, last_seq().map_or(value.get(), RawValue::get));
            }
            name => push(&mut out, name, value.get()),
        }
    }
    push(&mut out, "remaining", &remaining.to_string());
    if list == ENTRIES {
        let mut keys: Vec<&str> =
            rest.iter().filter_map(|entry| member(entry, "key")).map(RawValue::get).collect();
        keys.truncate(count_within(keys_room, keys.iter().copied()));
        push(&mut out, "remainingKeys", &format!("[{}]", keys.join(",")));
    }
    out.push('}');
    Some(out)
}

/// How many of `texts`, from the first, are within `room` bytes together, with commas.
fn count_within<'a>(room: usize, texts: impl Iterator<Item = &'a str>) -> usize {
    let mut used = 0;
    texts
        .take_while(|text| {
            used += text.len() + 1;
            used <= room
        })
        .count()
}

/// A member of an object.
fn member<'a>(object: &'a RawValue, wanted: &str) -> Option<&'a RawValue> {
    let Members(members): Members<'_> = serde_json::from_str(object.get()).ok()?;
    members.into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}

/// Adds a member to an object that is being written.
pub(super) fn push(out: &mut String, name: &str, json: &str) {
    out.push(if out.is_empty() { '{' } else { ',' });
    // Into memory: cannot fail.
    out.extend([&*serde_json::to_string(name).unwrap_or_default(), ":", json]);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cut(answer: &Value, keep: Keep) -> Value {
        let text = fit(answer.to_string(), keep);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_list_that_is_too_long_loses_its_end_and_says_how_much() {
        let peer = |n: usize| json!({"name": format!("p{n}"), "summary": "x".repeat(900)});
        let peers =
            |count: usize| json!({"ok": true, "peers": (0..count).map(peer).collect::<Vec<_>>()});
        assert_eq!(cut(&peers(40), Keep::First), peers(40), "as it was");
        let short = cut(&peers(200), Keep::First);
        let kept = short["peers"].as_array().unwrap().len();
        assert!((40..45).contains(&kept), "{kept}");
        assert_eq!((&short["ok"], &short["remaining"]), (&true.into(), &(200 - kept).into()));
        assert!(short.to_string().len() <= ANSWER_BYTES_MAX);
        let mut more = peers(200);
        more["remaining"] = 7.into();
        assert_eq!(cut(&more, Keep::First)["remaining"], 207 - kept);
    }

    #[test]
    fn events_go_on_from_the_last_that_was_given() {
        let event = |seq: u64| json!({"seq": seq, "payload": "x".repeat(9_000)});
        let events: Vec<Value> = (1..=10).map(event).collect();
        let all = json!({"ok": true, "events": events, "lastSeq": 77, "firstSeq": 1});
        let first = cut(&all, Keep::First);
        assert_eq!((&first["lastSeq"], &first["remaining"]), (&4.into(), &6.into()));
        assert_eq!(first["events"][3]["seq"], 4);
        let last = cut(&all, Keep::Last);
        assert_eq!((&last["lastSeq"], &last["remaining"]), (&77.into(), &6.into()));
        assert_eq!((&last["events"][0]["seq"], &last["events"][3]["seq"]), (&7.into(), &10.into()));
    }

    #[test]
    fn one_value_is_given_whole_and_the_other_entries_are_named() {
        let entry = |n: usize| json!({"key": format!("k{n:04}"), "value": "\"".repeat(32_768)});
        let entries = |count: usize| (0..count).map(entry).collect::<Vec<_>>();
        let one = json!({"ok": true, "entries": entries(1)});
        assert_eq!(cut(&one, Keep::First), one);
        let short = cut(&json!({"ok": true, "entries": entries(2_000)}), Keep::First);
        assert_eq!(short["entries"], json!([entry(0)]));
        assert_eq!(
            (&short["remaining"], &short["remainingKeys"][1]),
            (&1_999.into(), &"k0002".into())
        );
        let keys = short["remainingKeys"].to_string().len();
        assert!(keys > 7_900 && keys <= REMAINING_KEYS_BYTES_MAX + 2, "{keys}");
        // An answer without a list, however long, is one thing.
        let get = json!({"ok": true, "entry": entry(0)});
        assert_eq!(cut(&get, Keep::First), get);
    }

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
