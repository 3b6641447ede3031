// SPDX-License-Identifier: MIT

//! Numbers that look random and come from a seed: SplitMix64, so that no update of a crate changes
//! what a seed means.

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of a seed and of what is behind it: process, life, thread.
    pub fn new(parts: &[u64]) -> Rng {
        let mut rng = Rng(0);
        for part in parts {
            rng.0 = rng.draw().wrapping_add(*part);
        }
        rng
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// Once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Some of these bits.
    pub fn some_of(&mut self, bits: u32) -> u32 {
        self.draw() as u32 & bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_one_sequence_and_another_another() {
        let take = |parts: &[u64]| -> Vec<u64> {
            let mut rng = Rng::new(parts);
            (0..8).map(|_| rng.draw()).collect()
        };
        assert_eq!(take(&[1, 2]), take(&[1, 2]));
        assert_ne!(take(&[1, 2]), take(&[2, 1]));
        assert_ne!(take(&[1, 0]), take(&[1]));
    }
}
