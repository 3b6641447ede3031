// SPDX-License-Identifier: MIT

//! fio's ways to verify, each on the whole disk: checksums, headers that say where a block belongs, a
//! pattern made of its offset, verification long after the write and right behind it, by other threads,
//! by a second process, and of what was trimmed. And they see what is wrong: on a disk that forgets
//! every write the same jobs fail.

use anyhow::{ensure, Result};

use crate::kit::{Fio, Guest};

/// What each job does beside writing the disk at random and reading it back.
const JOBS: [&[&str]; 8] = [
    &["verify=md5", "bsrange=4k-32k"],
    &["verify=sha256", "bs=16k", "verify_interval=4096"],
    &["verify=crc64", "bs=4k", "verify_async=2"],
    &["verify=xxhash", "bs=8k", "verify_backlog=64"],
    // Where, when and by whom a block was written: what was put elsewhere is seen.
    &[
        "verify=crc32c",
        "bs=4k",
        "verify_write_sequence=1",
        "norandommap=0",
    ],
    &["verify=pattern", "verify_pattern=%o", "bs=4k"],
    &["verify=meta", "bs=64k", "verify_interval=512"],
    // A tenth of what was written is trimmed and must then read as zeros.
    &[
        "verify=crc32c",
        "bs=4k",
        "trim_percentage=10",
        "trim_verify_zero=1",
        "trim_backlog=8",
    ],
];
const EVERY: [&str; 4] = [
    "rw=randwrite",
    "iodepth=16",
    "verify_fatal=1",
    "do_verify=1",
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=8M,discard")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let workers = [disk.serve(&backend)?, disk.serve(&backend)?];
    for job in JOBS {
        let options = [&EVERY[..], job].concat();
        let report = Fio::on(guest, disk.path(), &options).run()?;
        ensure!(report.writes > 0, "{job:?} wrote nothing");
    }
    // What one process wrote another one verifies.
    let write = ["rw=write", "bs=64k", "verify=crc32c"];
    let no_verify = [&write[..], &["do_verify=0"]].concat();
    Fio::on(guest, disk.path(), &no_verify).run()?;
    let read = ["rw=randread", "bs=64k", "verify=crc32c", "verify_fatal=1"];
    Fio::on(guest, disk.path(), &read).run()?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    drop(workers);

    let forgetful = guest.disk("size=8M")?;
    let _server = forgetful.serve("null")?;
    for job in &JOBS[..4] {
        let options = [&EVERY[..], job].concat();
        let report = Fio::on(guest, forgetful.path(), &options)
            .start()?
            .report()?;
        ensure!(
            report.check().is_err(),
            "{job:?} did not see that nothing was kept"
        );
    }
    Ok(())
}
