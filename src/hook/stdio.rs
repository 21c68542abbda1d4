//! The standard streams of a hook, with time limits: an agent that does not write, close or read its
//! end must not keep the process waiting.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use serde::de::IgnoredAny;

use crate::limits::{HOOK_INPUT_BYTES_MAX, HOOK_INPUT_TIME_MAX, LOG_LINE_BYTES_MAX};
use crate::platform::{poll_readable, poll_writable};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Reads one JSON document: to the end of the stream, or until it is complete, since not every
/// agent closes its end. `None` if it is too long or did not arrive in time. A document that is too long
/// is still read to its end, so that the agent's write does not fail.
pub(super) fn read_document(mut stream: impl Read + AsFd, deadline: Instant) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut too_long = false;
    // A stream that never ends is given up then.
    let last = deadline + HOOK_INPUT_TIME_MAX;
    loop {
        if !poll_readable(&stream, Some(std::time::Duration::ZERO)).ok()? {
            if !too_long && is_complete(&bytes) {
                return Some(bytes);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            poll_readable(&stream, Some(left)).ok()?;
            continue;
        }
        // Bytes that have arrived are read even after the limit: this process may have been slow.
        match stream.read(&mut chunk) {
            Ok(0) => return (!too_long).then_some(bytes),
            Ok(_) if too_long => {}
            Ok(read) => {
                bytes.extend_from_slice(chunk.get(..read)?);
                too_long = bytes.len() > HOOK_INPUT_BYTES_MAX;
                if too_long {
                    bytes = Vec::new();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        if Instant::now() >= last {
            return None;
        }
    }
}

fn is_complete(bytes: &[u8]) -> bool {
    // Checking the last byte is cheap; parsing a large document again and again is not.
    bytes.trim_ascii_end().ends_with(b"}") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Writes all of `text`. Returns whether that was done in time.
pub(super) fn write_all(mut stream: impl Write + AsFd, text: &str, deadline: Instant) -> bool {
    let mut bytes = text.as_bytes();
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        // Polls once, even if no time is left.
        match poll_writable(&stream, Some(left)) {
            Ok(true) => {}
            Ok(false) if Instant::now() < deadline => continue,
            Ok(false) | Err(_) => return false,
        }
        // A writable pipe takes this many bytes without blocking.
        let part = bytes.get(..LOG_LINE_BYTES_MAX).unwrap_or(bytes);
        match stream.write(part) {
            Ok(0) => return false,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    stream.flush().is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_document_ends_with_the_stream_or_by_itself() {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(b"{\"a\":{}} \n").unwrap();
        // The other end stays open.
        assert_eq!(read_document(&reader, late()).unwrap(), b"{\"a\":{}} \n");
        writer.write_all(b"{\"a\":{}").unwrap();
        assert_eq!(read_document(&reader, soon()), None);
        writer.write_all(b"not JSON").unwrap();
        drop(writer);
        assert_eq!(read_document(&reader, late()).unwrap(), b"not JSON");
        assert_eq!(read_document(&reader, late()).unwrap(), b"");
    }

    #[test]
    fn a_document_comes_in_pieces() {
        let (reader, mut writer) = pipe().unwrap();
        let document = format!("{{\"a\":\"{}\"}}", "}".repeat(300_000));
        let expected = document.clone();
        let thread = std::thread::spawn(move || {
            writer.write_all(document.as_bytes()).unwrap();
            writer
        });
        assert_eq!(read_document(&reader, late()).unwrap(), expected.as_bytes());
        drop(thread.join().unwrap());
    }

    #[test]
    fn what_is_too_long_is_read_and_forgotten() {
        let (reader, mut writer) = pipe().unwrap();
        let thread = std::thread::spawn(move || {
            writer.write_all(&vec![b' '; HOOK_INPUT_BYTES_MAX + 1]).unwrap();
        });
        assert_eq!(read_document(&reader, late()), None);
        thread.join().unwrap();
    }

    #[test]
    fn a_reader_that_does_not_read_is_given_up() {
        let (reader, mut writer) = pipe().unwrap();
        assert!(write_all(&writer, "text", late()));
        assert!(!write_all(&writer, &"x".repeat(10_000_000), soon()));
        drop(reader);
        assert!(!write_all(&mut writer, "text", late()));
    }
}
