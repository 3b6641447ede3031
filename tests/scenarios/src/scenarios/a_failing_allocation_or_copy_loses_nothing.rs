// SPDX-License-Identifier: MIT

//! Every allocation and every copy of every call fails once, where the kernel can fail on request: the
//! call succeeds or is refused for that reason, no request is lost or changed, and the device goes on.

use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::time::Duration;

use abuse::abi::{self, Done, Exchange, Take, Vector, XfrHdr};
use abuse::{Device, NewDevice, Registry, Setup, State};
use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::faults::{Fault, Faults};
use crate::kit::raw::{address_of, free, node, within, Memory, Raw};
use crate::kit::{skip, wait_until, Direct, Disk, Guest, PATIENCE};

/// Bytes of the requests: several pages, for copies in several pieces.
const LENGTH: usize = 16 << 10;
const SHAPE: &str = "size=16M,bs=512,depth=4,queues=1";

/// Fails everything of a call; how much that was.
type Sweep = fn(&Disk<'_>) -> Result<u32>;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let Some(mut faults) = Faults::new()? else {
        return skip("this kernel does not fail on request: make test KERNEL=debug");
    };
    guest.allow(Duration::from_secs(900));
    let _udev = guest.hold_udev()?;
    let mut figures = Vec::new();
    for (what, failures) in [
        ("SETUP", setup()?),
        ("RESET", reset()?),
        ("SET_STATUS of 2009", setup_of_2009()?),
        ("ADD", add()?),
        ("REMOVE", remove()?),
    ] {
        ensure!(failures > 0, "{what}: nothing of it could fail");
        figures.push(format!("{failures} {what}"));
    }
    // A client of 2009 takes nothing of what it completes, and so the sums on its disk are others.
    let (disk, old) = (guest.disk(SHAPE)?, guest.disk(SHAPE)?);
    let sweeps: [(&str, Sweep); 11] = [
        ("open", open),
        ("STATUS", status),
        ("poll", poll),
        ("EXCHANGE taking", take),
        ("EXCHANGE putting", put),
        ("EXCHANGE forwarding", forward),
        ("REQUEUE", requeue),
        ("RECONNECT", reconnect),
        ("RESIZE", resize),
        ("GET_BIO and PUT_BIO of 2009", of_2009),
        ("read and write of the disk", submit),
    ];
    for (what, sweep) in sweeps {
        let disk = if what.ends_with("of 2009") {
            &old
        } else {
            &disk
        };
        let failures = sweep(disk)?;
        ensure!(failures > 0, "{what}: nothing of it could fail");
        figures.push(format!("{failures} {what}"));
        works(disk).with_context(|| format!("after {what}"))?;
    }
    let [slabs, pages, copies] = faults.counts()?;
    for (kind, count) in [("slab", slabs), ("page", pages), ("copy", copies)] {
        ensure!(count > 0, "no {kind} was failed");
    }
    guest.figure(format!(
        "failures: {slabs} of slabs, {pages} of pages, {copies} of copies; {}",
        figures.join(", ")
    ));
    Ok(())
}

/// Fails unless a call went well, or was refused for want of memory or for a failed copy.
fn fair<T: std::fmt::Debug>(fault: &Fault, result: Result<T, Errno>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOMEM | Errno::EFAULT | Errno::EAGAIN) if fault.hit() => Ok(None),
        Err(error) => bail!("{error}"),
    }
}

fn errno<T>(result: abuse::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| error.errno().map_or(Errno::UnknownErrno, Errno::from_raw))
}

/// The disk still does what disks do.
fn works(disk: &Disk<'_>) -> Result<()> {
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    let file = Direct::open(disk.path())?;
    let write = file.start_write(0, vec![0x5a; LENGTH]);
    let taken = raw.take_one(&arena)?;
    ensure!(arena.bytes(offset(&taken, &arena), LENGTH) == [0x5a; LENGTH]);
    raw.finish(&taken)?;
    write.finish(PATIENCE)??;
    let status = disk.status()?;
    ensure!(status.queued + status.taken == 0, "left: {status:?}");
    Ok(())
}

fn offset(take: &Take, arena: &Memory) -> usize {
    (take.buffer - arena.address()) as usize
}

fn empty(device: &Device) -> Result<()> {
    wait_until("the device to be empty", PATIENCE, || {
        device
            .status()
            .is_ok_and(|status| status.state == State::Empty)
    })
}

/// Resets what is set up; whether anything was.
fn clear(device: &Device) -> Result<bool> {
    let was = device.status()?.state != State::Empty;
    if was {
        device.reset(true, Some(PATIENCE))?;
        empty(device)?;
    }
    Ok(was)
}

fn small() -> Setup {
    Setup {
        depth: 4,
        queues: 1,
        ..Setup::new(16 << 20)
    }
}

fn setup() -> Result<u32> {
    let device = free()?;
    let raw = Raw::open(&node(&device))?;
    let arena = Memory::new(1 << 20)?;
    Faults::sweep("SETUP", |fault| {
        let made = fair(fault, errno(fault.during(|| device.setup(&small()))?))?;
        if device.status()?.state == State::Empty {
            ensure!(made.is_none(), "made, and not there");
            return Ok(());
        }
        // Made, if not told: the last thing to fail is the copy of what was made.
        let path = device.disk_path();
        wait_until("the disk's node", PATIENCE, || path.exists())?;
        let read = Direct::open(&path)?.start_read(0, 4096);
        raw.finish(&raw.take_one(&arena)?)?;
        read.finish(PATIENCE)??;
        clear(&device).map(drop)
    })
}

fn reset() -> Result<u32> {
    let device = free()?;
    Faults::sweep("RESET", |fault| {
        device.setup(&small())?;
        let path = device.disk_path();
        wait_until("the disk's node", PATIENCE, || path.exists())?;
        let write = Direct::open(&path)?.start_write(0, vec![1; LENGTH]);
        wait_until("the write", PATIENCE, || {
            device.status().is_ok_and(|status| status.queued == 1)
        })?;
        let done = fair(fault, errno(fault.during(|| device.reset(true, None))?))?;
        // It was refused before it began, or could not tell that it had.
        if done.is_none() && device.status()?.state != State::Resetting {
            clear(&device)?;
        }
        ensure!(write.finish(PATIENCE)?.is_err(), "the write went well");
        empty(&device)
    })
}

fn setup_of_2009() -> Result<u32> {
    let device = free()?;
    let raw = Raw::open(&node(&device))?;
    Faults::sweep("SET_STATUS", |fault| {
        let mut info = abi::Info {
            bytes: 16 << 20,
            blocksize: 512,
            max_queue: 4,
            ..abi::Info::default()
        };
        let made = fault.during(|| raw.call(abi::SET_STATUS, &mut info))?;
        let made = fair(fault, made)?.is_some();
        ensure!(clear(&device)? == made, "made: {made}");
        Ok(())
    })
}

/// A device comes, whole, or not at all; what came without being told can be removed like any other.
fn add() -> Result<u32> {
    let registry = Registry::open()?;
    let before = Device::numbers()?;
    Faults::sweep("ADD", |fault| {
        let added = fault.during(|| registry.add(&NewDevice::default()))?;
        let added = fair(fault, errno(added))?;
        let new = others(&before)?;
        match added {
            Some(added) => ensure!(new == [added.number], "added {added:?}, there are {new:?}"),
            None => ensure!(new.len() <= 1, "refused, and there are {new:?}"),
        }
        for number in new {
            let device = Device::open(number.to_string())?;
            ensure!(device.status()?.state == State::Empty, "not empty");
            registry.remove(number, None, false, Some(PATIENCE))?;
        }
        ensure!(Device::numbers()? == before, "another one is there");
        Ok(())
    })
}

/// A device goes with its disk and what is pending, or stays as it is.
fn remove() -> Result<u32> {
    let registry = Registry::open()?;
    let before = Device::numbers()?;
    Faults::sweep("REMOVE", |fault| {
        let added = registry.add(&NewDevice::default())?;
        let device = Device::open(added.number.to_string())?;
        device.setup(&small())?;
        let path = device.disk_path();
        wait_until("the disk's node", PATIENCE, || path.exists())?;
        let write = Direct::open(&path)?.start_write(0, vec![1; LENGTH]);
        wait_until("the write", PATIENCE, || {
            device.status().is_ok_and(|status| status.queued == 1)
        })?;
        let sequence = Some(added.sequence);
        let go = || registry.remove(added.number, sequence, true, Some(PATIENCE));
        // It was refused before it began, or could not tell that it had.
        if fair(fault, errno(fault.during(go)?))?.is_none() {
            match device.status() {
                Ok(status) => {
                    ensure!(status.queued == 1, "refused, and changed: {status:?}");
                    go()?;
                }
                Err(error) => ensure!(error.errno() == Some(Errno::ENODEV as i32), "{error}"),
            }
        }
        ensure!(write.finish(PATIENCE)?.is_err(), "the write went well");
        wait_until("the device to go", PATIENCE, || {
            Device::numbers().is_ok_and(|numbers| numbers == before)
        })
    })
}

/// The devices that are there besides these.
fn others(known: &[u32]) -> Result<Vec<u32>> {
    let mut numbers = Device::numbers()?;
    numbers.retain(|number| !known.contains(number));
    Ok(numbers)
}

/// The disk and its description have one size, the old one or the new.
fn resize(disk: &Disk<'_>) -> Result<u32> {
    const SIZES: [u64; 2] = [16 << 20, 24 << 20];
    let device = disk.device();
    let size = || -> Result<u64> {
        let told = disk.status()?.setup.context("no disk")?.bytes;
        let is = std::fs::File::open(disk.path())?.seek(SeekFrom::End(0))?;
        ensure!(told == is, "told {told} bytes, has {is}");
        Ok(is)
    };
    let mut failures = 0;
    for [old, new] in [SIZES, [SIZES[1], SIZES[0]]] {
        failures += Faults::sweep("RESIZE", |fault| {
            let done = fair(fault, errno(fault.during(|| device.resize(new, true))?))?;
            let now = size()?;
            ensure!(now == new || (done.is_none() && now == old), "{now} bytes");
            device.resize(old, true)?;
            ensure!(size()? == old, "not as before");
            Ok(())
        })?;
        device.resize(new, true)?;
    }
    Ok(failures)
}

fn open(disk: &Disk<'_>) -> Result<u32> {
    let path = disk.control();
    Faults::sweep("open", |fault| {
        let opened = fault.during(|| std::fs::File::open(&path))?;
        let opened = opened.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)));
        fair(fault, opened).map(drop)
    })
}

fn status(disk: &Disk<'_>) -> Result<u32> {
    let raw = Raw::open(&disk.control())?;
    Faults::sweep("STATUS", |fault| {
        let mut status = abi::Status {
            size: size_of::<abi::Status>() as u32,
            ..abi::Status::default()
        };
        let asked = fault.during(|| raw.call(abi::IOC_STATUS, &mut status))?;
        fair(fault, asked).map(drop)
    })
}

fn poll(disk: &Disk<'_>) -> Result<u32> {
    let raw = Raw::open(&disk.control())?;
    Faults::sweep("poll", |fault| {
        let events = fault.during(|| raw.poll(1, 0))?;
        match events {
            Ok(events) => ensure!(events == 0, "events {events:#x} of an idle device"),
            Err(_) => ensure!(fault.hit(), "refused"),
        }
        Ok(())
    })
}

/// One write is taken over and over, into memory that is there and into memory that is not.
fn take(disk: &Disk<'_>) -> Result<u32> {
    let raw = Raw::open(&disk.control())?;
    let arena = Memory::new(1 << 20)?;
    let data: Vec<u8> = (0..LENGTH).map(|byte| (byte % 251) as u8).collect();
    let write = Direct::open(disk.path())?.start_write(4096, data.clone());
    disk.wait_queued(1)?;
    let mut failures = 0;
    for there in [true, false] {
        failures += Faults::sweep("EXCHANGE taking", |fault| {
            arena.renew()?;
            if there {
                arena.fill(1);
            }
            let mut taken = [Take::default()];
            let how = within(&arena, Duration::ZERO);
            let got = fault.during(|| raw.exchange(&mut [], &mut taken, how))?;
            if let Some(Exchange { taken: 1, .. }) = fair(fault, got)? {
                let bytes = arena.bytes(offset(&taken[0], &arena), LENGTH);
                ensure!(bytes == data, "other bytes came");
            } else {
                ensure!(fault.hit(), "nothing was taken");
            }
            requeue_all(disk)
        })?;
    }
    raw.finish(&raw.take_one(&arena)?)?;
    write.finish(PATIENCE)??;
    Ok(failures)
}

/// Offers again what is held; the one request is there, unclaimed.
fn requeue_all(disk: &Disk<'_>) -> Result<()> {
    if disk.status()?.taken > 0 {
        disk.device().requeue(&abuse::Selection::all().force())?;
    }
    let status = disk.status()?;
    ensure!(
        (status.queued, status.taken) == (1, 0),
        "the request is not there: {status:?}"
    );
    Ok(())
}

/// Reads are completed with data from memory that is there and from memory that is not.
fn put(disk: &Disk<'_>) -> Result<u32> {
    let raw = Raw::open(&disk.control())?;
    let arena = Memory::new(1 << 20)?;
    let file = Direct::open(disk.path())?;
    let source = crate::kit::raw::file_of(LENGTH)?;
    Memory::of_file(&source, LENGTH)?.fill(0xa5);
    let mut failures = 0;
    for there in [true, false] {
        failures += Faults::sweep("EXCHANGE putting", |fault| {
            let read = file.start_read(0, LENGTH);
            let taken = raw.take_one(&arena)?;
            // A new mapping of the same bytes: none of its pages is there before it is touched.
            let memory = Memory::of_file(&source, LENGTH)?;
            if there {
                memory.bytes(0, LENGTH);
            }
            let done = Done {
                id: taken.id,
                buffer: memory.address(),
                length: LENGTH as u32,
                ..Done::default()
            };
            let mut entries = [done];
            let put = fault.during(|| raw.exchange(&mut entries, &mut [], Exchange::default()))?;
            fair(fault, put)?;
            // Whatever it said: the request was completed by it, or still is there.
            if disk.status()?.taken > 0 {
                ensure!(fault.hit(), "not completed");
                ensure!(raw.put(&mut [done])? == 0, "refused when nothing failed");
            }
            ensure!(
                read.finish(PATIENCE)?? == [0xa5; LENGTH],
                "other bytes came"
            );
            Ok(())
        })?;
    }
    Ok(failures)
}

/// Reads are forwarded to pieces of a file in memory and of one on a disk.
fn forward(disk: &Disk<'_>) -> Result<u32> {
    let raw = Raw::open(&disk.control())?;
    let arena = Memory::new(1 << 20)?;
    let file = Direct::open(disk.path())?;
    let source = crate::kit::raw::file_of(LENGTH)?;
    Memory::of_file(&source, LENGTH)?.fill(0xa5);
    let other = disk.guest().file("forwarded");
    std::fs::write(&other, [0xa5; LENGTH])?;
    let other = std::fs::File::open(other)?;
    let places = Memory::new(4096)?;
    let half = LENGTH as u32 / 2;
    let mut failures = 0;
    for files in [&[&source, &source][..], &[&source, &other], &[&other]] {
        let length = LENGTH as u32 / files.len() as u32;
        for (index, file) in files.iter().enumerate() {
            let extent = abi::Extent {
                offset: u64::from(half) * index as u64,
                length,
                fd: file.as_raw_fd(),
            };
            places.put(index * size_of::<abi::Extent>(), extent);
        }
        failures += Faults::sweep("EXCHANGE forwarding", |fault| {
            let read = file.start_read(0, LENGTH);
            let taken = raw.take_one(&arena)?;
            let done = Done {
                id: taken.id,
                buffer: places.address(),
                length: files.len() as u32,
                flags: abi::DONE_FORWARD | abi::DONE_RETURN,
                ..Done::default()
            };
            let mut entries = [done];
            let put = fault.during(|| raw.exchange(&mut entries, &mut [], Exchange::default()))?;
            fair(fault, put)?;
            // It was forwarded, or still is there, or has come back because the file system was short.
            wait_until("the forward", PATIENCE, || {
                disk.status().is_ok_and(|status| status.forwarding == 0)
            })?;
            let status = disk.status()?;
            let mut done = done;
            if status.queued > 0 {
                ensure!(fault.hit(), "it came back");
                done.id = raw.take_one(&arena)?.id;
            }
            if status.taken + status.queued > 0 {
                ensure!(fault.hit(), "not forwarded");
                ensure!(raw.put(&mut [done])? == 0, "refused when nothing failed");
            }
            ensure!(
                read.finish(PATIENCE)?? == [0xa5; LENGTH],
                "other bytes came"
            );
            Ok(())
        })?;
    }
    Ok(failures)
}

fn requeue(disk: &Disk<'_>) -> Result<u32> {
    held(disk, "REQUEUE", |raw| {
        let mut call = abi::Requeue {
            size: size_of::<abi::Requeue>() as u32,
            flags: abi::RQ_ALL | abi::RQ_FORCE,
            ..abi::Requeue::default()
        };
        raw.call(abi::IOC_REQUEUE, &mut call)
    })
}

fn reconnect(disk: &Disk<'_>) -> Result<u32> {
    held(disk, "RECONNECT", |raw| {
        let mut call = abi::Reconnect {
            size: size_of::<abi::Reconnect>() as u32,
            flags: abi::RC_FORCE,
            ..abi::Reconnect::default()
        };
        raw.call(abi::IOC_RECONNECT, &mut call)
    })
}

/// A call that offers again what is held.
fn held(disk: &Disk<'_>, what: &str, call: impl Fn(&Raw) -> nix::Result<()>) -> Result<u32> {
    let raw = Raw::open(&disk.control())?;
    let arena = Memory::new(1 << 20)?;
    let write = Direct::open(disk.path())?.start_write(0, vec![3; LENGTH]);
    disk.wait_queued(1)?;
    let failures = Faults::sweep(what, |fault| {
        raw.take_one(&arena)?;
        fair(fault, fault.during(|| call(&raw))?)?;
        requeue_all(disk)
    })?;
    raw.finish(&raw.take_one(&arena)?)?;
    write.finish(PATIENCE)??;
    Ok(failures)
}

/// A read is seen and completed as in 2009.
fn of_2009(disk: &Disk<'_>) -> Result<u32> {
    const ROOM: usize = abi::V1_MAX_VECS as usize;
    let raw = Raw::open(&disk.control())?;
    let file = Direct::open(disk.path())?;
    let data = Memory::new(LENGTH)?;
    data.fill(0x29);
    let mut vectors = [Vector::default(); ROOM];
    let failures = Faults::sweep("GET_BIO and PUT_BIO", |fault| {
        let read = file.start_read(0, LENGTH);
        disk.wait_queued(1)?;
        let mut header = XfrHdr {
            transfer_address: address_of(&mut vectors),
            ..XfrHdr::default()
        };
        let seen = fault.during(|| raw.call(abi::GET_BIO, &mut header))?;
        if fair(fault, seen)?.is_none() {
            raw.call(abi::GET_BIO, &mut header)?;
        }
        let mut used = 0;
        for vector in &mut vectors[..header.vec_count as usize] {
            vector.address = data.address() + used;
            used += u64::from(vector.len);
        }
        ensure!(used == LENGTH as u64, "{used} bytes");
        // The same failure lies in wait again: of this call, it is another.
        let put = fault.during(|| raw.call(abi::PUT_BIO, &mut header))?;
        if fair(fault, put)?.is_none() {
            raw.call(abi::PUT_BIO, &mut header)?;
        }
        ensure!(
            read.finish(PATIENCE)?? == [0x29; LENGTH],
            "other bytes came"
        );
        Ok(())
    })?;
    Ok(failures)
}

/// Whoever uses the disk lacks memory; its worker does not.
fn submit(disk: &Disk<'_>) -> Result<u32> {
    // Of smaller ones the pages fit on the stack of who asks for them.
    const LENGTH: usize = 128 << 10;
    let _server = disk.serve("ram:failing")?;
    let file = Direct::open(disk.path())?;
    let mut failures = 0;
    for write in [true, false] {
        failures += Faults::sweep("I/O", |fault| {
            let done = fault.during(|| match write {
                true => file.write(8192, &[7; LENGTH]),
                false => file.read(8192, LENGTH).map(drop),
            })?;
            if let Err(error) = done {
                ensure!(fault.hit(), "{error}");
            }
            file.write(8192, &[7; LENGTH])?;
            ensure!(file.read(8192, LENGTH)? == [7; LENGTH], "other bytes came");
            Ok(())
        })?;
    }
    Ok(failures)
}
