// SPDX-License-Identifier: MIT

//! What the worker does when the driver says no, or the backend fails.

use super::*;

fn refuse(driver: &Fake, id: u64, errnos: &[Errno]) {
    let script = errnos.iter().copied().collect();
    driver.lock().refuse.insert(id, script);
}

#[test]
fn what_somebody_else_finished_is_counted_and_forgotten() {
    let (driver, backend) = (disk(), Memory::new());
    let lost = driver.write(0, &[1; 512]);
    refuse(&driver, lost, &[Errno::ESTALE]);
    let kept = driver.write(1, &[2; 512]);
    let plan = plan(&driver, &backend);
    let served = while_serving(&driver, &backend, &plan, |_| driver.wait_ends(1)).unwrap();
    assert_eq!((served.completed, served.stale), (1, 1));
    assert_eq!(driver.end(kept).result, abi::OK);
}

#[test]
fn a_read_whose_data_did_not_arrive_is_read_again() {
    // The refusal comes together with a next batch that overwrites the arena.
    for errno in [Errno::EFAULT, Errno::EAGAIN] {
        let (driver, backend) = (disk(), Memory::new());
        backend.bytes.lock().unwrap()[..512].fill(5);
        let plan = plan(&driver, &backend).batch(Some(1));
        let id = driver.read(0, 512);
        refuse(&driver, id, &[errno, errno]);
        driver.write(100, &[8; 4096]);
        let served = while_serving(&driver, &backend, &plan, |_| driver.wait_ends(2)).unwrap();
        assert_eq!(driver.end(id).data, [5; 512]);
        assert_eq!(backend.reads.load(Ordering::Relaxed), 3);
        assert_eq!((served.completed, served.failed), (2, 0));
        assert_eq!(backend.bytes.lock().unwrap()[51200..][..4096], [8; 4096]);
    }
}

#[test]
fn a_write_whose_answer_was_refused_for_a_while_is_not_written_again() {
    let (driver, backend) = (disk(), Memory::new());
    let id = driver.write(0, &[1; 512]);
    refuse(&driver, id, &[Errno::EAGAIN]);
    serve_all(&driver, &backend);
    assert_eq!(driver.end(id).result, abi::OK);
    assert_eq!(backend.calls.lock().unwrap().len(), 1);
}

#[test]
fn an_answer_that_never_arrives_becomes_an_error() {
    let (driver, backend) = (disk(), Memory::new());
    let id = driver.read(0, 512);
    refuse(&driver, id, &[Errno::EFAULT; 4]);
    let served = serve_all(&driver, &backend);
    assert_eq!(driver.end(id).result, abi::IO_ERROR);
    assert_eq!((served.completed, served.failed), (1, 1));
}

#[test]
fn an_answer_that_makes_no_sense_to_the_driver_becomes_an_error_at_once() {
    let (driver, backend) = (disk(), Memory::new());
    let id = driver.read(0, 512);
    refuse(&driver, id, &[Errno::EINVAL]);
    serve_all(&driver, &backend);
    assert_eq!(driver.end(id).result, abi::IO_ERROR);
    assert_eq!(backend.reads.load(Ordering::Relaxed), 1);
}

#[test]
fn a_call_that_had_no_effect_is_repeated() {
    let (driver, backend) = (disk(), Memory::new());
    let errnos = [Errno::EINTR, Errno::ENOMEM, Errno::EAGAIN];
    driver.lock().fail.extend(errnos);
    let id = driver.write(0, &[1; 512]);
    serve_all(&driver, &backend);
    assert_eq!(driver.end(id).result, abi::OK);
}

#[test]
fn a_backend_that_panics_fails_its_request_and_no_other() {
    let (driver, mut backend) = (disk(), Memory::new());
    backend.trouble = Some((512, || panic!("at the second sector")));
    let ids = [0, 1, 2].map(|sector| driver.read(sector, 512));
    let served = serve_all(&driver, &backend);
    let results = ids.map(|id| driver.end(id).result);
    assert_eq!(results, [abi::OK, abi::IO_ERROR, abi::OK]);
    assert_eq!((served.completed, served.failed), (3, 1));
}

#[test]
fn a_backend_s_error_reaches_the_filesystem_by_name() {
    let (driver, mut backend) = (disk(), Memory::new());
    backend.trouble = Some((512, || Err(io::Error::from_raw_os_error(libc::ENOSPC))));
    let id = driver.write(1, &[1; 512]);
    serve_all(&driver, &backend);
    assert_eq!(driver.end(id).result, abi::NO_SPACE);
}

#[test]
fn an_operation_the_backend_lacks_is_not_supported() {
    let (driver, backend) = (disk(), Memory::new());
    let ids = [abi::OP_DISCARD, abi::OP_SECURE_ERASE, 99].map(|op| driver.plain(op, 0));
    serve_all(&driver, &backend);
    assert_eq!(ids.map(|id| driver.end(id).result), [abi::NOT_SUPPORTED; 3]);
}

#[test]
fn a_request_outside_the_worker_s_memory_touches_nothing() {
    let (driver, backend) = (disk(), Memory::new());
    driver.lock().stray = true;
    let ids = [driver.read(0, 512), driver.write(1, &[1; 512])];
    serve_all(&driver, &backend);
    assert_eq!(ids.map(|id| driver.end(id).result), [abi::IO_ERROR; 2]);
    assert!(backend.calls.lock().unwrap().is_empty());
}
