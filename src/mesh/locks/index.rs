//! Which of many targets overlap with one: found by the names that their paths begin with, so that
//! the cost does not grow with those elsewhere; and never beyond a number of steps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::target::LockTarget;
use crate::limits::LOCK_CANDIDATE_STEPS;
use crate::model::{MachineName, RepoHash};
use crate::patterns::{Pattern, Steps};

/// Targets by their numbers.
#[derive(Debug, Default)]
pub(super) struct Index {
    targets: BTreeMap<u64, LockTarget>,
    /// Those of files, by machine.
    files: BTreeMap<Home, Space>,
    /// Those of all working trees of a repository.
    repos: BTreeMap<RepoKey, Space>,
    /// The working trees that targets of files are in, by repository, and how many each has.
    roots: BTreeMap<RepoKey, BTreeMap<(Home, Box<str>), usize>>,
}

/// A machine; none for the hub's own.
type Home = Option<MachineName>;

/// How a repository is known. One that is known in both ways is under both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RepoKey {
    /// By its path on a machine.
    On(Home, Box<str>),
    /// By what its clones have in common.
    Anywhere(RepoHash),
}

impl RepoKey {
    fn of(target: &LockTarget) -> impl Iterator<Item = Self> {
        let path = target.repo.clone().map(|repo| Self::On(target.machine, repo));
        path.into_iter().chain(target.hash.map(Self::Anywhere))
    }
}

impl Index {
    /// Adds a target under a number that is not in use.
    pub(super) fn insert(&mut self, number: u64, target: LockTarget) {
        if target.is_repo_wide() {
            for key in RepoKey::of(&target) {
                self.repos.entry(key).or_default().insert(number, &target.pattern);
            }
        } else {
            self.files.entry(target.machine).or_default().insert(number, &target.pattern);
            if let Some(root) = &target.root {
                for key in RepoKey::of(&target) {
                    let roots = self.roots.entry(key).or_default();
                    *roots.entry((target.machine, root.clone())).or_default() += 1;
                }
            }
        }
        self.targets.insert(number, target);
    }

    /// Removes the target under a number.
    pub(super) fn remove(&mut self, number: u64) {
        let Some(target) = self.targets.remove(&number) else { return };
        if target.is_repo_wide() {
            for key in RepoKey::of(&target) {
                take_out(&mut self.repos, &key, number, &target.pattern);
            }
            return;
        }
        take_out(&mut self.files, &target.machine, number, &target.pattern);
        let Some(root) = &target.root else { return };
        let tree = (target.machine, root.clone());
        for key in RepoKey::of(&target) {
            let Some(roots) = self.roots.get_mut(&key) else { continue };
            if let Some(count) = roots.get_mut(&tree) {
                *count -= 1;
                if *count == 0 {
                    roots.remove(&tree);
                }
            }
            if roots.is_empty() {
                self.roots.remove(&key);
            }
        }
    }

    /// The target under a number.
    pub(super) fn get(&self, number: u64) -> Option<&LockTarget> {
        self.targets.get(&number)
    }

    /// The numbers of those that overlap with `target`, in order. Once `steps` are spent there may be too
    /// many or too few, so the caller has to check for that.
    pub(super) fn overlapping(&self, target: &LockTarget, steps: &Steps) -> BTreeSet<u64> {
        let mut found = Vec::new();
        let spaces = RepoKey::of(target).filter_map(|key| self.repos.get(&key));
        if target.is_repo_wide() {
            found.extend(spaces.flat_map(|space| space.candidates(&target.pattern, steps)));
            let trees = RepoKey::of(target).filter_map(|key| self.roots.get(&key));
            for (machine, root) in trees.flat_map(BTreeMap::keys) {
                if steps.are_spent() {
                    break;
                }
                let there = target.in_tree(root, steps);
                let files = self.files.get(machine).into_iter();
                found.extend(files.flat_map(|files| files.candidates(&there, steps)));
            }
        } else {
            let files = self.files.get(&target.machine).into_iter();
            found.extend(files.flat_map(|files| files.candidates(&target.pattern, steps)));
            if let Some(root) = &target.root {
                let below = target.pattern.below(&Pattern::name(root));
                for space in spaces {
                    match &below {
                        Some(below) => found.extend(space.candidates(below, steps)),
                        // A pattern that reaches into the working tree from above it.
                        None => found.extend(space.all()),
                    }
                }
            }
        }
        found.retain(|number| {
            steps.spend(LOCK_CANDIDATE_STEPS);
            self.get(*number).is_some_and(|other| other.overlaps(target, steps))
        });
        found.into_iter().collect()
    }
}

fn take_out<K: Ord>(spaces: &mut BTreeMap<K, Space>, key: &K, number: u64, pattern: &Pattern) {
    if let Some(space) = spaces.get_mut(key) {
        space.remove(number, pattern);
        if space.is_empty() {
            spaces.remove(key);
        }
    }
}

/// Patterns by their literal heads.
#[derive(Debug, Default)]
struct Space {
    /// Those that are one path.
    exact: BTreeMap<Box<str>, BTreeSet<u64>>,
    /// The others.
    patterns: BTreeMap<Box<str>, BTreeSet<u64>>,
}

impl Space {
    fn kind(&mut self, pattern: &Pattern) -> &mut BTreeMap<Box<str>, BTreeSet<u64>> {
        if pattern.is_exact() { &mut self.exact } else { &mut self.patterns }
    }

    fn insert(&mut self, number: u64, pattern: &Pattern) {
        let head = pattern.literal_head().into_boxed_str();
        self.kind(pattern).entry(head).or_default().insert(number);
    }

    fn remove(&mut self, number: u64, pattern: &Pattern) {
        let head = pattern.literal_head().into_boxed_str();
        let kind = self.kind(pattern);
        if let Some(numbers) = kind.get_mut(&head) {
            numbers.remove(&number);
            if numbers.is_empty() {
                kind.remove(&head);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    fn all(&self) -> Vec<u64> {
        self.exact.values().chain(self.patterns.values()).flatten().copied().collect()
    }

    /// All that overlap with `pattern`, and some that do not.
    fn candidates(&self, pattern: &Pattern, steps: &Steps) -> Vec<u64> {
        let head = pattern.literal_head();
        // Each directory above it is looked up by its name.
        steps.spend(pattern.depth() * (8 + head.len() / 64));
        let mut found: Vec<u64> = Vec::new();
        let mut add = |numbers: Option<&BTreeSet<u64>>| found.extend(numbers.into_iter().flatten());
        // Patterns that begin above it, or with it.
        add(self.patterns.get(""));
        for (at, _) in head.match_indices('/').skip(1) {
            add(head.get(..at).and_then(|above| self.patterns.get(above)));
        }
        if !head.is_empty() {
            add(self.patterns.get(head.as_str()));
        }
        add(self.exact.get(head.as_str()));
        if !pattern.is_exact() {
            // Whatever begins below it.
            let start = format!("{head}/");
            let from = (Bound::Included(start.as_str()), Bound::Unbounded);
            let is_below = |other: &str| {
                steps.spend(1 + start.len() / 32);
                !steps.are_spent() && other.starts_with(&start)
            };
            for kind in [&self.exact, &self.patterns] {
                let below = kind.range::<str, _>(from);
                below
                    .take_while(|(other, _)| is_below(other))
                    .for_each(|(_, numbers)| add(Some(numbers)));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::LockPath;
    use crate::limits::{LOCK_STEPS_MAX, LOCKS_MAX};
    use crate::mesh::locks::target::Workplace;
    use crate::model::Party;

    fn plenty() -> Steps {
        Steps::of(u32::MAX)
    }

    #[test]
    fn what_is_found_is_what_a_look_at_all_would_find() {
        let places: Vec<Workplace<'_>> = ["/w", "/w/tree", "/o"]
            .iter()
            .zip(["r", "r", "o"])
            .map(|(root, repo)| Workplace {
                repo: Some(repo),
                root: Some(root),
                ..Workplace::default()
            })
            .flat_map(|place| {
                let (machine, hash) = (MachineName::new("b"), Some(RepoHash([1; 32])));
                [place, Workplace { machine, ..place }, Workplace { machine, hash, ..place }]
            })
            .chain([Workplace {
                hash: Some(RepoHash([1; 32])),
                repo: Some("p"),
                ..Workplace::default()
            }])
            .chain([Workplace::default()])
            .collect();
        let texts = [
            "/w/a",
            "/w/a/b",
            "/w/a-b",
            "/w/**",
            "/w/a/*",
            "/**",
            "/**/b",
            "/w/*/a",
            "/w/tree/a",
            "/w/tree/a/b",
            "/w/tree/**/b",
            "/o/a",
            "/*/a",
            "/o/**",
            "name",
            "repo:a",
            "repo:a/b",
            "repo:**",
            "repo:*/b",
            "repo:a/",
            "/",
        ];
        let targets: Vec<LockTarget> = (places.iter())
            .flat_map(|place| {
                texts.iter().filter_map(|text| {
                    LockTarget::read(&LockPath::of(*text), &Party::Cli, *place).ok()
                })
            })
            .collect();
        assert!(targets.len() > 70);
        let mut index = Index::default();
        for (number, target) in targets.iter().enumerate() {
            index.insert(number as u64, target.clone());
        }
        let check = |index: &Index, there: &dyn Fn(u64) -> bool| {
            for target in &targets {
                let expected: BTreeSet<u64> = (0u64..)
                    .zip(&targets)
                    .filter(|(number, other)| there(*number) && other.overlaps(target, &plenty()))
                    .map(|(number, _)| number)
                    .collect();
                assert_eq!(index.overlapping(target, &plenty()), expected, "{target:?}");
            }
        };
        check(&index, &|_| true);
        for number in (0..targets.len() as u64).filter(|number| number % 3 != 0) {
            index.remove(number);
        }
        check(&index, &|number| number % 3 == 0);
        for number in 0..targets.len() as u64 {
            index.remove(number);
        }
        assert!(index.files.is_empty() && index.repos.is_empty() && index.roots.is_empty());
    }

    #[test]
    fn what_lies_elsewhere_is_not_looked_at() {
        let read = |text: &str| Pattern::parse(text, None).unwrap();
        let mut space = Space::default();
        for number in 0..10_000 {
            let file = if number % 2 == 0 { "a.rs" } else { "**" };
            space.insert(number, &read(&format!("/w/{number}/{file}")));
        }
        for text in ["/w/4/a.rs", "/w/5/x/y.rs", "/w/7/*.rs", "/w/8/**", "/elsewhere/**", "/x"] {
            let looked_at = space.candidates(&read(text), &plenty()).len();
            assert!(looked_at <= 1, "{text}: {looked_at}");
        }
    }

    #[test]
    fn a_pattern_over_all_locks_there_can_be_is_compared_in_the_steps_of_a_request() {
        let target = |text: &str| {
            LockTarget::read(&LockPath::of(text), &Party::Cli, Workplace::default()).unwrap()
        };
        let mut index = Index::default();
        for number in 0..LOCKS_MAX {
            let text =
                format!("/home/somebody/project/src/module_{}/file_{number}.rs", number % 100);
            index.insert(number, target(&text));
        }
        for text in ["/**", "/home/somebody/project/", "/home/**/file_*.rs", "/**/src/*/*"] {
            let steps = Steps::of(LOCK_STEPS_MAX);
            let found = index.overlapping(&target(text), &steps).len() as u64;
            assert_eq!((found, steps.are_spent()), (LOCKS_MAX, false), "{text}");
        }
        // And one file among as many patterns.
        let mut index = Index::default();
        for number in 0..LOCKS_MAX {
            index.insert(number, target(&format!("/**/*_{number}.r?/**/x*/*y/**/z")));
        }
        let steps = Steps::of(LOCK_STEPS_MAX);
        let file = target("/home/somebody/project/src/module_7/file_7.rs");
        assert_eq!(index.overlapping(&file, &steps).len(), 0);
        assert!(!steps.are_spent());
    }
}
