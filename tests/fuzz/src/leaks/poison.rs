// SPDX-License-Identifier: MIT

//! What is the kernel's own business: its poison, and its addresses.

use std::fs;

/// Words with which the kernel poisons memory, four bytes of each.
const POISON: [(u8, &str); 7] = [
    (0x6b, "freed slab memory"),
    (0x5a, "slab memory that was never written"),
    (0xa5, "the end of a poisoned object"),
    (0xaa, "a freed page"),
    (0xbb, "the red zone of a freed object"),
    (0xcc, "the red zone of an object"),
    (0xfe, "a KASAN tag"),
];

/// The first thing in these bytes that is the kernel's own business.
pub fn kernels_own(bytes: &[u8]) -> Option<String> {
    for (at, word) in bytes.windows(4).enumerate() {
        if let Some((_, what)) = POISON.iter().find(|(byte, _)| word == [*byte; 4]) {
            return Some(format!("{what} at {at}: {word:02x?}"));
        }
    }
    // As the structs are aligned; in between, an errno beside a zero looks like one.
    let words = bytes.windows(8).enumerate().step_by(8);
    for (at, word) in words {
        let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
        let address = (0xffff_8000_0000_0000..0xffff_ffff_ff00_0000).contains(&word);
        if address || word >> 40 == 0xdead00 {
            return Some(format!("an address at {at}: {word:#x}"));
        }
    }
    None
}

/// Whether the kernel was booted so that a leak would show.
pub fn kernel_poisons() -> bool {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let has = |wanted: &str| words.split_whitespace().any(|word| word == wanted);
    let slabs = fs::read_to_string("/sys/kernel/slab/kmalloc-64/poison").unwrap_or_default();
    has("init_on_alloc=0") && has("page_poison=1") && slabs.trim() == "1"
}

#[cfg(test)]
mod tests {
    use super::super::FILL;
    use super::*;

    #[test]
    fn poison_and_addresses_are_found_and_what_is_ours_is_not() {
        let found = |bytes: &[u8]| kernels_own(bytes);
        assert_eq!(found(&[0; 64]), None);
        assert_eq!(found(&[FILL; 64]), None);
        for (byte, what) in POISON {
            let mut bytes = [1; 32];
            bytes[13..17].fill(byte);
            assert!(found(&bytes).unwrap().starts_with(what));
        }
        for address in [
            0xffff_8880_1234_5678u64,
            0xffff_ffff_8100_0000,
            0xffff_c900_0000_0000,
        ] {
            let mut bytes = [0; 24];
            bytes[8..16].copy_from_slice(&address.to_ne_bytes());
            assert!(found(&bytes).unwrap().starts_with("an address at 8"));
        }
        assert!(found(&0xdead_0000_0000_0100u64.to_ne_bytes()).is_some());
        assert_eq!(found(&u64::MAX.to_ne_bytes()), None);
    }
}
