// SPDX-License-Identifier: MIT

//! A disk in memory that outlives its workers.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{fallocate, posix_fallocate, FallocateFlags, Flock, FlockArg};
use nix::unistd::geteuid;

use super::{Backend, Capabilities};
use crate::error::{Error, Result};
use crate::sys::SharedMemory;
use crate::Setup;

const DIRECTORY: &str = "/dev/shm";
/// Where hugetlbfs is, where it is.
const HUGE_DIRECTORY: &str = "/dev/hugepages";

/// Named shared memory: the file `/dev/shm/abuse-NAME`, which every worker of the disk maps.
///
/// It lives until it is removed or the machine goes down, whatever happens to the workers. All of
/// it is allocated when it is made, so that a machine short of memory refuses to make it instead of
/// killing a worker later.
///
/// Where huge pages were set aside for whoever wants them, and are enough, it consists of these; it is
/// then at `/dev/hugepages/abuse-NAME`, and what is in /dev/shm is empty. Elsewhere the kernel is asked
/// to make huge pages of it. [`Ram::pages`] tells.
///
/// For a disk that was set up with discard, what is discarded is given back to the machine. It
/// cannot be promised again then: a write to such a place may end with "no space". Memory with holes
/// is read and written by system calls, as a mapping of it could kill the worker that touches it.
///
/// ```
/// use abuse::backend::{Backend, Ram};
///
/// let name = format!("doc-{}", std::process::id());
/// let first = Ram::open(&name, 1 << 20)?;
/// first.write(0, b"still here", false).unwrap();
/// drop(first);
///
/// let mut back = [0; 10];
/// Ram::open(&name, 1 << 20)?.read(0, &mut back).unwrap();
/// assert_eq!(&back, b"still here");
/// assert!(Ram::remove(&name)?);
/// # Ok::<(), abuse::Error>(())
/// ```
pub struct Ram {
    memory: Memory,
    bytes: u64,
    pages: Pages,
}

/// What the memory consists of. Fewer and larger pages are found faster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Huge pages of this size that were set aside (`vm.nr_hugepages`) for whoever asks for them.
    Reserved(u64),
    /// Small ones that the kernel has made huge ones of.
    Transparent,
    /// Small ones, and why.
    Small(String),
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pages::Reserved(bytes) => write!(f, "reserved huge pages of {} KiB", bytes >> 10),
            Pages::Transparent => f.write_str("transparent huge pages"),
            Pages::Small(reason) => write!(f, "small pages ({reason})"),
        }
    }
}

/// Where memory is made and found by name.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) shared: &'a Path,
    pub(crate) huge: Option<&'a Path>,
}

impl<'a> From<&'a Path> for Places<'a> {
    fn from(shared: &'a Path) -> Places<'a> {
        Places { shared, huge: None }
    }
}

impl Places<'static> {
    fn usual() -> Places<'static> {
        let huge = Path::new(HUGE_DIRECTORY);
        Places {
            shared: Path::new(DIRECTORY),
            huge: is_huge(huge).then_some(huge),
        }
    }
}

enum Memory {
    /// All there, for good.
    Whole(SharedMemory),
    /// With holes, or with holes to come.
    Holed(File),
}

impl Ram {
    /// Opens the memory of this name, or makes it, all zeros and readable by its owner only. It
    /// must have exactly the size of the disk.
    pub fn open(name: &str, bytes: u64) -> Result<Ram> {
        Ram::open_in(Places::usual(), name, bytes)
    }

    /// The same for a disk of this shape: with discard, if it was set up so.
    pub fn for_disk(name: &str, setup: &Setup) -> Result<Ram> {
        Ram::with_holes_in(Places::usual(), name, setup.bytes, setup.discard)
    }

    /// Removes the memory of this name; workers that have it open keep it. `false`: there was none.
    pub fn remove(name: &str) -> Result<bool> {
        Ram::remove_in(Places::usual(), name)
    }

    /// What it consists of.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    pub(crate) fn open_in<'a>(
        places: impl Into<Places<'a>>,
        name: &str,
        bytes: u64,
    ) -> Result<Ram> {
        Ram::with_holes_in(places, name, bytes, false)
    }

    pub(super) fn with_holes_in<'a>(
        places: impl Into<Places<'a>>,
        name: &str,
        bytes: u64,
        holes: bool,
    ) -> Result<Ram> {
        let places = places.into();
        let path = path(places.shared, name)?;
        let fail = |error: io::Error| Error::new(path.display(), "open", error);
        let refuse = |reason: String| Error::refused(path.display(), "open", reason);
        let length = match usize::try_from(bytes) {
            Ok(length) if length > 0 && i64::try_from(bytes).is_ok() => length,
            _ => return Err(refuse(format!("{bytes} bytes cannot be mapped"))),
        };
        let file = owned(&path)?;
        // Two workers that start together must not find each other's file half made.
        let file =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| fail(errno.into()))?;
        let found = file.metadata().map_err(fail)?;
        if found.len() != 0 && found.len() != bytes {
            return Err(refuse(format!(
                "it has {} bytes and the disk has {bytes}",
                found.len()
            ))
            .with_hint(
                "choose another name, set the disk up with this size, or remove the memory",
            ));
        }
        if found.len() == 0 && !holes {
            if let Some(huge) = places.huge {
                let huge = self::path(huge, name)?;
                if let Some((memory, page)) = reserved(&huge, length)? {
                    return Ok(Ram {
                        memory: Memory::Whole(memory),
                        bytes,
                        pages: Pages::Reserved(page),
                    });
                }
            }
        }
        // Also when it is there already: mapping a file with holes is a SIGBUS to come. The length
        // is set when all of it was allocated.
        if found.len() == 0 || !holes {
            allocate(&file, bytes).map_err(|error| {
                fail(error)
                    .with_hint("make room in /dev/shm (df /dev/shm), or choose a smaller disk")
            })?;
        }
        if holes {
            return Ok(Ram {
                memory: Memory::Holed(file.unlock().map_err(|(_, errno)| fail(errno.into()))?),
                bytes,
                pages: Pages::Small("what is discarded is given back".into()),
            });
        }
        let memory = SharedMemory::map(&file, length).map_err(fail)?;
        let pages = match memory.join_pages() {
            Ok(()) => Pages::Transparent,
            Err(errno) => Pages::Small(format!("no huge ones: {}", errno.desc())),
        };
        Ok(Ram {
            memory: Memory::Whole(memory),
            bytes,
            pages,
        })
    }

    pub(super) fn remove_in<'a>(places: impl Into<Places<'a>>, name: &str) -> Result<bool> {
        let places = places.into();
        let mut found = false;
        for directory in places.huge.into_iter().chain([places.shared]) {
            let path = path(directory, name)?;
            match fs::remove_file(&path) {
                Ok(()) => found = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::new(path.display(), "remove", error)),
            }
        }
        Ok(found)
    }
}

/// Opens or makes a file that nobody else can have laid there.
fn owned(path: &Path) -> Result<File> {
    let fail = |error: io::Error| Error::new(path.display(), "open", error);
    // The directory is everybody's: never follow a link, and trust nothing that is not ours.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(fail)?;
    let found = file.metadata().map_err(fail)?;
    if !found.is_file() || found.uid() != geteuid().as_raw() {
        let reason = "it belongs to somebody else";
        return Err(Error::refused(path.display(), "open", reason)
            .with_hint("choose another name, or be the user it belongs to"));
    }
    Ok(file)
}

fn is_huge(directory: &Path) -> bool {
    nix::sys::statfs::statfs(directory)
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::HUGETLBFS_MAGIC)
}

/// Memory of huge pages that were set aside, and the size of one; `None` if there are too few.
fn reserved(path: &Path, length: usize) -> Result<Option<(SharedMemory, u64)>> {
    let fail = |error: io::Error| Error::new(path.display(), "open", error);
    let Ok(file) = owned(path) else {
        // Only root may make files there, by default.
        return Ok(None);
    };
    let found = file.metadata().map_err(fail)?;
    let page = nix::sys::statfs::fstatfs(&file)
        .map_err(|errno| fail(errno.into()))?
        .block_size() as u64;
    let bytes = (length as u64).next_multiple_of(page.max(1));
    if found.len() != 0 && found.len() != bytes {
        let found = found.len();
        let reason = format!("it has {found} bytes and the disk needs {bytes}");
        return Err(Error::refused(path.display(), "open", reason)
            .with_hint("choose another name, or remove the memory"));
    }
    if let Err(error) = allocate(&file, bytes) {
        // What somebody has written to is not to be taken for missing.
        if found.len() != 0 {
            return Err(fail(error));
        }
        log::debug!("{}: too few huge pages: {error}", path.display());
        fs::remove_file(path).map_err(fail)?;
        return Ok(None);
    }
    let memory = SharedMemory::map_huge(&file, bytes as usize).map_err(fail)?;
    Ok(Some((memory, page)))
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = bytes.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        match posix_fallocate(file, 0, length) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => return Ok(other?),
        }
    }
}

fn path(directory: &Path, name: &str) -> Result<PathBuf> {
    let usable = !name.is_empty() && name.len() <= 200 && !name.contains(['/', '\0']);
    if !usable {
        return Err(Error::refused(
            format!("ram:{name}"),
            "open",
            "a name has 1 to 200 bytes and no slash",
        ));
    }
    Ok(directory.join(format!("abuse-{name}")))
}

/// Gives a range back to the machine; it reads as zeros.
fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let offset = offset.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = length.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        match fallocate(file, flags, offset, length) {
            Err(Errno::EINTR) => continue,
            other => return Ok(other?),
        }
    }
}

impl Ram {
    /// A mapping looks after its end itself; a file would grow.
    fn within(&self, offset: u64, length: u64) -> io::Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }
}

impl Backend for Ram {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match &self.memory {
            Memory::Whole(memory) => memory.read(offset, buf),
            Memory::Holed(file) => file.read_exact_at(buf, offset),
        }
    }

    /// Durable as soon as it is copied: what ends this memory ends the disk, too.
    fn write(&self, offset: u64, buf: &[u8], _durable: bool) -> io::Result<()> {
        match &self.memory {
            Memory::Whole(memory) => memory.write(offset, buf),
            Memory::Holed(file) => {
                self.within(offset, buf.len() as u64)?;
                file.write_all_at(buf, offset)
            }
        }
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            size_bytes: Some(self.bytes),
            discard: matches!(self.memory, Memory::Holed(_)),
            write_zeroes: true,
            ..Capabilities::default()
        }
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        match &self.memory {
            Memory::Whole(_) => Err(super::unsupported()),
            Memory::Holed(file) => punch(file, offset, length),
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> io::Result<()> {
        match &self.memory {
            Memory::Whole(memory) => memory.zero(offset, length),
            Memory::Holed(file) if may_unmap => punch(file, offset, length),
            Memory::Holed(file) => {
                self.within(offset, length)?;
                super::write_zeroes(file, offset, length)
            }
        }
    }
}
