// SPDX-License-Identifier: MIT

//! The memory of a disk consists of huge pages that were set aside, if they are enough; else of huge
//! pages that the kernel makes; else of small ones. The worker says which, /proc agrees, and in each
//! case a second worker finds what the first has written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::{Direct, Fio, Guest, PATIENCE};

const SIZE: u64 = 32 << 20;
const PAGE: u64 = 2 << 20;
const POOL: &str = "/proc/sys/vm/nr_hugepages";
const THP: &str = "/sys/kernel/mm/transparent_hugepage";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let directory = Path::new("/dev/hugepages");
    fs::create_dir_all(directory)?;
    let mounted = fs::read_to_string("/proc/mounts")?.contains(" /dev/hugepages hugetlbfs ");
    if !mounted {
        let mount = guest.command("mount").args(["-t", "hugetlbfs"]);
        mount.args(["none", "/dev/hugepages"]).ok()?;
    }

    let pool = Restored::set(POOL, "20")?;
    let free = memory("HugePages_Free:")?;
    ensure!(free >= 16, "{free} huge pages could be set aside");
    serves(
        guest,
        "set-aside",
        "reserved huge pages of 2048 KiB",
        |_| {
            let left = memory("HugePages_Free:")?;
            ensure!(free - left == SIZE / PAGE, "{left} of {free} are left");
            Ok(())
        },
    )?;
    ensure!(memory("HugePages_Free:")? == free, "pages were lost");

    // Four are not enough.
    drop(pool);
    let _pool = Restored::set(POOL, "4")?;
    let _thp = Restored::set(&format!("{THP}/enabled"), "madvise")?;
    serves(guest, "made-huge", "transparent huge pages", |maps| {
        let huge = field(maps, "ShmemPmdMapped:")?;
        ensure!(huge << 10 == SIZE, "{huge} KiB of it are huge");
        Ok(())
    })?;
    let _deny = Restored::set(&format!("{THP}/shmem_enabled"), "deny")?;
    serves(guest, "small", "small pages (no huge ones: ", |maps| {
        ensure!(field(maps, "ShmemPmdMapped:")? == 0, "some are huge");
        Ok(())
    })
}

/// Serves a disk from memory of this name, which must consist of that; looks at its mapping.
fn serves(
    guest: &Guest,
    name: &str,
    pages: &str,
    look: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    let disk = guest.disk("size=32M")?;
    let backend = format!("ram:{name}");
    let server = disk.serve(&backend)?;
    let words = server.stderr()?;
    let said = format!("ram:{name} consists of {pages}");
    ensure!(words.contains(&said), "the server said: {words}");
    let options = ["rw=randrw", "bs=4k", "iodepth=16", "size=4M"];
    Fio::on(guest, disk.path(), &options).verify().run()?;
    let file = Direct::open(disk.path())?;
    file.write(SIZE - 4096, &[7; 4096])?;
    look(&mapping(server.pid(), name)?)?;

    server.signal(Signal::SIGKILL)?;
    server.finish(PATIENCE)?;
    let _second = disk.serve(&backend)?;
    ensure!(file.read(SIZE - 4096, 4096)? == [7; 4096], "it was lost");
    drop(file);
    drop(_second);
    for directory in ["/dev/hugepages", "/dev/shm"] {
        let _ = fs::remove_file(PathBuf::from(directory).join(format!("abuse-{name}")));
    }
    Ok(())
}

/// What smaps says of the mapping of a file of that name.
fn mapping(pid: u32, name: &str) -> Result<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let at = maps
        .find(&format!("abuse-{name}\n"))
        .context("it is not mapped")?;
    let end = maps[at..].find("VmFlags:").unwrap_or(maps.len() - at);
    Ok(maps[at..at + end].to_string())
}

fn memory(name: &str) -> Result<u64> {
    field(&fs::read_to_string("/proc/meminfo")?, name)
}

fn field(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.with_context(|| format!("no {name}"))?;
    Ok(value.split_whitespace().next().unwrap_or("").parse()?)
}

/// A file of the kernel's that says something else for a while.
struct Restored {
    path: String,
    before: String,
}

impl Restored {
    fn set(path: &str, value: &str) -> Result<Restored> {
        let text = fs::read_to_string(path).with_context(|| path.to_string())?;
        // `always [madvise] never`
        let chosen = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'));
        let before = chosen.map_or(text.trim(), |(word, _)| word).to_string();
        fs::write(path, value).with_context(|| format!("{value} to {path}"))?;
        Ok(Restored {
            path: path.into(),
            before,
        })
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.before);
    }
}
