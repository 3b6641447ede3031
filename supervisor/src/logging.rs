// SPDX-License-Identifier: MIT
//! A log that can never block whoever logs.
//!
//! The disk this supervisor looks after may be the one the log ends up on. So a
//! line is put into a bounded queue, and a thread of its own writes it; when the
//! queue is full the line is dropped and counted, and the count is written as
//! soon as there is room again.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Lines that may wait to be written.
const QUEUE: usize = 1024;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// stderr, for people: time and text.
    Text,
    /// stderr, for journald: `<N>` before the text.
    Journal,
    /// The system's log, stderr when it does not listen.
    Syslog,
}

impl Target {
    /// Syslog if it was asked for; else stderr, in the shape of whoever reads it.
    pub fn choose(syslog: bool) -> Target {
        if syslog {
            Target::Syslog
        } else if stderr_is_journal() {
            Target::Journal
        } else {
            Target::Text
        }
    }
}

/// systemd gives the device and inode of the stream it connected to the journal.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

enum Line {
    Text(SystemTime, Level, String),
    Flush(SyncSender<()>),
}

/// The queue's end in the loop.
struct Queue {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let line = Line::Text(SystemTime::now(), record.level(), text);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(line)
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.lines.try_send(Line::Flush(done)).is_ok() {
            // A reader that does not read gets a second, and no more.
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}

/// Starts the writing thread and makes it the log of this process.
pub fn start(target: Target) -> anyhow::Result<()> {
    let queue = spawn(move || Writer::open(target))?;
    log::set_boxed_logger(Box::new(queue)).context("there is a log already")?;
    log::set_max_level(LevelFilter::Info);
    Ok(())
}

/// Whether there is a log.
pub fn started() -> bool {
    log::max_level() != LevelFilter::Off
}

fn spawn(open: impl FnOnce() -> Writer + Send + 'static) -> anyhow::Result<Queue> {
    let (lines, queue) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&dropped);
    std::thread::Builder::new()
        .name("log".into())
        // The supervisor's memory is locked: no more of it than is needed.
        .stack_size(256 << 10)
        .spawn(move || write_all(open(), &queue, &counter))
        .context("cannot start the log's thread")?;
    Ok(Queue { lines, dropped })
}

fn write_all(mut writer: Writer, queue: &Receiver<Line>, dropped: &AtomicU64) {
    let note = |writer: &mut Writer| {
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            let text = format!("{count} log lines were lost here, because nobody took them");
            writer.write(SystemTime::now(), Level::Warn, &text);
        }
    };
    loop {
        match queue.recv_timeout(Duration::from_secs(1)) {
            Ok(Line::Text(at, level, text)) => writer.write(at, level, &text),
            Ok(Line::Flush(done)) => {
                note(&mut writer);
                let _ = done.try_send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        note(&mut writer);
    }
}

type Syslog = syslog::Logger<syslog::LoggerBackend, syslog::Formatter3164>;

struct Writer {
    target: Target,
    syslog: Option<Syslog>,
    stderr: Box<dyn Write>,
}

impl Writer {
    fn open(target: Target) -> Writer {
        Writer {
            target,
            syslog: None,
            stderr: Box::new(std::io::stderr()),
        }
    }

    fn write(&mut self, at: SystemTime, level: Level, text: &str) {
        if self.target == Target::Syslog && self.write_syslog(level, text) {
            return;
        }
        let line = match self.target {
            Target::Journal => format!("<{}>{text}\n", severity(level)),
            _ => {
                let at = humantime::format_rfc3339_millis(at);
                let level = match level {
                    Level::Error => "error: ",
                    Level::Warn => "warning: ",
                    _ => "",
                };
                format!("{at} {level}{text}\n")
            }
        };
        // There is nowhere to say that stderr cannot be written.
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// False if syslog does not listen; the next line tries again.
    fn write_syslog(&mut self, level: Level, text: &str) -> bool {
        if self.syslog.is_none() {
            let formatter = syslog::Formatter3164 {
                facility: syslog::Facility::LOG_DAEMON,
                hostname: None,
                process: "abuse-supervisor".into(),
                pid: std::process::id(),
            };
            self.syslog = syslog::unix(formatter).ok();
        }
        let Some(logger) = &mut self.syslog else {
            return false;
        };
        let done = match level {
            Level::Error => logger.err(text),
            Level::Warn => logger.warning(text),
            _ => logger.info(text),
        };
        if done.is_err() {
            self.syslog = None;
        }
        done.is_ok()
    }
}

/// syslog(3)'s numbers, which journald reads between `<` and `>`.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, Sender};
    use std::sync::Mutex;

    /// A reader that takes nothing until it is told to.
    struct Stuck {
        gate: Arc<Mutex<()>>,
        out: Sender<String>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.out.send(String::from_utf8_lossy(bytes).into()).ok();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_never_time() {
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let (out, lines) = channel();
        let stuck_gate = Arc::clone(&gate);
        let queue = spawn(move || Writer {
            target: Target::Journal,
            syslog: None,
            stderr: Box::new(Stuck {
                gate: stuck_gate,
                out,
            }),
        })
        .unwrap();
        for _ in 0..QUEUE * 3 {
            let args = format_args!("x");
            queue.log(&Record::builder().level(Level::Warn).args(args).build());
        }
        let lost = queue.dropped.load(Ordering::Relaxed);
        assert!(lost >= QUEUE as u64, "only {lost} lines were dropped");
        drop(closed);
        let told = std::iter::from_fn(|| lines.recv_timeout(Duration::from_secs(10)).ok())
            .find(|line| line.contains("log lines were lost"))
            .unwrap();
        assert!(told.starts_with(&format!("<4>{lost} ")), "{told}");
    }
}
