// SPDX-License-Identifier: MIT

//! What the driver lets out: every byte that it writes into a caller's memory must be one that the
//! caller could have read from the disk, or one that the contract says.
//!
//! Two disks are written to and read from at once. Each sixteen bytes of data say whose they are: disk,
//! sector, and which write. Memory that calls may write to is filled with one byte before, and looked at
//! afterwards, whole: data must be those of the request, of this disk, of now; all else must be as it
//! was, or a field of a struct that is neither the kernel's poison nor one of its addresses. It means
//! most on a kernel that poisons what it frees and does not clear what it allocates:
//! `init_on_alloc=0 slub_debug=FZPU page_poison=1`.

use std::ffi::CString;
use std::fs;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use abuse::abi::{self, Done, Exchange, Info, Reconnect, Requeue, Reset, Setup, Status, Take};
use abuse::abi::{Vector, XfrHdr};
use abuse::{Device, State};
use abuse_scenarios::kit::raw::Plain;
use abuse_scenarios::kit::{wait_until, PATIENCE};
use anyhow::{bail, ensure, Context, Result};
use nix::libc::{self, O_CLOEXEC, O_DIRECT, O_RDWR};

use crate::rng::Rng;
use crate::sys::{self, Access, Region, PAGE};

/// What memory is filled with before a call.
const FILL: u8 = 0xd5;
/// Sixteen bytes that say whose they are begin with this.
const MAGIC: u32 = 0x41_42_55_53;
/// Writers, and as many readers, of a disk; each has its own part of it.
const USERS: u64 = 6;
/// Sectors of a part.
const PART: u64 = 512;
/// Disks at once.
const DISKS: usize = 2;
/// Bytes of an arena.
const ARENA: usize = 96 * PAGE;

/// What was looked at.
#[derive(Debug, Default)]
pub struct Figures {
    /// Requests that were handed out.
    pub gets: AtomicU64,
    /// Bytes that were looked at.
    pub bytes: AtomicU64,
    /// Calls, refused ones too.
    pub calls: AtomicU64,
    /// ... that were refused.
    pub refused: AtomicU64,
    /// Reads whose data came back as the worker gave them.
    pub reads: AtomicU64,
}

/// Words with which the kernel poisons memory, four bytes of each.
const POISON: [(u8, &str); 7] = [
    (0x6b, "freed slab memory"),
    (0x5a, "slab memory that was never written"),
    (0xa5, "the end of a poisoned object"),
    (0xaa, "a freed page"),
    (0xbb, "the red zone of a freed object"),
    (0xcc, "the red zone of an object"),
    (0xfe, "a KASAN tag"),
];

/// The first thing in these bytes that is the kernel's own business.
pub fn kernels_own(bytes: &[u8]) -> Option<String> {
    for (at, word) in bytes.windows(4).enumerate() {
        if let Some((_, what)) = POISON.iter().find(|(byte, _)| word == [*byte; 4]) {
            return Some(format!("{what} at {at}: {word:02x?}"));
        }
    }
    // As the structs are aligned; in between, an errno beside a zero looks like one.
    let words = bytes.windows(8).enumerate().step_by(8);
    for (at, word) in words {
        let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
        let address = (0xffff_8000_0000_0000..0xffff_ffff_ff00_0000).contains(&word);
        if address || word >> 40 == 0xdead00 {
            return Some(format!("an address at {at}: {word:#x}"));
        }
    }
    None
}

/// Whether the kernel was booted so that a leak would show.
pub fn kernel_poisons() -> bool {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let has = |wanted: &str| words.split_whitespace().any(|word| word == wanted);
    let slabs = fs::read_to_string("/sys/kernel/slab/kmalloc-64/poison").unwrap_or_default();
    has("init_on_alloc=0") && has("page_poison=1") && slabs.trim() == "1"
}

/// One disk and what is known of it.
struct Disk {
    number: u32,
    /// The write that each writer is in; 0: none.
    writes: [AtomicU64; USERS as usize],
    over: AtomicBool,
}

/// Sixteen bytes of data.
fn cell(disk: u32, sector: u64, number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(MAGIC ^ disk).to_ne_bytes());
    bytes[4..8].copy_from_slice(&(sector as u32).to_ne_bytes());
    bytes[8..].copy_from_slice(&number.to_ne_bytes());
    bytes
}

/// The bytes of a write, or of a read's answer.
fn data(disk: u32, sector: u64, len: usize, number: u64) -> Vec<u8> {
    (0..len / 16)
        .flat_map(|at| cell(disk, sector + at as u64 / 32, number))
        .collect()
}

/// Looks until so many requests were handed out on each disk.
pub fn look(gets: u64, seed: u64, figures: &Figures) -> Result<()> {
    let mut disks = Vec::new();
    for number in 0..DISKS as u32 {
        let device = Device::open(number.to_string())?;
        ensure!(
            device.status()?.state == State::Empty,
            "device {number} is set up"
        );
        device.setup(&abuse::Setup {
            logical_block: 512,
            max_bytes: 64 << 10,
            ..abuse::Setup::new(2 * USERS * PART * 512)
        })?;
        let path = device.disk_path();
        wait_until("the disk's node", PATIENCE, || path.exists())?;
        disks.push(Disk {
            number,
            writes: Default::default(),
            over: AtomicBool::new(false),
        });
    }
    thread::scope(|scope| -> Result<()> {
        let mut lookers = Vec::new();
        let mut users = Vec::new();
        for disk in &disks {
            for user in 0..USERS {
                let rng = Rng::new(&[seed, disk.number.into(), user]);
                users.push(scope.spawn(move || disk.write(user, rng)));
                let rng = Rng::new(&[seed, disk.number.into(), user, 1]);
                users.push(scope.spawn(move || disk.read(user, rng, figures)));
            }
            let rng = Rng::new(&[seed, disk.number.into()]);
            lookers.push(scope.spawn(move || {
                let looked = Looker::new(disk, rng, figures).and_then(|mut it| it.look(gets));
                disk.over.store(true, Relaxed);
                // What still waits for a worker.
                let _ = Device::open(disk.number.to_string())
                    .and_then(|device| device.reset(true, Some(PATIENCE)));
                looked
            }));
        }
        let mut result = Ok(());
        for thread in lookers.into_iter().chain(users) {
            let one = thread.join().unwrap_or_else(|_| bail!("a thread panicked"));
            result = result.and(one);
        }
        result
    })
}

impl Disk {
    fn open(&self) -> Result<i32> {
        let path = CString::new(format!("/dev/abuse{}", self.number))?;
        sys::open(&path, O_RDWR | O_DIRECT | O_CLOEXEC)
            .map_err(|errno| nix::errno::Errno::from_raw(errno).into())
    }

    /// Where a user's next operation goes, and its bytes.
    fn place(rng: &mut Rng, part: u64) -> (u64, usize) {
        let sectors = 1 + rng.below(rng.clone().pick(&[1, 8, 9, 128]));
        let first = part * PART + rng.below(PART - sectors);
        (first, sectors as usize * 512)
    }

    fn write(&self, user: u64, mut rng: Rng) -> Result<()> {
        let fd = self.open()?;
        let region = Region::new(18 * PAGE)?;
        let mut number = 0;
        while !self.over.load(Relaxed) {
            let (sector, len) = Disk::place(&mut rng, user);
            number += 1;
            // Behind the data on the same page is what nobody is to see.
            region.fill(0, region.len(), 0x77);
            let data = data(self.number, sector, len, (user << 48) | number);
            region.poke(0, &data);
            self.writes[user as usize].store((user << 48) | number, Relaxed);
            if sys::pwrite(fd, &region, len, sector * 512) != 0 && !self.over.load(Relaxed) {
                bail!("a write failed");
            }
        }
        sys::close(fd);
        Ok(())
    }

    fn read(&self, user: u64, mut rng: Rng, figures: &Figures) -> Result<()> {
        let fd = self.open()?;
        let region = Region::new(18 * PAGE)?;
        while !self.over.load(Relaxed) {
            let (sector, len) = Disk::place(&mut rng, USERS + user);
            region.fill(0, region.len(), FILL);
            if sys::pread(fd, &region, len, sector * 512) != 0 {
                ensure!(self.over.load(Relaxed), "a read failed");
                break;
            }
            let bytes = region.copy(0, region.len());
            let number = u64::from_ne_bytes(bytes[8..16].try_into()?);
            let zeros = bytes[..len].iter().all(|&byte| byte == 0);
            ensure!(
                zeros || bytes[..len] == data(self.number, sector, len, number),
                "a reader got other bytes than the worker gave"
            );
            if let Some(at) = bytes[len..].iter().position(|&byte| byte != FILL) {
                let seen = &bytes[len + at..][..16.min(bytes.len() - len - at)];
                let zeros = if zeros { " of zeros" } else { "" };
                bail!(
                    "{at} bytes behind a read{zeros} of {len} bytes at sector {sector}: {seen:x?}"
                );
            }
            figures.reads.fetch_add(1, Relaxed);
        }
        sys::close(fd);
        Ok(())
    }

    /// Whether these are data that a writer of this disk is waiting to have written, from that sector on.
    fn is_current(&self, sector: u64, bytes: &[u8]) -> bool {
        let Some(head) = bytes.get(8..16).and_then(|head| head.try_into().ok()) else {
            return bytes.is_empty();
        };
        let number = u64::from_ne_bytes(head);
        let writer = self.writes.get((number >> 48) as usize);
        writer.is_some_and(|current| current.load(Relaxed) == number)
            && bytes == data(self.number, sector, bytes.len(), number)
    }
}

/// Makes calls on one disk and looks at all that comes out.
struct Looker<'l> {
    disk: &'l Disk,
    figures: &'l Figures,
    rng: Rng,
    fd: i32,
    /// Structs at first; then entries; then the arena, and a page that is closed.
    memory: Region,
}

const CALL: usize = 0;
const DONE: usize = 2 * PAGE;
const TAKE: usize = 4 * PAGE;
const AREA: usize = 6 * PAGE;
const MOST: usize = 16;

impl<'l> Looker<'l> {
    fn new(disk: &'l Disk, rng: Rng, figures: &'l Figures) -> Result<Looker<'l>> {
        let path = CString::new(format!("/dev/abctl{}", disk.number))?;
        let fd = sys::open(&path, O_RDWR | O_CLOEXEC)
            .map_err(|errno| anyhow::Error::from(nix::errno::Errno::from_raw(errno)))?;
        // Behind the edge everything is closed for as long as an arena is said to be: what lies there
        // otherwise is another thread's.
        let memory = Region::new(AREA + 2 * ARENA)?;
        memory.allow(AREA + ARENA, ARENA, Access::None);
        Ok(Looker {
            disk,
            figures,
            rng,
            fd,
            memory,
        })
    }

    fn look(&mut self, gets: u64) -> Result<()> {
        let mut count = 0;
        while count < gets {
            count += match self.rng.below(12) {
                0 => self.status()?,
                1 => self.old_status()?,
                2 => self.refusals()?,
                3 => self.show_and_put()?,
                4 => self.exchange_small()?,
                5 => self.exchange_over_the_edge()?,
                6 => self.exchange_nowhere()?,
                _ => self.exchange()?,
            };
        }
        sys::close(self.fd);
        Ok(())
    }

    fn at(&self, offset: usize) -> u64 {
        self.memory.address() + offset as u64
    }

    /// All memory as if nothing had ever been there.
    fn clear(&self) {
        self.memory.fill(0, AREA + ARENA, FILL);
    }

    /// A call on a struct, from either kind of program.
    fn call(&mut self, number: u32) -> i32 {
        let at = self.at(CALL);
        self.figures.calls.fetch_add(1, Relaxed);
        let errno = match self.rng.one_in(3) {
            true => sys::ioctl32(self.fd, number, at as u32),
            false => sys::ioctl(self.fd, number, at),
        };
        if errno != 0 {
            self.figures.refused.fetch_add(1, Relaxed);
        }
        errno
    }

    /// Fails when a byte of this range is not as `clear` left it.
    fn untouched(&self, what: &str, from: usize, to: usize) -> Result<()> {
        let bytes = self.memory.copy(from, to - from);
        self.figures.bytes.fetch_add(bytes.len() as u64, Relaxed);
        match bytes.iter().position(|&byte| byte != FILL) {
            None => Ok(()),
            Some(at) => {
                let some = &bytes[at..bytes.len().min(at + 16)];
                bail!(
                    "{what}: wrote at {} what it should not: {some:02x?}",
                    from + at
                )
            }
        }
    }

    /// Fails when there is something of the kernel's in this range.
    fn harmless(&self, what: &str, from: usize, len: usize) -> Result<()> {
        let bytes = self.memory.copy(from, len);
        self.figures.bytes.fetch_add(len as u64, Relaxed);
        match kernels_own(&bytes) {
            None => Ok(()),
            Some(found) => bail!("{what}: {found}"),
        }
    }

    /// A struct of v2 that is filled in.
    fn filled<T: Plain>(&mut self, what: &str, number: u32, value: &T, errno: i32) -> Result<()> {
        self.clear();
        let bytes = sys::bytes_of(value);
        self.memory.poke(CALL, &bytes);
        let got = self.call(number);
        ensure!(got == errno, "{what}: errno {got}");
        self.harmless(what, CALL, bytes.len())?;
        self.untouched(what, CALL + bytes.len(), AREA + ARENA)
    }

    fn status(&mut self) -> Result<u64> {
        let status = Status {
            size: size_of::<Status>() as u32,
            ..Status::default()
        };
        self.filled("STATUS", abi::IOC_STATUS, &status, 0)?;
        Ok(0)
    }

    fn old_status(&mut self) -> Result<u64> {
        for (len, compat) in [(size_of::<Info>(), false), (abi::INFO32_SIZE, true)] {
            self.clear();
            let at = self.at(CALL);
            let errno = match compat {
                true => sys::ioctl32(self.fd, abi::GET_STATUS, at as u32),
                false => sys::ioctl(self.fd, abi::GET_STATUS, at),
            };
            ensure!(errno == 0, "GET_STATUS: errno {errno}");
            self.harmless("GET_STATUS", CALL, len)?;
            self.untouched("GET_STATUS", CALL + len, AREA + ARENA)?;
        }
        Ok(0)
    }

    /// Calls that are refused give back what they were given.
    fn refusals(&mut self) -> Result<u64> {
        let setup = Setup {
            size: size_of::<Setup>() as u32,
            bytes: 1 << 20,
            ..Setup::default()
        };
        self.given_back("SETUP", abi::IOC_SETUP, &setup, libc::EBUSY)?;
        let bad = Setup { bytes: 7, ..setup };
        self.given_back("SETUP", abi::IOC_SETUP, &bad, libc::EINVAL)?;
        let requeue = Requeue {
            size: size_of::<Requeue>() as u32,
            ..Requeue::default()
        };
        self.given_back("REQUEUE", abi::IOC_REQUEUE, &requeue, libc::EINVAL)?;
        let nobody = Requeue {
            flags: abi::RQ_OWNER,
            owner: 1,
            ..requeue
        };
        self.filled("REQUEUE", abi::IOC_REQUEUE, &nobody, 0)?;
        let reconnect = Reconnect {
            size: size_of::<Reconnect>() as u32,
            flags: 1 << 31,
            ..Reconnect::default()
        };
        self.given_back("RECONNECT", abi::IOC_RECONNECT, &reconnect, libc::EINVAL)?;
        let reset = Reset {
            size: size_of::<Reset>() as u32,
            ..Reset::default()
        };
        self.given_back("RESET2", abi::IOC_RESET, &reset, libc::EBUSY)?;
        let status = Status {
            size: size_of::<Status>() as u32 - 8,
            ..Status::default()
        };
        self.given_back("STATUS", abi::IOC_STATUS, &status, libc::EINVAL)?;
        Ok(0)
    }

    fn given_back<T: Plain>(
        &mut self,
        what: &str,
        number: u32,
        value: &T,
        errno: i32,
    ) -> Result<()> {
        self.filled(what, number, value, errno)?;
        let bytes = sys::bytes_of(value);
        ensure!(
            self.memory.copy(CALL, bytes.len()) == bytes,
            "{what}: changed a struct that it refused"
        );
        Ok(())
    }

    /// An EXCHANGE that takes up to so many, with this arena.
    fn take(&mut self, arena: usize, arena_bytes: u64, take: u64) -> Result<(i32, Exchange)> {
        self.clear();
        let exchange = Exchange {
            size: size_of::<Exchange>() as u32,
            take,
            take_max: 1 + self.rng.below(MOST as u64) as u32,
            arena: self.at(arena),
            arena_bytes,
            timeout_ns: 20_000_000,
            ..Exchange::default()
        };
        self.memory.poke(CALL, &sys::bytes_of(&exchange));
        let errno = self.call(abi::IOC_EXCHANGE);
        let known = [0, libc::EMSGSIZE, libc::EFAULT, libc::EAGAIN];
        ensure!(known.contains(&errno), "EXCHANGE: errno {errno}");
        let len = size_of::<Exchange>();
        // Addresses that are the caller's own are below 2 GiB.
        self.harmless("EXCHANGE", CALL, len)?;
        self.untouched("EXCHANGE", CALL + len, TAKE)?;
        Ok((errno, self.memory.peek(CALL)))
    }

    /// Looks at all of a good EXCHANGE: entries, data, and what is between them.
    fn taken(&mut self, told: Exchange) -> Result<Vec<Take>> {
        let entries: Vec<Take> = (0..told.taken as usize)
            .map(|index| self.memory.peek(TAKE + index * size_of::<Take>()))
            .collect();
        let used = entries.len() * size_of::<Take>();
        self.harmless("an entry", TAKE, used)?;
        let mut at = AREA;
        for take in &entries {
            let place = take.buffer.wrapping_sub(self.memory.address()) as usize;
            ensure!(
                place >= at && place + take.length as usize <= AREA + ARENA,
                "{take:x?}"
            );
            self.untouched("between two requests", at, place)?;
            at = place + take.length as usize;
            if take.op != abi::OP_WRITE {
                self.untouched("the room for a read", place, at)?;
                continue;
            }
            let bytes = self.memory.copy(place, take.length as usize);
            self.figures.bytes.fetch_add(bytes.len() as u64, Relaxed);
            ensure!(
                self.disk.is_current(take.sector, &bytes),
                "the data of {take:x?} are other bytes: {:02x?}",
                &bytes[..64.min(bytes.len())]
            );
        }
        self.figures.gets.fetch_add(entries.len() as u64, Relaxed);
        Ok(entries)
    }

    fn exchange(&mut self) -> Result<u64> {
        let (errno, told) = self.take(AREA, ARENA as u64, self.at(TAKE))?;
        ensure!(errno == 0, "EXCHANGE: errno {errno}");
        let entries = self.taken(told)?;
        let used = entries.last().map_or(AREA, |last| {
            (last.buffer - self.memory.address()) as usize + last.length as usize
        });
        self.untouched(
            "behind the entries",
            TAKE + entries.len() * size_of::<Take>(),
            AREA,
        )?;
        self.untouched("behind the requests", used, AREA + ARENA)?;
        self.complete(&entries)?;
        Ok(entries.len() as u64)
    }

    /// Completes them, each twice: what is refused tells nothing but why.
    fn complete(&mut self, entries: &[Take]) -> Result<()> {
        let half = entries.len();
        for _ in 0..2 {
            self.clear();
            for (index, take) in entries.iter().enumerate() {
                let place = (take.buffer - self.memory.address()) as usize;
                if take.op == abi::OP_READ {
                    let bytes = data(self.disk.number, take.sector, take.length as usize, take.id);
                    self.memory.poke(place, &bytes);
                }
                let done = Done {
                    id: take.id,
                    buffer: take.buffer,
                    length: take.length,
                    ..Done::default()
                };
                self.memory
                    .poke(DONE + index * size_of::<Done>(), &sys::bytes_of(&done));
            }
            let exchange = Exchange {
                size: size_of::<Exchange>() as u32,
                done: self.at(DONE),
                done_count: half as u32,
                ..Exchange::default()
            };
            self.memory.poke(CALL, &sys::bytes_of(&exchange));
            let errno = self.call(abi::IOC_EXCHANGE);
            ensure!(errno == 0, "EXCHANGE: errno {errno}");
            self.harmless("EXCHANGE", CALL, size_of::<Exchange>())?;
            self.harmless("the entries of done", DONE, half * size_of::<Done>())?;
            self.untouched("behind the entries", DONE + half * size_of::<Done>(), TAKE)?;
            self.untouched("where nothing was taken", TAKE, AREA)?;
        }
        Ok(())
    }

    /// Everything goes back to where it came from.
    fn give_back(&mut self, entries: usize) -> Result<u64> {
        if entries > 0 {
            let requeue = Requeue {
                size: size_of::<Requeue>() as u32,
                flags: abi::RQ_ALL | abi::RQ_FORCE,
                ..Requeue::default()
            };
            self.filled("REQUEUE", abi::IOC_REQUEUE, &requeue, 0)?;
        }
        Ok(entries as u64)
    }

    /// There is room for some only.
    fn exchange_small(&mut self) -> Result<u64> {
        let bytes = self.rng.pick(&[0, 511, 512, 4096, 3 * PAGE as u64]);
        let (_, told) = self.take(AREA, bytes, self.at(TAKE))?;
        let entries = self.taken(told)?;
        self.untouched("behind a small arena", AREA + bytes as usize, AREA + ARENA)?;
        self.give_back(entries.len())
    }

    /// The arena ends in a page that is closed.
    fn exchange_over_the_edge(&mut self) -> Result<u64> {
        let arena = AREA + ARENA - PAGE * self.rng.below(4) as usize - 512;
        let arena = arena - arena % 512;
        let (_, told) = self.take(arena, ARENA as u64, self.at(TAKE))?;
        let entries = told.taken as usize;
        self.figures.gets.fetch_add(entries as u64, Relaxed);
        self.harmless("an entry", TAKE, entries * size_of::<Take>())?;
        self.untouched("before the arena", AREA, arena)?;
        self.fragments(arena, AREA + ARENA)?;
        self.give_back(entries)
    }

    /// The entries go nowhere: nothing is taken, but data may have been copied.
    fn exchange_nowhere(&mut self) -> Result<u64> {
        let closed = self.at(AREA + ARENA);
        let (errno, told) = self.take(AREA, ARENA as u64, closed)?;
        ensure!(errno != 0 || told.taken == 0, "entries went nowhere");
        self.fragments(AREA, AREA + ARENA)?;
        Ok(0)
    }

    /// Whole sectors, or the beginnings of some, of data that are being written now; or nothing.
    fn fragments(&self, from: usize, to: usize) -> Result<()> {
        let bytes = self.memory.copy(from, to - from);
        self.figures.bytes.fetch_add(bytes.len() as u64, Relaxed);
        for (index, cell) in bytes.chunks_exact(16).enumerate() {
            if cell == [FILL; 16] {
                continue;
            }
            let sector = u32::from_ne_bytes(cell[4..8].try_into()?);
            ensure!(
                self.disk.is_current(sector.into(), cell),
                "bytes of nobody at {}: {cell:02x?}",
                from + index * 16
            );
        }
        Ok(())
    }

    /// The calls of 2009.
    fn show_and_put(&mut self) -> Result<u64> {
        self.clear();
        let header = XfrHdr {
            transfer_address: self.at(TAKE),
            ..XfrHdr::default()
        };
        self.memory.poke(CALL, &sys::bytes_of(&header));
        let errno = self.call(abi::GET_BIO);
        ensure!(
            errno == 0 || errno == libc::ENOMSG,
            "GET_BIO: errno {errno}"
        );
        let len = size_of::<XfrHdr>();
        self.harmless("GET_BIO", CALL, len)?;
        self.untouched("GET_BIO", CALL + len, TAKE)?;
        let mut header: XfrHdr = self.memory.peek(CALL);
        let used = header.vec_count as usize * size_of::<Vector>();
        self.harmless("vectors", TAKE, used)?;
        self.untouched("behind the vectors", TAKE + used, AREA + ARENA)?;
        if errno != 0 {
            return Ok(0);
        }
        self.figures.gets.fetch_add(1, Relaxed);
        let mut bytes = 0;
        for index in 0..header.vec_count as usize {
            let place = TAKE + index * size_of::<Vector>();
            let vector: Vector = self.memory.peek(place);
            ensure!(vector.address == 0, "a vector has an address: {vector:x?}");
            let address = self.at(AREA + bytes).to_ne_bytes();
            self.memory
                .poke(place + offset_of!(Vector, address), &address);
            bytes += vector.len as usize;
        }
        ensure!(bytes <= ARENA, "{bytes} bytes in a request");
        if header.command == abi::V1_READ {
            let data = data(self.disk.number, header.sector, bytes, header.id);
            self.memory.poke(AREA, &data);
        }
        // Its data come with the very call that completes it: they may be looked at only as far as the
        // writer has not gone on.
        header.result = abi::V1_OKAY;
        self.memory.poke(CALL, &sys::bytes_of(&header));
        let errno = self.call(abi::PUT_BIO);
        ensure!(errno == 0, "PUT_BIO: errno {errno}");
        if header.command == abi::V1_WRITE {
            let got = self.memory.copy(AREA, bytes);
            let number = u64::from_ne_bytes(got[8..16].try_into().context("a short write")?);
            ensure!(
                got == data(self.disk.number, header.sector, bytes, number),
                "PUT_BIO gave other bytes"
            );
            self.untouched("behind the data", AREA + bytes, AREA + ARENA)?;
        }
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poison_and_addresses_are_found_and_what_is_ours_is_not() {
        let found = |bytes: &[u8]| kernels_own(bytes);
        assert_eq!(found(&[0; 64]), None);
        assert_eq!(found(&[FILL; 64]), None);
        for (byte, what) in POISON {
            let mut bytes = [1; 32];
            bytes[13..17].fill(byte);
            assert!(found(&bytes).unwrap().starts_with(what));
        }
        for address in [
            0xffff_8880_1234_5678u64,
            0xffff_ffff_8100_0000,
            0xffff_c900_0000_0000,
        ] {
            let mut bytes = [0; 24];
            bytes[8..16].copy_from_slice(&address.to_ne_bytes());
            assert!(found(&bytes).unwrap().starts_with("an address at 8"));
        }
        assert!(found(&0xdead_0000_0000_0100u64.to_ne_bytes()).is_some());
        assert_eq!(found(&u64::MAX.to_ne_bytes()), None);
    }

    #[test]
    fn data_of_another_disk_sector_or_write_are_not_current() {
        let disk = Disk {
            number: 1,
            writes: Default::default(),
            over: AtomicBool::new(false),
        };
        let number = (2 << 48) | 9;
        disk.writes[2].store(number, Relaxed);
        assert!(disk.is_current(40, &data(1, 40, 1024, number)));
        assert!(!disk.is_current(40, &data(0, 40, 1024, number)));
        assert!(!disk.is_current(41, &data(1, 40, 1024, number)));
        assert!(!disk.is_current(40, &data(1, 40, 1024, number - 1)));
        let mut stale = data(1, 40, 1024, number);
        stale[1008..].copy_from_slice(&cell(1, 41, number - 1));
        assert!(!disk.is_current(40, &stale));
    }
}
