// SPDX-License-Identifier: MIT

//! Reads and writes that are done together, and what is waited for before one is done again.

use super::*;
use crate::backend::tests::TempDir;
use crate::backend::{File, FileOptions, Transfer};

/// Memory that does several at once, and writes down how many; with a fence that may fail.
struct Several {
    bytes: Memory,
    sizes: Mutex<Vec<usize>>,
    fences: AtomicUsize,
    broken: AtomicBool,
}

impl Several {
    fn new() -> Several {
        let mut bytes = Memory::new();
        bytes.capabilities.together = true;
        Several {
            bytes,
            sizes: Mutex::default(),
            fences: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }
}

impl Backend for Several {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()> {
        self.bytes.write(offset, buf, durable)
    }

    fn flush(&self) -> io::Result<()> {
        self.bytes.flush()
    }

    fn transfer(&self, all: &mut [Transfer<'_>]) {
        self.sizes.lock().unwrap().push(all.len());
        for one in all {
            one.result = match &mut one.bytes {
                crate::backend::Bytes::Into(into) => self.read(one.offset, into),
                crate::backend::Bytes::From(from) => self.write(one.offset, from, one.durable),
            };
        }
    }

    fn fence(&self) -> io::Result<()> {
        self.fences.fetch_add(1, Ordering::Relaxed);
        match self.broken.load(Ordering::Relaxed) {
            true => Err(io::Error::other("no lock")),
            false => Ok(()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.bytes.capabilities()
    }
}

fn serve_several(driver: &Fake, backend: &Several) -> Served {
    let plan = super::plan(driver, &backend.bytes);
    let count = {
        let state = driver.lock();
        state.ends.len() + state.queue.len()
    };
    let stop = Stop::new();
    thread::scope(|scope| {
        let worker = scope.spawn(|| serve(driver, backend, &plan, &stop, Calls::default()));
        driver.wait_ends(count);
        stop.stop();
        worker.join().unwrap().unwrap()
    })
}

#[test]
fn a_batch_goes_together_and_each_has_its_own_answer() {
    let (driver, mut backend) = (disk(), Several::new());
    backend.bytes.trouble = Some((8192, || Err(io::Error::from_raw_os_error(libc::ENOSPC))));
    backend.bytes.bytes.lock().unwrap()[4096..8192].fill(3);
    let write = driver.write(0, &[1; 512]);
    let read = driver.read(8, 4096);
    let flush = driver.plain(abi::OP_FLUSH, 0);
    let full = driver.write(16, &[2; 4096]);
    let durable = driver.queue(fake::Job {
        op: abi::OP_WRITE,
        flags: abi::REQ_FUA,
        sector: 64,
        length: 4096,
        data: vec![4; 4096],
    });
    let served = serve_several(&driver, &backend);
    assert_eq!((served.completed, served.failed), (5, 1));
    assert_eq!(*backend.sizes.lock().unwrap(), [4]);
    assert_eq!(driver.end(read).data, [3; 4096]);
    assert_eq!(driver.end(full).result, abi::NO_SPACE);
    for id in [write, flush, durable] {
        assert_eq!(driver.end(id).result, abi::OK);
    }
    let calls = backend.bytes.calls.lock().unwrap().clone();
    assert!(calls.contains(&"write 32768 true".to_string()), "{calls:?}");
    assert_eq!(backend.fences.load(Ordering::Relaxed), 0);
}

#[test]
fn a_backend_that_panics_fails_what_went_together_and_the_worker_goes_on() {
    let (driver, mut backend) = (disk(), Several::new());
    backend.bytes.trouble = Some((0, || panic!("oh")));
    let ids = [driver.read(0, 512), driver.read(8, 512)];
    serve_several(&driver, &backend);
    for id in ids {
        assert_eq!(driver.end(id).result, abi::IO_ERROR);
    }
    let later = driver.read(16, 512);
    serve_several(&driver, &backend);
    assert_eq!(driver.end(later).result, abi::OK);
}

#[test]
fn bytes_outside_the_worker_s_memory_are_not_touched() {
    let (driver, backend) = (disk(), Several::new());
    driver.lock().stray = true;
    let ids = [driver.read(0, 512), driver.write(8, &[1; 512])];
    serve_several(&driver, &backend);
    for id in ids {
        assert_eq!(driver.end(id).result, abi::IO_ERROR);
    }
    assert_eq!(*backend.sizes.lock().unwrap(), [0]);
}

#[test]
fn what_a_dead_worker_held_is_done_behind_the_fence_or_not_at_all() {
    for together in [true, false] {
        let (driver, mut backend) = (disk(), Several::new());
        backend.bytes.capabilities.together = together;
        driver.lock().attempt = 1;
        let read = driver.read(8, 512);
        serve_several(&driver, &backend);
        assert_eq!(driver.end(read).result, abi::OK);
        assert_eq!(backend.fences.load(Ordering::Relaxed), 0, "for a read");
        let write = driver.write(0, &[1; 512]);
        let flush = driver.plain(abi::OP_FLUSH, 0);
        serve_several(&driver, &backend);
        assert_eq!(driver.end(write).result, abi::OK);
        assert_eq!(driver.end(flush).result, abi::OK);
        assert_eq!(backend.fences.load(Ordering::Relaxed), 2);
        backend.broken.store(true, Ordering::Relaxed);
        let write = driver.write(1, &[7; 512]);
        let read = driver.read(2, 512);
        serve_several(&driver, &backend);
        assert_eq!(driver.end(write).result, abi::IO_ERROR);
        assert_eq!(driver.end(read).result, abi::OK);
        assert_eq!(backend.bytes.bytes.lock().unwrap()[512..1024], [0; 512]);
    }
}

#[test]
fn a_file_by_io_uring_holds_what_was_written() {
    let directory = TempDir::new();
    let options = FileOptions {
        create: true,
        io_uring: true,
        ..FileOptions::for_disk(&Setup {
            logical_block: 512,
            ..Setup::new(SIZE)
        })
    };
    let file = File::open(directory.path().join("disk"), &options).unwrap();
    if !file.has_rings() {
        eprintln!("skipped: no direct I/O or no io_uring here");
        return;
    }
    let driver = disk();
    let plan = Plan::new(
        &file.capabilities(),
        driver.lock().setup.as_ref().unwrap(),
        1,
    );
    let stop = Stop::new();
    let mut reads = Vec::new();
    thread::scope(|scope| {
        let worker = scope.spawn(|| serve(&driver, &file, &plan, &stop, Calls::default()));
        for block in 0..200u64 {
            driver.write(block * 8, &[block as u8 + 1; 4096]);
        }
        driver.wait_ends(200);
        for block in 0..200u64 {
            reads.push(driver.read(block * 8, 4096));
        }
        let beyond = driver.read(SIZE / 512 - 1, 4096);
        driver.wait_ends(401);
        assert_eq!(driver.end(beyond).result, abi::IO_ERROR);
        stop.stop();
        worker.join().unwrap().unwrap();
    });
    for (block, id) in reads.into_iter().enumerate() {
        assert_eq!(driver.end(id).data, [block as u8 + 1; 4096]);
    }
}
