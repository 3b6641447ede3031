// SPDX-License-Identifier: MIT

//! Backends that say where the bytes are.

use std::os::fd::AsFd;

use super::*;
use crate::backend::{Asked, Map, Mapped, Places};
use crate::{Failure, Operation};

/// Sends everything to two places, half each; does discards itself; and writes down what it is asked.
struct Halves {
    file: std::fs::File,
    asked: Mutex<Vec<Asked>>,
    comes_back: bool,
}

impl Halves {
    fn new() -> Mapped<Halves> {
        Mapped(Halves {
            file: std::fs::File::open("/dev/null").unwrap(),
            asked: Mutex::default(),
            comes_back: false,
        })
    }
}

impl Map for Halves {
    fn map<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()> {
        self.asked.lock().unwrap().push(*asked);
        match asked.operation {
            Operation::Discard => return Ok(()),
            Operation::SecureErase => return Err(io::ErrorKind::Unsupported.into()),
            _ => {}
        }
        let half = asked.length / 2;
        places.add(self.file.as_fd(), asked.offset, half);
        places.add(self.file.as_fd(), asked.offset + 4096, asked.length - half);
        assert_eq!(places.length(), u64::from(asked.length));
        if self.comes_back {
            places.come_back();
        }
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            discard: true,
            ..Capabilities::default()
        }
    }
}

fn serve_halves(driver: &Fake, backend: &Mapped<Halves>) -> Served {
    let plan = {
        let state = driver.lock();
        Plan::new(&backend.capabilities(), state.setup.as_ref().unwrap(), 1)
    };
    let count = driver.lock().queue.len();
    while_serving(driver, backend, &plan, |_| driver.wait_ends(count)).unwrap()
}

#[test]
fn every_request_gets_the_places_that_were_named_for_it() {
    let (driver, mut backend) = (disk(), Halves::new());
    let ids = [driver.read(8, 4096), driver.write(16, &[1; 2048])];
    let flush = driver.plain(abi::OP_FLUSH, 0);
    serve_halves(&driver, &backend);
    for id in ids.into_iter().chain([flush]) {
        let end = driver.end(id);
        assert_eq!((end.result, end.flags), (abi::OK, abi::DONE_FORWARD));
        assert_eq!(end.places, 2);
    }
    let asked = backend.0.asked.lock().unwrap().clone();
    assert_eq!((asked[0].offset, asked[0].length), (4096, 4096));
    assert_eq!(asked[1].operation, Operation::Write);
    assert_eq!((asked[2].offset, asked[2].length), (0, 0));
    assert_eq!(
        driver.lock().flags_seen,
        abi::X_NO_DATA,
        "no byte is wanted"
    );

    let driver = disk();
    backend.0.comes_back = true;
    let id = driver.read(8, 4096);
    serve_halves(&driver, &backend);
    let flags = driver.end(id).flags;
    assert_eq!(flags, abi::DONE_FORWARD | abi::DONE_RETURN);
}

#[test]
fn what_has_no_place_was_done_by_the_backend() {
    let (driver, backend) = (disk(), Halves::new());
    let discard = driver.plain(abi::OP_DISCARD, 0);
    let erase = driver.plain(abi::OP_SECURE_ERASE, 0);
    serve_halves(&driver, &backend);
    let end = driver.end(discard);
    assert_eq!((end.result, end.flags), (abi::OK, 0));
    assert_eq!(driver.end(erase).result, abi::NOT_SUPPORTED);
}

#[test]
fn what_came_back_comes_with_the_reason_and_what_must_be_durable_says_so() {
    let (driver, backend) = (disk(), Halves::new());
    let came_back = abi::NO_SPACE << abi::REQ_FAILED_SHIFT;
    driver.plain(abi::OP_WRITE, abi::REQ_FUA | came_back);
    driver.plain(abi::OP_WRITE_ZEROES, abi::REQ_NOUNMAP);
    serve_halves(&driver, &backend);
    let asked = backend.0.asked.lock().unwrap().clone();
    assert_eq!(asked[0].failed, Some(Failure::NoSpace));
    assert!(asked[0].durable && !asked[0].keep_allocated);
    assert_eq!(asked[1].failed, None);
    assert!(!asked[1].durable && asked[1].keep_allocated);
}

#[test]
fn a_place_that_will_not_do_is_an_error_and_lack_of_memory_is_not() {
    let (driver, backend) = (disk(), Halves::new());
    let refused = driver.read(0, 4096);
    let script = [Errno::EBADF].into_iter().collect();
    driver.lock().refuse.insert(refused, script);
    let short = driver.read(8, 4096);
    let script = [Errno::ENOMEM, Errno::EAGAIN].into_iter().collect();
    driver.lock().refuse.insert(short, script);
    let served = serve_halves(&driver, &backend);
    assert_eq!(driver.end(refused).result, abi::IO_ERROR);
    let end = driver.end(short);
    assert_eq!((end.result, end.flags), (abi::OK, abi::DONE_FORWARD));
    assert_eq!((served.completed, served.failed), (2, 1));
}
