// SPDX-License-Identifier: MIT

//! Who may make which call: every caller (root, root without CAP_SYS_ADMIN, a member of group disk,
//! the same as root of a user namespace of his own, a stranger, a stranger with CAP_SYS_ADMIN) times
//! every way to have the node open times every call. v2 looks at the descriptor alone; v1 also takes
//! a read-only one from an administrator of the system; asking for the state needs neither.

use anyhow::{ensure, Context, Result};

use crate::kit::{Disk, Guest, Output};

/// Group disk, as Debian numbers it.
const DISK: u32 = 6;

/// How a caller comes to its descriptor.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// Opens it itself.
    Itself,
    /// Was given it by root.
    Root,
}

struct Caller {
    name: &'static str,
    /// What makes a program one.
    prefix: String,
    /// Whether it can open the node.
    opens: bool,
    /// Whether it administers the system.
    administers: bool,
}

const READ: &str = "<";
const WRITE: &str = "0>";
const BOTH: &str = "<>";

const V1: [&str; 4] = ["GET_BIO", "PUT_BIO", "SET_STATUS", "RESET"];
const V2: [&str; 6] = [
    "SETUP",
    "EXCHANGE",
    "REQUEUE",
    "RECONNECT",
    "RESIZE",
    "RESET2",
];
const CONTROL: [&str; 2] = ["ADD", "REMOVE"];
const ANY: [&str; 3] = ["GET_STATUS", "STATUS", "poll"];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let user = |groups: &str| format!("setpriv --reuid=65534 --regid=65534 {groups}");
    let stranger = user("--clear-groups");
    let member = user(&format!("--groups={DISK}"));
    let caller = |name, prefix: String, opens, administers| Caller {
        name,
        prefix,
        opens,
        administers,
    };
    let bare = "--inh-caps=-all";
    let callers = [
        caller("root", "env".into(), true, true),
        caller(
            "root without CAP_SYS_ADMIN",
            "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin".into(),
            true,
            false,
        ),
        caller("a member", format!("{member} {bare}"), true, false),
        caller(
            "a member in a user namespace",
            format!("{member} {bare} unshare --user --map-root-user"),
            true,
            false,
        ),
        caller("a stranger", format!("{stranger} {bare}"), false, false),
        caller(
            "a stranger in a user namespace",
            format!("{stranger} {bare} unshare --user --map-root-user"),
            false,
            false,
        ),
        caller(
            "a stranger with CAP_SYS_ADMIN",
            format!("{stranger} --inh-caps=+sys_admin --ambient-caps=+sys_admin"),
            false,
            true,
        ),
    ];
    let mut checked = 0;
    for caller in &callers {
        // Behind the last one: knock resets the disk and makes it anew as it goes.
        let disk = guest.disk("size=16M,bs=512")?;
        for by in [By::Itself, By::Root] {
            for open in [READ, WRITE, BOTH] {
                checked += knock(guest, &disk, caller, by, open)
                    .with_context(|| format!("{}, {open}", caller.name))?;
            }
        }
        let _ = disk.device().reset(true, Some(crate::kit::PATIENCE));
        for by in [By::Itself, By::Root] {
            for open in [READ, WRITE, BOTH] {
                checked += knock_control(guest, caller, by, open)
                    .with_context(|| format!("{}, {open}, control", caller.name))?;
            }
        }
    }
    println!("    {checked} answers");
    Ok(())
}

/// Runs knock as that caller on a descriptor of the node; `None` if the caller cannot have one.
fn knocked(
    guest: &Guest,
    caller: &Caller,
    by: By,
    opens: bool,
    how: &str,
) -> Result<Option<Output>> {
    let prefix = &caller.prefix;
    let line = match by {
        By::Itself => format!("exec {prefix} sh -c 'exec knock {how}'"),
        By::Root => format!("exec {prefix} knock {how}"),
    };
    let output = guest.command("sh").args(["-c", &line]).run()?;
    if by == By::Itself && !opens {
        ensure!(
            !output.status.success() && output.stderr.to_lowercase().contains("permission denied"),
            "it opened the node: {output:?}"
        );
        return Ok(None);
    }
    ensure!(output.status.success(), "{line}: {output:?}");
    Ok(Some(output))
}

/// What knock said about a call.
fn answer<'o>(output: &'o Output, call: &str) -> Result<&'o str> {
    let mut lines = output.stdout.lines();
    let found = lines.find_map(|line| line.strip_prefix(call)?.strip_prefix(' '));
    found.with_context(|| format!("no answer to {call}: {output:?}"))
}

/// The calls of /dev/abuse-control, which is root's alone; how many.
fn knock_control(guest: &Guest, caller: &Caller, by: By, open: &str) -> Result<usize> {
    let opens = caller.name.starts_with("root");
    let how = format!("--control {open}/dev/abuse-control");
    let Some(output) = knocked(guest, caller, by, opens, &how)? else {
        return Ok(1);
    };
    for call in CONTROL {
        let (got, null) = (
            answer(&output, call)?,
            answer(&output, &format!("{call}-null"))?,
        );
        if open == READ {
            ensure!(got == "EBADF" && null == "EBADF", "{call}: {got}, {null}");
        } else {
            ensure!(got == "ok" && null == "EFAULT", "{call}: {got}, {null}");
        }
    }
    Ok(CONTROL.len() * 2)
}

/// All calls of one caller on one descriptor; how many.
fn knock(guest: &Guest, disk: &Disk<'_>, caller: &Caller, by: By, open: &str) -> Result<usize> {
    let how = format!("{open}{}", disk.control());
    let Some(output) = knocked(guest, caller, by, caller.opens, &how)? else {
        return Ok(1);
    };
    let answer = |call: &str| answer(&output, call);
    let writable = open != READ;
    for call in V2 {
        let got = answer(call)?;
        ensure!((got == "EBADF") != writable, "{call}: {got}");
        ensure!(got != "EPERM", "{call}: {got}");
    }
    for call in V1 {
        let got = answer(call)?;
        let may = writable || caller.administers;
        ensure!((got == "EPERM") != may, "{call}: {got}");
        ensure!(got != "EBADF", "{call}: {got}");
    }
    for call in ANY {
        let got = answer(call)?;
        ensure!(got == "ok", "{call}: {got}");
    }
    Ok(V1.len() + V2.len() + ANY.len())
}
