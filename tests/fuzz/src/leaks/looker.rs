// SPDX-License-Identifier: MIT

//! Makes calls on one disk and looks at all that comes out.

use std::ffi::CString;
use std::mem::offset_of;
use std::sync::atomic::Ordering::Relaxed;

use abuse::abi::{self, Done, Exchange, Info, Reconnect, Requeue, Reset, Setup, Status, Take};
use abuse::abi::{Vector, XfrHdr};
use abuse_scenarios::kit::raw::Plain;
use anyhow::{bail, ensure, Context, Result};
use nix::libc::{self, O_CLOEXEC, O_RDWR};

use super::disk::{data, Disk};
use super::{kernels_own, Figures, ARENA, FILL};
use crate::rng::Rng;
use crate::sys::{self, Access, Region, PAGE};

/// Makes calls on one disk and looks at all that comes out.
pub(super) struct Looker<'l> {
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
    pub(super) fn new(disk: &'l Disk, rng: Rng, figures: &'l Figures) -> Result<Looker<'l>> {
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

    pub(super) fn look(&mut self, gets: u64) -> Result<()> {
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
