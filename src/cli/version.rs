//! `slm-mesh version`

use super::Result;
use super::command::{Entry, Group, Standalone, standalone};
use super::out::Out;

pub(super) const ENTRY: Entry = Entry {
    name: "version",
    group: Group::Other,
    summary: "the version",
    usage: &["version"],
    about: &[],
    options: &[],
    examples: &[("version", "")],
    parse: standalone::<Version>,
};

#[derive(Debug, Default)]
pub(super) struct Version;

impl Standalone for Version {
    fn run(&self, out: &mut Out) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let text = if out.json { version.into() } else { format!("slm-mesh {version}\n") };
        out.text_or_document("version", &text)
    }
}
