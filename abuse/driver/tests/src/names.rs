//! What may be the name of a device.

use crate::abi::NAME_SIZE;
use crate::name::Name;

fn parse(text: &[u8]) -> Option<Name> {
    let mut bytes = [0; NAME_SIZE];
    bytes[..text.len()].copy_from_slice(text);
    Name::parse(&bytes)
}

#[test]
fn a_name_is_a_harmless_word() {
    for name in [
        "x",
        "a.b_c+d-e",
        "_",
        "2024-backup",
        "abuse-control",
        "abuse1x",
        "abuse0p1",
    ] {
        let parsed = parse(name.as_bytes()).expect(name);
        assert!(!parsed.is_none());
        assert_eq!(parsed.as_str(), name);
        assert!(parsed.bytes().starts_with(name.as_bytes()));
    }
    let long = [b'n'; NAME_SIZE - 1];
    assert!(parse(&long).is_some());
    for byte in (1..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_') {
        assert!(parse(&[byte]).is_none(), "{byte}");
        assert_eq!(
            parse(&[b'a', byte]).is_some(),
            b".+-".contains(&byte),
            "{byte}"
        );
    }
}

#[test]
fn no_bytes_are_no_name_and_no_mistake() {
    assert!(parse(b"").expect("none").is_none());
}

#[test]
fn what_tools_take_for_a_number_is_no_name() {
    for name in [
        "0",
        "7",
        "007",
        "99999999999",
        "abctl7",
        "abuse7",
        "abctl",
        "abuse",
        "abuse007",
    ] {
        assert!(parse(name.as_bytes()).is_none(), "{name}");
    }
}

#[test]
fn a_name_has_an_end_and_nothing_behind_it() {
    assert!(Name::parse(&[b'a'; NAME_SIZE]).is_none());
    assert!(parse(b"a\0b").is_none());
    assert!(parse(b"\0b").is_none());
}
