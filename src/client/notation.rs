//! Paths as people and agents write them: understood where the meaning is plain, refused with an
//! explanation where it is not. A lock on a path that no file has would guard nothing, unnoticed.
//!
//! A text that is the literal name of an existing file means that file, such as `@types`, `a:10` and
//! `app/[id]/*`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::patterns::{Pattern, escape};

/// Most files and directories searched for a name behind a wildcard.
const SEARCHED_MAX: usize = 10_000;
/// Directories that are not searched for such a name.
const SKIPPED: [&str; 2] = [".git", "node_modules"];

/// Translates another notation into ours; none if the text is not written in it.
type Reading = fn(&Path, &str) -> Result<Option<String>, String>;

/// What `text`, taken from `base` if it is relative, says in the notation of [`crate::patterns`].
///
/// # Errors
/// Why it would guard nothing, and what to write.
pub(super) fn understand(base: &Path, text: &str) -> Result<String, String> {
    let mut text = text.to_owned();
    let readings: [Reading; 5] = [
        |_, text| Ok(Some(without_quotes(text).to_owned())),
        |_, text| url(text),
        home,
        |base, text| Ok(mention(base, text)),
        |base, text| Ok(place(base, text)),
    ];
    for reading in readings {
        if is_there(base, &text) {
            return Ok(escape(&text));
        }
        text = reading(base, &text)?.unwrap_or(text);
    }
    if text.is_empty() {
        return Err("it is empty; `.` is the directory you are in".to_owned());
    }
    if is_there(base, &text) {
        return Ok(escape(&text));
    }
    if text.starts_with('!') {
        return Err("nothing can be left out with `!`: lock what is meant".to_owned());
    }
    if is_list(base, &text) {
        return Err("it is a list: lock each path by itself".to_owned());
    }
    check_names(base, &text)?;
    Ok(text)
}

/// What the holder of a lock on `path`, in its canonical spelling, should know: that nothing exists
/// that it would cover. `base` is the directory in which it was named.
pub(crate) fn remark(base: &Path, path: &str) -> Option<String> {
    let (base, text) = match path.strip_prefix("repo:") {
        Some(rest) => (repository(base), rest),
        None => (base, path),
    };
    let pattern = Pattern::parse(text, base.to_str()).ok()?;
    let head = PathBuf::from(format!("/{}", pattern.literal_head().trim_start_matches('/')));
    if pattern.is_exact() {
        if fs::symlink_metadata(&head).is_ok() {
            return None;
        }
        let directory = head.parent().filter(|directory| !directory.is_dir());
        if let Some(directory) = directory {
            return Some(no_directory(directory));
        }
        let name = head.file_name()?.to_str().filter(|name| name.contains(['[', '{']))?;
        return Some(format!("there is no {name} yet; brackets and braces stand for themselves"));
    }
    if !head.is_dir() {
        return Some(no_directory(&head));
    }
    let form = |path: &Path, _: &str| {
        path.to_str().is_some_and(|path| pattern.overlaps(&Pattern::name(path)))
    };
    let nothing = pattern != Pattern::name(head.to_str()?).tree()
        && is_below(&head, true, &mut SEARCHED_MAX.clone(), &form) == Some(false);
    nothing.then(|| "no file has a path of this form yet: is it what you mean?".to_owned())
}

fn no_directory(directory: &Path) -> String {
    format!("there is no directory {} yet: is that the path you mean?", directory.display())
}

/// The directory to which paths behind `repo:` are relative.
pub(super) fn repository(base: &Path) -> &Path {
    base.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(base)
}

/// Whether a file has this very name. A text with a wildcard is a pattern, whatever exists.
fn is_there(base: &Path, text: &str) -> bool {
    !text.is_empty() && !text.contains(['*', '?']) && fs::symlink_metadata(base.join(text)).is_ok()
}

/// Spaces around it, and quotes as in Markdown or a shell.
fn without_quotes(text: &str) -> &str {
    let text = text.trim();
    let inside = ['`', '"', '\''].iter().find_map(|quote| {
        text.strip_prefix(*quote)?.strip_suffix(*quote).filter(|text| !text.contains(*quote))
    });
    inside.unwrap_or(text).trim()
}

/// `file:///w/a%20b`; RFC 8089.
fn url(text: &str) -> Result<Option<String>, String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(None) };
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(None);
    }
    if !scheme.eq_ignore_ascii_case("file") {
        return Err("it is a URL: lock a file by its path".to_owned());
    }
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err("it is a file of another machine: write its path".to_owned());
    }
    let decoded = percent_decode(path, |byte| matches!(byte, b'*' | b'?' | b'\\'));
    let wrong = || "it is no `file://` URL that can be read: write the path".to_owned();
    decoded.map(Some).ok_or_else(wrong)
}

/// Undoes the percent-encoding of a part of a URI (RFC 3986 section 2.1), with a backslash before each
/// decoded byte for which `is_special`. None if it is not valid.
pub(crate) fn percent_decode(text: &str, is_special: impl Fn(u8) -> bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
        if is_special(byte) {
            bytes.push(b'\\');
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

/// `~/x` and `$HOME/x`. Nothing else is expanded, as no shell is there.
fn home(base: &Path, text: &str) -> Result<Option<String>, String> {
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    if !first.starts_with(['~', '$']) || is_there(base, first) {
        return Ok(None);
    }
    if !matches!(first, "~" | "$HOME" | "${HOME}") {
        let is_name = rest.is_empty() && !first.contains('{');
        return if is_name {
            Ok(None)
        } else {
            Err(format!("{first} is not expanded here, and nothing is named so: write the path"))
        };
    }
    let home = env::var("HOME").ok().filter(|home| home.starts_with('/'));
    let home = home.ok_or("HOME is not set to a path: write the path from `/`")?;
    Ok(Some(format!("{}/{rest}", escape(home.trim_end_matches('/')))))
}

/// `@src/a.rs`, as files are mentioned to agents.
fn mention(base: &Path, text: &str) -> Option<String> {
    let rest = without_quotes(text.strip_prefix('@')?);
    let first = |text: &str| text.split_inclusive('/').next().unwrap_or_default().to_owned();
    if is_there(base, &first(text)) {
        return None;
    }
    let absolute = rest.starts_with('/') && Path::new(rest).parent().is_some_and(Path::is_dir);
    (absolute || is_there(base, &first(rest))).then(|| rest.to_owned())
}

/// `src/a.rs:10`, `src/a.rs:10:5`, `src/a.rs:10-20`, `src/a.rs#L10-L20`: a place in a file.
fn place(base: &Path, text: &str) -> Option<String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_range = |text: &str| match text.split_once('-') {
        Some((from, to)) => is_number(from) && is_number(to),
        None => is_number(text),
    };
    let mut path = text;
    match text.rsplit_once('#') {
        Some((before, lines)) if lines.starts_with('L') && is_range(&lines.replace('L', "")) => {
            path = before;
        }
        _ => {
            for _ in 0..2 {
                match path.rsplit_once(':') {
                    Some((before, line)) if is_range(line) => path = before,
                    _ => break,
                }
            }
        }
    }
    // `port:3000` is a name like any other.
    let is_file = is_there(base, path) || has_extension(path);
    (path != text && is_file).then(|| path.to_owned())
}

fn has_extension(text: &str) -> bool {
    let name = text.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty()
            && !extension.is_empty()
            && extension.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

/// Several paths in one text. A name with a space or comma in it is one as long as not each part could
/// be a path.
fn is_list(base: &Path, text: &str) -> bool {
    // Within braces a comma has its own words.
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
    if text.contains('{') || !text.contains(separates) {
        return false;
    }
    let parts: Vec<&str> = text.split(separates).filter(|part| !part.is_empty()).collect();
    let directory = text.rsplit_once('/').map_or("", |(directory, _)| directory);
    let is_path = |part: &&str| part.contains('*') || has_extension(part) || is_there(base, part);
    parts.len() > 1
        && parts.iter().all(is_path)
        && !(directory.contains(separates) && is_there(base, directory))
}

/// What some tools give a meaning to that is not ours.
fn foreign(name: &str, beside_wildcard: bool) -> Option<String> {
    let between = |open: char, close: char| {
        let (_, rest) = name.split_once(open)?;
        rest.split_once(close).map(|(inside, _)| inside).filter(|inside| !inside.is_empty())
    };
    if let Some(inside) = between('{', '}')
        && (inside.contains(',') || inside.contains("..") || name.contains("${"))
    {
        return Some(format!(
            "`{{{inside}}}` is not expanded: lock each path by itself, or use `*`"
        ));
    }
    if let Some(inside) = between('(', ')')
        && inside.contains('|')
    {
        return Some(format!("`({inside})` has no meaning: lock each path by itself, or use `*`"));
    }
    let inside = between('[', ']').filter(|_| beside_wildcard)?;
    Some(format!(
        "`[{inside}]` is no set of characters but stands for itself, and nothing is named so: use `?` \
         or `*`, or lock the directory"
    ))
}

/// Whether names that look like a notation of other tools are names of something.
fn check_names(base: &Path, text: &str) -> Result<(), String> {
    let beside_wildcard = text.contains(['*', '?']);
    let mut at = if text.starts_with('/') { PathBuf::from("/") } else { base.to_owned() };
    let mut behind = false;
    for name in text.split('/').filter(|name| !name.is_empty()) {
        let is_wild = name.contains(['*', '?']);
        if let Some(words) = foreign(name, beside_wildcard) {
            let is_name = if is_wild || behind {
                let pattern = Pattern::parse(name, None).map_err(|error| error.to_string())?;
                let form = |_: &Path, name: &str| pattern.overlaps(&Pattern::name(name));
                is_below(&at, behind, &mut SEARCHED_MAX.clone(), &form) == Some(true)
            } else {
                fs::symlink_metadata(at.join(name)).is_ok()
            };
            if !is_name {
                return Err(words);
            }
        }
        behind |= is_wild;
        if !behind {
            at.push(name);
        }
    }
    Ok(())
}

/// Whether something of this form is in `dir`, or with `deep` anywhere below it; none if there is too
/// much to look through. `form` says it of a path and its name.
fn is_below(
    dir: &Path,
    deep: bool,
    left: &mut usize,
    form: &impl Fn(&Path, &str) -> bool,
) -> Option<bool> {
    let Ok(entries) = fs::read_dir(dir) else { return Some(false) };
    let mut below = Vec::new();
    for entry in entries.flatten() {
        *left = left.checked_sub(1)?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { continue };
        if form(&path, name) {
            return Some(true);
        }
        if deep && entry.file_type().is_ok_and(|it| it.is_dir()) && !SKIPPED.contains(&name) {
            below.push(path);
        }
    }
    for dir in below {
        if is_below(&dir, deep, left, form)? {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::paths::lock_path_from;
    use crate::files::tests::TempDir;

    fn project() -> (TempDir, PathBuf) {
        let temp = TempDir::new();
        let dir = temp.path().canonicalize().unwrap();
        for path in ["src/app/[id]", "src/(a|b)", "@types", "$lib", "types", "~old", "a. b"] {
            fs::create_dir_all(dir.join(path)).unwrap();
        }
        for path in [
            "src/a.ts",
            "src/b.tsx",
            "src/a b.ts",
            "src/x,y.ts",
            "src/[slug].page.tsx",
            "src/app/[id]/page.tsx",
            "a:10",
            "src/end ",
            r"src\w.ts",
            "{x,y}",
        ] {
            fs::write(dir.join(path), "").unwrap();
        }
        (temp, dir)
    }

    #[test]
    fn what_is_meant_is_locked_where_that_is_plain() {
        let (_temp, dir) = project();
        let url = format!("file://{}/src/a%20b.ts", dir.display());
        for (text, expected) in [
            ("src/a.ts ", "src/a.ts"),
            ("\tsrc/a.ts\n", "src/a.ts"),
            ("`src/a.ts`", "src/a.ts"),
            ("\"src/a.ts\"", "src/a.ts"),
            (&url, "src/a b.ts"),
            ("@src/a.ts", "src/a.ts"),
            ("@src/*.ts", "src/*.ts"),
            ("@src/new.ts", "src/new.ts"),
            ("src/a.ts:10", "src/a.ts"),
            ("src/a.ts:10:5", "src/a.ts"),
            ("src/a.ts:10-20", "src/a.ts"),
            ("src/a.ts#L10-L20", "src/a.ts"),
            ("src/new.ts:7", "src/new.ts"),
            ("@src/a.ts:10", "src/a.ts"),
            // Names that there are.
            ("@types/x", "@types/x"),
            ("$lib/x.ts", "$lib/x.ts"),
            ("~old/x", "~old/x"),
            ("a:10", "a:10"),
            ("src/end ", "src/end "),
            ("src/x,y.ts", "src/x,y.ts"),
            ("src/a b.ts", "src/a b.ts"),
            ("{x,y}", "{x,y}"),
            (r"src\w.ts", r"src\w.ts"),
            ("src/app/[id]/*", "src/app/[id]/*"),
            ("src/**/[id]/*", "src/**/[id]/*"),
            ("src/[slug].*", "src/[slug].*"),
            ("src/(a|b)/*", "src/(a|b)/*"),
            // Names that there may be.
            ("src/app/[slug]/page.tsx", "src/app/[slug]/page.tsx"),
            ("src/{id}.ts", "src/{id}.ts"),
            ("port:3000", "port:3000"),
            ("@new/x.ts", "@new/x.ts"),
            ("My notes.txt", "My notes.txt"),
            ("no dir/x y/z.ts", "no dir/x y/z.ts"),
            ("a. b/c.ts", "a. b/c.ts"),
            ("$new.ts", "$new.ts"),
            ("src/new", "src/new"),
        ] {
            let locked = lock_path_from(&dir, text).unwrap_or_else(|why| panic!("{text}: {why}"));
            let pattern = Pattern::parse(&locked, None).unwrap().to_string();
            assert_eq!(pattern, format!("{}/{expected}", dir.display()), "{text}");
        }
    }

    #[test]
    fn what_would_guard_nothing_is_refused_with_words() {
        let (_temp, dir) = project();
        for (text, words) in [
            ("src/*.{ts,tsx}", "`{ts,tsx}` is not expanded"),
            ("src/{a,b}.ts", "lock each path"),
            ("src/a{1..3}.ts", "lock each path"),
            ("src/**/*.{ts,tsx}", "lock each path"),
            ("src/[a-c].*", "no set of characters"),
            ("src/*/[ab].ts", "no set of characters"),
            ("src/app/[slug]/*", "nothing is named so"),
            ("src/*.@(ts|tsx)", "`(ts|tsx)` has no meaning"),
            ("src/a.ts,src/b.tsx", "list"),
            ("src/a.ts src/b.tsx", "list"),
            ("src/a.ts, src/new.ts", "list"),
            ("src/*.ts, src/*.tsx", "list"),
            ("src types", "list"),
            ("https://example.com/src/a.ts", "URL"),
            ("file://other/src/a.ts", "another machine"),
            ("file:///%zz", "can be read"),
            ("~root/x", "not expanded"),
            ("$PWD/src/a.ts", "not expanded"),
            ("src/${NAME}/x", "not expanded"),
            ("!src/a.ts", "left out"),
            ("", "empty"),
            (" ", "empty"),
            ("repo:src/*.{ts,tsx}", "not expanded"),
        ] {
            let refused = lock_path_from(&dir, text).unwrap_err();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }

    #[test]
    fn home_is_where_the_environment_says() {
        let (_temp, dir) = project();
        let home = env::var("HOME").unwrap_or_default();
        if !home.starts_with('/') {
            return;
        }
        let real = crate::client::paths::canonical_from(&dir, Path::new(&home));
        for text in ["~/no such/x", "$HOME/no such/x", "${HOME}/no such/x"] {
            assert_eq!(
                lock_path_from(&dir, text),
                Ok(escape(real.join("no such/x").to_str().unwrap()))
            );
        }
    }

    #[test]
    fn the_holder_of_a_lock_on_nothing_is_told() {
        let (_temp, dir) = project();
        for (text, words) in [
            ("src/a.ts", None),
            ("src/new.ts", None),
            ("src/*.ts", None),
            ("**/*.ts", None),
            ("*.go", Some("no file has a path")),
            ("src/**/*.rs", Some("no file has a path")),
            ("src/", None),
            ("srcs/new.ts", Some("no directory")),
            ("srcs/", Some("no directory")),
            ("srcs/**/*.ts", Some("no directory")),
            ("src/[ab].ts", Some("stand for themselves")),
            ("src/app/[id]/page.tsx", None),
            ("src/app/[id]/new.tsx", None),
            ("repo:src/a.ts", None),
            ("repo:srcs/a.ts", Some("no directory")),
        ] {
            let path = lock_path_from(&dir, text).unwrap();
            let remark = remark(&dir, &path);
            match words {
                None => assert_eq!(remark, None, "{text}"),
                Some(words) => assert!(remark.is_some_and(|it| it.contains(words)), "{text}"),
            }
        }
    }
}
