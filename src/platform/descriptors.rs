//! File descriptors: how many there may be, which are inherited, where the standard ones lead, and
//! whether one can be read or written now.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What macOS grants a process whose hard limit is "unlimited": `OPEN_MAX` of setrlimit(2) there.
const OPEN_MAX: u64 = 10_240;

/// The longest time poll(2) takes where it counts milliseconds in an `int`: 24 days.
const POLL_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// Raises the number of descriptors this process may have (`RLIMIT_NOFILE`) to its hard limit, and
/// returns what it is now. Where it cannot be raised it stays as it was.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    for wanted in [limit.maximum, Some(OPEN_MAX)] {
        let higher = match (limit.current, wanted) {
            (Some(current), Some(wanted)) => wanted > current,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let raised = Rlimit { current: wanted, maximum: limit.maximum };
        if !higher || setrlimit(Resource::Nofile, raised).is_ok() {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Marks every descriptor above the standard three as close-on-exec, so that a process started
/// after this has the standard three only.
///
/// std marks each descriptor it opens; this is for those that were inherited unmarked from
/// whatever started us, and which a broker would otherwise hold open for days.
pub fn close_others_on_exec() {
    close_fds::set_fds_cloexec(3, &[]);
}

/// Makes `/dev/null` the standard input.
///
/// # Errors
///
/// There is no `/dev/null`, or no descriptor left.
pub fn null_stdin() -> io::Result<()> {
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdin(null)?)
}

/// Makes `/dev/null` the standard output.
///
/// # Errors
///
/// There is no `/dev/null`, or no descriptor left.
pub fn null_stdout() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    redirect_stdout(null)
}

/// Makes `target` the standard output.
///
/// # Errors
///
/// No descriptor left.
pub fn redirect_stdout(target: impl AsFd) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdout(target)?)
}

/// Makes `target` the standard error.
///
/// # Errors
///
/// No descriptor left.
pub fn redirect_stderr(target: impl AsFd) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(target)?)
}

/// Waits until a read of `fd` would not block: it has data, has come to its end, or has failed.
/// `None` waits without end. `false`: the time is up, or a signal has ended the wait early.
///
/// This is how a descriptor is read that others have too, such as an inherited standard input:
/// `O_NONBLOCK` would be theirs as well.
///
/// # Errors
///
/// The kernel is out of memory.
pub fn poll_readable(fd: impl AsFd, timeout: Option<Duration>) -> io::Result<bool> {
    poll_one(&fd, PollFlags::IN, timeout)
}

/// Waits until a write to `fd` would not block, as [`poll_readable`] does for reading. A pipe takes
/// [`crate::limits::LOG_LINE_BYTES_MAX`] bytes then.
///
/// # Errors
///
/// The kernel is out of memory.
pub fn poll_writable(fd: impl AsFd, timeout: Option<Duration>) -> io::Result<bool> {
    poll_one(&fd, PollFlags::OUT, timeout)
}

fn poll_one(fd: &impl AsFd, wanted: PollFlags, timeout: Option<Duration>) -> io::Result<bool> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout.min(POLL_MAX)).ok());
    // Whatever comes back counts as ready: an end or an error is found by reading or writing. (On
    // macOS that includes POLLNVAL, since poll(2) knows no devices there.)
    match poll(&mut [PollFd::new(fd, wanted)], timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write, pipe};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    #[test]
    #[cfg(target_os = "linux")]
    fn descriptor_limit_is_the_hard_one() {
        let limit = raise_descriptor_limit();
        assert_eq!(Some(limit), getrlimit(Resource::Nofile).maximum);
        assert_eq!(raise_descriptor_limit(), limit);
    }

    #[test]
    fn descriptors_are_closed_on_exec() {
        let file = File::open("/dev/null").unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        close_others_on_exec();
        assert_eq!(fcntl_getfd(&file).unwrap(), FdFlags::CLOEXEC);
        assert_eq!(file.metadata().unwrap().len(), 0, "and is still open");
    }

    /// Not a test of its own: a process that redirects its standard streams.
    #[test]
    fn helper_process() {
        if std::env::var_os("SLM_MESH_TEST_REDIRECT").is_none() {
            return;
        }
        null_stdin().unwrap();
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).unwrap();
        redirect_stdout(io::stderr()).unwrap();
        writeln!(io::stdout(), "out: {text:?}").unwrap();
        null_stdout().unwrap();
        writeln!(io::stdout(), "nowhere").unwrap();
        redirect_stderr(io::stdout()).unwrap();
        writeln!(io::stderr(), "nowhere").unwrap();
    }

    #[test]
    fn standard_streams_lead_where_they_are_sent() {
        let (stdin, mut writer) = pipe().unwrap();
        writer.write_all(b"not read").unwrap();
        drop(writer);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "platform::descriptors::tests::helper_process", "--nocapture"])
            .env("SLM_MESH_TEST_REDIRECT", "1")
            .stdin(stdin)
            .output()
            .unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "out: \"\"\n");
        assert!(!String::from_utf8(output.stdout).unwrap().contains("nowhere"));
    }

    #[test]
    fn pipe_is_readable_with_data_and_at_its_end() {
        let (mut reader, mut writer) = pipe().unwrap();
        assert!(!poll_readable(&reader, NOW).unwrap());
        assert!(!poll_readable(&reader, Some(Duration::from_millis(10))).unwrap());
        writer.write_all(b"x").unwrap();
        assert!(poll_readable(&reader, NOW).unwrap());
        assert!(poll_readable(&reader, None).unwrap());
        reader.read_exact(&mut [0]).unwrap();
        assert!(!poll_readable(&reader, NOW).unwrap());
        drop(writer);
        assert!(poll_readable(&reader, Some(Duration::MAX)).unwrap());
    }

    #[test]
    fn pipe_is_writable_until_it_is_full() {
        let (mut near, far) = UnixStream::pair().unwrap();
        assert!(poll_writable(&near, NOW).unwrap());
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 4096]).is_ok() {}
        assert!(!poll_writable(&near, NOW).unwrap());
        drop(far);
        // A process that another test is just starting may have it open for a moment yet.
        assert!(poll_writable(&near, Some(Duration::from_secs(10))).unwrap());
    }

    #[test]
    fn files_and_devices_are_always_ready() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(poll_readable(&file, NOW).unwrap());
        assert!(poll_readable(File::open("/dev/null").unwrap(), NOW).unwrap());
    }
}
