// SPDX-License-Identifier: GPL-2.0-only

//! What `helpers.c` and `trace.c` offer.

use super::trace::About;
use kernel::bindings;
use kernel::ffi::{c_char, c_int, c_uint, c_void};

#[allow(
    improper_ctypes,
    reason = "kernel structs whose fields bindgen leaves out, behind pointers"
)]
extern "C" {
    pub(super) fn abuse_page_to_user(
        to: *mut c_void,
        page: *mut bindings::page,
        offset: c_uint,
        len: c_uint,
    ) -> bool;
    pub(super) fn abuse_page_from_user(
        page: *mut bindings::page,
        offset: c_uint,
        from: *const c_void,
        len: c_uint,
    ) -> bool;
    /// Whether a struct of `len` bytes, a multiple of 8 and less than a page, can be written; what is
    /// written to find out is what is there.
    pub(super) fn abuse_is_writable(to: *mut c_void, from: *const c_void, len: c_uint) -> bool;
    pub(super) fn abuse_pagefault_disable();
    pub(super) fn abuse_pagefault_enable();
    pub(super) fn abuse_page_zero(page: *mut bindings::page, offset: c_uint, len: c_uint);
    pub(super) fn abuse_current_process() -> *mut bindings::pid;
    pub(super) fn abuse_current_process_key() -> *const c_void;
    pub(super) fn abuse_current_token() -> u64;
    pub(super) fn abuse_process_is_alive(pid: *mut bindings::pid) -> bool;
    pub(super) fn abuse_current_is_dying() -> bool;
    pub(super) fn abuse_sleep_begin();
    pub(super) fn abuse_sleep_end();
    pub(super) fn abuse_should_stop_spinning() -> bool;
    pub(super) fn abuse_bh_disable();
    pub(super) fn abuse_bh_enable();
    pub(super) fn abuse_noio_save() -> c_uint;
    pub(super) fn abuse_noio_restore(flags: c_uint);
    pub(super) fn abuse_flusher_save() -> c_uint;
    pub(super) fn abuse_flusher_restore(flags: c_uint);
    pub(super) fn abuse_creds_of_file(file: *mut bindings::file) -> *const bindings::cred;
    pub(super) fn abuse_creds_restore(before: *const bindings::cred);
    pub(super) fn abuse_file_get(file: *mut bindings::file);
    /// What does not change of an open file.
    pub(super) fn abuse_file_facts(file: *mut bindings::file) -> u32;
    pub(super) fn abuse_file_bytes(file: *mut bindings::file) -> u64;
    pub(super) fn abuse_file_is_on(
        file: *mut bindings::file,
        request: *mut bindings::request,
    ) -> bool;
    pub(super) fn abuse_kiocb_init(
        kiocb: *mut bindings::kiocb,
        file: *mut bindings::file,
        place: i64,
        flags: c_int,
    );
    pub(super) fn abuse_kiocb_start_write(kiocb: *mut bindings::kiocb);
    pub(super) fn abuse_kiocb_try_start_write(kiocb: *mut bindings::kiocb) -> bool;
    pub(super) fn abuse_kiocb_end_write(kiocb: *mut bindings::kiocb);
    pub(super) fn abuse_disk_openers(disk: *mut bindings::gendisk) -> c_uint;
    pub(super) fn abuse_disk_suppress_scan(disk: *mut bindings::gendisk, suppress: bool) -> bool;
    pub(super) fn abuse_disk_need_scan(disk: *mut bindings::gendisk, need: bool);
    pub(super) fn abuse_disk_is_dead(disk: *mut bindings::gendisk) -> bool;
    /// Where the last partition ends, in sectors.
    pub(super) fn abuse_disk_partitions_end(disk: *mut bindings::gendisk) -> u64;
    pub(super) fn abuse_disk_uevent_change(disk: *mut bindings::gendisk, state: *mut c_char);
    pub(super) fn abuse_do_trace_queue(request: *const About, flags: u32);
    pub(super) fn abuse_do_trace_get(request: *const About, attempt: u32, age: u64, shown: bool);
    pub(super) fn abuse_do_trace_put(request: *const About, status: u8, refused: c_int);
    pub(super) fn abuse_do_trace_requeue(
        request: *const About,
        new_id: u64,
        process: *mut bindings::pid,
        attempt: u32,
        held: u64,
        why: u32,
    );
    pub(super) fn abuse_do_trace_end(request: *const About, status: u8, age: u64);
}
