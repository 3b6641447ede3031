// SPDX-License-Identifier: MIT

//! How much memory the kernel keeps for itself.

use anyhow::{Context, Result};

/// Kilobytes of the kernel's own, without what it could give back. Disks that are gone are let go of
/// after a grace period, and by udevd when it has looked: let that settle first, or hold it.
pub fn kilobytes() -> Result<i64> {
    std::fs::write("/proc/sys/vm/drop_caches", "3")?;
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let field = |name: &str| -> Result<i64> {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .context(name.to_string())?;
        let number = line.split_whitespace().nth(1).context(name.to_string())?;
        Ok(number.parse()?)
    };
    Ok(field("SUnreclaim:")? + field("VmallocUsed:")? + field("Percpu:")? + field("KernelStack:")?)
}
