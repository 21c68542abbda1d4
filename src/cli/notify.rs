//! `slm-mesh notify`: telling the person of messages to them. Also the helper that does it, which the
//! broker starts.

use std::time::Instant;

use super::actor::CLI;
use super::command::{Command, Context, Entry, Group, Task};
use super::follow::Patient;
use super::out::{note, write_object};
use super::words::{self, Words};
use super::{Failure, Result, helpers};
use crate::api::{Fetch, Messages, Request};
use crate::client::Client;
use crate::config::NOTIFY;
use crate::helper::{Helper, HelperFiles, Position};
use crate::limits::{LIST_LIMIT_MAX, WAIT_SECONDS_MAX};
use crate::log;
use crate::model::Seq;
use crate::notify::{Notification, Notifier, Pace, Settings, show};

pub(super) const ENTRY: Entry = Entry {
    name: "notify",
    group: Group::Messages,
    summary: "have messages to you shown on the desktop",
    usage: &["notify on|off|status|test"],
    about: &[
        "From `on` to `off`, a process beside the broker shows each message to `cli` that is \
         unread, with its sender and the beginning of its text; of many at once the first ones, \
         and how many more there are. They stay unread.",
        "It uses `notify-send`, on macOS `osascript`, or your own program if SLM_MESH_NOTIFY \
         names one: that is run for each message, with SLM_MESH_FROM, SLM_MESH_TEXT (its \
         beginning), SLM_MESH_TYPE and SLM_MESH_HANDLE in its environment and all about the \
         message on its standard input, as a line of JSON.",
        "Run `on` in a terminal of your desktop: what leads there is stored, since the broker \
         may have been started from elsewhere. `test` shows one notification.",
    ],
    options: &[],
    examples: &[
        ("notify on", ""),
        ("SLM_MESH_NOTIFY=~/bin/say-it slm-mesh notify on", "by a program of your own"),
    ],
    parse,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notify {
    On,
    Off,
    Status,
    Test,
    /// Be the helper.
    Run,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let notify = if words.flag("--helper") {
        Notify::Run
    } else {
        match words.action(&["on", "off", "status", "test"])? {
            "on" => Notify::On,
            "off" => Notify::Off,
            "test" => Notify::Test,
            _ => Notify::Status,
        }
    };
    words.end()?;
    Ok(Task::command(notify))
}

impl Command for Notify {
    fn run(&self, context: &mut Context) -> Result<()> {
        if matches!(self, Self::On | Self::Off) {
            context.check_is_person("to switch notifications on or off")?;
        }
        let files = HelperFiles::of(Helper::Notify, &context.config.paths);
        match self {
            Self::On => on(context, &files),
            Self::Off => helpers::switch_off(context, &files, "Notifications are off."),
            Self::Status => status(context, &files),
            Self::Test => test(context, &files),
            Self::Run => follow(context, &files),
        }
    }
}

/// How the person is to be told, by this environment.
fn wanted(context: &Context) -> Result<Settings> {
    let own = context.config.notify.as_deref();
    Settings::of(|name| std::env::var_os(name), own).map_err(|name| {
        let name = super::text::escape(&name).into_owned();
        let message = match (own, Notifier::program(Notifier::NotifySend)) {
            (Some(_), _) => format!("{NOTIFY} is {name}, and there is no such program"),
            (None, _) => format!(
                "there is no {name} here, which shows notifications: it comes with libnotify \
                 (packages libnotify-bin or libnotify); or name a program of your own by {NOTIFY}"
            ),
        };
        Failure::other("no_program", message)
    })
}

fn on(context: &mut Context, files: &HelperFiles) -> Result<()> {
    let settings = wanted(context)?;
    let begins = helpers::switch_on(context, files, &settings)?;
    let by = program(&settings);
    if context.out.json {
        return helpers::say_status(context, files, Some(&by));
    }
    let by = context.out.path(&by);
    context.out.paragraph(&format!("Messages to you are shown by {by}, {begins}."))?;
    if !settings.has_desktop() {
        note(
            "nothing here leads to a desktop (DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR): run this \
             in a terminal on it; `slm-mesh notify test` shows whether it works",
        );
    }
    Ok(())
}

fn program(settings: &Settings) -> String {
    settings.program.to_string_lossy().into_owned()
}

fn status(context: &mut Context, files: &HelperFiles) -> Result<()> {
    let settings = helpers::settings::<Settings>(files)?.on();
    let program = settings.as_ref().map(program);
    if context.out.json {
        return helpers::say_status(context, files, program.as_deref());
    }
    let out = &mut context.out;
    let Some(program) = program else {
        return writeln!(out, "Notifications are off. To switch them on: slm-mesh notify on");
    };
    let (by, now) = (out.path(&program), helpers::running_text(files));
    out.paragraph(&format!("Notifications are on, by {by}{now}."))
}

fn test(context: &mut Context, files: &HelperFiles) -> Result<()> {
    let settings = match helpers::settings(files)?.on() {
        Some(settings) => settings,
        None => wanted(context)?,
    };
    let by = program(&settings);
    show(&settings, Notification::Test)
        .map_err(|error| Failure::other("not_shown", format!("{by} has shown nothing: {error}")))?;
    let out = &mut context.out;
    if out.json {
        write_object!(out, "ok" => true)
    } else {
        writeln!(out, "Shown by {}.", out.path(&by))
    }
}

/// The helper: shows what is unread in the person's inbox and what arrives, until the broker ends.
fn follow(context: &mut Context, files: &HelperFiles) -> Result<()> {
    let Some(_lock) = helpers::take(context, files)? else { return Ok(()) };
    let Some(settings) = helpers::settings::<Settings>(files)?.on() else { return Ok(()) };
    let mut patient = Patient::new(Client::of(&context.config.of_any_role()), true);
    let done = helpers::position(context, files, "", &mut patient)?;
    let follower =
        Follower { files, settings, patient, done, pace: Pace::default(), has_failed: false };
    follower.run()
}

struct Follower<'a> {
    files: &'a HelperFiles,
    settings: Settings,
    patient: Patient,
    done: Position,
    pace: Pace,
    has_failed: bool,
}

impl Follower<'_> {
    fn run(mut self) -> Result<()> {
        let mut seen = self.done.seq;
        loop {
            let left = self.pace.time_left(Instant::now());
            let wait = left.map_or(WAIT_SECONDS_MAX, |left| {
                u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(WAIT_SECONDS_MAX)
            });
            let reply: Messages = self.patient.ask(&Request::Fetch(Fetch {
                peer_id: Some(CLI.into()),
                after: Some(seen),
                limit: Some(LIST_LIMIT_MAX),
                peek: true,
                wait: wait.min(WAIT_SECONDS_MAX),
                ..Fetch::default()
            }))?;
            for message in &reply.messages {
                if self.pace.admit(Instant::now()) {
                    self.show(Notification::Message(message));
                    // Those of the rest are counted again by a helper that has to begin anew.
                    self.is_done(message.seq)?;
                }
            }
            seen = reply.messages.last().map_or(seen, |message| message.seq);
            if let Some(rest) = self.pace.take_rest(Instant::now()) {
                self.show(Notification::More(rest));
                self.is_done(seen)?;
            }
        }
    }

    fn is_done(&mut self, seq: Seq) -> Result<()> {
        self.done.seq = seq;
        self.files.set_position(&self.done).map_err(helpers::file_error)
    }

    /// What could not be shown is in the inbox all the same.
    fn show(&mut self, notice: Notification<'_>) {
        match show(&self.settings, notice) {
            Ok(()) => self.has_failed = false,
            Err(error) if !std::mem::replace(&mut self.has_failed, true) => {
                let program = self.settings.program.display();
                log::warn(format_args!("{program} has not shown a message: {error}"));
            }
            Err(_) => {}
        }
    }
}
