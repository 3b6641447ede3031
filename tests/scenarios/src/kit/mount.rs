// SPDX-License-Identifier: MIT

//! A file system that is mounted for a while.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Guest;

/// A mounted file system; dropping it unmounts it, at the latest when the guest tidies up.
#[derive(Debug)]
pub struct Mount<'g> {
    guest: &'g Guest,
    what: PathBuf,
    place: PathBuf,
    mounted: bool,
}

impl<'g> Mount<'g> {
    pub(super) fn new(
        guest: &'g Guest,
        what: &Path,
        place: PathBuf,
        options: &str,
    ) -> Result<Mount<'g>> {
        std::fs::create_dir_all(&place)?;
        let mount = guest.command("mount").args(["-o", options]);
        mount.arg(what).arg(&place).ok()?;
        Ok(Mount {
            guest,
            what: what.into(),
            place,
            mounted: true,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.place
    }

    /// Unmounts it; fails when somebody is still in there.
    pub fn unmount(mut self) -> Result<()> {
        self.mounted = false;
        self.guest.command("umount").arg(&self.place).ok()?;
        Ok(())
    }
}

impl Mount<'_> {
    /// Unmounts it, and fails unless `check`, a program and its options, finds nothing to complain of.
    pub fn unmount_and_check(self, check: &[&str]) -> Result<()> {
        let (guest, what) = (self.guest, self.what.clone());
        self.unmount()?;
        let (program, options) = check.split_first().context("a program that checks")?;
        guest
            .command(program)
            .args(options)
            .arg(what)
            .ok()
            .map(drop)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if self.mounted {
            // Waits for no worker: whoever is left behind is not looked at any more.
            let _ = self
                .guest
                .command("umount")
                .arg("--lazy")
                .arg(&self.place)
                .ok();
        }
    }
}

/// A loop device over a file of its own; dropping it detaches it.
#[derive(Debug)]
pub struct LoopDevice<'g> {
    guest: &'g Guest,
    path: PathBuf,
}

impl<'g> LoopDevice<'g> {
    pub(super) fn new(guest: &'g Guest, file: &Path, bytes: u64) -> Result<LoopDevice<'g>> {
        guest.command("modprobe").arg("loop").ok()?;
        std::fs::File::create(file)?.set_len(bytes)?;
        let losetup = guest.command("losetup").args(["--find", "--show"]);
        let path = losetup.arg(file).ok()?.trim().into();
        Ok(LoopDevice { guest, path })
    }

    /// `/dev/loopN`
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice<'_> {
    fn drop(&mut self) {
        // One that is still in use goes when it is not any more.
        let _ = self
            .guest
            .command("losetup")
            .arg("--detach")
            .arg(&self.path)
            .ok();
    }
}
