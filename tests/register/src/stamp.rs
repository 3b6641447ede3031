// SPDX-License-Identifier: MIT

//! What is written into blocks, so that each cell of them says who wrote it and where it belongs.
//!
//! ```
//! use abuse_register::{stamp::Stamp, Seen, Tag, Value};
//!
//! let stamp = Stamp::new(42);
//! let mut block = vec![0; 4096];
//! assert_eq!(stamp.read(7, &block), Seen::Whole(Value::BLANK));
//! let value = Tag::new(3, 1000).value();
//! stamp.write(7, value, &mut block);
//! assert_eq!(stamp.read(7, &block), Seen::Whole(value));
//! block[200] ^= 1;
//! assert!(matches!(stamp.read(7, &block), Seen::Torn(_)));
//! ```

use crate::history::{Cell, Seen, Value};

/// Bytes of a cell. A block is a multiple of it.
pub const CELL: usize = 64;

const WORDS: usize = CELL / 8;
type Words = [u64; WORDS];

/// The stamps of one disk.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    generation: u64,
}

impl Stamp {
    /// A disk of another generation has other stamps.
    pub fn new(generation: u64) -> Stamp {
        Stamp { generation }
    }

    /// Fills a block.
    pub fn write(&self, block: u64, value: Value, bytes: &mut [u8]) {
        for (index, cell) in bytes.chunks_exact_mut(CELL).enumerate() {
            let words = self.words(block, index as u64, value);
            for (bytes, word) in cell.chunks_exact_mut(8).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// Looks at what is in a block.
    pub fn read(&self, block: u64, bytes: &[u8]) -> Seen {
        let look = |(index, cell): (usize, &[u8])| self.cell(block, index as u64, cell);
        let mut cells = bytes.chunks_exact(CELL).enumerate().map(look);
        let first = cells.next();
        match first {
            Some(Cell::Value(value)) if cells.all(|cell| cell == Cell::Value(value)) => {
                Seen::Whole(value)
            }
            _ => {
                let cells: Vec<Cell> = bytes.chunks_exact(CELL).enumerate().map(look).collect();
                Seen::of(&cells)
            }
        }
    }

    fn cell(&self, block: u64, index: u64, bytes: &[u8]) -> Cell {
        let mut words: Words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(bytes);
            *word = u64::from_le_bytes(eight);
        }
        if words == [0; WORDS] {
            return Cell::Value(Value::BLANK);
        }
        if words[WORDS - 1] != checksum(&words) {
            return Cell::Broken;
        }
        let value = Value::from_bits(words[1]);
        match words == self.words(block, index, value) {
            true => Cell::Value(value),
            false => Cell::Foreign,
        }
    }

    /// Generation, value, block, cell, three words that follow from these, and a checksum.
    fn words(&self, block: u64, index: u64, value: Value) -> Words {
        let mut words = [self.generation, value.bits(), block, index, 0, 0, 0, 0];
        let mut state = mix(words[..4].iter().fold(0, |state, word| mix(state ^ word)));
        for word in &mut words[4..WORDS - 1] {
            state = mix(state);
            *word = state;
        }
        words[WORDS - 1] = checksum(&words);
        words
    }
}

/// Of all words but the last; never 0, so that no cell of zeros is anybody's.
fn checksum(words: &Words) -> u64 {
    let sum = |state: u64, word: &u64| mix(state.rotate_left(17) ^ word);
    words[..WORDS - 1].iter().fold(0x6162_7573_6563_6865, sum) | 1
}

/// The finisher of splitmix64: every bit of the result hangs on every bit of its argument.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tag;

    const BLOCK: usize = 512;

    fn block_of(stamp: Stamp, block: u64, sequence: u64) -> Vec<u8> {
        let mut bytes = vec![0xff; BLOCK];
        stamp.write(block, Tag::new(1, sequence).value(), &mut bytes);
        bytes
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let stamp = Stamp::new(5);
        let good = block_of(stamp, 9, 3);
        for bit in 0..BLOCK * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let Seen::Torn(cells) = stamp.read(9, &bad) else {
                panic!("bit {bit} was not seen");
            };
            assert_eq!(cells[bit / 8 / CELL], Cell::Broken);
        }
    }

    #[test]
    fn what_belongs_elsewhere_is_foreign() {
        let stamp = Stamp::new(5);
        let foreign = Seen::Torn(vec![Cell::Foreign; BLOCK / CELL].into());
        assert_eq!(stamp.read(8, &block_of(stamp, 9, 3)), foreign);
        assert_eq!(stamp.read(9, &block_of(Stamp::new(6), 9, 3)), foreign);
        let mut shifted = block_of(stamp, 9, 3);
        shifted.rotate_left(CELL);
        assert_eq!(stamp.read(9, &shifted), foreign);
    }

    #[test]
    fn two_writes_that_mix_are_told_apart() {
        let stamp = Stamp::new(5);
        let (one, two) = (block_of(stamp, 9, 3), block_of(stamp, 9, 4));
        let half = [&one[..BLOCK / 2], &two[BLOCK / 2..]].concat();
        let seen = stamp.read(9, &half);
        assert_eq!(seen.to_string(), "0-3: 1/3, 4-7: 1/4");
    }
}
