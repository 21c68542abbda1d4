//! What a lock is about, and whether two locks are about the same file.

use crate::api::{Code, LockPath, Refusal};
use crate::mesh::paths::normalise;
use crate::model::{Lock, Party};
use crate::patterns::{Pattern, PatternError, Steps};

/// What stands before a path that is relative to the repository.
const REPO: &str = "repo:";

/// Where someone works, for the paths it names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    /// Where its relative paths begin.
    pub(super) project: Option<&'a str>,
    /// Its repository.
    pub(super) repo: Option<&'a str>,
    /// The root of its working tree.
    pub(super) root: Option<&'a str>,
}

/// The files of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Relative to the repository if there is no root for it, otherwise as it is.
    pub(super) pattern: Pattern,
    /// The repository that the files are in, if that is known.
    pub(super) repo: Option<Box<str>>,
    /// The root of the working tree they are in.
    pub(super) root: Option<Box<str>>,
}

impl Target {
    /// What `path` means to `party`, which works at `place`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(super) fn read(path: &LockPath, party: &Party, place: Place<'_>) -> Result<Self, Refusal> {
        let text = &*path.file_path;
        let given = (path.repo_id.as_deref(), path.git_root.as_deref());
        // A repository without an id of its own is known by its root.
        let (repo, root) = match given {
            (None, None) => (place.repo.or(place.root), place.root),
            (repo, root) => (repo.or(root), root),
        };
        let repo = repo.map(|repo| normalise(repo, None).into_boxed_str());
        let root = root.map(|root| normalise(root, None).into_boxed_str());
        match text.strip_prefix(REPO) {
            Some(rest) if !path.exact => Self::of_repository(rest, repo, party),
            _ => Ok(Self::of_files(read_files(path, party, place)?, repo.zip(root))),
        }
    }

    fn of_files(pattern: Pattern, tree: Option<(Box<str>, Box<str>)>) -> Self {
        let inside = tree.filter(|(_, root)| {
            let whole = Pattern::name(root).tree();
            pattern.overlaps(&whole)
        });
        let (repo, root) = inside.unzip();
        Self { pattern, repo, root }
    }

    fn of_repository(rest: &str, repo: Option<Box<str>>, party: &Party) -> Result<Self, Refusal> {
        if rest.is_empty() {
            return Err(wrong("`repo:` stands before a path; `repo:**` is the whole repository"));
        }
        if rest.starts_with('/') {
            return Err(wrong(
                "what follows `repo:` is relative to the root of the repository: leave out the \
                 slash",
            ));
        }
        let Some(repo) = repo else {
            return Err(wrong(match party {
                Party::Peer(_) => {
                    "`repo:` is for those in a git repository: this peer has registered without \
                     `repoId` and `gitRoot`"
                }
                Party::Cli | Party::CliAt(_) | Party::Label(_) => {
                    "`repo:` needs to know the repository: send `repoId` (the path of its git \
                     common directory) and `gitRoot`"
                }
            }));
        };
        let pattern = Pattern::parse(rest, None).map_err(|error| match error {
            PatternError::Above => wrong("it leads out of the repository"),
            error => wrong(error),
        })?;
        if pattern.is_empty() {
            return Err(wrong("`repo:.` is no file; `repo:**` is the whole repository"));
        }
        Ok(Self { pattern, repo: Some(repo), root: None })
    }

    /// That of a lock.
    pub(super) fn of(lock: &Lock) -> Self {
        let path = match lock.path.strip_prefix(REPO) {
            Some(rest) if lock.is_repo_wide() => rest,
            _ => &*lock.path,
        };
        // It was written by `text`, so that it can be read.
        let pattern = match Pattern::parse(path, None) {
            Ok(pattern) if lock.pattern => pattern,
            _ => Pattern::name(path),
        };
        Self { pattern, repo: lock.repo_id.clone(), root: lock.git_root.clone() }
    }

    /// Whether it is for all working trees of its repository.
    pub(super) fn is_repo_wide(&self) -> bool {
        self.repo.is_some() && self.root.is_none()
    }

    /// As it is shown.
    pub(super) fn text(&self) -> String {
        let prefix = if self.is_repo_wide() { REPO } else { "" };
        format!("{prefix}{}", self.pattern)
    }

    /// Whether both are of the very same files, so that one is a renewal of the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let wide = self.is_repo_wide();
        self.pattern == other.pattern
            && wide == other.is_repo_wide()
            && (!wide || self.repo == other.repo)
    }

    /// Whether some file is of both, as far as `steps` go: once they are spent, it is.
    pub(super) fn overlaps(&self, other: &Self, steps: &Steps) -> bool {
        match (self.is_repo_wide(), other.is_repo_wide()) {
            (true, true) | (false, false) => {
                (!self.is_repo_wide() || self.repo == other.repo)
                    && self.pattern.overlaps_within(&other.pattern, steps)
            }
            (true, false) => self.reaches(other, steps),
            (false, true) => other.reaches(self, steps),
        }
    }

    /// Whether this, of a repository, is in the working tree of the other, too.
    fn reaches(&self, other: &Self, steps: &Steps) -> bool {
        match &other.root {
            Some(root) if self.repo == other.repo => {
                steps.are_spent()
                    || self.in_tree(root, steps).overlaps_within(&other.pattern, steps)
            }
            _ => false,
        }
    }

    /// The files of this, of a repository, in one working tree.
    pub(super) fn in_tree(&self, root: &str, steps: &Steps) -> Pattern {
        steps.spend(8 * self.pattern.depth() + root.len());
        self.pattern.under(&Pattern::name(root))
    }
}

fn read_files(path: &LockPath, party: &Party, place: Place<'_>) -> Result<Pattern, Refusal> {
    let text = &*path.file_path;
    let relative = !text.starts_with('/');
    let is_name = relative && matches!(party, Party::Label(_));
    if path.exact {
        // What a script locks need be no file.
        return if is_name {
            Ok(Pattern::name(text))
        } else {
            Pattern::exact(text, place.project).map_err(wrong)
        };
    }
    if is_name && !text.contains(['*', '?']) && !text.ends_with('/') {
        return Ok(Pattern::name(text));
    }
    let pattern = Pattern::parse(text, place.project).map_err(wrong)?;
    if !pattern.is_exact() && !pattern.is_absolute() && place.project.is_none() {
        return Err(wrong(format!(
            "a directory or pattern of `{party}` must be absolute, since it has no project \
             directory; `exact` true locks this very name"
        )));
    }
    Ok(pattern)
}

fn wrong(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::InvalidRequest, format!("`filePath` cannot be locked: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PeerId;

    fn peer() -> Party {
        Party::Peer(PeerId::from_random([1; 16]))
    }

    const MAIN: Place<'_> =
        Place { project: Some("/w/sub"), repo: Some("/w/.git"), root: Some("/w") };
    const TREE: Place<'_> = Place { project: Some("/t"), repo: Some("/w/.git"), root: Some("/t") };
    const OTHER: Place<'_> = Place { project: Some("/o"), repo: Some("/o/.git"), root: Some("/o") };

    fn read(text: &str, place: Place<'_>) -> Target {
        Target::read(&LockPath::of(text), &peer(), place).unwrap()
    }

    #[test]
    fn a_lock_remembers_its_repository_if_it_is_in_it() {
        let inside = read("a.rs", MAIN);
        assert_eq!(inside.text(), "/w/sub/a.rs");
        assert_eq!((inside.repo.as_deref(), inside.root.as_deref()), (Some("/w/.git"), Some("/w")));
        assert_eq!(read("/elsewhere/a.rs", MAIN).repo, None);
        // It reaches into the tree from above.
        assert_eq!(read("/**/a.rs", MAIN).root.as_deref(), Some("/w"));
        assert_eq!(read("/**/a.rs", MAIN).text(), "/**/a.rs");
        let wide = read("repo:sub/*.rs", MAIN);
        assert_eq!((wide.text().as_str(), wide.is_repo_wide()), ("repo:sub/*.rs", true));
    }

    #[test]
    fn a_file_of_another_working_tree_is_another_file() {
        for (a, at, b, other, expected) in [
            ("/w/a", MAIN, "/w/a", TREE, true),
            ("../a", MAIN, "a", TREE, false),
            ("repo:a", MAIN, "a", TREE, true),
            ("repo:a", TREE, "../a", MAIN, true),
            ("repo:a", TREE, "a", MAIN, false),
            ("repo:a", TREE, "repo:a", MAIN, true),
            ("repo:a", TREE, "repo:b", MAIN, false),
            ("repo:a", TREE, "repo:a", OTHER, false),
            ("repo:a", TREE, "a", OTHER, false),
            ("repo:src/", MAIN, "src/deep/x.rs", TREE, true),
            ("repo:src/*.rs", MAIN, "src/", TREE, true),
            ("repo:sub/x", MAIN, "/**/x", TREE, true),
            ("repo:sub/x", MAIN, "/*/sub/*", TREE, true),
            ("repo:sub/x", MAIN, "/*/other/*", TREE, false),
        ] {
            let (a, b) = (read(a, at), read(b, other));
            assert_eq!(a.overlaps(&b, &Steps::of(u32::MAX)), expected, "{a:?} {b:?}");
            assert_eq!(b.overlaps(&a, &Steps::of(u32::MAX)), expected, "{b:?} {a:?}");
        }
        // Those of a repository without an id.
        let bare = Place { repo: None, ..OTHER };
        assert!(read("repo:a", bare).overlaps(&read("a", bare), &Steps::of(u32::MAX)));
    }

    #[test]
    fn what_cannot_be_locked_is_told_why() {
        let label = Party::Label("bot".into());
        let none = Place::default();
        for (text, party, place, words) in [
            ("repo:", &peer(), MAIN, "the whole repository"),
            ("repo:.", &peer(), MAIN, "the whole repository"),
            ("repo:/src", &peer(), MAIN, "leave out the slash"),
            ("repo:a/../../b", &peer(), MAIN, "out of the repository"),
            ("repo:a", &peer(), none, "registered without"),
            ("repo:a", &Party::Cli, none, "send `repoId`"),
            ("repo:a", &label, none, "send `repoId`"),
            ("../../../x", &peer(), MAIN, "leads above"),
            ("/../x", &Party::Cli, none, "leads above"),
            ("a**", &peer(), MAIN, "stand alone"),
            ("src/", &Party::Cli, none, "must be absolute"),
            ("src/*", &label, none, "must be absolute"),
            (r"a\b", &peer(), MAIN, "backslash"),
        ] {
            let refused = Target::read(&LockPath::of(text), party, place).unwrap_err();
            assert!(refused.message.contains(words), "{text}: {}", refused.message);
        }
        for (text, exact, party, shown) in [
            ("/a//b/../*", true, &label, "/a/*"),
            ("/a//b/../*", false, &label, "/a/*"),
            ("a//b*", true, &label, "a//b*"),
            ("build: x", false, &label, "build: x"),
            (r"C:\x", false, &label, r"C:\x"),
            ("repo:a", true, &label, "repo:a"),
            ("./a", false, &Party::Cli, "a"),
        ] {
            let path = LockPath { exact, ..LockPath::of(text) };
            let target = Target::read(&path, party, none).unwrap();
            assert_eq!(target.text(), shown);
        }
    }

    #[test]
    fn a_target_is_found_again_in_its_lock() {
        let exact = LockPath { exact: true, ..LockPath::of("a*[x]") };
        let read_exact = Target::read(&exact, &peer(), MAIN).unwrap();
        for target in [
            read("a.rs", MAIN),
            read("src/*.rs", MAIN),
            read("repo:src/", MAIN),
            read("repo:a", MAIN),
            read_exact,
        ] {
            let lock = Lock {
                path: target.text().into(),
                pattern: !target.pattern.is_exact(),
                repo_id: target.repo.clone(),
                git_root: target.root.clone(),
                ..crate::mesh::locks::tests::lock()
            };
            assert_eq!(Target::of(&lock), target);
        }
    }
}
