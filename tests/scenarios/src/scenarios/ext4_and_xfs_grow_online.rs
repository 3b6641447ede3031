// SPDX-License-Identifier: MIT

//! A disk grows under a mounted file system, which then grows itself by its own tool, while it is written
//! to and after its worker was killed; it is whole afterwards and holds more than it could before.
//! udev is told by RESIZE=1.

use anyhow::{ensure, Context, Result};

use crate::kit::{wait_until, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    // xfs makes no smaller ones.
    for (kind, grow, check, from, to) in [
        ("ext4", "resize2fs", &["e2fsck", "-fn"][..], 48, 96),
        ("xfs", "xfs_growfs", &["xfs_repair", "-n"], 300, 360),
    ] {
        grows(guest, kind, grow, check, [from, to]).with_context(|| kind.to_string())?;
    }
    Ok(())
}

fn grows(guest: &Guest, kind: &str, grow: &str, check: &[&str], sizes: [u64; 2]) -> Result<()> {
    let [from, to] = sizes;
    let disk = guest.disk(&format!("size={from}M"))?;
    let backend = format!("file:{},create,size={to}M", guest.file(kind).display());
    let mut server = disk.serve(&backend)?;
    let mkfs = guest.command(format!("mkfs.{kind}")).arg("-q");
    mkfs.arg(disk.path()).ok()?;
    let mount = guest.mount(disk.path())?;
    let room = |path: &std::path::Path| -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok((stat.blocks() * stat.fragment_size()) >> 20)
    };
    let before = room(mount.path())?;
    std::fs::write(mount.path().join("old"), vec![1; 1 << 20])?;

    let monitor = guest
        .command("udevadm")
        .args([
            "monitor",
            "--kernel",
            "--property",
            "--subsystem-match=block",
        ])
        .spawn()?;
    wait_until("the monitor to listen", PATIENCE, || {
        monitor.stdout().is_ok_and(|text| text.contains("uevent"))
    })?;
    let number = disk.device().number().to_string();
    let said = guest.abusectl(0, &["resize", &number, &format!("{to}M")])?;
    ensure!(
        said == format!("/dev/abuse{number}: {to}M, was {from}M\n"),
        "{said}"
    );
    ensure!(disk.sysfs("size")?.parse::<u64>()? == to << 11);
    ensure!(disk
        .status()?
        .setup
        .is_some_and(|setup| setup.bytes == to << 20));
    wait_until("a uevent", PATIENCE, || {
        monitor
            .stdout()
            .is_ok_and(|text| text.contains("\nRESIZE=1\n"))
    })?;

    server.kill()?;
    let place = match kind {
        "xfs" => mount.path().to_path_buf(),
        _ => disk.path(),
    };
    let growing = guest.command(grow).arg(place).spawn()?;
    disk.wait_status("a request of who grows", |status| status.queued > 0)?;
    let _server = disk.serve(&backend)?;
    let output = growing.finish(PATIENCE)?;
    ensure!(output.status.success(), "{grow}: {}", output.stderr);
    let after = room(mount.path())?;
    ensure!(
        after > before + (to - from) / 2,
        "{before} MiB, then {after}"
    );

    // More than there was room for.
    let new = mount.path().join("new");
    let bytes = (before as usize + 4) << 20;
    std::fs::write(&new, vec![2; bytes])?;
    std::fs::File::open(&new)?.sync_all()?;
    mount.unmount_and_check(check)?;
    let mount = guest.mount(disk.path())?;
    ensure!(std::fs::read(mount.path().join("old"))? == vec![1; 1 << 20]);
    ensure!(std::fs::read(mount.path().join("new"))? == vec![2; bytes]);
    mount.unmount()?;
    disk.wait_idle(PATIENCE)?;
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}
