// SPDX-License-Identifier: MIT

//! A forward that cannot be meant is refused with a reason, changes nothing, and leaves the request
//! with its worker: to the disk itself and to a file system on it, through a descriptor without the
//! right or of the wrong kind, outside of a file, and in pieces that do not add up.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use abuse::abi::{self, Done, Extent, Take};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::kit::raw::{file_of, node, within, Memory, Raw, NOWHERE};
use crate::kit::{Direct, Guest, PATIENCE};

const LENGTH: u32 = 8192;

/// What is taken, and who tries.
struct Trial<'a> {
    raw: &'a Raw,
    memory: Memory,
    take: Take,
}

impl Trial<'_> {
    fn entry(&self, count: u32) -> Done {
        Done {
            id: self.take.id,
            buffer: self.memory.address(),
            length: count,
            flags: abi::DONE_FORWARD,
            ..Done::default()
        }
    }

    /// One entry, which must be refused with this.
    fn refused_as(&self, what: &str, done: Done, errno: Errno) -> Result<()> {
        let mut done = [done];
        let refused = self.raw.put(&mut done)?;
        ensure!(
            refused == 1 && done[0].status == -(errno as i32),
            "{what}: expected {errno}, got {}",
            done[0].status
        );
        let status = self.raw.status()?;
        ensure!((status.taken, status.forwarding) == (1, 0), "{what}");
        Ok(())
    }

    fn refused(&self, what: &str, extents: &[Extent], errno: Errno) -> Result<()> {
        for (index, extent) in extents.iter().enumerate() {
            self.memory.put(index * size_of::<Extent>(), *extent);
        }
        self.refused_as(what, self.entry(extents.len() as u32), errno)
    }
}

fn piece(file: &impl AsRawFd, offset: u64, length: u32) -> Extent {
    Extent {
        offset,
        length,
        fd: file.as_raw_fd(),
    }
}

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=32M")?;
    let backend = format!("file:{},create", guest.file("disk.img").display());
    let mut server = disk.serve(&backend)?;
    guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
    let mount = guest.mount(disk.path())?;
    let inside = File::create(mount.path().join("inside"))?;
    inside.set_len(1 << 20)?;
    // It writes nothing by itself meanwhile.
    let freeze = |how: &str| guest.command("fsfreeze").arg(how).arg(mount.path()).ok();
    freeze("--freeze")?;
    server.kill()?;

    let raw = Raw::open(&node(disk.device()))?;
    let direct = Direct::open(disk.path())?;
    let arena = Memory::new(1 << 20)?;
    let own = OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk.path())?;
    let loose = file_of(1 << 20)?;
    let named = guest.file("named");
    std::fs::write(&named, vec![0; 1 << 20])?;
    let open = |flags: OFlag| -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(!flags.contains(OFlag::O_WRONLY));
        options.write(flags.intersects(OFlag::O_WRONLY | OFlag::O_RDWR));
        options.custom_flags((flags & !OFlag::O_ACCMODE).bits());
        options.open(&named).context("the file")
    };
    let below = guest.loop_device(&guest.file("below.img"), 1 << 20)?;
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(below.path())?;
    let directory = File::open("/srv")?;
    let (pipe, _end): (OwnedFd, OwnedFd) = nix::unistd::pipe()?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;

    for write in [false, true] {
        let io = match write {
            true => Some(direct.start_write(0, vec![1; LENGTH as usize])),
            false => None,
        };
        let read = (!write).then(|| direct.start_read(0, LENGTH as usize));
        let take = raw
            .take(1, &arena)?
            .into_iter()
            .find(|take| take.length == LENGTH)
            .context("the request")?;
        let trial = Trial {
            raw: &raw,
            memory: Memory::new(8192)?,
            take,
        };
        let try_one = |what: &str, extent, errno| trial.refused(what, &[extent], errno);

        try_one(
            "the disk itself",
            piece(&own, 1 << 20, LENGTH),
            Errno::ELOOP,
        )?;
        let rights = match write {
            true => inside.try_clone()?,
            false => File::open(mount.path().join("inside"))?,
        };
        try_one("a file on it", piece(&rights, 0, LENGTH), Errno::ELOOP)?;

        let wrong = open(if write {
            OFlag::O_RDONLY
        } else {
            OFlag::O_WRONLY
        })?;
        try_one("without the right", piece(&wrong, 0, LENGTH), Errno::EBADF)?;
        if write {
            let appends = open(OFlag::O_RDWR | OFlag::O_APPEND)?;
            try_one("appending", piece(&appends, 0, LENGTH), Errno::EBADF)?;
        }
        let name = open(OFlag::O_PATH)?;
        try_one("a mere name", piece(&name, 0, LENGTH), Errno::EBADF)?;
        for fd in [-1, i32::MIN, i32::MAX, 1_000_000] {
            let extent = Extent {
                fd,
                ..piece(&loose, 0, LENGTH)
            };
            try_one("no descriptor", extent, Errno::EBADF)?;
        }
        for (what, file) in [
            ("a directory", directory.as_raw_fd()),
            ("a pipe", pipe.as_raw_fd()),
            ("a character device", null.as_raw_fd()),
            (
                "the control node",
                std::os::fd::AsRawFd::as_raw_fd(&raw.fd()),
            ),
        ] {
            let extent = Extent {
                fd: file,
                ..piece(&loose, 0, LENGTH)
            };
            try_one(what, extent, Errno::EOPNOTSUPP)?;
        }

        for offset in [
            u64::MAX,
            u64::MAX - 4096,
            i64::MAX as u64,
            i64::MAX as u64 - 4096,
        ] {
            try_one(
                "no such place",
                piece(&loose, offset, LENGTH),
                Errno::ERANGE,
            )?;
        }
        try_one(
            "behind a device",
            piece(&device, 1 << 20, LENGTH),
            Errno::ERANGE,
        )?;
        try_one(
            "over its end",
            piece(&device, (1 << 20) - 4096, LENGTH),
            Errno::ERANGE,
        )?;
        if !write {
            try_one(
                "behind a file",
                piece(&loose, 1 << 20, LENGTH),
                Errno::ERANGE,
            )?;
        }

        let part = |length| piece(&loose, 0, length);
        for lengths in [
            &[LENGTH - 1][..],
            &[LENGTH + 1],
            &[0],
            &[u32::MAX],
            &[LENGTH, 0],
            &[0, LENGTH],
            &[LENGTH, 1],
            &[4096, 4095],
            &[4096, u32::MAX - 4095, LENGTH],
        ] {
            let extents: Vec<Extent> = lengths.iter().map(|&length| part(length)).collect();
            trial.refused("a wrong sum", &extents, Errno::EINVAL)?;
        }
        trial.memory.put(0, part(LENGTH));
        let good = trial.entry(1);
        for (what, done, errno) in [
            ("no piece", trial.entry(0), Errno::EINVAL),
            ("too many", trial.entry(257), Errno::EINVAL),
            (
                "nowhere",
                Done {
                    buffer: NOWHERE,
                    ..good
                },
                Errno::EFAULT,
            ),
            (
                "with a result",
                Done {
                    result: abi::IO_ERROR,
                    ..good
                },
                Errno::EINVAL,
            ),
            (
                "and zeros",
                Done {
                    flags: good.flags | abi::DONE_ZERO,
                    ..good
                },
                Errno::EINVAL,
            ),
            (
                "only to return",
                Done {
                    flags: abi::DONE_RETURN,
                    ..good
                },
                Errno::EINVAL,
            ),
            (
                "unknown",
                Done {
                    flags: good.flags | 8,
                    ..good
                },
                Errno::EINVAL,
            ),
            (
                "reserved",
                Done {
                    reserved: 1,
                    ..good
                },
                Errno::EINVAL,
            ),
        ] {
            trial.refused_as(what, done, errno)?;
        }
        let invented = Done {
            id: take.id + (1 << 40),
            ..good
        };
        trial.refused_as("invented", invented, Errno::ENOENT)?;

        // It was still there all the time, and one bad entry spoils no other.
        let mut both = [invented, good];
        ensure!(raw.put(&mut both)? == 1, "{both:?}");
        ensure!(both[1].status == 0, "{both:?}");
        if let Some(io) = io {
            io.finish(PATIENCE)??;
        }
        if let Some(read) = read {
            read.finish(PATIENCE)??;
        }
        let mut again = [good];
        raw.put(&mut again)?;
        ensure!(again[0].status == -(Errno::ESTALE as i32), "{again:?}");
    }
    let waits = within(&arena, std::time::Duration::ZERO);
    let left = raw.exchange(&mut [], &mut [Take::default(); 8], waits)?;
    ensure!(left.taken == 0, "{left:?}");

    drop((inside, own, direct));
    let _server = disk.serve(&backend)?;
    freeze("--unfreeze")?;
    mount.unmount()
}
