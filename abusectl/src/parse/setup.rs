// SPDX-License-Identifier: MIT

//! `setup DEV key[=value][,…] [key…]`: what is the device, and what are the keys. The keys
//! themselves are [`abuse::setup_keys`]'s.

pub use abuse::setup_keys::{plan, Plan};

use super::dev;

/// Splits the arguments of `setup` into DEV, which may be missing, and the keys.
pub fn split(arguments: &[String]) -> Result<(Option<u32>, &[String]), String> {
    let Some((first, rest)) = arguments.split_first() else {
        return Ok((None, arguments));
    };
    match dev::dev(first) {
        Ok(number) => Ok((Some(number), rest)),
        Err(why) if first.starts_with('/') => Err(format!("'{first}': {why}")),
        Err(_) => Ok((None, arguments)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_device_is_told_from_the_keys() {
        let split = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            super::split(&words).map(|(dev, keys)| (dev, keys.len()))
        };
        assert_eq!(split(&["/dev/abctl3", "size=1G"]), Ok((Some(3), 1)));
        assert_eq!(split(&["3", "size=1G", "ro"]), Ok((Some(3), 2)));
        assert_eq!(split(&["size=1G", "ro"]), Ok((None, 2)));
        assert_eq!(split(&["reconnect"]), Ok((None, 1)));
        assert_eq!(split(&[]), Ok((None, 0)));
        assert!(split(&["/dev/sda", "size=1G"]).is_err());
    }
}
