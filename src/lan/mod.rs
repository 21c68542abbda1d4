//! Between machines: what a relay and its hub know each other by, and the connection between them.
//!
//! A machine is known by its key ([`key`]); its id is the hash of the public half. [`tls`] makes both
//! sides prove that they have theirs. Who is let in is decided after that, by what the relay shows
//! when it asks for the upgrade ([`upgrade`]): the token of an invitation ([`invitation`]), a proof
//! that it has the shared secret ([`secret`]), or nothing, if the hub knows its id. [`channel`] is
//! all of that as one connection, over which texts go both ways ([`websocket`]). [`admission`] says
//! how many handshakes a hub begins, and with whom. Hubs are found by [`discovery`], and their names
//! looked up by [`resolve`]; [`addresses`] are those of this machine.

pub mod addresses;
pub mod admission;
pub mod channel;
pub mod discovery;
pub mod fuzzing;
pub mod invitation;
pub mod key;
pub mod resolve;
pub mod secret;
pub mod tls;
pub mod upgrade;
pub mod websocket;

/// Sets up a connection between machines, at either end: texts are small and wanted at once, and what
/// waits to be sent waits here, where it is known how much that is, and not in the kernel.
///
/// # Errors
///
/// It is none any more.
pub(crate) fn set_up(stream: &impl std::os::fd::AsFd) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    socket.set_tcp_notsent_lowat(crate::limits::MACHINE_NOT_SENT_BYTES)?;
    Ok(())
}
