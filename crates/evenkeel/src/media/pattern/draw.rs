//! What is drawn: along the top the number as squares, below it as digits, and a bar that moves.
//!
//! No sample is below 16: nothing within a macroblock looks like a start code.

/// Macroblocks in a row.
pub(super) const COLUMNS: usize = 10;
/// Rows of macroblocks.
pub(super) const ROWS: usize = 6;
/// Samples of a macroblock: brightness, then two of colour at half the size.
pub(super) const BLOCK_BYTES: usize = 256 + 64 + 64;

/// One macroblock.
pub(super) type Block = [u8; BLOCK_BYTES];

const BLACK: u8 = 16;
const WHITE: u8 = 235;
const GREY: u8 = 96;
const NO_COLOUR: u8 = 128;
/// The row of the digits, and their first column.
const DIGITS: (usize, usize) = (2, 1);
const DIGIT_COUNT: usize = 8;

/// Three by five dots a digit, from the top left.
const GLYPHS: [u16; 10] = [
    0b111_101_101_101_111,
    0b010_110_010_010_111,
    0b111_001_111_100_111,
    0b111_001_111_001_111,
    0b101_101_111_001_001,
    0b111_100_111_001_111,
    0b111_100_111_101_111,
    0b111_001_010_010_010,
    0b111_101_111_101_111,
    0b111_101_111_001_111,
];

/// A macroblock of the picture of a number.
pub(super) fn block(number: u32, column: usize, row: usize) -> Block {
    if row == 0 {
        return squares(number, column);
    }
    let (digits, first) = DIGITS;
    if row == digits && (first..first + DIGIT_COUNT).contains(&column) {
        return digit(number, column - first);
    }
    ground(number, column, row)
}

/// Four of the forty squares: the number's bits, highest first, then those of its check.
fn squares(number: u32, column: usize) -> Block {
    let all = (u64::from(number) << 8) | u64::from(check(number));
    let four = all >> (4 * (COLUMNS - 1 - column));
    drawn(|x, y| {
        let nth = 3 - (x / 8 + 2 * (y / 8));
        if (four >> nth) & 1 == 1 { WHITE } else { BLACK }
    })
}

/// What four squares say, read in their middle; `None` if they are neither black nor white.
pub(super) fn read_squares(block: &[u8]) -> Option<u64> {
    let mut four = 0;
    for nth in 0..4 {
        let (x, y) = (nth % 2 * 8 + 4, nth / 2 * 8 + 4);
        let sample = *block.get(y * 16 + x)?;
        if sample.abs_diff(BLACK) > 40 && sample.abs_diff(WHITE) > 40 {
            return None;
        }
        four = (four << 1) | u64::from(sample > 128);
    }
    Some(four)
}

/// The number that forty squares say, if their check holds.
pub(super) fn number(squares: u64) -> Option<u32> {
    let number = u32::try_from(squares >> 8).ok()?;
    let said = u8::try_from(squares & 0xff).ok()?;
    (said == check(number)).then_some(number)
}

fn check(number: u32) -> u8 {
    let bytes = number.to_be_bytes();
    bytes.iter().fold(0xa5, |check, byte| {
        let turned: u8 = check;
        turned.rotate_left(3) ^ byte
    })
}

fn digit(number: u32, nth: usize) -> Block {
    let place = u32::try_from(DIGIT_COUNT - 1 - nth).unwrap_or_default();
    let digit = (number / 10_u32.pow(place)) % 10;
    let glyph = GLYPHS
        .get(usize::try_from(digit).unwrap_or_default())
        .copied()
        .unwrap_or_default();
    drawn(|x, y| {
        let (Some(x), Some(y)) = (x.checked_sub(3), y.checked_sub(0)) else {
            return BLACK;
        };
        let (dot, line) = (x / 3, y / 3);
        let lit = dot < 3 && line < 5 && (glyph >> (14 - (line * 3 + dot))) & 1 == 1;
        if lit { WHITE } else { BLACK }
    })
}

/// Bars of colour, and one that moves by a macroblock every five frames.
fn ground(number: u32, column: usize, row: usize) -> Block {
    let step = usize::try_from(number / 5).unwrap_or_default();
    let bar = step % COLUMNS == column && row > DIGITS.0;
    let level = if bar { WHITE } else { GREY };
    let mut block = drawn(|_, _| level);
    if !bar {
        let shade = u8::try_from(column * 16).unwrap_or_default();
        block[256..320].fill(48 + shade);
        block[320..].fill(208 - shade);
    }
    block
}

fn drawn(level: impl Fn(usize, usize) -> u8) -> Block {
    let mut block = [NO_COLOUR; BLOCK_BYTES];
    for y in 0..16 {
        for x in 0..16 {
            block[y * 16 + x] = level(x, y);
        }
    }
    block
}
