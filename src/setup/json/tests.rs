use super::*;

fn node() -> Node {
    Node::Map(vec![("command", Node::text("/x")), ("args", Node::List(Vec::new()))])
}

fn put(text: &str) -> String {
    set(text, &["mcpServers", "slm-mesh"], node()).unwrap()
}

/// `text` with the entry, and without it again.
#[track_caller]
fn round_trip(text: &str, expected: &str) {
    let with = put(text);
    assert_eq!(with, expected);
    let without = remove(&with, &["mcpServers", "slm-mesh"]).unwrap();
    assert_eq!(without, text, "taken out again");
}

const ENTRY: &str = "{\n      \"command\": \"/x\",\n      \"args\": []\n    }";

#[test]
fn an_empty_text_becomes_an_object() {
    let whole = format!("{{\n  \"mcpServers\": {{\n    \"slm-mesh\": {ENTRY}\n  }}\n}}");
    for text in ["", " \n"] {
        assert_eq!(put(text), format!("{whole}\n"));
    }
    for text in ["{}", "{ }", "{\n}"] {
        assert_eq!(put(text), whole);
    }
    assert_eq!(put("// mine\n"), format!("// mine\n{whole}\n"));
    assert_eq!(put("{ // mine\n}"), whole.replacen('{', "{ // mine", 1));
}

#[test]
fn the_layout_of_the_neighbours_is_kept() {
    let four = "{\n    \"mcpServers\": {\n        \"a\": 1\n    }\n}\n";
    round_trip(
        four,
        "{\n    \"mcpServers\": {\n        \"a\": 1,\n        \"slm-mesh\": {\n            \
         \"command\": \"/x\",\n            \"args\": []\n        }\n    }\n}\n",
    );
    let tabs = "{\r\n\t\"mcpServers\": {\r\n\t\t\"a\": 1\r\n\t}\r\n}\r\n";
    round_trip(
        tabs,
        "{\r\n\t\"mcpServers\": {\r\n\t\t\"a\": 1,\r\n\t\t\"slm-mesh\": {\r\n\t\t\t\
         \"command\": \"/x\",\r\n\t\t\t\"args\": []\r\n\t\t}\r\n\t}\r\n}\r\n",
    );
    round_trip(
        "{\"mcpServers\": {\"a\": 1}}",
        "{\"mcpServers\": {\"a\": 1, \"slm-mesh\": {\"command\": \"/x\", \"args\": []}}}",
    );
    round_trip(
        "{\"mcpServers\":{\"a\":1},\"b\":2}",
        "{\"mcpServers\":{\"a\":1,\"slm-mesh\":{\"command\":\"/x\",\"args\":[]}},\"b\":2}",
    );
    round_trip(
        "{\"mcpServers\":{}}",
        "{\"mcpServers\":{\"slm-mesh\":{\"command\":\"/x\",\"args\":[]}}}",
    );
}

#[test]
fn comments_and_commas_stay_where_they_are() {
    round_trip(
        "{\n  // top\n  \"mcpServers\": { // here\n    \"a\": 1 // one\n    /* end */\n  } /* x */\n}\n",
        &format!(
            "{{\n  // top\n  \"mcpServers\": {{ // here\n    \"a\": 1, // one\n    \"slm-mesh\": {ENTRY}\n    \
             /* end */\n  }} /* x */\n}}\n"
        ),
    );
    // With commas after the last one, so is ours.
    round_trip(
        "{\n  \"mcpServers\": {\n    \"a\": 1, // one, two\n    // end\n  },\n}\n",
        &format!(
            "{{\n  \"mcpServers\": {{\n    \"a\": 1, // one, two\n    \"slm-mesh\": {ENTRY},\n    // end\n  \
             }},\n}}\n"
        ),
    );
    // A brace, a comma and slashes within texts are none.
    round_trip(
        "{\n  \"mcpServers\": {\n    \"}, // \\\" \": \"/* ,\"\n  }\n}",
        &format!(
            "{{\n  \"mcpServers\": {{\n    \"}}, // \\\" \": \"/* ,\",\n    \"slm-mesh\": {ENTRY}\n  }}\n}}"
        ),
    );
}

#[test]
fn members_are_taken_out_of_any_place() {
    for (text, expected) in [
        ("{\"x\": 1, \"y\": 2}", "{\"y\": 2}"),
        ("{\"y\": 2, \"x\": 1}", "{\"y\": 2}"),
        ("{\"y\": 2, \"x\": 1, \"z\": 3}", "{\"y\": 2, \"z\": 3}"),
        ("{ \"x\": 1 }", "{}"),
        ("{\n  \"x\": 1,\n  \"y\": 2\n}", "{\n  \"y\": 2\n}"),
        ("{\n  \"y\": 2,\n  \"x\": 1\n}", "{\n  \"y\": 2\n}"),
        ("{\n  \"y\": 2, // c\n  \"x\": 1,\n}", "{\n  \"y\": 2, // c\n}"),
        ("{\n  \"y\": 2, // c\n  \"x\": 1}", "{\n  \"y\": 2 // c\n}"),
        ("{ // c\n  \"x\": 1 }", "{ // c\n }"),
        ("{\n  \"x\": 1 // mine\n}", "{ // mine\n}"),
    ] {
        assert_eq!(remove(text, &["x"]).unwrap(), expected, "{text}");
    }
    assert_eq!(remove("{\"y\": 2}", &["x"]).unwrap(), "{\"y\": 2}");
    // The last of two of one name is the one that counts.
    assert_eq!(remove("{\"x\": 1, \"x\": 2}", &["x"]).unwrap(), "{\"x\": 1}");
}

#[test]
fn elements_come_and_go() {
    let hook = Node::Map(vec![("command", Node::text("c"))]);
    let text = "{\n  \"hooks\": {\n    \"Stop\": [\n      { \"a\": 1 }\n    ]\n  }\n}\n";
    let with = append(text, &["hooks", "Stop"], hook.clone()).unwrap();
    assert_eq!(
        with,
        "{\n  \"hooks\": {\n    \"Stop\": [\n      { \"a\": 1 },\n      {\n        \"command\": \
         \"c\"\n      }\n    ]\n  }\n}\n"
    );
    assert_eq!(remove_element(&with, &["hooks", "Stop"], 1).unwrap(), text);
    assert_eq!(remove_element(text, &["hooks", "Stop"], 7).unwrap(), text);
    let with = append("{}", &["hooks", "Stop"], hook.clone()).unwrap();
    let inner = "[\n      {\n        \"command\": \"c\"\n      }\n    ]";
    assert_eq!(with, format!("{{\n  \"hooks\": {{\n    \"Stop\": {inner}\n  }}\n}}"));
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    for (text, line, column) in [
        ("{ broken", 1, 3),
        ("{\n  \"a\": 1\n  \"b\": 2\n}", 2, 9),
        ("{\"é\": x}", 1, 7),
        ("{\"a\": 'x'}", 1, 7),
        ("[]", 1, 1),
        ("\n5", 2, 1),
        ("{} {}", 1, 4),
        ("{\"a\": 0x1F}", 1, 7),
    ] {
        let Err(Trouble::Malformed { line: at_line, column: at_column, what }) =
            set(text, &["a"], node())
        else {
            panic!("{text}");
        };
        assert_eq!((at_line, at_column), (line, column), "{text}: {what}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(read(&deep, |_| ()), Err(Trouble::Malformed { .. })));
    let text = "{\n  \"mcpServers\": []\n}";
    let Err(Trouble::Unexpected(why)) = set(text, &["mcpServers", "x"], node()) else {
        panic!("an array");
    };
    assert_eq!(why, "`mcpServers` (line 2, column 17) is not an object");
    assert!(matches!(append("{\"a\": {}}", &["a"], node()), Err(Trouble::Unexpected(_))));
}

#[test]
fn texts_are_escaped() {
    let text = set("{}", &["a"], Node::text("/a \"b\"\\\n\u{1f}é")).unwrap();
    assert_eq!(text, "{\n  \"a\": \"/a \\\"b\\\"\\\\\\n\\u001fé\"\n}");
    let same = read(&text, |root| {
        Node::text("/a \"b\"\\\n\u{1f}é").is(find(root.unwrap(), &["a"]).unwrap())
    });
    assert!(same.unwrap());
}
