// SPDX-License-Identifier: MIT

//! Durability, and disks and backends of different kinds.

use super::*;

fn calls(backend: &Memory) -> Vec<String> {
    backend.calls.lock().unwrap().clone()
}

#[test]
fn a_forced_write_is_durable_and_a_plain_one_need_not_be() {
    let (driver, backend) = (disk(), Memory::new());
    driver.write(0, &[1; 512]);
    driver.queue(fake::Job {
        op: abi::OP_WRITE,
        flags: abi::REQ_FUA,
        sector: 1,
        length: 512,
        data: vec![2; 512],
    });
    serve_all(&driver, &backend);
    assert_eq!(calls(&backend), ["write 0 false", "write 512 true"]);
}

#[test]
fn on_a_write_through_disk_everything_is_durable() {
    let (driver, backend) = (disk(), Memory::new());
    if let Some(setup) = &mut driver.lock().setup {
        setup.write_through = true;
    }
    driver.write(0, &[1; 512]);
    driver.plain(abi::OP_WRITE_ZEROES, abi::REQ_NOUNMAP);
    serve_all(&driver, &backend);
    assert_eq!(
        calls(&backend),
        ["write 0 true", "zero 0 4096 false", "flush"]
    );
}

#[test]
fn zeroing_may_unmap_unless_told_and_is_durable_when_forced() {
    let (driver, backend) = (disk(), Memory::new());
    driver.plain(abi::OP_WRITE_ZEROES, 0);
    driver.plain(abi::OP_WRITE_ZEROES, abi::REQ_FUA);
    serve_all(&driver, &backend);
    assert_eq!(
        calls(&backend),
        ["zero 0 4096 true", "zero 0 4096 true", "flush"]
    );
}

#[test]
fn a_backend_without_data_gets_none() {
    let (driver, mut backend) = (disk(), Memory::new());
    backend.capabilities.no_data = true;
    let read = driver.read(0, 512);
    let write = driver.write(1, &[1; 512]);
    serve_all(&driver, &backend);
    assert_eq!(driver.lock().flags_seen, abi::X_NO_DATA);
    assert_eq!(driver.end(read).flags, abi::DONE_ZERO);
    assert_eq!(driver.end(write).result, abi::OK);
    assert_eq!(backend.reads.load(Ordering::Relaxed), 0);
    assert!(calls(&backend).is_empty());
}

/// A slow backend that, at the end of a batch, waits until the start of it was completed.
struct Waits<'a>(&'a Fake, Memory);

impl Backend for Waits<'_> {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.1.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()> {
        if offset == 1024 {
            self.0.wait_ends(1);
        }
        nap();
        self.1.write(offset, buf, durable)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.wait_ends(1);
        Ok(())
    }
}

fn serve_waiting(driver: &Fake) {
    let backend = Waits(driver, Memory::slow());
    let plan = plan(driver, &backend.1);
    let count = driver.lock().queue.len();
    let stop = Stop::new();
    thread::scope(|scope| {
        let worker = scope.spawn(|| serve(driver, &backend, &plan, &stop, Calls::default()));
        driver.wait_ends(count);
        stop.stop();
        worker.join().unwrap().unwrap();
    });
    assert_eq!(driver.lock().most_taken, count);
    assert!(driver.lock().ends.iter().all(|end| end.result == abi::OK));
}

#[test]
fn a_slow_backend_s_flush_does_not_hold_up_what_is_done() {
    let driver = disk();
    driver.write(0, &[1; 512]);
    driver.plain(abi::OP_FLUSH, 0);
    serve_waiting(&driver);
}

#[test]
fn what_is_done_waits_only_a_moment_for_the_rest_of_a_slow_batch() {
    let driver = disk();
    for sector in 0..3 {
        driver.write(sector, &[1; 512]);
    }
    serve_waiting(&driver);
}

#[test]
fn a_slow_backend_takes_little_at_once() {
    let (driver, backend) = (disk(), Memory::slow());
    for sector in 0..32 {
        driver.read(sector, 512);
    }
    serve_all(&driver, &backend);
    assert_eq!(driver.lock().most_taken, 8);
}

#[test]
fn a_disk_set_up_anew_with_larger_requests_gets_larger_arenas() {
    let (driver, backend) = (disk(), Memory::new());
    let plan = plan(&driver, &backend).batch(Some(1));
    if let Some(setup) = &mut driver.lock().setup {
        setup.max_bytes = 256 << 10;
    }
    driver.lock().epoch = 2;
    let id = driver.write(0, &[3; 256 << 10]);
    let served = while_serving(&driver, &backend, &plan, |_| driver.wait_ends(1)).unwrap();
    assert_eq!(driver.end(id).result, abi::OK);
    assert_eq!(served.completed, 1);
}

#[test]
fn a_request_too_large_for_any_arena_ends_the_worker() {
    let (driver, backend) = (disk(), Memory::new());
    let plan = plan(&driver, &backend);
    driver.lock().fail.push_back(Errno::EMSGSIZE);
    let error = serve(&driver, &backend, &plan, &Stop::new(), Calls::default()).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EMSGSIZE));
}

#[test]
fn a_disk_that_no_longer_fits_is_not_touched() {
    // Somebody reset the device and set it up larger while the worker was busy.
    let (driver, backend) = (disk(), Memory::new());
    let plan = plan(&driver, &backend);
    driver.lock().epoch = 2;
    driver.lock().setup = Some(Setup::new(2 * SIZE));
    let id = driver.write(0, &[1; 512]);
    let error = serve(&driver, &backend, &plan, &Stop::new(), Calls::default()).unwrap_err();
    assert!(error.to_string().contains("the backend has"), "{error}");
    assert!(calls(&backend).is_empty());
    // It is still there for a worker that fits.
    assert!(driver.lock().taken.contains_key(&id));
}

#[test]
fn a_reconnect_changes_nothing_for_a_worker_that_fits() {
    let (driver, backend) = (disk(), Memory::new());
    let plan = plan(&driver, &backend);
    driver.lock().epoch = 9;
    let id = driver.write(0, &[1; 512]);
    while_serving(&driver, &backend, &plan, |_| driver.wait_ends(1)).unwrap();
    assert_eq!(driver.end(id).result, abi::OK);
}
