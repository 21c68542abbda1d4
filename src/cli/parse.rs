//! From the words of each command to its checked form.

use super::catalog::Entry;
use super::command::{
    Acquire, Command, Emit, Events, Guard, GuardAction, Hook, Kick, Lock, LockedFiles, PeerScope,
    Peers, Rename, Send, SetUp, Since, StartMode, State, StateAction, Text, find,
};
use super::suggest;
use super::words::{Result, UsageError, Words};
use crate::hook::Agent;
use crate::limits::{LIST_LIMIT_MAX, LOCK_TTL_MINUTES_MAX, NAME_CHARS_MAX, STATE_TTL_SECONDS_MAX};
use crate::model::{MessageKind, MessageRef, Seq, Timestamp};
use crate::names::{self, AUTO};
use crate::setup::agents::{self, AGENTS};

/// Longest `--wait` for a lock: as long as a lock may last.
const LOCK_WAIT_SECONDS_MAX: u64 = 60 * LOCK_TTL_MINUTES_MAX as u64;

/// What `--since` takes.
pub(super) const SINCE: &str = "a time such as 10m, 2h or 2026-04-08T10:30:00Z";
/// What an option that names a message takes.
pub(super) const HANDLE: &str = "the handle of a message, as `inbox` shows it, or its id";

const SCOPES: [(&str, PeerScope); 4] = [
    ("machine", PeerScope::Machine),
    ("mesh", PeerScope::Mesh),
    ("directory", PeerScope::Directory),
    ("repo", PeerScope::Repo),
];

/// For commands that are one word.
pub(super) fn mcp(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Mcp)
}

pub(super) fn stop(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Stop)
}

pub(super) fn status(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Status)
}

pub(super) fn top(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Top)
}

pub(super) fn clean(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Clean)
}

pub(super) fn demo(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Demo)
}

pub(super) fn hubs(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Hubs)
}

pub(super) fn secret(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Secret)
}

pub(super) fn doctor(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Doctor)
}

pub(super) fn setup(entry: &Entry, mut words: Words) -> Result<Command> {
    let hooks = words.flag("--hooks");
    let mut wanted = SetUp {
        no_hooks: words.flag("--no-hooks"),
        wake: words.flag("--wake"),
        allow: words.flag("--allow"),
        project: words.flag("--project"),
        diff: words.flag("--diff"),
        dry_run: words.flag("--dry-run"),
        yes: words.flag(["-y", "--yes"]),
        uninstall: words.flag("--uninstall"),
        agents: Vec::new(),
    };
    if wanted.uninstall && (hooks || wanted.no_hooks || wanted.wake || wanted.allow) {
        return Err(words.error(
            "`--uninstall` takes out whatever is there; leave out `--hooks`, `--no-hooks`, `--wake` \
             and `--allow`",
        ));
    }
    if hooks && wanted.no_hooks {
        return Err(words.error("`--hooks` and `--no-hooks` exclude each other"));
    }
    if wanted.dry_run && wanted.yes {
        return Err(words.error("`--dry-run` and `--yes` exclude each other"));
    }
    let unknown = words.error("");
    let names = vec!["[agent]"; AGENTS.len()];
    for name in words.texts_left(&names, 0, &entry.option_names())? {
        let Some(agent) = agents::find(&name) else {
            let known: Vec<_> = AGENTS.iter().map(|agent| agent.name).collect();
            let hint = suggest::hint(&name, known.iter().copied());
            let message =
                format!("unknown agent {name:?}: it must be one of {}{hint}", known.join(", "));
            return Err(UsageError { message, ..unknown });
        };
        wanted.agents.push(agent.name);
    }
    Ok(Command::SetUp(wanted))
}

pub(super) fn version(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Version)
}

pub(super) fn alone(entry: &Entry, words: Words, command: Command) -> Result<Command> {
    words.rest(&[], 0, &entry.option_names())?;
    Ok(command)
}

pub(super) fn start(entry: &Entry, mut words: Words) -> Result<Command> {
    let mode = match (words.flag("--detached"), words.flag("--background")) {
        (false, false) => StartMode::Foreground,
        (true, false) => StartMode::Detached,
        (false, true) => StartMode::Background,
        (true, true) => {
            return Err(words.error("`--detached` and `--background` exclude each other"));
        }
    };
    alone(entry, words, Command::Start(mode))
}

pub(super) fn peers(entry: &Entry, mut words: Words) -> Result<Command> {
    let scope = words.choice("--scope", &SCOPES)?;
    let all = words.flag("--all");
    let wrong = words.error("a peer that is named is looked for everywhere: leave out `--scope`");
    let peer = words.texts_left(&["[peer]"], 0, &entry.option_names())?.pop();
    if peer.is_some() && scope.is_some() {
        return Err(wrong);
    }
    Ok(Command::Peers(Peers { peer, scope: scope.unwrap_or_default(), all }))
}

pub(super) fn whoami(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::WhoAmI)
}

pub(super) fn export(entry: &Entry, words: Words) -> Result<Command> {
    alone(entry, words, Command::Export)
}

pub(super) fn rename(entry: &Entry, words: Words) -> Result<Command> {
    let mut texts = words.texts_left(&["<peer>", "<name>"], 2, &entry.option_names())?.into_iter();
    let (peer, name) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    Ok(Command::Rename(Rename { peer, name }))
}

pub(super) fn kick(entry: &Entry, mut words: Words) -> Result<Command> {
    let force = words.flag("--force");
    let peer = words.texts_left(&["<peer>"], 1, &entry.option_names())?.pop().unwrap_or_default();
    Ok(Command::Kick(Kick { peer, force }))
}

pub(super) fn send(entry: &Entry, words: Words) -> Result<Command> {
    message(entry, words, &["<peer>", "<message>"])
}

pub(super) fn broadcast(entry: &Entry, words: Words) -> Result<Command> {
    message(entry, words, &["<message>"])
}

fn message(entry: &Entry, mut words: Words, names: &[&str]) -> Result<Command> {
    let kind = words
        .choice("--type", &MessageKind::ALL.map(|kind| (kind.as_str(), kind)))?
        .unwrap_or_default();
    let from = words.text("--from")?;
    let reply_to = words.value("--reply-to", HANDLE, MessageRef::parse)?;
    let mut texts = words.texts_left(names, names.len(), &entry.option_names())?.into_iter();
    let unknown = UsageError { message: String::new(), command: Some(entry.name) };
    let to: Vec<String> = if names.len() == 2 {
        let to = texts.next().unwrap_or_default();
        let mut all: Vec<String> = Vec::new();
        // No name has a comma in it.
        for name in to.split(',').map(str::trim) {
            if name.is_empty() {
                let message = format!("{to:?} names nobody between two commas");
                return Err(UsageError { message, ..unknown });
            }
            if !all.iter().any(|known| known == name) {
                all.push(name.to_owned());
            }
        }
        all
    } else {
        vec![names::ALL.to_owned()]
    };
    let message = Text::from_word(texts.next().unwrap_or_default());
    Ok(Command::Send(Send { to, message, kind, from, reply_to }))
}

pub(super) fn limit(words: &mut Words, min: u32) -> Result<Option<u32>> {
    let expected = format!("a number from {min} to {LIST_LIMIT_MAX}");
    let parse = |text: &str| text.parse().ok().filter(|n| (min..=LIST_LIMIT_MAX).contains(n));
    words.value("--limit", &expected, parse)
}

pub(super) fn state(entry: &Entry, mut words: Words) -> Result<Command> {
    let namespace = words.text("--namespace")?;
    let all_namespaces = words.flag("--all-namespaces");
    let prefix = words.text("--prefix")?;
    let version = |text: &str| text.parse().ok().map(Seq);
    let if_version = words.value("--if-version", "a version, or 0 for `not there yet`", version)?;
    let expected = "a time such as 90, 90s, 10m, 2h or 1d, at most a year";
    let ttl_seconds = words.value("--ttl", expected, ttl_seconds)?;
    let action = action(&mut words, &["get", "set", "list", "delete"])?;
    only_for(&words, "--all-namespaces", all_namespaces, action, &["list"])?;
    if all_namespaces && (namespace.is_some() || prefix.is_some()) {
        return Err(
            words.error("`--all-namespaces` goes with neither `--namespace` nor `--prefix`")
        );
    }
    only_for(&words, "--prefix", prefix.is_some(), action, &["list"])?;
    only_for(&words, "--if-version", if_version.is_some(), action, &["set", "delete"])?;
    only_for(&words, "--ttl", ttl_seconds.is_some(), action, &["set"])?;

    let options = entry.option_names();
    let names: &[&str] = match action {
        "set" => &["<key>", "<value>"],
        "list" => &[],
        _ => &["<key>"],
    };
    let mut texts = words.texts_left(names, names.len(), &options)?.into_iter();
    let key = texts.next().unwrap_or_default();
    let action = match action {
        "get" => StateAction::Get { key },
        "list" => StateAction::List { prefix, all_namespaces },
        "delete" => StateAction::Delete { key, if_version },
        _ => {
            let value = Text::from_word(texts.next().unwrap_or_default());
            StateAction::Set { key, value, if_version, ttl_seconds }
        }
    };
    Ok(Command::State(State { namespace, action }))
}

pub(super) fn lock(entry: &Entry, mut words: Words) -> Result<Command> {
    let expected = format!("a time such as 30, 30m or 2h, at most {LOCK_TTL_MINUTES_MAX} min");
    let ttl_minutes = words.value("--ttl", &expected, lock_minutes)?;
    let expected = format!("a time such as 30, 30s or 10m, at most {LOCK_WAIT_SECONDS_MAX} s");
    let wait = words.value("--wait", &expected, |text| {
        seconds(text, 1).filter(|seconds| *seconds <= LOCK_WAIT_SECONDS_MAX)
    })?;
    let reason = words.text("--reason")?;
    let [force, shared, steal, exact] =
        ["--force", "--shared", "--steal", "--exact"].map(|name| words.flag(name));
    let action = action(&mut words, &["list", "query", "acquire", "release"])?;
    only_for(&words, "--ttl", ttl_minutes.is_some(), action, &["acquire"])?;
    only_for(&words, "--wait", wait.is_some(), action, &["acquire"])?;
    only_for(&words, "--reason", reason.is_some(), action, &["acquire"])?;
    only_for(&words, "--shared", shared, action, &["acquire"])?;
    only_for(&words, "--steal", steal, action, &["acquire"])?;
    only_for(&words, "--force", force, action, &["release"])?;
    only_for(&words, "--exact", exact, action, &["query", "acquire", "release"])?;
    if steal && reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err(words.error("`--steal` needs `--reason`: whoever loses the lock is told why"));
    }
    if steal && wait.is_some() {
        return Err(words.error("`--steal` takes the lock at once: leave out `--wait`"));
    }

    let names: &[&str] = if action == "list" { &[] } else { &["<path>"] };
    let path = words.rest(names, names.len(), &entry.option_names())?.pop().unwrap_or_default();
    let files = LockedFiles { path, exact };
    Ok(Command::Lock(match action {
        "list" => Lock::List,
        "query" => Lock::Query { files },
        "acquire" => Lock::Acquire(Acquire {
            files,
            shared,
            ttl_minutes,
            reason,
            wait_seconds: wait.unwrap_or(0),
            steal,
        }),
        _ => Lock::Release { files, force },
    }))
}

pub(super) fn events(entry: &Entry, mut words: Words) -> Result<Command> {
    let types = words.texts("--type")?;
    let since = words.value("--since", SINCE, since)?;
    let follow = words.flag(["-f", "--follow"]);
    let limit = limit(&mut words, u32::from(!follow))?;
    alone(entry, words, Command::Events(Events { types, since, limit, follow }))
}

pub(super) fn emit(entry: &Entry, words: Words) -> Result<Command> {
    let mut texts = words.texts_left(&["<type>", "[json]"], 1, &entry.option_names())?.into_iter();
    let kind = texts.next().unwrap_or_default();
    let payload = texts.next().map(Text::from_word);
    Ok(Command::Emit(Emit { kind, payload }))
}

pub(super) fn hook(entry: &Entry, mut words: Words) -> Result<Command> {
    let command = Some(entry.name);
    let waits = words.flag("--wait");
    let name = words.texts_left(&["<agent>"], 1, &entry.option_names())?.pop().unwrap_or_default();
    let agent = Agent::ALL.into_iter().find(|agent| agent.is_called(&name));
    if agent.is_none() && name != AUTO {
        let known: Vec<&str> = Agent::ALL.into_iter().map(Agent::name).chain([AUTO]).collect();
        let hint = suggest::hint(&name, known.iter().copied());
        let message = format!("<agent> must be one of {}, not {name:?}{hint}", known.join(", "));
        return Err(UsageError { message, command });
    }
    Ok(Command::Hook(Hook { agent, waits }))
}

pub(super) fn session(entry: &Entry, mut words: Words) -> Result<Command> {
    let agent = words.text("--agent")?;
    let agent =
        agent.ok_or_else(|| words.error("`--agent NAME` is missing: whose plugin it is"))?;
    if names::fold(&agent, NAME_CHARS_MAX) != agent {
        return Err(words.error(format!("{agent:?} is no type of an agent: opencode, for example")));
    }
    alone(entry, words, Command::Session(agent))
}

pub(super) fn guard(entry: &Entry, mut words: Words) -> Result<Command> {
    let quiet = words.flag(["-q", "--quiet"]);
    let undo = words.flag("--uninstall");
    let global = words.flag("--global");
    let action = action(&mut words, &["install", "uninstall", "check", "status"])?;
    only_for(&words, "--quiet", quiet, action, &["check"])?;
    only_for(&words, "--uninstall", undo, action, &["install"])?;
    only_for(&words, "--global", global, action, &["install"])?;
    let action = match action {
        "install" if !undo => GuardAction::Install,
        "check" => GuardAction::Check,
        "status" => GuardAction::Status,
        _ => GuardAction::Uninstall,
    };
    alone(entry, words, Command::Guard(Guard { action, global, quiet }))
}

pub(super) fn help(entry: &Entry, words: Words) -> Result<Command> {
    let about = words.texts_left(&["[command]"], 0, &entry.option_names())?.pop();
    Ok(Command::Help(match about {
        Some(name) => Some(find(&name)?.name),
        None => None,
    }))
}

/// The word after `state` or `lock`.
fn action(words: &mut Words, known: &[&'static str]) -> Result<&'static str> {
    let list = known.join(", ");
    let Some(word) = words.command()? else {
        return Err(words.error(format!("one of {list} is missing")));
    };
    known.iter().copied().find(|action| *action == word).ok_or_else(|| {
        let hint = suggest::hint(&word, known.iter().copied());
        words.error(format!("unknown action {word:?}: it must be one of {list}{hint}"))
    })
}

/// An option that some actions have and others have not.
fn only_for(words: &Words, name: &str, given: bool, action: &str, actions: &[&str]) -> Result<()> {
    if !given || actions.contains(&action) {
        return Ok(());
    }
    Err(words
        .error(format!("`{name}` belongs to `{}`, not to `{action}`", actions.join("` and `"))))
}

/// `90`, `90s`, `10m`, `2h`, `1d`: a number and its unit, seconds; `unit` is that of a bare number.
fn seconds(text: &str, unit: u64) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match text.strip_prefix(digits)? {
        "" => unit,
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    // `parse` takes a plus sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit)
}

fn ttl_seconds(text: &str) -> Option<u64> {
    seconds(text, 1).filter(|ttl| (1..=STATE_TTL_SECONDS_MAX).contains(ttl))
}

/// Whole minutes, begun ones counted.
fn lock_minutes(text: &str) -> Option<u32> {
    let minutes = u32::try_from(seconds(text, 60)?.div_ceil(60)).ok()?;
    (1..=LOCK_TTL_MINUTES_MAX).contains(&minutes).then_some(minutes)
}

pub(super) fn since(text: &str) -> Option<Since> {
    if let Some(time) = Timestamp::parse(text) {
        return Some(Since::At(time));
    }
    // A bare number could be anything.
    text.ends_with(|c: char| c.is_ascii_lowercase())
        .then(|| seconds(text, 1))
        .flatten()
        .and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1000))
        .map(Since::Ago)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::command::{Completions, Global, History, Inbox, Invocation, Reply};
    use super::*;

    fn parse(line: &str) -> Result<Invocation> {
        // Words between spaces; `~` stands for a space within one, "" for none.
        let word = |word: &str| OsString::from(word.replace('~', " "));
        Invocation::parse(line.split_whitespace().map(word).collect())
    }

    fn command(line: &str) -> Command {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).command
    }

    fn refused(line: &str) -> String {
        match parse(line) {
            Ok(invocation) => panic!("{line}: {invocation:?}"),
            Err(error) => error.message,
        }
    }

    #[test]
    fn plain_commands() {
        for (line, expected) in [
            ("", Command::Bare),
            ("--json", Command::Bare),
            ("mcp", Command::Mcp),
            ("start", Command::Start(StartMode::Foreground)),
            ("start --detached", Command::Start(StartMode::Detached)),
            ("start --background", Command::Start(StartMode::Background)),
            ("stop", Command::Stop),
            ("status", Command::Status),
            ("clean", Command::Clean),
            ("demo", Command::Demo),
            ("doctor", Command::Doctor),
            ("setup", Command::SetUp(SetUp::default())),
            ("version", Command::Version),
            ("--version", Command::Version),
            ("-V", Command::Version),
            ("help", Command::Help(None)),
            ("--help", Command::Help(None)),
            ("-h", Command::Help(None)),
            ("help send", Command::Help(Some("send"))),
            ("send --help", Command::Help(Some("send"))),
            ("send -h too many words", Command::Help(Some("send"))),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        let global = Global { json: true, data_dir: Some("/d".into()), acts_as: None };
        for line in ["--json --data-dir /d status", "status --data-dir=/d --json"] {
            assert_eq!(
                parse(line).unwrap(),
                Invocation { global: global.clone(), command: Command::Status }
            );
        }
        assert!(parse("send bob -- --json").unwrap().global == Global::default());
    }

    #[test]
    fn messages() {
        let plain = Send {
            to: vec!["bob".into()],
            message: Text::Given("hi there".into()),
            kind: MessageKind::Text,
            from: None,
            reply_to: None,
        };
        assert_eq!(command("send bob hi~there"), Command::Send(plain.clone()));
        assert_eq!(command("send -- bob hi~there"), Command::Send(plain.clone()));
        let stdin = Send { message: Text::Stdin, ..plain.clone() };
        assert_eq!(command("send bob -"), Command::Send(stdin));
        let dashed = Send { message: Text::Given("--type".into()), ..plain.clone() };
        assert_eq!(command("send bob -- --type"), Command::Send(dashed));
        let full = Send {
            kind: MessageKind::Alert,
            from: Some("ci".into()),
            reply_to: MessageRef::parse("K7Q2"),
            ..plain.clone()
        };
        let line = "send --type alert bob --from=ci hi~there --reply-to K7Q2";
        assert_eq!(command(line), Command::Send(full));
        let both = Send { to: vec!["bob".into(), "ann".into()], ..plain.clone() };
        assert_eq!(command("send bob,ann,bob hi~there"), Command::Send(both));
        assert!(refused("send bob, hi").contains("names nobody"));
        let broadcast = Send { to: vec!["all".into()], ..plain };
        assert_eq!(command("broadcast hi~there"), Command::Send(broadcast));

        assert!(refused("send").contains("<peer> is missing"));
        assert!(refused("send bob").contains("<message> is missing"));
        assert!(refused("send bob hi there").contains("\"there\"; put quotes"));
        assert!(refused("send bob hi --type txt").contains("did you mean `text`?"));
        assert!(refused("send bob hi --reply-to 7").contains("the handle of a message"));
        assert!(refused("send bob hi --frm me").contains("did you mean `--from`?"));
        assert!(refused("broadcast hi there").contains("unexpected word"));
    }

    #[test]
    fn inbox_and_peers() {
        assert_eq!(command("inbox"), Command::Inbox(Inbox::default()));
        let full = Inbox {
            peer: Some("bob".into()),
            all: true,
            peek: true,
            limit: Some(5),
            ..Inbox::default()
        };
        assert_eq!(command("inbox --peek --all --peer bob --limit 5"), Command::Inbox(full));
        let sent = Inbox { peer: Some("bob".into()), sent: true, ..Inbox::default() };
        assert_eq!(command("inbox --sent --peer bob"), Command::Inbox(sent));
        assert!(refused("inbox --sent --all").contains("leave out `--all`"));
        assert!(refused("inbox --peek --sent").contains("leave out `--peek`"));
        assert!(refused("inbox --snt").contains("did you mean `--sent`?"));
        for bad in ["0", "1001", "x", "-1"] {
            assert!(refused(&format!("inbox --limit {bad}")).contains("from 1 to 1000"), "{bad}");
        }
        let repo = Peers { peer: None, scope: PeerScope::Repo, all: true };
        assert_eq!(command("peers --scope repo --all"), Command::Peers(repo));
        assert!(refused("peers --scope rpo").contains("did you mean `repo`?"));
        let bob = Peers { peer: Some("bob".into()), ..Peers::default() };
        assert_eq!(command("peers bob"), Command::Peers(bob));
        assert!(refused("peers bob --scope repo").contains("leave out `--scope`"));
        let follow = Inbox { follow: true, ..Inbox::default() };
        assert_eq!(command("inbox -f"), Command::Inbox(follow));
        assert!(refused("inbox --follow --sent").contains("leave out `--sent`"));
    }

    #[test]
    fn conversations() {
        let text = |text: &str| Text::Given(text.into());
        let last = Reply { message: None, text: text("yes"), kind: MessageKind::Text };
        assert_eq!(command("reply yes"), Command::Reply(last.clone()));
        let one = Reply { message: MessageRef::parse("k7q2"), ..last.clone() };
        assert_eq!(command("reply K7Q2 yes"), Command::Reply(one));
        let stdin = Reply { text: Text::Stdin, ..last };
        assert_eq!(command("reply -"), Command::Reply(stdin));
        assert!(refused("reply").contains("<text> is missing"));
        assert!(refused("reply not a~message").contains("put quotes around the text"));
        let full = History {
            with: Some("bob".into()),
            grep: Some("the api".into()),
            since: Some(Since::Ago(7_200_000)),
            thread: MessageRef::parse("k7q2"),
            limit: Some(5),
        };
        let line = "history --with bob --grep the~api --since 2h --thread k7q2 --limit 5";
        assert_eq!(command(line), Command::History(full));
        assert_eq!(command("history"), Command::History(History::default()));
        assert!(refused("history --grep=").contains("must be a text"));
        assert!(refused("history bob").contains("unexpected word"));
        let rename = Rename { peer: "a".into(), name: "b".into() };
        assert_eq!(command("rename a b"), Command::Rename(rename));
        assert!(refused("rename a").contains("<name> is missing"));
        let kick = Kick { peer: "a".into(), force: true };
        assert_eq!(command("kick a --force"), Command::Kick(kick));
        assert_eq!((command("whoami"), command("export")), (Command::WhoAmI, Command::Export));
        assert_eq!(command("-v"), Command::Version);
        let words = Completions::Next(vec!["send".into(), "--ty".into()]);
        assert_eq!(command("completions words -- send --ty"), Command::Completions(words));
        assert_eq!(command("completions man"), Command::Completions(Completions::Man));
        assert!(refused("completions tcsh").contains("bash, zsh, fish, man"));
        assert!(refused("completions bash zsh").contains("unexpected word"));
    }

    #[test]
    fn hooks_and_guard() {
        for agent in Agent::ALL {
            let hook = Hook { agent: Some(agent), waits: false };
            assert_eq!(command(&format!("hook {}", agent.name())), Command::Hook(hook));
        }
        let qwen = Hook { agent: Some(Agent::QwenCode), waits: false };
        assert_eq!(command("hook qwen"), Command::Hook(qwen));
        let waits = |agent| Command::Hook(Hook { agent, waits: true });
        assert_eq!(command("hook claude-code --wait"), waits(Some(Agent::ClaudeCode)));
        assert_eq!(command("hook auto --wait"), waits(None));
        assert!(refused("hook").contains("<agent> is missing"));
        assert!(refused("hook claude-cod").contains("did you mean `claude-code`?"));
        let guard = |action, quiet| Command::Guard(Guard { action, global: false, quiet });
        assert_eq!(command("guard install"), guard(GuardAction::Install, false));
        assert_eq!(command("guard uninstall"), guard(GuardAction::Uninstall, false));
        assert_eq!(command("guard install --uninstall"), guard(GuardAction::Uninstall, false));
        assert_eq!(command("guard check -q"), guard(GuardAction::Check, true));
        assert_eq!(command("guard status"), guard(GuardAction::Status, false));
        let global = Guard { action: GuardAction::Install, global: true, quiet: false };
        assert_eq!(command("guard install --global"), Command::Guard(global));
        assert!(refused("guard check --global").contains("belongs to `install`"));
        assert!(refused("guard check --uninstall").contains("belongs to `install`"));
    }

    #[test]
    fn shared_state() {
        let state = |namespace: Option<&str>, action| {
            Command::State(State { namespace: namespace.map(Into::into), action })
        };
        let key = || "k".to_owned();
        assert_eq!(command("state get k"), state(None, StateAction::Get { key: key() }));
        assert_eq!(
            command("state --namespace n list --prefix a/"),
            state(
                Some("n"),
                StateAction::List { prefix: Some("a/".into()), all_namespaces: false }
            )
        );
        assert_eq!(
            command("state list --all-namespaces"),
            state(None, StateAction::List { prefix: None, all_namespaces: true })
        );
        assert!(refused("state list --all-namespaces --prefix a").contains("neither"));
        assert!(refused("state get k --all-namespaces").contains("--all-namespaces"));
        assert_eq!(
            command("state set k - --if-version 0 --ttl 2h"),
            state(
                None,
                StateAction::Set {
                    key: key(),
                    value: Text::Stdin,
                    if_version: Some(Seq(0)),
                    ttl_seconds: Some(7200),
                }
            )
        );
        assert_eq!(
            command("state delete --if-version=7 k --namespace=n"),
            state(Some("n"), StateAction::Delete { key: key(), if_version: Some(Seq(7)) })
        );
        assert!(refused("state").contains("get, set, list, delete is missing"));
        assert!(refused("state lst").contains("did you mean `list`?"));
        assert!(refused("state get").contains("<key> is missing"));
        assert!(refused("state set k").contains("<value> is missing"));
        assert!(refused("state get k --ttl 5").contains("`--ttl` belongs to `set`"));
        assert!(refused("state list --if-version 5").contains("belongs to `set` and `delete`"));
        assert!(refused("state set k v --ttl 0").contains("a time such as"));
        assert!(refused("state set k v --ttl 366d").contains("at most a year"));
        assert!(refused("state set k v --if-version x").contains("a version"));
    }

    #[test]
    fn setting_agents_up() {
        let full =
            SetUp { agents: vec!["zed", "codex"], project: true, yes: true, ..SetUp::default() };
        assert_eq!(command("setup zed --hooks codex --project -y"), Command::SetUp(full));
        let bare = SetUp { no_hooks: true, wake: true, allow: true, ..SetUp::default() };
        assert_eq!(command("setup --no-hooks --allow --wake"), Command::SetUp(bare));
        let out = SetUp { uninstall: true, dry_run: true, diff: true, ..SetUp::default() };
        assert_eq!(command("setup --uninstall --dry-run --diff"), Command::SetUp(out));
        assert!(refused("setup claude").contains("did you mean `claude-code`?"));
        assert!(refused("setup --uninstall --allow").contains("leave out `--hooks`"));
        assert!(refused("setup --hooks --no-hooks").contains("exclude each other"));
        assert!(refused("setup --dry-run --yes").contains("exclude each other"));
        assert!(refused("setup --hook").contains("did you mean `--hooks`?"));
        assert!(refused("doctor zed").contains("unexpected word"));
    }

    #[test]
    fn file_locks() {
        assert_eq!(command("lock list"), Command::Lock(Lock::List));
        let files = || LockedFiles { path: OsString::from("src/a b"), exact: false };
        assert_eq!(command("lock query src/a~b"), Command::Lock(Lock::Query { files: files() }));
        assert_eq!(
            command("lock acquire --ttl 90 --reason why~not src/a~b --shared --wait 2m"),
            Command::Lock(Lock::Acquire(Acquire {
                files: files(),
                ttl_minutes: Some(90),
                reason: Some("why not".to_owned()),
                shared: true,
                wait_seconds: 120,
                steal: false,
            }))
        );
        assert_eq!(
            command("lock acquire x* --exact --steal --reason r"),
            Command::Lock(Lock::Acquire(Acquire {
                files: LockedFiles { path: "x*".into(), exact: true },
                reason: Some("r".to_owned()),
                steal: true,
                ..Acquire::default()
            }))
        );
        assert_eq!(
            command("lock release src/a~b --force"),
            Command::Lock(Lock::Release { files: files(), force: true })
        );
        assert!(refused("lock acquire x --steal").contains("needs `--reason`"));
        assert!(refused("lock acquire x --steal --reason ~").contains("needs `--reason`"));
        assert!(refused("lock acquire x --steal --reason r --wait 1").contains("at once"));
        assert!(refused("lock acquire x --wait 2d").contains("at most 86400 s"));
        assert!(refused("lock release x --shared").contains("belongs to `acquire`"));
        assert!(refused("lock list --exact").contains("belongs to `query`"));
        assert!(refused("lock").contains("list, query, acquire, release is missing"));
        assert!(refused("lock aquire x").contains("did you mean `acquire`?"));
        assert!(refused("lock query").contains("<path> is missing"));
        assert!(refused("lock list x").contains("unexpected word"));
        assert!(refused("lock acquire x --force").contains("belongs to `release`"));
        assert!(refused("lock acquire x --ttl 25h").contains("at most 1440 min"));
    }

    #[test]
    fn events_and_emit() {
        assert_eq!(command("events"), Command::Events(Events::default()));
        let full = Events {
            types: vec!["a.*".into(), "peer_left".into()],
            since: Some(Since::Ago(600_000)),
            limit: Some(0),
            follow: true,
        };
        assert_eq!(
            command("events --type a.* --follow --since 10m --type peer_left --limit 0"),
            Command::Events(full)
        );
        assert!(refused("events --limit 0").contains("from 1 to 1000"));
        let at = Since::At(Timestamp(1_775_644_200_000));
        let Command::Events(events) = command("events --since 2026-04-08T10:30:00Z") else {
            panic!("no events");
        };
        assert_eq!(events.since, Some(at));
        for bad in ["yesterday", "10", "10y", "h", "+1h"] {
            assert!(refused(&format!("events --since {bad}")).contains("a time such as"), "{bad}");
        }
        let emit = |payload| Command::Emit(Emit { kind: "build.done".into(), payload });
        assert_eq!(command("emit build.done"), emit(None));
        assert_eq!(command("emit build.done {}"), emit(Some(Text::Given("{}".into()))));
        assert_eq!(command("emit build.done -"), emit(Some(Text::Stdin)));
        assert!(refused("emit").contains("<type> is missing"));
    }

    #[test]
    fn unknown_words_are_errors_with_the_nearest_known_one() {
        assert!(refused("staus").contains("unknown command \"staus\"; did you mean `status`?"));
        assert!(refused("frobnicate").ends_with("unknown command \"frobnicate\""));
        assert!(refused("help sed").contains("did you mean `send`?"));
        assert!(refused("--jsn").contains("did you mean `--json`?"));
        assert!(refused("--jsn status").contains("did you mean `--json`?"));
        assert!(refused("status --verbose").contains("unknown option \"--verbose\""));
        assert!(refused("status now").contains("unexpected word \"now\""));
        assert!(refused("start --detached --background").contains("exclude each other"));
        assert!(refused("status --data-dir").contains("needs a value"));
    }

    #[test]
    fn times() {
        for (text, unit, expected) in [
            ("90", 1, Some(90)),
            ("90", 60, Some(5400)),
            ("90s", 60, Some(90)),
            ("2m", 1, Some(120)),
            ("2min", 1, Some(120)),
            ("3h", 1, Some(10_800)),
            ("1d", 1, Some(86_400)),
            ("", 1, None),
            ("s", 1, None),
            ("1.5h", 1, None),
            ("+5", 1, None),
            ("99999999999999999999", 1, None),
            ("999999999999999999d", 1, None),
        ] {
            assert_eq!(seconds(text, unit), expected, "{text}");
        }
        assert_eq!(lock_minutes("90s"), Some(2));
        assert_eq!((lock_minutes("0"), lock_minutes("1440")), (None, Some(1440)));
    }
}
