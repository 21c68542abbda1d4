//! The canonical spelling of a path, under which a file is locked, however it was named.

use std::io;
use std::path::{Component, Path, PathBuf};

pub(crate) use super::notation::{percent_decode, remark};
use super::notation::{repository, understand};
use crate::api::LockInfo;
use crate::patterns::{Pattern, escape, split_head};

/// The canonical form of `path`: links followed as far as the path exists, the rest normalised. A
/// relative path is taken from `base`, which has to be absolute.
///
/// A component that cannot be read (no permission, a loop of links) counts as missing and is kept.
pub(crate) fn canonical_from(base: &Path, path: &Path) -> PathBuf {
    let path = base.join(path);
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let mut real = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let next = real.join(name);
                real = next.canonicalize().unwrap_or(next);
            }
            // The links before it have been followed, so this is the true parent.
            Component::ParentDir => {
                real.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    real
}

/// As [`canonical_from`], from the working directory, as text.
///
/// # Errors
/// The working directory cannot be read, or the path is not UTF-8.
pub(crate) fn canonical(path: &Path) -> io::Result<Box<str>> {
    let base = if path.is_absolute() { PathBuf::from("/") } else { std::env::current_dir()? };
    let real = canonical_from(&base, path);
    match real.to_str() {
        Some(text) => Ok(text.into()),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not valid UTF-8")),
    }
}

/// Whether a lock covers `file`, a canonical path. A lock for all working trees of a repository is
/// not considered: the broker knows which those are.
pub(crate) fn lock_covers(lock: &LockInfo, file: &str) -> bool {
    if !lock.pattern {
        return !lock.is_repo_wide() && *lock.file_path == *file;
    }
    let pattern = Pattern::parse(&lock.file_path, None);
    !lock.is_repo_wide() && pattern.is_ok_and(|pattern| pattern.overlaps(&Pattern::name(file)))
}

/// The canonical spelling of what a lock on `text` covers (see [`remark`] for what to say about it):
/// links are followed up to the first wildcard, and an existing directory stands for everything in it.
/// Behind `repo:` no link is followed. A relative path is taken from `base`, which has to be absolute.
///
/// # Errors
/// Why it is not a path, or would guard nothing.
pub(crate) fn lock_path_from(base: &Path, text: &str) -> Result<String, String> {
    match text.strip_prefix("repo:") {
        Some(rest) if !rest.is_empty() => {
            Ok(format!("repo:{}", understand(repository(base), rest)?))
        }
        _ => spelled(base, &understand(base, text)?),
    }
}

/// The same for a path that may be locked already: a lock on a file that no longer exists is still
/// found.
///
/// # Errors
/// Why it is not a path.
pub(crate) fn locked_path_from(base: &Path, text: &str) -> Result<String, String> {
    match lock_path_from(base, text) {
        Err(_) if text.starts_with("repo:") => Ok(text.to_owned()),
        Err(_) => spelled(base, text),
        path => path,
    }
}

fn spelled(base: &Path, text: &str) -> Result<String, String> {
    let (head, rest) = split_head(text).map_err(|error| error.to_string())?;
    let real = canonical_from(base, Path::new(&head));
    let is_tree = rest.is_empty() && (head.ends_with('/') || real.is_dir());
    let real = real.to_str().ok_or("the path is not valid UTF-8")?;
    let mut path = escape(real);
    if is_tree || !rest.is_empty() {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(if is_tree { "**" } else { rest });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn one_file_has_one_spelling() {
        let temp = TempDir::new();
        let dir = temp.path();
        std::fs::create_dir_all(dir.join("real/sub")).unwrap();
        std::fs::write(dir.join("real/file"), "").unwrap();
        symlink("real", dir.join("link")).unwrap();
        symlink("nowhere", dir.join("broken")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        for (path, expected) in [
            ("real/file", "real/file"),
            ("link/file", "real/file"),
            ("./real//sub/../file", "real/file"),
            ("link/sub/../file", "real/file"),
            ("link/new", "real/new"),
            ("link/new/deep/x", "real/new/deep/x"),
            ("link/new/../file", "real/file"),
            ("real/new/", "real/new"),
            ("real/new/./../other", "real/other"),
            ("missing/../link/new", "real/new"),
            ("real/file/below", "real/file/below"),
            ("broken", "broken"),
            ("loop/x", "loop/x"),
            ("", ""),
        ] {
            assert_eq!(canonical_from(dir, Path::new(path)), dir.join(expected), "{path}");
            let absolute = dir.join(path);
            assert_eq!(canonical_from(Path::new("/"), &absolute), dir.join(expected), "{path}");
        }
        assert_eq!(canonical_from(dir, Path::new("/../..")), Path::new("/"));
        assert_eq!(canonical_from(dir, Path::new("/no/../such")), Path::new("/such"));
    }

    #[test]
    fn what_is_locked_has_one_spelling() {
        let temp = TempDir::new();
        let dir = temp.path().canonicalize().unwrap();
        std::fs::create_dir_all(dir.join("real*/sub")).unwrap();
        std::fs::write(dir.join("real*/[id].ts"), "").unwrap();
        symlink("real*", dir.join("link")).unwrap();
        for (text, expected) in [
            ("link/[id].ts", r"real\*/[id].ts"),
            (r"real\*/[id].ts", r"real\*/[id].ts"),
            ("link/sub", r"real\*/sub/**"),
            ("link/sub/", r"real\*/sub/**"),
            ("link/new/", r"real\*/new/**"),
            ("link/new", r"real\*/new"),
            ("link/**/*.rs", r"real\*/**/*.rs"),
            ("link/../*.rs", "*.rs"),
            ("*/x", "*/x"),
        ] {
            let expected = format!("{}/{expected}", dir.display());
            assert_eq!(lock_path_from(&dir, text), Ok(expected), "{text}");
        }
        assert_eq!(lock_path_from(&dir, "repo:a/../b").as_deref(), Ok("repo:a/../b"));
        assert_eq!(lock_path_from(Path::new("/"), "/").as_deref(), Ok("/**"));
        assert!(lock_path_from(&dir, r"a\b").unwrap_err().contains("backslash"));
    }

    #[test]
    fn links_in_the_way_are_followed_before_their_parent_is_meant() {
        let temp = TempDir::new();
        let dir = temp.path();
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        symlink("a/b", dir.join("link")).unwrap();
        assert_eq!(canonical_from(dir, Path::new("link/../new")), dir.join("a/new"));
    }
}
