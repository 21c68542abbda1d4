//! The Python client against this build's binary: its own tests, run by the machine's Python.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest Python that the client runs on; `requires-python` in `python/pyproject.toml`.
const OLDEST: (u32, u32) = (3, 10);
/// Names under which a Python may be found, if `PYTHON` does not name one.
const NAMES: [&str; 6] =
    ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
/// Names the Python to test with; then it has to be there.
const PYTHON: &str = "PYTHON";

/// What a Python says of its version; none if there is none under that name.
fn version(python: &str) -> Option<(u32, u32)> {
    let words = ["-c", "import sys; print(*sys.version_info[:2])"];
    let output = Command::new(python).args(words).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A Python to test with. `None` where there is none: whoever builds the program needs none, so
/// that is told and no failure.
fn python() -> Option<String> {
    if let Some(asked) = std::env::var(PYTHON).ok().filter(|asked| !asked.is_empty()) {
        let found = version(&asked);
        assert!(
            found.is_some_and(|version| version >= OLDEST),
            "{PYTHON} is {asked}, which is no Python {}.{} or later",
            OLDEST.0,
            OLDEST.1,
        );
        return Some(asked);
    }
    let fits = |name: &&&str| version(name).is_some_and(|version| version >= OLDEST);
    if let Some(found) = NAMES.iter().find(fits) {
        return Some((*found).to_owned());
    }
    // Not with `eprintln`, which is shown for tests that fail only.
    let told = writeln!(
        std::io::stderr().lock(),
        "NOT TESTED: the Python client, as no Python {}.{} or later was found ({}); install one \
         (on Debian and Ubuntu: apt-get install python3) or name one with {PYTHON}",
        OLDEST.0,
        OLDEST.1,
        NAMES.join(", "),
    );
    told.unwrap();
    None
}

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

fn run(module: &str, tests_min: u32) {
    let Some(python) = python() else { return };
    let output = Command::new(python)
        .args(["-W", "error::SyntaxWarning", "-m", "unittest", "--verbose", module])
        .current_dir(package().join("tests"))
        .env("PYTHONPATH", package().join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SLM_MESH_TEST_BIN", env!("CARGO_BIN_EXE_slm-mesh"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{module}:\n{said}");
    for line in said.lines().filter(|line| line.contains("NOT TESTED")) {
        writeln!(std::io::stderr().lock(), "{line}").unwrap();
    }
    // Tests that were not found are no tests that pass.
    let count: u32 = said
        .lines()
        .find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok())
        .unwrap_or_default();
    assert!(count >= tests_min, "{module} has run {count} tests:\n{said}");
}

#[test]
fn the_client_reads_and_writes_what_the_broker_does() {
    run("test_wire", 10);
}

#[test]
fn calls_do_what_they_say() {
    run("test_client", 10);
}

#[test]
fn sessions_keep_their_promises() {
    run("test_session", 10);
}

#[test]
fn asyncio_has_all_of_it() {
    run("test_async", 10);
}

#[test]
fn programs_for_the_package_that_the_field_knows_run() {
    run("test_original", 2);
}

#[test]
fn the_client_for_threads_is_made_from_the_one_for_asyncio() {
    let Some(python) = python() else { return };
    let script = package().join("generate.py");
    let status = Command::new(python).arg(script).arg("--check").status().unwrap();
    assert!(status.success(), "python/generate.py has to be run");
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let text = std::fs::read_to_string(package().join("src/slm_mesh/_version.py")).unwrap();
    assert!(text.contains(&format!("__version__ = \"{}\"", env!("CARGO_PKG_VERSION"))), "{text}");
}

#[test]
fn the_package_carries_the_licences_of_the_project() {
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
        assert!(read(&package()) == read(Path::new(env!("CARGO_MANIFEST_DIR"))), "{name}");
    }
}
