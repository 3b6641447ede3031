// SPDX-License-Identifier: MIT

//! Proof that a debug kernel notices: each crime is committed as a scenario, by a module that does
//! it on request, and the scenario has to fail for the right reason.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{bail, ensure, Context, Result};

use crate::kit::{detectors, Guest};
use crate::runner;
use crate::scenarios::Scenario;

/// A crime, its number in `tests/vm/detectors`, and what must be said of it.
struct Crime {
    scenario: Scenario,
    noticed: &'static str,
}

macro_rules! crimes {
    ($($number:literal $name:ident $noticed:literal,)*) => {
        // The lock checker switches itself off behind any other report: its crime is the first.
        const CRIMES: &[Crime] = &[$(Crime {
            scenario: Scenario {
                name: stringify!($name),
                run: |_: &Guest| commit($number),
                boot: "",
            },
            noticed: $noticed,
        },)*];
    };
}

crimes! {
    3 lock_inversion "possible circular locking dependency",
    4 sleep_in_atomic "BUG: sleeping function called from invalid context",
    5 list_corruption "list_del corruption",
    8 free_active_timer "ODEBUG: free active",
    1 use_after_free "BUG: KASAN: slab-use-after-free",
    2 out_of_bounds "BUG: KASAN: slab-out-of-bounds",
    7 hung_task "INFO: task .* blocked for more than",
    6 leak "the kernel lost memory: .* (size 192): comm \"insmod\"",
}

/// Where the guest finds the module.
const MODULE: &str = "/share/detectors.ko";

/// Commits every crime; fails unless each was noticed.
pub fn run() -> ExitCode {
    if !detectors::present() {
        eprintln!("abuse-scenarios: detectors are those of the debug kernel: --kernel debug");
        return ExitCode::from(2);
    }
    let mut missed = 0;
    // None at all, first: what notices everything notices nothing.
    let innocent = Scenario {
        name: "innocence",
        run: |_: &Guest| commit(0),
        boot: "",
    };
    let crimes = CRIMES.iter().map(|crime| (&crime.scenario, crime.noticed));
    for (scenario, noticed) in std::iter::once((&innocent, "")).chain(crimes) {
        let blamed = runner::blame(scenario);
        let name = format!("a_debug_kernel_notices_{}", scenario.name);
        match (&blamed, noticed) {
            (None, "") => println!("ok {name}"),
            (Some(reason), noticed) if !noticed.is_empty() && says(reason, noticed) => {
                println!("ok {name}");
                eprintln!("    {}: {reason}", scenario.name);
            }
            (blamed, _) => {
                println!("FAILED {name}: expected '{noticed}', the scenario's end was {blamed:?}");
                missed += 1;
            }
        }
    }
    ExitCode::from(u8::from(missed > 0))
}

/// Whether the reason has what is expected, a part of the text or `BEFORE .* BEHIND`.
fn says(reason: &str, expected: &str) -> bool {
    let mut rest = reason;
    expected
        .split(".*")
        .all(|part| match rest.split_once(part) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
}

fn commit(crime: u32) -> Result<()> {
    ensure!(Path::new(MODULE).exists(), "{MODULE} is not there");
    // Shorter than the module waits, for as long as it does.
    let timeout = "/proc/sys/kernel/hung_task_timeout_secs";
    let before = std::fs::read_to_string(timeout).context(timeout)?;
    std::fs::write(timeout, "5")?;
    let argument = format!("crime={crime}");
    let committed =
        call("insmod", &[MODULE, &argument]).and_then(|()| call("rmmod", &["detectors"]));
    std::fs::write(timeout, before)?;
    committed
}

fn call(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    if !status.success() {
        bail!("{program}: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_is_found_in_order() {
        assert!(says(
            "the kernel says: INFO: task x:1 blocked for more than 5",
            "INFO: task .* blocked"
        ));
        assert!(!says("blocked INFO: task ", "INFO: task .* blocked"));
    }
}
