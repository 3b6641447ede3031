// SPDX-License-Identifier: MIT

//! Threads that take over what another has taken and not begun.

use std::collections::HashMap;
use std::thread::ThreadId;

use super::*;

/// Memory whose block 0 cannot be had before it is let go; it writes down who began what.
struct Stuck {
    bytes: Memory,
    held: AtomicBool,
    begun: Mutex<Vec<(ThreadId, u64)>>,
}

impl Stuck {
    fn new() -> Stuck {
        Stuck {
            bytes: Memory::slow(),
            held: AtomicBool::new(true),
            begun: Mutex::default(),
        }
    }

    fn let_go(&self) {
        self.held.store(false, Ordering::Release);
    }

    fn begin(&self, offset: u64) {
        let who = thread::current().id();
        self.begun.lock().unwrap().push((who, offset / 4096));
        while offset == 0 && self.held.load(Ordering::Acquire) {
            nap();
        }
    }

    /// Blocks by who began them, in order; whoever began block 0 comes first.
    fn begun(&self) -> Vec<Vec<u64>> {
        let mut by: HashMap<ThreadId, Vec<u64>> = HashMap::new();
        for &(who, block) in self.begun.lock().unwrap().iter() {
            by.entry(who).or_default().push(block);
        }
        let mut all: Vec<_> = by.into_values().collect();
        all.sort_by_key(|blocks| !blocks.contains(&0));
        all
    }
}

impl Backend for Stuck {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.begin(offset);
        self.bytes.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()> {
        self.begin(offset);
        self.bytes.write(offset, buf, durable)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.bytes.capabilities()
    }
}

fn plan(driver: &Fake, backend: &Stuck, batch: usize) -> Plan {
    super::plan(driver, &backend.bytes)
        .threads(2)
        .batch(Some(batch))
}

/// Serves with two threads while `act` runs, then lets block 0 go and stops.
fn with_two(driver: &Fake, backend: &Stuck, plan: &Plan, act: impl FnOnce()) -> Served {
    let stop = Stop::new();
    thread::scope(|scope| {
        let worker = scope.spawn(|| serve(driver, backend, plan, &stop, Calls::default()));
        act();
        backend.let_go();
        stop.stop();
        worker.join().unwrap().unwrap()
    })
}

#[test]
fn what_a_stuck_thread_has_not_begun_is_served_by_another() {
    let (driver, backend) = (disk(), Stuck::new());
    let writes: Vec<u64> = (0..8)
        .map(|block| driver.write(block * 8, &[block as u8 + 1; 4096]))
        .collect();
    let plan = plan(&driver, &backend, 8);
    let served = with_two(&driver, &backend, &plan, || driver.wait_ends(7));
    assert_eq!((served.completed, served.failed, served.stale), (8, 0, 0));
    assert_eq!(served.helped, 7);
    for (block, id) in writes.into_iter().enumerate() {
        assert_eq!(driver.end(id).result, abi::OK);
        let bytes = backend.bytes.bytes.lock().unwrap();
        assert_eq!(bytes[block * 4096..][..4096], [block as u8 + 1; 4096]);
    }
}

#[test]
fn a_thread_serves_its_own_in_order_and_then_the_last_of_the_others() {
    let (driver, backend) = (disk(), Stuck::new());
    for block in 0..8 {
        driver.read(block * 8, 4096);
    }
    let plan = plan(&driver, &backend, 4);
    let served = with_two(&driver, &backend, &plan, || driver.wait_ends(7));
    assert_eq!(backend.begun(), [vec![0], vec![4, 5, 6, 7, 3, 2, 1]]);
    assert_eq!(served.helped, 3);
}

#[test]
fn a_stopped_worker_finishes_what_a_stuck_thread_has_not_begun() {
    let (driver, backend) = (disk(), Stuck::new());
    // The second thread is at work with something of its own when the worker is stopped.
    let ids: Vec<u64> = (0..4).map(|block| driver.read(block * 8, 4096)).collect();
    let plan = plan(&driver, &backend, 4);
    let stop = Stop::new();
    let served = thread::scope(|scope| {
        let worker = scope.spawn(|| serve(&driver, &backend, &plan, &stop, Calls::default()));
        while driver.lock().taken.is_empty() {
            nap();
        }
        stop.stop();
        driver.wait_ends(3);
        backend.let_go();
        worker.join().unwrap().unwrap()
    });
    assert_eq!(served.completed, 4);
    ids.into_iter().for_each(|id| drop(driver.end(id)));
}

#[test]
fn a_helpers_answer_that_did_not_arrive_is_read_again() {
    let (driver, backend) = (disk(), Stuck::new());
    backend.bytes.bytes.lock().unwrap()[4096..8192].fill(5);
    driver.read(0, 4096);
    let helped = driver.read(8, 4096);
    let errnos = [Errno::EFAULT].into();
    driver.lock().refuse.insert(helped, errnos);
    let plan = plan(&driver, &backend, 2);
    let served = with_two(&driver, &backend, &plan, || driver.wait_ends(1));
    assert_eq!(driver.end(helped).data, [5; 4096]);
    assert_eq!((served.completed, served.helped), (2, 1));
}

#[test]
fn a_fast_backend_is_left_alone() {
    let (driver, mut backend) = (disk(), Stuck::new());
    backend.bytes.capabilities.slow = false;
    for block in 0..4 {
        driver.read(block * 8, 4096);
    }
    let plan = plan(&driver, &backend, 4);
    let served = with_two(&driver, &backend, &plan, || {
        while backend.begun.lock().unwrap().is_empty() {
            nap();
        }
    });
    assert_eq!((served.completed, served.helped), (4, 0));
    assert_eq!(backend.begun(), [[0, 1, 2, 3]]);
}
