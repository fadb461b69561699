//! Pictures from files, and into them: IVF, and H.264 as Annex B (`.h264`).

mod annex_b;
mod ivf;

use std::{
    fs::File,
    io::{self, BufReader, BufWriter},
    path::Path,
    time::Duration,
};

use keel_media::Codec;

use super::{Frame, Received};

/// Bytes of one frame of a file; then it is no file of pictures.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what its name says.
    #[error("it is not what its name says: {0}")]
    Malformed(&'static str),
    /// Its name ends neither in `.ivf` nor in `.h264`.
    #[error("its name ends neither in .ivf nor in .h264")]
    UnknownFormat,
    /// It carries what cannot be sent, or cannot be written to it.
    #[error("it cannot carry {0}")]
    Codec(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ivf,
    AnnexB,
}

impl Format {
    fn of(path: &Path) -> Result<Self, FileError> {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("ivf") => Ok(Self::Ivf),
            Some("h264" | "264") => Ok(Self::AnnexB),
            Some(_) | None => Err(FileError::UnknownFormat),
        }
    }
}

/// Reads the pictures of a file, one after the other.
#[derive(Debug)]
pub struct Reader(Source);

#[derive(Debug)]
enum Source {
    Ivf(ivf::Reader<BufReader<File>>),
    AnnexB(annex_b::Reader<BufReader<File>>),
}

impl Reader {
    /// Opens a file. H.264 has no clock: its pictures are `period` apart.
    ///
    /// # Errors
    /// When it cannot be read, or is not what its name says.
    pub fn open(path: &Path, period: Duration) -> Result<Self, FileError> {
        let format = Format::of(path)?;
        let file = BufReader::new(File::open(path)?);
        Ok(Self(match format {
            Format::Ivf => Source::Ivf(ivf::Reader::new(file)?),
            Format::AnnexB => Source::AnnexB(annex_b::Reader::new(file, period)),
        }))
    }

    /// How its pictures are coded.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        match &self.0 {
            Source::Ivf(ivf) => ivf.codec(),
            Source::AnnexB(_) => Codec::H264,
        }
    }

    /// The next picture; `None` at the end.
    ///
    /// # Errors
    /// When the file breaks off, or cannot be read.
    pub fn read(&mut self) -> Result<Option<Frame>, FileError> {
        match &mut self.0 {
            Source::Ivf(ivf) => ivf.next(),
            Source::AnnexB(annex_b) => annex_b.next(),
        }
    }
}

/// Writes pictures to a file, from the first keyframe on.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    file: Option<BufWriter<File>>,
    ivf: Option<ivf::Writer<BufWriter<File>>>,
    /// Of the first frame.
    origin: Option<Duration>,
    codec: Option<Codec>,
    frames: u64,
}

impl Writer {
    /// Makes a file, or empties it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let format = Format::of(path)?;
        let file = BufWriter::new(File::create(path)?);
        Ok(Self {
            format,
            file: Some(file),
            ivf: None,
            origin: None,
            codec: None,
            frames: 0,
        })
    }

    /// Writes a picture. False if it was passed over, since nothing can be shown of it: no keyframe came
    /// before.
    ///
    /// # Errors
    /// When it cannot be written, or the file cannot carry its codec.
    pub fn write(&mut self, received: &Received) -> Result<bool, FileError> {
        let refuse = || Err(FileError::Codec(format!("{:?}", received.codec)));
        if self.codec.is_some_and(|codec| codec != received.codec) {
            return refuse();
        }
        let frame = &received.frame;
        if self.origin.is_none() && !frame.key {
            return Ok(false);
        }
        match self.format {
            Format::AnnexB if received.codec != Codec::H264 => return refuse(),
            Format::AnnexB => {
                if let Some(file) = &mut self.file {
                    io::Write::write_all(file, &frame.data)?;
                }
            }
            Format::Ivf => {
                if let Some(file) = self.file.take() {
                    let Some(fourcc) = ivf::fourcc(received.codec) else {
                        return refuse();
                    };
                    self.ivf = Some(ivf::Writer::new(file, fourcc, &frame.data)?);
                }
                let origin = self.origin.unwrap_or(frame.timestamp);
                if let Some(ivf) = &mut self.ivf {
                    ivf.write(frame.timestamp.saturating_sub(origin), &frame.data)?;
                }
            }
        }
        self.codec = Some(received.codec);
        self.origin = self.origin.or(Some(frame.timestamp));
        self.frames += 1;
        Ok(true)
    }

    /// Ends the file; the pictures in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<u64, FileError> {
        if let Some(file) = &mut self.file {
            io::Write::flush(file)?;
        }
        if let Some(ivf) = self.ivf.take() {
            ivf.finish()?;
        }
        Ok(self.frames)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use keel_media::Kind;

    use super::*;
    use crate::media::pattern::{self, Pattern};

    fn received(codec: Codec, frame: Frame) -> Received {
        Received {
            participant: "p-1".parse().expect("an id"),
            track: "camera".parse().expect("a name"),
            kind: Kind::Video,
            codec,
            frame,
            contiguous: true,
            peer: 1,
            at: Instant::now(),
        }
    }

    fn read_all(path: &Path) -> Vec<Frame> {
        let mut reader = Reader::open(path, Duration::from_millis(40)).expect("opened");
        let mut frames = Vec::new();
        while let Some(frame) = reader.read().expect("a picture or the end") {
            frames.push(frame);
        }
        frames
    }

    #[test]
    fn what_is_written_is_read_back_from_the_first_keyframe_on() {
        let dir = tempfile::TempDir::new().expect("a directory");
        for name in ["out.h264", "out.ivf"] {
            let path = dir.path().join(name);
            let mut writer = Writer::create(&path).expect("made");
            let mut pattern = Pattern::new(25);
            pattern.frame(true);
            let before = received(Codec::H264, pattern.frame(false));
            assert!(!writer.write(&before).expect("passed over"));
            for n in 0..40 {
                let frame = received(Codec::H264, pattern.frame(n == 0 || n == 20));
                assert!(writer.write(&frame).expect("written"));
            }
            assert_eq!(writer.finish().expect("ended"), 40);
            let frames = read_all(&path);
            let numbers: Vec<_> = frames.iter().map(|f| pattern::number(&f.data)).collect();
            let expected: Vec<_> = (2..42).map(Some).collect();
            assert_eq!(numbers, expected, "{name}");
            let keys: Vec<_> = frames.iter().filter(|f| f.key).collect();
            assert_eq!(keys.len(), 2, "{name}");
            assert_eq!(keys[1].timestamp, Duration::from_millis(800), "{name}");
        }
    }

    #[test]
    fn vp8_goes_into_ivf_and_not_into_h264() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let key = [
            0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 1, 2, 3,
        ];
        let frame = |data: &[u8], ms, key| {
            let frame = Frame {
                data: data.into(),
                timestamp: Duration::from_millis(ms),
                key,
            };
            received(Codec::Vp8, frame)
        };
        let path = dir.path().join("out.ivf");
        let mut writer = Writer::create(&path).expect("made");
        assert!(writer.write(&frame(&key, 1_000, true)).expect("written"));
        assert!(
            writer
                .write(&frame(&[0x11, 0, 0, 9], 1_033, false))
                .expect("written")
        );
        writer.finish().expect("ended");
        let bytes = std::fs::read(&path).expect("a file");
        assert_eq!(&bytes[8..12], b"VP80");
        assert_eq!(&bytes[12..16], &[0x40, 0x01, 0xf0, 0x00], "320 by 240");
        assert_eq!(&bytes[24..28], &[2, 0, 0, 0], "two pictures");
        let frames = read_all(&path);
        assert_eq!(frames.len(), 2);
        assert!(frames[0].key && !frames[1].key);
        assert_eq!(frames[1].timestamp, Duration::from_millis(33));
        let mut writer = Writer::create(&dir.path().join("out.h264")).expect("made");
        assert!(matches!(
            writer.write(&frame(&key, 0, true)),
            Err(FileError::Codec(_))
        ));
    }

    #[test]
    fn what_is_no_file_of_pictures_is_refused() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let open = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            let mut reader = Reader::open(&path, Duration::from_millis(40))?;
            while reader.read()?.is_some() {}
            Ok::<_, FileError>(())
        };
        assert!(matches!(open("a.mp4", b""), Err(FileError::UnknownFormat)));
        assert!(matches!(
            open("a.ivf", b"DKIF"),
            Err(FileError::Malformed(_))
        ));
        let mut huge = b"DKIF\0\0\x20\0VP80\x10\0\x10\0".to_vec();
        huge.extend([0x1e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(open("b.ivf", &huge).is_ok(), "no picture at all");
        let mut cut = huge.clone();
        cut.extend([9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(matches!(open("c.ivf", &cut), Err(FileError::Malformed(_))));
        huge.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(open("d.ivf", &huge), Err(FileError::Malformed(_))));
        assert!(matches!(
            open("a.h264", &[7; 64]),
            Err(FileError::Malformed(_))
        ));
    }
}
