// SPDX-License-Identifier: MIT

//! A disk set up without `partscan` shows its partitions when somebody asks, with blockdev or
//! partprobe, and not before. As long as no worker has come the answer is an error, at once.

use anyhow::{ensure, Result};

use crate::kit::{wait_until, Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let image = guest.file("image");
    std::fs::File::create(&image)?.set_len(64 << 20)?;
    let parted = guest.command("parted").arg("-s").arg(&image);
    parted
        .args(["mklabel", "gpt", "mkpart", "one", "1MiB", "16MiB"])
        .args(["mkpart", "two", "16MiB", "100%"])
        .ok()?;
    let backend = format!("file:{}", image.display());
    for ask in [
        &["blockdev", "--rereadpt"][..],
        &["partprobe"],
        &["partx", "--add"],
    ] {
        let disk = guest.disk("size=64M,bs=512")?;
        let (node, first) = (disk.path(), format!("{}p1", disk.path().display()));
        let reread = || {
            let command = guest.command("blockdev").arg("--rereadpt");
            command.arg(&node).run()
        };
        let early = reread()?;
        ensure!(!early.status.success(), "a scan without a worker");
        ensure!(disk.status()?.queued == 0, "it asks for data");

        let _server = disk.serve(&backend)?;
        // An open and a read do not look, either.
        Direct::open(&node)?.read(0, 4096)?;
        disk.wait_idle(PATIENCE)?;
        ensure!(!std::path::Path::new(&first).exists(), "nobody had asked");

        let command = guest.command(ask[0]).args(&ask[1..]).arg(&node);
        command.ok()?;
        for (name, sectors) in [("p1", 15 << 11), ("p2", 0)] {
            let place = format!("{}{name}", node.display());
            wait_until(&place, PATIENCE, || std::path::Path::new(&place).exists())?;
            let number = disk.device().number();
            let found: u64 = disk.sysfs(&format!("abuse{number}{name}/size"))?.parse()?;
            ensure!(found == sectors || sectors == 0, "{place} has {found}");
        }
        disk.wait_idle(PATIENCE)?;
        disk.device().reset(true, Some(PATIENCE))?;
        ensure!(
            !std::path::Path::new(&first).exists(),
            "it outlived its disk"
        );
    }

    // Asked while nobody answers, it waits for a worker like any reader; also a new one.
    let disk = guest.disk("size=16M")?;
    let mut puppet = disk.puppet()?;
    let file = Direct::open(disk.path())?;
    let read = file.start_read(0, 4096);
    let held = puppet.take_one()?;
    ensure!(puppet.put(&held, Answer::Done)?.is_none());
    read.finish(PATIENCE)??;
    puppet.kill()?;
    let path = disk.path();
    let scan = guest
        .command("blockdev")
        .arg("--rereadpt")
        .arg(&path)
        .spawn()?;
    disk.wait_status("the scan's read", |status| status.queued > 0)?;
    let _server = disk.serve("null")?;
    let output = scan.finish(PATIENCE)?;
    ensure!(output.status.success(), "{}", output.stderr);
    Ok(())
}
