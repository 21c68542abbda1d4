//! The namespace of a project's shared state, so that two projects that both set `port` do not meet.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::git;
use crate::limits::NAMESPACE_FOLDER_CHARS_MAX;
use crate::model::hex;
use crate::names::{self, DEFAULT_NAMESPACE, SHARED_NAMESPACE};

/// Digits of the hash that tell apart projects in folders of one name.
const HASH_DIGITS: usize = 10;

/// The namespace of the project in `dir`: the name of its folder and a hash of its path,
/// `webapp-1f0c9a7b42`. In a repository the folder is that of the repository, so that all its
/// directories and working trees have one; a directory keeps its namespace when it becomes a
/// repository.
#[must_use]
pub fn of_project(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let common_dir = git::common_dir_of(&dir);
    let folder = match &common_dir {
        // The main working tree; a bare repository is its own folder.
        Some(common_dir) if common_dir.ends_with(".git") => common_dir.parent().unwrap_or(&dir),
        Some(common_dir) => common_dir,
        None => &dir,
    };
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let mut namespace = names::fold(&name, NAMESPACE_FOLDER_CHARS_MAX);
    if !namespace.is_empty() {
        namespace.push('-');
    }
    let hash = hex(&Sha256::digest(folder.as_os_str().as_bytes()));
    namespace + hash.get(..HASH_DIGITS).unwrap_or_default()
}

/// The namespace on the wire that an agent or a person means in the project `own`: its own if none
/// is named, that of the whole mesh for [`SHARED_NAMESPACE`].
#[must_use]
pub fn on_the_wire<'a>(named: Option<&'a str>, own: &'a str) -> &'a str {
    match named {
        None => own,
        Some(SHARED_NAMESPACE) => DEFAULT_NAMESPACE,
        Some(other) => other,
    }
}

/// What a namespace on the wire is called before agents and people.
#[must_use]
pub fn as_told(namespace: &str) -> &str {
    if namespace == DEFAULT_NAMESPACE { SHARED_NAMESPACE } else { namespace }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::tests::TempDir;

    /// As `git init` leaves it, as far as it matters.
    fn init(git_dir: &Path) {
        fs::create_dir_all(git_dir.join("objects")).unwrap();
        fs::write(git_dir.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    #[test]
    fn a_project_has_one_namespace_and_another_has_another() {
        let dir = TempDir::new();
        let (web, api) = (dir.path().join("a/Web App"), dir.path().join("b/Web App"));
        for project in [&web, &api] {
            fs::create_dir_all(project.join("src")).unwrap();
        }
        let of_web = of_project(&web);
        assert!(
            of_web.starts_with("web-app-") && of_web.len() == "web-app-".len() + 10,
            "{of_web}"
        );
        assert_ne!(of_web, of_project(&api));
        assert_ne!(of_web, of_project(&web.join("src")), "outside of a repository");
        init(&web.join(".git"));
        assert_eq!(of_web, of_project(&web), "it has become a repository");
        assert_eq!(of_web, of_project(&web.join("src")));
        let link = dir.path().join("link");
        symlink(&web, &link).unwrap();
        assert_eq!(of_web, of_project(&link));
        // A working tree elsewhere.
        let tree = dir.path().join("tree");
        let state = web.join(".git/worktrees/tree");
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(&state).unwrap();
        fs::write(tree.join(".git"), format!("gitdir: {}\n", state.display())).unwrap();
        fs::write(state.join("HEAD"), "ref: refs/heads/x\n").unwrap();
        fs::write(state.join("commondir"), "../..\n").unwrap();
        assert_eq!(of_web, of_project(&tree));
        let bare = dir.path().join("bare.git");
        init(&bare);
        assert!(of_project(&bare).starts_with("bare.git-"));
        assert_eq!(of_project(Path::new("/")).len(), 10);
        assert!(of_project(Path::new("/not/there")).starts_with("there-"));
    }

    #[test]
    fn the_namespace_of_the_mesh_has_two_names() {
        assert_eq!(on_the_wire(None, "own-1"), "own-1");
        assert_eq!(on_the_wire(Some("shared"), "own-1"), "default");
        assert_eq!(on_the_wire(Some("default"), "own-1"), "default");
        assert_eq!(on_the_wire(Some("other"), "own-1"), "other");
        assert_eq!((as_told("default"), as_told("other")), ("shared", "other"));
    }
}
