use serde_json::{Value, json};

use super::*;
use crate::limits::RPC_LISTENS_MAX;
use crate::mcp::outbox::tests::lines;
use crate::wire::jsonrpc::INVALID_REQUEST;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT: &str = "io.modelcontextprotocol/clientInfo";

struct Test {
    session: ClientSession,
    out: Outbox,
}

impl Test {
    fn new() -> Self {
        Self { session: ClientSession::new(None), out: Outbox::new() }
    }

    fn legacy(version: &str) -> Self {
        let mut test = Self::new();
        test.ask("initialize", &json!({"protocolVersion": version, "capabilities": {}}));
        test
    }

    fn send(&mut self, line: &str) -> Vec<Value> {
        self.session.handle_line(line.as_bytes(), &mut self.out);
        lines(&mut self.out)
    }

    /// The one answer to a request.
    #[track_caller]
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": "é1", "method": method, "params": params});
        let mut answers = self.send(&request.to_string());
        assert_eq!(answers.len(), 1, "{method}: {answers:?}");
        assert_eq!((&answers[0]["id"], &answers[0]["jsonrpc"]), (&"é1".into(), &"2.0".into()));
        answers.remove(0)
    }

    #[track_caller]
    fn code(&mut self, method: &str, params: &Value) -> i64 {
        let answer = self.ask(method, params);
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{method}: {answer}"))
    }

    fn tell(&mut self, method: &str, params: &Value) {
        let line = json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string();
        assert_eq!(self.send(&line), Vec::<Value>::new(), "{method}");
    }
}

/// `params` of the modern era.
fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        VERSION: "2026-07-28", CAPABILITIES: {}, CLIENT: {"name": "test", "version": "1"},
    });
    params
}

#[test]
fn a_known_version_is_echoed_and_any_other_gets_the_latest() {
    for (asked, got) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
    ] {
        let mut test = Test::new();
        let params = json!({
            "protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "codex-mcp-client"},
        });
        let result = &test.ask("initialize", &params)["result"];
        assert_eq!(result["protocolVersion"], got);
        assert_eq!(result["serverInfo"]["name"], "slm-mesh");
        assert_eq!(result["capabilities"]["resources"]["subscribe"], true);
        assert!(result["capabilities"]["tools"].is_object());
        assert!(result["instructions"].as_str().unwrap().contains("mesh_inbox"));
        assert!(result.get("resultType").is_none() && result.get("_meta").is_none());
        assert_eq!(test.session.client(), Some("codex-mcp-client"));
    }
    assert_eq!(Test::new().code("initialize", &json!({})), INVALID_PARAMS);
    // A second one is answered like the first.
    let mut test = Test::legacy("2024-11-05");
    let params = json!({"protocolVersion": "2025-06-18"});
    assert_eq!(test.ask("initialize", &params)["result"]["protocolVersion"], "2025-06-18");
}

#[test]
fn before_a_handshake_only_a_ping_goes_without_a_version() {
    let mut test = Test::new();
    assert_eq!(test.ask("ping", &json!({}))["result"], json!({}));
    for method in ["tools/list", "tools/call", "server/discover", "no/such"] {
        assert_eq!(test.code(method, &json!({})), INVALID_PARAMS, "{method}");
    }
    assert!(test.session.events.is_empty());
}

#[test]
fn a_modern_request_must_say_what_its_client_can() {
    let mut test = Test::new();
    for meta in [
        json!({}),
        json!({VERSION: "2026-07-28"}),
        json!({CAPABILITIES: {}}),
        json!({VERSION: 5, CAPABILITIES: {}}),
        json!({VERSION: "2026-07-28", CAPABILITIES: 5}),
        json!([]),
    ] {
        assert_eq!(test.code("tools/list", &json!({"_meta": meta})), INVALID_PARAMS, "{meta}");
    }
    assert_eq!(test.code("tools/list", &json!([1])), INVALID_PARAMS);
    let meta = json!({VERSION: "2025-11-25", CAPABILITIES: {}});
    let error = &test.ask("tools/list", &json!({"_meta": meta}))["error"];
    assert_eq!(error["code"], -32022);
    assert_eq!(error["data"], json!({"supported": ["2026-07-28"], "requested": "2025-11-25"}));
    // Who the client is need not be said, and may be nonsense.
    let meta = json!({VERSION: "2026-07-28", CAPABILITIES: {}, CLIENT: 5});
    assert!(test.ask("tools/list", &json!({"_meta": meta}))["result"].is_object());
}

#[test]
fn modern_results_say_what_they_are() {
    let mut test = Test::new();
    for (method, params, cached) in [
        ("server/discover", json!({}), true),
        ("tools/list", json!({}), true),
        ("prompts/list", json!({}), true),
        ("resources/list", json!({}), true),
        ("resources/templates/list", json!({}), true),
        ("prompts/get", json!({"name": "mesh-sync"}), false),
    ] {
        let result = &test.ask(method, &modern(params))["result"];
        assert_eq!(result["resultType"], "complete", "{method}");
        let server = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(server["name"], "slm-mesh", "{method}");
        assert_eq!(result["ttlMs"].is_u64(), cached, "{method}");
        assert_eq!(result["cacheScope"] == "public", cached, "{method}");
    }
    let result = &test.ask("server/discover", &modern(json!({})))["result"];
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert!(result["capabilities"].get("logging").is_none());
    for method in
        ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "no/such"]
    {
        let params = json!({"uri": "mesh://inbox", "level": "info"});
        assert_eq!(test.code(method, &modern(params)), METHOD_NOT_FOUND, "{method}");
    }
    assert_eq!(test.session.client(), Some("test"));
}

#[test]
fn both_eras_in_one_process() {
    let mut test = Test::new();
    test.ask("server/discover", &modern(json!({})));
    test.ask("initialize", &json!({"protocolVersion": "2025-11-25"}));
    assert_eq!(test.ask("ping", &json!({}))["result"], json!({}));
    assert_eq!(test.code("server/discover", &json!({})), METHOD_NOT_FOUND);
    assert_eq!(test.code("subscriptions/listen", &json!({"notifications": {}})), METHOD_NOT_FOUND);
    assert_eq!(test.code("completion/complete", &json!({})), METHOD_NOT_FOUND);
}

#[test]
fn claude_code_is_kept_in_the_era_of_its_channels() {
    let discover = |has_inbox_socket: bool, client: &str| {
        let mut test = Test::new();
        test.session = ClientSession::new(has_inbox_socket.then_some(&crate::agents::CLAUDE_CODE));
        let mut params = modern(json!({}));
        params["_meta"][CLIENT]["name"] = client.into();
        test.ask("server/discover", &params)
    };
    assert_eq!(discover(false, "claude-code")["error"]["code"], METHOD_NOT_FOUND);
    assert!(discover(true, "claude-code")["result"].is_object());
    assert!(discover(false, "codex-mcp-client")["result"].is_object());
}

#[test]
fn the_answer_to_tools_list_stays_within_its_budget() {
    for mut test in [Test::legacy("2025-11-25"), Test::new()] {
        let request = json!({
            "jsonrpc": "2.0", "id": 9_007_199_254_740_991_u64, "method": "tools/list",
            "params": modern(json!({})),
        });
        test.session.handle_line(request.to_string().as_bytes(), &mut test.out);
        let mut bytes = Vec::new();
        while !test.out.is_empty() {
            test.out.write_to(&mut bytes).unwrap();
        }
        assert!(bytes.len() <= 4_200, "{}", bytes.len());
    }
}

#[test]
fn lists_are_whole_and_have_no_cursor() {
    let mut test = Test::legacy("2025-11-25");
    for (method, key, count) in [
        ("tools/list", "tools", 8),
        ("prompts/list", "prompts", 5),
        ("resources/list", "resources", 4),
        ("resources/templates/list", "resourceTemplates", 1),
    ] {
        let answer = test.ask(method, &json!({"cursor": null}));
        assert_eq!(answer["result"][key].as_array().unwrap().len(), count);
        assert!(answer["result"].get("nextCursor").is_none());
        assert_eq!(test.code(method, &json!({"cursor": "2"})), INVALID_PARAMS);
    }
    assert!(test.session.events.is_empty(), "a list alone is no reason to stay");
    test.ask("tools/list", &modern(json!({})));
    assert!(matches!(test.session.events.pop_front(), Some(ClientEvent::Settled)));
}

#[test]
fn tool_calls_are_checked_as_far_as_the_protocol_goes() {
    let mut test = Test::legacy("2025-11-25");
    for params in [
        json!({}),
        json!({"name": 5}),
        json!({"name": "mesh_nothing"}),
        json!({"name": "mesh_inbox", "arguments": [1]}),
        json!({"name": "mesh_inbox", "arguments": "x"}),
    ] {
        assert_eq!(test.code("tools/call", &params), INVALID_PARAMS, "{params}");
    }
    assert_eq!(
        test.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)[0]["error"]["code"],
        INVALID_PARAMS
    );
    for params in [
        json!({"name": "mesh_inbox"}),
        json!({"name": "mesh_inbox", "arguments": null}),
        json!({"name": "mesh_inbox", "arguments": {"nonsense": 1}, "_meta": {"progressToken": 1}}),
    ] {
        let line = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        assert!(test.send(&line.to_string()).is_empty());
        let Some(ClientEvent::Call { asked, tool: Tool::Inbox, .. }) =
            test.session.events.pop_front()
        else {
            panic!("{params}");
        };
        assert_eq!((asked.era, asked.to.as_json()), (Era::Legacy, "7"));
    }
}

#[test]
fn resources_are_read_and_subscribed_to() {
    let mut test = Test::legacy("2025-11-25");
    for uri in ["mesh://nothing", "nope://nope", ""] {
        let params = json!({"uri": uri});
        assert_eq!(test.code("resources/read", &params), RESOURCE_NOT_FOUND, "{uri}");
        assert_eq!(test.code("resources/subscribe", &params), RESOURCE_NOT_FOUND, "{uri}");
        assert_eq!(test.code("resources/read", &modern(params)), INVALID_PARAMS, "{uri}");
    }
    assert_eq!(test.code("resources/read", &json!({})), INVALID_PARAMS);
    let inbox = json!({"uri": "mesh://inbox"});
    assert_eq!(test.ask("resources/subscribe", &inbox)["result"], json!({}));
    test.session.subscriptions.changed(Topic::Inbox, &mut test.out);
    test.session.subscriptions.changed(Topic::Locks, &mut test.out);
    let notes = lines(&mut test.out);
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0]["method"], "notifications/resources/updated");
    assert_eq!(notes[0]["params"], inbox);
    assert_eq!(test.ask("resources/unsubscribe", &inbox)["result"], json!({}));
    test.session.subscriptions.changed(Topic::Inbox, &mut test.out);
    assert!(lines(&mut test.out).is_empty());

    let line = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read",
        "params":{"uri":"mesh://state/a%20b"}}"#
        .replace('\n', "");
    assert!(test.send(&line).is_empty());
    let Some(ClientEvent::Read { resource: Resource::State(namespace), uri, .. }) =
        test.session.events.pop_front()
    else {
        panic!();
    };
    assert_eq!((&*namespace, &*uri), ("a b", "mesh://state/a%20b"));
}

#[test]
fn a_listen_is_acknowledged_first_and_ends_when_it_is_cancelled() {
    let mut test = Test::new();
    let listen = |id: &str, uris: &[&str]| {
        let filter = json!({"toolsListChanged": true, "resourceSubscriptions": uris});
        let params = modern(json!({"notifications": filter}));
        json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params})
            .to_string()
    };
    let answers = test.send(&listen("L1", &["mesh://inbox", "x://y"]));
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0]["method"], "notifications/subscriptions/acknowledged");
    let id = "io.modelcontextprotocol/subscriptionId";
    assert_eq!(
        answers[0]["params"],
        json!({
            "_meta": {id: "L1"},
            "notifications": {"resourceSubscriptions": ["mesh://inbox"]},
        })
    );
    assert_eq!(test.send(&listen("L2", &["x://y"]))[0]["params"]["notifications"], json!({}));
    assert_eq!(test.send(&listen("L1", &[]))[0]["error"]["code"], INVALID_PARAMS);

    test.session.subscriptions.changed(Topic::Inbox, &mut test.out);
    let notes = lines(&mut test.out);
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0]["params"], json!({"uri": "mesh://inbox", "_meta": {id: "L1"}}));
    test.tell("notifications/cancelled", &json!({"requestId": "L1"}));
    assert!(test.session.events.is_empty(), "it is no call");
    test.session.subscriptions.changed(Topic::Inbox, &mut test.out);
    assert!(lines(&mut test.out).is_empty());

    for n in 1..RPC_LISTENS_MAX {
        assert!(test.send(&listen(&format!("M{n}"), &[]))[0].get("error").is_none());
    }
    assert!(test.send(&listen("X", &[]))[0].get("error").is_some());
    test.session.subscriptions.end_all(&mut test.out);
    let ends = lines(&mut test.out);
    assert_eq!(ends.len(), RPC_LISTENS_MAX);
    assert_eq!((&ends[0]["id"], &ends[0]["result"]["_meta"][id]), (&"L2".into(), &"L2".into()));
    assert_eq!(ends[0]["result"]["resultType"], "complete");
}

#[test]
fn a_client_that_does_not_read_is_told_once() {
    let mut test = Test::legacy("2025-11-25");
    test.ask("resources/subscribe", &json!({"uri": "mesh://inbox"}));
    let to = Id::from(1);
    let large = "x".repeat(crate::limits::RPC_OUT_PAUSE_BYTES);
    test.out.respond(&to, &large, vec![]);
    for _ in 0..9 {
        test.session.subscriptions.changed(Topic::Inbox, &mut test.out);
    }
    assert_eq!(lines(&mut test.out).len(), 1);
    test.session.subscriptions.catch_up(&mut test.out);
    test.session.subscriptions.catch_up(&mut test.out);
    assert_eq!(lines(&mut test.out).len(), 1);
}

#[test]
fn prompts_are_given_what_was_given_to_them() {
    let mut test = Test::legacy("2025-11-25");
    let params = json!({"name": "mesh-send", "arguments": {"to": "bob", "message": "hi"}});
    let result = &test.ask("prompts/get", &params)["result"];
    let message = &result["messages"][0];
    assert_eq!((&message["role"], &message["content"]["type"]), (&"user".into(), &"text".into()));
    assert!(message["content"]["text"].as_str().unwrap().contains("bob hi"));
    for params in [json!({"name": "x"}), json!({}), json!({"name": "mesh-send", "arguments": 5})] {
        assert_eq!(test.code("prompts/get", &params), INVALID_PARAMS, "{params}");
    }
}

#[test]
fn logging_is_off_until_it_is_asked_for() {
    use crate::mcp::subscriptions::LogLevel;

    let mut test = Test::legacy("2025-11-25");
    test.session.subscriptions.log(LogLevel::Emergency, "x", &mut test.out);
    assert!(lines(&mut test.out).is_empty());
    assert_eq!(test.code("logging/setLevel", &json!({"level": "loud"})), INVALID_PARAMS);
    assert_eq!(test.ask("logging/setLevel", &json!({"level": "info"}))["result"], json!({}));
    test.session.subscriptions.log(LogLevel::Debug, "x", &mut test.out);
    test.session.subscriptions.log(LogLevel::Notice, "y", &mut test.out);
    let notes = lines(&mut test.out);
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0]["params"], json!({"level": "notice", "logger": "slm-mesh", "data": "y"}));
}

#[test]
fn what_is_no_message_is_answered_and_does_no_harm() {
    let mut test = Test::legacy("2025-11-25");
    for (line, code, id) in [
        ("this is not json", -32700, None),
        (r#"{"id":5,"method":"ping"}"#, -32600, Some(json!(5))),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, None),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, None),
        ("[]", -32600, None),
        ("5", -32600, None),
    ] {
        let answers = test.send(line);
        assert_eq!(answers.len(), 1, "{line}");
        assert_eq!(answers[0]["error"]["code"], code, "{line}");
        assert_eq!(answers[0].get("id"), id.as_ref(), "{line}");
    }
    for line in [
        r#"{"jsonrpc":"2.0","id":99,"result":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/unknown","params":{"a":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/list"}"#,
    ] {
        assert!(test.send(line).is_empty(), "{line}");
    }
    assert!(test.session.events.is_empty());
    test.tell("notifications/cancelled", &json!({"requestId": 42}));
    assert!(
        matches!(test.session.events.pop_front(), Some(ClientEvent::Cancel(id)) if id == Id::from(42))
    );
}

#[test]
fn batches_are_refused_in_every_version() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut test = Test::legacy(version);
        let answers = test.send(
            r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"mesh_inbox"}}]"#,
        );
        assert_eq!(answers.len(), 1, "{version}");
        assert_eq!(answers[0]["error"]["code"], INVALID_REQUEST, "{version}");
        assert!(answers[0]["error"]["message"].as_str().unwrap().contains("a line of its own"));
        assert!(test.session.events.is_empty(), "nothing of it is done");
    }
}

#[test]
fn a_byte_order_mark_before_the_first_line_is_skipped() {
    let mut test = Test::new();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    let first = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let answers = test.send(&format!("\u{feff}{first}"));
    assert_eq!(answers[0]["result"]["protocolVersion"], "2025-11-25");
}

#[test]
fn roots_are_asked_for_where_there_are_any() {
    let mut test = Test::new();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"roots": {}}});
    test.ask("initialize", &params);
    let asked = test.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(asked.len(), 1);
    assert_eq!((&asked[0]["method"], &asked[0]["id"]), (&"roots/list".into(), &1.into()));
    assert!(matches!(test.session.events.pop_front(), Some(ClientEvent::Settled)));
    assert!(test.session.awaits_roots());
    let roots = r#"{"jsonrpc":"2.0","id":1,"result":{"roots":[{"uri":"file:///a"}]}}"#;
    assert!(test.send(roots).is_empty());
    let Some(ClientEvent::Root(Some(root))) = test.session.events.pop_front() else { panic!() };
    assert_eq!(root, PathBuf::from("/a"));
    assert!(test.send(roots).is_empty() && test.session.events.is_empty(), "answered already");
    let again = test.send(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#);
    assert_eq!(again[0]["id"], 2);
    test.send(r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"no"}}"#);
    assert!(matches!(test.session.events.pop_front(), Some(ClientEvent::Root(None))));

    let mut test = Test::legacy("2025-11-25");
    assert!(test.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).is_empty());
}
