// SPDX-License-Identifier: MIT

//! Whose code lies where in the guest's kernel.

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context, Result};

/// Where the kernel's half of all addresses begins.
const KERNEL: u64 = 1 << 63;

/// A function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) address: u64,
    pub(crate) name: String,
    /// Empty for the kernel itself.
    pub(crate) module: String,
}

/// All of them, by address.
pub(crate) struct Symbols(Vec<Symbol>);

impl Symbols {
    /// Those of a copy of /proc/kallsyms.
    pub(crate) fn read(path: &Path) -> Result<Symbols> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Symbols::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Symbols> {
        let mut all = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            if !matches!(kind, "t" | "T" | "w" | "W") {
                continue;
            }
            let module = words.next().unwrap_or("").trim_matches(['[', ']']);
            all.push(Symbol {
                address: u64::from_str_radix(address, 16).context("an address")?,
                name: name.into(),
                module: module.into(),
            });
        }
        all.sort_by_key(|symbol| symbol.address);
        let known = all.last().is_some_and(|symbol| symbol.address > 0);
        ensure!(known, "the addresses are hidden: it was not read by root");
        Ok(Symbols(all))
    }

    /// The function that an address lies in; `None` for one outside of the kernel.
    pub(crate) fn at(&self, address: u64) -> Option<&Symbol> {
        if address < KERNEL {
            return None;
        }
        let behind = self.0.partition_point(|symbol| symbol.address <= address);
        self.0.get(behind.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let symbols = Symbols::parse(
            "ffffffff81000000 T start\nffffffffc0000010 t mine\t[abuse]\nffffffffc0000000 d data [abuse]\n",
        )
        .unwrap();
        assert_eq!(symbols.at(0xffffffff81000007).unwrap().name, "start");
        assert_eq!(symbols.at(0xffffffffc0000011).unwrap().module, "abuse");
        assert_eq!(symbols.at(0x401000), None);
        assert!(Symbols::parse("0000000000000000 T start").is_err());
    }
}
