//! HTTP/1.1 (RFC 9110, RFC 9112), as much of it as a broker on the loopback needs.
//!
//! [`server`] decodes requests and encodes responses, [`client`] the other way round. Bodies have
//! a `Content-Length`; there is no chunked coding, and no body that ends with the connection.
//! Both sides are strict where leniency has made parsers disagree about where a message ends:
//! lines end in CRLF, no folded header lines, one `Content-Length` at most.

pub mod client;
mod head;
pub mod server;

#[cfg(test)]
mod tests;
