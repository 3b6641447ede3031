// SPDX-License-Identifier: MIT

//! What it costs to have another server after a death: from its start to the end of a read that was
//! made while nobody was there.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{ensure, Context, Result};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::contender::{self, Aligned};
use crate::scale::Once;

/// Deaths of each.
const TIMES: u32 = 5;
/// Numbers that nobody else has.
const OURS: u32 = 900;
const THEIRS: &str = "90";
const PATIENCE: Duration = Duration::from_secs(30);

/// Ours; and ublk's, if its program is there.
pub(crate) fn measure(peers: &Path, once: &mut Once<'_>) -> Result<()> {
    ours(once).context("abuse")?;
    if peers.join("bin/kublk").exists() {
        theirs(&peers.join("bin/kublk"), once).context("kublk")?;
    }
    Ok(())
}

fn ours(once: &mut Once<'_>) -> Result<()> {
    Registry::open()?.add(&NewDevice::numbered(OURS))?;
    let device = Device::open(format!("/dev/abctl{OURS}"))?;
    device.setup(&Setup {
        depth: 128,
        queues: 1,
        ..Setup::new(64 << 20)
    })?;
    let start = || -> Result<Child> {
        let own = std::env::current_exe()?;
        let node = format!("/dev/abctl{OURS}");
        let mut command = Command::new(own);
        command.args(["serve-copying", &node]);
        Ok(command.stdin(Stdio::null()).spawn()?)
    };
    let mut server = start()?;
    let disk = device.disk_path();
    reads(&disk)?;
    let mut all = Vec::new();
    for _ in 0..TIMES {
        server.kill()?;
        server.wait()?;
        let before = device.status()?.queued;
        let read = begin_read(&disk);
        wait(|| Ok(device.status()?.queued > before))?;
        let (next, counted) = once.part(|| {
            let next = start()?;
            read.join().ok().context("a reader")??;
            Ok(next)
        })?;
        server = next;
        all.push(counted);
    }
    once.parts("recovery-abuse", &all)?;
    server.kill()?;
    server.wait()?;
    Ok(())
}

/// With the handshake: the dead server's device is quiesced, a new one says that it begins, fetches
/// everything, and says that it has.
fn theirs(kublk: &Path, once: &mut Once<'_>) -> Result<()> {
    contender::modprobe(&["ublk_drv"])?;
    let serve = |verb: &str| {
        let words = [
            verb, "-n", THEIRS, "-q", "1", "-d", "128", "-r", "1", "-i", "1",
        ];
        let mut command = Command::new(kublk);
        command
            .args(words)
            .args(["--no_auto_part_scan", "-t", "null"]);
        contender::said(&mut command)
    };
    let disk = Path::new("/dev/ublkb").to_string_lossy().to_string() + THEIRS;
    let disk = Path::new(&disk);
    serve("add")?;
    reads(disk)?;
    let state = || contender::said(Command::new(kublk).args(["list", "-n", THEIRS]));
    let mut all = Vec::new();
    for _ in 0..TIMES {
        for server in servers()? {
            kill(server, Signal::SIGKILL)?;
        }
        let read = begin_read(disk);
        wait(|| Ok(state()?.contains("QUIESCED")))?;
        let ((), counted) = once.part(|| {
            serve("recover")?;
            read.join().ok().context("a reader")??;
            Ok(())
        })?;
        all.push(counted);
    }
    once.parts("recovery-kublk", &all)
}

/// Processes that serve that disk.
fn servers() -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let words = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if words.contains("kublk\0") && words.contains(&format!("\0-n\0{THEIRS}\0")) {
            found.push(Pid::from_raw(number));
        }
    }
    ensure!(!found.is_empty(), "nobody serves it");
    Ok(found)
}

fn reads(disk: &Path) -> Result<()> {
    wait(|| Ok(begin_read(disk).join().ok().context("a reader")?.is_ok()))
}

fn begin_read(disk: &Path) -> thread::JoinHandle<Result<()>> {
    let disk = disk.to_path_buf();
    thread::spawn(move || {
        let file = File::options()
            .read(true)
            .custom_flags(nix::libc::O_DIRECT)
            .open(disk)?;
        let mut buffer = Aligned([0; 4096]);
        file.read_exact_at(&mut buffer.0, 0)?;
        Ok(())
    })
}

fn wait(mut met: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !met()? {
        ensure!(began.elapsed() < PATIENCE, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
