// SPDX-License-Identifier: MIT

//! What of a dead worker may still reach the file.
//!
//! A write that a process began by io_uring goes on when the process is killed: the kernel ends it,
//! and only then lets go of the ring and of what was registered with it. Such a write must not come
//! behind its successor, the same request done again by somebody else. So a worker that uses io_uring
//! holds two locks on a byte of its own, far behind the data:
//!
//! | lock | taken through | goes when |
//! |---|---|---|
//! | alive | an open file of its own | the process is dead |
//! | in flight | the very open file that its I/O goes to, and that its ring holds | nothing of it is under way |
//!
//! Both are locks of open file descriptions. Where somebody holds the second and nobody the first, a
//! dead worker's writes are under way, and whoever is to do one of its requests again waits.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg};

/// Where the bytes are: no file is that long.
const ALIVE: i64 = 1 << 61;
const IN_FLIGHT: i64 = ALIVE + WORKERS;
/// Workers of one file at a time.
const WORKERS: i64 = 4096;
/// How often to look whether what was under way has ended.
const LOOK: Duration = Duration::from_millis(1);
/// When to say that somebody waits.
const LONG: Duration = Duration::from_secs(1);

/// The locks of a worker that lives.
pub(super) struct Fence {
    /// Holds the lock that says so.
    _alive: File,
}

impl Fence {
    /// Locks a byte for whoever does I/O through `file`, which `path` names.
    pub(super) fn raise(path: &Path, file: &File) -> io::Result<Fence> {
        // Another open file of the same inode, so that its lock is another's.
        let alive = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let (one, other) = (file.metadata()?, alive.metadata()?);
        if (one.dev(), one.ino()) != (other.dev(), other.ino()) {
            return Err(io::Error::other("it was replaced while it was opened"));
        }
        for number in 0..WORKERS {
            // In this order: who is seen with the second alone is taken for dead.
            if !lock(&alive, ALIVE + number)? {
                continue;
            }
            if lock(file, IN_FLIGHT + number)? {
                return Ok(Fence { _alive: alive });
            }
            unlock(&alive, ALIVE + number)?;
        }
        Err(io::Error::other(format!(
            "{WORKERS} workers are at it already"
        )))
    }
}

/// Returns when nothing that a dead worker began through another open file is under way.
pub(super) fn wait(path: &Path, file: &File) -> io::Result<()> {
    let began = Instant::now();
    let mut said = false;
    while is_under_way(file)? {
        if !said && began.elapsed() > LONG {
            said = true;
            log::warn!(
                "{}: what a dead worker wrote is still under way; what it held is done after that",
                path.display()
            );
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn is_under_way(file: &File) -> io::Result<bool> {
    let mut from = 0;
    while let Some(number) = find(file, IN_FLIGHT + from, WORKERS - from)? {
        let number = number - IN_FLIGHT;
        if find(file, ALIVE + number, 1)?.is_none() {
            return Ok(true);
        }
        // The kernel names any of them, not the first.
        let before = under_way_within(file, from, number)?;
        if before {
            return Ok(true);
        }
        from = number + 1;
    }
    Ok(false)
}

/// The same of the bytes from one number up to another.
fn under_way_within(file: &File, from: i64, to: i64) -> io::Result<bool> {
    for number in from..to {
        let locked = find(file, IN_FLIGHT + number, 1)?.is_some();
        if locked && find(file, ALIVE + number, 1)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A byte in a range that somebody else has locked.
fn find(file: &File, start: i64, bytes: i64) -> io::Result<Option<i64>> {
    if bytes <= 0 {
        return Ok(None);
    }
    let mut range = range(libc::F_WRLCK, start, bytes);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut range))?;
    let free = range.l_type == libc::F_UNLCK as libc::c_short;
    Ok((!free).then_some(range.l_start))
}

/// Whether the byte could be locked.
fn lock(file: &File, byte: i64) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_WRLCK, byte, 1))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn unlock(file: &File, byte: i64) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, byte, 1)))?;
    Ok(())
}

fn range(kind: libc::c_int, start: i64, bytes: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: bytes,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::TempDir;

    fn open(path: &Path) -> File {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap()
    }

    #[test]
    fn the_dead_are_waited_for_and_the_living_are_not() {
        let directory = TempDir::new();
        let path = directory.path().join("disk");
        let (mine, theirs, third) = (open(&path), open(&path), open(&path));
        assert!(!is_under_way(&mine).unwrap());
        let own = Fence::raise(&path, &mine).unwrap();
        let living = Fence::raise(&path, &theirs).unwrap();
        let another = Fence::raise(&path, &third).unwrap();
        assert!(!is_under_way(&mine).unwrap());
        // As when its process has ended and its ring has not.
        drop(living);
        assert!(is_under_way(&mine).unwrap());
        assert!(is_under_way(&third).unwrap());
        let ring = theirs.try_clone().unwrap();
        drop(theirs);
        assert!(is_under_way(&mine).unwrap());
        drop(another);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| wait(&path, &mine));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waits.is_finished());
            drop((ring, third));
            waits.join().unwrap().unwrap();
        });
        // A file that nobody does I/O with by rings knows as much.
        let plain = open(&path);
        assert!(!is_under_way(&plain).unwrap());
        drop(own);
        assert!(is_under_way(&plain).unwrap());
    }
}
