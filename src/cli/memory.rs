//! `slm-mesh memory` and `recall`: a memory that is given what happens, and is asked later. Also the
//! helper that gives it, which the broker starts.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::command::{Command, Context, Entry, Group, Task};
use super::follow::Patient;
use super::peer_names::PeerNames;
use super::text::{escape, escape_lines, wrap};
use super::words::{self, Words};
use super::{Failure, Result, helpers, history, values};
use crate::api::{self, Code, EventInfo, Events, HistoryPage, MessageInfo, ReadEvents, Request};
use crate::client::Client;
use crate::config::MEMORY;
use crate::data_dir;
use crate::helper::{Helper, HelperFiles, Position, StoredSettings};
use crate::limits::{
    LIST_LIMIT_MAX, MEMORY_ATTEMPTS_MAX, MEMORY_BUSY_MAX, MEMORY_PAUSE_MAX, WAIT_SECONDS_MAX,
};
use crate::log;
use crate::memory::{
    MemoryBridge, NamedEvent, NamedMessage, SUPERLOCALMEMORY, Settings, StateChange, Trouble,
};
use crate::model::{MessageId, Party, Seq, event_type};
use crate::role::Kind;

/// Passages that are asked for when the command line does not say.
const LIMIT: u32 = 10;
/// Events that are taken at once.
const EVENTS_AT_ONCE: u32 = 200;
/// How long a memory that is away is left alone first.
const PAUSE_MIN: Duration = Duration::from_secs(1);

pub(super) const ENTRY: Entry = Entry {
    name: "memory",
    group: Group::Other,
    summary: "give what happens in the mesh to a memory",
    usage: &["memory on [superlocalmemory|command:PROGRAM]", "memory off|status"],
    about: &[
        "From `on` to `off`, a process beside the broker gives every message, every change of shared \
         state and every event to a memory that keeps it for longer than the mesh does, beginning \
         with what the mesh still has. `recall` asks it.",
        "`superlocalmemory` (the default, or what SLM_MESH_MEMORY names) is the package of that name, \
         by its daemon on this machine or its command `slm`. `command:PROGRAM` is a program of your \
         own that reads and writes lines of JSON; the reference of the command line has its form.",
        "While the memory is away or busy nothing is lost that the mesh still keeps: messages for a \
         day, events for two.",
    ],
    options: &[],
    examples: &[
        ("memory on", ""),
        ("memory on command:~/bin/remember", "a program of your own"),
        ("memory status", "how far it has come"),
    ],
    parse: parse_memory,
};

pub(super) const RECALL: Entry = Entry {
    name: "recall",
    group: Group::Other,
    summary: "ask the memory",
    usage: &["recall <query> [--limit N]"],
    about: &["Shows what the memory that `memory on` has switched on finds, the best first."],
    options: &[("--limit N", "at most N passages, 1 to 1000 (default: 10)")],
    examples: &[("recall 'which port has the API'", "")],
    parse: parse_recall,
};

#[derive(Debug, PartialEq, Eq)]
enum Memory {
    /// Which, if it is not the usual one.
    On(Option<String>),
    Off,
    Status,
    /// Be the helper.
    Run,
}

#[derive(Debug, PartialEq, Eq)]
struct Recall {
    query: String,
    limit: Option<u32>,
}

fn parse_memory(words: &mut Words) -> words::Result<Task> {
    let memory = if words.flag("--helper") {
        Memory::Run
    } else {
        match words.action(&["on", "off", "status"])? {
            "on" => return Ok(Task::command(Memory::On(words.optional("[memory]")?))),
            "off" => Memory::Off,
            _ => Memory::Status,
        }
    };
    words.end()?;
    Ok(Task::command(memory))
}

fn parse_recall(words: &mut Words) -> words::Result<Task> {
    let limit = values::limit(words, 1)?;
    let [query] = words.required(["<query>"])?;
    Ok(Task::command(Recall { query, limit }))
}

impl Command for Memory {
    fn run(&self, context: &mut Context) -> Result<()> {
        if matches!(self, Self::On(_) | Self::Off) {
            context.check_is_person("to switch a memory on or off")?;
        }
        let files = HelperFiles::of(Helper::Memory, &context.config.paths);
        match self {
            Self::On(which) => on(context, &files, which.as_deref()),
            Self::Off => {
                data_dir::prepare(&context.config.paths)?;
                let done = "No memory is given anything any more. What it has, it keeps.";
                helpers::switch_off(context, &files, done)
            }
            Self::Status => status(context, &files),
            Self::Run => follow(context, &files),
        }
    }
}

impl Command for Recall {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to read what others write to each other")?;
        recall(context, self)
    }
}

/// The memory that is stored, or else that of the variable.
fn settings(context: &Context, files: &HelperFiles) -> Result<Option<Settings>> {
    match helpers::settings(files)? {
        StoredSettings::On(settings) => Ok(Some(settings)),
        StoredSettings::Off => Ok(None),
        StoredSettings::Nothing => context.config.memory.as_deref().map(of_environment).transpose(),
    }
}

fn of_environment(word: &str) -> Result<Settings> {
    Settings::of(|name| std::env::var_os(name), word).map_err(|why| {
        let message = format!("there is {} ({MEMORY} or `memory on` say which)", escape(&why));
        Failure::other("no_memory", message)
    })
}

fn on(context: &mut Context, files: &HelperFiles, which: Option<&str>) -> Result<()> {
    let word = which.or(context.config.memory.as_deref()).unwrap_or(SUPERLOCALMEMORY);
    let settings = of_environment(word)?;
    if helpers::role(context)?.kind() == Kind::Client {
        return Err(Failure::other(
            "hub_only",
            "this machine has joined the mesh of another, and its hub has the messages: switch the \
             memory on there",
        ));
    }
    let begins = helpers::switch_on(context, files, &settings)?;
    let name = settings.name();
    if context.out.json {
        return helpers::say_status(context, files, Some(&name));
    }
    let name = context.out.path(&name);
    context.out.paragraph(&format!("What happens in the mesh is given to {name}, {begins}."))?;
    if settings.bridge().is_available() {
        return Ok(());
    }
    context.out.paragraph(
        "It is not there now: it is given what it misses, as long as the mesh keeps that.",
    )
}

fn status(context: &mut Context, files: &HelperFiles) -> Result<()> {
    let settings = settings(context, files)?;
    let available = settings.as_ref().is_some_and(|settings| settings.bridge().is_available());
    let name = settings.as_ref().map(Settings::name);
    // That of another memory says nothing of this one.
    let own = |position: &Position| name.as_ref().is_none_or(|name| position.of.ends_with(name));
    let position = files.position().filter(own).map_or(Seq(0), |position| position.seq);
    let running = files.is_running();
    let out = &mut context.out;
    if out.json {
        return out.document(&json!({
            "ok": true, "on": name.is_some() || running, "by": name, "running": running,
            "available": available, "seq": position,
        }));
    }
    let Some(name) = name else {
        if running {
            return out.paragraph(&format!(
                "What happens in the mesh is given to the memory that {MEMORY} named where the \
                 broker was started. To switch that off: slm-mesh memory off"
            ));
        }
        return writeln!(out, "No memory is switched on. To switch one on: slm-mesh memory on");
    };
    let (name, now) = (out.path(&name), helpers::running_text(files));
    let there = if available { "It is there" } else { "It is not there now" };
    out.paragraph(&format!(
        "What happens in the mesh is given to {name}{now}. {there}, and has what came up to number \
         {position}."
    ))
}

fn recall(context: &mut Context, wanted: &Recall) -> Result<()> {
    let files = HelperFiles::of(Helper::Memory, &context.config.paths);
    let Some(settings) = settings(context, &files)? else {
        let message = "no memory is switched on: slm-mesh memory on";
        return Err(Failure::other("no_memory", message));
    };
    let limit = wanted.limit.unwrap_or(LIMIT);
    let found = settings.bridge().recall(&wanted.query, limit).map_err(|trouble| {
        let message = format!("{} has not answered: {trouble}", settings.name());
        Failure::other("memory_failed", escape(&message).into_owned())
    })?;
    let out = &mut context.out;
    if out.json {
        return out.document(&json!({"ok": true, "passages": found}));
    }
    if found.is_empty() {
        writeln!(out, "{} has nothing of that.", escape(&settings.name()))?;
    }
    let width = out.style.width;
    for (i, passage) in found.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        for line in escape_lines(&passage.text).lines() {
            for line in wrap(line, width) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

/// The helper: gives the memory everything that it does not have yet, and what happens, until the
/// broker ends.
fn follow(context: &mut Context, files: &HelperFiles) -> Result<()> {
    let Some(_lock) = helpers::take(context, files)? else { return Ok(()) };
    let Some(settings) = settings(context, files)? else { return Ok(()) };
    let mut patient = Patient::new(Client::of(&context.config.of_any_role()), true);
    if helpers::role(context)?.kind() == Kind::Client {
        rest("this machine has joined the mesh of another");
    }
    let to = settings.name();
    let seen = helpers::position(context, files, &to, &mut patient)?;
    let giver = Giver { bridge: settings.bridge(), name: settings.name(), is_away: false };
    let feed = Feed { files, patient, giver, names: PeerNames::default(), seen };
    match feed.run() {
        // The machine has joined another mesh since.
        Err(Failure::Client(error)) if error.code() == Some(Code::Forbidden) => rest(&error),
        result => result,
    }
}

/// Gives nothing, and stays: to end would only have the broker start another.
fn rest(why: impl std::fmt::Display) -> ! {
    log::warn(format_args!("the memory is given nothing: {why}"));
    loop {
        std::thread::park();
    }
}

struct Feed<'a> {
    files: &'a HelperFiles,
    patient: Patient,
    giver: Giver,
    names: PeerNames,
    /// The memory has everything up to here.
    seen: Position,
}

impl Feed<'_> {
    fn run(mut self) -> Result<()> {
        loop {
            self.next()?;
        }
    }

    /// Waits for what comes next, and gives it.
    fn next(&mut self) -> Result<()> {
        let page: Events = self.patient.ask(&Request::ReadEvents(ReadEvents {
            after: Some(self.seen.seq),
            limit: Some(EVENTS_AT_ONCE),
            wait: WAIT_SECONDS_MAX,
            ..ReadEvents::default()
        }))?;
        if self.seen.seq != Seq(0) && self.seen.seq.next() < page.first_seq {
            log::warn(format_args!(
                "the memory was away for so long that the mesh has not kept all it missed"
            ));
        }
        let messages = self.messages(&page)?;
        let parties = page.events.iter().filter_map(|event| event.emitted_by.as_ref());
        let parties = parties.chain(messages.values().filter_map(|it| it.to_peer.as_ref()));
        let unknown: Vec<Party> =
            parties.filter(|party| !self.names.knows(party)).cloned().collect();
        if !unknown.is_empty() {
            let known = std::mem::take(&mut self.names);
            self.names = known.with(PeerNames::of(self.patient.client(), &unknown)?);
        }
        for event in &page.events {
            self.give(event, &messages);
            self.is_done(event.seq)?;
        }
        self.is_done(page.last_seq)
    }

    fn is_done(&mut self, seq: Seq) -> Result<()> {
        if seq != self.seen.seq {
            self.seen.seq = seq;
            self.files.set_position(&self.seen).map_err(helpers::file_error)?;
        }
        Ok(())
    }

    /// The messages among these events, which have no texts themselves.
    fn messages(&mut self, page: &Events) -> Result<HashMap<MessageId, MessageInfo>> {
        let mut found = HashMap::new();
        let is_message = |event: &&EventInfo| &*event.kind == event_type::MESSAGE_RECEIVED;
        let mut all = page.events.iter().filter(is_message).map(|event| event.seq);
        let (Some(first), last) = (all.next(), all.next_back()) else { return Ok(found) };
        let mut after = first.0.checked_sub(1).map(Seq);
        while let Some(from) = after {
            let portion: HistoryPage = self.patient.ask(&Request::History(api::History {
                after: Some(from),
                before: Some(last.unwrap_or(first).next()),
                limit: Some(LIST_LIMIT_MAX),
                ..api::History::default()
            }))?;
            found.extend(portion.messages.into_iter().map(|message| (message.id, message)));
            after = portion.next;
        }
        Ok(found)
    }

    fn give(&mut self, event: &EventInfo, messages: &HashMap<MessageId, MessageInfo>) {
        let by = event.emitted_by.as_ref().map(|party| self.names.shown(party));
        let named = NamedEvent { event, by: by.as_deref() };
        match &*event.kind {
            event_type::MESSAGE_RECEIVED => {
                // One that is not kept any more is gone.
                let Some(message) = messages.get(&event.id) else { return };
                let from = message.from_peer.shown_as(&message.from_name);
                let (from, to) = (escape(&from), history::recipient(message, &self.names));
                let named = NamedMessage { message, from: &from, to: &to };
                self.giver.give(event.seq, |bridge| bridge.on_message(&named));
            }
            event_type::STATE_CHANGED => {
                match serde_json::from_str::<StateChange>(&event.payload) {
                    Ok(change) => {
                        self.giver.give(event.seq, |bridge| bridge.on_state(&named, &change));
                    }
                    Err(error) => log::warn(format_args!("event {}: {error}", event.seq)),
                }
            }
            _ => self.giver.give(event.seq, |bridge| bridge.on_event(&named)),
        }
    }
}

/// Gives a memory one thing until it has taken it.
struct Giver {
    bridge: Box<dyn MemoryBridge>,
    name: String,
    /// That it is away was said.
    is_away: bool,
}

impl Giver {
    fn give(
        &mut self,
        seq: Seq,
        mut once: impl FnMut(&mut dyn MemoryBridge) -> std::result::Result<(), Trouble>,
    ) {
        let (mut pause, mut failures) = (PAUSE_MIN, 0);
        loop {
            let trouble = match once(&mut *self.bridge) {
                Ok(()) => break,
                Err(trouble) => trouble,
            };
            let name = &self.name;
            match &trouble {
                Trouble::Busy(time) => {
                    sleep((*time).clamp(PAUSE_MIN, MEMORY_BUSY_MAX));
                    continue;
                }
                Trouble::Away(why) => {
                    if !std::mem::replace(&mut self.is_away, true) {
                        log::warn(format_args!("{name} is away, and waited for: {why}"));
                    }
                }
                Trouble::Failed(why) => {
                    failures += 1;
                    if failures == 1 {
                        log::warn(format_args!(
                            "{name} fails at number {seq}, and is waited for: {why}"
                        ));
                    }
                    if failures == MEMORY_ATTEMPTS_MAX {
                        log::warn(format_args!(
                            "{name} has failed for too long at number {seq}, which is left out: {why}"
                        ));
                        return;
                    }
                }
                Trouble::Refused(why) => {
                    log::warn(format_args!("{name} does not take number {seq}: {why}"));
                    return;
                }
            }
            sleep(pause);
            pause = (pause * 2).min(MEMORY_PAUSE_MAX);
        }
        if std::mem::take(&mut self.is_away) {
            log::info(format_args!("{} is back", self.name));
        }
    }
}
