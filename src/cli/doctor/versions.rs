//! The versions of agents: from the package, or else from the program.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::cli::start::read_until;
use crate::files;
use crate::limits::{AGENT_PACKAGE_BYTES_MAX, AGENT_VERSION_BYTES_MAX, AGENT_VERSION_MS_MAX};

/// The version that each program prints; none if it prints none in time. All are run at once.
pub(super) fn ask(programs: Vec<(&'static str, PathBuf)>) -> HashMap<&'static str, Option<String>> {
    let deadline = Instant::now() + Duration::from_millis(AGENT_VERSION_MS_MAX);
    let mut versions = HashMap::new();
    let mut started = Vec::new();
    for (name, program) in programs {
        if let Some(version) = packaged(&program) {
            versions.insert(name, Some(version));
        } else {
            let mut command = Command::new(program);
            command.arg("--version").stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            started.push((name, command.spawn().ok()));
        }
    }
    let told = |child: Option<Child>| {
        let mut child = child?;
        let text = read(&mut child, deadline);
        // A program that has printed its version is about to end.
        let _ = child.kill();
        let _ = child.wait();
        version(&text)
    };
    versions.extend(started.into_iter().map(|(name, child)| (name, told(child))));
    versions
}

/// The version of the npm package that contains a program; starting one of those takes a second.
fn packaged(program: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Package {
        version: String,
    }
    let real = program.canonicalize().ok()?;
    let is_root = |dir: &&Path| dir.join("package.json").is_file();
    let within = |dir: &&Path| dir.components().any(|part| part.as_os_str() == "node_modules");
    let root = real.ancestors().skip(1).take_while(within).find(is_root)?;
    let bytes = files::read_bounded(&root.join("package.json"), AGENT_PACKAGE_BYTES_MAX).ok()?;
    let package: Package = serde_json::from_slice(&bytes).ok()?;
    version(&package.version)
}

fn read(child: &mut Child, deadline: Instant) -> String {
    let Some(mut out) = child.stdout.take() else { return String::new() };
    let left = deadline.saturating_duration_since(Instant::now());
    let output = read_until(&mut out, left, |read| read.len() >= AGENT_VERSION_BYTES_MAX);
    String::from_utf8_lossy(&output.bytes).into_owned()
}

/// The first word that looks like a version.
fn version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.contains('.')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c))
    };
    let words = text.split_whitespace().map(|word| {
        word.trim_start_matches('v').trim_end_matches([',', '.', ')']).trim_start_matches('(')
    });
    words.into_iter().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_among_words() {
        for (text, expected) in [
            ("2.1.332 (Claude Code)\n", Some("2.1.332")),
            ("codex-cli 0.171.0", Some("0.171.0")),
            ("GitHub Copilot CLI 1.0.102.\nRun copilot update", Some("1.0.102")),
            ("v22.1.0-beta.2", Some("22.1.0-beta.2")),
            ("no version, 3 words", None),
            ("1.0\u{1b}[31m", None),
            ("", None),
        ] {
            assert_eq!(version(text).as_deref(), expected, "{text}");
        }
    }
}
