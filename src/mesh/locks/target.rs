//! What a lock is about, and whether two locks are about the same file.

use crate::api::{Code, LockPath, Refusal};
use crate::mesh::paths::normalise;
use crate::model::{Lock, MachineName, Party, RepoHash, RepoPlace};
use crate::patterns::{Pattern, PatternError, Steps};

/// What stands before a path that is relative to the repository.
const REPO: &str = "repo:";

/// Where someone works, for the paths it names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Workplace<'a> {
    /// Its machine; none for the hub's own.
    pub(super) machine: Option<MachineName>,
    /// Where its relative paths begin.
    pub(super) project: Option<&'a str>,
    /// Its repository.
    pub(super) repo: Option<&'a str>,
    /// What that has in common with its clones.
    pub(super) hash: Option<RepoHash>,
    /// The root of its working tree.
    pub(super) root: Option<&'a str>,
}

/// The files of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockTarget {
    /// Relative to the repository if there is no root for it, otherwise as it is.
    pub(super) pattern: Pattern,
    /// The machine that the paths are on.
    pub(super) machine: Option<MachineName>,
    /// The repository that the files are in, if that is known.
    pub(super) repo: Option<Box<str>>,
    /// What that has in common with its clones.
    pub(super) hash: Option<RepoHash>,
    /// The root of the working tree they are in.
    pub(super) root: Option<Box<str>>,
}

impl LockTarget {
    /// What `path` means to `party`, which works at `place`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(super) fn read(
        path: &LockPath,
        party: &Party,
        place: Workplace<'_>,
    ) -> Result<Self, Refusal> {
        let text = &*path.file_path;
        let given = (path.git.repo_id.as_deref(), path.git.git_root.as_deref());
        // A repository without an id of its own is known by its root.
        let (repo, root) = match given {
            (None, None) => (place.repo.or(place.root), place.root),
            (repo, root) => (repo.or(root), root),
        };
        let repo = repo.map(|repo| normalise(repo, None).into_boxed_str());
        // What is known of its own repository need not be said again.
        let own = place.repo.or(place.root);
        let hash = path.git.repo_hash.or(place.hash.filter(|_| repo.as_deref() == own));
        let root = root.map(|root| normalise(root, None).into_boxed_str());
        match text.strip_prefix(REPO) {
            Some(rest) if !path.exact => {
                let pattern = read_repository(rest, repo.is_some() || hash.is_some(), party)?;
                Ok(Self { pattern, machine: place.machine, repo, hash, root: None })
            }
            _ => {
                let pattern = read_files(path, party, place)?;
                let inside = repo.zip(root).filter(|(_, root)| {
                    let whole = Pattern::name(root).tree();
                    pattern.overlaps(&whole)
                });
                let hash = hash.filter(|_| inside.is_some());
                let (repo, root) = inside.unzip();
                Ok(Self { pattern, machine: place.machine, repo, hash, root })
            }
        }
    }

    /// That of a lock.
    pub(super) fn of(lock: &Lock) -> Self {
        let path = match lock.path.strip_prefix(REPO) {
            Some(rest) if lock.is_repo_wide() => rest,
            _ => &*lock.path,
        };
        // It was written by `text`, so it can be read.
        let pattern = match Pattern::parse(path, None) {
            Ok(pattern) if lock.pattern => pattern,
            _ => Pattern::name(path),
        };
        Self {
            pattern,
            machine: lock.host,
            repo: lock.repo_id.clone(),
            hash: lock.repo_hash,
            root: lock.git_root.clone(),
        }
    }

    /// Whether it is for all working trees of its repository, in all its clones.
    pub(super) fn is_repo_wide(&self) -> bool {
        self.root.is_none() && (self.repo.is_some() || self.hash.is_some())
    }

    /// Its repository.
    fn repository(&self) -> RepoPlace<'_> {
        RepoPlace { machine: self.machine, path: self.repo.as_deref(), hash: self.hash }
    }

    fn is_same_repository(&self, other: &Self) -> bool {
        self.repository().is_same(&other.repository())
    }

    /// As it is shown.
    pub(super) fn text(&self) -> String {
        let prefix = if self.is_repo_wide() { REPO } else { "" };
        format!("{prefix}{}", self.pattern)
    }

    /// Whether both are of the very same files.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let wide = self.is_repo_wide();
        let same_place = || {
            if wide { self.is_same_repository(other) } else { self.machine == other.machine }
        };
        self.pattern == other.pattern && wide == other.is_repo_wide() && same_place()
    }

    /// Whether both are of the very same files, in all clones that are known, so that one renews
    /// the other. Whoever says less of a repository has another lock.
    pub(super) fn is_renewed_by(&self, other: &Self) -> bool {
        let same_claim = || self.repo == other.repo && self.hash == other.hash;
        self.is_same(other) && (!self.is_repo_wide() || same_claim())
    }

    /// Whether this says no more of its files than `lock`, which is on the same files. That they are in a
    /// repository may be new, and then more may be in the way.
    pub(super) fn says_no_more_than(&self, lock: &Lock) -> bool {
        let is_new = self.repo.is_some() && self.repo != lock.repo_id
            || self.hash.is_some() && self.hash != lock.repo_hash;
        self.root.is_none() || self.root == lock.git_root && !is_new
    }

    /// Whether both may have a file in common; once `steps` are spent, they may.
    pub(super) fn overlaps(&self, other: &Self, steps: &Steps) -> bool {
        match (self.is_repo_wide(), other.is_repo_wide()) {
            (true, true) => {
                self.is_same_repository(other)
                    && self.pattern.overlaps_within(&other.pattern, steps)
            }
            (false, false) => {
                self.machine == other.machine && self.pattern.overlaps_within(&other.pattern, steps)
            }
            (true, false) => self.reaches(other, steps),
            (false, true) => other.reaches(self, steps),
        }
    }

    /// Whether this, which is repository-wide, overlaps with the other in the other's working tree.
    fn reaches(&self, other: &Self, steps: &Steps) -> bool {
        match &other.root {
            Some(root) if self.is_same_repository(other) => {
                steps.are_spent()
                    || self.in_tree(root, steps).overlaps_within(&other.pattern, steps)
            }
            _ => false,
        }
    }

    /// The files of this, which is repository-wide, in one working tree.
    pub(super) fn in_tree(&self, root: &str, steps: &Steps) -> Pattern {
        steps.spend(8 * self.pattern.depth() + root.len());
        self.pattern.under(&Pattern::name(root))
    }
}

/// What follows `repo:`.
fn read_repository(rest: &str, is_known: bool, party: &Party) -> Result<Pattern, Refusal> {
    if rest.is_empty() {
        return Err(wrong("`repo:` stands before a path; `repo:**` is the whole repository"));
    }
    if rest.starts_with('/') {
        return Err(wrong(
            "what follows `repo:` is relative to the root of the repository: leave out the \
             slash",
        ));
    }
    if !is_known {
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
    }
    let pattern = Pattern::parse(rest, None).map_err(|error| match error {
        PatternError::Above => wrong("it leads out of the repository"),
        error => wrong(error),
    })?;
    if pattern.is_empty() {
        return Err(wrong("`repo:.` is no file; `repo:**` is the whole repository"));
    }
    Ok(pattern)
}

fn read_files(path: &LockPath, party: &Party, place: Workplace<'_>) -> Result<Pattern, Refusal> {
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
    use crate::api::GitPlace;
    use crate::model::PeerId;

    fn peer() -> Party {
        Party::Peer(PeerId::from_random([1; 16]))
    }

    const fn place(
        project: &'static str,
        repo: &'static str,
        root: &'static str,
    ) -> Workplace<'static> {
        let (project, repo, root) = (Some(project), Some(repo), Some(root));
        Workplace { machine: None, project, repo, hash: None, root }
    }

    const MAIN: Workplace<'_> = place("/w/sub", "/w/.git", "/w");
    const TREE: Workplace<'_> = place("/t", "/w/.git", "/t");
    const OTHER: Workplace<'_> = place("/o", "/o/.git", "/o");

    fn read(text: &str, place: Workplace<'_>) -> LockTarget {
        LockTarget::read(&LockPath::of(text), &peer(), place).unwrap()
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
        let bare = Workplace { repo: None, ..OTHER };
        assert!(read("repo:a", bare).overlaps(&read("a", bare), &Steps::of(u32::MAX)));
    }

    fn cloned(machine: Option<&str>, place: Workplace<'static>) -> Workplace<'static> {
        Workplace {
            machine: machine.and_then(MachineName::new),
            hash: Some(RepoHash([1; 32])),
            ..place
        }
    }

    #[test]
    fn a_path_is_one_on_its_machine_and_a_repository_is_one_in_all_its_clones() {
        let on = |machine: &str, place| Workplace { machine: MachineName::new(machine), ..place };
        let (here, there) = (cloned(None, MAIN), cloned(Some("b"), OTHER));
        for (a, at, b, other, expected) in [
            ("/w/a", MAIN, "/w/a", on("b", MAIN), false),
            ("/w/a", on("B", MAIN), "/w/a", on("b", MAIN), true),
            ("/**", MAIN, "/w/a", on("b", MAIN), false),
            // No clones are known: each machine has its own.
            ("repo:a", MAIN, "repo:a", on("b", MAIN), false),
            ("repo:a", MAIN, "/w/a", on("b", MAIN), false),
            ("repo:a", here, "repo:a", there, true),
            ("repo:a", here, "repo:b", there, false),
            ("repo:a", here, "/o/a", there, true),
            ("/w/a", here, "repo:a", there, true),
            ("/w/a", here, "/o/a", there, false),
            ("repo:a", here, "/elsewhere/a", there, false),
            // On its machine it is the same for one who does not know of clones.
            ("repo:a", here, "repo:a", TREE, true),
            ("repo:a", here, "/t/a", TREE, true),
            ("repo:a", there, "repo:a", TREE, false),
        ] {
            let (a, b) = (read(a, at), read(b, other));
            assert_eq!(a.overlaps(&b, &Steps::of(u32::MAX)), expected, "{a:?} {b:?}");
            assert_eq!(b.overlaps(&a, &Steps::of(u32::MAX)), expected, "{b:?} {a:?}");
        }
        // Said once is enough.
        let path = LockPath {
            git: GitPlace { repo_id: Some("/w/.git".into()), ..GitPlace::default() },
            ..LockPath::of("repo:a")
        };
        let said = LockTarget::read(&path, &peer(), here).unwrap();
        assert!(said.is_renewed_by(&read("repo:a", here)));
        assert!(!read("repo:a", MAIN).is_renewed_by(&said) && read("repo:a", MAIN).is_same(&said));
        let only = LockPath {
            git: GitPlace { repo_hash: here.hash, ..GitPlace::default() },
            ..LockPath::of("repo:a")
        };
        let only = LockTarget::read(&only, &Party::Cli, Workplace::default()).unwrap();
        assert!(only.overlaps(&read("/o/a", there), &Steps::of(u32::MAX)));
    }

    #[test]
    fn what_cannot_be_locked_is_told_why() {
        let label = Party::Label("bot".into());
        let none = Workplace::default();
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
            let refused = LockTarget::read(&LockPath::of(text), party, place).unwrap_err();
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
            let target = LockTarget::read(&path, party, none).unwrap();
            assert_eq!(target.text(), shown);
        }
    }

    #[test]
    fn a_target_is_found_again_in_its_lock() {
        let exact = LockPath { exact: true, ..LockPath::of("a*[x]") };
        let read_exact = LockTarget::read(&exact, &peer(), MAIN).unwrap();
        for target in [
            read("a.rs", MAIN),
            read("src/*.rs", MAIN),
            read("repo:src/", MAIN),
            read("repo:a", MAIN),
            read("repo:a", cloned(Some("laptop"), MAIN)),
            read("a", cloned(Some("laptop"), MAIN)),
            read_exact,
        ] {
            let lock = Lock {
                path: target.text().into(),
                pattern: !target.pattern.is_exact(),
                host: target.machine,
                repo_id: target.repo.clone(),
                repo_hash: target.hash,
                git_root: target.root.clone(),
                ..crate::mesh::locks::tests::lock()
            };
            assert_eq!(LockTarget::of(&lock), target);
        }
    }
}
