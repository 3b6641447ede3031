// SPDX-License-Identifier: MIT

//! With --pin each thread of a worker runs on the processors of one hardware queue and on no others,
//! two threads for each of two queues; without it they run anywhere. What they serve reads back.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{ensure, Context, Result};

use crate::kit::{wait_for, Disk, Fio, Guest, Process, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M,queues=2")?;
    let queues = queues(&disk)?;
    ensure!(queues.len() == 2, "{} hardware queues", queues.len());
    let server = disk.serve_with("ram:pinned", &["--threads", "4", "--pin"])?;
    // They take their names and their places when they run for the first time.
    wait_for("two threads for each queue", PATIENCE, || {
        let threads = workers(&server)?;
        let on = |queue| threads.iter().filter(|allowed| *allowed == queue).count();
        let placed = threads.len() == 4 && queues.iter().all(|queue| on(queue) == 2);
        Ok(placed.then_some(()))
    })
    .with_context(|| format!("threads: {:?}, queues: {queues:?}", workers(&server)))?;
    let options = [
        "rw=randrw",
        "bs=4k",
        "iodepth=16",
        "numjobs=2",
        "size=8M",
        "offset_increment=16M",
    ];
    Fio::on(guest, disk.path(), &options).verify().run()?;

    let free = disk.serve_with("ram:pinned", &["--threads", "2"])?;
    let all: BTreeSet<usize> = queues.into_iter().flatten().collect();
    wait_for("two threads", PATIENCE, || {
        Ok((workers(&free)?.len() == 2).then_some(()))
    })?;
    for allowed in workers(&free)? {
        ensure!(
            allowed == all,
            "pinned without having been asked: {allowed:?}"
        );
    }
    Ok(())
}

/// The processors of each hardware queue.
fn queues(disk: &Disk<'_>) -> Result<Vec<BTreeSet<usize>>> {
    let mut queues = Vec::new();
    for number in 0..disk.setup().queues {
        let list = disk.sysfs(&format!("mq/{number}/cpu_list"))?;
        let numbers = list.split(',').map(|word| word.trim().parse());
        queues.push(numbers.collect::<Result<_, _>>()?);
    }
    Ok(queues)
}

/// The processors that each thread which serves may run on.
fn workers(server: &Process) -> Result<Vec<BTreeSet<usize>>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", server.pid()))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        if field("Name:").map(str::trim) == Some("abuse-worker") {
            all.push(set(field("Cpus_allowed_list:").context("no list")?.trim())?);
        }
    }
    Ok(all)
}

/// `0-1,3`
fn set(list: &str) -> Result<BTreeSet<usize>> {
    let mut all = BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<usize>()?..=last.parse::<usize>()?);
    }
    Ok(all)
}
