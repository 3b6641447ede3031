// SPDX-License-Identifier: MIT

//! A user in group disk sets a device up, serves it from a file of his own, looks at it and resets
//! it, all without root; a worker of his that is killed loses nothing. One who is not in the group is
//! told why he cannot, and learns nothing of what is there: not through the nodes, nor in /sys, the
//! kernel's log of events, or the worker's entry in /proc.

use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{ensure, Result};

use crate::kit::raw::{free, node};
use crate::kit::{wait_until, Command, Direct, Fio, Guest, Process, PATIENCE};

const MEMBER: &str = "65533";
const STRANGER: &str = "65534";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let device = free()?;
    let node = node(&device);
    let home = guest.file("home");
    std::fs::create_dir_all(&home)?;
    chown(&home, Some(65533), Some(65533))?;
    let backend = format!("file:{}/disk.img,create", home.display());

    member(guest)
        .args(["abusectl", "setup", &node, "size=32M"])
        .ok()?;
    wait_until("the disk's node", PATIENCE, || device.disk_path().exists())?;
    let mut server = serve(guest, &node, &backend)?;
    let owner = std::fs::metadata(home.join("disk.img"))?;
    ensure!(
        std::os::unix::fs::MetadataExt::uid(&owner) == 65533,
        "the file is not his"
    );
    let job = ["rw=randwrite", "bs=16k", "size=16M", "iodepth=8"];
    let mut load = Fio::on(guest, device.disk_path(), &job).verify().start()?;
    wait_until("the load to begin", PATIENCE, || {
        device.status().is_ok_and(|status| status.taken > 0)
    })?;
    server.kill()?;
    ensure!(
        load.process.is_running()?,
        "the load did not need the server"
    );
    let _server = serve(guest, &node, &backend)?;
    load.finish()?;
    let info = member(guest).args(["abusectl", "info", &node]).ok()?;
    ensure!(info.contains("live"), "{info}");

    // The other one: something is queued, and he is to know nothing of it.
    drop(_server);
    let file = Direct::open(device.disk_path())?;
    let write = file.start_write(0, b"s3cret".repeat(4096)[..4096 * 4].to_vec());
    wait_until("a write to wait", PATIENCE, || {
        device.status().is_ok_and(|status| status.queued > 0)
    })?;
    for words in [
        &["info", &node][..],
        &["get", &node],
        &["poll", &node],
        &["requeue", &node, "--all"],
        &["reconnect", &node],
        &["reset", &node, "--force"],
        &["server", &node, "--backend", "null"],
    ] {
        let output = stranger(guest).arg("abusectl").args(words).run()?;
        ensure!(
            output.status.code() == Some(1)
                && output.stderr.contains("Permission denied")
                && output.stderr.contains("disk"),
            "{words:?}: {output:?}"
        );
    }
    for closed in ["/sys/kernel/tracing", "/sys/kernel/debug"] {
        let output = stranger(guest).args(["ls", closed]).run()?;
        ensure!(!output.status.success(), "{closed} is open to him");
    }
    let said = stranger(guest)
        .args(["sh", "-c", "cat \"$0\" \"$1\""])
        .arg(&node)
        .arg(device.disk_path())
        .run()?;
    ensure!(said.stdout.is_empty() && !said.status.success(), "{said:?}");
    readable_by_all_says_nothing(&device.control_path())?;

    member(guest)
        .args(["abusectl", "reset", &node, "--force"])
        .ok()?;
    ensure!(write.finish(PATIENCE)?.is_err(), "it was written by nobody");
    Ok(())
}

fn as_user<'g>(guest: &'g Guest, user: &str, groups: &str) -> Command<'g> {
    guest.command("setpriv").args([
        &format!("--reuid={user}"),
        &format!("--regid={user}"),
        groups,
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--no-new-privs",
    ])
}

fn member(guest: &Guest) -> Command<'_> {
    as_user(guest, MEMBER, "--groups=disk")
}

fn stranger(guest: &Guest) -> Command<'_> {
    as_user(guest, STRANGER, "--clear-groups")
}

fn serve(guest: &Guest, node: &str, backend: &str) -> Result<Process> {
    let mut server = member(guest)
        .args(["abusectl", "server", node, "--backend", backend])
        .spawn()?;
    server.wait_serving()?;
    Ok(server)
}

/// What sysfs shows of the device to everybody: what it is, and nothing of what is asked of it.
fn readable_by_all_says_nothing(control: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let name = control.file_name().unwrap_or_default();
    let place = Path::new("/sys/class/abuse").join(name);
    let known = ["dev", "name", "uevent", "state", "sequence", "epoch"];
    for directory in [place.clone(), place.join("load"), place.join("ops")] {
        for entry in std::fs::read_dir(&directory)?.flatten() {
            let (path, data) = (entry.path(), entry.metadata()?);
            let open = data.is_file() && data.permissions().mode() & 0o004 != 0;
            let harmless = known.iter().any(|name| path == place.join(name));
            ensure!(!open || harmless, "{} is open to everybody", path.display());
        }
    }
    Ok(())
}
