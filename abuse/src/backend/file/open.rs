// SPDX-License-Identifier: MIT

//! Opening a backing file: its size, its creation, and whether the page cache can be bypassed.

use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use nix::fcntl::{fcntl, FcntlArg, Flock, FlockArg, OFlag};

use super::able::Able;
use super::fence::Fence;
use super::rings::Rings;
use super::{align, Access, File, Kind};
use crate::error::{Error, Result};
use crate::sys::file::{direct_align, DirectAlign};
use crate::sys::Ring;
use crate::{abi, Setup};

/// How to open a backing file. [`FileOptions::for_disk`] fills in what the disk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// Size of the disk; the file must have at least as many bytes.
    pub bytes: u64,
    /// Logical block of the disk: every request is a multiple of it.
    pub block: u32,
    /// Create the file if there is none, and grow it if it is smaller than the disk. It is sparse.
    pub create: bool,
    /// Go through the page cache even where direct I/O is to be had.
    pub buffered: bool,
    /// Never write.
    pub read_only: bool,
    /// Have reads and writes under way together, by io_uring; where that is not to be had they go one
    /// by one, with a warning. Only past the page cache.
    pub io_uring: bool,
    /// Let the driver move the data, without a copy.
    pub forward: bool,
}

impl FileOptions {
    /// For the disk of this shape: an existing file, direct I/O.
    pub fn for_disk(setup: &Setup) -> FileOptions {
        FileOptions {
            bytes: setup.bytes,
            block: match setup.logical_block {
                0 => 4096,
                block => block,
            },
            create: false,
            buffered: false,
            read_only: setup.read_only,
            io_uring: false,
            forward: false,
        }
    }
}

pub(super) fn open(path: &Path, options: &FileOptions) -> Result<File> {
    let fail = |error: io::Error| Error::new(path.display(), "open", error);
    // O_NONBLOCK keeps a FIFO from waiting; files and disks do not care.
    let file = fs::OpenOptions::new()
        .read(true)
        .write(!options.read_only)
        .create(options.create && !options.read_only)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => fail(error).with_hint("create it first, or have it created"),
            _ => fail(error),
        })?;
    let kind = kind(&file).map_err(fail)?.ok_or_else(|| {
        Error::refused(
            path.display(),
            "open",
            "it is neither a file nor a block device",
        )
    })?;
    let file = sized(path, file, kind, options)?;
    let bytes = size(&file).map_err(fail)?;
    let access = access(path, &file, options).map_err(fail)?;
    let file = match access {
        Access::Buffered { .. } if options.forward && !options.read_only => {
            synchronous(&file).map_err(fail)?
        }
        _ => file,
    };
    let able = match options.read_only {
        true => Able::default(),
        false => Able::of(&file, kind, bytes),
    };
    let rings = match options.io_uring {
        true => rings(path, &file, &access, options),
        false => None,
    };
    Ok(File {
        rings,
        file,
        path: path.to_path_buf(),
        bytes,
        kind,
        access,
        read_only: options.read_only,
        forward: options.forward,
        able,
    })
}

fn kind(file: &fs::File) -> io::Result<Option<Kind>> {
    let kind = file.metadata()?.file_type();
    Ok(if kind.is_file() {
        Some(Kind::Regular)
    } else if kind.is_block_device() {
        Some(Kind::Block)
    } else {
        None
    })
}

/// Of a block device, too, whose metadata say 0.
fn size(mut file: &fs::File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// The file, at least as large as the disk, or an error that names both sizes.
fn sized(path: &Path, file: fs::File, kind: Kind, options: &FileOptions) -> Result<fs::File> {
    let fail = |error: io::Error| Error::new(path.display(), "open", error);
    let grow = kind == Kind::Regular && options.create && !options.read_only;
    let found = size(&file).map_err(fail)?;
    if found >= options.bytes {
        return Ok(file);
    }
    if !grow {
        let what = match kind {
            Kind::Regular => "file",
            Kind::Block => "block device",
        };
        let error = Error::refused(
            path.display(),
            "open",
            format!(
                "the {what} has {found} bytes and the disk has {}",
                options.bytes
            ),
        );
        return Err(match kind {
            Kind::Regular => error.with_hint("grow it (truncate -s), or set up a smaller disk"),
            Kind::Block => error.with_hint("set up a smaller disk"),
        });
    }
    // Under a lock, so that two workers that start together cannot cut off what the other grew.
    let file =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| fail(errno.into()))?;
    if size(&file).map_err(fail)? < options.bytes {
        file.set_len(options.bytes).map_err(fail)?;
        // A file that a power cut takes back would take everything flushed to it along.
        file.sync_all().map_err(fail)?;
        sync_directory(path).map_err(fail)?;
    }
    file.unlock().map_err(|(_, errno)| fail(errno.into()))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::File::open(directory)?.sync_all()
}

/// Direct, where file and file system let requests of the disk's block size through; else buffered,
/// with a warning unless it was asked for.
fn access(path: &Path, file: &fs::File, options: &FileOptions) -> io::Result<Access> {
    let reason = if options.buffered {
        None
    } else {
        match try_direct(file, options)? {
            Ok(access) => return Ok(access),
            Err(reason) => Some(reason),
        }
    };
    set_direct(file, false)?;
    if !options.read_only {
        log::warn!(
            "{}: {}, so it goes through the page cache, and every write is made durable before it is \
             completed, which is slow: an error of a later write-back could be lost with the worker \
             that saw it",
            path.display(),
            reason.as_deref().unwrap_or("buffered I/O was asked for"),
        );
    }
    Ok(Access::Buffered {
        one: Mutex::default(),
    })
}

/// The same file, opened so that what anybody writes through it is durable when that is done: the
/// driver, too, to which it is forwarded.
fn synchronous(file: &fs::File) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_DSYNC)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The inner error is why direct I/O is not to be had.
fn try_direct(
    file: &fs::File,
    options: &FileOptions,
) -> io::Result<std::result::Result<Access, String>> {
    let none = || Ok(Err("its file system has no direct I/O".to_string()));
    let too_coarse = |offset: u32| {
        Ok(Err(format!(
            "its direct I/O comes in blocks of {offset} bytes and the disk's in {}",
            options.block
        )))
    };
    if set_direct(file, true).is_err() {
        return none();
    }
    // A kernel without the question, or a file system without the answer: find out by trying.
    let align = match direct_align(file).unwrap_or(None) {
        Some(DirectAlign { offset: 0, .. } | DirectAlign { memory: 0, .. }) => return none(),
        Some(align) if align.memory > abi::ARENA_ALIGN => return none(),
        Some(align) => align,
        None => DirectAlign {
            memory: abi::ARENA_ALIGN,
            offset: options.block,
        },
    };
    if options.block % align.offset != 0 {
        return too_coarse(align.offset);
    }
    // Only now is it known that a request may begin at any block: read the smallest one there is.
    let probe = align::bounced(options.block as usize, |block| {
        file.read_at(block, 0).map(drop)
    });
    match probe {
        Ok(()) => Ok(Ok(Access::Direct {
            memory: align.memory as usize,
        })),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => none(),
        Err(error) => Err(error),
    }
}

/// Rings and what others know them by; `None`, and a warning, if one or the other cannot be had.
fn rings(path: &Path, file: &fs::File, access: &Access, options: &FileOptions) -> Option<Rings> {
    let fence = match access {
        Access::Buffered { .. } => Err(io::Error::other("it goes through the page cache")),
        // There is nothing to be late.
        Access::Direct { .. } if options.read_only => Ok(None),
        Access::Direct { .. } => Fence::raise(path, file).map(Some),
    };
    let rings = fence.and_then(|fence| Ring::new(file).map(|_| Rings::new(fence)));
    match rings {
        Ok(rings) => Some(rings),
        Err(error) => {
            let path = path.display();
            log::warn!("{path}: no io_uring ({error}): reads and writes go one by one");
            None
        }
    }
}

fn set_direct(file: &fs::File, direct: bool) -> nix::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_DIRECT, direct);
    flags.remove(OFlag::O_NONBLOCK);
    fcntl(file, FcntlArg::F_SETFL(flags)).map(drop)
}
