use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::wire::buffer::Buffer;
use crate::wire::fuzzing;
use crate::wire::ndjson::EncodeError;
use crate::wire::testing::Random;

/// A message in a form that is easy to compare.
fn told(line: &[u8]) -> String {
    tell(&parse(line))
}

fn tell(message: &Message<'_>) -> String {
    let raw = |raw: Option<&RawValue>| raw.map_or_else(String::new, |raw| format!(" {raw}"));
    let id = |id: &Option<Id>| id.as_ref().map_or("-", Id::as_json).to_owned();
    match message {
        Message::Request { id, method, params } => {
            format!("request {} {method}{}", id.as_json(), raw(*params))
        }
        Message::Notification { method, params } => {
            format!("notification {method}{}", raw(*params))
        }
        Message::Response { id: of, outcome: Ok(result) } => format!("result {} {result}", id(of)),
        Message::Response { id: of, outcome: Err(error) } => {
            format!("error {} {} {}", id(of), error.code, error.message)
        }
        Message::Invalid { id: of, fault } => format!("invalid {} {fault:?}", id(of)),
    }
}

#[test]
fn messages() {
    for (line, expected) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request 1 ping"),
        (
            r#" { "id" : "a" , "method":"m","params": {"x":1} , "jsonrpc":"2.0"} "#,
            "request \"a\" m {\"x\":1}",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1,2],"more":{}}"#, "request 1 m [1,2]"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a\/b\u0041\n"}"#, "request 1 a/bA\n"),
        (r#"{"json\u0072pc":"2\u002e0","id":1,"method":""}"#, "request 1 "),
        (r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, "notification notifications/x"),
        (r#"{"jsonrpc":"2.0","method":"x","params":{}}"#, "notification x {}"),
        (r#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#, "result 7 {\"roots\":[]}"),
        (r#"{"jsonrpc":"2.0","id":7,"result":null}"#, "result 7 null"),
        (r#"{"jsonrpc":"2.0","id":7,"result":1,"error":null}"#, "result 7 1"),
        (r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"\"no\""}}"#, "error 7 -1 \"no\""),
        (r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"data":[]},"result":1}"#, "error 7 -1 "),
        (r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#, "error - -1 m"),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"m"}}"#, "error - -1 m"),
    ] {
        assert_eq!(told(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn ids_are_echoed_exactly() {
    for id in [
        "0",
        "-1",
        "-0",
        "9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890",
        r#""""#,
        r#""1""#,
        r#""a\u0041\/\n""#,
        r#""\ud800""#,
        "\"\u{e9}\"",
    ] {
        let line = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"m"}}"#);
        let Message::Request { id: read, .. } = parse(line.as_bytes()) else {
            panic!("not a request: {line}");
        };
        let mut out = Buffer::new(1000);
        encode_result(&mut out, &read, &json!({})).unwrap();
        let expected = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n");
        assert_eq!(out.as_slice(), expected.as_bytes());
        // As part of params, too.
        assert_eq!(serde_json::from_str::<Id>(id).unwrap(), read);
        assert_eq!(HashSet::from([read.clone()]).get(&read), Some(&read));
    }
    assert_eq!(Id::from(u64::MAX).as_json(), u64::MAX.to_string());
}

#[test]
fn what_is_no_id_is_not_echoed() {
    for id in ["null", "true", "1.0", "1.5", "1e3", "1E0", "{}", "[]", "[1]"] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
        assert_eq!(told(line.as_bytes()), "invalid - Id", "{line}");
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#);
        assert_eq!(told(line.as_bytes()), "invalid - Id", "{line}");
        assert!(serde_json::from_str::<Id>(id).is_err());
    }
    assert_eq!(told(br#"{"jsonrpc":"2.0","result":1}"#), "invalid - Id");
}

#[test]
fn both_sides_of_the_limit_of_an_id() {
    let line = |len: usize| {
        let id = "x".repeat(len - 2);
        format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"m"}}"#)
    };
    assert!(told(line(RPC_ID_BYTES_MAX).as_bytes()).starts_with("request"));
    assert_eq!(told(line(RPC_ID_BYTES_MAX + 1).as_bytes()), "invalid - Id");
}

#[test]
fn what_is_no_message_is_invalid() {
    for (line, expected) in [
        (r#"{"id":1,"method":"m"}"#, "invalid 1 Version"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, "invalid 1 Version"),
        (r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#, "invalid 1 Version"),
        (r#"{"jsonrpc":null,"id":{},"method":"m"}"#, "invalid - Version"),
        (r#"{"jsonrpc":"2.0","id":1}"#, "invalid 1 Method"),
        (r#"{"jsonrpc":"2.0"}"#, "invalid - Method"),
        (r#"{"jsonrpc":"2.0","id":1,"method":1}"#, "invalid 1 Method"),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, "invalid 1 Method"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, "invalid 1 Method"),
        (r#"{"jsonrpc":"2.0","id":"a","method":"m","params":null}"#, "invalid \"a\" Params"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":"x"}"#, "invalid 1 Params"),
        (r#"{"jsonrpc":"2.0","method":"m","params":1}"#, "invalid - Params"),
        (r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#, "invalid 1 Error"),
        (r#"{"jsonrpc":"2.0","id":1,"error":[1,"x"]}"#, "invalid 1 Error"),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"message":"x"}}"#, "invalid 1 Error"),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5}}"#, "invalid 1 Error"),
        (r#"{"id":1,"id":2}"#, "invalid - Shape"),
        ("1", "invalid - Shape"),
        ("null", "invalid - Shape"),
        ("\"x\"", "invalid - Shape"),
        ("[]", "invalid - Batch"),
        (r#" [{"jsonrpc":"2.0","id":1,"method":"a"}]"#, "invalid - Batch"),
    ] {
        assert_eq!(told(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn what_is_no_json_is_a_parse_error() {
    for line in [
        &b""[..],
        b" ",
        b"{",
        b"{}}",
        b"{} {}",
        b"{'a':1}",
        b"{\"a\":1,}",
        b"[",
        b"[1,]",
        b"[] x",
        b"nul",
        b"01",
        b"\"",
        b"\"\t\"",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{]}",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"{\xef\xbb\xbf}",
        b"\x0c{}",
    ] {
        assert_eq!(told(line), "invalid - Parse", "{}", line.escape_ascii());
    }
    let request = br#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"b"}}"#;
    for end in 0..request.len() {
        assert_eq!(told(&request[..end]), "invalid - Parse", "at {end}");
    }
}

/// Raw values are skipped without recursion, so depth costs no stack.
#[test]
fn depth_does_no_harm() {
    let depth = 1 << 20;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{nested}}}"#);
        assert!(matches!(parse(line.as_bytes()), Message::Request { params: Some(_), .. }));
        assert!(matches!(parse(nested.as_bytes()), Message::Invalid { .. }));
        assert_eq!(told(open.repeat(depth).as_bytes()), "invalid - Parse");
    }
}

fn written(encode: impl FnOnce(&mut Buffer) -> Result<(), EncodeError>) -> String {
    let mut out = Buffer::new(1000);
    encode(&mut out).unwrap();
    String::from_utf8(out.as_slice().to_vec()).unwrap()
}

#[test]
fn encoders() {
    let id = Id::from(7);
    assert_eq!(
        written(|out| encode_result(out, &id, &json!({"a": [1, "\n"]}))),
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"a\":[1,\"\\n\"]}}\n"
    );
    assert_eq!(
        written(|out| encode_error(out, Some(&id), INVALID_PARAMS, "no", Some(&json!({"x": 1})))),
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32602,\"message\":\"no\",\"data\":{\"x\":1}}}\n"
    );
    assert_eq!(
        written(|out| encode_error(out, None, INTERNAL_ERROR, "no", None)),
        "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32603,\"message\":\"no\"}}\n"
    );
    assert_eq!(
        written(|out| encode_notification(out, "n", None::<&()>)),
        "{\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n"
    );
    assert_eq!(
        written(|out| encode_notification(out, "n", Some(&json!({"a": 1})))),
        "{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{\"a\":1}}\n"
    );
    assert_eq!(
        written(|out| encode_request(out, &id, "roots/list", None::<&()>)),
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"roots/list\"}\n"
    );
}

#[test]
fn each_fault_has_a_code_and_says_what_is_wrong() {
    for fault in [
        Fault::Parse,
        Fault::Shape,
        Fault::Version,
        Fault::Id,
        Fault::Method,
        Fault::Params,
        Fault::Error,
        Fault::Batch,
    ] {
        let code = if fault == Fault::Parse { -32700 } else { -32600 };
        assert_eq!(fault.code(), code);
        let line = written(|out| encode_fault(out, None, fault));
        assert!(!line.contains("\"id\":"));
        assert_eq!(told(line.trim().as_bytes()), format!("error - {code} {fault}"));
    }
}

#[test]
fn random_lines() {
    let seeds: [&[u8]; 8] = [
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#,
        br#"{"jsonrpc":"2.0","id":"a\u0041","method":"a\nb","params":[1]}"#,
        br#"{"jsonrpc":"2.0","method":"n"}"#,
        br#"{"jsonrpc":"2.0","id":-5,"result":{"a":[true,null,1.5e3]}}"#,
        br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#,
        br#"[{"jsonrpc":"2.0","id":1,"method":"m"},[],{},1]"#,
        b"{\"jsonrpc\":\"2.0\",\n\"id\":1,\n\"result\":{\n}}",
        br#""x""#,
    ];
    let dictionary: [&[u8]; 16] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"null",
        b"1e9",
        b"\\ud800",
        b"\n",
        b"\xff",
        b"\"id\":1,",
        b"\"error\":{\"code\":1},",
        b"\"method\":\"m\",",
        b"99999999999999999999",
    ];
    let mut random = Random::new(6);
    for _ in 0..40_000 {
        fuzzing::jsonrpc(&random.mutant(&seeds, &dictionary));
        let len = random.below(30);
        fuzzing::jsonrpc(&random.bytes(len));
    }
}
