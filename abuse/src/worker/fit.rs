// SPDX-License-Identifier: MIT

//! Whether a backend can do what a disk was set up for.

use std::fmt::Display;

use crate::error::Error;
use crate::{abi, Capabilities, Operation, Setup};

/// Why a backend does not fit, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    reason: String,
    hint: &'static str,
}

pub(super) fn error(name: impl Display, misfit: Misfit) -> Error {
    Error::refused(name, "serve", misfit.reason).with_hint(misfit.hint)
}

/// The first thing the disk needs and the backend lacks, by name.
pub(super) fn check(setup: &Setup, has: &Capabilities) -> Result<(), Misfit> {
    if let Some(size) = has.size_bytes.filter(|&size| size < setup.bytes) {
        return Err(Misfit {
            reason: format!("the backend has {size} bytes and the disk {}", setup.bytes),
            hint: "serve it from a larger backend, or set up a smaller disk",
        });
    }
    if has.read_only && !setup.read_only {
        return Err(Misfit {
            reason: "the backend cannot write and the disk is writable".into(),
            hint: "set the disk up read-only, or open the backend for writing",
        });
    }
    let operations = [
        (setup.discard, has.discard, Operation::Discard),
        (setup.write_zeroes, has.write_zeroes, Operation::WriteZeroes),
        (setup.secure_erase, has.secure_erase, Operation::SecureErase),
    ];
    for (wanted, there, operation) in operations {
        // A read-only disk has no such requests.
        if wanted && !there && !setup.read_only {
            return Err(Misfit {
                reason: format!("the disk was set up with {operation}, which the backend lacks"),
                hint: "set the disk up without it, or choose another backend",
            });
        }
    }
    Ok(())
}

/// What a backend that forwards needs of the driver.
pub(super) fn check_driver(has: &Capabilities, features: u64) -> Result<(), Misfit> {
    if has.forward && features & abi::ABI_FORWARD == 0 {
        return Err(Misfit {
            reason: "the backend forwards, which this driver cannot".into(),
            hint: "load a newer driver, or let the worker move the data",
        });
    }
    Ok(())
}

/// A backend whose flush covers only its own writes must be the only one.
pub(super) fn check_alone(has: &Capabilities, threads: usize, others: u32) -> Result<(), Misfit> {
    if has.alone && threads > 1 {
        return Err(Misfit {
            reason: format!("the backend serves alone and {threads} threads were asked for"),
            hint: "use one thread",
        });
    }
    if has.alone && others > 0 {
        return Err(Misfit {
            reason: format!("the backend serves alone and {others} other workers are there"),
            hint: "stop the others first",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(setup: &Setup, has: &Capabilities) -> String {
        check(setup, has).unwrap_err().reason
    }

    #[test]
    fn a_backend_may_be_larger_than_the_disk_but_not_smaller() {
        let has = Capabilities {
            size_bytes: Some(8192),
            ..Default::default()
        };
        assert_eq!(check(&Setup::new(8192), &has), Ok(()));
        assert_eq!(check(&Setup::new(4096), &has), Ok(()));
        assert_eq!(
            reason(&Setup::new(12288), &has),
            "the backend has 8192 bytes and the disk 12288"
        );
    }

    #[test]
    fn a_read_only_backend_serves_read_only_disks() {
        let has = Capabilities {
            read_only: true,
            ..Default::default()
        };
        assert!(reason(&Setup::new(4096), &has).contains("cannot write"));
        let setup = Setup {
            read_only: true,
            discard: true,
            ..Setup::new(4096)
        };
        assert_eq!(check(&setup, &has), Ok(()));
    }

    #[test]
    fn an_operation_the_backend_lacks_is_refused_by_name() {
        let setup = Setup {
            secure_erase: true,
            ..Setup::new(4096)
        };
        let has = Capabilities {
            discard: true,
            ..Default::default()
        };
        assert!(reason(&setup, &has).contains("secure-erase"));
    }

    #[test]
    fn who_serves_alone_gets_no_company() {
        let alone = Capabilities {
            alone: true,
            ..Default::default()
        };
        assert_eq!(check_alone(&alone, 1, 0), Ok(()));
        assert!(check_alone(&alone, 2, 0).is_err());
        assert!(check_alone(&alone, 1, 1).is_err());
        assert_eq!(check_alone(&Capabilities::default(), 8, 8), Ok(()));
    }
}
