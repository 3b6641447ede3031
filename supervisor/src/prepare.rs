// SPDX-License-Identifier: MIT
//! Before the first worker: the device is there, and set up.

use abuse::setup_keys::{self, Plan};
use abuse::{Device, Setup};
use nix::errno::Errno;

use crate::exit::{Failure, FAILED, NOT_SET_UP, NO_DEVICE};

/// What --setup asks for, if anything.
pub fn parse(keys: &[String]) -> Result<Option<Setup>, Failure> {
    if keys.is_empty() {
        return Ok(None);
    }
    match setup_keys::plan(keys) {
        Ok(Plan::Setup(setup)) => Ok(Some(setup)),
        Ok(Plan::Reconnect(_)) => Err(Failure::usage(
            "--setup: 'reconnect' has no place here: a device that is set up is kept as it is"
                .into(),
        )),
        Err(why) => Err(Failure::usage(format!(
            "--setup: {why}\n'abusectl setup --help' lists the keys"
        ))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_keys_are_those_of_abusectl_without_reconnect() {
        let parse = |text: &str| parse(&[text.to_owned()]);
        let setup = parse("size=1G,bs=512").unwrap().unwrap();
        assert_eq!((setup.bytes, setup.logical_block), (1 << 30, 512));
        for (text, why) in [
            ("sise=1G", "did you mean 'size'?"),
            ("reconnect", "kept as it is"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.status, 2);
            assert!(failure.error.to_string().contains(why));
        }
    }

    proptest! {
        #[test]
        fn fuzzed_setups_are_understood_or_wrong_usage(
            keys in proptest::collection::vec("(size|bs|ro|reconnect|lease|[a-z]{1,5})(=[0-9]{0,20}[KMGs]?)?(,\\PC{0,4})?", 0..4)
        ) {
            if let Err(failure) = parse(&keys) {
                prop_assert_eq!(failure.status, 2);
            }
        }
    }
}
