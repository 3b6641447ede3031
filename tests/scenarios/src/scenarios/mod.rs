// SPDX-License-Identifier: MIT

//! The scenarios. Each is a file named for its promise that has `pub fn run(&Guest)`, and one line
//! in the list below, which is kept sorted.

use anyhow::Result;

use crate::kit::Guest;

/// One promise, and how it is put to the test.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The promise: the name of its file.
    pub name: &'static str,
    /// Fails when the promise is broken.
    pub run: fn(&Guest) -> Result<()>,
}

macro_rules! scenarios {
    ($($name:ident,)*) => {
        $(mod $name;)*

        /// All of them, in the order of their names.
        pub const ALL: &[Scenario] = &[
            $(Scenario { name: stringify!($name), run: $name::run },)*
        ];
    };
}

// `cargo fmt` does not see files named in here; `tests/vm/build check format` does.
scenarios! {
    written_data_reads_back,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_merges_are_easy() {
        assert!(ALL.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
