//! Facts about other processes, from `/proc` where there is one, else from `ps`.
//!
//! Each is `None` (or empty) if the process has ended or is not ours to see, and each may be out of
//! date when it is returned.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::files::read_bounded;
use crate::limits::{ANCESTORS_MAX, PROCESS_BYTES_MAX};

/// The ancestors of the process `pid`, its parent first, up to and including the first process
/// (1), at most [`ANCESTORS_MAX`].
#[must_use]
pub fn ancestors(pid: u32) -> Vec<u32> {
    if has_proc() {
        walk_up(pid, proc_parent)
    } else {
        let table = ps(&["-A", "-o", "pid=,ppid="]).map(|text| parse_parents(&text));
        let table = table.unwrap_or_default();
        walk_up(pid, |pid| table.iter().find(|(child, _)| *child == pid).map(|(_, parent)| *parent))
    }
}

/// The name of the program that the process `pid` runs, without its directory. Linux cuts it to 15
/// bytes, and a process may rename itself.
#[must_use]
pub fn command_name(pid: u32) -> Option<String> {
    let name = if has_proc() {
        lossy(&read_proc(pid, "comm")?)
    } else {
        // The path of the program on macOS.
        ps_about(pid, "comm=")?
    };
    let name = name.trim_end_matches('\n');
    let name = name.rsplit('/').next().unwrap_or(name);
    (!name.is_empty()).then(|| name.to_owned())
}

/// The arguments of the process `pid`, its program first. `ps` does not tell where one ends: there
/// it is each space.
#[must_use]
pub fn command_line(pid: u32) -> Option<Vec<String>> {
    let arguments: Vec<String> = if has_proc() {
        let bytes = read_proc(pid, "cmdline")?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        bytes.split(|&b| b == 0).map(lossy).collect()
    } else {
        ps_about(pid, "args=")?.split_whitespace().map(str::to_owned).collect()
    };
    // Empty for a process that has ended, and for threads of the kernel.
    arguments.iter().any(|argument| !argument.is_empty()).then_some(arguments)
}

/// The program file that the process `pid` runs. If it has been replaced since, as by an update, it
/// is the new one.
#[must_use]
pub fn executable(pid: u32) -> Option<PathBuf> {
    let path = if has_proc() {
        std::fs::read_link(format!("/proc/{pid}/exe")).ok()?
    } else {
        PathBuf::from(ps_about(pid, "comm=")?.trim_end())
    };
    if path.exists() {
        return Some(path);
    }
    // What proc(5) writes behind the name of a file that is no longer there.
    let bytes = path.as_os_str().as_bytes().strip_suffix(b" (deleted)")?;
    let path = PathBuf::from(OsStr::from_bytes(bytes));
    path.exists().then_some(path)
}

/// The processes of this machine that can be seen. `None` where the system does not list them in
/// files.
#[must_use]
pub fn processes() -> Option<Vec<u32>> {
    if !has_proc() {
        return None;
    }
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    Some(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// The working directory of the process `pid`. `None` also where the system does not tell.
#[must_use]
pub fn working_directory(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Whether the program of a process has been removed or replaced since it started. Where the system
/// does not tell, it has not.
#[must_use]
pub fn is_executable_replaced(pid: u32) -> bool {
    // proc(5): the name of a file that is no longer there ends with this.
    has_proc()
        && std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|path| path.as_os_str().as_bytes().ends_with(b" (deleted)"))
}

/// Whether the process `pid` is known to be in the same network as this one, so that its ports are
/// those of this process, too.
#[must_use]
pub fn shares_network(pid: u32) -> bool {
    if cfg!(not(target_os = "linux")) {
        // There is but one.
        return true;
    }
    // network_namespaces(7); it cannot be read of a process outside of one's own user namespace.
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    network("self").is_some_and(|own| network(&pid.to_string()) == Some(own))
}

/// A text that stays the same as long as the process `pid` lives, and differs for another that is
/// given its id later: when it was started.
#[must_use]
pub fn start_mark(pid: u32) -> Option<String> {
    if has_proc() {
        let stat = lossy(&read_proc(pid, "stat")?);
        stat_field(&stat, 22).map(str::to_owned)
    } else {
        let started = ps_about(pid, "lstart=")?;
        Some(started.split_whitespace().collect::<Vec<&str>>().join(" "))
    }
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

/// Follows `parent_of` from `pid`. A process id can be given away between two steps, so the chain
/// may close in on itself.
fn walk_up(pid: u32, parent_of: impl Fn(u32) -> Option<u32>) -> Vec<u32> {
    let mut chain = Vec::new();
    let mut current = pid;
    while chain.len() < ANCESTORS_MAX {
        match parent_of(current) {
            Some(parent) if parent != 0 && parent != pid && !chain.contains(&parent) => {
                chain.push(parent);
                current = parent;
            }
            _ => break,
        }
    }
    chain
}

fn proc_parent(pid: u32) -> Option<u32> {
    let stat = lossy(&read_proc(pid, "stat")?);
    stat_field(&stat, 4)?.parse().ok()
}

/// A field of `/proc/<pid>/stat`, numbered as in proc(5), from 3 on. The second is the name of the
/// program in parentheses, which may have spaces and parentheses of its own.
fn stat_field(stat: &str, number: usize) -> Option<&str> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(number.checked_sub(3)?)
}

fn read_proc(pid: u32, file: &str) -> Option<Vec<u8>> {
    read_bounded(Path::new(&format!("/proc/{pid}/{file}")), PROCESS_BYTES_MAX).ok()
}

fn ps_about(pid: u32, column: &str) -> Option<String> {
    ps(&["-o", column, "-p", &pid.to_string()])
}

fn ps(arguments: &[&str]) -> Option<String> {
    let output = Command::new("ps")
        .args(arguments)
        // Dates in one form; columns are not cut when the output is no terminal.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = lossy(&output.stdout);
    (output.status.success() && !text.trim().is_empty()).then_some(text)
}

/// Lines of a process id and its parent's.
fn parse_parents(text: &str) -> Vec<(u32, u32)> {
    let mut table = Vec::new();
    for line in text.lines() {
        let mut numbers = line.split_whitespace().map(str::parse);
        if let (Some(Ok(pid)), Some(Ok(parent))) = (numbers.next(), numbers.next()) {
            table.push((pid, parent));
        }
    }
    table
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::process::tests::sleeper;
    use super::*;

    #[test]
    fn ancestors_lead_from_the_parent_to_the_first_process() {
        let mut child = sleeper();
        let chain = ancestors(child.id());
        assert_eq!(chain[0], std::process::id());
        assert_eq!(chain[1..], ancestors(std::process::id()));
        assert_eq!(ancestors(std::process::id()).first().copied(), super::super::parent());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ancestors(child.id()).is_empty());
        assert!(ancestors(0).is_empty());
        assert!(ancestors(u32::MAX).is_empty());
    }

    #[test]
    fn walking_up_ends() {
        assert_eq!(walk_up(4, |pid| Some(pid - 1)), [3, 2, 1]);
        assert!(walk_up(1, |_| Some(0)).is_empty());
        assert!(walk_up(5, |_| None).is_empty());
        assert_eq!(walk_up(5, |pid| Some(if pid == 5 { 6 } else { 5 })), [6]);
        assert_eq!(walk_up(5, |pid| Some(if pid == 7 { 6 } else { 7 })), [7, 6]);
        assert!(walk_up(5, |_| Some(5)).is_empty());
        assert_eq!(walk_up(9, |pid| Some(pid + 1)).len(), ANCESTORS_MAX);
    }

    #[test]
    fn processes_are_described() {
        let mut child = sleeper();
        let pid = child.id();
        // Until it has become the other program it is a copy of this one.
        while command_line(pid).is_none_or(|line| line != ["sleep", "600"]) {
            std::thread::yield_now();
        }
        assert_eq!(command_name(pid).as_deref(), Some("sleep"));
        assert!(executable(pid).is_some_and(|path| path.is_absolute() && path.exists()));
        let mark = start_mark(pid).unwrap();
        assert_eq!(start_mark(pid).as_ref(), Some(&mark));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(command_line(pid), None);
        assert_eq!(command_name(pid), None);
        assert_eq!(executable(pid), None);
        assert_eq!(start_mark(pid), None);
        assert_eq!(executable(std::process::id()), std::env::current_exe().ok());
        assert!(shares_network(std::process::id()) && !shares_network(pid));
    }

    #[test]
    fn replaced_program_is_found_under_its_name() {
        let dir = crate::files::tests::TempDir::new();
        let program = dir.path().join("program");
        let sleep =
            ["/bin/sleep", "/usr/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
        std::fs::copy(sleep.unwrap(), &program).unwrap();
        let Ok(mut child) = Command::new(&program).arg("600").spawn() else { return };
        while executable(child.id()) != Some(program.clone()) {
            std::thread::yield_now();
        }
        std::fs::remove_file(&program).unwrap();
        assert_eq!(executable(child.id()), None);
        std::fs::write(&program, "").unwrap();
        assert_eq!(executable(child.id()), Some(program));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn stat_is_read_from_behind_the_name() {
        let stat = "12 (a) b ) R 7 12 3 0 -1 4194304 1 2 3 4 5 6 7 8 9 10 11 12 99887 13";
        assert_eq!(stat_field(stat, 3), Some("R"));
        assert_eq!(stat_field(stat, 4), Some("7"));
        assert_eq!(stat_field(stat, 22), Some("99887"));
        assert_eq!(stat_field(stat, 24), None);
        assert_eq!(stat_field(stat, 2), None);
        assert_eq!(stat_field("", 4), None);
        assert_eq!(stat_field("12 (x", 4), None);
    }

    #[test]
    fn table_of_parents_is_parsed() {
        let text = "    1     0\n  42     1\n\nnot a line\n 43 x\n 44\n45 42";
        assert_eq!(parse_parents(text), [(1, 0), (42, 1), (45, 42)]);
        assert_eq!(parse_parents(""), []);
    }

    #[test]
    fn ps_tells_the_same() {
        let us = std::process::id();
        let Some(text) = ps(&["-A", "-o", "pid=,ppid="]) else { return };
        let parent = super::super::parent().unwrap();
        assert!(parse_parents(&text).contains(&(us, parent)));
        assert!(ps_about(us, "lstart=").is_some());
        assert!(ps_about(us, "args=").is_some());
        assert!(ps_about(us, "comm=").is_some());
        assert_eq!(ps_about(u32::MAX, "comm="), None);
    }
}
