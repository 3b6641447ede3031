// SPDX-License-Identifier: MIT

//! Random numbers that are a function of a seed, on any machine and in any version.

/// A stream of them: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this name: streams of other names have nothing to do with it.
    pub fn new(seed: u64, name: &[u64]) -> Random {
        let mut random = Random(seed);
        for &part in name {
            random = Random(random.next() ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        }
        random.next();
        random
    }

    /// Any number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// One below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of a range, its end included.
    pub fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Yes, so often of a hundred times.
    pub fn percent(&mut self, yes: u64) -> bool {
        self.below(100) < yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::new(1, &[2, 3]);
        let first: Vec<u64> = (0..3).map(|_| random.below(1000)).collect();
        let mut again = Random::new(1, &[2, 3]);
        assert_eq!(first, (0..3).map(|_| again.below(1000)).collect::<Vec<_>>());
        let mut other = Random::new(1, &[3, 2]);
        assert_ne!(first, (0..3).map(|_| other.below(1000)).collect::<Vec<_>>());
    }

    #[test]
    fn numbers_keep_within_their_limits() {
        let mut random = Random::new(7, &[]);
        for _ in 0..1000 {
            assert!((3..=5).contains(&random.within(3..=5)));
        }
        assert!(!random.percent(0) && random.percent(100));
    }
}
