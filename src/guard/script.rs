//! The text of the hook.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use memchr::memmem;

/// The suffix of a hook that was there before. It is kept under that name and runs first.
pub(super) const KEPT_SUFFIX: &str = ".before-slm-mesh";

const HEAD: &str = "\
#!/bin/sh
# slm-mesh guard: keeps files that someone else has locked out of commits.
# Put here by `slm-mesh guard install`; `slm-mesh guard uninstall` takes it out.
if [ -x \"$0.before-slm-mesh\" ]; then
    \"$0.before-slm-mesh\" \"$@\" || exit $?
fi
slm_mesh=";

const MIDDLE: &str = "
[ -x \"$slm_mesh\" ] || slm_mesh=$(command -v slm-mesh) || exit 0
\"$slm_mesh\" guard check --quiet";

const TAIL: &str = "
# Only a lock stops a commit; a fault of the guard does not.
[ $? -ne 1 ]
";

/// A single quote within a single-quoted word.
const QUOTE: &[u8] = b"'\\''";

const MARK: &[u8] = b"# slm-mesh guard:";

/// Who has written a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is the guard, wherever the program it names is.
    Guard,
    /// It is the guard, but someone has edited it.
    Changed,
    /// It has nothing to do with the guard.
    Other,
}

/// The hook that runs `program`, for the data directory `data_dir` if one is given.
pub(super) fn text(program: &Path, data_dir: Option<&Path>) -> Vec<u8> {
    let mut text = HEAD.as_bytes().to_vec();
    text.extend(quote(program));
    text.extend(MIDDLE.as_bytes());
    if let Some(data_dir) = data_dir {
        text.extend(b" --data-dir ");
        text.extend(quote(data_dir));
    }
    text.extend(TAIL.as_bytes());
    text
}

/// Who has written the hook `text`.
pub(super) fn owner(text: &[u8]) -> Owner {
    if text.starts_with(HEAD.as_bytes()) && text.ends_with(TAIL.as_bytes()) {
        Owner::Guard
    } else if memmem::find(text, MARK).is_some() {
        Owner::Changed
    } else {
        Owner::Other
    }
}

/// The program that the guard `text` runs.
pub(super) fn program(text: &[u8]) -> Option<PathBuf> {
    let word = text.strip_prefix(HEAD.as_bytes())?;
    let end = memmem::find(word, MIDDLE.as_bytes())?;
    let mut rest = word.get(..end)?.strip_prefix(b"'")?.strip_suffix(b"'")?;
    let mut path = Vec::with_capacity(rest.len());
    while let Some(at) = memmem::find(rest, QUOTE) {
        path.extend(rest.get(..at)?);
        path.push(b'\'');
        rest = rest.get(at + QUOTE.len()..)?;
    }
    path.extend(rest);
    Some(OsString::from_vec(path).into())
}

/// A path as one word of the shell, whatever characters it has.
fn quote(path: &Path) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.as_os_str().as_bytes().split(|byte| *byte == b'\'').collect();
    [&b"'"[..], &parts.join(QUOTE), b"'"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_knows_itself() {
        let plain = text(Path::new("/usr/bin/slm-mesh"), None);
        let other = text(Path::new("/it's here/slm-mesh"), Some(Path::new("/d d")));
        assert_eq!((owner(&plain), owner(&other)), (Owner::Guard, Owner::Guard));
        for path in ["/usr/bin/slm-mesh", "/it's 'here'/slm-mesh", "/'", "/''x"] {
            assert_eq!(program(&text(Path::new(path), None)), Some(path.into()));
        }
        let changed = [&plain[..], b"echo more\n"].concat();
        assert_eq!(owner(&changed), Owner::Changed);
        assert_eq!(owner(b"#!/bin/sh\nexit 0\n"), Owner::Other);
        assert_eq!(owner(b""), Owner::Other);
        let text = String::from_utf8(other).unwrap();
        assert!(text.contains("slm_mesh='/it'\\''s here/slm-mesh'\n"), "{text}");
        assert!(text.contains("guard check --quiet --data-dir '/d d'\n"), "{text}");
        assert!(text.contains(&format!("$0{KEPT_SUFFIX}")), "{text}");
    }
}
