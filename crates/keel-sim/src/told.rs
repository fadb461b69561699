//! What a server tells, when it tells it: nothing of it may be ahead of the synced store.
//!
//! These laws are about the moment of sending. By the time that a client reads a frame the store has
//! often caught up, and a tale that was ahead of it looks true.

use keel_wire::{Receipt, ReceiptBody, ServerFrame, Welcome, codec::Decoded, limits};

use crate::world::World;

const LAW: &str = "nothing is told that is not kept";

impl World {
    pub(crate) fn check_told(&mut self, link: usize, bytes: &[u8]) {
        if bytes.len() > limits::FRAME_OUT_BYTES_MAX {
            let what = format!("#{link} is sent {} bytes", bytes.len());
            return self.breaks("a client can read every frame", what);
        }
        if let Some(to) = position(bytes) {
            return self.check_position(link, to);
        }
        let weighs = [
            r#"{"type":"welcome""#,
            r#"{"type":"gap""#,
            r#"{"type":"receipt""#,
        ]
        .iter()
        .any(|kind| bytes.starts_with(kind.as_bytes()));
        if !weighs {
            return;
        }
        match ServerFrame::decode(bytes, limits::FRAME_OUT_BYTES_MAX) {
            Ok(Decoded::Known(ServerFrame::Welcome(welcome))) => {
                self.check_welcome(link, &welcome);
            }
            Ok(Decoded::Known(ServerFrame::Gap(gap))) => self.check_position(link, gap.to.get()),
            Ok(Decoded::Known(ServerFrame::Receipt(receipt))) => {
                self.check_receipt_told(link, &receipt);
            }
            other => self.breaks(
                "a client can read every frame",
                format!("#{link}: {other:?}"),
            ),
        }
    }

    fn check_position(&mut self, link: usize, to: u64) {
        let group = self.actors[self.links[link].client].group;
        let Some(session) = self.sessions[group].clone() else {
            return;
        };
        let head = self.store.head_of(&session);
        if to > head {
            let what = format!("#{link} is told {to}, the store has {head}");
            self.breaks(LAW, what);
        }
    }

    fn check_welcome(&mut self, link: usize, welcome: &Welcome) {
        let Some(archive) = self.store.archive(&welcome.session) else {
            return self.breaks(LAW, format!("#{link} is welcomed to {}", welcome.session));
        };
        let (head, seq) = (archive.head(), welcome.cursor.seq.get());
        let version = welcome.params_version.get();
        let kept = archive.params_at(version);
        if seq > head {
            let what = format!("#{link} is welcomed at {seq}, the store has {head}");
            self.breaks(LAW, what);
        } else if kept != Some(&welcome.params) {
            let what = format!(
                "#{link} is welcomed with params {version} {}, the store has {kept:?}",
                welcome.params
            );
            self.breaks(LAW, what);
        }
    }

    fn check_receipt_told(&mut self, link: usize, receipt: &Receipt) {
        let ReceiptBody::Ok { turn, version, .. } = &receipt.body else {
            return;
        };
        let turn_kept = turn.as_ref().is_none_or(|turn| {
            let mut archives = self.store.archives();
            archives.any(|(_, archive)| archive.turns.contains_key(turn))
        });
        let version_kept = version.is_none_or(|version| {
            let mut archives = self.store.archives();
            archives.any(|(_, archive)| archive.versions() as u64 >= version.get())
        });
        if !turn_kept || !version_kept {
            self.breaks(LAW, format!("#{link} is told {receipt:?}"));
        }
    }
}

/// The last position that an event frame covers, read without parsing all of it.
fn position(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(br#"{"type":"event","from":"#)?;
    let comma = rest.iter().position(|byte| *byte == b',')?;
    let rest = rest[comma..].strip_prefix(br#","to":"#)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}
