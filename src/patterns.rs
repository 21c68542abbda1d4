//! Paths with wildcards: which files a lock is about, and whether two of them share one.
//!
//! `*` stands for any number of characters within a segment, `?` for one, `**` for any number of
//! whole segments, none included; a directory (`src/`) is everything in it and itself
//! (`src/**`). Brackets and braces are themselves, since files are named so (`[id].tsx`). A
//! backslash before `*`, `?` or `\` takes its meaning away.
//!
//! Never looks at a file system. What it costs to compare two is counted, see [`Steps`]: whoever
//! compares on behalf of someone sets a bound, and treats what could not be compared within it as
//! overlapping.

mod meet;

use std::fmt;

pub use meet::Steps;
use meet::meet;

use crate::limits::{PATTERN_SEGMENTS_MAX, PATTERN_WILDCARDS_MAX};

/// Why a text is no path and no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It leads out of where it begins.
    Above,
    /// `..` behind a wildcard.
    ParentOfWildcard,
    /// `**` with something beside it.
    DeepInside,
    /// A backslash before something that has no other meaning.
    Backslash,
    /// Too many wildcards.
    Wildcards,
    /// Too many segments.
    Segments,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above => f.write_str("it leads above the directory at which it begins"),
            Self::ParentOfWildcard => {
                f.write_str("`..` cannot follow a wildcard: write the path without it")
            }
            Self::DeepInside => {
                f.write_str("`**` must stand alone between slashes, as in `src/**` or `**/*.rs`")
            }
            Self::Backslash => f.write_str(
                "a backslash stands only before `*`, `?` or another backslash; directories are \
                 separated by `/`",
            ),
            Self::Wildcards => {
                write!(f, "it has more than {PATTERN_WILDCARDS_MAX} wildcards: use fewer")
            }
            Self::Segments => write!(
                f,
                "a pattern has at most {PATTERN_SEGMENTS_MAX} segments: use a shorter one"
            ),
        }
    }
}

impl std::error::Error for PatternError {}

type Result<T> = std::result::Result<T, PatternError>;

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// This name.
    Text(Box<str>),
    /// Names of this form.
    Glob(Box<[Token]>),
    /// `**`
    Deep,
}

/// A path, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Whether it begins with a slash.
    rooted: bool,
    segments: Vec<Segment>,
}

impl Pattern {
    /// A name as it is, which need be no path.
    #[must_use]
    pub fn name(text: &str) -> Self {
        let (rooted, rest) = match text.strip_prefix('/') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let segments = match rest {
            "" => Vec::new(),
            rest => rest.split('/').map(|segment| Segment::Text(segment.into())).collect(),
        };
        Self { rooted, segments }
    }

    /// The path `text`, in which no character has a meaning but `/`, `.` and `..`; from `base` if it
    /// is relative and there is one.
    ///
    /// # Errors
    /// [`PatternError::Above`].
    pub fn exact(text: &str, base: Option<&str>) -> Result<Self> {
        Self::build(text, base, |segment| Ok(Segment::Text(segment.into())))
    }

    /// The paths that `text` stands for; from `base` if it is relative and there is one. In `base`
    /// nothing is a wildcard.
    ///
    /// # Errors
    /// Why it is no pattern.
    pub fn parse(text: &str, base: Option<&str>) -> Result<Self> {
        let mut pattern = Self::build(text, base, read_segment)?;
        if text.ends_with('/') {
            pattern = pattern.tree();
        }
        if !pattern.is_exact() {
            pattern.check_size()?;
        }
        Ok(pattern)
    }

    fn build(
        text: &str,
        base: Option<&str>,
        read: impl Fn(&str) -> Result<Segment>,
    ) -> Result<Self> {
        let mut pattern = match base {
            Some(base) if !text.starts_with('/') => Self::exact(base, None)?,
            _ => Self { rooted: text.starts_with('/'), segments: Vec::new() },
        };
        let segments = &mut pattern.segments;
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => match segments.pop() {
                    Some(Segment::Text(_)) => {}
                    Some(_) => return Err(PatternError::ParentOfWildcard),
                    None => return Err(PatternError::Above),
                },
                part => match read(part)? {
                    Segment::Deep if segments.last() == Some(&Segment::Deep) => {}
                    segment => segments.push(segment),
                },
            }
        }
        Ok(pattern)
    }

    fn check_size(&self) -> Result<()> {
        let wildcards = |segment: &Segment| match segment {
            Segment::Text(_) => 0,
            Segment::Deep => 1,
            Segment::Glob(tokens) => {
                tokens.iter().filter(|token| !matches!(token, Token::Char(_))).count()
            }
        };
        if self.segments.iter().map(wildcards).sum::<usize>() > PATTERN_WILDCARDS_MAX {
            return Err(PatternError::Wildcards);
        }
        if self.segments.len() > PATTERN_SEGMENTS_MAX {
            return Err(PatternError::Segments);
        }
        Ok(())
    }

    /// Whether it is one path and no pattern.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Text(_)))
    }

    /// Whether it begins with a slash.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.rooted
    }

    /// Whether it names nothing, not even a directory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.rooted && self.segments.is_empty()
    }

    /// It and everything below it.
    #[must_use]
    pub fn tree(mut self) -> Self {
        if self.segments.last() != Some(&Segment::Deep) {
            self.segments.push(Segment::Deep);
        }
        self
    }

    /// The same paths within `root`, an exact one: `self` is relative to it.
    #[must_use]
    pub fn under(&self, root: &Self) -> Self {
        let segments = root.segments.iter().chain(&self.segments).cloned().collect();
        Self { rooted: root.rooted, segments }
    }

    /// What it is as seen from `root`, an exact one; none if it does not begin with that.
    #[must_use]
    pub fn below(&self, root: &Self) -> Option<Self> {
        if self.rooted != root.rooted {
            return None;
        }
        let rest = self.segments.strip_prefix(&*root.segments)?;
        Some(Self { rooted: false, segments: rest.to_vec() })
    }

    /// The names at its beginning that are no patterns, each with a slash before it: each path of the
    /// pattern begins with them.
    #[must_use]
    pub fn literal_head(&self) -> String {
        let mut head = String::new();
        for segment in &self.segments {
            let Segment::Text(text) = segment else { break };
            head.push('/');
            head.push_str(text);
        }
        head
    }

    /// Whether some path is one of both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.overlaps_within(other, &Steps::of(u32::MAX))
    }

    /// The same as far as `steps` go: once they are spent, everything overlaps.
    #[must_use]
    pub fn overlaps_within(&self, other: &Self, steps: &Steps) -> bool {
        self.rooted == other.rooted
            && (steps.are_spent()
                || meet(&self.segments, &other.segments, steps)
                || steps.are_spent())
    }

    /// How many names and patterns of names it is made of.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.segments.len()
    }
}

/// Written so that [`Pattern::parse`], for an exact one [`Pattern::exact`], reads it back.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str(if self.rooted { "/" } else { "." });
        }
        let exact = self.is_exact();
        for (at, segment) in self.segments.iter().enumerate() {
            if at > 0 || self.rooted {
                f.write_str("/")?;
            }
            match segment {
                Segment::Text(text) if exact => f.write_str(text)?,
                Segment::Text(text) => f.write_str(&escape(text))?,
                Segment::Deep => f.write_str("**")?,
                Segment::Glob(tokens) => {
                    for token in tokens {
                        match token {
                            Token::Char(c) => f.write_str(&escape(c.encode_utf8(&mut [0; 4])))?,
                            Token::One => f.write_str("?")?,
                            Token::Many => f.write_str("*")?,
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// `text` with a backslash before each character that would mean something in a pattern.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Cuts `text` before its first segment with a wildcard, at the beginning of that segment: the path
/// before it, without its backslashes, and the rest. None if it is no pattern.
///
/// # Errors
/// [`PatternError::Backslash`] or [`PatternError::DeepInside`].
pub fn split_head(text: &str) -> Result<(String, &str)> {
    let mut head = String::new();
    let mut from = 0;
    for part in text.split_inclusive('/') {
        let name = part.strip_suffix('/').unwrap_or(part);
        match read_segment(name)? {
            Segment::Text(name) => head.push_str(&name),
            Segment::Glob(_) | Segment::Deep => {
                return Ok((head, text.get(from..).unwrap_or_default()));
            }
        }
        head.push_str(part.get(name.len()..).unwrap_or_default());
        from += part.len();
    }
    Ok((head, ""))
}

fn read_segment(part: &str) -> Result<Segment> {
    if part == "**" {
        return Ok(Segment::Deep);
    }
    let mut tokens = Vec::with_capacity(part.len());
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if tokens.last() == Some(&Token::Many) => return Err(PatternError::DeepInside),
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\')) => Token::Char(c),
                _ => return Err(PatternError::Backslash),
            },
            c => Token::Char(c),
        });
    }
    let text: Option<String> = (tokens.iter())
        .map(|token| if let Token::Char(c) = token { Some(*c) } else { None })
        .collect();
    Ok(match text {
        Some(text) => Segment::Text(text.into()),
        None => Segment::Glob(tokens.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Pattern {
        Pattern::parse(text, None).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn patterns_are_read_and_written_back() {
        for (text, base, written, exact) in [
            ("/w/a.rs", None, "/w/a.rs", true),
            ("src/[id].tsx", Some("/w"), "/w/src/[id].tsx", true),
            ("src/{a,b}.rs", Some("/w"), "/w/src/{a,b}.rs", true),
            ("src/", Some("/w"), "/w/src/**", false),
            ("src/**/", Some("/w"), "/w/src/**", false),
            ("./src/../lib//*.rs", Some("/w"), "/w/lib/*.rs", false),
            ("../x?", Some("/w/a"), "/w/x?", false),
            ("**/**/x", Some("/w"), "/w/**/x", false),
            (r"a\*b", Some("/w"), "/w/a*b", true),
            (r"a\*b/*", Some("/w"), r"/w/a\*b/*", false),
            (r"\\\?*", Some("/w"), r"/w/\\\?*", false),
            ("*", Some("/w*"), r"/w\*/*", false),
            ("/", None, "/**", false),
            ("src/a.rs", None, "src/a.rs", true),
            (".", None, ".", true),
        ] {
            let pattern = Pattern::parse(text, base).unwrap();
            assert_eq!((pattern.to_string().as_str(), pattern.is_exact()), (written, exact));
            let again =
                if exact { Pattern::exact(written, None) } else { Pattern::parse(written, None) };
            assert_eq!(again, Ok(pattern), "{text}");
        }
        let exact = Pattern::exact(r"src/a*?\b/", Some("/w")).unwrap();
        assert_eq!((exact.to_string().as_str(), exact.is_exact()), (r"/w/src/a*?\b", true));
        for name in ["a//b", "build:x", "/w//a", "a/", "x"] {
            assert_eq!(Pattern::name(name).to_string(), name);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        use PatternError as E;
        let stars = "*?".repeat(PATTERN_WILDCARDS_MAX / 2);
        let deep = "a/".repeat(PATTERN_SEGMENTS_MAX - 1);
        for (text, error) in [
            ("/../x", E::Above),
            ("../x", E::Above),
            ("a/../../x", E::Above),
            ("a/*/../x", E::ParentOfWildcard),
            ("a/**/..", E::ParentOfWildcard),
            ("a**", E::DeepInside),
            ("***", E::DeepInside),
            ("a/**.rs", E::DeepInside),
            (r"src\auth.rs", E::Backslash),
            (r"a\/b", E::Backslash),
            (r"a\", E::Backslash),
            (&format!("{stars}*"), E::Wildcards),
            (&format!("a/{deep}*"), E::Segments),
        ] {
            assert_eq!(Pattern::parse(text, None), Err(error), "{text}");
            assert!(!error.to_string().is_empty());
        }
        assert!(Pattern::parse(&stars, None).is_ok());
        assert!(Pattern::parse(&format!("{deep}*"), None).is_ok());
        // A path without wildcards may be as deep as it likes.
        assert!(Pattern::parse(&"a/x".repeat(500), None).is_ok());
        assert_eq!(Pattern::exact("../x", Some("/")), Err(E::Above));
    }

    #[test]
    fn overlap_goes_both_ways() {
        for (a, b, expected) in [
            ("/w/src/a.rs", "/w/src/a.rs", true),
            ("/w/src/a.rs", "/w/src/b.rs", false),
            ("/w/src/", "/w/src/auth/deep/x.rs", true),
            ("/w/src/", "/w/src", true),
            ("/w/src/", "/w/srcs/x", false),
            ("/w/src/*.rs", "/w/src/x.rs", true),
            ("/w/src/*.rs", "/w/src/auth/x.rs", false),
            ("/w/src/*.rs", "/w/src/a*", true),
            ("/w/*.rs", "/w/*.ts", false),
            ("/w/**/x.rs", "/w/src/*/x.*", true),
            ("/w/**/*.rs", "/w/docs/**", true),
            ("/w/a?", "/w/a", false),
            ("/w/a?", "/w/aü", true),
            ("/w/[id].tsx", "/w/*.tsx", true),
            ("/w/[id].tsx", "/w/i.tsx", false),
            ("/**", "/w/x", true),
            ("w/**", "/w/x", false),
            ("/a/**/b/**/c", "/a/x/c", false),
            ("/a/**/b/**/c", "/**/b/*", true),
        ] {
            let (a, b) = (read(a), read(b));
            assert_eq!(a.overlaps(&b), expected, "{a} {b}");
            assert_eq!(b.overlaps(&a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_pattern_is_seen_from_a_directory_and_put_back() {
        let root = Pattern::name("/w/tree*");
        let inside = Pattern::parse("src/*.rs", Some("/w/tree*")).unwrap();
        let below = inside.below(&root).unwrap();
        assert_eq!(below.to_string(), "src/*.rs");
        assert_eq!(below.under(&root), inside);
        assert_eq!(inside.literal_head(), "/w/tree*/src");
        assert_eq!(read("/w/*/tree").below(&Pattern::name("/w/x")), None);
        assert_eq!(read("/w/tree").below(&Pattern::name("/w/tre")), None);
    }

    #[test]
    fn a_pattern_is_cut_before_its_first_wildcard() {
        for (text, head, rest) in [
            ("src/a.rs", "src/a.rs", ""),
            ("src/", "src/", ""),
            ("/w/src/*.rs", "/w/src/", "*.rs"),
            ("**/x", "", "**/x"),
            (r"a\*b/c?/d", "a*b/", "c?/d"),
        ] {
            assert_eq!(split_head(text), Ok((head.to_owned(), rest)), "{text}");
        }
        assert_eq!(split_head(r"a\b"), Err(PatternError::Backslash));
    }

    /// All texts over `alphabet` with up to `max` letters.
    fn texts(alphabet: &[&str], max: usize, joint: &str) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..max {
            last = (last.iter())
                .flat_map(|text| {
                    alphabet.iter().map(move |letter| {
                        if text.is_empty() {
                            (*letter).to_owned()
                        } else {
                            format!("{text}{joint}{letter}")
                        }
                    })
                })
                .collect();
            all.extend(last.clone());
        }
        all
    }

    /// Whether a path is one of a pattern, by trying everything.
    fn matches(pattern: &[&str], path: &[&str]) -> bool {
        fn segment(glob: &[u8], text: &[u8]) -> bool {
            match glob {
                [] => text.is_empty(),
                [b'*', rest @ ..] => (0..=text.len()).any(|n| segment(rest, &text[n..])),
                [b'?', rest @ ..] => !text.is_empty() && segment(rest, &text[1..]),
                [c, rest @ ..] => text.first() == Some(c) && segment(rest, &text[1..]),
            }
        }
        match pattern {
            [] => path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|n| matches(rest, &path[n..])),
            [glob, rest @ ..] => {
                path.first().is_some_and(|text| segment(glob.as_bytes(), text.as_bytes()))
                    && matches(rest, &path[1..])
            }
        }
    }

    fn split(text: &str) -> Vec<&str> {
        text.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// All pairs of small patterns, against all paths that could be common to them.
    fn check_all(patterns: &[String], paths: &[String]) {
        let paths: Vec<Vec<&str>> = paths.iter().map(|path| split(path)).collect();
        let known: Vec<(Pattern, Vec<bool>)> = (patterns.iter())
            .map(|text| {
                let parts = split(text);
                (read(text), paths.iter().map(|path| matches(&parts, path)).collect())
            })
            .collect();
        let mut met = [0; 2];
        for (a, in_a) in &known {
            for (b, in_b) in &known {
                let expected = in_a.iter().zip(in_b).any(|(a, b)| *a && *b);
                assert_eq!(a.overlaps(b), expected, "{a} {b}");
                met[usize::from(expected)] += 1;
            }
        }
        assert!(met[0] > 100 && met[1] > 100, "{met:?}");
    }

    #[test]
    fn overlap_is_what_trying_all_paths_says() {
        // Within a segment: a common text is no longer than both patterns together.
        let globs: Vec<String> = (texts(&["a", "b", "?", "*"], 3, "").into_iter())
            .filter(|glob| !glob.is_empty() && !glob.contains("**"))
            .collect();
        let names: Vec<String> =
            texts(&["a", "b"], 6, "").into_iter().filter(|name| !name.is_empty()).collect();
        check_all(&globs, &names);
        // Over segments.
        let patterns: Vec<String> = (texts(&["a", "b", "?", "**"], 4, "/").into_iter())
            .filter(|pattern| !pattern.is_empty() && !pattern.contains("**/**"))
            .collect();
        check_all(&patterns, &texts(&["a", "b"], 6, "/"));
        // Both.
        let mixed: Vec<String> = (texts(&["a", "a*", "*b", "?", "**"], 3, "/").into_iter())
            .filter(|pattern| !pattern.is_empty() && !pattern.contains("**/**"))
            .collect();
        check_all(&mixed, &texts(&["a", "b", "ab", "ba"], 5, "/"));
    }

    #[test]
    fn the_worst_patterns_are_compared_in_few_steps() {
        // Those at which matching by trying, or comparing as automata, takes long.
        let many = |end: &str| {
            read(&format!(
                "/{}{end}",
                format!("{}*", "a".repeat(120)).repeat(PATTERN_WILDCARDS_MAX)
            ))
        };
        let deep = |end: &str| read(&format!("/{}{end}", "**/a/".repeat(PATTERN_WILDCARDS_MAX)));
        for (a, b, expected) in [
            (many("b"), many("c"), false),
            (many("b"), many("b"), true),
            (deep("b"), deep("c"), false),
            (deep("b"), Pattern::name(&"/a".repeat(2000)), false),
            (
                read(&format!("/*{}b*", "ab".repeat(1000))),
                Pattern::name(&"/ab".repeat(1300)),
                false,
            ),
        ] {
            let steps = Steps::of(20_000);
            assert_eq!(a.overlaps_within(&b, &steps), expected);
            assert!(!steps.are_spent());
        }
    }

    #[test]
    fn what_cannot_be_compared_in_the_steps_there_are_overlaps() {
        let long = Pattern::name(&format!("/w{}", "/a".repeat(2000)));
        let wide = read(&format!("/w/**/{}b/**", "a/".repeat(100)));
        assert!(!wide.overlaps(&long));
        for (a, b) in [(&wide, &long), (&long, &wide)] {
            let steps = Steps::of(10_000);
            assert!(a.overlaps_within(b, &steps) && steps.are_spent());
            assert!(read("/x").overlaps_within(&read("/y"), &steps));
        }
        // What can be said without comparing is said.
        assert!(!read("x").overlaps_within(&read("/x"), &Steps::of(0)));
    }
}
