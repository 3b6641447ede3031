// SPDX-License-Identifier: MIT

//! Devices on top of disks: dm-crypt, LVM, md, loop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Guest;

/// A device over others; dropping it takes it down.
#[derive(Debug)]
pub struct Layer<'g> {
    guest: &'g Guest,
    path: PathBuf,
    /// What takes it down, in order.
    down: Vec<Vec<String>>,
    /// What it is a piece of, and how large, if device-mapper makes it so.
    below: Option<(PathBuf, u64)>,
}

impl<'g> Layer<'g> {
    fn new(guest: &'g Guest, path: impl Into<PathBuf>, down: &[&[&str]]) -> Layer<'g> {
        let words = |words: &&[&str]| words.iter().map(|word| word.to_string()).collect();
        Layer {
            guest,
            path: path.into(),
            down: down.iter().map(words).collect(),
            below: None,
        }
    }

    /// dm-crypt with a key of its own.
    pub fn crypt(guest: &'g Guest, disk: &Path) -> Result<Layer<'g>> {
        const NAME: &str = "abuse-crypt";
        let key = guest.file("key");
        std::fs::write(&key, [0x5a; 64])?;
        let down = ["cryptsetup", "close", NAME];
        let layer = Layer::new(guest, format!("/dev/mapper/{NAME}"), &[&down]);
        let open = guest.command("cryptsetup").args([
            "open",
            "--type=plain",
            "--cipher=aes-xts-plain64",
            "--key-size=512",
        ]);
        open.arg("--key-file").arg(key).arg(disk).arg(NAME).ok()?;
        Ok(layer)
    }

    /// One logical volume on all of the disk.
    pub fn volume(guest: &'g Guest, disk: &Path) -> Result<Layer<'g>> {
        const GROUP: &str = "abusevg";
        let down = ["vgremove", "--force", "--yes", GROUP];
        let create = guest.command("vgcreate").args(["--yes", GROUP]);
        create.arg(disk).ok()?;
        let layer = Layer::new(guest, format!("/dev/{GROUP}/data"), &[&down]);
        let create = guest
            .command("lvcreate")
            .args(["--yes", "--wipesignatures=n"]);
        create
            .args(["--extents=100%FREE", "--name=data", GROUP])
            .ok()?;
        Ok(layer)
    }

    /// A mirror of two disks.
    pub fn mirror(guest: &'g Guest, disks: [&Path; 2]) -> Result<Layer<'g>> {
        const PATH: &str = "/dev/md/abuse";
        let create = guest.command("mdadm").args(["--create", PATH, "--run"]);
        create
            .args(["--level=1", "--raid-devices=2", "--assume-clean"])
            .args(["--metadata=1.2", "--bitmap=none", "--homehost=any"])
            .args(disks)
            .ok()?;
        let down = ["mdadm", "--stop", PATH];
        Ok(Layer::new(guest, PATH, &[&down]))
    }

    /// A loop device over the disk, past the page cache.
    pub fn looped(guest: &'g Guest, disk: &Path) -> Result<Layer<'g>> {
        guest.command("modprobe").arg("loop").ok()?;
        let losetup = guest.command("losetup");
        let path = losetup
            .args(["--find", "--show", "--direct-io=on"])
            .arg(disk)
            .ok()?;
        let path = path.trim();
        let down = ["losetup", "--detach", path];
        Ok(Layer::new(guest, path, &[&down]))
    }

    /// The same bytes, by device-mapper.
    pub fn linear(guest: &'g Guest, disk: &Path, bytes: u64) -> Result<Layer<'g>> {
        const NAME: &str = "abuse-linear";
        // Nobody waits for udev, which may be held up.
        let resume = ["dmsetup", "resume", "--noudevsync", NAME];
        let down = ["dmsetup", "remove", "--noudevsync", "--retry", NAME];
        let mut layer = Layer::new(guest, format!("/dev/mapper/{NAME}"), &[&resume, &down]);
        layer.below = Some((disk.into(), bytes));
        let create = guest.command("dmsetup").args(["create", NAME, "--table"]);
        create.arg(layer.table(true)?).ok()?;
        Ok(layer)
    }

    /// One of [`Layer::linear`] fails writes and flushes from now on, those too that wait while it is
    /// suspended, or does not any more.
    pub fn fail_writes(&self, fail: bool) -> Result<()> {
        let load = self.guest.command("dmsetup").arg("load").arg(&self.path);
        load.arg("--table").arg(self.table(!fail)?).ok()?;
        let resume = self.guest.command("dmsetup").arg("resume");
        let resume = resume.args(["--noudevsync", "--noflush", "--nolockfs"]);
        resume.arg(&self.path).ok()?;
        Ok(())
    }

    fn table(&self, well: bool) -> Result<String> {
        let (disk, bytes) = self.below.as_ref().context("nothing below it")?;
        let (disk, sectors) = (disk.display(), bytes / 512);
        Ok(match well {
            true => format!("0 {sectors} linear {disk} 0"),
            // Up for no time, down for an hour.
            false => format!("0 {sectors} flakey {disk} 0 0 3600 1 error_writes"),
        })
    }

    /// So many bytes of each of several devices, from some offset of each, one behind the other.
    pub fn joined(guest: &'g Guest, parts: &[(&Path, u64)], bytes: u64) -> Result<Layer<'g>> {
        const NAME: &str = "abuse-joined";
        let down = ["dmsetup", "remove", "--noudevsync", "--retry", NAME];
        let layer = Layer::new(guest, format!("/dev/mapper/{NAME}"), &[&down]);
        let sectors = bytes / 512;
        let mut table = String::new();
        for (index, (device, offset)) in parts.iter().enumerate() {
            let (at, device) = (index as u64 * sectors, device.display());
            table += &format!("{at} {sectors} linear {device} {}\n", offset / 512);
        }
        let create = guest.command("dmsetup").args(["create", NAME, "--table"]);
        create.arg(table).ok()?;
        Ok(layer)
    }

    /// The same bytes, with writes that take so long; reads do not.
    pub fn slow(guest: &'g Guest, disk: &Path, bytes: u64, delay: Duration) -> Result<Layer<'g>> {
        const NAME: &str = "abuse-slow";
        guest.command("modprobe").arg("dm-delay").ok()?;
        let down = ["dmsetup", "remove", "--noudevsync", "--retry", NAME];
        let layer = Layer::new(guest, format!("/dev/mapper/{NAME}"), &[&down]);
        let (sectors, disk) = (bytes / 512, disk.display());
        let delay = delay.as_millis();
        let table = format!("0 {sectors} delay {disk} 0 0 {disk} 0 {delay}");
        let create = guest.command("dmsetup").args(["create", NAME, "--table"]);
        create.arg(table).ok()?;
        Ok(layer)
    }

    /// A device whose every request fails.
    pub fn broken(guest: &'g Guest, bytes: u64) -> Result<Layer<'g>> {
        const NAME: &str = "abuse-broken";
        let down = ["dmsetup", "remove", "--noudevsync", "--retry", NAME];
        let layer = Layer::new(guest, format!("/dev/mapper/{NAME}"), &[&down]);
        let create = guest.command("dmsetup").args(["create", NAME, "--table"]);
        create.arg(format!("0 {} error", bytes / 512)).ok()?;
        Ok(layer)
    }

    /// A device of device-mapper answers no request any more.
    pub fn suspend(&self) -> Result<()> {
        let suspend = ["suspend", "--noudevsync", "--noflush", "--nolockfs"];
        let command = self.guest.command("dmsetup").args(suspend);
        command.arg(&self.path).ok()?;
        Ok(())
    }

    /// It answers again.
    pub fn resume(&self) -> Result<()> {
        let resume = ["resume", "--noudevsync"];
        let command = self.guest.command("dmsetup").args(resume);
        command.arg(&self.path).ok()?;
        Ok(())
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it down; fails when that does.
    pub fn down(mut self) -> Result<()> {
        for words in std::mem::take(&mut self.down) {
            self.guest
                .command(&words[0])
                .args(&words[1..])
                .ok()
                .with_context(|| words.join(" "))?;
        }
        Ok(())
    }
}

impl Drop for Layer<'_> {
    fn drop(&mut self) {
        for words in &self.down {
            let _ = self.guest.command(&words[0]).args(&words[1..]).ok();
        }
    }
}
