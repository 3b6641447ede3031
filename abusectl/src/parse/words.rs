// SPDX-License-Identifier: MIT

//! Small values: durations, request ids, owners.

pub use abuse::setup_keys::words::duration;

/// A 64-bit number, decimal or with 0x: a request's id, a token.
pub fn number64(text: &str) -> Result<u64, String> {
    let parsed = match hex_digits(text) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed
        .ok()
        .filter(|_| !text.starts_with('+'))
        .ok_or_else(|| "not a number; write it in decimal, or with 0x in hexadecimal".into())
}

fn hex_digits(text: &str) -> Option<&str> {
    text.strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .filter(|hex| !hex.starts_with('+'))
}

/// An owner token, in decimal or with 0x.
pub fn token(text: &str) -> Result<u64, String> {
    abuse::owner::parse(text).ok_or_else(|| "not an owner token (a number above 0)".into())
}

/// Who took a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process.
    Pid(u32),
    /// The token a worker takes requests under.
    Token(u64),
}

/// An owner: a process id in decimal, or a token with 0x.
pub fn owner(text: &str) -> Result<Owner, String> {
    if let Some(token) = abuse::owner::parse(text).filter(|_| hex_digits(text).is_some()) {
        return Ok(Owner::Token(token));
    }
    text.parse()
        .ok()
        .filter(|pid| *pid > 0 && text.bytes().all(|b| b.is_ascii_digit()))
        .map(Owner::Pid)
        .ok_or_else(|| "not an owner; give a process id, or a token with 0x".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn owners_are_pids_in_decimal_and_tokens_in_hexadecimal() {
        assert_eq!(owner("1234"), Ok(Owner::Pid(1234)));
        assert_eq!(owner("0x10"), Ok(Owner::Token(16)));
        assert_eq!(owner("0xFFFFFFFFFFFFFFFF"), Ok(Owner::Token(u64::MAX)));
        for text in [
            "",
            "0",
            "-1",
            "+1",
            "0x",
            "0x0",
            "0x+1",
            "abc",
            "99999999999",
        ] {
            assert!(owner(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_read_back_in_both_bases(number: u64) {
            prop_assert_eq!(number64(&number.to_string()), Ok(number));
            prop_assert_eq!(number64(&format!("{number:#x}")), Ok(number));
        }

        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,20}") {
            let _ = (number64(&text), owner(&text));
        }

        #[test]
        fn fuzzed_numbers_and_owners_mean_one_thing_or_are_refused(text in "[-+]?(0[xX])?[-+]?[0-9a-fA-F]{0,20}|\\PC{0,8}") {
            if let Ok(number) = number64(&text) {
                prop_assert_eq!(number64(&format!("{number:#X}").replace("0X", "0x")), Ok(number));
            }
            match owner(&text) {
                Ok(Owner::Pid(pid)) => prop_assert!(pid > 0 && number64(&text) == Ok(pid.into())),
                Ok(Owner::Token(number)) => prop_assert_eq!(token(&text), Ok(number)),
                Err(_) => {}
            }
        }
    }
}
