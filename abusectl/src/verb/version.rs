// SPDX-License-Identifier: MIT

//! `version`: of the tool, of the driver, of the interface between them.

use std::fs;

use abuse::{abi, Device};

use crate::choose;
use crate::failure::Failure;
use crate::out;
use crate::table::{pretty, Object};

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(short = 'J', long)]
    json: bool,
}

/// Prints the versions. That the driver is not loaded is an answer, not a failure.
pub fn run(args: &Args) -> Result<(), Failure> {
    let driver = driver();
    if args.json {
        let fields: Vec<(String, serde_json::Value)> = vec![
            ("abusectl".into(), env!("CARGO_PKG_VERSION").into()),
            (
                "module".into(),
                driver.as_ref().map(|(version, _)| version.clone()).into(),
            ),
            ("abi".into(), abi::ABI_VERSION.into()),
            (
                "module_abi".into(),
                driver.as_ref().and_then(|(_, abi)| *abi).into(),
            ),
        ];
        return out::print(&pretty(&Object(fields)));
    }
    out::line(&format!("abusectl: {}", env!("CARGO_PKG_VERSION")))?;
    let Some((version, module_abi)) = driver else {
        out::line("module: not loaded")?;
        out::line(&format!("abi: {}", abi::ABI_VERSION))?;
        return out::line(choose::LOAD_HINT);
    };
    out::line(&format!("module: {version}"))?;
    match module_abi {
        Some(theirs) if theirs != abi::ABI_VERSION => out::line(&format!(
            "abi: {} (the module speaks {theirs}: install tool and module from the same source)",
            abi::ABI_VERSION
        )),
        _ => out::line(&format!("abi: {}", abi::ABI_VERSION)),
    }
}

/// The version of the loaded driver, and of its interface where a device can be asked.
fn driver() -> Option<(String, Option<u32>)> {
    let numbers = Device::numbers().unwrap_or_default();
    let status = numbers.iter().find_map(|number| {
        Device::open_read_only(format!("/dev/abctl{number}"))
            .and_then(|device| device.status())
            .ok()
    });
    if let Some(status) = status {
        return Some((status.driver_version, Some(status.abi_version)));
    }
    choose::driver_is_loaded().then(|| {
        let version = fs::read_to_string("/sys/module/abuse/version");
        (
            version.map_or_else(|_| "loaded".into(), |version| version.trim().to_string()),
            None,
        )
    })
}
