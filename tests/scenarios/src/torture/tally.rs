// SPDX-License-Identifier: MIT

//! What is counted.

use std::fmt;

macro_rules! tally {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// What happened in one round, or in all.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Tally {
            $($(#[$about])* pub $name: u64,)*
        }

        impl Tally {
            /// Adds another one.
            pub fn add(&mut self, other: &Tally) {
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Tally {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut space = "";
                $(
                    write!(f, "{space}{}={}", stringify!($name), self.$name)?;
                    space = " ";
                )*
                let _ = space;
                Ok(())
            }
        }
    };
}

tally! {
    /// Rounds that ended well.
    rounds,
    /// Reads, writes and flushes of clients; blocks of fio.
    operations,
    /// Workers that got SIGKILL.
    kills,
    /// Workers that were stopped for a while.
    stops,
    /// Calls of REQUEUE.
    requeues,
    /// Calls of RECONNECT.
    reconnects,
    /// Workers that were told to end and replaced, one after the other.
    rolled,
    /// Supervisors that got SIGKILL.
    supervisor_kills,
    /// Other disks that were reset under load, and set up anew.
    resets,
    /// File systems that e2fsck found nothing wrong with.
    checked,
    /// Processes that took requests and died with them.
    thefts,
    /// Late answers of those that were refused.
    stale,
    /// Requests that were offered again, for whatever reason.
    redelivered,
    /// Discards that were done.
    discards,
    /// Times the disk got another size.
    resizes,
    /// Devices that were added beside it and removed again.
    neighbours,
    /// Times without memory.
    pressures,
    /// Times without processors.
    starvations,
    /// Operations that failed.
    errors,
    /// What no disk could have done: a wrong block, a file system that is not whole.
    mismatches,
}

impl Tally {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.errors + self.mismatches == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up_and_are_one_line() {
        let mut all = Tally::default();
        let one = Tally {
            kills: 2,
            mismatches: 1,
            ..Tally::default()
        };
        all.add(&one);
        all.add(&one);
        assert!(!all.is_clean());
        assert!(all.to_string().contains(" kills=4 "));
        assert!(all.to_string().ends_with(" errors=0 mismatches=2"));
    }
}
