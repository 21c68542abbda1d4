//! The data directory, and what was left in it.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Report;
use crate::api::PeersReply;
use crate::cli::clean;
use crate::cli::out::Out;
use crate::cli::text::{count, size};
use crate::config::Config;
use crate::data_dir;

/// Mode bits of group and others.
const OTHERS: u32 = 0o077;

/// Checks the directory before anything is created in it.
pub(super) fn data_dir(report: &mut Report, config: &Config, out: &Out) {
    const CHECK: &str = "data dir";
    let paths = &config.paths;
    let dir = paths.dir();
    let name = |path: &Path| out.path(&path.to_string_lossy());
    match (data_dir::check(paths), std::fs::metadata(dir)) {
        (Err(error), _) => {
            report.bad(CHECK, error.to_string(), "until then, nothing in it is believed");
        }
        (Ok(()), Ok(metadata)) => {
            let mode = metadata.mode() & 0o777;
            if mode & OTHERS != 0 {
                let text = format!("{} can be looked into by others (mode {mode:03o})", name(dir));
                report.note(CHECK, text, "the next start of the broker closes it");
            } else {
                report.ok(CHECK, format!("{}, mode {mode:03o}", name(dir)));
            }
        }
        (Ok(()), Err(_)) => {
            report.note(CHECK, format!("{} is new; the broker makes it", name(dir)), "");
            return;
        }
    }
    for path in [paths.token(), paths.db(), paths.mesh_id(), paths.machines(), paths.peers()] {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        let mode = metadata.mode() & 0o777;
        if mode & OTHERS != 0 && !metadata.is_symlink() {
            let text = format!("{} is open to others (mode {mode:03o})", name(&path));
            report.bad(CHECK, text, format!("close it: chmod go= {}", path.display()));
        }
    }
}

/// Free bytes on the disk that are too few, and that will soon be too few.
const DISK_BYTES_FULL: u64 = 1024 * 1024;
const DISK_BYTES_LOW: u64 = 64 * 1024 * 1024;

/// Checks whether there is room for what the broker writes.
pub(super) fn room(report: &mut Report, config: &Config) {
    const CHECK: &str = "disk";
    // Nothing is known about a directory that does not exist yet.
    let Ok(disk) = rustix::fs::statvfs(config.paths.dir()) else { return };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let text = format!("{} free for the data directory", size(free));
    if free < DISK_BYTES_FULL {
        report.bad(CHECK, text, "make room: soon nothing can be sent or set any more");
    } else if free < DISK_BYTES_LOW {
        report.note(CHECK, text, "make room, before it is full");
    } else {
        report.ok(CHECK, text);
    }
}

/// What dead brokers and peers have left behind.
pub(super) fn stale(report: &mut Report, config: &Config, live: Option<&PeersReply>, out: &Out) {
    const CHECK: &str = "files";
    let paths = &config.paths;
    let peers = live.map(|reply| &*reply.peers).unwrap_or_default();
    let live: HashSet<PathBuf> =
        peers.iter().filter_map(|peer| peer.uds_path.as_deref()).map(PathBuf::from).collect();
    let left = clean::left_by_peers(&paths.peers(), &live).unwrap_or_default();
    let number = u64::try_from(left.sockets.len() + left.tokens.len()).unwrap_or(u64::MAX);
    if number > 0 {
        let text = format!("{} of peers that are gone", count(number, "file", "files"));
        report.note(CHECK, text, "run `slm-mesh clean`");
    }
    let aside = moved_aside(paths.dir());
    if let Some(first) = aside.first() {
        let number = u64::try_from(aside.len()).unwrap_or(u64::MAX);
        let text = format!(
            "{} moved aside, such as {}",
            count(number, "database or journal was", "databases or journals were"),
            out.path(&first.to_string_lossy())
        );
        report.note(CHECK, text, "delete what you do not need");
    }
    if number == 0 && aside.is_empty() {
        report.ok(CHECK, "nothing is left behind");
    }
}

/// Databases and journals that could not be used.
fn moved_aside(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let of_db = ["mesh.db.", "mesh.db-turns."].iter().any(|of| {
                let why = name.strip_prefix(of);
                why.is_some_and(|it| {
                    ["damaged-", "foreign-", "npm-"].iter().any(|p| it.starts_with(p))
                })
            });
            of_db
                && !["-wal", "-shm", "-journal", "-turns", ".saved"]
                    .iter()
                    .any(|suffix| name.ends_with(suffix))
        })
        .collect();
    found.sort();
    found
}
