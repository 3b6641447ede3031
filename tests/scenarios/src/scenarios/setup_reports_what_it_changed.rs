// SPDX-License-Identifier: MIT

//! A value that is only too large or too small is clamped, and the caller is told which and to what:
//! in the struct, in the status, by abusectl, and by what the block layer then does.

use abuse::abi::{self, Setup};
use anyhow::{ensure, Context, Result};

use crate::kit::raw::{free, node, Raw};
use crate::kit::{Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let device = free()?;
    let raw = Raw::open(&node(&device))?;
    let cpus = std::thread::available_parallelism()?.get() as u32;
    let good = Setup {
        size: size_of::<Setup>() as u32,
        bytes: 16 << 20,
        ..Setup::default()
    };
    let make = |wish: Setup| -> Result<Setup> {
        let mut made = wish;
        raw.call(abi::IOC_SETUP, &mut made)?;
        let config = raw.status()?.config;
        ensure!(
            config == made,
            "the status says {config:?} instead of {made:?}"
        );
        Ok(made)
    };

    let made = make(Setup {
        depth: 100_000,
        queues: 1000,
        max_bytes: 1 << 30,
        max_segments: 1000,
        physical_block: 512,
        io_min: 100,
        io_opt: 5000,
        max_discard_bytes: 5000,
        features: abi::F_WRITE_THROUGH,
        ..good
    })
    .context("everything too large")?;
    let all = abi::ADJ_DEPTH
        | abi::ADJ_QUEUES
        | abi::ADJ_MAX_BYTES
        | abi::ADJ_SEGMENTS
        | abi::ADJ_PHYSICAL
        | abi::ADJ_IO_MIN
        | abi::ADJ_IO_OPT
        | abi::ADJ_FUA
        | abi::ADJ_DISCARD;
    ensure!(
        made.adjusted == all,
        "adjusted {:#x}, not {all:#x}",
        made.adjusted
    );
    let got = (made.depth, made.queues, made.max_bytes, made.max_segments);
    let most = (
        abi::MAX_DEPTH,
        cpus.min(16),
        abi::MAX_BYTES,
        abi::MAX_SEGMENTS,
    );
    ensure!(got == most, "{got:?}, not {most:?}");
    let got = (
        made.physical_block,
        made.io_min,
        made.io_opt,
        made.max_discard_bytes,
    );
    ensure!(got == (4096, 4096, 4096, 4096), "{got:?}");
    ensure!(made.features == abi::F_WRITE_THROUGH | abi::F_NO_FUA);
    let queue = |file: &str| -> Result<String> {
        let place = format!("/sys/block/abuse{}/queue/{file}", device.number());
        let text = std::fs::read_to_string(&place).context(place)?;
        Ok(text.trim().to_string())
    };
    let seen = [
        ("max_hw_sectors_kb", "16384"),
        ("max_segments", "256"),
        ("nr_requests", "4096"),
        ("logical_block_size", "4096"),
        ("write_cache", "write through"),
        ("fua", "0"),
    ];
    for (file, value) in seen {
        ensure!(
            queue(file)? == value,
            "{file}: {}, not {value}",
            queue(file)?
        );
    }
    device.reset(true, Some(PATIENCE))?;

    let made = make(Setup {
        max_bytes: 1,
        logical_block: 512,
        ..good
    })
    .context("a small request")?;
    ensure!(
        (made.max_bytes, made.adjusted) == (4096, abi::ADJ_MAX_BYTES),
        "{made:?}"
    );
    device.reset(true, Some(PATIENCE))?;

    let made = make(Setup {
        physical_block: 16384,
        io_opt: 20480,
        discard_granularity: 4096,
        max_discard_bytes: 20480,
        features: abi::F_DISCARD,
        ..good
    })
    .context("what is no multiple of the physical block")?;
    let adjusted = abi::ADJ_IO_OPT | abi::ADJ_DISCARD;
    ensure!(made.adjusted == adjusted, "{:#x}", made.adjusted);
    for (file, value) in [
        ("physical_block_size", "16384"),
        ("minimum_io_size", "16384"),
        ("optimal_io_size", "16384"),
        ("discard_granularity", "16384"),
        ("discard_max_hw_bytes", "20480"),
    ] {
        ensure!(queue(file)? == value, "{file}: {}", queue(file)?);
    }
    let got = (
        made.io_opt,
        made.discard_granularity,
        made.max_discard_bytes,
    );
    ensure!(got == (16384, 16384, 20480), "{got:?}");
    device.reset(true, Some(PATIENCE))?;

    let made = make(good).context("the defaults")?;
    ensure!(made.adjusted == 0, "{:#x}", made.adjusted);
    let got = (
        made.logical_block,
        made.physical_block,
        made.depth,
        made.queues,
    );
    ensure!(got == (4096, 4096, 128, 1), "{got:?}");
    ensure!(
        (made.max_bytes, made.max_segments) == (1 << 20, 256),
        "{made:?}"
    );
    ensure!(queue("write_cache")? == "write back" && queue("fua")? == "1");
    device.reset(true, Some(PATIENCE))?;

    let keys = "size=16M,depth=100000,max_bytes=1G";
    let said = guest
        .command("abusectl")
        .args(["setup", &node(&device), keys])
        .run()?;
    ensure!(said.status.success(), "{}", said.stderr);
    for words in [
        "depth is 4096 instead of 100000",
        "max_bytes is 16777216 instead of 1073741824",
    ] {
        ensure!(said.stderr.contains(words), "no '{words}': {}", said.stderr);
    }
    device.reset(true, Some(PATIENCE))?;
    Ok(())
}
