//! The standard output, with what is known about its reader.

use std::borrow::Cow;
use std::env;
use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::path::PathBuf;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::ser::{SerializeMap, Serializer};
use serde_json::ser::{CompactFormatter, Compound};

use super::Result;
use super::table::{Cell, Column, Table};
use crate::api::Request;
use crate::client::Client;
use crate::client::blocking::read_reply;
use crate::model::Timestamp;
use crate::platform;

/// Most columns of a line of sentences, however wide the terminal is.
pub(super) const COLUMNS_MAX: usize = 80;
/// Columns of the label of a fact.
const FACT_COLUMNS: usize = 10;

/// The answer to a request that has nothing to tell but that it was done.
pub(super) type Done = IgnoredAny;

/// A JSON object that is being written.
type JsonObject<'a> = Compound<'a, &'a mut Writer, CompactFormatter>;

type Writer = BufWriter<StdoutLock<'static>>;

/// How text is laid out for its reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Columns of the terminal; none if it is no terminal, so that nothing is cut.
    pub(super) width: Option<usize>,
    /// Whether colours may be used.
    pub(super) color: bool,
}

/// The meaning of a colour.
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
    /// Worth attention.
    Warn,
}

impl Style {
    /// `text` in its colour (ECMA-48, 8.3.117), or as it is without colours.
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

/// Writes a JSON object with these members, in this order, in a line of its own.
macro_rules! write_object {
    ($out:expr, $($name:expr => $value:expr),+) => {{
        let out: &mut $crate::cli::out::Out = $out;
        out.object(|object| {
            $(serde::ser::SerializeMap::serialize_entry(object, $name, &$value)?;)+
            Ok(())
        })
    }};
}
pub(super) use write_object;

/// The standard output.
pub(super) struct Out {
    writer: Writer,
    /// The layout of text for people.
    pub(super) style: Style,
    /// Whether it is a terminal.
    pub(super) is_terminal: bool,
    /// Whether results are JSON.
    pub(super) json: bool,
    /// The home directory, for `~`.
    pub(super) home: Option<PathBuf>,
    /// The time from which ages are counted.
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

    /// Asks the broker, and gives its answer to be told in words. If results are JSON, writes it as
    /// it is and gives none.
    pub(super) fn ask<T: DeserializeOwned>(
        &mut self,
        client: &mut Client,
        request: &Request,
    ) -> Result<Option<T>> {
        self.answer(&client.call_bytes(request)?)
    }

    /// The same with an answer that has come.
    pub(super) fn answer<T: DeserializeOwned>(&mut self, body: &[u8]) -> Result<Option<T>> {
        if !self.json {
            return Ok(Some(read_reply(body)?));
        }
        self.line(body)?;
        Ok(None)
    }

    /// Writes a JSON document in a line of its own.
    pub(super) fn document(&mut self, document: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.writer, document).map_err(io::Error::from)?;
        self.line(b"")
    }

    /// Writes an object with the members that `write` adds; see [`write_object`].
    pub(super) fn object(
        &mut self,
        write: impl FnOnce(&mut JsonObject<'_>) -> serde_json::Result<()>,
    ) -> Result<()> {
        let mut serializer = serde_json::Serializer::new(&mut self.writer);
        let object = serializer.serialize_map(None);
        let object = object.and_then(|mut object| write(&mut object).and_then(|()| object.end()));
        object.map_err(io::Error::from)?;
        self.line(b"")
    }

    /// Writes bytes as they are, and a newline.
    pub(super) fn line(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes)?;
        Ok(self.writer.write_all(b"\n")?)
    }

    /// Writes text, for `writeln!`.
    pub(super) fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<()> {
        Ok(self.writer.write_fmt(text)?)
    }

    /// Hands on what was written.
    pub(super) fn flush(&mut self) -> Result<()> {
        Ok(self.writer.flush()?)
    }

    /// Writes a text that needs no broker; as JSON, `{"ok":true,"<name>":"<text>"}`.
    pub(super) fn text_or_document(&mut self, name: &str, text: &str) -> Result<()> {
        if self.json {
            write_object!(self, "ok" => true, name => text)
        } else {
            write!(self, "{text}")
        }
    }

    /// Writes sentences, wrapped to the terminal and to [`COLUMNS_MAX`].
    pub(super) fn paragraph(&mut self, text: &str) -> Result<()> {
        let Some(width) = self.style.width else { return writeln!(self, "{text}") };
        for line in super::text::wrap(text, Some(width.min(COLUMNS_MAX))) {
            writeln!(self, "{line}")?;
        }
        Ok(())
    }

    /// Writes a table with a row for each of `items`, fitted to the terminal.
    pub(super) fn table<const N: usize, T>(
        &mut self,
        columns: [Column; N],
        items: &[T],
        row: impl Fn(&Self, &T) -> [Cell; N],
    ) -> Result<()> {
        let rows = items.iter().map(|item| row(self, item)).collect();
        Ok(Table { columns, rows }.write(&mut self.writer, self.style)?)
    }

    /// Says how many items are not in a table.
    pub(super) fn more(&mut self, remaining: u64) -> Result<()> {
        if remaining == 0 {
            return Ok(());
        }
        writeln!(self, "{remaining} more are not shown.")
    }

    /// Writes facts, each with its label on its first line.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) -> Result<()> {
        let width =
            self.style.width.map(|width| width.min(COLUMNS_MAX).saturating_sub(FACT_COLUMNS));
        for (about, text) in facts {
            let about = format!("{about:<FACT_COLUMNS$}");
            let about = self.style.paint(&about, Paint::Dim).into_owned();
            let text = super::text::wrap(text, width).join(&format!("\n{:FACT_COLUMNS$}", ""));
            writeln!(self, "{about}{text}")?;
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

/// Writes a line to the standard error. If that is closed, there is nobody to tell.
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
