// SPDX-License-Identifier: MIT

//! Small values: durations, counts, yes and no.

use std::time::Duration;

/// A duration: `250ms`, `5s`, `1m30s`; a bare number is seconds, as in timeout(1).
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("a time cannot be negative".into());
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return text
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| "not a number of seconds".into());
    }
    humantime::parse_duration(text)
        .map_err(|_| "not a time; write it as 250ms, 5s or 1m30s (a bare number is seconds)".into())
}

/// A duration that may be switched off: `off`, or 0, is none.
pub fn duration_or_off(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    Ok(Some(duration(text)?).filter(|duration| !duration.is_zero()))
}

/// A switch.
pub fn yes_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" | "1" => Ok(true),
        "no" | "off" | "false" | "0" => Ok(false),
        _ => Err("not yes or no".into()),
    }
}

/// A count that fits the 32 bits it has in the ABI.
pub fn count(text: &str) -> Result<u32, String> {
    if text.starts_with('-') {
        return Err("a count cannot be negative".into());
    }
    text.parse()
        .ok()
        .filter(|_| !text.starts_with('+'))
        .ok_or_else(|| "not a whole number (up to 4294967295)".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_humantime_and_bare_seconds() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", ".", "5 parsecs", "-1s", "1.2.3", "s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration_or_off("off"), Ok(None));
        assert_eq!(duration_or_off("0"), Ok(None));
        assert_eq!(duration_or_off("0s"), Ok(None));
        assert_eq!(duration_or_off("1s"), Ok(Some(Duration::from_secs(1))));
    }

    #[test]
    fn switches_and_counts() {
        assert_eq!(yes_no("Yes"), Ok(true));
        assert_eq!(yes_no("off"), Ok(false));
        assert!(yes_no("maybe").is_err());
        assert_eq!(count("128"), Ok(128));
        for text in ["-1", "+1", "1.5", "", "4294967296"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,20}") {
            let _ = (duration(&text), count(&text));
        }

        #[test]
        fn fuzzed_words_mean_one_thing_or_are_refused(
            text in "([-+ ]?[0-9]{0,22}\\.?[0-9]{0,3} ?(ns|us|ms|s|m|min|h|d|y|off|yes|no|on|e9)? ?){1,3}|\\PC{0,12}"
        ) {
            if let Ok(time) = duration(&text) {
                let expected = Some(time).filter(|time| !time.is_zero());
                prop_assert_eq!(duration_or_off(&text), Ok(expected));
            }
            if let Ok(number) = count(&text) {
                prop_assert_eq!(text.parse(), Ok(number));
            }
            let _ = yes_no(&text);
        }
    }
}
