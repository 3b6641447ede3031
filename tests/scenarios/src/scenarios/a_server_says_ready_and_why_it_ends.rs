// SPDX-License-Identifier: MIT

//! `abusectl server` says READY=1 once it takes requests; it ends with status 0 when it is told to,
//! with 3 when the device is reset or was never set up, and with 4 where there is none.

use anyhow::{ensure, Result};
use nix::sys::signal::Signal;

use crate::kit::{Direct, Guest, Listener, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let listener = Listener::bind(guest)?;
    let control = disk.control();
    let serve = |control: &str| {
        guest
            .command("abusectl")
            .args(["server", control, "--backend", "ram:says"])
            .env("NOTIFY_SOCKET", listener.path())
    };

    let mut server = serve(&control).spawn()?;
    listener.wait("READY=1")?;
    // It serves, without being waited for.
    Direct::open(disk.path())?.write(0, &[5; 4096])?;
    server.signal(Signal::SIGTERM)?;
    let status = server.wait(PATIENCE)?;
    ensure!(
        status.success(),
        "told to end: {status}: {}",
        server.stderr()?
    );
    listener.wait("STOPPING=1")?;

    let mut server = serve(&control).spawn()?;
    listener.wait("READY=1")?;
    ensure!(
        Direct::open(disk.path())?.read(0, 4096)? == [5; 4096],
        "memory did not outlive its server"
    );
    guest
        .command("abusectl")
        .args(["reset", &control, "--force"])
        .ok()?;
    let status = server.wait(PATIENCE)?;
    let words = server.stderr()?;
    ensure!(status.code() == Some(3), "reset: {status}: {words}");
    ensure!(words.contains("the device was reset"), "{words}");

    for (control, code) in [(control.as_str(), 3), ("/dev/abctl999", 4)] {
        let output = serve(control).run()?;
        ensure!(output.status.code() == Some(code), "{control}: {output:?}");
        ensure!(listener.next().is_none(), "{control}: it said something");
    }
    Ok(())
}
