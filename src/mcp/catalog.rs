//! What the server offers: tools, prompts, resources, and the instructions.
//!
//! Agents read these texts, which are in files of their own: `catalog/`, and the skills for the prompts.
//! Every agent pays for them with its context; the tests hold them to their budgets.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::arguments::Tool;
use super::values::ArgumentKind;
use crate::api::Members;
use crate::skills::{self, Skill};

/// How the server is to be used, for the agent's system prompt.
pub(super) const INSTRUCTIONS: &str = include_str!("catalog/instructions.txt").trim_ascii_end();

/// The list of `tools/list`.
pub(super) static TOOLS: LazyLock<Box<RawValue>> =
    LazyLock::new(|| compact(include_str!("catalog/tools.json")));

/// What [`TOOLS`] says of the arguments of each tool.
static SCHEMAS: LazyLock<Vec<Schema<'_>>> =
    LazyLock::new(|| serde_json::from_str(TOOLS.get()).unwrap_or_default());

#[derive(Deserialize)]
struct Schema<'a> {
    name: &'a str,
    #[serde(rename = "inputSchema", borrow)]
    input: Input<'a>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    properties: Members<'a, Property>,
}

/// An argument of a tool.
#[derive(Deserialize)]
pub(super) struct Property {
    #[serde(rename = "type")]
    pub(super) kind: ArgumentKind,
}

/// The arguments of a tool by name, in the order of its schema.
pub(super) fn arguments(tool: Tool) -> &'static [(Cow<'static, str>, Property)] {
    let schema = SCHEMAS.iter().find(|schema| schema.name == tool.name());
    schema.map_or(&[], |schema| &schema.input.properties.0)
}

/// The list of `resources/list`.
pub(super) static RESOURCES: LazyLock<Box<RawValue>> =
    LazyLock::new(|| compact(include_str!("catalog/resources.json")));

/// The list of `resources/templates/list`.
pub(super) static TEMPLATES: LazyLock<Box<RawValue>> =
    LazyLock::new(|| compact(include_str!("catalog/templates.json")));

/// A prompt: the text of a skill.
#[derive(Debug)]
pub(super) struct Prompt {
    skill: &'static Skill,
    /// Its arguments, in the order in which the text has them.
    arguments: &'static [Argument],
}

/// An argument of a prompt. All are optional.
#[derive(Debug, Serialize)]
pub(super) struct Argument {
    name: &'static str,
    description: &'static str,
}

/// The place in a skill's text for what the user has given, as agents with skills write it.
const GIVEN: &str = "$ARGUMENTS";

macro_rules! prompt {
    ($skill:ident $(, $argument:literal: $description:literal)*) => {
        Prompt {
            skill: &skills::$skill,
            arguments: &[$(Argument { name: $argument, description: $description }),*],
        }
    };
}

/// The list of `prompts/list`.
pub(super) static PROMPTS: [Prompt; 5] = [
    prompt!(SYNC),
    prompt!(PEERS),
    prompt!(SEND, "to": "Name or id of a peer, or all", "message": "What to tell it"),
    prompt!(LOCK, "file": "The file; without it the locks are shown"),
    prompt!(STATUS),
];

impl Prompt {
    /// The prompt of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        PROMPTS.iter().find(|prompt| prompt.skill.name == name)
    }

    pub(super) fn description(&self) -> &'static str {
        self.skill.head("description")
    }

    /// Its text, with what was given to it.
    pub(super) fn text<'a>(&self, given: impl Fn(&str) -> Option<&'a str>) -> String {
        let given: Vec<&str> =
            self.arguments.iter().filter_map(|argument| given(argument.name)).collect();
        let given = if given.is_empty() { "(nothing)".to_owned() } else { given.join(" ") };
        self.skill.text().replace(GIVEN, &given)
    }
}

/// As `prompts/list` has it.
impl Serialize for Prompt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.skill.name)?;
        map.serialize_entry("description", self.description())?;
        if !self.arguments.is_empty() {
            map.serialize_entry("arguments", self.arguments)?;
        }
        map.end()
    }
}

/// JSON without its white space; `null` if it is invalid, which our own files are not, as the tests show.
fn compact(json: &str) -> Box<RawValue> {
    RawValue::from_string(crate::api::compact(json)).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::limits::{INSTRUCTIONS_BYTES_MAX, SUMMARY_CHARS_MAX, TOOLS_BYTES_MAX};

    fn list(raw: &RawValue) -> Vec<Value> {
        assert!(!raw.get().contains('\n'), "compact");
        serde_json::from_str(raw.get()).unwrap()
    }

    #[test]
    fn what_every_agent_reads_stays_within_its_budget() {
        let tools = TOOLS.get().len();
        assert!(tools <= TOOLS_BYTES_MAX, "{tools}");
        assert!(INSTRUCTIONS.len() <= INSTRUCTIONS_BYTES_MAX, "{}", INSTRUCTIONS.len());
    }

    #[test]
    fn white_space_goes_and_texts_stay() {
        let json = "{ \"a b\" : [ 1, \"x \\\" y\\\\\" , \" z\" ]\n}";
        let compact = compact(json);
        assert_eq!(compact.get(), r#"{"a b":[1,"x \" y\\"," z"]}"#);
        let tools: Value = serde_json::from_str(include_str!("catalog/tools.json")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(TOOLS.get()).unwrap(), tools);
    }

    #[test]
    fn the_schemas_name_the_arguments_that_are_read() {
        let tools = list(&TOOLS);
        assert_eq!(tools.len(), Tool::ALL.len());
        for (entry, (tool, _)) in tools.iter().zip(Tool::ALL) {
            assert_eq!(entry["name"], tool.name());
            let schema = &entry["inputSchema"];
            assert_eq!(schema["type"], "object");
            let properties = schema["properties"].as_object().unwrap();
            let mut arguments: Vec<&str> =
                arguments(tool).iter().map(|(name, _)| &**name).collect();
            arguments.sort_unstable();
            assert!(properties.keys().eq(&arguments), "{}", tool.name());
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(arguments.contains(&required.as_str().unwrap()));
            }
            let hints = entry["annotations"].as_object().unwrap();
            assert_eq!(hints["openWorldHint"], false);
            assert!(hints.contains_key("readOnlyHint") || hints.contains_key("destructiveHint"));
            // Else Claude Code shows its model the name only, until that looks for it.
            assert_eq!(entry["_meta"]["anthropic/alwaysLoad"], true, "{}", tool.name());
        }
        assert_eq!(
            tools[1]["inputSchema"]["properties"]["summary"]["maxLength"],
            SUMMARY_CHARS_MAX
        );
    }

    #[test]
    fn prompts_are_the_skills() {
        for (prompt, name) in
            PROMPTS.iter().zip(["mesh-sync", "mesh-peers", "mesh-send", "mesh-lock", "mesh-status"])
        {
            assert_eq!(prompt.skill.name, name);
            assert!(prompt.description().len() > 20);
            let text = prompt.text(|_| None);
            assert!(!text.contains(GIVEN) && !text.contains("---"), "{text}");
            assert_eq!(text.contains("(nothing)"), !prompt.arguments.is_empty());
        }
        let send = Prompt::find("mesh-send").unwrap();
        let given = |name: &str| Some(if name == "to" { "webapp" } else { "hello there" });
        assert!(send.text(given).contains("What the user gave: webapp hello there\n"));
        let json = serde_json::to_value(send).unwrap();
        assert_eq!(json["arguments"][1]["name"], "message");
        assert!(Prompt::find("mesh-nothing").is_none());
    }

    #[test]
    fn resources_are_complete() {
        for (raw, key, count) in [(&*RESOURCES, "uri", 4), (&*TEMPLATES, "uriTemplate", 1)] {
            let entries = list(raw);
            assert_eq!(entries.len(), count);
            for entry in entries {
                assert!(entry[key].as_str().unwrap().starts_with("mesh://"));
                assert!(entry["name"].is_string() && entry["mimeType"] == "application/json");
            }
        }
    }
}
