//! Which words may come next in a command line.

use std::time::{Duration, Instant};

use crate::agents;
use crate::api::{
    EntriesReply, Fetch, Filter, History, HistoryPage, ListPeers, LockInfo, LocksReply, Messages,
    PeersReply, Request, Scope,
};
use crate::cli::actor::CLI;
use crate::cli::catalog::{self, ENTRIES};
use crate::cli::command::{Entry, GLOBAL_OPTIONS};
use crate::client::Client;
use crate::config::Config;
use crate::model::{MessageKind, event_type};
use crate::names;

/// How long the broker may take to answer: someone waits with a finger on a key.
const TIME_MAX: Duration = Duration::from_millis(500);
/// Most handles offered.
const HANDLES_MAX: u32 = 30;

/// A word, and what it means.
type Word = (String, String);

/// The words that may replace the last of `words`, the beginning of which was typed.
pub(super) fn words(config: &Config, words: &[String]) -> Vec<Word> {
    let Some((begun, before)) = words.split_last() else { return Vec::new() };
    let line = TypedLine::read(before);
    let mut found = match (line.entry, line.open) {
        (_, Some(option)) => values(config, &line, option),
        (Some(entry), None) if begun.starts_with('-') => {
            options(entry.options).chain(options(GLOBAL_OPTIONS)).collect()
        }
        (None, None) if begun.starts_with('-') => options(GLOBAL_OPTIONS).collect(),
        (Some(entry), None) => positional(config, &line, entry),
        (None, None) => commands().collect(),
    };
    // Several recipients are separated by commas.
    let several = line.entry.is_some_and(|entry| entry.name == "send") && begun.contains(',');
    let head = begun.rsplit_once(',').filter(|_| several).map(|(head, _)| format!("{head},"));
    if let Some(head) = head {
        for (word, _) in &mut found {
            word.insert_str(0, &head);
        }
    }
    found.retain(|(word, _)| word.starts_with(begun.as_str()));
    found
}

/// The words typed before the one to be completed.
struct TypedLine<'a> {
    entry: Option<&'static Entry>,
    /// The words after the command that are neither options nor their values.
    free: Vec<&'a str>,
    /// The option whose value comes next.
    open: Option<&'static str>,
}

impl<'a> TypedLine<'a> {
    fn read(words: &'a [String]) -> Self {
        let mut line = Self { entry: None, free: Vec::new(), open: None };
        for word in words {
            if line.open.take().is_some() {
                continue;
            }
            if word.starts_with('-') && word.len() > 1 {
                line.open = line.option(word).filter(|_| !word.contains('='));
            } else if line.entry.is_some() {
                line.free.push(word);
            } else {
                line.entry = catalog::find(word).ok();
            }
        }
        line
    }

    /// The option as the catalogue writes it, if it takes a value.
    fn option(&self, word: &str) -> Option<&'static str> {
        let own = self.entry.map(|entry| entry.options).unwrap_or_default();
        let all = own.iter().chain(GLOBAL_OPTIONS);
        all.map(|(written, _)| *written).find(|written| {
            let mut parts = written.split([' ', ',']).filter(|part| !part.is_empty());
            let takes_value = written.split(' ').next_back().is_some_and(|it| !it.starts_with('-'));
            takes_value && parts.any(|part| part == word)
        })
    }
}

fn commands() -> impl Iterator<Item = Word> {
    ENTRIES.iter().map(|entry| (entry.name.to_owned(), entry.summary.to_owned()))
}

fn options(options: &'static [(&str, &str)]) -> impl Iterator<Item = Word> {
    let each = |(written, about): &(&'static str, &'static str)| {
        let (written, about) = (*written, *about);
        let names = written.split([' ', ',']).filter(|part| part.starts_with("--"));
        names.map(move |name| (name.to_owned(), about.to_owned()))
    };
    options.iter().flat_map(each)
}

fn plain<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<Word> {
    words.into_iter().map(|word| (word.to_owned(), String::new())).collect()
}

/// The possible values of an option, given as the catalogue writes it.
fn values(config: &Config, line: &TypedLine<'_>, option: &str) -> Vec<Word> {
    let command = line.entry.map(|entry| entry.name).unwrap_or_default();
    match option.split([' ', ',']).next().unwrap_or_default() {
        "--as" | "--from" | "--peer" | "--with" => peers(config, &[(CLI, "the person")]),
        "--type" if command == "events" => plain(event_type::BUILT_IN),
        "--type" => plain(MessageKind::ALL.iter().map(|kind| kind.as_str())),
        "--scope" => plain(["machine", "directory", "repo"]),
        "--reply-to" | "--thread" => handles(config),
        "--prefix" => keys(config),
        "--namespace" => plain([names::SHARED_NAMESPACE]),
        _ => Vec::new(),
    }
}

/// What the next free word may be, according to the usage of the command.
fn positional(config: &Config, line: &TypedLine<'_>, entry: &Entry) -> Vec<Word> {
    let at = line.free.len();
    let mut found: Vec<Word> = Vec::new();
    for usage in entry.usage {
        let parts = parts(usage);
        let fits = parts.iter().zip(&line.free).all(|(part, word)| {
            let is_word = !part.starts_with(['<', '[']);
            !is_word || part.split('|').any(|known| known == *word)
        });
        // The last part may be repeated.
        let last = parts.last().filter(|part| part.contains("...]"));
        let Some(part) = parts.get(at).or(last).filter(|_| fits) else { continue };
        for word in values_of(config, entry, part) {
            if !found.contains(&word) {
                found.push(word);
            }
        }
    }
    found
}

/// The free words of a usage: `acquire`, `<path>`.
fn parts(usage: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let mut parts = Vec::new();
    let mut after_option = false;
    for word in usage.split(' ').skip(1) {
        let outside = depth == 0;
        let is_option = word.trim_start_matches('[').starts_with('-');
        depth += word.matches('[').count();
        depth = depth.saturating_sub(word.matches(']').count());
        let is_value = std::mem::take(&mut after_option);
        if outside && is_option {
            // `--steal --reason R`: a value is in capitals.
            after_option = true;
        } else if outside && !(is_value && word.chars().all(|c| c.is_ascii_uppercase())) {
            parts.push(word);
        }
    }
    parts
}

fn values_of(config: &Config, entry: &Entry, part: &str) -> Vec<Word> {
    let name = part.trim_start_matches(['<', '[']);
    let name = name.split(['>', ']', '.']).next().unwrap_or_default();
    match (entry.name, name) {
        ("send", "peer") => peers(
            config,
            &[
                (CLI, "the person"),
                (names::ALL, "every peer"),
                (names::REPO, "the peers in this repository"),
                (names::DIRECTORY, "the peers in this directory"),
            ],
        ),
        (_, "peer") => peers(config, &[]),
        (_, "handle") => handles(config),
        (_, "key") => keys(config),
        ("lock", "path") => locked(config),
        ("hook", "agent") => {
            plain(agents::with_hooks().map(|agent| agent.agent_type).chain([names::AUTO]))
        }
        (_, "agent") => {
            agents::with_settings().map(|agent| (agent.name.into(), agent.title.into())).collect()
        }
        (_, "command") => commands().collect(),
        _ if part.starts_with(['<', '[']) => Vec::new(),
        (_, _) => plain(part.split('|')),
    }
}

// --- What the broker knows now ---------------------------------------------------------------------

/// Asks the broker; none without one, or if it takes too long.
fn ask<T: serde::de::DeserializeOwned>(config: &Config, request: &Request) -> Option<T> {
    Client::until(config, Instant::now() + TIME_MAX).call(request).ok()
}

fn peers(config: &Config, others: &[(&str, &str)]) -> Vec<Word> {
    let list = ListPeers { scope: Scope::Mesh, include_stale: true, ..ListPeers::default() };
    let there: Option<PeersReply> = ask(config, &Request::Peers(list));
    let named = there.into_iter().flat_map(|reply| reply.peers).map(|peer| {
        let about = peer.summary.unwrap_or(peer.agent_type);
        (peer.name.into_string(), about.into_string())
    });
    let others = others.iter().map(|(word, about)| ((*word).to_owned(), (*about).to_owned()));
    named.chain(others).collect()
}

/// The newest messages, those to the person first.
fn handles(config: &Config) -> Vec<Word> {
    let limit = Some(HANDLES_MAX);
    let own = Fetch {
        peer_id: Some(CLI.into()),
        filter: Filter::All,
        limit,
        peek: true,
        ..Fetch::default()
    };
    let own: Option<Messages> = ask(config, &Request::Fetch(own));
    let mut found = own.map(|reply| reply.messages).unwrap_or_default();
    let all: Option<HistoryPage> =
        ask(config, &Request::History(History { limit, ..History::default() }));
    let mut others = all.map(|page| page.messages).unwrap_or_default();
    others.retain(|one| found.iter().all(|own| own.id != one.id));
    found.extend(others);
    let named = found.iter().rev().map(|message| {
        let text: String = message.payload.chars().take(60).collect();
        (message.handle.to_string(), format!("{}: {text}", message.from_name))
    });
    named.collect()
}

fn keys(config: &Config) -> Vec<Word> {
    let list = Request::ListState { namespace: None, prefix: None, after: None, limit: None };
    let there: Option<EntriesReply> = ask(config, &list);
    let entries = there.into_iter().flat_map(|reply| reply.entries);
    entries.map(|entry| (entry.key.into(), entry.namespace.into())).collect()
}

fn locked(config: &Config) -> Vec<Word> {
    let query = Request::QueryLocks { peer_id: None, path: None };
    let there: Option<LocksReply> = ask(config, &query);
    let locks = there.into_iter().flat_map(|reply| reply.locks);
    let named =
        |lock: LockInfo| (lock.file_path.into(), format!("locked by {}", lock.locked_by_name));
    locks.map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_are_taken_apart() {
        for (usage, expected) in [
            ("status", &[][..]),
            ("state set <key> <value> [--if-version V] [--ttl T]", &["set", "<key>", "<value>"]),
            ("lock acquire <path> --steal --reason R [--shared] [--ttl T]", &["acquire", "<path>"]),
            ("setup [agent...] --dry-run [...]", &["[agent...]", "[...]"]),
            ("reply [handle] <text> [--type T]", &["[handle]", "<text>"]),
            ("session --agent NAME", &[]),
        ] {
            assert_eq!(parts(usage), expected, "{usage}");
        }
    }

    #[test]
    fn words_of_the_table_are_offered() {
        let dir = std::env::temp_dir().join("slm-mesh-no-such-directory");
        let lookup =
            |name: &str| (name == crate::config::DATA_DIR).then(|| dir.as_os_str().to_owned());
        let config = Config::from_lookup(lookup, None, std::env::current_dir).unwrap();
        let offered = |line: &str| -> Vec<String> {
            let typed: Vec<String> = line.split(' ').map(str::to_owned).collect();
            words(&config, &typed).into_iter().map(|(word, _)| word).collect()
        };
        assert_eq!(offered("sta"), ["status", "start", "state"]);
        assert_eq!(offered("--jso"), ["--json"]);
        assert_eq!(offered("lock re"), ["release"]);
        assert_eq!(offered("--json --data-dir /x lock acquire a --st"), ["--steal"]);
        assert_eq!(offered("send bob hi --type a"), ["alert"]);
        assert_eq!(offered("events --type peer_"), ["peer_joined", "peer_left"]);
        assert_eq!(offered("send a"), ["all"]);
        assert_eq!(offered("send x,a"), ["x,all"]);
        assert_eq!(offered("help hist"), ["history"]);
        assert_eq!(offered("setup codex ge"), ["gemini-cli"]);
        assert_eq!(offered("completions f"), ["fish"]);
        assert_eq!(offered("peers --scope "), ["machine", "directory", "repo"]);
        for nothing in ["status x", "send bob h", "state set k v", "--data-dir /"] {
            assert_eq!(offered(nothing), [""; 0], "{nothing}");
        }
        assert_eq!(offered("").len(), ENTRIES.len());
    }
}
