// SPDX-License-Identifier: MIT

//! The token a worker's claims are filed under.
//!
//! A process id can come back while a dead worker's requests are still taken; a token cannot. The
//! supervisor gives each worker a random one in the environment, `ABUSE_OWNER=0x5eed...`, and asks
//! for exactly its requests to be offered again once the worker is dead. A worker without one makes
//! its own.
//!
//! ```
//! assert_eq!(abuse::owner::parse("0x10"), Some(16));
//! assert_eq!(abuse::owner::parse("16"), Some(16));
//! ```

use std::fs;

use crate::error::{Error, Result};

/// The environment variable that holds a worker's token.
pub const VARIABLE: &str = "ABUSE_OWNER";

/// The token of this process: from [`VARIABLE`] if it is set, else made from process id and start
/// time, so that it stays the same for the life of the process.
pub fn token() -> Result<u64> {
    match std::env::var_os(VARIABLE) {
        None => own(),
        Some(text) => text.to_str().and_then(parse).ok_or_else(|| {
            Error::refused(
                VARIABLE,
                "reading the owner token",
                format!("{text:?} is not a number from 1 to 2^64-1"),
            )
            .with_hint("give it in decimal, or in hexadecimal after 0x")
        }),
    }
}

/// A token in decimal, or in hexadecimal after `0x`. 0 is none.
pub fn parse(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // from_str_radix would take a sign.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix)
        .ok()
        .filter(|&token| token != 0)
}

fn own() -> Result<u64> {
    let path = "/proc/self/stat";
    let fail = |error| Error::new(path, "reading the start time", error);
    let stat = fs::read_to_string(path).map_err(fail)?;
    let started = start_time(&stat)
        .ok_or_else(|| Error::refused(path, "reading the start time", "it has an unknown shape"))?;
    Ok(mix(u64::from(std::process::id()), started))
}

/// Field 22, in clock ticks since boot. The name before it may hold anything, parentheses too.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Spreads both over 64 bits, so that tokens of different processes differ everywhere. Never 0.
fn mix(pid: u64, started: u64) -> u64 {
    let mut token = started.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ pid.rotate_left(32);
    token = (token ^ (token >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    token = (token ^ (token >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (token ^ (token >> 31)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_are_decimal_or_hexadecimal_and_never_zero() {
        assert_eq!(parse("18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse("0xffffffffffffffff"), Some(u64::MAX));
        assert_eq!(parse("0XaB"), Some(0xab));
        for bad in [
            "",
            "0",
            "0x0",
            "0x",
            "+1",
            "-1",
            "0x+1",
            "1 ",
            "ab",
            "18446744073709551616",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_start_time_is_found_behind_any_process_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time("7 (x) S 1"), None);
    }

    #[test]
    fn a_process_keeps_its_own_token() {
        assert_eq!(own().unwrap(), own().unwrap());
        assert_ne!(mix(1, 100), mix(2, 100));
        assert_ne!(mix(1, 100), mix(1, 101));
    }

    proptest! {
        #[test]
        fn fuzzed_tokens_are_what_they_say_or_none(text in "[-+ ]?(0[xX])?[0-9a-fA-F]{0,20}|\\PC{0,12}") {
            if let Some(token) = parse(&text) {
                prop_assert!(token != 0);
                prop_assert_eq!(parse(&format!("{token:#x}")), Some(token));
            }
        }

        #[test]
        fn fuzzed_stats_have_a_start_time_or_none(text in "[0-9]{1,3} \\(\\PC{0,8}\\)?( -?[0-9]{1,22}| \\PC){0,30}") {
            if let Some(time) = start_time(&text) {
                prop_assert!(text.contains(&time.to_string()) || text.contains('+'));
            }
        }
    }
}
