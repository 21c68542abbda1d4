//! The repository a directory belongs to, read from its files: gitrepository-layout(5).
//!
//! git itself is not run: it may be missing, it costs a process at each heartbeat, and what it
//! does can be changed by the configuration of a repository that someone else has made. For the
//! same reason `GIT_DIR` and its like are ignored.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::remote::remote_hash;
use crate::files::read_bounded;
use crate::limits::{GIT_CONFIG_BYTES_MAX, GIT_FILE_BYTES_MAX, TAG_CHARS_MAX};
use crate::model::{RepoHash, hex};

/// Digits of a commit's id that stand for a branch where none is checked out.
const SHORT_ID_CHARS: usize = 12;

/// What is known of a repository and of the working tree in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Top of the working tree, without symbolic links.
    pub root: PathBuf,
    /// The branch that is checked out (`feature/x`), also if it has no commit yet; else the first
    /// 12 digits of the commit. `None` if it cannot be told. At most [`TAG_CHARS_MAX`] characters.
    pub branch: Option<String>,
    /// The same for all working trees of one repository: the path of its common directory, or a
    /// hash of it if that is no UTF-8 or longer than [`TAG_CHARS_MAX`] characters. A submodule is a
    /// repository of its own.
    pub id: String,
    /// The same for all clones of one repository on all machines: the SHA-256 of the address it
    /// comes from. `None` if it comes from nowhere that others could mean
    /// too, or its `config` cannot be read.
    pub hash: Option<RepoHash>,
}

/// The repository that `dir` belongs to; `None` if it is in none, or in one that is broken.
#[must_use]
pub fn repository(dir: &Path) -> Option<Repository> {
    let dir = dir.canonicalize().ok()?;
    let (root, git_dir, common_dir) = directories_of(&dir)?;
    let (branch, hash) = (branch(&git_dir), hash_of(&common_dir));
    Some(Repository { root: root.to_owned(), branch, id: id_of(&common_dir), hash })
}

/// The directory that all working trees of the repository of `dir` share.
pub(super) fn common_dir_of(dir: &Path) -> Option<PathBuf> {
    directories_of(&dir.canonicalize().ok()?).map(|(_, _, common_dir)| common_dir)
}

/// The top of the working tree, the directory with its state, and the one that all working trees
/// share.
fn directories_of(dir: &Path) -> Option<(&Path, PathBuf, PathBuf)> {
    let (root, git_dir) = dir.ancestors().find_map(|dir| match git_dir_in(dir) {
        GitDir::Missing => None,
        GitDir::Broken => Some(None),
        GitDir::Found(git_dir) => Some(Some((dir, git_dir))),
    })??;
    let common_dir = common_dir(&git_dir)?;
    if !common_dir.join("objects").is_dir() {
        return None;
    }
    Some((root, git_dir, common_dir))
}

/// What `.git` in a directory is.
enum GitDir {
    /// There is none, or something that git does not take for one: the search goes on above.
    Missing,
    /// It leads nowhere: the search ends, as git's does.
    Broken,
    /// The directory with the state of the working tree.
    Found(PathBuf),
}

fn git_dir_in(dir: &Path) -> GitDir {
    let path = dir.join(".git");
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => {
            if has_head(&path) {
                GitDir::Found(path)
            } else {
                GitDir::Missing
            }
        }
        // A linked working tree or a submodule: a file that names the directory, from where it
        // lies itself if the path is relative.
        Ok(metadata) if metadata.is_file() => {
            let named = read(&path).ok().and_then(|bytes| {
                let named = bytes.strip_prefix(b"gitdir: ").filter(|named| !named.is_empty())?;
                Some(dir.join(OsStr::from_bytes(named)))
            });
            match named {
                Some(git_dir) if has_head(&git_dir) => GitDir::Found(git_dir),
                _ => GitDir::Broken,
            }
        }
        _ => GitDir::Missing,
    }
}

fn has_head(git_dir: &Path) -> bool {
    // It may be a link to a branch that has no commit yet, so it is not followed.
    git_dir.join("HEAD").symlink_metadata().is_ok()
}

/// The directory that all working trees of a repository share.
fn common_dir(git_dir: &Path) -> Option<PathBuf> {
    let common_dir = match read(&git_dir.join("commondir")) {
        Ok(named) => git_dir.join(OsStr::from_bytes(&named)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => git_dir.to_owned(),
        Err(_) => return None,
    };
    common_dir.canonicalize().ok()
}

fn id_of(common_dir: &Path) -> String {
    match common_dir.to_str() {
        Some(path) if path.chars().count() <= TAG_CHARS_MAX => path.to_owned(),
        _ => format!("sha256:{}", hex(&Sha256::digest(common_dir.as_os_str().as_bytes()))),
    }
}

fn hash_of(common_dir: &Path) -> Option<RepoHash> {
    let config = read_bounded(&common_dir.join("config"), GIT_CONFIG_BYTES_MAX).ok()?;
    remote_hash(&String::from_utf8_lossy(&config))
}

/// The branch of a working tree, from its `HEAD`.
fn branch(git_dir: &Path) -> Option<String> {
    let head = git_dir.join("HEAD");
    let reference = if let Ok(target) = std::fs::read_link(&head) {
        // As git made it long ago: a symbolic link in the file system.
        target.to_str()?.to_owned()
    } else {
        let text = String::from_utf8(read(&head).ok()?).ok()?;
        match text.strip_prefix("ref:") {
            Some(reference) => reference.trim().to_owned(),
            None => return short_id(&text),
        }
    };
    let branch = reference.strip_prefix("refs/heads/").unwrap_or(&reference);
    // `.invalid` is what git writes where references are kept in another way (reftable).
    if branch.is_empty() || branch == ".invalid" || branch.contains(char::is_control) {
        return None;
    }
    Some(branch.chars().take(TAG_CHARS_MAX).collect())
}

/// The first digits of an object's id, which has 40 (SHA-1) or 64 (SHA-256).
fn short_id(text: &str) -> Option<String> {
    let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id { text.get(..SHORT_ID_CHARS).map(str::to_owned) } else { None }
}

/// Reads a small file without the ends of its last line.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = read_bounded(path, GIT_FILE_BYTES_MAX)?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, create_dir_all, remove_file, write};
    use std::process::Command;

    use super::*;
    use crate::files::tests::TempDir;

    fn git(dir: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(dir)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
            .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// A repository with a commit, in a directory of its own.
    fn with_commit() -> (TempDir, PathBuf) {
        let temp = TempDir::new();
        let root = temp.path().join("repo");
        create_dir(&root).unwrap();
        git(&root, &["init", "-q"]);
        git(&root, &["commit", "-q", "--allow-empty", "-m", "first"]);
        (temp, root)
    }

    /// What is read, checked against what git says.
    fn checked(dir: &Path) -> Repository {
        let found = repository(dir).unwrap();
        assert_eq!(found.root.to_str().unwrap(), git(dir, &["rev-parse", "--show-toplevel"]));
        let common = git(dir, &["rev-parse", "--path-format=absolute", "--git-common-dir"]);
        assert_eq!(Path::new(&found.id), Path::new(&common).canonicalize().unwrap());
        let branch = git(dir, &["branch", "--show-current"]);
        if !branch.is_empty() {
            assert_eq!(found.branch.as_deref(), Some(branch.as_str()));
        }
        found
    }

    fn branch_of(dir: &Path) -> Option<String> {
        repository(dir).unwrap().branch
    }

    #[test]
    fn repository_is_found_from_any_directory_in_it() {
        let (_temp, root) = with_commit();
        let deep = root.join("a/b/c");
        create_dir_all(&deep).unwrap();
        let found = checked(&root);
        assert_eq!(found.branch.as_deref(), Some("main"));
        assert_eq!(found.root, root);
        assert_eq!(checked(&deep), found);
        let link = root.parent().unwrap().join("link");
        std::os::unix::fs::symlink(&deep, &link).unwrap();
        assert_eq!(repository(&link).unwrap(), found);
    }

    #[test]
    fn no_repository_is_no_error() {
        let temp = TempDir::new();
        assert_eq!(repository(temp.path()), None);
        assert_eq!(repository(&temp.path().join("missing")), None);
        write(temp.path().join("file"), "").unwrap();
        assert_eq!(repository(&temp.path().join("file/x")), None);
    }

    #[test]
    fn branch_without_a_commit_has_its_name() {
        let temp = TempDir::new();
        git(temp.path(), &["init", "-q", "-b", "trunk"]);
        assert_eq!(checked(temp.path()).branch.as_deref(), Some("trunk"));
    }

    #[test]
    fn branch_name_may_have_slashes() {
        let (_temp, root) = with_commit();
        git(&root, &["checkout", "-q", "-b", "feature/x/y"]);
        assert_eq!(checked(&root).branch.as_deref(), Some("feature/x/y"));
        git(&root, &["pack-refs", "--all"]);
        assert_eq!(checked(&root).branch.as_deref(), Some("feature/x/y"));
    }

    #[test]
    fn detached_head_is_the_beginning_of_the_commit() {
        let (_temp, root) = with_commit();
        git(&root, &["checkout", "-q", "--detach"]);
        let commit = git(&root, &["rev-parse", "HEAD"]);
        assert_eq!(checked(&root).branch.as_deref(), Some(&commit[..12]));
    }

    #[test]
    fn sha256_repository_is_read_too() {
        let temp = TempDir::new();
        git(temp.path(), &["init", "-q", "--object-format=sha256"]);
        git(temp.path(), &["commit", "-q", "--allow-empty", "-m", "first"]);
        git(temp.path(), &["checkout", "-q", "--detach"]);
        let commit = git(temp.path(), &["rev-parse", "HEAD"]);
        assert_eq!(commit.len(), 64);
        assert_eq!(checked(temp.path()).branch.as_deref(), Some(&commit[..12]));
    }

    #[test]
    fn working_trees_of_one_repository_have_one_id() {
        let (_temp, root) = with_commit();
        let tree = root.parent().unwrap().join("tree");
        git(&root, &["worktree", "add", "-q", "-b", "side", tree.to_str().unwrap()]);
        let (main, side) = (checked(&root), checked(&tree));
        assert_eq!(main.id, side.id);
        assert_eq!((side.root.as_path(), side.branch.as_deref()), (tree.as_path(), Some("side")));
        assert_eq!(main.branch.as_deref(), Some("main"));
        // Relative paths, as newer versions of git write them.
        let name = git(&tree, &["rev-parse", "--git-dir"]).rsplit('/').next().unwrap().to_owned();
        write(tree.join(".git"), format!("gitdir: ../repo/.git/worktrees/{name}\n")).unwrap();
        assert_eq!(checked(&tree), side);
        write(tree.join(".git"), format!("gitdir: ../repo/.git/worktrees/{name}\r\n")).unwrap();
        assert_eq!(repository(&tree), Some(side));
    }

    #[test]
    fn working_tree_of_a_bare_repository_is_read() {
        let (_temp, root) = with_commit();
        let (bare, tree) = (root.with_file_name("bare.git"), root.with_file_name("tree"));
        git(&root, &["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
        git(&bare, &["worktree", "add", "-q", tree.to_str().unwrap(), "main"]);
        let found = checked(&tree);
        assert_eq!((Path::new(&found.id), found.branch.as_deref()), (bare.as_path(), Some("main")));
    }

    #[test]
    fn submodule_is_a_repository_of_its_own() {
        let (_temp, root) = with_commit();
        let outer = root.with_file_name("outer");
        create_dir(&outer).unwrap();
        git(&outer, &["init", "-q"]);
        git(&outer, &["submodule", "--quiet", "add", root.to_str().unwrap(), "lib/sub"]);
        let found = checked(&outer.join("lib/sub"));
        assert_eq!(found.root, outer.join("lib/sub"));
        assert_eq!(Path::new(&found.id), outer.join(".git/modules/lib/sub"));
        assert_ne!(found.id, checked(&outer).id);
    }

    #[test]
    fn clones_of_one_repository_have_one_hash() {
        let (_temp, root) = with_commit();
        assert_eq!(checked(&root).hash, None);
        let tree = root.with_file_name("tree");
        git(&root, &["worktree", "add", "-q", "-b", "side", tree.to_str().unwrap()]);
        git(&root, &["remote", "add", "origin", "https://t:x@Example.com/a b.git"]);
        let hash = checked(&root).hash;
        assert!(hash.is_some());
        assert_eq!(checked(&tree).hash, hash);
        // A clone of another name, by another way to the same.
        let clone = root.with_file_name("clone");
        git(&root, &["clone", "-q", ".", clone.to_str().unwrap()]);
        assert_eq!(checked(&clone).hash, None, "it comes from a path");
        git(&clone, &["remote", "set-url", "origin", "git@example.com:a b"]);
        assert_eq!(checked(&clone).hash, hash);
        // A submodule is one of its own: it has a `config` in the other's directory.
        git(&clone, &["submodule", "--quiet", "add", root.to_str().unwrap(), "sub"]);
        let sub = clone.join("sub");
        assert_eq!(checked(&sub).hash, None);
        git(&sub, &["remote", "set-url", "origin", "ssh://git@example.com:22/a%20b.git"]);
        assert_eq!(checked(&sub).hash, hash);
        // What git refuses, what is too long, and what is no file.
        let config = clone.join(".git/config");
        for bad in ["[remote \"origin\"".to_owned(), "#\n".repeat(GIT_CONFIG_BYTES_MAX / 2 + 1)] {
            write(&config, bad).unwrap();
            assert_eq!(repository(&clone).unwrap().hash, None);
        }
        remove_file(&config).unwrap();
        crate::files::tests::make_pipe(&config);
        assert_eq!(repository(&clone).unwrap().hash, None);
    }

    #[test]
    fn repository_within_another_counts() {
        let (_temp, root) = with_commit();
        let inner = root.join("inner");
        create_dir(&inner).unwrap();
        git(&inner, &["init", "-q", "-b", "inner"]);
        assert_eq!(checked(&inner).root, inner);
        // A `.git` that is no repository is passed over.
        std::fs::remove_file(inner.join(".git/HEAD")).unwrap();
        assert_eq!(checked(&inner).root, root);
    }

    #[test]
    fn broken_files_are_no_repository() {
        let (_temp, root) = with_commit();
        let tree = root.join("tree");
        git(&root, &["worktree", "add", "-q", tree.to_str().unwrap()]);
        let good = std::fs::read(tree.join(".git")).unwrap();
        let long = format!("gitdir: {}", "x".repeat(GIT_FILE_BYTES_MAX));
        for bad in ["", "gitdir:", "gitdir: ", "gitdir: /missing", "gitdir: .", "x", "\0", &long] {
            write(tree.join(".git"), bad).unwrap();
            assert_eq!(repository(&tree), None, "{bad:?}");
        }
        write(tree.join(".git"), b"gitdir: \xff\xfe").unwrap();
        assert_eq!(repository(&tree), None);
        write(tree.join(".git"), &good).unwrap();
        let common_dir = root.join(".git/worktrees/tree/commondir");
        for bad in ["/missing", "x", "."] {
            write(&common_dir, bad).unwrap();
            assert_eq!(repository(&tree), None, "{bad:?}");
        }
        remove_file(&common_dir).unwrap();
        create_dir(&common_dir).unwrap();
        assert_eq!(repository(&tree), None);
        std::fs::remove_dir(root.join(".git/objects/info")).unwrap();
        std::fs::rename(root.join(".git/objects"), root.join(".git/o")).unwrap();
        assert_eq!(repository(&root), None);
    }

    #[test]
    fn broken_head_is_no_branch() {
        let (_temp, root) = with_commit();
        let id = "0123456789abcdef0123456789abcdef01234567";
        for bad in ["", "ref:", "ref: ", "ref: refs/heads/", "x", "\0", "ref: refs/heads/a\u{1}b"] {
            write(root.join(".git/HEAD"), bad).unwrap();
            assert_eq!(branch_of(&root), None, "{bad:?}");
        }
        for bad in [&id[1..], &format!("{id}0"), &id.replace('0', "g")] {
            write(root.join(".git/HEAD"), bad).unwrap();
            assert_eq!(branch_of(&root), None, "{bad:?}");
        }
        write(root.join(".git/HEAD"), b"ref: refs/heads/\xff").unwrap();
        assert_eq!(branch_of(&root), None);
        write(root.join(".git/HEAD"), "ref: refs/heads/.invalid\n").unwrap();
        assert_eq!(branch_of(&root), None);
        for (good, branch) in [
            ("ref: refs/heads/a\n", "a"),
            ("ref:refs/heads/a", "a"),
            ("ref:  refs/heads/a \n", "a"),
            ("ref: refs/remotes/origin/a\n", "refs/remotes/origin/a"),
            (id, &id[..12]),
        ] {
            write(root.join(".git/HEAD"), good).unwrap();
            assert_eq!(branch_of(&root).as_deref(), Some(branch), "{good:?}");
        }
        for (length, kept) in [(255, 255), (256, 256), (257, 256)] {
            write(root.join(".git/HEAD"), format!("ref: refs/heads/{}", "é".repeat(length)))
                .unwrap();
            assert_eq!(branch_of(&root).unwrap().chars().count(), kept);
        }
    }

    #[test]
    fn head_may_be_a_symbolic_link() {
        let (_temp, root) = with_commit();
        let head = root.join(".git/HEAD");
        for (target, branch) in [("refs/heads/main", "main"), ("refs/heads/unborn", "unborn")] {
            remove_file(&head).unwrap();
            std::os::unix::fs::symlink(target, &head).unwrap();
            assert_eq!(branch_of(&root).as_deref(), Some(branch));
        }
    }

    #[test]
    fn id_is_short_enough_and_still_one_of_a_kind() {
        let path = |chars: usize| PathBuf::from(format!("/{}", "ü".repeat(chars - 1)));
        assert_eq!(id_of(&path(256)), path(256).to_str().unwrap());
        let hashed = id_of(&path(257));
        assert!(hashed.starts_with("sha256:") && hashed.len() == 7 + 64);
        assert_ne!(hashed, id_of(&path(258)));
        let odd = |byte: u8| id_of(Path::new(OsStr::from_bytes(&[b'/', byte])));
        assert!(odd(0xff).starts_with("sha256:") && odd(0xff) != odd(0xfe));
    }
}
