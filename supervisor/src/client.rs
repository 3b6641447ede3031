// SPDX-License-Identifier: MIT
//! `status`, `restart`, `drain` and `reload`: asking the supervisors that run here.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::cli::{Ask, Runtime, Status};
use crate::control::{Answer, Question, Verb};
use crate::exit::{Failure, FAILED, NOT_SET_UP};
use crate::metrics;
use crate::status::{table, DeviceStatus};

/// How long a supervisor may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether what was asked for is over.
const AGAIN: Duration = Duration::from_millis(50);

/// Asks one supervisor.
fn ask(socket: &Path, verb: Verb) -> Result<Answer, Failure> {
    let talk = || -> anyhow::Result<Answer> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut question = serde_json::to_vec(&Question { verb })?;
        question.push(b'\n');
        stream.write_all(&question)?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    let answer = talk().map_err(|error| {
        let why = match cause(&error) {
            Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                "no supervisor looks after this device: start one, or see systemctl status"
            }
            Some(ErrorKind::PermissionDenied) => "its supervisor answers root alone",
            _ => "its supervisor does not answer: it hangs, or is just ending",
        };
        let why = format!("{}: {why}", socket.display());
        Failure::new(NOT_SET_UP, error.context(why))
    })?;
    match answer.why {
        Some(why) if !answer.done => Err(Failure::new(FAILED, anyhow::Error::msg(why))),
        _ => Ok(answer),
    }
}

/// What the system said.
fn cause(error: &anyhow::Error) -> Option<ErrorKind> {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.map(std::io::Error::kind)
}

/// The socket of a device; all there are without one.
fn sockets(runtime: &Runtime, device: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
    let dir = &runtime.runtime_dir;
    if let Some(device) = device {
        return Ok(vec![dir.join(format!("{}.control", name(device)?))]);
    }
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let dir = dir.display();
            let why = anyhow::anyhow!("{dir}: cannot be read: {error}; are you root?");
            return Err(Failure::new(FAILED, why));
        }
        entries => entries,
    };
    let mut all: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "control"))
        .collect();
    all.sort();
    Ok(all)
}

/// `abctlN` of whatever a device may be called.
fn name(device: &str) -> Result<String, Failure> {
    let last = device.rsplit('/').next().unwrap_or_default();
    let number = last
        .strip_prefix("abctl")
        .or(last.strip_prefix("abuse"))
        .unwrap_or(last);
    if let Ok(number) = number.parse::<u32>() {
        return Ok(format!("abctl{number}"));
    }
    // A name: the device itself knows its number.
    let device = crate::prepare::open(device)?;
    Ok(format!("abctl{}", device.number()))
}

fn statuses(runtime: &Runtime, device: Option<&str>) -> Result<Vec<DeviceStatus>, Failure> {
    let mut all = Vec::new();
    for socket in sockets(runtime, device)? {
        match ask(&socket, Verb::Status) {
            Ok(answer) => all.extend(answer.status),
            // Without a name, those that are dead are not of interest.
            Err(failure) if device.is_some() => return Err(failure),
            Err(failure) if cause(&failure.error) == Some(ErrorKind::PermissionDenied) => {
                return Err(failure)
            }
            Err(_) => {}
        }
    }
    Ok(all)
}

/// `status`: what to print.
pub fn status(options: &Status) -> Result<String, Failure> {
    let all = statuses(&options.runtime, options.device.as_deref())?;
    if options.prometheus {
        return Ok(metrics::text(&all));
    }
    if options.json {
        let lines = all.iter().map(serde_json::to_string);
        let lines: Result<Vec<String>, _> = lines.collect();
        let lines = lines.context("status").map_err(Failure::from)?;
        return Ok(lines.into_iter().map(|line| line + "\n").collect());
    }
    if all.is_empty() {
        let why = "no supervisor runs here";
        return Err(Failure::new(NOT_SET_UP, anyhow::Error::msg(why)));
    }
    Ok(table(&all))
}

/// `restart`.
pub fn restart(options: &Ask) -> Result<(), Failure> {
    let [socket] = one(options)?;
    ask(&socket, Verb::Restart)?;
    if options.no_wait {
        return Ok(());
    }
    loop {
        let status = ask(&socket, Verb::Status)?.status.unwrap_or_default();
        if !status.restarting {
            return match status.last_restart_failed {
                false => Ok(()),
                true => Err(Failure::new(
                    FAILED,
                    anyhow::anyhow!(
                        "{}: the new worker did not become ready: the old ones go on; see the log",
                        status.device
                    ),
                )),
            };
        }
        std::thread::sleep(AGAIN);
    }
}

/// `drain`.
pub fn drain(options: &Ask) -> Result<(), Failure> {
    let [socket] = one(options)?;
    ask(&socket, Verb::Drain)?;
    // The socket goes with the device's last worker.
    while !options.no_wait && ask(&socket, Verb::Status).is_ok() {
        std::thread::sleep(AGAIN);
    }
    Ok(())
}

fn one(options: &Ask) -> Result<[PathBuf; 1], Failure> {
    let all = sockets(&options.runtime, Some(&options.device))?;
    let found = <[PathBuf; 1]>::try_from(all);
    found.map_err(|_| Failure::usage(format!("{}: which device?", options.device)))
}

/// `reload`: every supervisor with a file, once.
pub fn reload(runtime: &Runtime) -> Result<(), Failure> {
    let mut told: Vec<u32> = Vec::new();
    let mut wrong = None;
    for socket in sockets(runtime, None)? {
        let answer = match ask(&socket, Verb::Status) {
            Ok(answer) => answer,
            Err(failure) if cause(&failure.error) == Some(ErrorKind::PermissionDenied) => {
                return Err(failure)
            }
            Err(_) => continue,
        };
        let status = answer.status.unwrap_or_default();
        if !status.has_file || told.contains(&status.supervisor) {
            continue;
        }
        told.push(status.supervisor);
        if let Err(failure) = ask(&socket, Verb::Reload) {
            wrong = Some(failure);
        }
    }
    match wrong {
        Some(failure) => Err(failure),
        None if told.is_empty() => Err(Failure::new(
            NOT_SET_UP,
            anyhow::anyhow!("no supervisor with a configuration file runs here"),
        )),
        None => Ok(()),
    }
}
