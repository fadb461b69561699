//! Whose datagram it is.
//!
//! Only a check that proves to know a peer's password binds an address to that peer (RFC 8445 §7.3);
//! everything else is taken from addresses that are bound, or dropped without an answer: a stranger's
//! ClientHello, RTP that comes before anything is agreed, garbage (RFC 9147 §5.1, RFC 7983).

use std::collections::{BTreeMap, HashMap, VecDeque};

use str0m::ice::StunMessage;

use crate::{path::Path, plane::PeerId};

/// Paths of one peer; the one that was not proven for the longest time is forgotten beyond.
const PATHS_MAX: usize = 16;

/// Whose a datagram may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It comes on a path that this peer has proven.
    Bound(PeerId),
    /// It claims to be this peer's: that is to be proven.
    Claims(PeerId),
    /// An answer to a check of somebody's: whoever accepts it.
    Anybody,
    /// Nobody's.
    Nobody,
}

/// What can be said of a datagram before any key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) owner: Owner,
    /// The other side uses this path, and does not merely look whether it could.
    pub(crate) in_use: bool,
    /// It is a check or an answer to one.
    pub(crate) is_check: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    fragments: BTreeMap<String, PeerId>,
    paths: HashMap<Path, PeerId>,
    /// The paths of each peer, the one that was proven last at the end.
    of_peer: BTreeMap<PeerId, VecDeque<Path>>,
}

impl Demux {
    /// Checks to this fragment are a peer's.
    pub(crate) fn name(&mut self, peer: PeerId, fragments: Vec<String>) {
        self.fragments
            .retain(|fragment, of| *of != peer || fragments.contains(fragment));
        for fragment in fragments {
            self.fragments.insert(fragment, peer);
        }
    }

    /// A path is proven, or proven again: it is the last to be forgotten.
    pub(crate) fn bind(&mut self, peer: PeerId, path: Path) {
        if let Some(before) = self.paths.insert(path, peer) {
            if before == peer && self.of_peer.get(&peer).and_then(VecDeque::back) == Some(&path) {
                return;
            }
            if let Some(paths) = self.of_peer.get_mut(&before) {
                paths.retain(|known| *known != path);
            }
        }
        let paths = self.of_peer.entry(peer).or_default();
        paths.push_back(path);
        if paths.len() > PATHS_MAX
            && let Some(oldest) = paths.pop_front()
        {
            self.paths.remove(&oldest);
        }
    }

    /// A peer is gone.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.fragments.retain(|_, of| *of != peer);
        for path in self.of_peer.remove(&peer).into_iter().flatten() {
            self.paths.remove(&path);
        }
    }

    /// Whose a datagram is.
    pub(crate) fn sight(&self, path: Path, bytes: &[u8]) -> Sighting {
        let bound = self.paths.get(&path).copied();
        if !matches!(bytes.first(), Some(0..=3)) {
            return Sighting {
                owner: bound.map_or(Owner::Nobody, Owner::Bound),
                in_use: true,
                is_check: false,
            };
        }
        let Ok(message) = StunMessage::parse(bytes) else {
            return Sighting {
                owner: Owner::Nobody,
                in_use: false,
                is_check: false,
            };
        };
        Sighting {
            owner: self.owner(&message, bound),
            in_use: message.use_candidate(),
            is_check: true,
        }
    }

    fn owner(&self, message: &StunMessage<'_>, bound: Option<PeerId>) -> Owner {
        let claimed = message.split_username().map(|(ours, _)| ours);
        match (claimed, bound) {
            (Some(fragment), _) => match self.fragments.get(fragment) {
                Some(peer) if bound == Some(*peer) => Owner::Bound(*peer),
                Some(peer) => Owner::Claims(*peer),
                None => Owner::Nobody,
            },
            (None, Some(peer)) => Owner::Bound(peer),
            (None, None) => Owner::Anybody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Protocol;

    fn path(port: u16) -> Path {
        Path {
            protocol: Protocol::Udp,
            local: ([127, 0, 0, 1], 7081).into(),
            remote: ([127, 0, 0, 1], port).into(),
        }
    }

    const DTLS: [u8; 3] = [22, 254, 253];

    #[test]
    fn a_stranger_is_nobody_a42_a43_a48() {
        let demux = Demux::default();
        for bytes in [&DTLS[..], &[0x80, 96], &[], &[0, 1, 0, 0], &[255; 40]] {
            assert_eq!(
                demux.sight(path(9), bytes).owner,
                Owner::Nobody,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_bound_path_is_its_peers_until_it_is_gone() {
        let mut demux = Demux::default();
        demux.bind(PeerId(1), path(9));
        assert_eq!(demux.sight(path(9), &DTLS).owner, Owner::Bound(PeerId(1)));
        // Another peer of the same address, as after a reload of a page.
        demux.bind(PeerId(2), path(9));
        assert_eq!(demux.sight(path(9), &DTLS).owner, Owner::Bound(PeerId(2)));
        demux.forget(PeerId(1));
        assert_eq!(demux.sight(path(9), &DTLS).owner, Owner::Bound(PeerId(2)));
        demux.forget(PeerId(2));
        assert_eq!(demux.sight(path(9), &DTLS).owner, Owner::Nobody);
    }

    #[test]
    fn a_path_that_is_proven_again_and_again_is_kept() {
        let mut demux = Demux::default();
        for port in 1..1_000 {
            demux.bind(PeerId(1), path(9));
            demux.bind(PeerId(1), path(port));
        }
        assert_eq!(demux.paths.len(), PATHS_MAX);
        assert_eq!(demux.sight(path(9), &DTLS).owner, Owner::Bound(PeerId(1)));
    }

    #[test]
    fn paths_of_a_peer_are_bounded() {
        let mut demux = Demux::default();
        for port in 1..1_000 {
            demux.bind(PeerId(1), path(port));
        }
        assert_eq!(demux.paths.len(), PATHS_MAX);
        assert_eq!(demux.sight(path(999), &DTLS).owner, Owner::Bound(PeerId(1)));
        assert_eq!(demux.sight(path(1), &DTLS).owner, Owner::Nobody);
    }
}
