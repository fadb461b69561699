//! IVF: a header of 32 bytes, then each frame behind its size and its time.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    sync::Arc,
    time::Duration,
};

use keel_media::Codec;

use super::{FRAME_BYTES_MAX, FileError, Frame, annex_b};

const SIGNATURE: &[u8; 4] = b"DKIF";
const HEADER_BYTES: u16 = 32;
/// Ticks a second of what is written here: that of RTP's clock of pictures.
const CLOCK: u32 = 90_000;

/// Codecs, and the four letters by which IVF knows them.
const FOURCC: [(Codec, &[u8; 4]); 4] = [
    (Codec::Vp8, b"VP80"),
    (Codec::Vp9, b"VP90"),
    (Codec::Av1, b"AV01"),
    (Codec::H264, b"H264"),
];

pub(super) fn fourcc(codec: Codec) -> Option<[u8; 4]> {
    let mut known = FOURCC.iter();
    known.find(|(of, _)| *of == codec).map(|(_, name)| **name)
}

#[derive(Debug)]
pub(super) struct Reader<R> {
    from: R,
    codec: Codec,
    /// Seconds a tick: numerator and denominator.
    tick: (u64, u64),
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut from: R) -> Result<Self, FileError> {
        let mut header = [0; HEADER_BYTES as usize];
        let cut = |_| FileError::Malformed("its header breaks off");
        from.read_exact(&mut header).map_err(cut)?;
        let u32_at = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u32::from_le_bytes(bytes)
        };
        if &header[..4] != SIGNATURE {
            return Err(FileError::Malformed("it does not begin as IVF"));
        }
        if u16::from_le_bytes([header[6], header[7]]) != HEADER_BYTES {
            return Err(FileError::Malformed("its header has another size"));
        }
        let named = &header[8..12];
        let mut known = FOURCC.iter();
        let codec = known.find(|(_, name)| name.as_slice() == named);
        let codec = codec.map(|(codec, _)| *codec).ok_or_else(|| {
            let name = named.escape_ascii().to_string();
            FileError::Codec(name)
        })?;
        let (rate, scale) = (u32_at(16), u32_at(20));
        if rate == 0 || scale == 0 {
            return Err(FileError::Malformed("it has no clock"));
        }
        let tick = (scale.into(), rate.into());
        Ok(Self { from, codec, tick })
    }

    pub(super) const fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) fn next(&mut self) -> Result<Option<Frame>, FileError> {
        let mut header = [0; 12];
        let first = self.from.read(&mut header)?;
        if first == 0 {
            return Ok(None);
        }
        let cut = |_| FileError::Malformed("a picture breaks off");
        let rest = header.get_mut(first..).unwrap_or_default();
        self.from.read_exact(rest).map_err(cut)?;
        let [a, b, c, d, time @ ..] = header;
        let bytes = u32::from_le_bytes([a, b, c, d]);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes > FRAME_BYTES_MAX {
            return Err(FileError::Malformed("a picture is too large"));
        }
        let mut data = vec![0; bytes];
        self.from.read_exact(&mut data).map_err(cut)?;
        let (scale, rate) = self.tick;
        let ticks = u128::from(u64::from_le_bytes(time));
        let nanos = ticks * u128::from(scale) * 1_000_000_000 / u128::from(rate);
        Ok(Some(Frame {
            key: is_key(self.codec, &data),
            timestamp: Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
            data: Arc::from(data),
        }))
    }
}

fn is_key(codec: Codec, data: &[u8]) -> bool {
    let first = data.first().copied().unwrap_or(0xff);
    match codec {
        // RFC 6386 §9.1: the bit says that it is none.
        Codec::Vp8 => first & 1 == 0,
        // A frame marker of 2, profile below 3, not shown again, and no other frame type.
        Codec::Vp9 => first & 0b1100_1100 == 0b1000_0000,
        Codec::H264 => annex_b::is_key(data),
        // OBUs: a sequence header comes before each keyframe.
        Codec::Av1 => {
            let second = data.get(2).copied().unwrap_or(0);
            let is_sequence = |obu: u8| (obu >> 3) & 0x0f == 1;
            is_sequence(first) || is_sequence(second)
        }
        Codec::Opus | Codec::Other => false,
    }
}

#[derive(Debug)]
pub(super) struct Writer<W> {
    to: W,
    frames: u32,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file with the size of its first picture, where that is known.
    pub(super) fn new(mut to: W, fourcc: [u8; 4], first: &[u8]) -> Result<Self, FileError> {
        let (width, height) = size(fourcc, first);
        to.write_all(SIGNATURE)?;
        to.write_all(&0_u16.to_le_bytes())?;
        to.write_all(&HEADER_BYTES.to_le_bytes())?;
        to.write_all(&fourcc)?;
        to.write_all(&width.to_le_bytes())?;
        to.write_all(&height.to_le_bytes())?;
        to.write_all(&CLOCK.to_le_bytes())?;
        to.write_all(&1_u32.to_le_bytes())?;
        to.write_all(&[0; 8])?;
        Ok(Self { to, frames: 0 })
    }

    pub(super) fn write(&mut self, time: Duration, data: &[u8]) -> Result<(), FileError> {
        let bytes = u32::try_from(data.len());
        let bytes = bytes.map_err(|_| FileError::Malformed("a picture is too large"))?;
        let ticks = (time.as_nanos() * u128::from(CLOCK) + 500_000_000) / 1_000_000_000;
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        self.to.write_all(&bytes.to_le_bytes())?;
        self.to.write_all(&ticks.to_le_bytes())?;
        self.to.write_all(data)?;
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }

    /// Says in the header how many there are.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        self.to.seek(SeekFrom::Start(24))?;
        self.to.write_all(&self.frames.to_le_bytes())?;
        self.to.flush()?;
        Ok(())
    }
}

/// Of a keyframe of VP8 (RFC 6386 §9.1); players find that of the others in the pictures.
fn size(fourcc: [u8; 4], first: &[u8]) -> (u16, u16) {
    match first {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if &fourcc == b"VP80" => {
            let of = |low: u8, high: u8| u16::from_le_bytes([low, high]) & 0x3fff;
            (of(*w0, *w1), of(*h0, *h1))
        }
        _ => (0, 0),
    }
}
