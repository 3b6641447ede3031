// SPDX-License-Identifier: MIT

//! What the counting emulator has written of a phase (`tests/bench/count`).

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context, Result};

/// A block of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) address: u64,
    pub(crate) instructions: u64,
    /// How often it was entered.
    pub(crate) times: u64,
}

/// The blocks of a phase.
pub(crate) fn read(path: &Path) -> Result<Vec<Block>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    parse(&bytes).with_context(|| path.display().to_string())
}

fn parse(bytes: &[u8]) -> Result<Vec<Block>> {
    ensure!(bytes.len() % 24 == 0, "not whole records");
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |all, &byte| (all << 8) | u64::from(byte))
    };
    let block = |record: &[u8]| Block {
        address: number(&record[..8]),
        instructions: number(&record[8..16]),
        times: number(&record[16..]),
    };
    Ok(bytes.chunks_exact(24).map(block).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_three_numbers() {
        let mut bytes = vec![0; 48];
        bytes[0] = 1;
        bytes[9] = 2;
        bytes[47] = 3;
        let blocks = parse(&bytes).unwrap();
        assert_eq!(blocks[0].address, 1);
        assert_eq!(blocks[0].instructions, 512);
        assert_eq!(blocks[1].times, 3 << 56);
        assert!(parse(&bytes[1..]).is_err());
    }
}
