use super::hooks::{command, is_own};
use super::*;
use crate::agents::{Entry, Event, HookShape, MCP_SERVERS, Shape};

const EVENTS: &[Event] = &[
    Event { name: "Stop", matcher: None, seconds: 5, waits: false },
    Event { name: "PreToolUse", matcher: Some("Write"), seconds: 5, waits: false },
    Event { name: "Stop", matcher: None, seconds: 900, waits: true },
];
const HOOK_PARTS: &[Part] = &[Part::Hooks {
    shape: HookShape::Groups { second: 1, name: false },
    agent: "codex",
    events: EVENTS,
}];

fn program(path: &str) -> Program {
    Program { path: path.into(), is_usual_dir: true, ..Program::default() }
}

fn installed(text: &str, path: &str) -> Planned {
    install(text, HOOK_PARTS, &program(path), &Memory::default()).unwrap()
}

#[test]
fn hooks_of_others_stay_even_in_one_group_with_ours() {
    let mine = r#"{"hooks": {"Stop": [{"hooks": [{"command": "mine"}, {"command": "/old/slm-mesh hook codex"}]}], "Other": [{"hooks": [{"command": "/old/slm-mesh hook codex"}, {"command": "'/o d/slm-mesh' hook codex"}]}]}}"#;
    let planned = installed(mine, "/new/slm-mesh");
    assert!(!planned.text.contains("/old") && !planned.text.contains("o d"), "{}", planned.text);
    assert_eq!(planned.text.matches("/new/slm-mesh hook codex").count(), EVENTS.len());
    assert!(planned.text.contains(r#"{"hooks": [{"command": "mine"}]}"#), "{}", planned.text);
    let again = installed(&planned.text, "/new/slm-mesh");
    assert_eq!(again.text, planned.text);
    let without = uninstall(&planned.text, HOOK_PARTS, &program("/x"), &planned.memory).unwrap();
    assert_eq!(without, r#"{"hooks": {"Stop": [{"hooks": [{"command": "mine"}]}], "Other": []}}"#);
}

#[test]
fn a_hook_for_another_agent_or_by_another_program_is_none_of_ours() {
    for (line, own) in [
        ("/x/slm-mesh hook codex", Some(false)),
        ("'/a b/slm-mesh' hook codex", Some(false)),
        ("slm-mesh hook codex", Some(false)),
        ("/x/slm-mesh-1.2 hook codex", Some(false)),
        ("/x/slm-mesh hook cursor", None),
        ("/x/slm-mesher hook codex", None),
        ("/x/other hook codex", None),
        ("/x/slm-mesh hook codex --more", None),
        ("hook codex", None),
        ("/x/slm-mesh hook codex --wait", Some(true)),
        ("/x/slm-mesh hook codex --wait --data-dir '/a b'", Some(true)),
        ("/x/slm-mesh hook codex --data-dir /a", Some(false)),
        ("/x/slm-mesh hook codex-x", None),
    ] {
        assert_eq!(is_own(line, "codex"), own, "{line}");
    }
}

#[test]
fn a_path_is_one_word_to_the_shell() {
    for path in
        ["/usr/bin/slm-mesh", "/a b/slm-mesh", "/a'b/slm-mesh", "/$(x)/`y`/slm-mesh", "/é/slm-mesh"]
    {
        let command = command(&program(path), "codex", false);
        let shell = format!("set -- {command}; printf '%s|' \"$@\"");
        let said = std::process::Command::new("sh").args(["-c", &shell]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{path}|hook|codex|"));
        assert_eq!(is_own(&command, "codex"), Some(false), "{command}");
    }
}

#[test]
fn only_what_says_nothing_is_blank() {
    for (text, blank) in [
        ("", true),
        (" \n", true),
        ("{}\n", true),
        ("\u{feff}{ }", true),
        ("{\"a\": 1}", false),
        ("// c\n{}", false),
    ] {
        assert_eq!(is_blank(text), blank, "{text:?}");
    }
}

#[test]
fn whatever_an_object_has_stays_in_it() {
    // Members in any combination, on one line and on many, with and without comments.
    let members = [
        "\"a\": 1",
        "\"b\": {\"c\": [1, {\"d\": null}]}",
        "\"mcpServers\": {\"x\": {}}",
        "\"e\": \"}\\\"//\"",
    ];
    let shape = Shape::Json(Entry { kind: Some("stdio"), env: true, ..MCP_SERVERS });
    let part = [Part::Server(shape)];
    let program = program("/p/slm-mesh");
    let layouts = [
        ("{", ", ", "", "}"),
        ("{\n  ", ",\n  ", "", "\n}\n"),
        ("{ // s\r\n\t", ", /* m */ // n\r\n\t", ",", " // t\r\n}"),
        ("/* {} */{", "\n,", "/**/", "}//"),
    ];
    for chosen in 0..1 << members.len() {
        let some: Vec<_> = (0..members.len())
            .filter(|bit| chosen >> bit & 1 == 1)
            .map(|bit| members[bit])
            .collect();
        for (open, between, last, close) in layouts {
            let last = if some.is_empty() { "" } else { last };
            let text = format!("{open}{}{last}{close}", some.join(between));
            let planned = install(&text, &part, &program, &Memory::default()).unwrap();
            let look = look(&planned.text, &part[0], &program).unwrap();
            assert_eq!(look.found, Found::Current, "{text}\n{}", planned.text);
            let mut rest = planned.text.chars();
            // What there was is there in its order; commas may be new.
            for c in text.chars().filter(|c| !c.is_whitespace()) {
                assert!(
                    rest.any(|other| other == c),
                    "{c:?} of\n{text}\nis not in\n{}",
                    planned.text
                );
            }
            let without = uninstall(&planned.text, &part, &program, &planned.memory).unwrap();
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            let comma = |text: &str| bare(text).replace(',', "");
            assert_eq!(comma(&without), comma(&text), "{}", planned.text);
        }
    }
}

#[test]
fn a_hook_of_a_former_version_is_brought_up_to_date_in_its_place() {
    let old = r#"{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "/old/slm-mesh hook codex", "timeout": 9}]}, {"hooks": [{"command": "mine"}]}]}}"#;
    let planned = installed(old, "/new/slm-mesh");
    let own = hooks::own(&planned.text, HookShape::Groups { second: 1, name: false }, "codex");
    let places: Vec<_> = own.unwrap().iter().map(|own| (own.event.clone(), own.group)).collect();
    // The one of someone else is where it was.
    let expected = [("Stop", 0), ("Stop", 2), ("PreToolUse", 0)].map(|(e, at)| (e.to_owned(), at));
    assert_eq!(places, expected, "{}", planned.text);
    assert!(planned.text.contains(r#""asyncRewake": true"#), "{}", planned.text);
    let look = look(old, &HOOK_PARTS[0], &program("/old/slm-mesh")).unwrap();
    let missing = ["PreToolUse", "Stop (the one that waits)"].map(str::to_owned);
    assert_eq!((look.found, look.missing), (Found::Other, missing.to_vec()));
}

#[test]
fn leave_is_given_once_and_taken_back_unless_it_was_there() {
    let (part, program) = ([Part::Allow], program("/p/slm-mesh"));
    for text in [
        "{}",
        r#"{"permissions": {"allow": ["Bash"]}}"#,
        r#"{"permissions": {"allow": ["mcp__slm-mesh"]}}"#,
    ] {
        let planned = install(text, &part, &program, &Memory::default()).unwrap();
        assert!(planned.text.contains("mcp__plugin_slm-mesh_slm-mesh__*"), "{}", planned.text);
        let again = install(&planned.text, &part, &program, &planned.memory).unwrap();
        assert_eq!(again.text, planned.text);
        let without = uninstall(&planned.text, &part, &program, &planned.memory).unwrap();
        assert_eq!(without.split_whitespace().collect::<String>(), text.replace(' ', ""));
    }
}

#[test]
fn a_setting_that_its_person_has_switched_off_stays_so() {
    let (part, program) = ([Part::Setting("experimental")], program("/p/slm-mesh"));
    let planned = install("{}", &part, &program, &Memory::default()).unwrap();
    assert!(planned.text.contains("\"experimental\": true"), "{}", planned.text);
    let without = uninstall(&planned.text, &part, &program, &planned.memory).unwrap();
    assert!(is_blank(&without), "{without}");
    let off = "{\"experimental\": false}";
    let refused = install(off, &part, &program, &Memory::default()).unwrap_err();
    assert!(refused.to_string().contains("is not true there"), "{refused}");
}

#[test]
fn a_script_is_told_where_the_program_and_its_mesh_are() {
    let part = Part::Script("// x\nconst PROGRAM = \"slm-mesh\"\nconst OPTIONS = []\n");
    let mut program = program("/a \"b/slm-mesh");
    let text = whole(&part, &program).unwrap();
    assert_eq!(text, "// x\nconst PROGRAM = \"/a \\\"b/slm-mesh\"\nconst OPTIONS = []\n");
    (program.data_dir, program.is_usual_dir) = ("/d".into(), false);
    let text = whole(&part, &program).unwrap();
    assert!(text.ends_with("const OPTIONS = [\"--data-dir\", \"/d\"]\n"), "{text}");
}
