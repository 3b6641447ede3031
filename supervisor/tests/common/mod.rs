// SPDX-License-Identifier: MIT
//! A supervisor in a process of its own, over a device that only takes notes, with
//! workers that do what a script says. All three are this test program, started again.
#![allow(dead_code)]

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{exit, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use abuse_supervisor::cli::{Cli, Verb};
use abuse_supervisor::config::{self, Wanted};
use abuse_supervisor::device::{Device, Look, Refusal};
use abuse_supervisor::exit::Failure;
use abuse_supervisor::logging;
use abuse_supervisor::source::{self, Source};
use abuse_supervisor::state::Answer;
use abuse_supervisor::supervise::Supervisor;
use abuse_supervisor::terms::AtEnd;
use clap::Parser;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

const ROLE: &str = "ABUSE_TEST_ROLE";
const WORDS: &str = "ABUSE_TEST_WORDS";
const DIR: &str = "ABUSE_TEST_DIR";

/// What the test called `program` does: nothing, unless it was started as one.
pub fn program() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let words = std::env::var(WORDS).unwrap();
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    match role.as_str() {
        "supervisor" => supervisor(&words, dir),
        "worker" => worker(&words, &dir),
        _ => panic!("no such role"),
    }
}

/// One line in the common record; appended whole, so that the order is true.
fn note(dir: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join("events"))
        .unwrap();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    file.write_all(format!("{} {text}\n", at.as_micros()).as_bytes())
        .unwrap();
}

/// Refuses while there is a file `busy` beside it.
struct Notes(PathBuf);

impl Device for Notes {
    fn requeue(&self, token: u64) -> Answer {
        if self.0.join("busy").exists() {
            note(&self.0, &format!("busy {token:#018x}"));
            return Answer::Busy { requeued: 0 };
        }
        note(&self.0, &format!("requeue {token:#018x}"));
        Answer::Done { requeued: 3 }
    }

    /// A file `held` holds a token: its owner has had a request for an hour. A file `lying`: one
    /// has waited for an hour.
    fn look(&self) -> Option<Look> {
        let hour = Duration::from_secs(3600);
        let old = |name: &str| self.0.join(name).exists().then_some(hour);
        Some(Look {
            oldest_taken: old("held"),
            oldest_queued: old("lying"),
            ..Look::default()
        })
    }

    fn holds_longer(&self, token: u64, _limit: Duration) -> bool {
        let held = fs::read_to_string(self.0.join("held")).unwrap_or_default();
        held.trim() == format!("{token:#018x}")
    }

    fn fail_unclaimed(&self, after: Option<Duration>) -> Result<(), Refusal> {
        if self.0.join("writer").exists() {
            return Err(Refusal::WriterLives);
        }
        note(&self.0, &format!("fail-unclaimed {after:?}"));
        Ok(())
    }

    fn reset(&self) -> Result<(), String> {
        note(&self.0, "reset -");
        Ok(())
    }
}

fn supervisor(words: &str, dir: PathBuf) {
    let Verb::Run(run) = Cli::parse_from(words.split('\n')).verb else {
        panic!("not run: {words}");
    };
    let source = Scenery {
        notes: dir,
        runtime_dir: run.runtime.runtime_dir.clone(),
    };
    let wanted = match &run.config {
        Some(file) => config::read(file),
        None => Wanted::of(&run).map(|one| vec![one]),
    };
    let opened = match wanted.and_then(|all| source::open(&source, all)) {
        Ok(opened) => opened,
        Err(failure) => {
            eprintln!("{:#}", failure.error);
            exit(failure.status.into());
        }
    };
    logging::start(logging::Target::choose(false)).unwrap();
    let supervisor = Supervisor::start(source, opened, run.config.clone()).unwrap();
    exit(supervisor.run().unwrap().into());
}

/// Devices that take notes.
struct Scenery {
    notes: PathBuf,
    runtime_dir: PathBuf,
}

impl Source for Scenery {
    type Device = Notes;

    fn open(&self, wanted: &Wanted) -> Result<(String, Notes), Failure> {
        Ok((format!("abctl{}", wanted.device), Notes(self.notes.clone())))
    }

    fn command(&self, wanted: &Wanted, _device: &Notes) -> Vec<OsString> {
        wanted.command.clone()
    }

    /// With a set-up: a program `take-down` in the scene's directory.
    fn take_down(&self, wanted: &Wanted, _device: &Notes) -> Option<Vec<OsString>> {
        let keeps = wanted.setup.is_empty() || wanted.terms.at_end == AtEnd::Keep;
        (!keeps).then(|| vec![self.notes.join("take-down").into()])
    }

    fn set_up(&self, _wanted: &Wanted, _device: &Notes) -> Result<(), Failure> {
        Ok(())
    }

    fn runtime_dir(&self) -> PathBuf {
        self.runtime_dir.clone()
    }
}

/// Words: `ready`, `park` (until it is promoted, if it is a standby), `beat` (WATCHDOG=1, again and
/// again, until there is a file `hang`), `await:FILE` (until it is there), `unless:FILE` (it ends with 1 if that is there), `note:WORD` (in the common record), `exit:N`,
/// `deaf` (to SIGTERM), `child:WORDS` (a process of its own, with `+` for spaces, waited for),
/// `abandon:WORDS` (one that nobody waits for). Then it stays until a signal ends it.
fn worker(script: &str, dir: &Path) {
    let token = std::env::var("ABUSE_OWNER").unwrap_or_default();
    note(dir, &format!("start {} {token}", std::process::id()));
    for word in script.split_whitespace() {
        let (verb, value) = word.split_once(':').unwrap_or((word, ""));
        match verb {
            "ready" => abuse::notify::ready(),
            "park" => {
                if let Some(standby) = abuse::Standby::from_environment().unwrap() {
                    assert!(standby.wait(|| false).unwrap());
                    note(dir, &format!("promoted {} {token}", std::process::id()));
                }
            }
            "beat" => {
                let limit = abuse::notify::watchdog().expect("a limit");
                let hang = dir.join(format!("hang.{}", std::process::id()));
                while !hang.exists() {
                    abuse::notify::alive();
                    std::thread::sleep(limit / 4);
                }
            }
            "unless" if dir.join(value).exists() => exit(1),
            "unless" => {}
            "await" => wait_for(word, || dir.join(value).exists().then_some(())),
            "exit" => exit(value.parse().unwrap()),
            "note" => note(dir, &format!("{value} {}", std::process::id())),
            "deaf" => {
                signal_hook::flag::register(libc::SIGTERM, Default::default()).unwrap();
            }
            "child" => {
                let words = value.replace('+', " ");
                let mut child = itself("worker", &words, dir).spawn().unwrap();
                child.wait().unwrap();
            }
            "abandon" => {
                let child = itself("worker", &value.replace('+', " "), dir).spawn();
                // Nobody waits for it: that is the point.
                std::mem::forget(child.unwrap());
            }
            _ => panic!("no such word: {word}"),
        }
    }
    loop {
        nix::unistd::pause();
    }
}

/// This test program, in a role.
fn itself(role: &str, words: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "program", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(WORDS, words)
        .env(DIR, dir)
        .stdout(Stdio::null());
    command
}

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Waits for a condition, a minute at most: the machine may be slow, and emulated.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        if let Some(value) = condition() {
            return value;
        }
        std::thread::sleep(LOOK);
    }
    panic!("waited in vain for: {what}");
}

/// One line of the common record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Microseconds.
    pub at: u64,
    /// start, requeue, busy.
    pub what: String,
    /// Of a start.
    pub pid: u32,
    pub token: String,
}

/// A scene of its own: a directory, supervisors, workers. Ends what it started.
pub struct Scene {
    pub dir: PathBuf,
    supervisor: Option<Child>,
    manager: UnixDatagram,
    told: RefCell<Vec<String>>,
}

impl Scene {
    pub fn new() -> Scene {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("abuse-sup-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let manager = UnixDatagram::bind(dir.join("manager")).unwrap();
        manager.set_nonblocking(true).unwrap();
        Scene {
            dir,
            supervisor: None,
            manager,
            told: RefCell::default(),
        }
    }

    /// A supervisor with these options, whose workers follow `script`.
    fn command(&self, options: &str, script: &str) -> Command {
        let mut words: Vec<OsString> = vec!["abuse-supervisor".into(), "run".into()];
        words.extend(["--device", "0", "--runtime-dir"].map(OsString::from));
        words.push(self.dir.join("run").into());
        words.extend(options.split_whitespace().map(OsString::from));
        words.push("--".into());
        words.extend(self.worker_command(script).into_iter().map(OsString::from));
        self.supervisor_command(words)
    }

    /// The command line of a worker.
    pub fn worker_command(&self, script: &str) -> Vec<String> {
        let program = std::env::current_exe().unwrap();
        vec![
            "/usr/bin/env".into(),
            format!("{ROLE}=worker"),
            format!("{WORDS}={script}"),
            program.to_str().unwrap().into(),
            "--exact".into(),
            "program".into(),
            "--nocapture".into(),
        ]
    }

    fn supervisor_command(&self, words: Vec<OsString>) -> Command {
        let words = words.join(std::ffi::OsStr::new("\n")).into_string();
        let mut command = itself("supervisor", &words.unwrap(), &self.dir);
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.dir.join("log"));
        command
            .env("NOTIFY_SOCKET", self.dir.join("manager"))
            .env_remove("JOURNAL_STREAM")
            .stderr(log.unwrap());
        command
    }

    pub fn start(&mut self, options: &str, script: &str) {
        self.start_with(options, script, |_| {});
    }

    pub fn start_with(&mut self, options: &str, script: &str, more: impl FnOnce(&mut Command)) {
        let mut command = self.command(options, script);
        more(&mut command);
        self.supervisor = Some(command.spawn().unwrap());
    }

    /// A supervisor with a configuration file.
    pub fn start_file(&mut self, name: &str) {
        let mut words: Vec<OsString> = ["abuse-supervisor", "run", "--config"]
            .map(OsString::from)
            .to_vec();
        words.push(self.dir.join(name).into());
        words.push("--runtime-dir".into());
        words.push(self.dir.join("run").into());
        self.supervisor = Some(self.supervisor_command(words).spawn().unwrap());
    }

    /// Runs a supervisor to its end, beside the one there is.
    pub fn start_another(&self, options: &str, script: &str) -> Option<i32> {
        self.command(options, script).status().unwrap().code()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.supervisor.as_ref().unwrap().id();
        kill(Pid::from_raw(pid as i32), signal).unwrap();
    }

    pub fn kill_supervisor(&mut self) {
        let mut child = self.supervisor.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The supervisor's exit status, once it has ended by itself.
    pub fn status(&mut self) -> i32 {
        let child = self.supervisor.as_mut().unwrap();
        let status = wait_for("the supervisor's end", || child.try_wait().unwrap());
        self.supervisor = None;
        status.code().unwrap()
    }

    pub fn entries(&self) -> Vec<Entry> {
        let text = fs::read_to_string(self.dir.join("events")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                Entry {
                    at: words[0].parse().unwrap(),
                    what: words[1].into(),
                    pid: words[2].parse().unwrap_or(0),
                    token: (*words.last().unwrap()).into(),
                }
            })
            .collect()
    }

    pub fn of(&self, what: &str) -> Vec<Entry> {
        let all = self.entries().into_iter();
        all.filter(|entry| entry.what == what).collect()
    }

    /// Waits for so many entries of a kind.
    pub fn wait_entries(&self, what: &str, count: usize) -> Vec<Entry> {
        wait_for(&format!("{count} x {what}"), || {
            Some(self.of(what)).filter(|all| all.len() >= count)
        })
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Waits until the log has so many lines with this.
    pub fn wait_log(&self, text: &str, count: usize) {
        wait_for(&format!("{count} x '{text}' in the log"), || {
            (self.log().matches(text).count() >= count).then_some(())
        });
    }

    /// What the manager has been told so far.
    pub fn told(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut all = self.told.borrow_mut();
        while let Ok(length) = self.manager.recv(&mut buffer) {
            all.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        all.clone()
    }

    /// Waits until the manager has been told this so many times.
    pub fn wait_told(&self, text: &str, count: usize) {
        wait_for(&format!("the manager to be told {count} x {text}"), || {
            let told = self.told();
            (told.iter().filter(|line| *line == text).count() >= count).then_some(())
        });
    }

    /// Writes into a file, whole.
    pub fn put(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::write(path.with_extension("part"), text).unwrap();
        fs::rename(path.with_extension("part"), path).unwrap();
    }

    pub fn touch(&self, name: &str) {
        File::create(self.dir.join(name)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.dir.join(name)).unwrap();
    }

    /// Whether a process of this scene runs under this pid.
    pub fn runs(&self, pid: u32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let dir = self.dir.as_os_str().as_encoded_bytes();
        environment.windows(dir.len()).any(|part| part == dir)
    }

    pub fn shoot(&self, pid: u32) {
        assert!(self.runs(pid), "{pid} is none of ours");
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut child) = self.supervisor.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for entry in self.of("start") {
            if self.runs(entry.pid) {
                let _ = kill(Pid::from_raw(entry.pid as i32), Signal::SIGKILL);
            }
        }
        if std::thread::panicking() {
            eprintln!("--- log of the scene ---\n{}", self.log());
            for entry in self.entries() {
                eprintln!("{} {} {} {}", entry.at, entry.what, entry.pid, entry.token);
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
