// SPDX-License-Identifier: MIT

//! A worker in a process of its own that takes and completes exactly when it is told to, so that it
//! can be killed or stopped at one precise step.
//!
//! It is this program, started as `puppet DEV`; it hears one command per line and answers in lines:
//!
//! ```text
//! take MAX MILLISECONDS   request ID OP OFFSET LENGTH FUA KEEP ATTEMPT EPOCH FIRST-BYTE ..., end
//! put ID ok|zero|io-error|fill BYTE LENGTH   end, or refused ERRNO
//! store ID PATH           end, when the data of that write are in the file, where they belong
//! get-stuck               stuck, when it is inside EXCHANGE, in the middle of taking a write
//! get-stuck ID LENGTH     stuck, when it is inside EXCHANGE, in the middle of completing that read
//! ```
//!
//! A puppet that is stuck never comes back: its memory is a [`Tarpit`].

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use abuse::{abi, Device, Failure, Operation, Outcome, Take};
use anyhow::{bail, ensure, Context, Result};
use nix::sys::signal::Signal;

use super::raw::{node, within, Raw, Tarpit};
use super::wait::{wait_for, PATIENCE};
use super::{command, Disk};

/// A request that a puppet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its id.
    pub id: u64,
    /// What it wants.
    pub operation: Operation,
    /// Bytes from the start of the disk.
    pub offset: u64,
    /// Bytes.
    pub length: usize,
    /// Durable before it is completed.
    pub fua: bool,
    /// Zeroed space stays allocated.
    pub keep: bool,
    /// Owners that died with it.
    pub attempt: u32,
    /// Epoch of the device when it was taken.
    pub epoch: u32,
    /// The first byte of a write's data.
    pub first: u8,
}

/// How a puppet answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; of a read: zeros.
    Done,
    /// A read's data: this byte, all over.
    Fill(u8),
    /// An I/O error.
    Error,
}

/// A worker on strings. Dropping it kills it.
#[derive(Debug)]
pub struct Puppet {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    gone: bool,
}

impl Puppet {
    pub(super) fn start(disk: &Disk<'_>) -> Result<Puppet> {
        let program = std::env::current_exe().context("this program")?;
        let mut child = Command::new(program)
            .args(["puppet", &disk.control()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting a puppet")?;
        let input = child.stdin.take().context("its input")?;
        let output = child.stdout.take().context("its output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let puppet = Puppet {
            child,
            input,
            lines,
            gone: false,
        };
        puppet.hear("ready")?;
        Ok(puppet)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it take up to `max` requests, waiting for the first.
    pub fn take(&mut self, max: u32) -> Result<Vec<Held>> {
        self.say_take(max)?;
        self.hear_take()
    }

    /// Has it take exactly one.
    pub fn take_one(&mut self) -> Result<Held> {
        self.take(1)?
            .first()
            .copied()
            .context("no request came to the puppet")
    }

    /// Tells it to take, without waiting for what comes of it; [`Puppet::hear_take`] does.
    pub fn say_take(&mut self, max: u32) -> Result<()> {
        self.say(&format!("take {max} {}", PATIENCE.as_millis()))
    }

    /// Has it take up to `max` requests, waiting only so long; perhaps none.
    pub fn take_within(&mut self, max: u32, time: Duration) -> Result<Vec<Held>> {
        self.say(&format!("take {max} {}", time.as_millis()))?;
        self.hear_take()
    }

    /// Has it answer everything well until that is over; what came.
    pub fn serve_until(&mut self, mut over: impl FnMut() -> Result<bool>) -> Result<Vec<Held>> {
        let mut seen = Vec::new();
        while !over()? {
            for held in self.take_within(16, Duration::from_millis(20))? {
                let refused = self.put(&held, Answer::Done)?;
                ensure!(refused.is_none(), "{held:?} was refused: {refused:?}");
                seen.push(held);
            }
        }
        Ok(seen)
    }

    /// What it took.
    pub fn hear_take(&self) -> Result<Vec<Held>> {
        let mut held = Vec::new();
        loop {
            let line = self.line()?;
            match line.split_once(' ') {
                None if line == "end" => return Ok(held),
                Some(("request", words)) => held.push(parse(words)?),
                _ => bail!("the puppet says: {line}"),
            }
        }
    }

    /// Has it complete a request. `Ok(Some(errno))`: it was refused.
    pub fn put(&mut self, request: &Held, answer: Answer) -> Result<Option<i32>> {
        self.say_put(request, answer)?;
        self.hear_put()
    }

    /// Tells it to complete a request; it does when it runs again.
    pub fn say_put(&mut self, request: &Held, answer: Answer) -> Result<()> {
        let word = match (answer, request.operation) {
            (Answer::Done, Operation::Read) => "zero".to_string(),
            (Answer::Done, _) => "ok".to_string(),
            (Answer::Error, _) => "io-error".to_string(),
            (Answer::Fill(byte), _) => format!("fill {byte} {}", request.length),
        };
        self.say(&format!("put {} {word}", request.id))
    }

    /// What became of it.
    pub fn hear_put(&self) -> Result<Option<i32>> {
        let line = self.line()?;
        match line.split_once(' ') {
            None if line == "end" => Ok(None),
            Some(("refused", errno)) => Ok(Some(errno.parse()?)),
            _ => bail!("the puppet says: {line}"),
        }
    }

    /// Has it do what a worker does with a write before it completes it: put the data into a file.
    pub fn store(&mut self, request: &Held, path: &Path) -> Result<()> {
        self.say(&format!("store {} {}", request.id, path.display()))?;
        self.hear("end")
    }

    /// Has it take a write of more than a page and not get to the end of its data.
    pub fn get_stuck_taking(&mut self) -> Result<()> {
        self.say("get-stuck")?;
        self.hear("stuck")
    }

    /// Has it complete a read of more than a page and not get to the end of the data.
    pub fn get_stuck_completing(&mut self, request: &Held) -> Result<()> {
        self.say(&format!("get-stuck {} {}", request.id, request.length))?;
        self.hear("stuck")
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        command::send(self.pid(), Signal::SIGKILL)?;
        wait_for("the end of a puppet", PATIENCE, || {
            Ok(self.child.try_wait()?.map(|_| ()))
        })?;
        self.gone = true;
        Ok(())
    }

    /// SIGSTOP; returns when it stands still.
    pub fn stop(&self) -> Result<()> {
        command::stop(self.pid())
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        command::send(self.pid(), Signal::SIGCONT)
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("telling the puppet")
    }

    fn line(&self) -> Result<String> {
        self.lines
            .recv_timeout(PATIENCE + Duration::from_secs(5))
            .context("the puppet is silent")
    }

    fn hear(&self, word: &str) -> Result<()> {
        let line = self.line()?;
        ensure!(line == word, "the puppet says: {line}");
        Ok(())
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        if !self.gone {
            let _ = self.kill();
        }
    }
}

fn parse(words: &str) -> Result<Held> {
    let words: Vec<&str> = words.split(' ').collect();
    let [id, operation, offset, length, fua, keep, attempt, epoch, first] = words[..] else {
        bail!("the puppet says: request {words:?}");
    };
    let operation = Operation::ALL
        .into_iter()
        .find(|known| known.name() == operation)
        .context("an operation")?;
    Ok(Held {
        id: id.parse()?,
        operation,
        offset: offset.parse()?,
        length: length.parse()?,
        fua: fua == "true",
        keep: keep == "true",
        attempt: attempt.parse()?,
        epoch: epoch.parse()?,
        first: first.parse()?,
    })
}

/// The puppet itself: what `abuse-scenarios puppet DEV` does.
pub fn play(device: &str) -> ExitCode {
    let played = Device::open(device)
        .map_err(Into::into)
        .and_then(|device| follow(&device));
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn follow(device: &Device) -> Result<()> {
    let mut held = HashMap::new();
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["take", max, milliseconds] => {
                held = take(device, max.parse()?, milliseconds.parse()?)?;
            }
            ["store", id, path] => {
                let (offset, data) = held.get(&id.parse::<u64>()?).context("it is not held")?;
                let file = OpenOptions::new().write(true).open(path)?;
                file.write_all_at(data, *offset)?;
                println!("end");
            }
            ["get-stuck", ref read @ ..] => get_stuck(device, read)?,
            ["put", id, ref answer @ ..] => put(device, id.parse()?, answer)?,
            _ => bail!("not understood: {line}"),
        }
    }
    Ok(())
}

/// Requests by their ids: where, and the data of a write.
type Requests = HashMap<u64, (u64, Vec<u8>)>;

fn take(device: &Device, max: u32, milliseconds: u64) -> Result<Requests> {
    let mut held = HashMap::new();
    let options = Take {
        max,
        timeout: Some(Duration::from_millis(milliseconds)),
        ..Take::default()
    };
    for request in device.take(&options)? {
        println!(
            "request {} {} {} {} {} {} {} {} {}",
            request.id(),
            request.operation(),
            request.offset(),
            request.length(),
            request.fua(),
            request.keep_allocated(),
            request.attempt(),
            request.epoch(),
            request.data().first().copied().unwrap_or(0),
        );
        held.insert(request.id(), (request.offset(), request.data().to_vec()));
        request.leave();
    }
    println!("end");
    Ok(held)
}

/// Calls EXCHANGE with memory that is not there and never comes.
fn get_stuck(device: &Device, read: &[&str]) -> Result<()> {
    let raw = Raw::open(&node(device))?;
    let (mut done, mut take) = (Vec::new(), Vec::new());
    let tarpit = match *read {
        [] => {
            take.push(abi::Take::default());
            Tarpit::new(device.status()?.setup.context("no disk")?.max_bytes as usize)?
        }
        [id, length] => {
            let (id, length) = (id.parse()?, length.parse()?);
            let tarpit = Tarpit::new(length)?;
            done.push(abi::Done {
                id,
                buffer: tarpit.memory.address(),
                length: u32::try_from(length)?,
                ..abi::Done::default()
            });
            tarpit
        }
        _ => bail!("get-stuck: {read:?}"),
    };
    thread::scope(|scope| {
        scope.spawn(|| match tarpit.wait() {
            Ok(()) => println!("stuck"),
            Err(error) => println!("error {error}"),
        });
        let how = within(&tarpit.memory, PATIENCE);
        let ended = raw.exchange(&mut done, &mut take, how);
        bail!("EXCHANGE ended: {ended:?}")
    })
}

fn put(device: &Device, id: u64, answer: &[&str]) -> Result<()> {
    let data;
    let outcome = match answer {
        ["ok"] => Outcome::Done,
        ["zero"] => Outcome::Zeroes,
        ["io-error"] => Outcome::Failed(Failure::Io),
        ["fill", byte, length] => {
            data = vec![byte.parse()?; length.parse()?];
            Outcome::Data(&data)
        }
        _ => bail!("no such answer: {answer:?}"),
    };
    match device.put(id, outcome) {
        Ok(()) => println!("end"),
        Err(error) => match error.errno() {
            Some(errno) => println!("refused {errno}"),
            None => return Err(error.into()),
        },
    }
    Ok(())
}
