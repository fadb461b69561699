//! On which way a peer is, and where what goes to it goes when that way is gone.

use std::time::Instant;

use super::{Output, Outputs, PeerId, Plane};
use crate::{limits, path::Path};

impl Plane {
    /// The other side is heard on a path that it uses. After a change of its address (another network,
    /// a NAT that forgot it) that is another one, and the old one leads nowhere: what is sent to it
    /// follows at once, instead of when checks have failed for long enough.
    pub(super) fn note_path(&mut self, now: Instant, id: PeerId, path: Path, out: &mut Outputs) {
        let Some(entry) = self.peers.get_mut(&id) else {
            return;
        };
        match entry.path {
            Some((known, _)) if known == path => entry.path = Some((path, now)),
            Some((known, heard)) => {
                if now.saturating_duration_since(heard) < limits::PATH_SILENT_AFTER {
                    return;
                }
                entry.path = Some((path, now));
                entry.peer.forsake(now, known);
                out.push(Output::Moved { peer: id });
                // What was on the old way is lost, requests for keyframes among it.
                self.refresh(now, id);
                self.drain(now, id, out);
            }
            None => entry.path = Some((path, now)),
        }
    }

    /// A way is no more.
    pub(super) fn path_gone(&mut self, now: Instant, path: Path, out: &mut Outputs) {
        let Some(id) = self.demux.unbind(path) else {
            return;
        };
        if let Some(entry) = self.peers.get_mut(&id) {
            entry.path.take_if(|(known, _)| *known == path);
            entry.peer.forsake(now, path);
            self.drain(now, id, out);
        }
    }
}
