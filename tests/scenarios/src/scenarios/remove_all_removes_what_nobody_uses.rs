// SPDX-License-Identifier: MIT

//! `abusectl remove --all` removes every device that nobody uses, says which are left and why, and ends
//! with an error if there are any; with `--force` it leaves none.

use abuse::{Registry, Setup};
use anyhow::{ensure, Result};

use crate::kit::{Direct, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    guest.abusectl(0, &["add", "--name", "a-name"])?;
    let used = guest.disk_on(guest.add()?, &Setup::new(1 << 20))?;
    let idle = guest.disk_on(guest.add()?, &Setup::new(1 << 20))?;
    let file = Direct::open(used.path())?;
    let said = guest.abusectl(5, &["remove", "--all"])?;
    let refusals: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("failed:"))
        .collect();
    ensure!(
        refusals.len() == 1
            && refusals[0].contains(&used.control())
            && refusals[0].contains("open"),
        "{said}"
    );
    ensure!(
        said.contains(&format!("{}: removed", idle.control())),
        "{said}"
    );
    let left: Vec<u32> = Registry::list()?
        .iter()
        .map(|device| device.number)
        .collect();
    ensure!(left == [used.device().number()], "{left:?}");

    let said = guest.abusectl(0, &["remove", "--all", "--force"])?;
    ensure!(said.contains("it was open (1 opener)"), "{said}");
    ensure!(Registry::list()?.is_empty());
    drop(file);
    guest.abusectl(0, &["remove", "--all"])?;
    let said = guest.abusectl(4, &["info"])?;
    ensure!(said.contains("abusectl add"), "{said}");
    Ok(())
}
