// SPDX-License-Identifier: MIT

//! The log of `server`: to the journal, to a terminal, or to syslog.
//!
//! Logging must never hold up I/O, for / may be on the disk that is being served: whoever logs
//! only puts a line into a bounded queue, a thread of its own writes it out, and what does not
//! fit is counted and reported later.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::failure::{cause, Code, Failure};

/// Lines that wait to be written.
const QUEUE: usize = 1024;
/// How long the end of the program waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

enum Job {
    Line(Level, String),
    Flush(SyncSender<()>),
}

struct Queue {
    jobs: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = Job::Line(record.level(), record.args().to_string());
            if self.jobs.try_send(line).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

/// Where lines go.
enum Sink {
    /// stderr, each line behind the priority journald reads.
    Journal,
    /// stderr, as it is.
    Text,
    Syslog(Syslog),
}

type Syslog = syslog::Logger<syslog::LoggerBackend, syslog::Formatter3164>;

impl Sink {
    fn write(&mut self, level: Level, line: &str) {
        // Whole, as other workers write to the same stream. An error here has nowhere to be reported to.
        let whole = |line: String| io::stderr().write_all(line.as_bytes());
        let _ = match self {
            Sink::Journal => whole(format!("<{}>{}\n", priority(level), one_line(line))),
            Sink::Text => whole(format!("abusectl: {line}\n")),
            Sink::Syslog(logger) => syslog_line(logger, level, line),
        };
    }
}

fn syslog_line(logger: &mut Syslog, level: Level, line: &str) -> io::Result<()> {
    match level {
        Level::Error => logger.err(line),
        Level::Warn => logger.warning(line),
        Level::Info => logger.info(line),
        Level::Debug | Level::Trace => logger.debug(line),
    }
    .map_err(io::Error::other)
}

/// The priority of sd-daemon(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A line break would begin a message without a priority.
fn one_line(line: &str) -> String {
    line.replace('\n', " ")
}

/// Whether stderr is the journal: JOURNAL_STREAM names its device and inode.
fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM").and_then(|s| s.into_string().ok()) else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let Ok(metadata) = stderr
        .map(std::fs::File::from)
        .and_then(|file| file.metadata())
    else {
        return false;
    };
    stream == format!("{}:{}", metadata.dev(), metadata.ino())
}

fn sink(to_syslog: bool) -> Result<Sink, Failure> {
    if to_syslog {
        let formatter = syslog::Formatter3164 {
            facility: syslog::Facility::LOG_DAEMON,
            hostname: None,
            process: "abusectl".into(),
            pid: std::process::id(),
        };
        // Which socket failed how says less than what is missing.
        let logger = syslog::unix(formatter).map_err(|_| {
            Failure::new(Code::Failed, "syslog: nobody listens on /dev/log")
                .hint("Start a syslog daemon, or leave --syslog out.")
        })?;
        return Ok(Sink::Syslog(logger));
    }
    Ok(match stderr_is_journal() {
        true => Sink::Journal,
        false => Sink::Text,
    })
}

/// Starts logging. `verbose` shows debug messages too.
pub fn start(to_syslog: bool, verbose: bool) -> Result<(), Failure> {
    let sink = sink(to_syslog)?;
    let (jobs, queue) = mpsc::sync_channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&lost);
    thread::Builder::new()
        .name("log".into())
        .spawn(move || write_out(&queue, sink, &counter))
        .map_err(|error| {
            Failure::new(
                Code::Failed,
                format!("cannot start logging: {}", cause(&error)),
            )
        })?;
    log::set_max_level(if verbose {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    });
    // It can only fail when there is a logger already, which then does the work.
    let _ = log::set_boxed_logger(Box::new(Queue { jobs, lost }));
    Ok(())
}

fn write_out(queue: &Receiver<Job>, mut sink: Sink, lost: &AtomicU64) {
    for job in queue {
        match job {
            Job::Line(level, line) => sink.write(level, &line),
            Job::Flush(done) => {
                let _ = done.try_send(());
            }
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => (),
            n => sink.write(
                Level::Warn,
                &format!("{n} log messages were lost: the log was too slow"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_lines_and_never_waits() {
        let (jobs, queue) = mpsc::sync_channel(2);
        let lost = Arc::new(AtomicU64::new(0));
        let logger = Queue {
            jobs,
            lost: Arc::clone(&lost),
        };
        log::set_max_level(LevelFilter::Info);
        for _ in 0..5 {
            logger.log(
                &Record::builder()
                    .level(Level::Info)
                    .args(format_args!("line"))
                    .build(),
            );
        }
        assert_eq!(lost.load(Ordering::Relaxed), 3);
        assert_eq!(queue.try_iter().count(), 2);
    }

    #[test]
    fn a_message_stays_one_line_in_the_journal() {
        assert_eq!(one_line("a\nb"), "a b");
        assert_eq!(priority(Level::Error), 3);
    }
}
