//! Bits of H.264 (ITU-T H.264 §7.2, §7.3.1 and Annex B).

/// What goes into one NAL unit, before emulation is prevented.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    partial: u8,
    /// Bits of it that are taken.
    taken: u32,
}

impl Writer {
    pub(super) fn new(header: u8) -> Self {
        Self {
            bytes: vec![header],
            partial: 0,
            taken: 0,
        }
    }

    pub(super) fn bits(&mut self, value: u32, count: u32) {
        for nth in (0..count).rev() {
            self.partial = (self.partial << 1) | u8::from((value >> nth) & 1 == 1);
            self.taken += 1;
            if self.taken == 8 {
                self.bytes.push(self.partial);
                (self.partial, self.taken) = (0, 0);
            }
        }
    }

    /// An unsigned Exp-Golomb code.
    pub(super) fn ue(&mut self, value: u32) {
        let coded = value + 1;
        let length = 32 - coded.leading_zeros();
        self.bits(0, length - 1);
        self.bits(coded, length);
    }

    /// A signed one, of zero.
    pub(super) fn se_zero(&mut self) {
        self.ue(0);
    }

    /// Whole bytes, after zeros up to the next.
    pub(super) fn aligned(&mut self, bytes: &[u8]) {
        while self.taken != 0 {
            self.bits(0, 1);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// `rbsp_trailing_bits`.
    pub(super) fn trailing(&mut self) {
        self.bits(1, 1);
        self.aligned(&[]);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Puts a NAL unit behind others, with its start code.
pub(super) fn nal(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    let mut zeros = 0;
    for byte in bytes {
        if zeros >= 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        out.push(*byte);
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
    }
}

/// The NAL units of an Annex B stream, without their start codes.
pub(super) fn nals(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = find(stream, at) {
        starts.push(found);
        at = found + 3;
    }
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    let bounds = starts.iter().zip(ends);
    bounds
        .filter_map(|(start, end)| {
            let nal = stream.get(start + 3..end)?;
            let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
            nal.get(..nal.len() - zeros)
        })
        .collect()
}

/// Where the next `00 00 01` is.
fn find(stream: &[u8], from: usize) -> Option<usize> {
    let rest = stream.get(from..)?;
    let mut windows = rest.windows(3);
    windows.position(|of| of == [0, 0, 1]).map(|at| from + at)
}

pub(super) fn without_emulation(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for byte in bytes {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        out.push(*byte);
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
    }
    out
}

/// Reads what [`Writer`] wrote.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            let bit = (byte >> (7 - self.at % 8)) & 1;
            value = (value << 1) | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }

    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bits(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.bits(zeros)?;
        Some((1_u32 << zeros) - 1 + rest)
    }

    /// Whole bytes, after what is left of this one.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let start = self.at.div_ceil(8);
        let bytes = self.bytes.get(start..start + count)?;
        self.at = (start + count) * 8;
        Some(bytes)
    }
}
