//! `slm-mesh emit`

use serde_json::value::RawValue;

use super::command::{Command, Context, Entry, Group, Task};
use super::text::escape;
use super::values::TextArgument;
use super::words::{self, Words};
use super::{Failure, Result};
use crate::api::{EmittedReply, Request};
use crate::client::{StartPolicy, new_id};

pub(super) const ENTRY: Entry = Entry {
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
    parse,
};

#[derive(Debug, PartialEq, Eq)]
struct Emit {
    /// A name that is none of the mesh's own types.
    kind: String,
    /// JSON; null if none.
    payload: Option<TextArgument>,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let mut texts = words.texts_left(&["<type>", "[json]"])?.into_iter();
    let kind = texts.next().unwrap_or_default();
    let payload = texts.next().map(TextArgument::from_word);
    Ok(Task::command(Emit { kind, payload }))
}

impl Command for Emit {
    fn run(&self, context: &mut Context) -> Result<()> {
        let payload = match &self.payload {
            Some(text) => payload(text)?,
            None => "null".into(),
        };
        let mut acting = context.acting(None, StartPolicy::IfNeeded)?;
        let request = Request::Emit {
            peer_id: acting.peer_id,
            kind: self.kind.as_str().into(),
            payload,
            id: new_id(),
        };
        let out = &mut context.out;
        let reply: Option<EmittedReply> = out.ask(&mut acting.client, &request)?;
        let Some(EmittedReply { seq, .. }) = reply else { return Ok(()) };
        writeln!(out, "Emitted {} (event {seq}).", escape(&self.kind))
    }
}

fn payload(text: &TextArgument) -> Result<Box<str>> {
    let text = text.read()?;
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(json) => Ok(json.get().into()),
        Err(error) => Err(Failure::usage(format!(
            "the payload is not JSON ({error}); a plain text needs quotes of its own: '\"text\"'"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn a_payload_may_be_given() {
        let emit = |payload| Emit { kind: "build.done".into(), payload };
        assert_eq!(command::<Emit>("emit build.done"), emit(None));
        assert_eq!(
            command::<Emit>("emit build.done {}"),
            emit(Some(TextArgument::Given("{}".into())))
        );
        assert_eq!(command::<Emit>("emit build.done -"), emit(Some(TextArgument::Stdin)));
        assert!(refused("emit").contains("<type> is missing"));
    }
}
