// SPDX-License-Identifier: MIT

//! The system's log is a socket that nobody reads, and the workers' stderr a pipe that nobody reads:
//! the supervisor has more to say than either takes. Workers are killed and replaced as ever, no I/O
//! waits or fails, and when somebody reads at last, he is told how much was lost.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::{servers_of, wait_for, wait_until, Fio, Guest, Supervise, PATIENCE};

const SOCKET: &str = "/dev/log";
const KILLS: usize = 3;
/// Looks at the status, of four lines each: more than the socket and the queue take.
const LOOKS: usize = 800;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let log = Unread::bind()?;
    // A worker that cannot say a word.
    let script = format!(
        "mkfifo -m 600 \"$1.$$\" && exec 3<>\"$1.$$\" && head -c 65536 /dev/zero >&3 && \
         exec abusectl server \"$2\" --backend '{backend}' 2>&3"
    );
    let pipe = guest.file("unread").display().to_string();
    let supervisor = Supervise::new(guest, &disk, 2, &backend)
        .command(&["sh", "-c", &script, "sh", &pipe, "{ctl}"])
        .option("--syslog")
        .spawn()?;
    let there = |count: usize| {
        wait_until("the workers to be ready", PATIENCE, || {
            supervisor
                .workers()
                .iter()
                .filter(|worker| worker.ready)
                .count()
                == count
        })
    };
    there(2)?;
    let job = [
        "rw=randwrite",
        "bs=4k",
        "iodepth=16",
        "size=4M",
        "verify_backlog=64",
        "loops=100",
    ];
    let mut load = Fio::on(guest, disk.path(), &job).verify().start()?;
    for _ in 0..LOOKS {
        supervisor.process.signal(Signal::SIGUSR1)?;
        // Two at once would be one.
        std::thread::sleep(Duration::from_millis(3));
    }
    wait_until("the log to be stuck", PATIENCE, || {
        Unread::waits(supervisor.process.pid())
    })?;
    for kill in 0..guest.times(KILLS) {
        there(2)?;
        disk.wait_status("requests under way", |status| status.taken > 0)?;
        supervisor.shoot(&supervisor.workers()[kill % 2])?;
        ensure!(load.process.is_running()?, "the load ended");
    }
    ensure!(servers_of(&disk).len() == 2, "a worker too many or too few");
    load.process.signal(Signal::SIGINT)?;
    let report = load.report()?;
    ensure!(report.errors == 0 && report.reads > 0, "{report:?}");
    ensure!(disk.status()?.errors == 0, "requests failed");

    // Somebody reads: the lines that came first, and how many were lost.
    let mut supervisor = supervisor;
    let mut read = 0;
    wait_for("the word of what was lost", PATIENCE, || {
        let lines = log.read()?;
        read += lines.len();
        let lost = lines
            .iter()
            .any(|line| line.contains("log lines were lost here"));
        Ok(lost.then_some(()))
    })?;
    ensure!(read > 10, "only {read} lines were there");
    supervisor.process.signal(Signal::SIGTERM)?;
    let status = wait_for("the supervisor's end", PATIENCE, || {
        log.read()?;
        let ended = !supervisor.process.is_running()?;
        ended.then(|| supervisor.process.wait(PATIENCE)).transpose()
    })?;
    ensure!(status.success(), "the supervisor: {status}");
    Ok(())
}

/// A log socket without a reader; dropping it takes it away.
struct Unread(UnixDatagram);

impl Unread {
    fn bind() -> Result<Unread> {
        ensure!(!Path::new(SOCKET).exists(), "there is a log daemon");
        let socket = UnixDatagram::bind(SOCKET).context(SOCKET)?;
        socket.set_nonblocking(true)?;
        Ok(Unread(socket))
    }

    /// Whether the log's thread of this process waits for a reader.
    fn waits(pid: u32) -> bool {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        tasks.into_iter().flatten().flatten().any(|task| {
            let file = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let waits = ["unix", "sock"].iter().any(|at| file("wchan").contains(at));
            file("comm").trim() == "log" && waits
        })
    }

    fn read(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut line = [0; 4096];
        while let Ok(length) = self.0.recv(&mut line) {
            lines.push(String::from_utf8_lossy(&line[..length]).into_owned());
        }
        Ok(lines)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = fs::remove_file(SOCKET);
    }
}
