//! TLS with anything in it, for what stands at the other end and is no channel.

use rustls::StreamOwned;

use super::pipe::Pipe;
use super::*;

/// What a machine in the middle sees and sends: TLS of its own, then any bytes.
pub(super) struct Raw<C>(pub(super) StreamOwned<C, Pipe>);

impl Raw<ClientConnection> {
    pub(super) fn of_client(keys: &MachineKey, pipe: Pipe) -> Self {
        let config = tls::relay(keys, None).unwrap();
        let tls = ClientConnection::new(config, tls::no_name().unwrap()).unwrap();
        Self(StreamOwned::new(tls, pipe))
    }
}

impl Raw<ServerConnection> {
    pub(super) fn of_server(keys: &MachineKey, pipe: Pipe) -> Self {
        Self(StreamOwned::new(ServerConnection::new(tls::hub(keys).unwrap()).unwrap(), pipe))
    }
}

pub(super) fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Sends what there is of `out` and appends to `into` what has come. Whether the stream goes on.
pub(super) fn pump<S: Read + Write>(stream: &mut S, out: &mut Vec<u8>, into: &mut Vec<u8>) -> bool {
    let _ = stream.flush();
    if !out.is_empty() {
        match stream.write(out) {
            Ok(count) => drop(out.drain(..count)),
            Err(error) if would_block(&error) => {}
            Err(_) => return false,
        }
    }
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(0) => false,
        Ok(count) => {
            into.extend(&bytes[..count]);
            true
        }
        Err(error) => would_block(&error),
    }
}
