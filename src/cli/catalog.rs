//! The table of commands: what each is called, what it does, and how it is used. What is not in
//! here is no command; `--help` is made from it.

use super::command::Command;
use super::words::{Result, Words};
use super::{
    completions, history, inbox, invite, join, leave, locks, machines, parse, reply, setup,
};

/// A command.
pub(super) struct Entry {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it stands in the overview.
    pub(super) group: Group,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    /// How it is written, without the program's name.
    pub(super) usage: &'static [&'static str],
    /// What else is to know, in paragraphs.
    pub(super) about: &'static [&'static str],
    /// Its options: how each is written, and what it does.
    pub(super) options: &'static [(&'static str, &'static str)],
    /// Examples, and what they do.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// Reads the words after the name.
    pub(super) parse: fn(&Self, Words) -> Result<Command>,
}

/// The parts of the overview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Broker,
    Messages,
    Shared,
    Agents,
    Machines,
    Other,
}

impl Group {
    pub(super) const ALL: [Self; 6] =
        [Self::Broker, Self::Messages, Self::Shared, Self::Agents, Self::Machines, Self::Other];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Broker => "Broker",
            Self::Messages => "Messages",
            Self::Shared => "Shared by all",
            Self::Agents => "Agents",
            Self::Machines => "Machines",
            Self::Other => "Other",
        }
    }
}

/// What every command takes.
pub(super) const GLOBAL_OPTIONS: &[(&str, &str)] = &[
    ("--json", "one JSON document and nothing else, errors too"),
    ("--data-dir DIR", "the files of the mesh, instead of SLM_MESH_DATA_DIR or ~/.slm-mesh"),
    ("--as NAME", "act as NAME, or with `cli` as the person; an agent's command acts as the agent"),
    ("-h, --help", "this text"),
];

impl Entry {
    /// The names of all options that it takes.
    pub(super) fn option_names(&self) -> Vec<&'static str> {
        let all = self.options.iter().chain(GLOBAL_OPTIONS);
        let words = all.flat_map(|(written, _)| written.split([' ', ',']));
        words.filter(|word| word.starts_with('-')).collect()
    }
}

/// The command `name`.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// All commands.
pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        name: "status",
        group: Group::Broker,
        summary: "how the broker is, and where its files are",
        usage: &["status"],
        about: &[
            "Starts no broker: without one, it says so and exits with 3. `slm-mesh` without a \
             command starts one first.",
        ],
        options: &[],
        examples: &[("status", ""), ("status --json", "the same for scripts")],
        parse: parse::status,
    },
    Entry {
        name: "top",
        group: Group::Broker,
        summary: "watch peers, messages, locks and events, live",
        usage: &["top"],
        about: &[
            "Draws on the whole terminal: who is here, messages as they pass and how far they have \
             come, locks with the time left, events, and charts of messages a second and of \
             delivery times. `?` lists the keys: to read a message in full, send one, release a \
             lock, filter. `q` or Ctrl-C leaves.",
            "Reading here marks nothing as read, and agents do not see that you look. Starts no \
             broker: without one, it says so and exits with 3; one that stops later is waited for. \
             As long as it looks, the broker does not stop for want of peers. For scripts there is \
             `events --follow --json`.",
        ],
        options: &[],
        examples: &[("top", ""), ("NO_COLOR=1 slm-mesh top", "without colours")],
        parse: parse::top,
    },
    Entry {
        name: "start",
        group: Group::Broker,
        summary: "run the broker, or start it in the background",
        usage: &["start [--detached]"],
        about: &[
            "Agents and most commands start the broker by themselves; there is one for each data \
             directory. In the foreground it logs to the standard error and ends with Ctrl-C; in \
             the background it logs to broker.log in the data directory.",
            "With --detached, a broker that runs already is fine.",
        ],
        options: &[("--detached", "in the background; returns once it serves")],
        examples: &[("start --detached", ""), ("start", "in the foreground")],
        parse: parse::start,
    },
    Entry {
        name: "stop",
        group: Group::Broker,
        summary: "stop the broker, and wait until it is gone",
        usage: &["stop"],
        about: &["Agents that are connected start no new one until they next use the mesh."],
        options: &[],
        examples: &[("stop", "")],
        parse: parse::stop,
    },
    Entry {
        name: "demo",
        group: Group::Other,
        summary: "see three agents work together, on a broker of their own",
        usage: &["demo"],
        about: &[
            "Starts a broker in a temporary directory and three real MCP servers, as agents would \
             start them, and lets them find each other, lock a file, share state, talk and crash. \
             Prints what happens with measured times, takes a few seconds at most, and leaves \
             nothing behind. Your own broker and its files are not touched.",
        ],
        options: &[],
        examples: &[("demo", "")],
        parse: parse::demo,
    },
    Entry {
        name: "clean",
        group: Group::Broker,
        summary: "remove what dead brokers and peers have left behind",
        usage: &["clean"],
        about: &[
            "Removes sockets to which no connection can be made, and the files of a broker that \
             was killed. A broker that holds its lock but no longer answers is ended, after a \
             check that the process is the broker of this data directory. One that cannot be \
             reached because of where this runs (a sandbox, a container) is left alone. Messages \
             and state stay.",
        ],
        options: &[],
        examples: &[("clean", "")],
        parse: parse::clean,
    },
    Entry {
        name: "send",
        group: Group::Messages,
        summary: "send a message to a peer or a group",
        usage: &["send <peer>[,<peer>...] <message> [--type T] [--from P] [--reply-to HANDLE]"],
        about: &[
            "<peer> is a name, an id, the first 4 or more characters of an id, `cli`, or a group: \
             `all`, `repo` and `directory` (the peers in this repository, in this directory), \
             '#topic' (those that listen to it). Several are told with commas between them.",
            "A message to a name that a session asked for and that nobody has now waits for the \
             next session of that name.",
            "<message> is one word to the shell, so quote it; `-` reads it from the standard \
             input; one that begins with a dash goes after `--`.",
        ],
        options: &[
            ("--type T", "text (default), json, command or alert"),
            ("--from P", "the sender: a peer or a label (default: cli)"),
            ("--reply-to HANDLE", "the message it answers, by its handle or its id"),
        ],
        examples: &[
            ("send webapp-claude 'the API is ready'", ""),
            ("git diff | slm-mesh send reviewer -", "the standard input"),
            ("send api,docs 'the names have changed'", "to both"),
            ("send '#build' 'main is green'", "everyone who listens to #build"),
            ("send reviewer '{\"pr\":7}' --type json --from ci", "in the name of a script"),
        ],
        parse: parse::send,
    },
    Entry {
        name: "broadcast",
        group: Group::Messages,
        summary: "send a message to every peer",
        usage: &["broadcast <message> [--type T] [--from P] [--reply-to HANDLE]"],
        about: &["The same as `send all <message>`. Says how many peers it went to."],
        options: &[
            ("--type T", "text (default), json, command or alert"),
            ("--from P", "the sender: a peer or a label (default: cli)"),
            ("--reply-to HANDLE", "the message it answers, by its handle or its id"),
        ],
        examples: &[("broadcast 'main is frozen until 3 pm' --type alert", "")],
        parse: parse::broadcast,
    },
    Entry {
        name: "reply",
        group: Group::Messages,
        summary: "answer a message",
        usage: &["reply [handle] <text> [--type T]"],
        about: &[
            "Sends the text to whoever wrote the message, as the answer to it, and marks it read. \
             Without a handle it answers the last message that came. The answer to a message of \
             your own goes where that went.",
            "`inbox` and `history` show the handle of each message. `-` reads the text from the \
             standard input.",
        ],
        options: &[("--type T", "text (default), json, command or alert")],
        examples: &[
            ("reply 'yes, go on'", "the last message"),
            ("reply k7q2 'not before noon'", "this one"),
        ],
        parse: reply::parse,
    },
    Entry {
        name: "history",
        group: Group::Messages,
        summary: "what anyone has written to anyone",
        usage: &["history [--with PEER] [--grep TEXT] [--since T] [--thread HANDLE] [--limit N]"],
        about: &[
            "Shows the newest messages of the whole mesh, oldest first, for as long as messages are \
             kept, with how far each has come. It marks nothing as read.",
            "--with takes the name that someone has, had last, or wrote under. --thread shows the \
             whole conversation that a message is of: what it answers, and what answers that.",
        ],
        options: &[
            ("--with PEER", "only messages from or to PEER: a name, an id, cli, all, '#topic'"),
            ("--grep TEXT", "only messages with this text, in upper or lower case"),
            ("--since T", "only later ones: 10m, 2h, or 2026-04-08T10:30:00Z"),
            ("--thread HANDLE", "only the conversation with this message"),
            ("--limit N", "at most N messages, 1 to 1000 (default: 50)"),
        ],
        examples: &[
            ("history", ""),
            ("history --with api-claude --since 1h", ""),
            ("history --grep 'port 3000'", "who said that?"),
        ],
        parse: history::parse,
    },
    Entry {
        name: "whoami",
        group: Group::Messages,
        summary: "who you are in the mesh",
        usage: &["whoami"],
        about: &[
            "You are `cli`; a command that an agent runs is of that agent. Says how many messages \
             wait, too. Starts no broker.",
        ],
        options: &[],
        examples: &[("whoami", "")],
        parse: parse::whoami,
    },
    Entry {
        name: "inbox",
        group: Group::Messages,
        summary: "read the messages sent to `cli`, or to a peer",
        usage: &[
            "inbox [--peer P] [--all] [--peek] [--limit N]",
            "inbox --follow [--peer P] [--peek]",
            "inbox --sent [--peer P] [--limit N]",
        ],
        about: &[
            "Shows unread messages, oldest first, and marks them read once they are written out. \
             The messages of a peer that reads its own, as agents do, stay unread.",
            "With --sent: the newest messages that were sent, and how far each has come. It is \
             queued when it is stored, delivered when the process of its recipient has confirmed \
             it, notified when it was put where the agent will see it, read when the agent has it. \
             For a broadcast: how many of its recipients have come that far.",
            "Control characters in messages are shown escaped; --json has them as they are.",
        ],
        options: &[
            ("--peer P", "the inbox of this peer"),
            ("--all", "read messages too, the newest ones"),
            ("--peek", "leave them unread"),
            ("-f, --follow", "and then those to come, until interrupted"),
            ("--sent", "what was sent from here, or by that peer"),
            ("--limit N", "at most N messages, 1 to 1000 (default: 100)"),
        ],
        examples: &[
            ("inbox", ""),
            ("inbox --peer webapp-claude --peek", "look over its shoulder"),
            ("inbox --sent", "was it read?"),
            ("inbox --follow", "as they come"),
        ],
        parse: inbox::parse,
    },
    Entry {
        name: "peers",
        group: Group::Shared,
        summary: "list the agents that are here",
        usage: &["peers [--scope machine|mesh|directory|repo] [--all]", "peers <peer>"],
        about: &[
            "With a name or an id it tells all about one: what it works on, its locks, how many \
             messages it has not read, how a message reaches it, when it was last heard of.",
            "Starts no broker: without one, it says so and exits with 3.",
        ],
        options: &[
            ("--scope S", "machine (default), all machines of the mesh, or this directory or repo"),
            ("--all", "also those that have not been heard of for a while, or have left"),
        ],
        examples: &[("peers", ""), ("peers --scope repo --all", ""), ("peers api-claude", "")],
        parse: parse::peers,
    },
    Entry {
        name: "rename",
        group: Group::Agents,
        summary: "give a peer another name",
        usage: &["rename <peer> <name>"],
        about: &[
            "It keeps the name until its session ends, also over a restart of the broker. What waits \
             for the name that it had waits for the next session of that name.",
        ],
        options: &[],
        examples: &[("rename webapp-claude-2 reviewer", "")],
        parse: parse::rename,
    },
    Entry {
        name: "kick",
        group: Group::Agents,
        summary: "take a peer out of the mesh",
        usage: &["kick <peer> [--force]"],
        about: &[
            "For a peer that is stale or away and does not go by itself: its locks come free. One \
             that is alive is only taken out with --force, and comes back, under a new id, when its \
             agent next uses the mesh.",
        ],
        options: &[("--force", "also if it is alive")],
        examples: &[("kick webapp-claude-2", ""), ("kick webapp-claude --force", "")],
        parse: parse::kick,
    },
    Entry {
        name: "export",
        group: Group::Other,
        summary: "write out all that the mesh knows, as lines of JSON",
        usage: &["export"],
        about: &[
            "A line for each thing: {\"peer\": ...} (those that have left, too), {\"message\": ...}, \
             {\"event\": ...}, {\"state\": ...}, {\"lock\": ...}, in this order, each as the API has it.",
        ],
        options: &[],
        examples: &[
            ("export > mesh.jsonl", ""),
            ("export | jq -r '.message.payload // empty'", ""),
        ],
        parse: parse::export,
    },
    Entry {
        name: "state",
        group: Group::Shared,
        summary: "values under keys, seen by everyone",
        usage: &[
            "state get <key> [--namespace N]",
            "state set <key> <value> [--if-version V] [--ttl T] [--namespace N]",
            "state list [--prefix P] [--namespace N | --all-namespaces]",
            "state delete <key> [--if-version V] [--namespace N]",
        ],
        about: &[
            "`get` prints the bare value and a newline; exit code 1 if there is none. On a terminal \
             its control characters are shown escaped; into a file or pipe it is written as it \
             is. A <value> of `-` is read from the standard input.",
            "Each project has a namespace of its own, so that two that both set `port` do not meet.",
        ],
        options: &[
            (
                "--namespace N",
                "where the key lives (default: this project's own; shared: everyone's)",
            ),
            ("--all-namespaces", "those of all projects"),
            ("--if-version V", "only if the entry has this version (0: only if it is new)"),
            ("--ttl T", "it goes away after this time: seconds, or 10m, 2h, 1d"),
            ("--prefix P", "only keys that begin so"),
        ],
        examples: &[
            ("state set api/url http://localhost:3000", ""),
            ("state get api/url", ""),
            ("state set leader me --if-version 0 --ttl 10m", "only the first one wins"),
        ],
        parse: parse::state,
    },
    locks::ENTRY,
    Entry {
        name: "events",
        group: Group::Shared,
        summary: "what has happened, and what happens",
        usage: &["events [--type T]... [--since T] [--limit N] [--follow]"],
        about: &[
            "Shows the newest events, oldest first, in sentences; --json has them as they are kept. \
             With --follow it goes on until interrupted, also over a restart of the broker; --json \
             then prints one line for each event.",
        ],
        options: &[
            ("--type T", "only this type, or those of a prefix: 'build.*'; may be repeated"),
            ("--since T", "only later ones: 10m, 2h, or 2026-04-08T10:30:00Z"),
            ("--limit N", "at most N past events, 1 to 1000 (default: 50, with --follow 10)"),
            ("-f, --follow", "and then those to come"),
        ],
        examples: &[
            ("events --since 1h", ""),
            ("events --follow --type 'build.*' --json", "for scripts"),
        ],
        parse: parse::events,
    },
    Entry {
        name: "emit",
        group: Group::Shared,
        summary: "emit an event of your own",
        usage: &["emit <type> [json]"],
        about: &[
            "<type> is a name that is none of the mesh's own types. The second word is its payload, \
             any JSON: a text needs quotes of its own. `-` reads it from the standard input.",
        ],
        options: &[],
        examples: &[
            ("emit build.finished '{\"ok\":true}'", ""),
            ("emit build.started", "without a payload"),
        ],
        parse: parse::emit,
    },
    setup::ENTRY,
    Entry {
        name: "doctor",
        group: Group::Agents,
        summary: "check that everything works, and say what to do if not",
        usage: &["doctor"],
        about: &[
            "Looks at the program, the data directory, the broker (which it starts if need be), a \
             message pushed to a peer of its own, the database, the settings of agents, the peers \
             that are here and files left behind. A line for each; exit code 1 if something is \
             wrong.",
        ],
        options: &[],
        examples: &[("doctor", ""), ("doctor --json", "for scripts")],
        parse: parse::doctor,
    },
    Entry {
        name: "mcp",
        group: Group::Other,
        summary: "be the MCP server of an agent, on standard input and output",
        usage: &["mcp"],
        about: &[
            "Agents run this. `slm-mesh` without a command does the same when its standard input \
             is not a terminal.",
        ],
        options: &[],
        examples: &[("mcp", "")],
        parse: parse::mcp,
    },
    Entry {
        name: "hook",
        group: Group::Agents,
        summary: "be the hook of an agent",
        usage: &["hook <agent> [--wait]"],
        about: &[
            "Agents run this at points of their turn, as their configuration says; docs/agents.md \
             has it for each. <agent> is claude-code, codex, qwen, kimi, gemini-cli, copilot, cursor, \
             windsurf, or auto for whichever calls. It reads what the agent writes to its standard \
             input and answers in the agent's form: waiting messages are put into the context, and \
             an edit of a file that someone else has locked is refused.",
            "Without a broker, without a session of the agent in the mesh, on any error and after \
             SLM_MESH_HOOK_MS (45; on a machine that has joined a hub 400; before an edit 2000) it \
             says nothing and exits with 0; before an edit it tells the agent if it could not look. \
             SLM_MESH_LOG=debug makes it say why. It starts no broker.",
        ],
        options: &[(
            "--wait",
            "stay beside the agent until a message comes, and end with 2 and its text (Claude Code, \
             `asyncRewake`; others: end at once)",
        )],
        examples: &[("hook claude-code", "as a command in ~/.claude/settings.json")],
        parse: parse::hook,
    },
    Entry {
        name: "session",
        group: Group::Other,
        summary: "serve the plugin of an agent, on standard input and output",
        usage: &["session --agent NAME"],
        about: &[
            "Plugins run this; docs/cli-reference.md has the lines that are spoken. It acts for the \
             peer of the agent's MCP server, hands out messages as they come, and says whether a file \
             may be edited. It ends with its input, and starts no broker.",
        ],
        options: &[("--agent NAME", "the type of the agent, as `peers` shows it")],
        examples: &[("session --agent opencode", "")],
        parse: parse::session,
    },
    Entry {
        name: "guard",
        group: Group::Agents,
        summary: "keep files that others have locked out of git commits",
        usage: &[
            "guard install [--uninstall] [--global]",
            "guard uninstall",
            "guard status",
            "guard check [--quiet]",
        ],
        about: &[
            "`install` adds a pre-commit hook to the repository of this directory, where \
             core.hooksPath says or where all its working trees have their hooks. A hook that is \
             there already is kept and run first. Working trees with hooks of their own are named. \
             Hooks that all your repositories share (core.hooksPath in the configuration of the user \
             or the system) are written to only with --global. `uninstall` takes the guard out and \
             puts the hook of before back as it was.",
            "`status` tells for each working tree whether its commits are guarded.",
            "`check` is what the hook runs: it exits with 1 if someone else has locked a file of the \
             commit, and with 0 in any other case, also without a broker. Run by an agent, its own \
             locks are fine; run by you, those of `cli` are. The commit of a merge is never \
             refused; `git commit --no-verify` goes past the guard.",
        ],
        options: &[
            ("--uninstall", "the same as `guard uninstall`"),
            ("--global", "also if the hooks are those of all repositories"),
            ("-q, --quiet", "say nothing but why a commit is refused"),
        ],
        examples: &[("guard install", ""), ("guard check", "would this commit be refused?")],
        parse: parse::guard,
    },
    Entry {
        name: "help",
        group: Group::Other,
        summary: "this text, or that of a command",
        usage: &["help [command]"],
        about: &[],
        options: &[],
        examples: &[("help send", "")],
        parse: parse::help,
    },
    invite::ENTRY,
    join::ENTRY,
    leave::ENTRY,
    machines::ENTRY,
    Entry {
        name: "hubs",
        group: Group::Machines,
        summary: "list the hubs that are heard on the network",
        usage: &["hubs"],
        about: &[
            "Listens for 2 seconds, by mDNS, and shows at most 8. What it shows is what anyone on \
             the network may say of themselves. With SLM_MESH_DISCOVERY=false it refuses, and sends \
             nothing.",
        ],
        options: &[],
        examples: &[("hubs", ""), ("hubs --json", "the same for scripts")],
        parse: parse::hubs,
    },
    Entry {
        name: "secret",
        group: Group::Machines,
        summary: "print a fresh shared secret",
        usage: &["secret"],
        about: &[
            "A key of 256 random bits, as SLM_MESH_SHARED_SECRET takes it. It is kept nowhere.",
        ],
        options: &[],
        examples: &[("secret", "")],
        parse: parse::secret,
    },
    Entry {
        name: "completions",
        group: Group::Other,
        summary: "what a shell needs to complete command lines, and the man page",
        usage: &["completions bash|zsh|fish", "completions man"],
        about: &[
            "Commands and options are completed, and the names of peers, handles of messages, keys \
             and locked files as they are just now. Starts no broker for that.",
        ],
        options: &[],
        examples: &[
            ("source <(slm-mesh completions bash)", "in ~/.bashrc"),
            ("source <(slm-mesh completions zsh)", "in ~/.zshrc, after compinit"),
            ("slm-mesh completions fish | source", "in ~/.config/fish/config.fish"),
            ("slm-mesh completions man > slm-mesh.1", "the man page"),
        ],
        parse: completions::parse,
    },
    Entry {
        name: "version",
        group: Group::Other,
        summary: "the version",
        usage: &["version"],
        about: &[],
        options: &[],
        examples: &[("version", "")],
        parse: parse::version,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_described() {
        for entry in ENTRIES {
            assert!(!entry.summary.is_empty() && !entry.examples.is_empty(), "{}", entry.name);
            assert!(entry.usage.iter().all(|usage| usage.starts_with(entry.name)));
            assert!(find(entry.name).is_some_and(|found| std::ptr::eq(found, entry)));
            for usage in entry.usage {
                for word in usage.split([' ', '[', ']', '.']) {
                    let known = !word.starts_with("--") || entry.option_names().contains(&word);
                    assert!(known, "{word} of {}", entry.name);
                }
            }
        }
    }

    #[test]
    fn option_names_are_taken_from_how_they_are_written() {
        let events = find("events").unwrap().option_names();
        for name in ["--type", "--since", "--limit", "-f", "--follow", "--json", "--data-dir", "-h"]
        {
            assert!(events.contains(&name), "{name}");
        }
        assert!(!events.contains(&"T"));
    }
}
