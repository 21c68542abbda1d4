//! The scripts of `slm-mesh completions`, run in their shells: they complete what there is just now.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::screen::Screen;
use crate::common::{Mesh, Ran, not_tested};

/// A mesh with a peer `bob`, who has written to the person, and an entry `port`. Gives the handle of
/// the message.
fn mesh() -> (Mesh, String) {
    let mesh = Mesh::new();
    mesh.register("bob");
    let sent = mesh.run("send cli hello --from bob --json").json();
    mesh.run("state set port 3000").ok();
    let handle = sent["handle"].as_str().unwrap().to_owned();
    (mesh, handle)
}

/// A shell in whose path the program is; none if it is not installed, which is said.
fn shell(mesh: &Mesh, name: &str) -> Option<Command> {
    let version = Command::new(name).arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        not_tested(&format!("completion in {name}, which is not installed"));
        return None;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_slm-mesh")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = mesh.command_of(name);
    command.env("PATH", path);
    Some(command)
}

#[test]
fn the_words_are_those_of_just_now() {
    let mesh = Mesh::new();
    assert_eq!(mesh.run("completions words -- send b").ok(), "", "no broker is started");
    assert_eq!(mesh.broker_pid(), None);
    let (mesh, handle) = self::mesh();
    assert_eq!(mesh.run("completions words -- send b").ok(), "bob\ttest\n");
    assert!(mesh.run("completions words -- state get p").ok().starts_with("port\t"));
    let reply = format!("completions words -- reply {}", &handle[..1]);
    assert!(mesh.run(&reply).ok().contains(&format!("{handle}\tbob: hello\n")));
}

#[test]
fn bash_completes() {
    let (mesh, handle) = mesh();
    let Some(mut bash) = shell(&mesh, "bash") else { return };
    let script = format!(
        "source <(slm-mesh completions bash)
         for line in 'send bo' 'state get p' 'reply {}' 'pee' 'lock acquire x --tt'; do
           COMP_WORDS=(slm-mesh $line); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
           _slm_mesh; echo \"${{COMPREPLY[@]}}\"
         done",
        &handle[..2]
    );
    let ran: Ran = bash.args(["--norc", "-c", &script]).output().unwrap().into();
    assert_eq!(ran.ok(), format!("bob\nport\n{handle}\npeers\n--ttl\n"));
}

#[test]
fn fish_completes() {
    let (mesh, handle) = mesh();
    let Some(mut fish) = shell(&mesh, "fish") else { return };
    let script = format!(
        "slm-mesh completions fish | source
         for line in 'send bo' 'state get p' 'reply {}' 'pee' 'lock acquire x --tt'
           complete -C \"slm-mesh $line\"
         end",
        &handle[..2]
    );
    let ran: Ran = fish.args(["--no-config", "-c", &script]).output().unwrap().into();
    let out = ran.ok();
    let words: Vec<&str> = out.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["bob", "port", &handle, "peers", "--ttl"], "{out}");
    assert!(out.contains("bob\ttest\n"), "with what it is: {out}");
}

#[test]
fn zsh_completes() {
    let (mesh, handle) = mesh();
    // Both ways in: sourced, and as a file in the path of functions.
    let functions = mesh.home().join("functions");
    std::fs::create_dir(&functions).unwrap();
    let script = mesh.run("completions zsh").ok();
    std::fs::write(functions.join("_slm-mesh"), script).unwrap();
    for begin in [
        "autoload -U compinit && compinit -D -u && source <(slm-mesh completions zsh)",
        "fpath+=(~/functions) && autoload -U compinit && compinit -D -u",
    ] {
        let Some(mut zsh) = shell(&mesh, "zsh") else { return };
        zsh.args(["-f", "-i"]);
        let screen = Screen::new(80, 24);
        let _shell = screen.start(zsh);
        screen.type_keys(&format!("PS1='% '; unsetopt beep; {begin}; print rea''dy\n"));
        screen.wait_for("\nready");
        for (typed, whole) in [
            ("send bo".to_owned(), "send bob".to_owned()),
            ("state get po".to_owned(), "state get port".to_owned()),
            (format!("reply {}", &handle[..3]), format!("reply {handle}")),
            ("lock acquire x --tt".to_owned(), "lock acquire x --ttl".to_owned()),
        ] {
            screen.type_keys(&format!("slm-mesh {typed}\t"));
            screen.wait_for(&format!("slm-mesh {whole}"));
            // Ctrl-U: an empty line again.
            screen.type_keys("\u{15}");
            screen.wait("an empty line", |text| !text.contains(&format!("slm-mesh {whole}")));
        }
    }
}

#[test]
fn the_man_page_is_one() {
    let page = Mesh::new().run("completions man").ok();
    assert!(page.starts_with(".TH SLM\\-MESH 1 "), "{page}");
}
