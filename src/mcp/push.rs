//! The socket on which the broker pushes what is new: NDJSON frames in, the acknowledgement of each
//! message out.
//!
//! This process listens and the broker connects, so that nobody has to look for a broker that returns.
//! Of several connections the newest counts.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use crate::api::{Frame, ack_line, read_frame};
use crate::files::write_private;
use crate::limits::{ACKS_BYTES_MAX, FRAME_BYTES_MAX, READ_BYTES_MAX};
use crate::log;
use crate::platform::peer_credentials;
use crate::wire::buffer::Buffer;
use crate::wire::ndjson::LineDecoder;

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    lines: LineDecoder,
    acks: Buffer,
}

/// See the module.
#[derive(Debug)]
pub(super) struct PushSocket {
    path: PathBuf,
    registry: Registry,
    listener_token: Token,
    stream_token: Token,
    listener: Option<UnixListener>,
    connection: Option<Connection>,
}

impl PushSocket {
    /// A socket that will listen at `path`; its descriptors are registered with `registry` under
    /// these tokens.
    pub(super) fn new(
        path: PathBuf,
        registry: Registry,
        listener_token: Token,
        stream_token: Token,
    ) -> Self {
        Self { path, registry, listener_token, stream_token, listener: None, connection: None }
    }

    /// Whether the broker is connected.
    pub(super) fn is_live(&self) -> bool {
        self.connection.is_some()
    }

    /// Listens, if it does not already, and returns the path for the broker. The socket may have been
    /// removed meanwhile: by someone who cleans up, or by a broker that took this process for dead.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn listen(&mut self) -> io::Result<&str> {
        if self.listener.is_none() || !self.path.exists() {
            self.listener = None;
            let mut listener = UnixListener::bind(&self.path)?;
            // Others cannot enter the directory either.
            std::fs::set_permissions(&self.path, Permissions::from_mode(0o600))?;
            self.registry.register(&mut listener, self.listener_token, Interest::READABLE)?;
            self.listener = Some(listener);
        }
        self.path.to_str().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "its path is not valid UTF-8")
        })
    }

    /// Leaves the peer's token beside the socket, for the hooks of this session. It is written after each
    /// registration, as whoever removes the socket also removes the token.
    pub(super) fn leave_token(&self, token: &str) {
        if self.listener.is_some()
            && let Err(error) = write_private(&self.token_path(), token.as_bytes())
        {
            log::warn(format_args!("hooks of this session cannot act for it: {error}"));
        }
    }

    fn token_path(&self) -> PathBuf {
        self.path.with_extension("token")
    }

    /// Accepts connections.
    pub(super) fn handle_listener_ready(&mut self) {
        loop {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, _)) => self.take(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::warn(format_args!("cannot take the broker's connection: {error}"));
                    return;
                }
            }
        }
    }

    fn take(&mut self, mut stream: UnixStream) {
        match peer_credentials(&stream) {
            Ok(credentials) if !credentials.is_foreign() => {}
            Ok(_) => {
                log::warn(format_args!("another user has connected to the push socket"));
                return;
            }
            Err(error) => {
                log::warn(format_args!("cannot tell who has connected: {error}"));
                return;
            }
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.connection = None;
        match self.registry.register(&mut stream, self.stream_token, interest) {
            Ok(()) => {
                self.connection = Some(Connection {
                    stream,
                    lines: LineDecoder::new(FRAME_BYTES_MAX),
                    acks: Buffer::new(ACKS_BYTES_MAX),
                });
            }
            Err(error) => log::warn(format_args!("cannot watch the push connection: {error}")),
        }
    }

    /// Reads what was pushed, passes it to `handle`, and acknowledges it.
    pub(super) fn handle_stream_ready(&mut self, mut handle: impl FnMut(&Frame)) {
        let Some(connection) = &mut self.connection else { return };
        match connection.read(&mut handle) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::debug(format_args!("the push connection has ended: {error}"));
                self.connection = None;
            }
        }
    }

    /// Stops listening, and removes the socket and the token beside it.
    pub(super) fn close(&mut self) {
        self.connection = None;
        if self.listener.take().is_some() {
            // It may be gone already.
            let _ = std::fs::remove_file(self.token_path());
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Connection {
    /// Reads until there is no more, which is the error `WouldBlock`.
    fn read(&mut self, handle: &mut impl FnMut(&Frame)) -> io::Result<()> {
        loop {
            while let Some(line) = self.lines.next_line() {
                let frame = match line {
                    Ok(line) => read_frame(line),
                    Err(error) => Err(error.to_string()),
                };
                match frame {
                    Ok(frame) => {
                        handle(&frame);
                        if let Frame::Message(message) = &frame {
                            // If the broker takes no acknowledgements, this ends the connection, and
                            // what was not acknowledged is pushed again.
                            self.acks.extend(ack_line(message.message_id).as_bytes())?;
                        }
                    }
                    Err(error) => log::warn(format_args!("cannot read what was pushed: {error}")),
                }
            }
            self.flush()?;
            if self.lines.read_from(&mut self.stream, READ_BYTES_MAX)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes acknowledgements, as far as they are taken.
    fn flush(&mut self) -> io::Result<()> {
        while !self.acks.is_empty() {
            match self.acks.write_to(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream as Socket;
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::files::tests::TempDir;

    const LISTENER: Token = Token(1);
    const STREAM: Token = Token(2);

    struct Test {
        dir: TempDir,
        poll: Poll,
        push: PushSocket,
    }

    impl Test {
        fn new() -> Self {
            let dir = TempDir::new();
            let poll = Poll::new().unwrap();
            let registry = poll.registry().try_clone().unwrap();
            let push = PushSocket::new(dir.path().join("s"), registry, LISTENER, STREAM);
            Self { dir, poll, push }
        }

        fn connect(&mut self) -> Socket {
            let path = self.push.listen().unwrap().to_owned();
            let socket = Socket::connect(path).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
            self.turn();
            socket
        }

        /// Does what there is to do; returns the frames that came.
        fn turn(&mut self) -> Vec<Frame> {
            let mut events = Events::with_capacity(4);
            self.poll.poll(&mut events, Some(Duration::from_millis(200))).unwrap();
            let mut frames = Vec::new();
            for event in &events {
                match event.token() {
                    LISTENER => self.push.handle_listener_ready(),
                    _ => self.push.handle_stream_ready(|frame| frames.push(frame.clone())),
                }
            }
            frames
        }
    }

    #[test]
    fn messages_are_confirmed_and_nonsense_is_skipped() {
        let mut test = Test::new();
        let mut broker = test.connect();
        assert!(test.push.is_live());
        test.turn();
        let id = "00000000-0001-8000-8000-000000000000";
        let message = format!(
            "nonsense\n{{\"type\":\"news\",\"payload\":{{}}}}\n{{\"type\":\"message\",\"payload\":\
             {{\"messageId\":\"{id}\",\"handle\":\"arnr\",\"fromPeer\":\"cli\",\"fromName\":\"cli\",\"text\":\"x\",\
             \"messageType\":\"text\",\"broadcast\":false,\"seq\":1}}}}\n"
        );
        broker.write_all(message.as_bytes()).unwrap();
        let frames = test.turn();
        assert!(matches!(&frames[..], [Frame::Other(_), Frame::Message(_)]), "{frames:?}");
        let mut ack = String::new();
        BufReader::new(&broker).read_line(&mut ack).unwrap();
        assert_eq!(ack, format!("{{\"ack\":\"{id}\"}}\n"));
        drop(broker);
        test.turn();
        assert!(!test.push.is_live());
    }

    #[test]
    fn the_newest_connection_stands() {
        let mut test = Test::new();
        let mut old = test.connect();
        let mut new = test.connect();
        assert_eq!(old.read(&mut [0]).unwrap(), 0, "the old one is closed");
        new.write_all(b"{\"type\":\"shutdown\",\"payload\":{\"reason\":\"idle\"}}\n").unwrap();
        let mut frames = test.turn();
        if frames.is_empty() {
            frames = test.turn();
        }
        assert_eq!(frames, [Frame::Shutdown("idle".into())]);
    }

    #[test]
    fn a_socket_that_was_removed_is_made_again() {
        let mut test = Test::new();
        let path = test.dir.path().join("s");
        drop(test.connect());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
        let _broker = test.connect();
        assert!(test.push.is_live() && path.exists());
        test.push.close();
        assert!(!path.exists() && !test.push.is_live());
    }

    #[test]
    fn the_token_lies_beside_the_socket_as_long_as_that_is_there() {
        let mut test = Test::new();
        let token = test.dir.path().join("s.token");
        test.push.leave_token("early");
        assert!(!token.exists(), "there is no socket");
        test.push.listen().unwrap();
        test.push.leave_token("one");
        test.push.leave_token("two");
        assert_eq!(std::fs::read(&token).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
        test.push.close();
        assert!(!token.exists());
    }
}
