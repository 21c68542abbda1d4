//! Repositories: when two places are of the same one.

use super::machine::MachineName;
use super::written::digest;

digest! {
    /// What the clones of a repository have in common on all machines: the SHA-256 of the address of
    /// its remote, so that the address itself is told to nobody. Written in 64 hexadecimal digits.
    RepoHash: "not the hash of a repository"
}

/// What is known of a repository by someone who is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepoPlace<'a> {
    /// The machine that the path is on; none for the hub's own.
    pub machine: Option<MachineName>,
    /// Its git common directory there, or else the root of its only working tree.
    pub path: Option<&'a str>,
    /// What it has in common with its clones; none for one that has none elsewhere.
    pub hash: Option<RepoHash>,
}

impl RepoPlace<'_> {
    /// Whether it is the same repository: the same path on the same machine, or a clone of it, wherever
    /// that is.
    #[must_use]
    pub fn is_same(&self, other: &RepoPlace<'_>) -> bool {
        let same_path =
            self.path.is_some() && self.path == other.path && self.machine == other.machine;
        same_path || (self.hash.is_some() && self.hash == other.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_its_path_on_its_machine_and_by_its_hash_anywhere() {
        let at = |machine: &str, path, hash: Option<u8>| RepoPlace {
            machine: MachineName::new(machine),
            path,
            hash: hash.map(|byte| RepoHash([byte; 32])),
        };
        let here = at("a", Some("/r"), Some(1));
        for (other, same) in [
            (at("A", Some("/r"), None), true),
            (at("a", Some("/r"), Some(2)), true),
            (at("b", Some("/r"), None), false),
            (at("", Some("/r"), None), false),
            (at("b", Some("/other"), Some(1)), true),
            (at("b", None, Some(1)), true),
            (at("b", Some("/r"), Some(2)), false),
        ] {
            assert_eq!(here.is_same(&other), same, "{other:?}");
            assert_eq!(other.is_same(&here), same, "{other:?}");
        }
        assert!(!RepoPlace::default().is_same(&RepoPlace::default()));
    }
}
