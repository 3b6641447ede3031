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
    a_32_bit_client_gets_status_and_serves,
    a_bad_entry_spoils_no_other,
    a_block_device_holds_a_disk,
    a_client_of_2009_serves_reads_and_writes,
    a_dead_workers_read_is_finished_by_another,
    a_dead_workers_write_is_finished_by_another,
    a_failover_is_quick,
    a_file_system_is_whole_after_a_remount,
    a_hundred_disks_come_and_go,
    a_lease_that_is_over_offers_reads_again,
    a_lying_worker_is_found_out,
    a_mounted_file_system_never_writes_into_a_successor,
    a_new_supervisor_adopts_the_workers,
    a_reset_ends_supervisor_and_workers,
    a_second_supervisor_is_refused,
    a_server_says_ready_and_why_it_ends,
    a_signal_does_not_repeat_a_reset,
    a_signal_ends_only_a_wait_that_did_nothing,
    a_sparse_file_holds_a_disk,
    a_stale_put_is_refused_and_changes_nothing,
    a_stopped_worker_is_replaced_only_after_its_death,
    a_stopped_workers_read_is_served_by_another,
    a_stopped_workers_write_waits_for_its_death,
    a_struct_of_another_size_is_understood_or_refused,
    a_supervisor_is_ready_when_its_workers_are,
    a_supervisor_told_to_end_drains,
    a_supervisor_told_twice_ends_at_once,
    a_thousand_setups_and_resets_leak_nothing,
    a_worker_may_die_at_any_step,
    a_worker_that_crashes_at_once_is_no_storm,
    abusectl_completes_a_request_another_process_took,
    abusectl_prints_json_that_parses,
    abusectl_refuses_with_the_right_status,
    abusectl_says_why_a_setup_is_refused,
    abusectl_setup_waits_for_a_worker,
    all_workers_may_be_away_for_a_minute,
    an_fsync_reaches_the_backing_file,
    an_unforced_reset_spares_what_is_used,
    an_unprivileged_user_can_do_nothing,
    anyone_may_put_what_another_took,
    eight_workers_share_the_work,
    every_block_size_reads_back,
    exchange_refuses_bad_counts_and_pointers,
    exchange_waits_as_long_as_it_was_told,
    flushes_and_fua_reach_the_worker,
    forty_thousand_operations_are_those_of_a_disk,
    killed_workers_are_replaced_without_an_error,
    memory_that_races_loses_nothing,
    nothing_but_known_bytes_comes_out,
    null_forgets_everything,
    poll_tells_unclaimed_pending_and_reset,
    ram_outlives_its_workers,
    reconnect_offers_again_in_order,
    requests_carry_the_supervisors_token,
    reset_does_not_wait_for_a_mount,
    reset_under_load_ends_every_wait_at_once,
    setup_refuses_each_bad_argument,
    setup_reports_what_it_changed,
    several_queues_serve_one_disk,
    ten_thousand_old_answers_are_refused,
    the_example_in_c_serves_a_file_system,
    the_example_in_python_serves_a_file_system,
    the_example_in_rust_serves_a_file_system,
    the_module_goes_only_when_nobody_needs_it,
    the_only_worker_killed_is_replaced_without_an_error,
    the_only_worker_may_die,
    two_hundred_kills_spoil_no_block,
    v1_put_answers_in_the_order_of_2009,
    v1_reconnect_changes_read_only_and_nothing_else,
    v1_requests_take_turns_until_they_are_put,
    v1_setup_refuses_what_cannot_be_meant,
    without_a_server_requests_fail_when_told_so,
    workers_that_are_gone_are_not_counted,
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
