// SPDX-License-Identifier: MIT

//! DEV: `/dev/abctlN`, `/dev/abuseN` or `N`.

/// The number a DEV names.
///
/// `abctl0` and `abuse0`, the names `list` prints, are taken as well.
pub fn dev(text: &str) -> Result<u32, String> {
    let name = text.strip_prefix("/dev/").unwrap_or(text);
    let digits = name
        .strip_prefix("abctl")
        .or_else(|| name.strip_prefix("abuse"))
        .unwrap_or(if name.len() == text.len() { name } else { "" });
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if digits.is_empty() || leading_zero || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("a device is /dev/abctlN, /dev/abuseN or N".into());
    }
    digits
        .parse()
        .map_err(|_| "there is no device with such a number".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_names_the_same_device() {
        for text in ["7", "/dev/abctl7", "/dev/abuse7", "abctl7", "abuse7"] {
            assert_eq!(dev(text), Ok(7), "{text}");
        }
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for text in [
            "",
            "/dev/",
            "/dev/7",
            "007",
            "/dev/sda",
            "abctl",
            "/dev/abuse0p1",
            "size=1G",
            "-1",
            "+1",
            "99999999999",
        ] {
            assert!(dev(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn fuzzed_devices_are_numbers_or_refused(text in "(/dev/)?(abuse|abctl)?[-+]?[0-9]{0,12}|\\PC{0,8}") {
            if let Ok(number) = dev(&text) {
                prop_assert!(text.ends_with(&number.to_string()));
                prop_assert_eq!(dev(&format!("/dev/abctl{number}")), Ok(number));
            }
        }
    }
}
