//! One notification: how the program is run, and whether it has shown it.

use std::io;

use serde_json::json;

use super::{Notifier, Settings};
use crate::api::MessageInfo;
use crate::helper::program::Run;
use crate::limits::{NOTIFICATION_CHARS_MAX, NOTIFICATION_TIME_MAX};
use crate::text::{escape, escape_lines};

/// How the program calls itself.
const APP: &str = "slm-mesh";
/// What macOS runs: the texts come as arguments.
const SCRIPT: [&str; 3] = [
    "on run argv",
    "display notification (item 3 of argv) with title (item 1 of argv) subtitle (item 2 of argv)",
    "end run",
];

/// What the person is told.
#[derive(Clone, Copy, Debug)]
pub enum Notification<'a> {
    /// A message.
    Message(&'a MessageInfo),
    /// So many more have come.
    More(u64),
    /// How a message would be shown.
    Test,
}

impl Notification<'_> {
    /// Its first line.
    fn title(&self) -> String {
        match self {
            Self::Message(message) => {
                escape(&message.from_peer.shown_as(&message.from_name)).into_owned()
            }
            Self::More(_) | Self::Test => APP.to_owned(),
        }
    }

    /// The beginning of its text.
    fn text(&self) -> String {
        match self {
            Self::Message(message) => begin(&message.payload),
            Self::More(1) => "1 more message: slm-mesh inbox".to_owned(),
            Self::More(count) => format!("{count} more messages: slm-mesh inbox"),
            Self::Test => "This is how a message to you is shown.".to_owned(),
        }
    }

    /// All about it, for a program: a line of JSON.
    fn facts(&self) -> String {
        let facts = match self {
            Self::Message(message) => json!({"event": "message", "message": message}),
            Self::More(count) => json!({"event": "more", "count": count}),
            Self::Test => json!({"event": "test"}),
        };
        facts.to_string() + "\n"
    }
}

/// As much of a text as a notification shows, with nothing in it that could not be an argument.
fn begin(text: &str) -> String {
    let text = escape_lines(text);
    match text.char_indices().nth(NOTIFICATION_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}

/// A text as the body for `notify-send`. Bodies may be markup (Desktop Notifications Specification, 4),
/// and this is not. `notify-send` itself decodes escapes in the body, though not in the title
/// (`g_strcompress`): without its backslashes doubled, `\074` would be a `<` again.
fn plain(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('\\', "\\\\")
}

/// Tells the person, and waits until that is done.
///
/// # Errors
/// The program cannot be run, says that it has failed, or takes too long.
pub fn show(settings: &Settings, notification: Notification<'_>) -> io::Result<()> {
    let (title, text) = (notification.title(), notification.text());
    let mut environment = settings.environment.clone();
    let (mut words, mut input) = (Vec::new(), None);
    match settings.kind {
        Notifier::NotifySend => {
            words.extend([format!("--app-name={APP}"), "--category=im.received".into()]);
            words.extend(["--".into(), title, plain(&text)]);
        }
        Notifier::Osascript => {
            words.extend(SCRIPT.iter().flat_map(|line| ["-e".into(), (*line).to_owned()]));
            words.extend([APP.into(), title, text]);
        }
        Notifier::Command => {
            environment.set("SLM_MESH_FROM", &title);
            environment.set("SLM_MESH_TEXT", &text);
            if let Notification::Message(message) = notification {
                environment.set("SLM_MESH_HANDLE", &message.handle.to_string());
                environment.set("SLM_MESH_TYPE", message.kind.as_str());
            }
            input = Some(notification.facts().into_bytes());
        }
    }
    let run = Run {
        program: &settings.program,
        words: &words,
        environment: &environment,
        reads_output: false,
        time_max: NOTIFICATION_TIME_MAX,
    };
    let ended = run.to_end(input)?;
    if ended.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("it has ended with {}", ended.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_text_can_be_an_argument() {
        assert_eq!(begin("a\0b\u{202e}c\nd"), "a\\u{0}b\\u{202e}c\nd");
        let long = begin(&"ü".repeat(NOTIFICATION_CHARS_MAX + 1));
        assert_eq!(
            (long.chars().count(), long.chars().last()),
            (NOTIFICATION_CHARS_MAX + 1, Some('…'))
        );
    }

    #[test]
    fn a_text_is_no_markup() {
        assert_eq!(plain("<b>R&D</b>"), "&lt;b&gt;R&amp;D&lt;/b&gt;");
        assert_eq!(plain(r"C:\new \074b\076"), r"C:\\new \\074b\\076");
    }
}
