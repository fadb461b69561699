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

    /// A path is no more; whose it was.
    pub(crate) fn unbind(&mut self, path: Path) -> Option<PeerId> {
        let peer = self.paths.remove(&path)?;
        if let Some(paths) = self.of_peer.get_mut(&peer) {
            paths.retain(|known| *known != path);
        }
        Some(peer)
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
        // Some answer with the user name of the request, in which the other side's fragment is first:
        // an answer claims nothing, it is known by what it answers.
        let claimed = message
            .split_username()
            .filter(|_| message.is_binding_request());
        let claimed = claimed.map(|(ours, _)| ours);
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

    /// A message of STUN with a user name, a priority, an address and a MAC of nothing (RFC 8489 §5, §14).
    fn stun(kind: [u8; 2], name: &[u8]) -> Vec<u8> {
        let padded = name.len().next_multiple_of(4);
        let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
        let mut bytes = Vec::from(kind);
        bytes.extend(length(4 + padded + 8 + 12 + 24));
        bytes.extend([0x21, 0x12, 0xa4, 0x42]);
        bytes.extend([7; 12]);
        bytes.extend([0, 6]);
        bytes.extend(length(name.len()));
        bytes.extend(name);
        bytes.resize(24 + padded, 0);
        bytes.extend([0, 0x24, 0, 4, 0, 0, 0, 1]);
        bytes.extend([0, 0x20, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6]);
        bytes.extend([0, 8, 0, 20]);
        bytes.resize(bytes.len() + 20, 0);
        bytes
    }

    /// libnice puts the request's user name into its answer, with its own fragment first.
    #[test]
    fn an_answer_is_known_by_what_it_answers_and_not_by_a_name() {
        let mut demux = Demux::default();
        demux.name(PeerId(1), vec!["ours".to_owned()]);
        demux.name(PeerId(2), vec!["ours2".to_owned()]);
        let request = stun([0, 1], b"ours:them");
        let owner = |demux: &Demux, bytes: &[u8]| demux.sight(path(9), bytes).owner;
        assert_eq!(owner(&demux, &request), Owner::Claims(PeerId(1)));
        assert_eq!(owner(&demux, &stun([0, 1], b"them:ours")), Owner::Nobody);
        let answer = stun([1, 1], b"them:ours");
        assert_eq!(owner(&demux, &answer), Owner::Anybody);
        demux.bind(PeerId(1), path(9));
        assert_eq!(owner(&demux, &answer), Owner::Bound(PeerId(1)));
        // A forged one that names another is still the path's, whose keys it has to pass.
        let forged = stun([1, 1], b"ours2:them");
        assert_eq!(owner(&demux, &forged), Owner::Bound(PeerId(1)));
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
