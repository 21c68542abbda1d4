//! `slm-mesh guard`, with real git in repositories of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::session::Session;
use crate::common::stand_in::StandIn;
use crate::common::{Mesh, Ran, is_there};
use serde_json::Value;
use slm_mesh::api::{GitPlace, LockFile, LockPath, Request};

/// A repository with a commit, in the working directory of a mesh.
struct Repo {
    mesh: Mesh,
    dir: PathBuf,
}

impl Repo {
    fn new() -> Self {
        let mesh = Mesh::unlimited();
        let repo = Self { dir: mesh.work(), mesh };
        repo.git(&["init", "-q", "-b", "main"]).ok();
        repo.write("first", "1");
        repo.git(&["add", "."]).ok();
        repo.git(&["commit", "-q", "-m", "first"]).ok();
        repo
    }

    fn command(&self, dir: &Path, arguments: &[&str]) -> Command {
        let ours = self.mesh.command([""; 0]);
        let mut command = Command::new("git");
        command
            .args(arguments)
            .env_clear()
            .envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
            .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")])
            .current_dir(dir);
        command
    }

    fn git(&self, arguments: &[&str]) -> Ran {
        self.git_in(&self.dir, arguments)
    }

    fn git_in(&self, dir: &Path, arguments: &[&str]) -> Ran {
        self.command(dir, arguments).output().unwrap().into()
    }

    fn guard(&self, dir: &Path, line: &str) -> Ran {
        let line = format!("guard {line}");
        self.mesh.command(line.split_whitespace()).current_dir(dir).output().unwrap().into()
    }

    /// Installs the guard, and starts a broker.
    fn guarded() -> Self {
        let repo = Self::new();
        repo.guard(&repo.dir, "install").ok();
        repo.mesh.start();
        repo
    }

    fn write(&self, name: impl AsRef<OsStr>, text: &str) {
        let path = self.dir.join(name.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().into()
    }

    fn hook(&self) -> PathBuf {
        self.dir.join(".git/hooks/pre-commit")
    }

    fn kept(&self) -> PathBuf {
        self.dir.join(".git/hooks/pre-commit.before-slm-mesh")
    }

    /// A hook of someone else's, which is no UTF-8 and notes that it ran.
    fn other_hook(&self, exit: u8) -> Vec<u8> {
        let mut text = b"#!/bin/sh\n# \xff\xfe\n".to_vec();
        text.extend(format!("echo ran >> {}\nexit {exit}", self.path("../ran")).as_bytes());
        fs::create_dir_all(self.hook().parent().unwrap()).unwrap();
        fs::write(self.hook(), &text).unwrap();
        fs::set_permissions(self.hook(), PermissionsExt::from_mode(0o751)).unwrap();
        text
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.dir.join("../ran")).unwrap_or_default().lines().count()
    }

    fn commits(&self) -> usize {
        self.git(&["rev-list", "--count", "HEAD"]).ok().trim().parse().unwrap()
    }

    /// A commit of everything is refused because of `file`.
    #[track_caller]
    fn refused(&self, file: &str) {
        let before = self.commits();
        self.git(&["add", "-A"]).ok();
        let ran = self.git(&["commit", "-q", "-m", "x"]);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(ran.err.contains("others have locked") && ran.err.contains(file), "{ran:?}");
        assert!(ran.err.contains("--no-verify"), "{ran:?}");
        assert_eq!(self.commits(), before);
    }

    #[track_caller]
    fn allowed(&self) {
        let before = self.commits();
        self.git(&["add", "-A"]).ok();
        let ran = self.git(&["commit", "-q", "-m", "x"]);
        assert_eq!((ran.code, &*ran.out, &*ran.err), (Some(0), "", ""), "{ran:?}");
        assert_eq!(self.commits(), before + 1);
    }
}

#[test]
fn a_locked_file_is_not_committed() {
    let repo = Repo::guarded();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("sub/a b.rs", "1");
    repo.write("free.rs", "1");
    bob.lock(&repo.path("sub/a b.rs"), Some("moving\u{1b}[31m things"), 7);
    repo.git(&["add", "free.rs"]).ok();
    let ran = repo.git(&["commit", "-q", "-m", "the free one"]);
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
    repo.refused("sub/a b.rs: bob (reason \"moving\\u001b[31m things\"), free in ");
    repo.git(&["commit", "-q", "--no-verify", "-m", "all the same"]).ok();
    // Its removal is a change, too.
    fs::remove_file(repo.dir.join("sub/a b.rs")).unwrap();
    repo.refused("sub/a b.rs");
    bob.unlock(&repo.path("sub/a b.rs"));
    repo.allowed();
}

#[test]
fn both_names_of_a_renamed_file_count() {
    let repo = Repo::guarded();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("old", &"the same text\n".repeat(50));
    repo.allowed();
    repo.git(&["config", "diff.renames", "copies"]).ok();
    repo.git(&["mv", "old", "new"]).ok();
    for name in ["old", "new"] {
        bob.lock(&repo.path(name), None, 5);
        repo.refused(name);
        bob.unlock(&repo.path(name));
    }
    repo.allowed();
}

#[test]
fn any_name_a_file_may_have() {
    let repo = Repo::guarded();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    for name in ["two\nlines", " space ", "\"quotes\"", "ü", "-dash", "tab\t"] {
        repo.write(name, "1");
        bob.lock(&repo.path(name), None, 5);
        repo.refused("bob");
        bob.unlock(&repo.path(name));
        repo.allowed();
    }
    // It cannot be locked; another one beside it can.
    repo.write(OsStr::from_bytes(b"not \xff UTF-8"), "1");
    repo.write("other", "1");
    bob.lock(&repo.path("other"), None, 5);
    repo.refused("other");
    bob.unlock(&repo.path("other"));
    bob.lock(&repo.path("elsewhere"), None, 5);
    repo.allowed();
}

#[test]
fn what_is_in_the_index_counts_and_nothing_else() {
    let repo = Repo::guarded();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("a", "1");
    repo.write("b", "1");
    repo.allowed();
    repo.write("a", "2");
    repo.write("b", "2");
    bob.lock(&repo.path("a"), None, 5);
    // For this, git makes an index of its own.
    let ran = repo.git(&["commit", "-q", "-m", "b alone", "b"]);
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
    for how in [&["commit", "-q", "-m", "a", "a"][..], &["commit", "-q", "-a", "-m", "a"][..]] {
        let ran = repo.git(how);
        assert!(ran.code == Some(1) && ran.err.contains("/a: bob"), "{ran:?}");
    }
    // From a directory further down, with paths that are shown from there.
    repo.git(&["config", "diff.relative", "true"]).ok();
    fs::create_dir(repo.dir.join("sub")).unwrap();
    repo.git(&["add", "a"]).ok();
    let ran = repo.git_in(&repo.dir.join("sub"), &["commit", "-q", "-m", "a"]);
    assert!(ran.code == Some(1) && ran.err.contains("/a: bob"), "{ran:?}");
}

#[test]
fn the_first_commit_is_guarded_too() {
    let mesh = Mesh::unlimited();
    let repo = Repo { dir: mesh.work(), mesh };
    repo.git(&["init", "-q"]).ok();
    repo.guard(&repo.dir, "install").ok();
    repo.mesh.start();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("a", "1");
    bob.lock(&repo.path("a"), None, 5);
    repo.git(&["add", "-A"]).ok();
    let ran = repo.git(&["commit", "-q", "-m", "x"]);
    assert!(ran.code == Some(1) && ran.err.contains("/a: bob"), "{ran:?}");
}

#[test]
fn ones_own_locks_are_no_hindrance() {
    let repo = Repo::guarded();
    repo.write("a", "1");
    // A person's: they are those of `cli`.
    repo.mesh.run(&format!("lock acquire {}", repo.path("a"))).ok();
    repo.allowed();
    // An agent's: this process is the agent, and git runs below it.
    let mut alice = Session::new(&repo.mesh, "alice", None, Some(std::process::id()));
    repo.write("a", "2");
    repo.refused("/a: cli");
    repo.mesh.run(&format!("lock release {}", repo.path("a"))).ok();
    alice.lock(&repo.path("a"), None, 5);
    repo.allowed();
}

/// Where a subagent is a session of its own, as in Codex, it commits what its session edits, too.
#[test]
fn the_locks_of_its_session_are_no_hindrance_to_a_subagent() {
    let repo = Repo::new();
    repo.mesh.start();
    let variables = [("CODEX_THREAD_ID", "x1"), ("CODEX_SESSION_ID", "s-1")];
    let mut shell = StandIn::new(&repo.mesh, "codex", &["app-server"], &variables);
    let session = |name: &str, id: &str, shell: &StandIn| {
        Session::of_type(&repo.mesh, name, "codex", Some(id), Some(shell.pid()))
    };
    for name in ["a", "b"] {
        repo.write(name, "1");
        repo.git(&["add", name]).ok();
    }
    let mut alice = session("alice", "s-1", &shell);
    alice.lock(&repo.path("a"), None, 5);
    shell.mesh("guard check").ok();
    let mut sub = session("sub", "x1", &shell);
    sub.lock(&repo.path("b"), None, 5);
    shell.mesh("guard check").ok();
    let variables = [("CODEX_THREAD_ID", "s-2"), ("CODEX_SESSION_ID", "s-2")];
    let mut other = StandIn::new(&repo.mesh, "codex", &["app-server"], &variables);
    let _other = session("other", "s-2", &other);
    let ran = other.mesh("guard check --json");
    assert_eq!(ran.json()["locks"].as_array().unwrap().len(), 2, "{ran:?}");
}

#[test]
fn the_commit_of_a_merge_is_allowed() {
    let repo = Repo::guarded();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("a", "1\n");
    repo.allowed();
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    repo.write("a", "side\n");
    repo.allowed();
    repo.git(&["checkout", "-q", "main"]).ok();
    repo.write("a", "main\n");
    repo.allowed();
    bob.lock(&repo.path("a"), None, 5);
    assert_eq!(repo.git(&["merge", "-q", "side"]).code, Some(1));
    repo.write("a", "both\n");
    // With a conflict resolved, git runs this hook.
    repo.git(&["commit", "-q", "-a", "--no-edit"]).ok();
    repo.write("a", "more\n");
    repo.refused("/a: bob");
}

#[test]
fn without_broker_program_or_peace_nothing_is_refused() {
    let repo = Repo::guarded();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("a", "1");
    bob.lock(&repo.path("a"), None, 5);
    repo.refused("a");
    // One that does not answer.
    let pid = repo.mesh.broker_pid().unwrap();
    crate::common::send_signal(pid, "STOP");
    repo.allowed();
    crate::common::send_signal(pid, "CONT");
    repo.write("a", "2");
    repo.refused("a");
    repo.mesh.kill_broker();
    repo.allowed();
    assert_eq!(repo.mesh.broker_pid(), None);
    // A program that is gone, and one that fails.
    let hook = fs::read_to_string(repo.hook()).unwrap();
    let installed = fs::canonicalize(env!("CARGO_BIN_EXE_slm-mesh")).unwrap();
    let fails = repo.mesh.home().join("fails");
    fs::write(&fails, "#!/bin/sh\nexit 101\n").unwrap();
    fs::set_permissions(&fails, PermissionsExt::from_mode(0o755)).unwrap();
    for program in ["/no/such/program", fails.to_str().unwrap(), "/dev/null"] {
        let other = hook.replace(installed.to_str().unwrap(), program);
        assert_ne!(other, hook);
        fs::write(repo.hook(), other).unwrap();
        repo.write("a", program);
        repo.allowed();
    }
}

#[test]
fn a_hook_that_was_there_is_run_first_and_comes_back_as_it_was() {
    let repo = Repo::new();
    let text = repo.other_hook(0);
    let said = repo.guard(&repo.dir, "install").ok();
    assert!(said.contains("run first"), "{said}");
    assert_eq!(fs::read(repo.kept()).unwrap(), text);
    repo.mesh.start();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("a", "1");
    bob.lock(&repo.path("a"), None, 5);
    repo.refused("a");
    assert_eq!(repo.runs(), 1);
    // Again, from elsewhere in the repository: nothing changes.
    let installed = fs::read(repo.hook()).unwrap();
    fs::create_dir(repo.dir.join("sub")).unwrap();
    assert!(repo.guard(&repo.dir.join("sub"), "install").ok().contains("already"));
    assert_eq!(fs::read(repo.hook()).unwrap(), installed);

    assert!(repo.guard(&repo.dir, "uninstall").ok().contains("as it was before"));
    assert_eq!(fs::read(repo.hook()).unwrap(), text);
    let mode = fs::metadata(repo.hook()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o751);
    assert!(!is_there(repo.kept()));
    assert!(repo.guard(&repo.dir, "uninstall").ok().contains("no guard"));
    assert_eq!(fs::read(repo.hook()).unwrap(), text);
    assert_eq!(
        fs::read_dir(repo.hook().parent().unwrap())
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("pre-commit"))
            .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".sample"))
            .count(),
        1
    );
}

#[test]
fn the_answer_of_the_first_hook_counts() {
    let repo = Repo::new();
    repo.other_hook(7);
    repo.guard(&repo.dir, "install").ok();
    repo.write("a", "1");
    repo.git(&["add", "-A"]).ok();
    assert_eq!(repo.git(&["commit", "-q", "-m", "x"]).code, Some(1));
    assert_eq!((repo.runs(), repo.commits()), (1, 1));
    // One that git would not have run is not run now.
    fs::set_permissions(repo.kept(), PermissionsExt::from_mode(0o644)).unwrap();
    repo.git(&["commit", "-q", "-m", "x"]).ok();
    assert_eq!((repo.runs(), repo.commits()), (1, 2));
}

#[test]
fn a_link_that_was_the_hook_is_one_again() {
    let repo = Repo::new();
    repo.other_hook(0);
    fs::rename(repo.hook(), repo.dir.join("hook.sh")).unwrap();
    symlink("../../hook.sh", repo.hook()).unwrap();
    repo.guard(&repo.dir, "install").ok();
    repo.write("a", "1");
    repo.allowed();
    assert_eq!(repo.runs(), 1);
    repo.guard(&repo.dir, "install --uninstall").ok();
    assert_eq!(fs::read_link(repo.hook()).unwrap(), Path::new("../../hook.sh"));
}

#[test]
fn all_working_trees_of_a_repository_are_guarded() {
    let repo = Repo::new();
    let tree = repo.mesh.home().join("tree");
    repo.git(&["worktree", "add", "-q", tree.to_str().unwrap()]).ok();
    let said = repo.guard(&tree, "install --json").json();
    assert_eq!(Path::new(said["hook"].as_str().unwrap()), repo.hook());
    repo.mesh.start();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    let file = tree.join("a");
    fs::write(&file, "1").unwrap();
    bob.lock(file.to_str().unwrap(), None, 5);
    repo.git_in(&tree, &["add", "a"]).ok();
    let ran = repo.git_in(&tree, &["commit", "-q", "-m", "x"]);
    assert!(ran.code == Some(1) && ran.err.contains("a: bob"), "{ran:?}");
    // The same name in another tree is another file.
    repo.write("a", "1");
    repo.allowed();
    assert!(repo.guard(&repo.dir, "uninstall").ok().contains("gone"));
    assert!(!is_there(repo.hook()));
}

#[test]
fn hooks_may_lie_elsewhere() {
    let repo = Repo::new();
    repo.git(&["config", "core.hooksPath", "tools/git hooks"]).ok();
    fs::create_dir(repo.dir.join("sub")).unwrap();
    repo.guard(&repo.dir.join("sub"), "install").ok();
    assert!(is_there(repo.dir.join("tools/git hooks/pre-commit")));
    assert!(!is_there(repo.hook()));
    repo.mesh.start();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("a", "1");
    bob.lock(&repo.path("a"), None, 5);
    repo.refused("a");
    repo.git(&["config", "core.hooksPath", ".husky/_"]).ok();
    let err = repo.guard(&repo.dir, "install").fails(1);
    assert!(err.contains("Husky") && err.contains("guard check --quiet"), "{err}");
}

#[test]
fn working_trees_with_hooks_of_their_own_are_named() {
    let repo = Repo::new();
    let tree = repo.mesh.home().join("tree");
    repo.git(&["worktree", "add", "-q", tree.to_str().unwrap()]).ok();
    repo.git(&["config", "core.hooksPath", "hooks"]).ok();
    let states = || {
        let told = repo.guard(&repo.dir, "status --json").json();
        let trees = told["worktrees"].as_array().unwrap().iter();
        let words: Vec<&str> = trees.map(|it| it["state"].as_str().unwrap()).collect();
        (words.join(" "), told["guarded"] == true)
    };
    assert_eq!(states(), ("none none".to_owned(), false));
    assert!(repo.mesh.run("doctor").out.contains("are not guarded"));
    let said = repo.guard(&repo.dir, "install").ok();
    assert!(said.contains("tree: not guarded") && said.contains("in each of them"), "{said}");
    assert_eq!(states(), ("guarded none".to_owned(), false));
    let unreached = repo.guard(&repo.dir, "install --json").json()["unreached"].clone();
    assert_eq!(unreached[0]["worktree"], tree.to_str().unwrap());
    assert_eq!(unreached[0]["hook"], tree.join("hooks/pre-commit").to_str().unwrap());
    let said = repo.guard(&tree, "install").ok();
    assert!(!said.contains("does not reach"), "{said}");
    assert_eq!(states(), ("guarded guarded".to_owned(), true));
    assert!(repo.mesh.run("doctor").out.contains("guarded in 2 working trees"));
    // What keeps a guard from running is told.
    let hook = tree.join("hooks/pre-commit");
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(states(), ("guarded broken".to_owned(), false));
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    assert_eq!(states(), ("guarded other".to_owned(), false));
    assert!(repo.guard(&repo.dir, "status").ok().contains("another hook"));
    // One that has gone is not there to be guarded.
    fs::remove_dir_all(&tree).unwrap();
    assert_eq!(states(), ("guarded".to_owned(), true));
}

#[test]
fn hooks_of_all_repositories_are_written_to_only_when_asked() {
    let repo = Repo::new();
    let hooks = repo.mesh.home().join("all hooks");
    repo.git(&["config", "--global", "core.hooksPath", hooks.to_str().unwrap()]).ok();
    let err = repo.guard(&repo.dir, "install").fails(1);
    assert!(err.contains("(global)") && err.contains("`--global`"), "{err}");
    assert!(!is_there(&hooks) && !is_there(repo.hook()));
    repo.guard(&repo.dir, "install --global").ok();
    assert!(is_there(hooks.join("pre-commit")));
    assert!(repo.guard(&repo.dir, "status").ok().contains("of all repositories"));
    repo.mesh.start();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("a", "1");
    bob.lock(&repo.path("a"), None, 5);
    repo.refused("a");
    repo.guard(&repo.dir, "uninstall").ok();
    assert!(!is_there(hooks.join("pre-commit")));
    // The way out that the refusal names, which reaches every working tree.
    let tree = repo.mesh.home().join("tree");
    repo.git(&["worktree", "add", "-q", tree.to_str().unwrap()]).ok();
    let own = repo.hook().parent().unwrap().to_str().unwrap().to_owned();
    for dir in [&repo.dir, &tree] {
        let err = repo.guard(dir, "install").fails(1);
        assert!(err.contains(&format!("`git config core.hooksPath '{own}'`")), "{err}");
    }
    repo.git(&["config", "core.hooksPath", &own]).ok();
    let said = repo.guard(&tree, "install").ok();
    assert!(is_there(repo.hook()) && !said.contains("does not reach"), "{said}");
}

#[test]
fn a_lock_on_the_file_in_all_working_trees_is_seen_in_each() {
    let repo = Repo::guarded();
    let tree = repo.mesh.home().join("tree");
    repo.git(&["worktree", "add", "-q", tree.to_str().unwrap()]).ok();
    repo.write("src/a", "1");
    fs::write(tree.join("free"), "1").unwrap();
    fs::write(tree.join("b"), "1").unwrap();
    // Another repository has the same path.
    let other = repo.mesh.home().join("other");
    fs::create_dir(&other).unwrap();
    repo.git_in(&other, &["init", "-q"]).ok();
    repo.guard(&other, "install").ok();
    fs::write(other.join("b"), "1").unwrap();

    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    let repo_id = repo.path(".git");
    for path in ["repo:src/**", "repo:b"] {
        let ask = Request::Lock(LockFile {
            path: LockPath {
                git: GitPlace {
                    repo_id: Some(repo_id.as_str().into()),
                    git_root: Some(repo.dir.to_str().unwrap().into()),
                    ..GitPlace::default()
                },
                ..LockPath::of(path)
            },
            ..LockFile::default()
        });
        bob.client.call_bytes(&ask).unwrap();
    }
    repo.refused("repo:src/**: bob");
    repo.git_in(&tree, &["add", "b"]).ok();
    let ran = repo.git_in(&tree, &["commit", "-q", "-m", "x"]);
    assert!(ran.code == Some(1) && ran.err.contains("repo:b: bob"), "{ran:?}");
    repo.git_in(&tree, &["reset", "-q", "b"]).ok();
    repo.git_in(&tree, &["add", "free"]).ok();
    repo.git_in(&tree, &["commit", "-q", "-m", "x"]).ok();
    repo.git_in(&other, &["add", "b"]).ok();
    repo.git_in(&other, &["commit", "-q", "-m", "x"]).ok();
}

#[test]
fn what_others_have_changed_is_left_alone() {
    let repo = Repo::new();
    repo.guard(&repo.dir, "install").ok();
    let mut text = fs::read(repo.hook()).unwrap();
    text.extend(b"make lint\n");
    fs::write(repo.hook(), &text).unwrap();
    for line in ["install", "uninstall"] {
        let err = repo.guard(&repo.dir, line).fails(1);
        assert!(err.contains("changes that are not its own"), "{err}");
        assert_eq!(fs::read(repo.hook()).unwrap(), text);
    }
    fs::remove_file(repo.hook()).unwrap();
    // Another hook was put over the guard, which had kept one.
    repo.other_hook(0);
    repo.guard(&repo.dir, "install").ok();
    let text = repo.other_hook(1);
    assert!(repo.guard(&repo.dir, "install").fails(1).contains("keep one of them"));
    assert_eq!(fs::read(repo.hook()).unwrap(), text);
}

#[test]
fn the_guard_follows_its_program_and_its_mesh() {
    let repo = Repo::new();
    repo.guard(&repo.dir, "install").ok();
    let here = fs::read_to_string(repo.hook()).unwrap();
    fs::write(repo.hook(), here.replace("/slm-mesh'", "/old/slm-mesh'")).unwrap();
    repo.guard(&repo.dir, "install").ok();
    assert_eq!(fs::read_to_string(repo.hook()).unwrap(), here);
    let other = repo.mesh.home().join("it's mine");
    let install = ["guard", "install", "--data-dir", other.to_str().unwrap()];
    repo.mesh.run_words(install).ok();
    let text = fs::read_to_string(repo.hook()).unwrap();
    assert!(text.contains("/it'\\''s mine'\n"), "{text}");
    repo.write("a", "1");
    repo.allowed();
    assert!(!is_there(&other));
}

#[test]
fn check_tells_people_and_scripts() {
    let repo = Repo::new();
    let check = |line: &str| repo.guard(&repo.dir, line);
    assert!(check("check").ok().contains("Nobody else has locked"));
    assert_eq!(check("check --quiet").ok(), "");
    repo.mesh.start();
    let mut bob = Session::new(&repo.mesh, "bob", None, None);
    repo.write("a", "1");
    repo.git(&["add", "a"]).ok();
    bob.lock(&repo.path("a"), Some("why"), 5);
    let ran = check("check --json");
    assert_eq!(ran.code, Some(1));
    let json = ran.json();
    assert_eq!((&json["ok"], &json["code"]), (&Value::from(false), &Value::from("locked")));
    assert_eq!(json["locks"][0]["lockedByName"], "bob");
    bob.unlock(&repo.path("a"));
    assert_eq!(check("check --json").json()["locks"], Value::Array(Vec::new()));
    // Outside of a repository there is nothing to put a hook into.
    let err = repo.guard(&repo.mesh.home(), "install").fails(1);
    assert!(err.contains("not a git repository"), "{err}");
    for (line, words) in [
        ("", "one of install, uninstall, check, status is missing"),
        ("instal", "did you mean `install`?"),
        ("install --quiet", "`--quiet` belongs to `check`"),
        ("install more", "unexpected word"),
    ] {
        let err = repo.guard(&repo.dir, line).fails(2);
        assert!(err.contains(words), "{line}: {err}");
    }
}
