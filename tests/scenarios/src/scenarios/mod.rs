// SPDX-License-Identifier: MIT

//! The scenarios. Each is a file named for its promise that has `pub fn run(&Guest)`, and one line
//! in the list below, which is kept sorted. Behind a name may stand, in parentheses, what the scenario
//! wants on the kernel's command line.

use anyhow::Result;

use crate::kit::Guest;

/// One promise, and how it is put to the test.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The promise: the name of its file.
    pub name: &'static str,
    /// Fails when the promise is broken.
    pub run: fn(&Guest) -> Result<()>,
    /// What it wants on the kernel's command line; it gets a guest of its own then.
    pub boot: &'static str,
}

/// The parameters, if there are any.
macro_rules! boot {
    () => {
        ""
    };
    ($boot:literal) => {
        $boot
    };
}

macro_rules! scenarios {
    ($($name:ident $(($boot:literal))?,)*) => {
        $(mod $name;)*

        /// All of them, in the order of their names.
        pub const ALL: &[Scenario] = &[
            $(Scenario {
                name: stringify!($name),
                run: $name::run,
                boot: boot!($($boot)?),
            },)*
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
    a_deep_queue_is_used_whole,
    a_disk_that_nobody_uses_goes_with_its_supervisor,
    a_failed_flush_never_becomes_a_good_one,
    a_failed_forward_ends_or_comes_back,
    a_failing_allocation_or_copy_loses_nothing,
    a_failover_is_quick,
    a_fenced_backend_is_offered_the_writes_of_the_living,
    a_file_system_is_whole_after_a_remount,
    a_forward_is_refused_where_it_may_not_go,
    a_forward_may_have_several_places,
    a_hundred_disks_come_and_go,
    a_late_write_never_lands_behind_its_successors,
    a_lease_that_is_over_offers_reads_again,
    a_load_that_lacks_memory_leaves_nothing,
    a_log_that_nobody_reads_holds_up_nothing,
    a_loop_device_on_top_survives_a_workers_death,
    a_lying_worker_is_found_out,
    a_member_of_group_disk_serves_without_root,
    a_mounted_disk_is_removed_only_by_force,
    a_mounted_file_system_never_writes_into_a_successor,
    a_new_supervisor_adopts_the_workers,
    a_put_at_the_end_of_its_lease_is_done_or_stale,
    a_recovery_may_be_broken_off_anywhere,
    a_request_that_kills_its_workers_fails_alone,
    a_reset_ends_supervisor_and_workers,
    a_rolling_restart_leaves_no_gap,
    a_safe_stop_flushes_first,
    a_scan_delays_nobody_but_openers,
    a_second_supervisor_is_refused,
    a_server_says_ready_and_why_it_ends,
    a_shrink_takes_nothing_from_who_has_it,
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
    a_thousand_adds_and_removes_leak_nothing,
    a_thousand_setups_and_resets_leak_nothing,
    a_thread_that_waits_holds_up_nothing_else,
    a_worker_may_die_at_any_step,
    a_worker_never_waits_for_its_own_disk,
    a_worker_refuses_operations_its_backend_lacks,
    a_worker_stuck_in_the_kernel_keeps_its_place,
    a_worker_that_crashes_at_once_is_no_storm,
    a_worker_that_hangs_is_killed_and_loses_nothing,
    a_worker_that_only_says_ready_is_replaced,
    a_worker_that_spins_need_not_be_woken,
    a_write_under_way_at_a_death_lands_before_its_successor,
    abusectl_completes_a_request_another_process_took,
    abusectl_drain_waits_until_nothing_is_pending,
    abusectl_partscan_looks_for_partitions_on_request,
    abusectl_prints_json_that_parses,
    abusectl_refuses_with_the_right_status,
    abusectl_says_why_a_setup_is_refused,
    abusectl_setup_waits_for_a_worker,
    abusectl_top_shows_what_the_disks_do,
    add_and_remove_refuse_what_cannot_be_meant,
    all_workers_may_be_away_for_a_minute,
    an_fsync_reaches_the_backing_file,
    an_old_id_is_refused_when_its_tag_is_used_again,
    an_unforced_reset_spares_what_is_used,
    an_unprivileged_user_can_do_nothing,
    anyone_may_put_what_another_took,
    badblocks_finds_no_bad_block,
    blocks_larger_than_a_page_hold_a_file_system,
    btrfs_survives_kills_under_stress,
    clients_of_2009_see_reads_writes_and_flushes_only,
    closing_offers_again_unless_told_otherwise,
    deaths_meet_new_io_and_a_scheduler_switch,
    devices_are_added_and_removed,
    dm_crypt_on_top_survives_a_workers_death,
    eight_workers_share_the_work,
    events_tell_what_becomes_of_a_device,
    every_attribute_shows_where_tools_look,
    every_block_size_reads_back,
    every_call_is_the_same_for_32_bits,
    every_operation_reaches_a_worker_only_when_set_up,
    exchange_refuses_bad_counts_and_pointers,
    exchange_waits_as_long_as_it_was_told,
    ext4_and_xfs_grow_online,
    ext4_survives_kills_under_stress,
    f2fs_survives_kills_under_stress,
    fios_own_verify_jobs_find_no_error,
    flushes_and_fua_reach_the_worker,
    flushes_and_fua_reach_where_they_are_forwarded,
    forty_thousand_operations_are_those_of_a_disk,
    forwarded_data_reads_back,
    forwards_outlive_their_worker,
    io_does_as_the_operator_said_when_nobody_will_serve,
    io_that_outlives_its_process_ends_in_a_scan,
    killed_workers_are_replaced_without_an_error,
    life_and_death_race_with_everything,
    lvm_on_top_survives_a_workers_death,
    md_raid1_on_top_survives_a_workers_death,
    memory_that_races_loses_nothing,
    names_are_safe_aliases,
    no_stale_byte_or_address_comes_out("init_on_alloc=0 slub_debug=FZPU page_poison=1"),
    nothing_but_known_bytes_comes_out,
    null_forgets_everything,
    of_two_puts_of_one_id_one_wins,
    partitions_are_looked_for_when_asked,
    partitions_are_there_after_a_restart_of_everything,
    pinned_threads_keep_to_their_queues,
    policies_change_while_the_disk_lives,
    poll_tells_unclaimed_pending_and_reset,
    ram_gives_back_what_is_discarded,
    ram_lies_on_huge_pages_where_there_are_any,
    ram_outlives_its_workers,
    ranges_of_gibibytes_keep_their_length,
    read_only_is_set_and_lifted_while_the_disk_lives,
    reconnect_offers_again_in_order,
    removal_by_sequence_spares_a_stranger,
    remove_all_removes_what_nobody_uses,
    remove_under_load_ends_every_request,
    remove_wakes_every_waiter_with_enodev,
    remove_while_another_puts,
    requests_carry_the_supervisors_token,
    reset_and_remove_end_forwards_when_they_land,
    reset_and_remove_never_block_each_other,
    reset_does_not_wait_for_a_mount,
    reset_under_load_ends_every_wait_at_once,
    resize_in_every_state,
    setup_refuses_each_bad_argument,
    setup_reports_what_it_changed,
    several_queues_serve_one_disk,
    stress_ng_finds_no_error,
    swap_survives_takeovers,
    sysfs_is_read_while_devices_come_and_go,
    sysfs_says_what_a_device_is_and_does,
    ten_thousand_hostile_calls_break_nothing,
    ten_thousand_old_answers_are_refused,
    the_example_in_c_serves_a_file_system,
    the_example_in_python_serves_a_file_system,
    the_example_in_rust_serves_a_file_system,
    the_largest_request_comes_whole,
    the_module_goes_only_when_nobody_needs_it,
    the_only_worker_killed_is_replaced_without_an_error,
    the_only_worker_may_die,
    the_right_to_call_lies_in_the_descriptor,
    the_striped_and_the_snapshot_example_serve,
    trace_cmd_records_what_the_driver_does,
    tracepoints_tell_the_story_of_a_request,
    two_hundred_and_fifty_six_devices_at_once,
    two_hundred_kills_spoil_no_block,
    udev_names_what_is_live_and_reads_nothing_else,
    v1_calls_survive_any_address,
    v1_put_answers_in_the_order_of_2009,
    v1_reconnect_changes_read_only_and_nothing_else,
    v1_requests_take_turns_until_they_are_put,
    v1_setup_refuses_what_cannot_be_meant,
    what_is_discarded_leaves_the_backing_file,
    what_is_discarded_or_zeroed_is_so_where_it_was_forwarded,
    whoever_wakes_a_worker_holds_no_lock,
    without_a_server_requests_fail_when_told_so,
    workers_that_are_gone_are_not_counted,
    written_data_reads_back,
    xfs_survives_kills_under_stress,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_merges_are_easy() {
        assert!(ALL.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
