// SPDX-License-Identifier: MIT

//! The worker's loop against a driver in user space.

mod fake;
mod forwards;
mod helping;
mod memory;
mod refusals;
mod standing_by;
mod terms;
mod together;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::errno::Errno;

use super::crew::{serve, Calls, Plan};
use super::{Served, Stop};
use crate::error::Result;
use crate::{abi, Backend, Capabilities, Setup};
use fake::{nap, Fake};

const SIZE: u64 = 1 << 20;

fn disk() -> Fake {
    let mut setup = Setup::new(SIZE);
    setup.max_bytes = 64 << 10;
    Fake::new(setup)
}

/// Memory that misbehaves on demand and writes down what it was asked for.
struct Memory {
    bytes: Mutex<Vec<u8>>,
    capabilities: Capabilities,
    calls: Mutex<Vec<String>>,
    reads: AtomicUsize,
    /// Writes wait while this is set.
    held: AtomicBool,
    /// What it does at this offset.
    trouble: Option<(u64, Trouble)>,
}

type Trouble = fn() -> io::Result<()>;

impl Memory {
    fn new() -> Memory {
        Memory {
            bytes: Mutex::new(vec![0; SIZE as usize]),
            capabilities: Capabilities {
                size_bytes: Some(SIZE),
                write_zeroes: true,
                ..Capabilities::default()
            },
            calls: Mutex::default(),
            reads: AtomicUsize::new(0),
            held: AtomicBool::new(false),
            trouble: None,
        }
    }

    fn slow() -> Memory {
        let mut memory = Memory::new();
        memory.capabilities.slow = true;
        memory
    }

    fn called(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn trouble(&self, offset: u64) -> io::Result<()> {
        match self.trouble {
            Some((at, trouble)) if at == offset => trouble(),
            _ => Ok(()),
        }
    }
}

impl Backend for Memory {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.trouble(offset)?;
        let bytes = self.bytes.lock().unwrap();
        buf.copy_from_slice(&bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()> {
        while self.held.load(Ordering::Acquire) {
            nap();
        }
        self.called(format!("write {offset} {durable}"));
        self.trouble(offset)?;
        self.bytes.lock().unwrap()[offset as usize..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.called("flush".into());
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> io::Result<()> {
        self.called(format!("zero {offset} {length} {may_unmap}"));
        Ok(())
    }
}

fn plan(driver: &Fake, backend: &Memory) -> Plan {
    let state = driver.lock();
    let setup = state.setup.as_ref().unwrap();
    Plan::new(&backend.capabilities(), setup, state.epoch).owner(77)
}

/// Serves with this plan while `act` runs, then stops and returns what `run` would.
fn while_serving<B: Backend>(
    driver: &Fake,
    backend: &B,
    plan: &Plan,
    act: impl FnOnce(&Stop),
) -> Result<Served> {
    let stop = Stop::new();
    thread::scope(|scope| {
        let worker = scope.spawn(|| serve(driver, backend, plan, &stop, Calls::default()));
        act(&stop);
        stop.stop();
        worker.join().unwrap()
    })
}

/// Queues with `make`, serves on one thread until everything has ended.
fn serve_all(driver: &Fake, backend: &Memory) -> Served {
    let plan = plan(driver, backend);
    let count = driver.lock().queue.len();
    while_serving(driver, backend, &plan, |_| driver.wait_ends(count)).unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let (driver, backend) = (disk(), Memory::new());
    driver.write(8, &[7; 4096]);
    driver.write(16, &[9; 512]);
    let first = driver.read(8, 4096);
    let second = driver.read(16, 1024);
    let served = serve_all(&driver, &backend);
    assert_eq!(driver.end(first).data, [7; 4096]);
    assert_eq!(driver.end(second).data[..512], [9; 512]);
    assert_eq!(driver.end(second).data[512..], [0; 512]);
    assert_eq!((served.completed, served.failed, served.stale), (4, 0, 0));
}

#[test]
fn one_call_completes_a_batch_and_takes_the_next() {
    let (driver, backend) = (disk(), Memory::new());
    for sector in 0..640 {
        driver.read(sector, 512);
    }
    let served = serve_all(&driver, &backend);
    assert_eq!(served.completed, 640);
    assert_eq!(driver.lock().most_taken, 64);
    // Ten batches; one call more completes the last and waits; stopping may interrupt once more.
    assert!(
        (11..=12).contains(&driver.lock().exchanges),
        "{served:?} in {} calls",
        driver.lock().exchanges
    );
    assert_eq!(served.exchanges as usize, driver.lock().exchanges);
}

#[test]
fn every_call_carries_the_owner_s_token() {
    let (driver, backend) = (disk(), Memory::slow());
    driver.write(0, &[1; 512]);
    driver.plain(abi::OP_FLUSH, 0);
    serve_all(&driver, &backend);
    assert!(driver.lock().owners_seen.iter().all(|&owner| owner == 77));
}

#[test]
fn several_threads_complete_everything_once() {
    let (driver, backend) = (disk(), Memory::new());
    let plan = plan(&driver, &backend).threads(4).batch(Some(3));
    let served = while_serving(&driver, &backend, &plan, |_| {
        for round in 0..100u64 {
            for block in 0..20 {
                driver.write(block * 8, &[round as u8; 4096]);
            }
        }
        driver.wait_ends(2000);
    })
    .unwrap();
    assert_eq!(served.completed, 2000);
    let mut ids: Vec<u64> = driver.lock().ends.iter().map(|end| end.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2000);
    assert!(driver.lock().taken.is_empty());
}

#[test]
fn a_stop_wakes_threads_that_wait_for_requests() {
    // The fake driver waits for ever, so only the signal can end this.
    let (driver, backend) = (disk(), Memory::new());
    let plan = plan(&driver, &backend).threads(4);
    let served = while_serving(&driver, &backend, &plan, |_| {
        while driver.lock().exchanges < 4 {
            nap();
        }
    });
    assert_eq!(served.unwrap().completed, 0);
}

#[test]
fn a_stop_before_the_start_takes_nothing() {
    let (driver, backend) = (disk(), Memory::new());
    driver.read(0, 512);
    let stop = Stop::new();
    stop.stop();
    let served = serve(
        &driver,
        &backend,
        &plan(&driver, &backend),
        &stop,
        Calls::default(),
    )
    .unwrap();
    assert_eq!(served, Served::default());
    assert_eq!(driver.lock().queue.len(), 1);
}

#[test]
fn a_stopped_worker_completes_what_it_holds_and_takes_no_more() {
    let (driver, backend) = (disk(), Memory::new());
    backend.held.store(true, Ordering::Release);
    let held = [driver.write(0, &[1; 512]), driver.write(1, &[2; 512])];
    let plan = plan(&driver, &backend);
    let mut late = 0;
    while_serving(&driver, &backend, &plan, |stop| {
        while driver.lock().taken.len() < 2 {
            nap();
        }
        stop.stop();
        late = driver.write(2, &[3; 512]);
        backend.held.store(false, Ordering::Release);
    })
    .unwrap();
    for id in held {
        assert_eq!(driver.end(id).result, abi::OK);
    }
    assert_eq!(driver.lock().queue.front().unwrap().0, late);
}

fn when(ready: Box<dyn FnOnce() + Send>) -> Calls {
    Calls {
        ready: Some(ready),
        ..Calls::default()
    }
}

#[test]
fn nothing_is_taken_before_ready_returns() {
    let (driver, backend) = (Arc::new(disk()), Memory::new());
    driver.read(0, 512);
    let plan = plan(&driver, &backend).threads(2);
    let stop = Stop::new();
    let (seen, stopper) = (driver.clone(), stop.clone());
    let ready = Box::new(move || {
        for _ in 0..20 {
            nap();
        }
        assert_eq!(seen.lock().exchanges, 0);
        stopper.stop();
    });
    serve(&*driver, &backend, &plan, &stop, when(ready)).unwrap();
}

#[test]
fn a_ready_call_that_panics_leaves_no_thread_behind() {
    let (driver, backend) = (disk(), Memory::new());
    driver.read(0, 512);
    let plan = plan(&driver, &backend).threads(2);
    let stop = Stop::new();
    let ready = Box::new(|| panic!("not ready after all"));
    let run = || serve(&driver, &backend, &plan, &stop, when(ready));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    assert_eq!(driver.lock().exchanges, 0);
}

#[test]
fn who_spins_says_so_to_the_driver_and_asks_once() {
    let (driver, backend) = (disk(), Memory::new());
    let plan = plan(&driver, &backend).spin(5);
    while_serving(&driver, &backend, &plan, |_| {
        while driver.lock().exchanges < 1 {
            nap();
        }
        for _ in 0..10 {
            nap();
        }
        assert_eq!(driver.lock().exchanges, 1);
        assert_eq!(driver.lock().spin, 5);
        driver.read(0, 512);
        driver.wait_ends(1);
    })
    .unwrap();
}

#[test]
fn a_reset_and_a_removal_end_the_worker_and_say_so() {
    for (errno, text) in [
        (
            Errno::ENXIO,
            "/dev/fake: serve failed: the device was reset",
        ),
        (
            Errno::ENODEV,
            "/dev/fake: serve failed: the device was removed",
        ),
    ] {
        let (driver, backend) = (disk(), Memory::new());
        let plan = plan(&driver, &backend).threads(3);
        driver.lock().fail.push_back(errno);
        let stop = Stop::new();
        let error = serve(&driver, &backend, &plan, &stop, Calls::default()).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.errno(), Some(errno as i32));
        assert!(error.hint().is_some());
    }
}
