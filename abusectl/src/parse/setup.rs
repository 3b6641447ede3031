// SPDX-License-Identifier: MIT

//! `setup DEV key[=value][,…] [key…]`: what is the device, and what are the keys. The keys
//! themselves are [`abuse::setup_keys`]'s.

pub use abuse::setup_keys::{plan, Plan};

use abuse::setup_keys::{keys, nearest::nearest};

use super::dev::{self, Target};

/// Splits the arguments of `setup` into DEV, which may be missing, and the keys.
///
/// A bare word is the name of a device if it is no key, and no misspelt one.
pub fn split(arguments: &[String]) -> Result<(Option<Target>, &[String]), String> {
    let Some((first, rest)) = arguments.split_first() else {
        return Ok((None, arguments));
    };
    let is_key = || keys::find(first).is_some() || nearest(first, keys::spellings()).is_some();
    match dev::dev(first) {
        Ok(Target::Name(_)) if !first.starts_with('/') && is_key() => Ok((None, arguments)),
        Ok(target) => Ok((Some(target), rest)),
        Err(why) if first.starts_with('/') => Err(format!("'{first}': {why}")),
        Err(_) => Ok((None, arguments)),
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn the_device_is_told_from_the_keys() {
        let number = |n| Some(Target::Number(n));
        let name = |name: &str| Some(Target::Name(name.into()));
        let split = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            super::split(&words).map(|(dev, keys)| (dev, keys.len()))
        };
        assert_eq!(split(&["/dev/abctl3", "size=1G"]), Ok((number(3), 1)));
        assert_eq!(split(&["3", "size=1G", "ro"]), Ok((number(3), 2)));
        assert_eq!(split(&["mine", "size=1G"]), Ok((name("mine"), 1)));
        assert_eq!(split(&["/dev/abuse/by-name/ro", "rw"]), Ok((name("ro"), 1)));
        assert_eq!(split(&["ro", "size=1G"]), Ok((None, 2)));
        assert_eq!(split(&["reconect", "ro"]), Ok((None, 2)));
        assert_eq!(split(&["size=1G", "ro"]), Ok((None, 2)));
        assert_eq!(split(&["reconnect"]), Ok((None, 1)));
        assert_eq!(split(&[]), Ok((None, 0)));
        assert!(split(&["/dev/sda", "size=1G"]).is_err());
    }
}
