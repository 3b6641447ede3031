// SPDX-License-Identifier: MIT

//! DEV: `/dev/abctlN`, `/dev/abuseN`, `N`, or the name it was added under.

use std::fmt;

/// A device, as it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its number, in any spelling.
    Number(u32),
    /// By its name.
    Name(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Number(number) => write!(f, "/dev/abctl{number}"),
            Target::Name(name) => f.write_str(name),
        }
    }
}

/// Where udev makes links for names.
const BY_NAME: &str = "/dev/abuse/by-name/";

/// The device a DEV names.
pub fn dev(text: &str) -> Result<Target, String> {
    let name = text.strip_prefix(BY_NAME).unwrap_or(text);
    if abuse::device::is_name(name) {
        return Ok(Target::Name(name.to_string()));
    }
    number(text).map(Target::Number)
}

/// The number of a device that is called by it.
///
/// `abctl0` and `abuse0`, the names `list` prints, are taken as well.
pub fn number(text: &str) -> Result<u32, String> {
    let name = text.strip_prefix("/dev/").unwrap_or(text);
    let digits = name
        .strip_prefix("abctl")
        .or_else(|| name.strip_prefix("abuse"))
        .unwrap_or(if name.len() == text.len() { name } else { "" });
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if digits.is_empty() || leading_zero || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("a device is /dev/abctlN, /dev/abuseN, N, or its name".into());
    }
    digits
        .parse()
        .map_err(|_| "there is no device with such a number".into())
}

/// A name for a new device.
pub fn name(text: &str) -> Result<String, String> {
    match abuse::device::is_name(text) {
        true => Ok(text.to_string()),
        false => Err(
            "a name has up to 63 letters, digits and ._+-, begins with none of .+-, \
                      and does not mean a number"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_names_the_same_device() {
        for text in ["7", "/dev/abctl7", "/dev/abuse7", "abctl7", "abuse7"] {
            assert_eq!(dev(text), Ok(Target::Number(7)), "{text}");
        }
        for text in ["mine", "/dev/abuse/by-name/mine"] {
            assert_eq!(dev(text), Ok(Target::Name("mine".into())), "{text}");
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
            "abuse0p1",
            "/dev/abuse/by-name/",
            "/dev/abuse/by-name/../7",
            "size=1G",
            "-1",
            "+1",
            "99999999999",
        ] {
            assert!(dev(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_not_a_number() {
        assert_eq!(name("mine"), Ok("mine".into()));
        assert!(name("7").is_err() && name("abuse7").is_err() && name("/dev/x").is_err());
    }

    proptest! {
        #[test]
        fn fuzzed_devices_are_numbers_names_or_refused(text in "(/dev/)?(abuse|abctl)?[-+]?[0-9]{0,12}|\\PC{0,8}") {
            match dev(&text) {
                Ok(Target::Number(number)) => {
                    prop_assert!(text.ends_with(&number.to_string()));
                    prop_assert_eq!(dev(&format!("/dev/abctl{number}")), Ok(Target::Number(number)));
                }
                Ok(Target::Name(name)) => {
                    prop_assert_eq!(&name, &text);
                    prop_assert!(super::number(&text).is_err(), "a number, too");
                }
                Err(_) => {}
            }
        }
    }
}
