// SPDX-License-Identifier: MIT

//! `abusectl setup` refuses each bad argument with a message that names it, and an exit code.

use abuse::State;
use anyhow::{ensure, Context, Result};

use crate::kit::raw::{free, node};
use crate::kit::{Guest, PATIENCE};

/// What is asked for, the exit code, and words of the message.
const REFUSED: [(&str, i32, &[&str]); 16] = [
    ("size=0", 2, &["size"]),
    ("size=10000", 2, &["8192", "12288"]),
    ("size=1000,bs=4096", 2, &["4096"]),
    ("size=9E", 1, &["setup failed", "too large"]),
    ("size=-1", 2, &["size"]),
    ("size=16M,bs=3000", 2, &["3000"]),
    ("size=16M,bs=256", 2, &["256"]),
    ("size=16M,bs=128K", 2, &["131072", "64K"]),
    ("size=16M,bs=many", 2, &["bs: not a size"]),
    ("size=16M,physical=3000", 2, &["3000"]),
    ("size=16M,depth=many", 2, &["depth"]),
    ("size=16M,colour=blue", 2, &["colour"]),
    ("size=16M,sise=1G", 2, &["did you mean 'size'?"]),
    ("size=16M,ro,rw", 2, &["exclude each other"]),
    ("size=16M,size=32M", 2, &["given twice"]),
    ("bs=512", 2, &["size is missing"]),
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let device = free()?;
    let node = node(&device);
    let setup = |keys: &str| guest.command("abusectl").args(["setup", &node, keys]).run();
    for (keys, code, words) in REFUSED {
        let said = setup(keys)?;
        let status = said.status.code();
        ensure!(status == Some(code), "{keys}: {status:?}: {}", said.stderr);
        ensure!(said.stdout.is_empty(), "{keys}: {}", said.stdout);
        for word in words {
            ensure!(
                said.stderr.contains(word),
                "{keys}: no '{word}': {}",
                said.stderr
            );
        }
        ensure!(device.status()?.state == State::Empty, "{keys} made a disk");
    }

    let made = setup("size=16M")?;
    ensure!(made.status.success(), "{}", made.stderr);
    ensure!(
        made.stdout == format!("{}\n", device.disk_path().display()),
        "{}",
        made.stdout
    );
    let again = setup("size=16M")?;
    ensure!(again.status.code() == Some(5), "{:?}", again.status);
    for word in ["abusectl reset", "reconnect"] {
        ensure!(again.stderr.contains(word), "no way out: {}", again.stderr);
    }
    device.reset(true, Some(PATIENCE)).context("reset")?;

    let nowhere = guest
        .command("abusectl")
        .args(["setup", "/dev/abctl77", "size=1M"])
        .run()?;
    ensure!(nowhere.status.code() == Some(4), "{nowhere:?}");
    let empty = setup("reconnect")?;
    ensure!(empty.status.code() == Some(3), "{empty:?}");
    Ok(())
}
