// SPDX-License-Identifier: MIT

//! The descriptors of one process, opened, duplicated and closed while its threads use them.

use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc::{O_APPEND, O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_TMPFILE};

use crate::rng::Rng;
use crate::sys;

/// An open file.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Its descriptor.
    pub fd: i32,
    /// Number of the device.
    pub device: u16,
    /// Open for writing.
    pub writable: bool,
    /// Not a control node.
    pub stranger: bool,
    /// The node by which devices are added and removed.
    pub manager: bool,
}

/// The node of a device that there is not.
pub const ABSENT: &str = "/run/abuse-fuzz-absent";

/// The number that [`Files::open`] takes for it.
pub const NONE: u16 = u16::MAX;

/// Descriptors of a process at most.
const MOST: usize = 40;

/// All of a process.
#[derive(Debug)]
pub struct Files {
    open: Mutex<Vec<Open>>,
    devices: u16,
    /// Where requests are forwarded to. They stay open.
    targets: Vec<i32>,
}

/// Memory; and what is read-only, past the page cache, appended to, no file, or nowhere.
fn targets() -> Vec<i32> {
    let memory = sys::open(c"/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC);
    let direct = sys::open(c"/var/tmp", O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC);
    let plain = sys::open(c"/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC);
    let appends = sys::open(c"/dev/shm", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC);
    let program = sys::open(c"/proc/self/exe", O_RDONLY | O_CLOEXEC);
    let directory = sys::open(c"/", O_RDONLY | O_CLOEXEC);
    let nothing = sys::open(c"/dev/null", O_RDWR | O_CLOEXEC);
    let all = [memory, direct, plain, appends, program, directory, nothing];
    let all: Vec<i32> = all.into_iter().flatten().collect();
    // Without a size a file can only be written.
    for &fd in all.iter().take(3) {
        sys::truncate(fd, 16 << 20);
    }
    all
}

impl Files {
    /// Two descriptors for each device, one of them read-only, and some that are no control nodes.
    pub fn new(devices: u16) -> Files {
        let files = Files {
            open: Mutex::default(),
            devices,
            targets: targets(),
        };
        for device in 0..devices {
            let _ = files.open(device, true);
            let _ = files.open(device, false);
        }
        if let Ok(fd) = sys::open(c"/dev/null", O_RDWR | O_CLOEXEC) {
            files.add(fd, 0, true, true);
        }
        files.open_manager(true);
        files.open_manager(false);
        files
    }

    /// A descriptor to forward to, mostly one that will do.
    pub fn target(&self, rng: &mut Rng) -> i32 {
        match rng.below(40) {
            0 => rng.pick(&[-1, i32::MIN, i32::MAX]),
            1 => self.any(rng).fd,
            2..=5 => rng.pick(&self.targets),
            _ => self.targets.first().copied().unwrap_or(-1),
        }
    }

    /// Any of them; those that can be written to twice as often.
    pub fn any(&self, rng: &mut Rng) -> Open {
        let open = self.lock();
        let nothing = Open {
            fd: -1,
            device: 0,
            writable: false,
            stranger: true,
            manager: false,
        };
        let mut pick = || match open.len() {
            0 => nothing,
            len => open[rng.below(len as u64) as usize],
        };
        let first = pick();
        if first.writable && !first.stranger && !first.manager {
            first
        } else {
            pick()
        }
    }

    /// One that can be written to, if there is one.
    pub fn good(&self, rng: &mut Rng) -> Open {
        for _ in 0..8 {
            let open = self.any(rng);
            if open.writable && !open.stranger && !open.manager {
                return open;
            }
        }
        self.any(rng)
    }

    /// One of the node by which devices are added and removed, if there is one.
    pub fn manager(&self, rng: &mut Rng) -> Open {
        let managers: Vec<Open> = self
            .lock()
            .iter()
            .filter(|open| open.manager)
            .copied()
            .collect();
        match managers.is_empty() {
            true => self.any(rng),
            false => rng.pick(&managers),
        }
    }

    /// Opens that node.
    pub fn open_manager(&self, writable: bool) {
        let mode = if writable { O_RDWR } else { O_RDONLY };
        if let Ok(fd) = sys::open(c"/dev/abuse-control", mode | O_CLOEXEC) {
            self.lock().push(Open {
                fd,
                device: u16::MAX,
                writable,
                stranger: false,
                manager: true,
            });
        }
    }

    /// Opens a control node. The errno, or 0.
    pub fn open(&self, device: u16, writable: bool) -> i32 {
        let path = match device != NONE {
            true => format!("/dev/abctl{device}"),
            false => ABSENT.to_string(),
        };
        let path = CString::new(path).unwrap_or_default();
        let mode = if writable { O_RDWR } else { O_RDONLY };
        match sys::open(&path, mode | O_CLOEXEC) {
            Ok(fd) => {
                self.add(fd, device, writable, false);
                0
            }
            Err(errno) => errno,
        }
    }

    /// Opens a disk, for calls that it does not know.
    pub fn open_disk(&self, device: u16) -> i32 {
        let path = CString::new(format!("/dev/abuse{device}")).unwrap_or_default();
        match sys::open(&path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) {
            Ok(fd) => {
                self.add(fd, device, false, true);
                0
            }
            Err(errno) => errno,
        }
    }

    /// Duplicates one.
    pub fn dup(&self, rng: &mut Rng) {
        let open = self.any(rng);
        if let Ok(fd) = sys::dup(open.fd) {
            self.lock().push(Open { fd, ..open });
        }
    }

    /// Closes one, but keeps some.
    pub fn close(&self, rng: &mut Rng) {
        let mut open = self.lock();
        if open.len() <= 2 * usize::from(self.devices).min(MOST / 4) {
            return;
        }
        let at = rng.below(open.len() as u64) as usize;
        let closed = open.swap_remove(at);
        drop(open);
        sys::close(closed.fd);
    }

    /// Closes one whose device has been removed.
    pub fn close_gone(&self, gone: Open) {
        let mut open = self.lock();
        if let Some(at) = open.iter().position(|open| open.fd == gone.fd) {
            open.swap_remove(at);
            drop(open);
            sys::close(gone.fd);
        }
    }

    /// Whether more may be opened.
    pub fn has_room(&self) -> bool {
        self.lock().len() < MOST
    }

    fn add(&self, fd: i32, device: u16, writable: bool, stranger: bool) {
        self.lock().push(Open {
            fd,
            device,
            writable,
            stranger,
            manager: false,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
