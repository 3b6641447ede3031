// SPDX-License-Identifier: MIT

//! Swap on a disk in memory and on one in a file: a program in a control group with little memory has
//! most of its pages there, and looks at all of them again and again while the disk's worker is killed
//! and its standby takes over. Every page is what it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kit::{wait_until, Guest, Process, Supervise, PATIENCE};
use crate::torture::hog::Hog;

const KILLS: usize = 1;
/// What the group should keep in memory, of so much. A limit that is never exceeded would have programs
/// killed when the disk has no worker for a moment.
const MEMORY: u64 = 6 << 20;
const PAGES: u64 = 16 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let file = format!("file:{},create", guest.file("backing").display());
    for backend in ["ram:swap", &file] {
        swaps(guest, backend).context(backend.to_string())?;
    }
    Ok(())
}

fn swaps(guest: &Guest, backend: &str) -> Result<()> {
    let disk = guest.disk("size=32M")?;
    let supervisor = Supervise::new(guest, &disk, 1, backend)
        .standby(1)
        .start()?;
    supervisor.wait_whole()?;
    let node = disk.path();
    guest.command("mkswap").arg(&node).ok()?;
    let swap = Swap::on(guest, &node)?;
    let group = Group::new(MEMORY)?;
    let mut hog = group.spawn(guest, Hog::Pages(PAGES >> 20))?;
    wait_until("most of its pages to be swapped out", PATIENCE, || {
        group.swapped().is_ok_and(|bytes| bytes > PAGES / 2)
    })?;
    for _ in 0..guest.times(KILLS) {
        supervisor.wait_whole()?;
        disk.wait_status("pages under way", |status| status.taken > 0)?;
        supervisor.shoot(&supervisor.workers()[0])?;
        let seen = looks(&hog)?;
        wait_until("one more look at all pages", PATIENCE * 2, || {
            looks(&hog).is_ok_and(|now| now > seen) || !hog.is_running().unwrap_or(false)
        })?;
        ensure!(hog.is_running()?, "the program ended: {}", hog.stderr()?);
    }
    hog.kill()?;
    group.remove()?;
    swap.off()?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}

/// How often it has looked at all of its pages.
fn looks(hog: &Process) -> Result<usize> {
    Ok(hog.stdout()?.lines().count())
}

/// A disk that is swapped to; dropping it ends that.
struct Swap<'g> {
    guest: &'g Guest,
    node: PathBuf,
}

impl<'g> Swap<'g> {
    fn on(guest: &'g Guest, node: &Path) -> Result<Swap<'g>> {
        guest.command("swapon").arg(node).ok()?;
        Ok(Swap {
            guest,
            node: node.into(),
        })
    }

    fn off(self) -> Result<()> {
        self.guest.command("swapoff").arg(&self.node).ok()?;
        Ok(())
    }
}

impl Drop for Swap<'_> {
    fn drop(&mut self) {
        // After `off` there is nothing to be done, and that is said and not listened to.
        let _ = self.guest.command("swapoff").arg(&self.node).run();
    }
}

/// A control group with a limit to its memory.
struct Group(PathBuf);

impl Group {
    fn new(limit: u64) -> Result<Group> {
        let root = Path::new("/sys/fs/cgroup");
        let controllers = root.join("cgroup.subtree_control");
        fs::write(&controllers, "+memory").context("the memory controller")?;
        let group = Group(root.join("abuse-swap"));
        fs::create_dir(&group.0).context("a control group")?;
        fs::write(group.0.join("memory.high"), limit.to_string())?;
        Ok(group)
    }

    /// Starts it in here.
    fn spawn(&self, guest: &Guest, hog: Hog) -> Result<Process> {
        let script = "echo $$ >\"$0\" && exec abuse-scenarios \"$@\"";
        let words = hog.words(Duration::from_secs(600));
        let command = guest.command("sh").args(["-c", script]);
        command.arg(self.0.join("cgroup.procs")).args(words).spawn()
    }

    fn swapped(&self) -> Result<u64> {
        let bytes = fs::read_to_string(self.0.join("memory.swap.current"))?;
        Ok(bytes.trim().parse()?)
    }

    fn remove(&self) -> Result<()> {
        // Who was killed in there may not be gone yet.
        wait_until("the group to be empty", PATIENCE, || {
            !self.0.exists() || fs::remove_dir(&self.0).is_ok()
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}
