//! An agent's process as others see it: a shell under the agent's name, which runs what it is told to.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::{Mesh, Ran, is_there};

/// See the module. It ends with its input.
pub struct StandIn {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    dir: PathBuf,
    count: u32,
}

impl StandIn {
    /// A process that is called `name`, with these words behind its own and these variables, in the
    /// working directory of `mesh`.
    pub fn new(mesh: &Mesh, name: &str, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let program = mesh.home().join(name);
        if !is_there(&program) {
            symlink(Path::new("/bin/sh").canonicalize().unwrap(), &program).unwrap();
        }
        let mut command = mesh.command_of(&program);
        command.args(["-c", "while read -r line; do eval \"$line\"; done"]).args(words);
        command.envs(variables.iter().copied()).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout, dir: mesh.home(), count: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a line of shell, with something on its standard input, to its end.
    pub fn run(&mut self, line: &str, input: &str) -> Ran {
        self.count += 1;
        let file = |kind: &str| self.dir.join(format!("{}-{}.{kind}", self.pid(), self.count));
        let (given, out, err) = (file("in"), file("out"), file("err"));
        std::fs::write(&given, input).unwrap();
        let line = format!(
            "{{ {line}; }} <'{}' >'{}' 2>'{}'; echo $?\n",
            given.display(),
            out.display(),
            err.display()
        );
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut code = String::new();
        self.stdout.read_line(&mut code).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        Ran { code: code.trim().parse().ok(), out: read(&out), err: read(&err) }
    }

    /// Runs the binary with these words.
    pub fn mesh(&mut self, words: &str) -> Ran {
        self.run(&format!("'{}' {words}", env!("CARGO_BIN_EXE_slm-mesh")), "")
    }

    /// Runs the hook of `agent`.
    pub fn hook(&mut self, agent: &str, input: &serde_json::Value) -> Ran {
        let line = format!("'{}' hook {agent}", env!("CARGO_BIN_EXE_slm-mesh"));
        self.run(&line, &input.to_string())
    }

    /// Ends it.
    pub fn end(mut self) {
        self.stdin = None;
        self.child.wait().unwrap();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
