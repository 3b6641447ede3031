// SPDX-License-Identifier: MIT

//! Numbers for people: sizes as lsblk shows them, ages in the unit that fits.

use std::time::Duration;

/// `1G`, `1.5G`, `512B`: at most one decimal, powers of 1024.
pub fn size(bytes: u64) -> String {
    let power = (bytes.max(1).ilog2() / 10).min(6);
    if power == 0 {
        return format!("{bytes}B");
    }
    let unit = 1_u128 << (10 * power);
    let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
    // 1023.97K rounds up to 1024.0K: that is 1M.
    let (tenths, power) = match tenths >= 10_240 && power < 6 {
        true => (10, power + 1),
        false => (tenths, power),
    };
    let letter = ['B', 'K', 'M', 'G', 'T', 'P', 'E'][power as usize];
    match tenths % 10 {
        0 => format!("{}{letter}", tenths / 10),
        tenth => format!("{}.{tenth}{letter}", tenths / 10),
    }
}

/// `850us`, `12ms`, `4.2s`, `3m12s`, `2h05m`.
pub fn age(age: Duration) -> String {
    match (age.as_secs(), age.as_millis(), age.as_micros()) {
        (0, 0, micros) => format!("{micros}us"),
        (0, millis, _) => format!("{millis}ms"),
        (0..=59, millis, _) => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        (secs @ 60..=3599, ..) => format!("{}m{:02}s", secs / 60, secs % 60),
        (secs, ..) => format!("{}h{:02}m", secs / 3600, secs % 3600 / 60),
    }
}

/// `0`, `0.4`, `9.9`, `10`, `12345`: a decimal where it says something.
pub fn rate(rate: f64) -> String {
    let tenths = (rate * 10.0).round();
    match tenths {
        0.0 => "0".into(),
        _ if tenths < 100.0 => format!("{:.1}", tenths / 10.0),
        _ => format!("{rate:.0}"),
    }
}

/// `1 request`, `2 requests`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_as_in_lsblk() {
        for (bytes, text) in [
            (0, "0B"),
            (512, "512B"),
            (1023, "1023B"),
            (4096, "4K"),
            (1536, "1.5K"),
            ((1 << 20) - 1, "1M"),
            (16 << 20, "16M"),
            (1 << 30, "1G"),
            (1_000_000_000, "953.7M"),
            (3 << 29, "1.5G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_take_the_unit_that_fits() {
        for (millis, text) in [
            (0, "0us"),
            (12, "12ms"),
            (999, "999ms"),
            (4_250, "4.2s"),
            (59_999, "59.9s"),
            (192_000, "3m12s"),
            (7_500_000, "2h05m"),
        ] {
            assert_eq!(age(Duration::from_millis(millis)), text);
        }
        assert_eq!(age(Duration::from_micros(850)), "850us");
    }

    #[test]
    fn rates_have_a_decimal_where_it_says_something() {
        for (per_second, text) in [
            (0.0, "0"),
            (0.04, "0"),
            (0.06, "0.1"),
            (9.94, "9.9"),
            (9.96, "10"),
            (12_345.6, "12346"),
        ] {
            assert_eq!(rate(per_second), text);
        }
    }

    proptest! {
        #[test]
        fn a_shown_size_parses_back_to_nearly_itself(bytes: u64) {
            let text = size(bytes);
            // 16E is one above the largest size there is.
            if let Ok(back) = crate::parse::size::size(&text) {
                let unit = 1_u64 << (10 * (bytes.max(1).ilog2() / 10).min(6));
                prop_assert!(back.abs_diff(bytes) <= unit / 20 + 1, "{} {}", bytes, text);
            }
        }
    }
}
