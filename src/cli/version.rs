//! `slm-mesh version`

use super::command::{Entry, Group, Standalone, Task};
use super::out::Out;
use super::{Exit, Result};

pub(super) const ENTRY: Entry = Entry {
    name: "version",
    group: Group::Other,
    summary: "the version",
    usage: &["version"],
    about: &[],
    options: &[],
    examples: &[("version", "")],
    parse: |words| {
        words.end()?;
        Ok(Task::standalone(Version))
    },
};

#[derive(Debug)]
pub(super) struct Version;

impl Standalone for Version {
    fn run(&self, out: &mut Out) -> Result<Exit> {
        let version = env!("CARGO_PKG_VERSION");
        let text = if out.json { version.into() } else { format!("slm-mesh {version}\n") };
        out.text_or_document("version", &text)
    }
}
