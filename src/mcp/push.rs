//! The socket on which the broker tells this session what is new: NDJSON frames in, the
//! acknowledgement of each message out.
//!
//! We listen, the broker connects: so it can be gone and come back without being looked for. Of
//! several connections the newest stands.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use crate::api::{Frame, ack_line, read_frame};
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

    /// Listens, if it does not already, and gives the path to be told to the broker. The socket may
    /// have been removed in the meantime: by someone who cleans up, or by a broker that took this
    /// process for dead.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn listen(&mut self) -> io::Result<&str> {
        if self.listener.is_none() || !self.path.exists() {
            self.listener = None;
            let mut listener = UnixListener::bind(&self.path)?;
            // The directory is closed to others already.
            std::fs::set_permissions(&self.path, Permissions::from_mode(0o600))?;
            self.registry.register(&mut listener, self.listener_token, Interest::READABLE)?;
            self.listener = Some(listener);
        }
        self.path.to_str().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "its path is not valid UTF-8")
        })
    }

    /// Someone connects.
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

    /// Reads what was pushed, gives it to `handle`, and confirms it.
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

    /// Stops listening, and removes the socket.
    pub(super) fn close(&mut self) {
        self.connection = None;
        if self.listener.take().is_some() {
            // It may be gone already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Connection {
    /// Reads until there is no more, which is an error of the kind `WouldBlock`.
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
                            // A broker that takes no acknowledgements is no use; this ends the
                            // connection, and what was not confirmed is pushed again.
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
