// SPDX-License-Identifier: MIT

//! Runs scenarios one after the other: a line for each, the log of those that fail, and a limit to
//! the time of each.

use std::io::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::{exit, Command, ExitCode, Stdio};
use std::sync::{mpsc, Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use abuse::Device;
use anyhow::{anyhow, bail, Result};

use crate::kit::command::tail;
use crate::kit::kernel_log::KernelLog;
use crate::kit::{detectors, skip, Guest, Skipped};
use crate::scenarios::{Scenario, ALL};

/// What a scenario may take, unless it says otherwise: it is there for those that hang.
const USUAL: Duration = Duration::from_secs(300);
/// The machine is no place for another scenario; the caller takes a fresh one.
const SPOILT: u8 = 75;

/// Runs these scenarios, or all.
pub fn run(names: &[&str]) -> ExitCode {
    let chosen = match choose(names) {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("abuse-scenarios: {error}");
            return ExitCode::from(2);
        }
    };
    // Orphans become ours: what a supervisor leaves behind must not outlive the scenario.
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        eprintln!("abuse-scenarios: orphans will not be looked after: {error}");
    }
    let clock = Arc::new(Clock::default());
    watch(&clock);
    let mut totals = Totals::default();
    let mut spoilt = false;
    let mut begun = vec![("loading_the_module", 0)];
    for scenario in chosen {
        begun.push((scenario.name, detectors::jiffies().unwrap_or(0)));
        let mut end = one(scenario.name, |guest| scenario.put(guest), &clock);
        end.tell(scenario.name);
        totals.add(&end.verdict);
        if end.spoilt {
            spoilt = true;
            break;
        }
    }
    for (name, reason) in leaked(&begun) {
        println!("FAILED {name}: {reason}");
        totals.failed += 1;
    }
    println!("{totals}");
    match (spoilt, totals.failed) {
        (true, _) => ExitCode::from(SPOILT),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    }
}

/// Runs one scenario without a word of its own; the reason for which it failed, if it did.
pub(crate) fn blame(scenario: &Scenario) -> Option<String> {
    let begun = [("before", 0), (scenario.name, detectors::jiffies().ok()?)];
    match one(scenario.name, |guest| scenario.put(guest), &Arc::default()).verdict {
        Verdict::Failed(reason) => Some(reason),
        Verdict::Passed | Verdict::Skipped(_) => leaked(&begun)
            .into_iter()
            .find(|(name, _)| *name == scenario.name)
            .map(|(_, reason)| reason),
    }
}

/// Who lost memory, by when it was allocated, each named once. What the kernel lost before the first
/// scenario is its own affair, unless the driver did it.
fn leaked(begun: &[(&'static str, u64)]) -> Vec<(&'static str, String)> {
    let leaks = match detectors::leaks() {
        Ok(leaks) => leaks,
        Err(error) => return vec![("looking_for_leaks", one_line(&format!("{error:#}")))],
    };
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for leak in leaks {
        let last = begun.iter().rposition(|&(_, start)| start <= leak.when);
        let name = begun[last.unwrap_or(0)].0;
        let ours = last.is_some_and(|place| place > 0) || leak.what.contains("[abuse]");
        if ours && !found.iter().any(|(known, _)| *known == name) {
            found.push((name, format!("the kernel lost memory: {}", leak.what)));
        }
    }
    found
}

fn choose(names: &[&str]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &&str| {
        ALL.iter()
            .find(|scenario| scenario.name == *name)
            .ok_or_else(|| anyhow!("there is no scenario '{name}'. See abuse-scenarios list"))
    };
    names.iter().map(find).collect()
}

enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

struct End {
    verdict: Verdict,
    spoilt: bool,
    took: Duration,
    outputs: Vec<(String, String)>,
    figures: String,
    log: Option<KernelLog>,
}

impl End {
    /// The scenario's line, and what there is to learn from a failure.
    fn tell(&mut self, name: &str) {
        let seconds = self.took.as_secs_f32();
        match &self.verdict {
            Verdict::Passed if self.figures.is_empty() => println!("ok {name} {seconds:.1}s"),
            Verdict::Passed => println!("ok {name} {seconds:.1}s ({})", self.figures),
            Verdict::Skipped(reason) => println!("skipped {name}: {reason}"),
            Verdict::Failed(reason) => {
                println!("FAILED {name} {seconds:.1}s: {reason}");
                show(&self.outputs, self.log.as_mut());
            }
        }
    }
}

/// Runs something that is no scenario of the list as if it were one. Whether it passed, and left the
/// machine as it found it.
pub fn alone(name: &str, run: impl FnOnce(&Guest) -> Result<()>) -> bool {
    // As above.
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        eprintln!("abuse-scenarios: orphans will not be looked after: {error}");
    }
    let clock = Arc::new(Clock::default());
    watch(&clock);
    let mut end = one(name, run, &clock);
    end.tell(name);
    matches!(end.verdict, Verdict::Passed) && !end.spoilt
}

impl Scenario {
    /// Puts the promise to the test, if the kernel was booted as that wants.
    fn put(&self, guest: &Guest) -> Result<()> {
        booted(self.boot)?;
        (self.run)(guest)
    }
}

/// Runs one scenario.
fn one(name: &str, run: impl FnOnce(&Guest) -> Result<()>, clock: &Arc<Clock>) -> End {
    let started = Instant::now();
    clock.begin(name);
    let mut log = KernelLog::begin(&format!("abuse-scenarios: begin {name}"));
    let mut spoilt = false;
    let mut outputs = Vec::new();
    let mut figures = String::new();
    let result = Guest::new(clock.clone()).and_then(|guest| {
        let result = guarded(|| run(&guest)).and_then(|()| guarded(|| guest.check()));
        outputs = guest.outputs();
        figures = guest.figures();
        let tidied = guarded(|| guest.tidy());
        spoilt = tidied.is_err();
        result.and(tidied)
    });
    let result = match &mut log {
        Ok(log) => result.and_then(|()| {
            let soiled = clean(log);
            // Some detectors speak only once, and what is broken now is not the next one's fault.
            spoilt |= soiled.is_err();
            soiled
        }),
        Err(error) => Err(anyhow!("{error:#}")),
    };
    let verdict = match result {
        Ok(()) => Verdict::Passed,
        Err(error) => match error.downcast_ref::<Skipped>() {
            Some(reason) => Verdict::Skipped(reason.to_string()),
            None => Verdict::Failed(one_line(&format!("{error:#}"))),
        },
    };
    // From here on the watchdog is silent: there is one line for each.
    clock.end();
    End {
        verdict,
        spoilt,
        took: started.elapsed(),
        outputs,
        figures,
        log: log.ok(),
    }
}

/// Whether the kernel was booted as a scenario wants it.
fn booted(wanted: &str) -> Result<()> {
    let line = std::fs::read_to_string("/proc/cmdline")?;
    let has = |word: &str| line.split_whitespace().any(|has| has == word);
    match wanted.split_whitespace().all(has) {
        true => Ok(()),
        false => skip(&format!("it wants a kernel booted with {wanted}")),
    }
}

/// A panic is a failure like any other.
fn guarded<T>(step: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        Err(anyhow!("panicked: {}", words.unwrap_or("?")))
    })
}

fn clean(log: &mut KernelLog) -> Result<()> {
    match log.bad_lines()?.first() {
        None => Ok(()),
        Some(line) => bail!("the kernel says: {line}"),
    }
}

fn one_line(text: &str) -> String {
    text.split('\n')
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("; ")
}

/// What there is to learn from, on stderr.
fn show(outputs: &[(String, String)], log: Option<&mut KernelLog>) {
    for (title, text) in outputs {
        eprintln!("    {title} said:");
        for line in tail(text, 20).lines() {
            eprintln!("        {line}");
        }
    }
    let Some(lines) = log.and_then(|log| log.lines().ok()) else {
        return;
    };
    eprintln!("    the guest's log:");
    for line in lines {
        eprintln!("        {line}");
    }
}

/// How long the scenario that runs may still take.
#[derive(Default)]
pub(crate) struct Clock {
    running: Mutex<Option<Running>>,
}

struct Running {
    name: String,
    started: Instant,
    deadline: Instant,
}

impl Clock {
    fn begin(&self, name: &str) {
        let started = Instant::now();
        *self.running() = Some(Running {
            name: name.to_string(),
            started,
            deadline: started + detectors::patience(USUAL),
        });
    }

    /// So long from now.
    pub(crate) fn allow(&self, time: Duration) {
        if let Some(running) = &mut *self.running() {
            running.deadline = Instant::now() + detectors::patience(time);
        }
    }

    /// So many times as long, from its beginning on.
    pub(crate) fn stretch(&self, times: u32) {
        if let Some(running) = &mut *self.running() {
            running.deadline = running.started + detectors::patience(USUAL) * times;
        }
    }

    fn end(&self) {
        *self.running() = None;
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends this program when a scenario takes too long; the guest is then not to be trusted.
fn watch(clock: &Arc<Clock>) {
    let clock = Arc::downgrade(clock);
    thread::spawn(move || loop {
        thread::sleep(Duration::from_millis(200));
        let Some(clock) = clock.upgrade() else {
            return;
        };
        let running = clock.running();
        if let Some(late) = running.as_ref().filter(|it| Instant::now() > it.deadline) {
            let seconds = late.started.elapsed().as_secs_f32();
            println!("FAILED {} {seconds:.1}s: it took too long", late.name);
            let _ = std::io::stdout().flush();
            last_words();
            exit(i32::from(SPOILT));
        }
    });
}

/// Makes sure that this program can end. It cannot while a thread of it, or a child that it is to
/// reap, waits for a disk: so the disks go, and if even that does not help, the whole guest.
fn last_words() {
    // Where everything hangs, for the log that the caller keeps.
    let _ = std::fs::write("/proc/sysrq-trigger", "w");
    let own = std::process::id();
    let script = format!("sleep 20; kill -0 {own} && echo c >/proc/sysrq-trigger");
    let _ = Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for device in Device::numbers().unwrap_or_default() {
            let device = Device::open(device.to_string());
            let _ = device.and_then(|device| device.reset(true, None));
        }
        sender.send(())
    });
    let _ = receiver.recv_timeout(Duration::from_secs(5));
}

#[derive(Default)]
struct Totals {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Totals {
    fn add(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::Skipped(_) => &mut self.skipped,
        } += 1;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Totals {
            passed,
            failed,
            skipped,
        } = self;
        write!(
            f,
            "scenarios: {passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_and_none_means_all() {
        assert_eq!(choose(&[]).unwrap().len(), ALL.len());
        assert_eq!(choose(&[ALL[0].name]).unwrap().len(), 1);
        assert!(choose(&["no_such"]).is_err());
    }

    #[test]
    fn a_panic_is_a_failure_with_its_words() {
        let error = guarded(|| -> Result<()> { panic!("oh {}", "no") }).unwrap_err();
        assert_eq!(error.to_string(), "panicked: oh no");
    }

    #[test]
    fn a_scenario_that_wants_another_boot_is_skipped() {
        booted("").unwrap();
        let error = booted("no.such=parameter").unwrap_err();
        assert!(error.is::<Skipped>(), "{error}");
    }

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(one_line("a\n  b"), "a; b");
    }
}
