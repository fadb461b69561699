//! A camera without a lens, and a screen: pictures that bear numbers go out, and those that come back are
//! told by their numbers.
//!
//! A picture is VP8 as far as a server looks into it (RFC 7741), and the drill's own beyond that, so what
//! comes back is judged without any code of what is drilled: byte by byte, and by the rule of decoders,
//! that a picture which is no keyframe needs the one before it.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use evenkeel::{
    Session,
    media::{Codec, Frame, Frames, Publish, Publisher},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::voice::Voice;
use crate::ledger::Seen;

/// From a picture to the next: 30 a second.
const PERIOD: Duration = Duration::from_millis(33);
/// Bytes of a picture: a packet, and several.
const BYTES: usize = 900;
const KEY_BYTES: usize = 6_000;
/// Pictures between two keyframes that nobody asked for.
const KEY_EVERY: u64 = 300;
const MAGIC: &[u8; 4] = b"keel";
/// An uncompressed header of a keyframe (RFC 6386 §9.1): tag, start code, 640 by 360.
const KEY_HEAD: [u8; 10] = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
const HEAD: [u8; 3] = [0x11, 0, 0];

/// What is done to the camera on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trick {
    /// No picture is made.
    pub(super) frozen: bool,
    /// No picture is a keyframe.
    pub(super) keyless: bool,
}

/// A camera that runs, and a screen. Dropping it ends both.
#[derive(Debug)]
pub(super) struct Camera {
    pub(super) trick: watch::Sender<Trick>,
    tasks: JoinSet<()>,
}

impl Camera {
    /// Shows what the session sends, and publishes unless it only watches.
    pub(super) async fn start(session: &Session, voice: &Voice, publishes: bool) -> Result<Self> {
        let media = session.media();
        let (trick, seen) = watch::channel(Trick::default());
        let mut tasks = JoinSet::new();
        let shown = media.receive().await;
        tasks.spawn(screen(shown, voice.clone()));
        if publishes {
            let what = Publish::video("camera", Codec::Vp8);
            let publisher = media.publish(what).await;
            let publisher = publisher.map_err(|error| anyhow!("{}", error.fault()))?;
            tasks.spawn(film(publisher, seen, Some(voice.clone())));
        }
        Ok(Self { trick, tasks })
    }

    /// Publishes one more track, whose pictures are not told.
    pub(super) async fn extra(&mut self, session: &Session, name: &str) -> Result<()> {
        let what = Publish::video(name, Codec::Vp8);
        let publisher = session.media().publish(what).await;
        let publisher = publisher.map_err(|error| anyhow!("{}", error.fault()))?;
        self.tasks
            .spawn(film(publisher, self.trick.subscribe(), None));
        Ok(())
    }
}

async fn film(publisher: Publisher, trick: watch::Receiver<Trick>, voice: Option<Voice>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut n, mut since_key) = (0, KEY_EVERY);
    loop {
        ticks.tick().await;
        let Trick { frozen, keyless } = *trick.borrow();
        if frozen {
            continue;
        }
        let wanted = publisher.take_keyframe_wanted();
        let key = (wanted || since_key >= KEY_EVERY) && !keyless;
        since_key = if key { 1 } else { since_key + 1 };
        n += 1;
        let frame = Frame {
            data: Arc::from(picture(n, key)),
            timestamp: PERIOD * u32::try_from(n).unwrap_or(u32::MAX),
            key,
        };
        if let Some(voice) = &voice {
            voice.tell(Seen::Sent { n });
        }
        // A picture that is not taken is lost, and its number says so.
        let _ = publisher.send_frame(frame);
    }
}

async fn screen(mut frames: Frames, voice: Voice) {
    // The last picture of each track that a decoder has.
    let mut decoded = std::collections::BTreeMap::new();
    while let Some(got) = frames.next().await {
        let of = format!("{}/{}", got.participant, got.track);
        let Some((n, key)) = read(&got.frame.data) else {
            let text = format!("damaged: {} bytes of {of}", got.frame.data.len());
            voice.tell(Seen::Note { text });
            continue;
        };
        let last = decoded.get(&of).copied();
        if key || last.is_some_and(|last| n <= last + 1) {
            decoded.insert(of.clone(), n.max(last.unwrap_or(0)));
            voice.tell(Seen::Frame { of, n, wide: 0 });
        }
    }
}

/// A picture of that number.
fn picture(n: u64, key: bool) -> Vec<u8> {
    let (head, length): (&[u8], usize) = if key {
        (&KEY_HEAD, KEY_BYTES)
    } else {
        (&HEAD, BYTES)
    };
    let mut bytes = head.to_vec();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&n.to_be_bytes());
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes
}

/// The number of a picture, and whether it is a keyframe, if every byte of it is as it was made.
fn read(bytes: &[u8]) -> Option<(u64, bool)> {
    let key = bytes.first()? & 1 == 0;
    let head = if key { KEY_HEAD.len() } else { HEAD.len() };
    let rest = bytes.get(head..)?.strip_prefix(MAGIC)?;
    let n = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
    (picture(n, key) == bytes).then_some((n, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_only_if_every_byte_is_right() {
        for key in [true, false] {
            let whole = picture(70_000, key);
            assert_eq!(read(&whole), Some((70_000, key)));
            let mut bent = whole.clone();
            if let Some(byte) = bent.last_mut() {
                *byte ^= 1;
            }
            assert_eq!(read(&bent), None);
            assert_eq!(read(&whole[..whole.len() - 1]), None);
        }
    }
}
