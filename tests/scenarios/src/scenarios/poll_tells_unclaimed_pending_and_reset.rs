// SPDX-License-Identifier: MIT

//! poll says POLLIN while requests are unclaimed, POLLMSG while any are pending, POLLHUP when there is
//! no disk; and wakes who sleeps in it.

use anyhow::{ensure, Result};

use crate::kit::raw::{free, node, Memory, Raw};
use crate::kit::v1::Client;
use crate::kit::{Direct, Guest, Pending, PATIENCE};

const IN: i16 = 0x1;
const HUP: i16 = 0x10;
const RDNORM: i16 = 0x40;
const MSG: i16 = 0x400;
const ALL: i16 = IN | RDNORM | MSG;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let empty = Raw::open(&node(&free()?))?;
    ensure!(
        empty.poll(ALL, 0)? == HUP,
        "an empty device: {:#x}",
        empty.poll(ALL, 0)?
    );

    let disk = guest.disk("size=16M,bs=512")?;
    let path = disk.control();
    let (raw, arena) = (Raw::open(&path)?, Memory::new(1 << 20)?);
    let says = |what: &str, events: i16| -> Result<()> {
        let got = raw.poll(ALL, 0)?;
        ensure!(got == events, "{what}: {got:#x}, not {events:#x}");
        Ok(())
    };
    says("an idle disk", 0)?;
    let asleep = |events: i16| -> Result<Pending<Result<i16>>> {
        let other = Raw::open_read_only(&path)?;
        Ok(Pending::start("a poll", move || other.poll(events, 60_000)))
    };
    let (input, message) = (asleep(IN)?, asleep(MSG)?);
    let file = Direct::open(disk.path())?;
    let read = file.start_read(0, 4096);
    ensure!(input.finish(PATIENCE)?? == IN && message.finish(PATIENCE)?? == MSG);
    says("an unclaimed request", IN | RDNORM | MSG)?;
    let old = Client::on(guest, disk.device().clone());
    old.ask("poll", &["1000"])?.are(&[("events", "0x401")])?;

    let taken = raw.take_one(&arena)?;
    says("a taken request", MSG)?;
    let mut sleeper = asleep(IN)?;
    ensure!(!sleeper.is_over(), "a taken request is nobody's business");
    // Offered again: whoever sleeps is woken.
    disk.device().requeue(&abuse::Selection::all())?;
    ensure!(sleeper.finish(PATIENCE)?? == IN);
    says("a request offered again", IN | RDNORM | MSG)?;
    ensure!(raw.finish(&taken).is_err());
    let taken = raw.take_one(&arena)?;
    raw.finish(&taken)?;
    read.finish(PATIENCE)??;
    says("an idle disk", 0)?;

    let sleepers = [asleep(IN)?, asleep(MSG)?, asleep(0)?];
    disk.device().reset(true, Some(PATIENCE))?;
    for sleeper in sleepers {
        ensure!(
            sleeper.finish(PATIENCE)?? == HUP,
            "a reset was not heard of"
        );
    }
    says("a reset device", HUP)
}
