//! Machines on a network of their own: each is a network namespace with its own processes and its own
//! files under [`DIR`], and a bridge joins them.
//!
//! A namespace lives as long as its first process, a `cat` whose input is a pipe from here. However
//! the test ends, the pipe is closed, `cat` ends, and the kernel ends all that runs there and takes
//! away the network with it.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use slm_mesh::config::{DATA_DIR, PORT};

use super::agent::Agent;
use super::{Ran, eventually, not_tested, wait_until};

/// What each machine has for itself, under the same path.
pub const DIR: &str = "/mnt";

/// A namespace, until it is dropped.
struct Space {
    child: Child,
    /// The process that holds it, as seen from here.
    pid: u32,
}

impl Space {
    fn new() -> Result<Self, String> {
        let words = "--net --mount --uts --pid --fork --kill-child --mount-proc cat";
        let mut child = Command::new("unshare")
            .args(words.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare cannot be run: {error}"))?;
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = eventually("a namespace is made", || {
            if child.try_wait().unwrap().is_some() {
                return Some(None);
            }
            let pid = std::fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (name.trim() == "cat").then_some(Some(pid))
        });
        let Some(pid) = pid else {
            let mut why = String::new();
            child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            return Err(why.trim().to_owned());
        };
        Ok(Self { child, pid })
    }

    /// A program, about to be run there.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-n", "-m", "-u", "-p", "--"]).arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the words between spaces to their end.
    fn run(&self, line: &str) -> Result<String, String> {
        let mut words = line.split_whitespace();
        let output = self.command(words.next().unwrap()).args(words).output();
        let output = output.map_err(|error| format!("nsenter cannot be run: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A machine.
pub struct Host {
    space: Space,
    number: usize,
    /// More variables in the environment of what runs on it.
    pub settings: Vec<(&'static str, String)>,
}

impl Host {
    /// Its address.
    pub fn address(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// A program, about to be run on it, with nothing in its environment but a mesh under [`DIR`].
    pub fn command_of(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.space.command(program);
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .envs([("HOME", DIR), (DATA_DIR, &format!("{DIR}/mesh")), (PORT, "0")])
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir("/");
        command
    }

    /// An agent in this directory of it.
    pub fn agent_in(&self, dir: &str) -> Agent {
        let mut command = self.command_of("sh");
        command.args(["-c", "cd \"$1\" && exec \"$0\" mcp", env!("CARGO_BIN_EXE_slm-mesh"), dir]);
        let child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut agent = Agent::of(child);
        agent.initialize();
        agent
    }

    /// Runs a line of the shell there; what it prints.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        let output = self.space.command("sh").args(["-c", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Kills what serves its mesh, and waits until it is gone.
    pub fn kill_server(&self) {
        let pid = self.read(&format!("{DIR}/mesh/broker.pid"));
        let pid = pid.trim();
        self.sh(&format!("kill -9 {pid}"));
        wait_until("it is gone", || !self.file(&format!("/proc/{pid}/exe")).exists());
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file(&format!("{DIR}/mesh/broker.log"))).unwrap_or_default()
    }

    /// The binary, about to be run on it.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command_of(env!("CARGO_BIN_EXE_slm-mesh"));
        command.args(arguments);
        command
    }

    /// Runs the binary to its end; the words are those between spaces.
    pub fn run(&self, line: &str) -> Ran {
        self.command(line.split_whitespace()).output().unwrap().into()
    }

    /// Where a file of it is, as seen from here.
    pub fn file(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.space.pid).into()
    }

    /// What a file says there.
    pub fn read(&self, path: &str) -> String {
        self.space.run(&format!("cat {path}")).unwrap()
    }

    /// How many packets it has sent to others.
    pub fn packets_sent(&self) -> u64 {
        let devices = self.read("/proc/net/dev");
        let device = devices.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
        // Eight columns of what was received, of which the first two are bytes and packets; then the
        // same of what was sent: proc_net(5).
        device.split_whitespace().nth(9).unwrap().parse().unwrap()
    }
}

/// Machines that reach each other.
pub struct Net {
    switch: Space,
    pub hosts: Vec<Host>,
}

impl Net {
    /// So many machines. `None` where none can be made, which is said, and a failure if
    /// `NOT_TESTED_IS_FAILURE` is set.
    pub fn of(hosts: usize) -> Option<Self> {
        match Self::made(hosts) {
            Ok(net) => Some(net),
            Err(why) => {
                not_tested(&format!("several machines on a network: {why}"));
                None
            }
        }
    }

    fn made(hosts: usize) -> Result<Self, String> {
        let switch = Space::new()?;
        switch.run("ip link add switch type bridge")?;
        switch.run("ip link set switch up")?;
        let mut net = Self { switch, hosts: Vec::new() };
        for number in 1..=hosts {
            let host = Host { space: Space::new()?, number, settings: Vec::new() };
            let pid = host.space.pid;
            // The kernel sends packets of its own for IPv6, whenever it likes.
            host.space.run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1")?;
            host.space.run("sysctl -q -w net.ipv6.conf.default.disable_ipv6=1")?;
            // Directly: a device of another namespace is named by its process, whose number here is
            // another there.
            let line =
                format!("link add port{number} type veth peer name eth0 netns /proc/{pid}/ns/net");
            let made = Command::new("nsenter")
                .args(["-t", &net.switch.pid.to_string(), "-n", "--", "ip"])
                .args(line.split(' '))
                .output()
                .map_err(|error| error.to_string())?;
            if !made.status.success() {
                return Err(String::from_utf8_lossy(&made.stderr).trim().to_owned());
            }
            net.switch.run(&format!("ip link set port{number} master switch up"))?;
            host.space.run(&format!("sysctl -q -w kernel.hostname=host{number}"))?;
            host.space.run("ip link set lo up")?;
            host.space.run("ip link set eth0 up")?;
            host.space.run(&format!("ip address add {}/24 dev eth0", host.address()))?;
            host.space.run(&format!("mount -t tmpfs tmpfs {DIR}"))?;
            net.hosts.push(host);
        }
        Ok(net)
    }

    /// Pulls the cable of a machine.
    pub fn pull(&self, host: usize) {
        self.switch.run(&format!("ip link set port{} down", host + 1)).unwrap();
    }

    /// Puts it back.
    pub fn plug(&self, host: usize) {
        self.switch.run(&format!("ip link set port{} up", host + 1)).unwrap();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in &self.hosts {
                eprintln!("the log of machine {}:\n{}", host.number, host.log());
            }
        }
    }
}
