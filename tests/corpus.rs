//! Replays the committed corpora of the fuzz targets, so that what a fuzzer has found once stays
//! fixed for those who run none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "shown only if a test fails")]

use std::fs;
use std::path::Path;

use slm_mesh::wire::fuzzing;

#[path = "../fuzz/mesh_session.rs"]
mod mesh_session;

/// Runs `target` on each file of its corpus, in the order of their names.
fn replay(name: &str, target: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the corpus in {} is not complete", dir.display());
    for file in files {
        // Tells which one it was if the target panics.
        println!("{}", file.display());
        target(&fs::read(&file).unwrap());
    }
}

#[test]
fn http_request() {
    replay("http_request", fuzzing::http_request);
}

#[test]
fn http_response() {
    replay("http_response", fuzzing::http_response);
}

#[test]
fn ndjson() {
    replay("ndjson", fuzzing::ndjson);
}

#[test]
fn jsonrpc() {
    replay("jsonrpc", fuzzing::jsonrpc);
}

#[test]
fn frames() {
    replay("frames", fuzzing::frames);
}

#[test]
fn mesh() {
    replay("mesh", mesh_session::mesh);
}

#[test]
#[cfg(feature = "lan")]
fn between_machines() {
    use slm_mesh::lan::fuzzing;

    replay("upgrade", fuzzing::upgrade);
    replay("websocket", fuzzing::websocket);
    replay("invitation", fuzzing::invitation);
}
