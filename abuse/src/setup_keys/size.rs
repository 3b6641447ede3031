// SPDX-License-Identifier: MIT

//! Sizes, by util-linux's rule: K, M, G, T, P, E and KiB, MiB … are powers of 1024; KB, MB … are
//! powers of 1000; a bare number is bytes.
//!
//! Written here because the common size crates read `1G` as 10^9, which is not even a multiple
//! of 4096.

/// The unit letters, in order of their power.
const LETTERS: &str = "KMGTPE";

/// Parses a size in bytes: `4096`, `1G`, `1.5GiB`, `500MB`.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("a size cannot be negative".into());
    }
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (number, ""),
    };
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return Err("not a size; write a size as 4096, 512M, 1.5G or 500MB".into());
    }
    let unit = unit(suffix.trim_start()).ok_or_else(|| {
        format!(
            "'{suffix}' is no unit; K, M, G, T, P, E (and KiB …) are powers of 1024, KB … of 1000"
        )
    })?;
    if unit == 1 && !fraction.is_empty() {
        return Err("there are no fractions of a byte".into());
    }
    let whole: u64 = whole.parse().map_err(|_| TOO_LARGE.to_string())?;
    u128::from(whole)
        .checked_mul(unit)
        .and_then(|bytes| bytes.checked_add(part(fraction, unit)))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(|| TOO_LARGE.into())
}

const TOO_LARGE: &str = "too large; the highest size is 16 EiB less one byte";

/// Parses a size that must fit the 32 bits it has in the ABI.
pub fn size32(text: &str) -> Result<u32, String> {
    u32::try_from(size(text)?).map_err(|_| "too large; this value must be below 4G".into())
}

/// Bytes per unit; `None` for a suffix that is no unit.
fn unit(suffix: &str) -> Option<u128> {
    let mut chars = suffix.chars();
    let Some(letter) = chars.next() else {
        return Some(1);
    };
    let rest = chars.as_str();
    if letter.eq_ignore_ascii_case(&'b') && rest.is_empty() {
        return Some(1);
    }
    let power = LETTERS.find(letter.to_ascii_uppercase())? as u32 + 1;
    match rest {
        "" | "iB" | "ib" => Some(1024_u128.pow(power)),
        "B" | "b" => Some(1000_u128.pow(power)),
        _ => None,
    }
}

/// `0.fraction` of `unit`, rounded down. Eighteen digits are looked at: their product with the
/// largest unit still fits, and digits beyond them change less than two bytes.
fn part(fraction: &str, unit: u128) -> u128 {
    let digits = fraction.get(..18).unwrap_or(fraction);
    let numerator = digits
        .bytes()
        .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    numerator * unit / 10_u128.pow(digits.len() as u32)
}

/// Says what to write instead of a size that is no multiple of the block size.
pub fn multiple_of(bytes: u64, block: u64) -> Result<(), String> {
    if block == 0 || bytes % block == 0 {
        return Ok(());
    }
    let below = bytes - bytes % block;
    let nearest = match (below, below.checked_add(block)) {
        (0, Some(above)) => format!("the nearest is {above}"),
        (below, Some(above)) => format!("the nearest are {below} and {above}"),
        (below, None) => format!("the nearest is {below}"),
    };
    Err(format!(
        "{bytes} bytes are no multiple of the block size {block}; {nearest}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_util_linux_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512B", 512),
            ("1K", 1024),
            ("1k", 1024),
            ("1KiB", 1024),
            ("1KB", 1000),
            ("1M", 1 << 20),
            ("1MB", 1_000_000),
            ("1G", 1 << 30),
            ("1GiB", 1 << 30),
            ("1GB", 1_000_000_000),
            ("2T", 2 << 40),
            ("1P", 1 << 50),
            ("15E", 15 << 60),
            ("1.5G", 3 << 29),
            ("0.5K", 512),
            ("1.000000000000000000001K", 1024),
            (" 1 G ", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_and_says_why() {
        for (text, why) in [
            ("-1G", "negative"),
            ("", "not a size"),
            (".5G", "not a size"),
            ("1.G", "not a size"),
            ("1.2.3G", "not a size"),
            ("G", "not a size"),
            ("1.5", "fractions of a byte"),
            ("1Q", "no unit"),
            ("1GG", "no unit"),
            ("1GiBs", "no unit"),
            ("16E", "too large"),
            ("99999999999999999999", "too large"),
        ] {
            let error = size(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(size32("4G").is_err());
        assert_eq!(size32("1M"), Ok(1 << 20));
    }

    #[test]
    fn a_size_off_the_grid_names_its_neighbours() {
        assert_eq!(multiple_of(8192, 4096), Ok(()));
        let error = multiple_of(10_000, 4096).expect_err("off the grid");
        assert!(error.contains("8192 and 12288"), "{error}");
        let error = multiple_of(100, 512).expect_err("below one block");
        assert!(error.contains("nearest is 512"), "{error}");
        let error = multiple_of(u64::MAX, 4096).expect_err("at the end");
        assert!(error.contains("nearest is 18446744073709547520"), "{error}");
    }

    proptest! {
        #[test]
        fn bare_numbers_are_bytes(bytes: u64) {
            prop_assert_eq!(size(&bytes.to_string()), Ok(bytes));
        }

        #[test]
        fn every_unit_multiplies_exactly(count: u64, power in 1usize..=6, decimal: bool) {
            let letter = &LETTERS[power - 1..power];
            let base: u128 = if decimal { 1000 } else { 1024 };
            let exact = u128::from(count) * base.pow(power as u32);
            let text = format!("{count}{letter}{}", if decimal { "B" } else { "" });
            match u64::try_from(exact) {
                Ok(bytes) => prop_assert_eq!(size(&text), Ok(bytes)),
                Err(_) => prop_assert!(size(&text).is_err()),
            }
        }

        #[test]
        fn a_fraction_lies_between_its_neighbours(whole in 0u64..1000, fraction in 0u64..1_000_000, power in 1usize..=5) {
            let letter = &LETTERS[power - 1..power];
            let unit = 1024_u64.pow(power as u32);
            let bytes = size(&format!("{whole}.{fraction:06}{letter}")).expect("a size");
            let exact = u128::from(whole) * u128::from(unit) + u128::from(fraction) * u128::from(unit) / 1_000_000;
            prop_assert_eq!(u128::from(bytes), exact);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = size(&text);
        }

        #[test]
        fn named_neighbours_are_on_the_grid(bytes in 1u64..u64::MAX, shift in 9u32..=16) {
            let block = 1u64 << shift;
            if let Err(text) = multiple_of(bytes, block) {
                let named: Vec<u64> = text.split("nearest").nth(1).expect("neighbours")
                    .split_whitespace().filter_map(|word| word.parse().ok()).collect();
                prop_assert!(!named.is_empty());
                for neighbour in named {
                    prop_assert_eq!(neighbour % block, 0);
                    prop_assert!(neighbour.abs_diff(bytes) < block);
                }
            }
        }

        #[test]
        fn fuzzed_sizes_are_whole_units_or_refused(text in "[-+ ]?[0-9]{0,22}\\.{0,2}[0-9]{0,22} ?([KMGTPEkmgtpe]?i?[Bb]?|\\PC{0,3})") {
            if let Ok(bytes) = size(&text) {
                // What is a size is one whichever way it is written.
                prop_assert_eq!(size(&bytes.to_string()), Ok(bytes));
                prop_assert_eq!(size32(&text).is_ok(), u32::try_from(bytes).is_ok());
            } else {
                prop_assert!(size32(&text).is_err());
            }
        }
    }
}
