//! The patches of `apply_patch`: which files they change.
//!
//! The format is described in `codex-rs/apply-patch` of the source of Codex. File headers may be
//! surrounded by white space there, so they may here. Lines of a hunk begin with a space, `+`, `-` or
//! `@@`. A context line that looks like a header can be mistaken for one; then one file too many is
//! checked, but never one too few.

use std::path::PathBuf;

const HEADERS: [&str; 4] =
    ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];

/// The files that `patch` changes, in order, including the targets of moves.
#[must_use]
pub fn files(patch: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for line in patch.lines() {
        let line = line.trim();
        let named = HEADERS.iter().find_map(|header| line.strip_prefix(header)).map(str::trim);
        if let Some(path) = named.filter(|path| !path.is_empty())
            && !files.iter().any(|known| known.as_os_str() == path)
        {
            files.push(path.into());
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patch: &str) -> Vec<String> {
        files(patch).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn every_file_of_a_patch_is_found() {
        let patch = "*** Begin Patch\n*** Add File: new.rs\n+fn main() {}\n\
                     *** Update File: src/old name.rs\n*** Move to: src/new name.rs\n@@ fn a\n-x\n+y\n\
                     *** Update File: /abs/z.rs\n@@\n-*** Add File: no.rs\n+*** Delete File: no.rs\n\
                     *** Delete File: gone.rs\n*** End of File\n*** End Patch\n";
        let expected = ["new.rs", "src/old name.rs", "src/new name.rs", "/abs/z.rs", "gone.rs"];
        assert_eq!(names(patch), expected);
    }

    #[test]
    fn headers_are_read_as_codex_reads_them() {
        assert_eq!(
            names("  *** Update File: a.rs  \r\n*** Update File: b.rs\r\n"),
            ["a.rs", "b.rs"]
        );
        assert_eq!(names("*** Update File: a\n*** Update File: a\n"), ["a"]);
        assert_eq!(
            names("*** Update File:\n*** Update File: \n***Update File: x\nupdate"),
            [""; 0]
        );
        assert_eq!(names(""), [""; 0]);
    }
}
