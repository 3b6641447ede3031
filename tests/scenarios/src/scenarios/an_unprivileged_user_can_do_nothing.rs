// SPDX-License-Identifier: MIT

//! A user without rights can do nothing, even with a descriptor that somebody opened for him.
//!
//! He cannot open the nodes. With a read-only descriptor he learns the status, and every other call is
//! refused before its argument is looked at: EBADF by v2, EPERM by v1. An administrator may make the
//! calls of 2009 on such a descriptor, as their tool opens it, but not those of v2. A descriptor open
//! for writing is what gives the right, to whoever holds it.

use anyhow::{ensure, Context, Result};

use crate::kit::{Direct, Disk, Guest, PATIENCE};

const V1: [&str; 5] = ["GET_BIO", "PUT_BIO", "SET_STATUS", "RESET", "PUT_BIO-null"];
const V2: [&str; 6] = [
    "SETUP",
    "EXCHANGE",
    "REQUEUE",
    "RECONNECT",
    "RESET2",
    "SETUP-null",
];
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let file = Direct::open(disk.path())?;
    let read = file.start_read(0, 4096);
    disk.wait_queued(1)?;

    for node in [disk.control(), disk.path().display().to_string()] {
        let said = guest
            .command("sh")
            .args(["-c", &format!("{NOBODY} knock {node}")])
            .ok()?;
        for way in ["read", "write", "only-write"] {
            ensure!(said.contains(&format!("{way} EACCES\n")), "{node}: {said}");
        }
    }
    for program in ["knock", "knock-32"] {
        let said = knock(guest, &disk, &format!("{NOBODY} {program}"), "<")?;
        answers(&said, &V1, "EPERM")?;
        answers(&said, &V2, "EBADF")?;
        answers(&said, &["GET_STATUS", "STATUS", "poll"], "ok")?;
        // A user namespace of his own makes him no administrator of this one.
        let inside = format!("{NOBODY} unshare --user --map-root-user {program}");
        match knock(guest, &disk, &inside, "<") {
            Ok(said) => {
                answers(&said, &V1, "EPERM")?;
                answers(&said, &V2, "EBADF")?;
            }
            Err(error) => ensure!(format!("{error:#}").contains("unshare"), "{error:#}"),
        }
    }
    let status = disk.status()?;
    ensure!(status.queued == 1 && status.errors == 0, "{status:?}");

    // Root with a read-only descriptor: the calls of 2009, which end the read, and none of v2.
    let said = knock(guest, &disk, "knock", "<")?;
    answers(&said, &["GET_BIO", "PUT_BIO", "RESET", "GET_STATUS"], "ok")?;
    answers(&said, &["SET_STATUS", "PUT_BIO-null"], "EINVAL")?;
    answers(&said, &V2, "EBADF")?;
    ensure!(read.finish(PATIENCE)?.is_err(), "a failed device went on");

    // Who was given a descriptor for writing may write.
    let said = knock(guest, &disk, &format!("{NOBODY} knock"), "<>")?;
    answers(
        &said,
        &["SETUP", "EXCHANGE", "REQUEUE", "RECONNECT", "RESET2"],
        "ok",
    )?;
    // And one for writing only can do all there is, too.
    let said = knock(guest, &disk, "knock", "0>")?;
    answers(&said, &["SETUP", "EXCHANGE", "STATUS", "RESET2"], "ok")
}

fn knock(guest: &Guest, disk: &Disk<'_>, command: &str, how: &str) -> Result<String> {
    let line = format!("exec {command} {how}{}", disk.control());
    guest.command("sh").args(["-c", &line]).ok().context(line)
}

fn answers(said: &str, calls: &[&str], answer: &str) -> Result<()> {
    for call in calls {
        let expected = format!("{call} {answer}");
        ensure!(
            said.lines().any(|line| line == expected),
            "not {expected}: {said}"
        );
    }
    Ok(())
}
