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
    a_block_device_holds_a_disk,
    a_dead_workers_read_is_finished_by_another,
    a_dead_workers_write_is_finished_by_another,
    a_file_system_is_whole_after_a_remount,
    a_sparse_file_holds_a_disk,
    a_stale_put_is_refused_and_changes_nothing,
    a_stopped_workers_read_is_served_by_another,
    a_stopped_workers_write_waits_for_its_death,
    all_workers_may_be_away_for_a_minute,
    an_fsync_reaches_the_backing_file,
    anyone_may_put_what_another_took,
    eight_workers_share_the_work,
    every_block_size_reads_back,
    flushes_and_fua_reach_the_worker,
    null_forgets_everything,
    ram_outlives_its_workers,
    reconnect_offers_again_in_order,
    several_queues_serve_one_disk,
    the_only_worker_may_die,
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
