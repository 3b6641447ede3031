// SPDX-License-Identifier: MIT

//! Who is measured, and how each is made ready: in the mode that its own documentation calls fastest,
//! with its server scheduled as ours is (SCHED_BATCH), with one queue of 128 requests.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use abuse::{Device, NewDevice, Registry};
use anyhow::{bail, ensure, Context, Result};

/// Bytes of every disk that has data.
const SIZE: u64 = 64 << 20;

/// A driver with its server, if it has one.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// The module whose symbols are its own.
    pub(crate) module: &'static str,
    /// What it is, for the table.
    pub(crate) what: &'static str,
    /// The jobs that it is there for; all, if none is named.
    pub(crate) jobs: &'static [&'static str],
    /// Where it is measured.
    pub(crate) lane: Lane,
    start: fn(&Path) -> Result<Running>,
}

/// Which of the two measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Both,
    Count,
    Clock,
}

/// One that is ready. What serves it lives as long as this.
pub(crate) struct Running {
    pub(crate) disk: PathBuf,
    /// What it said of its version.
    pub(crate) version: String,
    servers: Vec<Child>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// All of them. The peers' programs are in the directory that `start` is given.
pub(crate) const CONTENDERS: &[Contender] = &[
    Contender {
        name: "copy",
        module: "abuse",
        what: "abuse; a worker that looks at no data, which are copied all the same",
        jobs: &[],
        lane: Lane::Both,
        start: |_| abuse(0, &["/proc/self/exe", "serve-copying"]),
    },
    Contender {
        name: "null",
        module: "abuse",
        what: "abuse, backend null: nothing is copied, reads are zeroed",
        jobs: &[],
        lane: Lane::Both,
        start: |_| abuse(1, &["abusectl", "server", "--backend", "null"]),
    },
    Contender {
        name: "ram",
        module: "abuse",
        what: "abuse, backend ram",
        jobs: &[],
        lane: Lane::Both,
        start: |_| abuse(2, &["abusectl", "server", "--backend", "ram:bench"]),
    },
    Contender {
        name: "file",
        module: "abuse",
        what: "abuse, backend file, on tmpfs",
        jobs: &[],
        lane: Lane::Both,
        start: |_| {
            filled("/tmp/abuse.img")?;
            abuse(
                3,
                &["abusectl", "server", "--backend", "file:/tmp/abuse.img"],
            )
        },
    },
    Contender {
        name: "forward",
        module: "abuse",
        what: "abuse, backend file on tmpfs, forwarded",
        jobs: &[],
        lane: Lane::Both,
        start: |_| {
            filled("/tmp/forward.img")?;
            let backend = "file:/tmp/forward.img";
            abuse(
                11,
                &["abusectl", "server", "--forward", "--backend", backend],
            )
        },
    },
    Contender {
        name: "copy-2w",
        module: "abuse",
        what: "as copy, with two workers on one queue",
        jobs: &["randread-4k-qd64", "randwrite-4k-qd64"],
        lane: Lane::Both,
        start: |_| abuse_of(4, 1, 2, &COPYING),
    },
    Contender {
        name: "copy-4w4q",
        module: "abuse",
        what: "as copy, with four workers and four queues",
        jobs: &["randread-4k-qd64", "randwrite-4k-qd64", "mixed-70-30-4jobs"],
        lane: Lane::Both,
        start: |_| abuse_of(5, 4, 4, &COPYING),
    },
    Contender {
        name: "file-uring",
        module: "abuse",
        what: "abuse, backend file with io_uring, on tmpfs",
        jobs: &[],
        lane: Lane::Both,
        start: |_| {
            filled("/tmp/uring.img")?;
            let backend = "file:/tmp/uring.img,io_uring";
            abuse(6, &["abusectl", "server", "--backend", backend])
        },
    },
    Contender {
        name: "spin",
        module: "abuse",
        what: "as copy; spins 300 times, on a processor of its own",
        jobs: &["randread-4k-qd1", "randread-4k-qd64"],
        lane: Lane::Clock,
        start: |_| abuse_of(7, 1, 1, &ON_ITS_OWN),
    },
    Contender {
        name: "slow-1w",
        module: "abuse",
        what: "abuse, a backend that takes 1 ms for each request, one worker",
        jobs: &["randread-4k-qd64"],
        lane: Lane::Clock,
        start: |_| abuse_of(8, 1, 1, &SLOW),
    },
    Contender {
        name: "slow-4w",
        module: "abuse",
        what: "the same with four workers of one thread",
        jobs: &["randread-4k-qd64"],
        lane: Lane::Clock,
        start: |_| abuse_of(9, 1, 4, &SLOW),
    },
    Contender {
        name: "slow-4t",
        module: "abuse",
        what: "the same with one worker of four threads",
        jobs: &["randread-4k-qd64"],
        lane: Lane::Clock,
        start: |_| abuse_of(10, 1, 1, &SLOW_THREADS),
    },
    Contender {
        name: "null_blk",
        module: "null_blk",
        what: "null_blk, no data",
        jobs: &[],
        lane: Lane::Both,
        start: |_| {
            modprobe(&[
                "null_blk",
                "nr_devices=1",
                "gb=1",
                "queue_mode=2",
                "irqmode=0",
                "submit_queues=1",
                "hw_queue_depth=128",
            ])?;
            stock("/dev/nullb0")
        },
    },
    Contender {
        name: "disk",
        module: "abuse",
        what: "abuse, backend file, on null_blk",
        jobs: &["randread-4k-qd64", "randwrite-4k-qd64", "read-128k-qd16"],
        lane: Lane::Both,
        start: |_| abuse(13, &["abusectl", "server", "--backend", "file:/dev/nullb0"]),
    },
    Contender {
        name: "disk-uring",
        module: "abuse",
        what: "abuse, backend file with io_uring, on null_blk",
        jobs: &["randread-4k-qd64", "randwrite-4k-qd64", "read-128k-qd16"],
        lane: Lane::Both,
        start: |_| {
            let backend = "file:/dev/nullb0,io_uring";
            abuse(12, &["abusectl", "server", "--backend", backend])
        },
    },
    Contender {
        name: "brd",
        module: "brd",
        what: "brd",
        jobs: &[],
        lane: Lane::Both,
        start: |_| {
            modprobe(&["brd", "rd_nr=1", "rd_size=65536"])?;
            fill("/dev/ram0")?;
            stock("/dev/ram0")
        },
    },
    Contender {
        name: "loop",
        module: "loop",
        what: "loop on a file on tmpfs, direct I/O",
        jobs: &[],
        lane: Lane::Both,
        start: |_| {
            filled("/tmp/loop.img")?;
            modprobe(&["loop"])?;
            let disk = said(Command::new("losetup").args([
                "--find",
                "--show",
                "--direct-io=on",
                "/tmp/loop.img",
            ]))?;
            stock(disk.trim())
        },
    },
    Contender {
        name: "kublk",
        module: "ublk_drv",
        what: "ublk, kublk null: copies",
        jobs: &[],
        lane: Lane::Both,
        start: |peers| kublk(peers, 0, &["-t", "null"]),
    },
    Contender {
        name: "kublk-batch",
        module: "ublk_drv",
        what: "ublk, kublk null, UBLK_F_BATCH_IO: copies",
        jobs: &[],
        lane: Lane::Both,
        start: |peers| kublk(peers, 1, &["-t", "null", "-b"]),
    },
    Contender {
        name: "kublk-zc",
        module: "ublk_drv",
        what: "ublk, kublk null, auto zero copy",
        jobs: &[],
        lane: Lane::Both,
        start: |peers| kublk(peers, 2, &["-t", "null", "--auto_zc"]),
    },
    Contender {
        name: "kublk-loop",
        module: "ublk_drv",
        what: "ublk, kublk loop on a file on tmpfs",
        jobs: &[],
        lane: Lane::Both,
        start: |peers| {
            filled("/tmp/kublk.img")?;
            kublk(peers, 3, &["-t", "loop", "/tmp/kublk.img"])
        },
    },
    Contender {
        name: "rublk",
        module: "ublk_drv",
        what: "ublk, rublk null: copies",
        jobs: &[],
        lane: Lane::Both,
        start: |peers| rublk(peers, 4, &["null"]),
    },
    Contender {
        name: "nbd",
        module: "nbd",
        what: "nbd, nbdkit memory over a Unix socket",
        jobs: &[],
        lane: Lane::Both,
        start: |_| nbd(),
    },
];

impl Contender {
    /// Makes it ready: its disk answers reads.
    pub(crate) fn start(&self, peers: &Path) -> Result<Running> {
        let reason = peers.join(format!(
            "{}.missing",
            self.name.split('-').next().unwrap_or("")
        ));
        if let Ok(reason) = fs::read_to_string(&reason) {
            bail!("{}", reason.trim());
        }
        let running = (self.start)(peers)?;
        wait_readable(&running.disk)?;
        // Requests go through one scheduler or another by each driver's own default: none for all.
        let name = running.disk.file_name().context("a disk")?;
        let scheduler = Path::new("/sys/block").join(name).join("queue/scheduler");
        if scheduler.exists() {
            fs::write(&scheduler, "none").with_context(|| scheduler.display().to_string())?;
        }
        Ok(running)
    }
}

// --- Ours ---------------------------------------------------------------------------------------

/// What our bench's own worker is started with.
const COPYING: [&str; 2] = ["/proc/self/exe", "serve-copying"];
const ON_ITS_OWN: [&str; 7] = [
    "taskset",
    "-c",
    LAST_CPU,
    "/proc/self/exe",
    "serve-copying",
    "--spin",
    "300",
];
const SLOW: [&str; 4] = ["/proc/self/exe", "serve-copying", "--delay-us", "1000"];
const SLOW_THREADS: [&str; 6] = [
    "/proc/self/exe",
    "serve-copying",
    "--delay-us",
    "1000",
    "--threads",
    "4",
];
/// Of the guest whose clock is looked at: programs that use the disks keep to the others.
const LAST_CPU: &str = "3";
pub(crate) const OTHER_CPUS: &str = "0-2";

fn abuse(number: u32, server: &[&str]) -> Result<Running> {
    abuse_of(number, 1, 1, server)
}

/// A disk with so many queues, and so many workers.
fn abuse_of(number: u32, queues: u32, workers: u32, worker: &[&str]) -> Result<Running> {
    let node = format!("/dev/abctl{number}");
    if !Path::new(&node).exists() {
        Registry::open()?.add(&NewDevice::numbered(number))?;
    }
    let shape = format!("size=64M,queues={queues},depth=128");
    said(Command::new("abusectl").args(["setup", &node, &shape]))?;
    let made = Device::open(&node)?.status()?.setup;
    let made = made.context("it was not set up")?.queues;
    ensure!(made == queues, "it has {made} queues, and not {queues}");
    let own = std::env::current_exe()?.display().to_string();
    let mut servers = Vec::new();
    for _ in 0..workers {
        let (program, arguments) = worker.split_first().context("no server")?;
        let mut command = Command::new(program);
        match arguments {
            ["server", rest @ ..] => command.args(["server", &node]).args(rest),
            _ => {
                // Behind another program it would be that one's.
                let own = |word: &&str| match *word {
                    "/proc/self/exe" => own.clone(),
                    word => word.to_string(),
                };
                command.args(arguments.iter().map(own)).arg(&node)
            }
        };
        servers.push(background(&mut command)?);
    }
    Ok(Running {
        disk: format!("/dev/abuse{number}").into(),
        version: said(Command::new("abusectl").arg("version"))?
            .lines()
            .next()
            .unwrap_or_default()
            .to_string(),
        servers,
    })
}

// --- Peers --------------------------------------------------------------------------------------

/// A driver of the kernel itself.
fn stock(disk: &str) -> Result<Running> {
    Ok(Running {
        disk: disk.into(),
        version: format!("Linux {}", kernel()?),
        servers: Vec::new(),
    })
}

fn kernel() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(release.trim().to_string())
}

fn kublk(peers: &Path, number: u32, target: &[&str]) -> Result<Running> {
    modprobe(&["ublk_drv"])?;
    let number = number.to_string();
    let version = fs::read_to_string(peers.join("kublk.version"))?;
    said(
        Command::new("chrt")
            .args(["--batch", "0"])
            .arg(peers.join("bin/kublk"))
            .args([
                "add",
                "-n",
                &number,
                "-q",
                "1",
                "-d",
                "128",
                "--no_auto_part_scan",
            ])
            .args(target),
    )?;
    Ok(Running {
        disk: format!("/dev/ublkb{number}").into(),
        version: format!("linux-source {}", version.trim()),
        servers: Vec::new(),
    })
}

fn rublk(peers: &Path, number: u32, target: &[&str]) -> Result<Running> {
    modprobe(&["ublk_drv"])?;
    let number = number.to_string();
    let (kind, rest) = target.split_first().context("no target")?;
    let program = peers.join("bin/rublk");
    said(
        Command::new("chrt")
            .args(["--batch", "0"])
            .arg(&program)
            .args(["add", kind, "-n", &number, "-q", "1", "-d", "128"])
            .args(rest),
    )?;
    Ok(Running {
        disk: format!("/dev/ublkb{number}").into(),
        version: said(Command::new(&program).arg("--version"))?
            .trim()
            .to_string(),
        servers: Vec::new(),
    })
}

fn nbd() -> Result<Running> {
    modprobe(&["nbd", "nbds_max=1"])?;
    let server = background(Command::new("chrt").args([
        "--batch",
        "0",
        "nbdkit",
        "--foreground",
        "--unix",
        "/tmp/nbd.sock",
        "memory",
        "64M",
    ]))?;
    wait(|| Path::new("/tmp/nbd.sock").exists()).context("nbdkit's socket")?;
    said(Command::new("nbd-client").args(["-unix", "/tmp/nbd.sock", "/dev/nbd0"]))?;
    wait_readable(Path::new("/dev/nbd0"))?;
    fill("/dev/nbd0")?;
    Ok(Running {
        disk: "/dev/nbd0".into(),
        version: said(Command::new("nbdkit").arg("--version"))?
            .trim()
            .to_string(),
        servers: vec![server],
    })
}

// --- Means --------------------------------------------------------------------------------------

pub(crate) fn modprobe(words: &[&str]) -> Result<()> {
    said(Command::new("modprobe").args(words)).map(drop)
}

/// Runs a program to its end; what it printed.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    // To a file: a daemon that it leaves behind would keep a pipe open.
    let path = std::env::temp_dir().join("abuse-bench.said");
    let file = File::create(&path)?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("{command:?}"))?;
    let text = fs::read_to_string(&path)?;
    ensure!(status.success(), "{command:?}: {status}: {}", text.trim());
    Ok(text)
}

fn background(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("{command:?}"))
}

/// A file whose blocks are all there.
fn filled(path: &str) -> Result<()> {
    File::create(path)?.set_len(SIZE)?;
    fill(path)
}

fn fill(path: &str) -> Result<()> {
    let file = File::options().write(true).open(path)?;
    let piece = vec![0x5au8; 1 << 20];
    for at in (0..SIZE).step_by(piece.len()) {
        file.write_all_at(&piece, at)
            .with_context(|| path.to_string())?;
    }
    file.sync_all()?;
    Ok(())
}

fn wait_readable(disk: &Path) -> Result<()> {
    let mut buffer = Aligned([0; 4096]);
    wait(|| {
        File::options()
            .read(true)
            .custom_flags(nix::libc::O_DIRECT)
            .open(disk)
            .is_ok_and(|file| file.read_exact_at(&mut buffer.0, 0).is_ok())
    })
    .with_context(|| format!("{}: cannot be read", disk.display()))
}

#[repr(align(4096))]
pub(crate) struct Aligned(pub(crate) [u8; 4096]);

fn wait(mut met: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !met() {
        ensure!(began.elapsed() < Duration::from_secs(30), "not within 30 s");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
