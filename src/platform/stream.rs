//! Streams of either kind that a broker listens for: TCP on the loopback, and a Unix socket in its
//! data directory. Whoever reads, writes or polls one does not need to know which it is.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Instant;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use super::descriptors::poll_writable;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket, by its path.
    Unix(PathBuf),
    /// A port.
    Tcp(SocketAddr),
}

impl Address {
    /// Begins to connect, and does not wait. [`Stream::is_connected`] tells when it has come about.
    ///
    /// # Errors
    ///
    /// That it cannot be, as far as it is known at once; for a Unix socket it is. One whose process
    /// has too many waiting is [`io::ErrorKind::WouldBlock`].
    pub fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Self::Tcp(address) => TcpStream::connect(*address).map(Stream::Tcp),
        }
    }

    /// Connects, and waits until `deadline` for it. The stream does not block, so it has to be polled
    /// before it is read or written.
    ///
    /// # Errors
    ///
    /// It cannot be, or was not in time ([`io::ErrorKind::TimedOut`]).
    pub fn connect_until(&self, deadline: Instant) -> io::Result<Stream> {
        let mut stream = self.connect()?;
        while !stream.is_connected()? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            poll_writable(&stream, Some(left))?;
        }
        Ok(stream)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// One connection. It never blocks.
#[derive(Debug)]
pub enum Stream {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over a port.
    Tcp(TcpStream),
}

impl Stream {
    /// Whether it has come about. From then on what is written leaves at once: a request or an answer
    /// is written whole, so there is nothing to gather.
    ///
    /// # Errors
    ///
    /// It will not.
    pub fn is_connected(&mut self) -> io::Result<bool> {
        let Self::Tcp(stream) = self else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => stream.set_nodelay(true).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The error that is pending, if there is one; it is pending no more.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Unix(stream) => stream.take_error(),
            Self::Tcp(stream) => stream.take_error(),
        }
    }

    /// Tells the other end that nothing more will come.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn end_output(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Unix(stream) => stream,
            Self::Tcp(stream) => stream,
        }
    }
}

/// The connection ends with it, whoever else has the descriptor: a process that another thread is just
/// starting has a copy of each, until it runs its program.
impl Drop for Stream {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is kept back here.
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// A listener of either kind.
#[derive(Debug)]
pub enum Listener {
    /// On a Unix socket.
    Unix(UnixListener),
    /// On a port.
    Tcp(TcpListener),
}

impl Listener {
    /// How many clients may wait to be accepted.
    ///
    /// # Errors
    ///
    /// That cannot be set.
    pub fn set_backlog(&self, clients: i32) -> io::Result<()> {
        // A second listen(2) only changes this.
        match self {
            Self::Unix(listener) => rustix::net::listen(listener, clients)?,
            Self::Tcp(listener) => rustix::net::listen(listener, clients)?,
        }
        Ok(())
    }

    /// Takes the next connection that waits.
    ///
    /// # Errors
    ///
    /// There is none ([`io::ErrorKind::WouldBlock`]), or it cannot be had.
    pub fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // As with those that connect. A client that has gone already is found by reading.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Unix(listener) => listener,
            Self::Tcp(listener) => listener,
        }
    }
}

/// Both are polled as what they are made of.
macro_rules! polled_by_source {
    ($type:ty) => {
        impl Source for $type {
            fn register(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                self.source().register(registry, token, interests)
            }

            fn reregister(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                self.source().reregister(registry, token, interests)
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                self.source().deregister(registry)
            }
        }
    };
}

polled_by_source!(Stream);
polled_by_source!(Listener);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::files::tests::TempDir;
    use crate::platform::poll_readable;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    /// A listener of each kind, with its address.
    fn both(temp: &TempDir) -> [(Listener, Address); 2] {
        let path = temp.path().join("s");
        let tcp = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = tcp.local_addr().unwrap();
        [
            (Listener::Unix(UnixListener::bind(&path).unwrap()), Address::Unix(path)),
            (Listener::Tcp(tcp), Address::Tcp(port)),
        ]
    }

    fn accept(listener: &Listener) -> Stream {
        loop {
            match listener.accept() {
                Ok(stream) => return stream,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[test]
    fn streams_of_both_kinds_carry_bytes_and_their_end() {
        let temp = TempDir::new();
        for (listener, address) in both(&temp) {
            let mut client = address.connect_until(soon()).unwrap();
            let mut server = accept(&listener);
            assert!(server.is_connected().unwrap());
            assert_eq!(server.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            client.write_all(b"x").unwrap();
            client.end_output().unwrap();
            let mut bytes = [0; 8];
            for expected in [1, 0] {
                assert!(poll_readable(&server, Some(Duration::from_secs(5))).unwrap());
                assert_eq!(server.read(&mut bytes).unwrap(), expected, "{address}");
            }
            server.write_all(b"y").unwrap();
            assert!(poll_readable(&client, Some(Duration::from_secs(5))).unwrap());
            assert_eq!(client.read(&mut bytes).unwrap(), 1);
            assert!(client.take_error().unwrap().is_none());
        }
    }

    #[test]
    fn what_is_dropped_has_ended_whoever_has_a_copy() {
        let temp = TempDir::new();
        for (listener, address) in both(&temp) {
            let client = address.connect_until(soon()).unwrap();
            let mut server = accept(&listener);
            let copy = client.as_fd().try_clone_to_owned().unwrap();
            drop(client);
            assert!(poll_readable(&server, Some(Duration::from_secs(5))).unwrap());
            assert_eq!(server.read(&mut [0]).unwrap(), 0, "{address}");
            drop(copy);
        }
    }

    #[test]
    fn nobody_listens() {
        let temp = TempDir::new();
        for (listener, address) in both(&temp) {
            drop(listener);
            // A process that another test starts has a copy of it until it runs its program.
            let deadline = soon();
            let error = loop {
                match address.connect_until(deadline) {
                    Ok(_) if Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Ok(_) => panic!("{address}: somebody listens"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{address}");
        }
        let missing = Address::Unix(temp.path().join("missing"));
        assert_eq!(missing.connect().unwrap_err().kind(), io::ErrorKind::NotFound);
        // Longer than any address of a socket.
        let long = Address::Unix(temp.path().join("x".repeat(200)));
        assert_eq!(long.connect().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
