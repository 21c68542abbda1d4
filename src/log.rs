//! The log of broker and MCP server: one line each, to the standard error.
//!
//! `2026-04-08T10:30:01.123Z INFO  text`. A line is one line whatever is in it: control characters
//! are escaped, for names and paths in it come from others. It costs nothing if its level is off,
//! and it never waits: where the reader of a pipe has stopped reading, lines are dropped, and the next
//! one that gets through is preceded by their number.
//!
//! A broker in the background logs to a file ([`to_file`]), which is rotated. The log has no other
//! configuration, and nothing in the mesh reads it back.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::config::LogLevel;
use crate::files::open_regular;
use crate::limits::{LOG_BYTES_MAX, LOG_LINE_BYTES_MAX};
use crate::paths::Paths;
use crate::platform::{poll_writable, redirect_stderr};
use crate::text::is_harmful;

/// The least severe level that is logged, as a number.
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);
/// Where lines go.
static OUTPUT: Mutex<Output> = Mutex::new(Output { file: None, dropped: 0 });

/// Sets the least severe level that is logged; [`LogLevel::Info`] until then.
pub fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether lines of this level are logged: for what costs something to find out.
#[must_use]
pub fn is_on(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Makes `broker.log` the standard error of this process, and keeps it from growing without end:
/// at [`LOG_BYTES_MAX`] it becomes `broker.log.1`, in place of the one before. So does what has this
/// name and is no file: links are not followed.
///
/// # Errors
///
/// The file cannot be opened; the standard error is as it was then.
pub fn to_file(paths: &Paths) -> io::Result<()> {
    let file = LogFile::open(paths.log(), paths.old_log(), LOG_BYTES_MAX)?;
    redirect_stderr(&file.file)?;
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner).file = Some(file);
    Ok(())
}

/// Something failed that someone should look at: `log::error(format_args!("..."))`.
pub fn error(text: fmt::Arguments<'_>) {
    log(LogLevel::Error, text);
}

/// Something was wrong and has been dealt with.
pub fn warn(text: fmt::Arguments<'_>) {
    log(LogLevel::Warn, text);
}

/// Something rare that matters has happened.
pub fn info(text: fmt::Arguments<'_>) {
    log(LogLevel::Info, text);
}

/// Anything else.
pub fn debug(text: fmt::Arguments<'_>) {
    log(LogLevel::Debug, text);
}

fn log(level: LogLevel, text: fmt::Arguments<'_>) {
    if is_on(level) {
        // Made before the lock is taken: a `Display` in it could log, too.
        let line = line(Timestamp::now(), level, text);
        OUTPUT.lock().unwrap_or_else(PoisonError::into_inner).write(&line);
    }
}

/// The line, with its end; at most [`LOG_LINE_BYTES_MAX`] bytes.
fn line(time: Timestamp, level: LogLevel, text: fmt::Arguments<'_>) -> String {
    let level = match level {
        LogLevel::Error => "ERROR",
        LogLevel::Warn => "WARN ",
        LogLevel::Info => "INFO ",
        LogLevel::Debug => "DEBUG",
    };
    // A `Display` that fails has failed; what it wrote so far stands.
    let mut line = String::new();
    let _ = write!(line, "{time:.3} {level} ");
    let _ = Escaped { line: &mut line }.write_fmt(text);
    line.push('\n');
    line
}

/// Appends to a line what is written to it, with control characters escaped, up to the length of a
/// line.
struct Escaped<'a> {
    line: &'a mut String,
}

/// The end of a line that was too long.
const CUT: &str = "...";

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Room for the cut and the end of the line.
        let bytes_max = LOG_LINE_BYTES_MAX - CUT.len() - 1;
        for c in text.chars() {
            let before = self.line.len();
            if is_harmful(c) {
                self.line.extend(c.escape_default());
            } else {
                self.line.push(c);
            }
            if self.line.len() > bytes_max {
                self.line.truncate(before);
                self.line.push_str(CUT);
                // Ends the formatting: the rest need not be made.
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

/// Where lines go, and how many did not get there.
struct Output {
    /// The log file, or `None` for whatever the standard error is.
    file: Option<LogFile>,
    /// Lines dropped since the last that was written.
    dropped: u64,
}

impl Output {
    /// Writes a line. There is nobody to tell if that fails.
    fn write(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return self.write_to(&mut io::stderr(), line) };
        if let Ok(Written::ToNewFile) = file.write(line) {
            // What panics and libraries write goes to the file of today, too.
            let _ = redirect_stderr(&file.file);
        }
    }

    /// Writes a line to something that may block, if it does not.
    fn write_to(&mut self, target: &mut (impl io::Write + AsFd), line: &str) {
        if self.dropped > 0 && is_writable(target) {
            let text = format_args!("lines dropped here: {}", self.dropped);
            let _ = target.write_all(self::line(Timestamp::now(), LogLevel::Warn, text).as_bytes());
            self.dropped = 0;
        }
        if is_writable(target) {
            let _ = target.write_all(line.as_bytes());
        } else {
            self.dropped += 1;
        }
    }
}

fn is_writable(target: &impl AsFd) -> bool {
    poll_writable(target, Some(Duration::ZERO)).unwrap_or(false)
}

/// A file that is moved aside when it has become too long.
struct LogFile {
    file: File,
    path: PathBuf,
    old_path: PathBuf,
    bytes_max: u64,
}

/// Which file a line went to.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    ToFile,
    /// It is the first in a new file.
    ToNewFile,
}

impl LogFile {
    fn open(path: PathBuf, old_path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let file = match open(&path) {
            // Not what we have written: a link, whose target is nobody's log, or a pipe, which
            // nobody may ever read.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                std::fs::rename(&path, &old_path)?;
                open(&path)
            }
            file => file,
        };
        Ok(Self { file: file?, path, old_path, bytes_max })
    }

    fn write(&mut self, line: &str) -> io::Result<Written> {
        let metadata = self.file.metadata()?;
        // Asked anew for each line, since others write to it, too, by way of the standard error;
        // and someone may have removed it.
        let full = metadata.len() > 0 && metadata.len() + line.len() as u64 > self.bytes_max;
        let written =
            if full || metadata.nlink() == 0 { self.renew(full) } else { Written::ToFile };
        self.file.write_all(line.as_bytes())?;
        Ok(written)
    }

    /// Begins a new file. If that fails the present one grows on, and the next line tries again.
    fn renew(&mut self, keep: bool) -> Written {
        if keep {
            // Fails if it is not there any more, as after a renewal that came only to here.
            let _ = std::fs::rename(&self.path, &self.old_path);
        }
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                Written::ToNewFile
            }
            Err(_) => Written::ToFile,
        }
    }
}

/// Each write goes to the end, whoever else writes to the file.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = open_regular(path, options.append(true).create(true).mode(0o600), OFlags::NOFOLLOW)?;
    // Whatever the umask, and whoever made the file.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::process::Command;

    use super::*;
    use crate::files::tests::{TempDir, make_pipe};

    fn text_of(level: LogLevel, text: &str) -> String {
        line("2026-04-08T10:30:01.123456Z".parse().unwrap(), level, format_args!("{text}"))
    }

    #[test]
    fn line_has_time_level_and_text() {
        for (level, expected) in [
            (LogLevel::Error, "2026-04-08T10:30:01.123Z ERROR text\n"),
            (LogLevel::Warn, "2026-04-08T10:30:01.123Z WARN  text\n"),
            (LogLevel::Info, "2026-04-08T10:30:01.123Z INFO  text\n"),
            (LogLevel::Debug, "2026-04-08T10:30:01.123Z DEBUG text\n"),
        ] {
            assert_eq!(text_of(level, "text"), expected);
        }
        let whole = line("2026-04-08T10:30:01Z".parse().unwrap(), LogLevel::Info, format_args!(""));
        assert_eq!(whole, "2026-04-08T10:30:01.000Z INFO  \n");
    }

    #[test]
    fn line_is_one_line() {
        for (text, escaped) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[31m\u{7f}\u{9b}", r"\u{1b}[31m\u{7f}\u{9b}"),
            ("\u{2028}\u{202e}\u{2066}", r"\u{2028}\u{202e}\u{2066}"),
            ("Büro 日本 \\ \"x\" '🙂'", "Büro 日本 \\ \"x\" '🙂'"),
        ] {
            assert_eq!(
                text_of(LogLevel::Info, text),
                format!("2026-04-08T10:30:01.123Z INFO  {escaped}\n")
            );
        }
    }

    #[test]
    fn line_is_cut_at_its_limit() {
        let room = LOG_LINE_BYTES_MAX - text_of(LogLevel::Info, "").len() - CUT.len();
        let fits = text_of(LogLevel::Info, &"x".repeat(room));
        assert!(fits.ends_with("x\n") && fits.len() <= LOG_LINE_BYTES_MAX);
        let cut = text_of(LogLevel::Info, &"x".repeat(room + 1));
        assert!(cut.ends_with("x...\n"));
        assert_eq!(cut.len(), LOG_LINE_BYTES_MAX);
        for text in ["🙂", "\n", "\u{1b}"] {
            let cut = text_of(LogLevel::Info, &text.repeat(LOG_LINE_BYTES_MAX));
            assert!(cut.ends_with("...\n") && cut.len() <= LOG_LINE_BYTES_MAX);
        }
    }

    #[test]
    fn file_is_moved_aside_when_a_line_does_not_fit() {
        let dir = TempDir::new();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let mut log = LogFile::open(path.clone(), old.clone(), 10).unwrap();
        assert_eq!(log.write("12345").unwrap(), Written::ToFile);
        assert_eq!(log.write("67890").unwrap(), Written::ToFile);
        assert!(!old.exists());
        assert_eq!(log.write("a").unwrap(), Written::ToNewFile);
        assert_eq!((read(&old).as_str(), read(&path).as_str()), ("1234567890", "a"));
        assert_eq!(log.write("1234567890").unwrap(), Written::ToNewFile);
        assert_eq!((read(&old).as_str(), read(&path).as_str()), ("a", "1234567890"));
        // Longer than the limit by itself.
        assert_eq!(log.write("12345678901").unwrap(), Written::ToNewFile);
        assert_eq!(log.write("b").unwrap(), Written::ToNewFile);
        assert_eq!((read(&old).as_str(), read(&path).as_str()), ("12345678901", "b"));
        // A file that is there is added to, and counts.
        let mut log = LogFile::open(path.clone(), old.clone(), 10).unwrap();
        assert_eq!(log.write("123456789").unwrap(), Written::ToFile);
        assert_eq!(log.write("c").unwrap(), Written::ToNewFile);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_file_is_moved_aside_and_no_link_is_followed() {
        let dir = TempDir::new();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let others = dir.path().join("others");
        std::fs::write(&others, "theirs").unwrap();
        std::os::unix::fs::symlink(&others, &path).unwrap();
        let mut log = LogFile::open(path.clone(), old.clone(), 10).unwrap();
        log.write("a").unwrap();
        assert_eq!(std::fs::read(&others).unwrap(), b"theirs");
        assert!(old.symlink_metadata().unwrap().is_symlink());
        assert!(path.symlink_metadata().unwrap().is_file());
        std::fs::remove_file(&path).unwrap();
        make_pipe(&path);
        let mut log = LogFile::open(path.clone(), old, 10).unwrap();
        log.write("b").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"b");
    }

    #[test]
    fn what_others_write_counts_too() {
        let dir = TempDir::new();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut log = LogFile::open(path.clone(), old.clone(), 10).unwrap();
        open(&path).unwrap().write_all(b"1234567890").unwrap();
        assert_eq!(log.write("a").unwrap(), Written::ToNewFile);
        assert_eq!(std::fs::read(&old).unwrap(), b"1234567890");
    }

    #[test]
    fn removed_file_is_made_again() {
        let dir = TempDir::new();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut log = LogFile::open(path.clone(), old.clone(), 10).unwrap();
        log.write("1").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(log.write("2").unwrap(), Written::ToNewFile);
        assert_eq!(std::fs::read(&path).unwrap(), b"2");
        assert!(!old.exists());
    }

    #[test]
    fn log_goes_on_where_no_new_file_can_be_made() {
        let dir = TempDir::new();
        let path = dir.path().join("log");
        let mut log = LogFile::open(path.clone(), dir.path().join("no/log.1"), 3).unwrap();
        log.write("123").unwrap();
        log.write("456").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"123456");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(log.write("789").unwrap(), Written::ToFile);
    }

    #[test]
    fn full_pipe_costs_lines_and_no_time() {
        let (mut reader, mut writer) = pipe().unwrap();
        let mut output = Output { file: None, dropped: 0 };
        let line = format!("{}\n", "x".repeat(999));
        let mut lines = 0;
        while output.dropped < 3 {
            output.write_to(&mut writer, &line);
            lines += 1;
        }
        let mut taken = vec![0; (lines - 3) * line.len()];
        reader.read_exact(&mut taken).unwrap();
        output.write_to(&mut writer, "last\n");
        assert_eq!(output.dropped, 0);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with(" WARN  lines dropped here: 3\nlast\n"), "{rest}");
        assert_eq!(rest.lines().count(), 2);
    }

    #[test]
    fn reader_that_is_gone_is_no_error() {
        let (reader, mut writer) = pipe().unwrap();
        drop(reader);
        let mut output = Output { file: None, dropped: 0 };
        output.write_to(&mut writer, "x\n");
        assert_eq!(output.dropped, 0);
    }

    /// Not a test of its own: level, output and standard error belong to a whole process.
    #[test]
    fn helper_process() {
        let Some(dir) = std::env::var_os("SLM_MESH_TEST_LOG_DIR") else { return };
        let paths = Paths::new(dir.into());
        debug(format_args!("off"));
        info(format_args!("to stderr"));
        to_file(&paths).unwrap();
        set_level(LogLevel::Warn);
        assert!(is_on(LogLevel::Error) && is_on(LogLevel::Warn) && !is_on(LogLevel::Info));
        info(format_args!("off"));
        warn(format_args!("one"));
        eprintln!("two");
        set_level(LogLevel::Debug);
        debug(format_args!("three"));
        OUTPUT.lock().unwrap().file.as_mut().unwrap().bytes_max = 1;
        error(format_args!("four"));
        eprintln!("five");
    }

    #[test]
    fn log_and_standard_error_go_to_the_file() {
        let dir = TempDir::new();
        let paths = Paths::new(dir.path().into());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::tests::helper_process", "--nocapture"])
            .env("SLM_MESH_TEST_LOG_DIR", dir.path())
            .output()
            .unwrap();
        assert!(output.status.success());
        let texts = |text: &str| -> Vec<String> {
            let texts = text.lines().map(|line| line.rsplit("  ").next().unwrap().to_owned());
            texts.map(|text| text.rsplit(' ').next().unwrap().to_owned()).collect()
        };
        let read = |path: &Path| texts(&std::fs::read_to_string(path).unwrap());
        assert_eq!(texts(&String::from_utf8(output.stderr).unwrap()), ["stderr"]);
        assert_eq!(read(&paths.old_log()), ["one", "two", "three"]);
        assert_eq!(read(&paths.log()), ["four", "five"]);
    }
}
