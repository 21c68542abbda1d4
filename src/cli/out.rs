//! Where results go: the standard output, with what is known about who reads it.

use std::borrow::Cow;
use std::env;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use super::Exit;
use crate::model::Timestamp;
use crate::platform;

/// Lines of sentences are no longer, however wide the terminal is.
pub(super) const COLUMNS_MAX: usize = 80;

/// How text is laid out for its reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Columns of the terminal; none: no terminal, nothing is cut.
    pub(super) width: Option<usize>,
    /// Colours may be used.
    pub(super) color: bool,
}

/// What a word's colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Nothing.
    Plain,
    /// Less important.
    Dim,
    /// More important.
    Bold,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
}

impl Style {
    /// `text` in its colour (ECMA-48, 8.3.117), or as it is where there are none.
    pub(super) fn paint<'a>(&self, text: &'a str, paint: Paint) -> Cow<'a, str> {
        let code = match paint {
            Paint::Plain => return text.into(),
            Paint::Dim => 2,
            Paint::Bold => 1,
            Paint::Good => 32,
            Paint::Warn => 33,
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m").into() } else { text.into() }
    }
}

/// The standard output.
pub(super) struct Out {
    writer: BufWriter<StdoutLock<'static>>,
    /// Text for people is laid out so.
    pub(super) style: Style,
    /// It is a terminal.
    pub(super) is_terminal: bool,
    /// Results are JSON.
    pub(super) json: bool,
    /// The home directory, for `~`.
    pub(super) home: Option<PathBuf>,
    /// What ages are counted from.
    pub(super) now: Timestamp,
}

impl Out {
    /// The standard output of this process.
    pub(super) fn new(json: bool) -> Self {
        let is_terminal = platform::stdout_is_terminal();
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let style = Style {
            width: platform::terminal_width().filter(|_| is_terminal).map(usize::from),
            // https://no-color.org
            color: is_terminal && !dumb && !is_set("NO_COLOR"),
        };
        Self {
            writer: BufWriter::new(io::stdout().lock()),
            style,
            is_terminal,
            json,
            home: env::var_os("HOME").map(PathBuf::from),
            now: now(),
        }
    }

    /// A JSON document and the end of its line.
    pub(super) fn document(&mut self, json: &[u8]) -> io::Result<()> {
        self.write_all(json)?;
        self.write_all(b"\n")
    }

    /// A text that needs no broker; as JSON `{"ok":true,"<name>":"<text>"}`.
    pub(super) fn text_or_document(&mut self, name: &str, text: &str) -> super::Result<Exit> {
        if self.json {
            let text = serde_json::to_string(text).unwrap_or_default();
            self.document(format!(r#"{{"ok":true,"{name}":{text}}}"#).as_bytes())?;
        } else {
            self.write_all(text.as_bytes())?;
        }
        Ok(Exit::Done)
    }

    /// Sentences, in lines that fit the terminal, and a page.
    pub(super) fn paragraph(&mut self, text: &str) -> io::Result<()> {
        let Some(width) = self.style.width else { return writeln!(self, "{text}") };
        for line in super::text::wrap(text, Some(width.min(COLUMNS_MAX))) {
            writeln!(self, "{line}")?;
        }
        Ok(())
    }

    /// `path` for people.
    pub(super) fn path(&self, path: &str) -> String {
        super::text::escape(&super::text::short_path(path, self.home.as_deref())).into_owned()
    }

    /// `then` for people.
    pub(super) fn age(&self, then: Timestamp) -> String {
        super::text::age(then, self.now)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Writes a line to the standard error. Where that is closed there is nobody left to tell.
pub(super) fn note(text: &str) {
    let text = format!("slm-mesh: {text}");
    let text = if platform::stderr_is_terminal() {
        super::text::wrap(&text, Some(COLUMNS_MAX)).join("\n")
    } else {
        text
    };
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The wall clock.
pub(super) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
