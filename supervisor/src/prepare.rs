// SPDX-License-Identifier: MIT
//! Before the first worker: the device is there, and set up.

use abuse::{Device, Setup};
use nix::errno::Errno;

use crate::exit::{Failure, FAILED, NOT_SET_UP, NO_DEVICE};

/// What --setup asks for, if anything.
pub fn parse(keys: &[String]) -> Result<Option<Setup>, Failure> {
    match keys {
        [] => Ok(None),
        _ => Err(Failure::usage("--setup: not there yet".into())),
    }
}

/// Opens the device.
pub fn open(path: &str) -> Result<Device, Failure> {
    Device::open(path).map_err(failure)
}

/// Sets the device up, if that was asked for and has not been done. A device that
/// is set up already keeps its disk: somebody may be using it.
pub fn set_up(device: &Device, setup: Option<&Setup>) -> Result<(), Failure> {
    let name = device.control_path();
    let name = name.display();
    let status = device.status().map_err(failure)?;
    match (setup, status.setup) {
        (None, None) => Err(Failure::new(
            NOT_SET_UP,
            anyhow::anyhow!(
                "{name}: the device is not set up\n\
                 give --setup size=…, or run abusectl setup first"
            ),
        )),
        (Some(setup), None) => {
            let made = device.setup(setup).map_err(failure)?;
            log::info!("{name}: set up with {} bytes", made.bytes);
            let adjusted = made.adjusted();
            if !adjusted.is_empty() {
                log::warn!("{name}: the driver adjusted {}", adjusted.join(", "));
            }
            Ok(())
        }
        (Some(wanted), Some(is)) if wanted.bytes != is.bytes => {
            log::warn!(
                "{name}: is set up already, with {} bytes where --setup says {}: left as it is; \
                 reset the device to have it set up anew",
                is.bytes,
                wanted.bytes
            );
            Ok(())
        }
        (Some(_), Some(_)) => {
            log::info!("{name}: is set up already, left as it is");
            Ok(())
        }
        (None, Some(_)) => Ok(()),
    }
}

/// The crate's error, with its hint in a line of its own and the status of its kind.
fn failure(error: abuse::Error) -> Failure {
    let status = match error.errno().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENODEV) => NO_DEVICE,
        // A node without a driver behind it.
        Some(Errno::ENXIO) if error.operation() == "open" => NO_DEVICE,
        Some(Errno::ENXIO) => NOT_SET_UP,
        _ => FAILED,
    };
    let message = match error.hint() {
        Some(hint) => format!("{error}\n{hint}"),
        None => error.to_string(),
    };
    Failure::new(status, anyhow::Error::msg(message))
}
