//! Settings of an agent that keep our server or hooks from working: switched off, excluded, not
//! trusted. They are only read. Files that cannot be read are skipped, since others report them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jsonc_parser::ast::Value;
use toml_edit::{Document, Item};

use super::plan::hooks::{self, Own};
use super::record::hash;
use super::{ENTRY, disk, json};
use crate::agents::settings::{At, HERE};
use crate::agents::{Agent, HookShape, Place, Switch};

/// A setting that keeps something from working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The file with the setting.
    pub path: PathBuf,
    /// What it says.
    pub what: String,
    /// What to do.
    pub todo: String,
}

/// The name of our plugin, and of the marketplace that it comes from.
const PLUGIN: &str = "slm-mesh@slm-mesh";

/// What in the settings of `agent` keeps ours from working, for a session in `here`.
#[must_use]
pub fn obstacles(agent: &Agent, place: &Place, here: &Path) -> Vec<Obstacle> {
    let settings = &agent.settings;
    let dir = (settings.dir)(place);
    let path = |at: At| at.resolve(&dir, place, here);
    let here = here.to_string_lossy();
    let names = |names: &'static [&'static str]| -> Vec<&str> {
        names.iter().map(|name| if *name == HERE { &*here } else { *name }).collect()
    };
    let mut found = Vec::new();
    for switch in settings.switches {
        let mut check = |file: At, is_off: &dyn Fn(&Json) -> bool, what: String, todo: &str| {
            let json = Json::read(&path(file));
            if is_off(&json) {
                found.push(Obstacle { path: json.path, what, todo: todo.into() });
            }
        };
        match *switch {
            Switch::Hooks(file, way, off) => {
                let name = way.join(".");
                let todo = format!("set `{name}` to {}", !off);
                let what = format!("`{name}` switches hooks off");
                check(file, &|json| json.is(&names(way), off), what, &todo);
            }
            Switch::OurHooks(file, way) => {
                let what = format!("`{}` switches our hooks off", way.join("."));
                let todo = "run /hooks there, enable slm-mesh";
                check(file, &|json| json.names_us(&names(way)) == Some(true), what, todo);
            }
            Switch::Server(file, way, todo) => {
                let name = way.last().copied().unwrap_or_default();
                let what = format!("`{name}` switches the server off");
                check(file, &|json| json.names_us(&names(way)) == Some(true), what, todo);
            }
            Switch::Excluded(file) => {
                for (list, named, todo) in [
                    ("excluded", true, "take slm-mesh out of that list"),
                    ("allowed", false, "add slm-mesh to that list"),
                ] {
                    let what = format!("`mcp.{list}` leaves the server out");
                    check(file, &|json| json.names_us(&["mcp", list]) == Some(named), what, todo);
                }
            }
            Switch::Enabled(file, todo) => {
                let what = "the server is switched off".into();
                check(file, &|json| json.is(&[ENTRY, "enabled"], false), what, todo);
            }
            Switch::Trust(file) => {
                let hooks = settings.hooks.iter().map(|hooks| dir.join(hooks.file));
                found.extend(hooks.flat_map(|hooks| untrusted(agent.name, &path(file), &hooks)));
            }
        }
    }
    found
}

fn text(path: &Path) -> String {
    let file = disk::read(path).ok().flatten();
    file.and_then(|file| String::from_utf8(file.bytes).ok()).unwrap_or_default()
}

/// A file of settings in JSON.
struct Json {
    path: PathBuf,
    text: String,
}

impl Json {
    fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), text: text(path) }
    }

    fn look<T>(&self, path: &[&str], look: impl FnOnce(&Value<'_>) -> Option<T>) -> Option<T> {
        let text = self.text.trim_start_matches('\u{feff}');
        json::read_at(text, path, |value| value.and_then(look)).ok().flatten()
    }

    fn is(&self, path: &[&str], wanted: bool) -> bool {
        let is = |value: &Value<'_>| match value {
            Value::BooleanLit(value) => Some(value.value == wanted),
            _ => None,
        };
        self.look(path, is) == Some(true)
    }

    /// Whether the list at `path` names us. None if there is none, or nothing is in it.
    fn names_us(&self, path: &[&str]) -> Option<bool> {
        self.look(path, |value| {
            let list = json::elements(value);
            let is_us =
                |value: &Value<'_>| matches!(value, Value::StringLit(s) if s.value == ENTRY);
            (!list.is_empty()).then(|| list.iter().any(is_us))
        })
    }
}

fn item<'a>(document: &'a Document<&str>, path: &[&str]) -> Option<&'a Item> {
    let (first, rest) = path.split_first()?;
    let root = document.as_table().get(first)?;
    rest.iter().try_fold(root, |item, name| item.as_table_like()?.get(name))
}

/// The file of JSON, if our plugin is on by it.
pub(super) fn enables_plugin(path: PathBuf) -> Option<PathBuf> {
    Json::read(&path).is(&["enabledPlugins", PLUGIN], true).then_some(path)
}

/// The file of TOML, if our plugin is on by it.
pub(super) fn enables_plugin_in_toml(path: PathBuf) -> Option<PathBuf> {
    let text = text(&path);
    let document = Document::parse(text.as_str()).ok()?;
    let enabled = item(&document, &["plugins", PLUGIN])?.as_table_like()?.get("enabled");
    let off = enabled.and_then(Item::as_bool) == Some(false);
    (!off).then_some(path)
}

/// Codex runs a hook only if its person has trusted it as it is now.
fn untrusted(agent: &str, config: &Path, hooks: &Path) -> Vec<Obstacle> {
    let settings = text(config);
    let Ok(document) = Document::parse(settings.as_str()) else { return Vec::new() };
    let mut found = Vec::new();
    let mut obstacle = |what: String, todo: &str| {
        found.push(Obstacle { path: config.to_owned(), what, todo: todo.into() });
    };
    if item(&document, &["features", "hooks"]).and_then(Item::as_bool) == Some(false) {
        let what = "`features.hooks` switches hooks off".into();
        obstacle(what, "set `features.hooks` to true");
    }
    let mut state = HashMap::new();
    let kept = item(&document, &["hooks", "state"]).and_then(Item::as_table_like);
    for (key, item) in kept.into_iter().flat_map(toml_edit::TableLike::iter) {
        let get = |name: &str| item.as_table_like().and_then(|table| table.get(name));
        let off = get("enabled").and_then(Item::as_bool) == Some(false);
        state.insert(key, (get("trusted_hash").and_then(Item::as_str), off));
    }
    // The keys have the file's own path, links followed.
    let real = hooks.canonicalize().unwrap_or_else(|_| hooks.to_owned());
    let text = text(hooks);
    let own = hooks::own(&text, HookShape::GROUPS, agent).unwrap_or_default();
    let of = |own: &Own| state.get(own.codex_key(&real).as_str()).copied();
    let all = own.len();
    let untrusted = own
        .iter()
        .filter(|own| of(own).and_then(|state| state.0) != Some(&own.codex_hash()))
        .count();
    let off = own.iter().filter(|own| of(own).is_some_and(|state| state.1)).count();
    if untrusted > 0 {
        let what = format!("{untrusted} of {all} hooks are not trusted");
        obstacle(what, "start codex and choose \"Trust all\", or run /hooks in it");
    }
    if off > 0 {
        let what = format!("{off} of {all} hooks are switched off");
        obstacle(what, "run /hooks in codex, and enable them");
    }
    found
}

impl Own {
    /// The name under which Codex remembers what was decided of a hook.
    fn codex_key(&self, hooks: &Path) -> String {
        let inner = self.inner.unwrap_or_default();
        format!("{}:{}:{}:{inner}", hooks.display(), snake(&self.event), self.group)
    }

    /// SHA-256 of what Codex takes a hook to be: JSON with its keys in order.
    fn codex_hash(&self) -> String {
        let event = snake(&self.event);
        // It knows no tools at these.
        let no_matcher = ["user_prompt_submit", "stop"].contains(&event.as_str());
        let matcher = self.matcher.as_ref().filter(|_| !no_matcher);
        let matcher = matcher.map(|matcher| format!(",\"matcher\":{}", json::quoted(matcher)));
        let identity = format!(
            "{{\"event_name\":\"{event}\",\"hooks\":[{{\"async\":false,\"command\":{},\
             \"timeout\":{},\"type\":\"command\"}}]{}}}",
            json::quoted(&self.command),
            self.seconds.unwrap_or(600),
            matcher.unwrap_or_default(),
        );
        format!("sha256:{}", hash(identity.as_bytes()))
    }
}

/// `PreToolUse` as `pre_tool_use`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::tests::TempDir;

    /// What `hooks/list` of Codex 0.171.0 says of these hooks.
    const HOOKS: &str = r#"{"hooks": {
        "SessionStart": [{"hooks": [{"type": "command", "command": "/x/slm-mesh hook codex", "timeout": 5}]}],
        "PreToolUse": [{"matcher": "apply_patch|Bash", "hooks": [{"type": "command", "command": "/x/slm-mesh hook codex", "timeout": 5}]}],
        "Stop": [{"hooks": [{"type": "command", "command": "/x/slm-mesh hook codex"}]}],
        "SessionEnd": [{"hooks": [{"type": "command", "command": "/x/slm-mesh hook codex", "timeout": 3}]}]
    }}"#;
    const HASHES: [(&str, &str); 4] = [
        ("pre_tool_use", "a829dfd99c9a2e86b302effed353e44df4e4139527780976e4c762495c3d23ce"),
        ("session_start", "d36256d6c8ca7286a69d219c2448603363ecbbf59b3427709ac8655f3e4e0250"),
        ("session_end", "56b6f198abd16f1f224fde7379e90f5702bb8c3424510fd69f47f7e0c1c02723"),
        ("stop", "695dfc1a7608b6ffe11bd8887284fbbb2af426d871da59e0b2dee3cbb92afe9a"),
    ];

    #[test]
    fn a_hook_that_has_changed_since_codex_was_told_to_trust_it_is_not_trusted() {
        let temp = TempDir::new();
        let dir = temp.path().canonicalize().unwrap();
        let (config, hooks) = (dir.join("config.toml"), dir.join("hooks.json"));
        fs::write(&hooks, HOOKS).unwrap();
        let state = HASHES.map(|(event, hash)| {
            let key = format!("{}:{event}:0:0", hooks.display());
            format!("[hooks.state.{key:?}]\ntrusted_hash = \"sha256:{hash}\"\n")
        });
        let trusted = format!("[hooks.state]\n{}", state.concat());
        let said = |settings: &str| -> Vec<String> {
            fs::write(&config, settings).unwrap();
            untrusted("codex", &config, &hooks).into_iter().map(|found| found.what).collect()
        };
        assert_eq!(said(&trusted), Vec::<String>::new());
        assert_eq!(said(""), ["4 of 4 hooks are not trusted"]);
        assert_eq!(said(&trusted.replace("d36256", "d36257")), ["1 of 4 hooks are not trusted"]);
        let off = trusted + "enabled = false\n";
        assert_eq!(said(&off), ["1 of 4 hooks are switched off"]);
        let none = format!("[features]\nhooks = false\n{off}");
        assert_eq!(said(&none)[0], "`features.hooks` switches hooks off");
        fs::write(&hooks, HOOKS.replace("/x/", "/y/")).unwrap();
        assert_eq!(said(&off)[0], "4 of 4 hooks are not trusted");
    }
}
