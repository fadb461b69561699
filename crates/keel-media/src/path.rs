//! Where a datagram comes from and goes to.

use std::net::SocketAddr;

/// What carries datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP with RFC 4571 framing, for networks without UDP (RFC 6544); the client connects.
    Tcp,
}

/// A way between two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Over what.
    pub protocol: Protocol,
    /// Ours, as the socket has it.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
}
