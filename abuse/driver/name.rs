// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Names of devices: what may be one. Pure, like the ledger.
//!
//! A name becomes part of a path and a word of a command line, so it has to be harmless in both,
//! and must not be taken for a device by its number.

use crate::abi::NAME_SIZE;

/// A name that may be shown to anybody, or none.
///
/// # Invariants
///
/// There is a NUL in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name([u8; NAME_SIZE]);

impl Name {
    /// No name.
    pub(crate) const NONE: Name = Name([0; NAME_SIZE]);

    /// The name that stands in a struct of the contract; `None` if it may not be one. Nothing but
    /// zeros may stand behind its end.
    pub(crate) fn parse(bytes: &[u8; NAME_SIZE]) -> Option<Name> {
        let end = bytes.iter().position(|&byte| byte == 0)?;
        let (name, rest) = bytes.split_at_checked(end)?;
        let good = |&byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        let harmless = name.iter().all(good) && !matches!(name.first(), Some(b'.' | b'+' | b'-'));
        let clean = rest.iter().all(|&byte| byte == 0);
        // INVARIANT: `end` is where the first NUL is.
        (harmless && clean && !means_a_number(name)).then_some(Name(*bytes))
    }

    /// Whether there is none.
    pub(crate) fn is_none(&self) -> bool {
        *self == Name::NONE
    }

    /// As text; empty if there is none.
    pub(crate) fn as_str(&self) -> &str {
        let name = self.0.split(|&byte| byte == 0).next().unwrap_or(&[]);
        // A name is ASCII.
        core::str::from_utf8(name).unwrap_or("")
    }

    /// With zeros behind it, at least one.
    pub(crate) fn bytes(&self) -> &[u8; NAME_SIZE] {
        &self.0
    }
}

/// Whether tools would take it for a number, with or without the name of a node before it.
fn means_a_number(name: &[u8]) -> bool {
    let prefixes: [&[u8]; 2] = [b"abctl", b"abuse"];
    let bare = prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(*prefix))
        .unwrap_or(name);
    !name.is_empty() && bare.iter().all(u8::is_ascii_digit)
}
