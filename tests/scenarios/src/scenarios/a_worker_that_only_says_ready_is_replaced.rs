// SPDX-License-Identifier: MIT

//! A worker says that it is ready and never takes a request. Its supervisor believes it, until a
//! write has waited for too long: then it is killed, and who comes after it has the write.

use anyhow::{ensure, Result};

use crate::kit::{wait_for, Direct, Guest, Supervise, PATIENCE};

/// The first of its kind says READY=1 and sleeps; whoever comes later serves.
const WORKER: &str = r#"
if mkdir "$2" 2>/dev/null; then
    exec python3 -c '
import os, socket, time
name = os.environ["NOTIFY_SOCKET"]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"READY=1", "\0" + name[1:] if name[0] == "@" else name)
time.sleep(100000)
'
fi
exec abusectl server "$1" --backend ram:ready
"#;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let seen = guest.file("seen").display().to_string();
    let supervisor = Supervise::new(guest, &disk, 1, "ram:ready")
        .command(&["sh", "-c", WORKER, "sh", "{ctl}", &seen])
        .option("--request-timeout=1s")
        .option("--fence-after=100ms")
        .start()?;
    supervisor.wait_whole()?;
    let liar = supervisor.workers()[0];
    let mut write = Direct::open(disk.path())?.start_write(0, vec![7; 4096]);
    wait_for("the write to wait for somebody", PATIENCE, || {
        Ok((disk.status()?.queued > 0).then_some(()))
    })?;
    ensure!(!write.is_over(), "somebody has served the write");
    supervisor.wait_log("although it said that it is ready")?;
    write.finish(PATIENCE)??;
    supervisor.wait_whole()?;
    let now = supervisor.workers();
    ensure!(now.len() == 1 && now[0].token != liar.token, "{now:?}");
    let status = disk.status()?;
    ensure!(status.errors == 0 && status.taken == 0, "{status:?}");
    let log = supervisor.drain()?;
    ensure!(log.matches("hangs:").count() == 1, "{log}");
    Ok(())
}
