// SPDX-License-Identifier: MIT
//! A log that can never block whoever logs.
//!
//! The disk this supervisor looks after may be the one the log ends up on. So a
//! line is put into a bounded queue, and a thread of its own writes it; when the
//! queue is full the line is dropped and counted, and the count is written as
//! soon as there is room again. The same becomes of what is more than so many
//! lines a second, in the long run: workers that die as fast as their terms let
//! them are no reason to fill a disk.
//!
//! journald gets fields besides the line (`journalctl ABUSE_DEVICE=abctl0
//! ABUSE_EVENT=died`): the device and the slot that every line begins with, and
//! of a change of state which one it is, and of which process.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Lines that may wait to be written.
const QUEUE: usize = 1024;
/// Lines that may come in one go, and after that in every second.
const BURST: u64 = 3000;
const PER_SECOND: u64 = 100;
/// Where journald takes lines with fields.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// stderr, for people: time and text.
    Text,
    /// journald: its socket, with fields; stderr with `<N>` before the text when it does not listen.
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
    Text(Entry),
    Flush(SyncSender<()>),
}

/// One line.
struct Entry {
    at: SystemTime,
    level: Level,
    text: String,
    /// What changed, and of which process, where it is that.
    event: Option<String>,
    worker: Option<String>,
}

impl Entry {
    fn of(record: &Record<'_>) -> Entry {
        let field = |name: &str| Some(record.key_values().get(name.into())?.to_string());
        Entry {
            at: SystemTime::now(),
            level: record.level(),
            text: record.args().to_string().replace('\n', "; "),
            event: field("event"),
            // 0: of no process.
            worker: field("worker").filter(|pid| pid != "0"),
        }
    }

    /// The device and the slot that it is about: `abctl0: `, or `abctl0/1: `.
    fn place(&self) -> (Option<&str>, Option<&str>) {
        let Some((place, _)) = self.text.split_once(": ") else {
            return (None, None);
        };
        let (device, slot) = match place.split_once('/') {
            Some((device, slot)) => (device, Some(slot)),
            None => (place, None),
        };
        let number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_device = device.strip_prefix("abctl").is_some_and(number);
        match is_device && slot.is_none_or(number) {
            true => (Some(device), slot),
            false => (None, None),
        }
    }

    /// As journald's own protocol has it.
    fn fields(&self) -> String {
        let severity = severity(self.level).to_string();
        let (device, slot) = self.place();
        let fields = [
            ("MESSAGE", Some(self.text.as_str())),
            ("PRIORITY", Some(&severity)),
            ("SYSLOG_IDENTIFIER", Some("abuse-supervisor")),
            ("ABUSE_DEVICE", device),
            ("ABUSE_SLOT", slot),
            ("ABUSE_EVENT", self.event.as_deref()),
            ("ABUSE_WORKER", self.worker.as_deref()),
        ];
        let there = fields.iter().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            Some(format!("{name}={value}\n"))
        });
        there.collect()
    }
}

/// How much may still be said, in thousandths of lines.
struct Allowance {
    at: Instant,
    left: u64,
}

impl Allowance {
    fn whole(at: Instant) -> Allowance {
        Allowance {
            at,
            left: BURST * 1000,
        }
    }

    /// Whether one more line may be said.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_millis();
        if passed > 0 {
            let more = u64::try_from(passed).unwrap_or(u64::MAX);
            let more = more.saturating_mul(PER_SECOND);
            self.left = self.left.saturating_add(more).min(BURST * 1000);
            self.at = now;
        }
        let may = self.left >= 1000;
        self.left -= if may { 1000 } else { 0 };
        may
    }
}

/// Lines that were not written.
#[derive(Default)]
struct Missing {
    /// The queue was full.
    dropped: AtomicU64,
    /// There were too many.
    left_out: AtomicU64,
}

/// The queue's end in the loop.
struct Queue {
    lines: SyncSender<Line>,
    missing: Arc<Missing>,
    allowance: Mutex<Allowance>,
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut allowance = self
            .allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !allowance.take(Instant::now()) {
            self.missing.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(allowance);
        let line = Line::Text(Entry::of(record));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(line)
        {
            self.missing.dropped.fetch_add(1, Ordering::Relaxed);
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
    let missing = Arc::new(Missing::default());
    let counter = Arc::clone(&missing);
    std::thread::Builder::new()
        .name("log".into())
        // The supervisor's memory is locked: no more of it than is needed.
        .stack_size(256 << 10)
        .spawn(move || write_all(open(), &queue, &counter))
        .context("cannot start the log's thread")?;
    Ok(Queue {
        lines,
        missing,
        allowance: Mutex::new(Allowance::whole(Instant::now())),
    })
}

fn write_all(mut writer: Writer, queue: &Receiver<Line>, missing: &Missing) {
    let note = |writer: &mut Writer| {
        let say = |counter: &AtomicU64, why: String| {
            let count = counter.swap(0, Ordering::Relaxed);
            (count > 0).then(|| Entry {
                at: SystemTime::now(),
                level: Level::Warn,
                text: format!("{count} log lines were {why}"),
                event: None,
                worker: None,
            })
        };
        let lost = "lost here, because nobody took them".to_owned();
        let left_out = format!("left out here, as they were more than {PER_SECOND} a second");
        let both = [
            say(&missing.dropped, lost),
            say(&missing.left_out, left_out),
        ];
        both.iter().flatten().for_each(|entry| writer.write(entry));
    };
    loop {
        match queue.recv_timeout(Duration::from_secs(1)) {
            Ok(Line::Text(entry)) => writer.write(&entry),
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
    journal: Option<UnixDatagram>,
    journal_path: PathBuf,
    stderr: Box<dyn Write>,
}

impl Writer {
    fn open(target: Target) -> Writer {
        Writer {
            target,
            syslog: None,
            journal: None,
            journal_path: JOURNAL.into(),
            stderr: Box::new(std::io::stderr()),
        }
    }

    fn write(&mut self, entry: &Entry) {
        let done = match self.target {
            Target::Syslog => self.write_syslog(entry.level, &entry.text),
            Target::Journal => self.write_journal(entry),
            Target::Text => false,
        };
        if done {
            return;
        }
        let text = &entry.text;
        let line = match self.target {
            Target::Journal => format!("<{}>{text}\n", severity(entry.level)),
            _ => {
                let at = humantime::format_rfc3339_millis(entry.at);
                let level = match entry.level {
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

    /// False if journald does not listen; the next line tries again.
    fn write_journal(&mut self, entry: &Entry) -> bool {
        if self.journal.is_none() {
            self.journal = connect(&self.journal_path).ok();
        }
        let Some(journal) = &self.journal else {
            return false;
        };
        let done = journal.send(entry.fields().as_bytes()).is_ok();
        if !done {
            self.journal = None;
        }
        done
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

fn connect(path: &Path) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
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
            journal_path: "/nobody/listens/here".into(),
            stderr: Box::new(Stuck {
                gate: stuck_gate,
                out,
            }),
            ..Writer::open(Target::Journal)
        })
        .unwrap();
        let more = 500;
        for _ in 0..BURST + more {
            let args = format_args!("x");
            queue.log(&Record::builder().level(Level::Warn).args(args).build());
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lost = count(&queue.missing.dropped);
        let left_out = count(&queue.missing.left_out);
        // The thread may have taken one.
        let kept = QUEUE as u64 + 1;
        assert!(lost >= BURST - kept, "only {lost} lines were dropped");
        assert!((1..=more).contains(&left_out), "{left_out} were too many");
        drop(closed);
        let mut told = std::iter::from_fn(|| lines.recv_timeout(Duration::from_secs(10)).ok());
        let mut find = |words: &str| told.find(|line| line.contains(words)).unwrap();
        let line = find("log lines were lost");
        assert!(line.starts_with(&format!("<4>{lost} ")), "{line}");
        let line = find("log lines were left out");
        assert!(line.starts_with(&format!("<4>{left_out} ")), "{line}");
    }

    #[test]
    fn after_a_burst_so_many_lines_a_second_are_said() {
        let begin = Instant::now();
        let mut allowance = Allowance::whole(begin);
        let mut said = |at: Duration| (0..10_000).filter(|_| allowance.take(begin + at)).count();
        assert_eq!(said(Duration::ZERO) as u64, BURST);
        assert_eq!(said(Duration::from_micros(999)), 0);
        assert_eq!(said(Duration::from_millis(10)), 1);
        assert_eq!(said(Duration::from_millis(1010)) as u64, PER_SECOND);
        assert_eq!(said(Duration::from_secs(3600)) as u64, BURST);
    }

    #[test]
    fn journald_gets_the_line_and_what_it_is_about() {
        let path = std::env::temp_dir().join(format!("abuse-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut writer = Writer {
            journal_path: path.clone(),
            ..Writer::open(Target::Journal)
        };
        let mut said = |record: &Record<'_>| {
            writer.write(&Entry::of(record));
            let mut bytes = [0; 4096];
            let length = journal.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let fields = [("event", "died"), ("worker", "42")];
        let mut record = Record::builder();
        let record = record.level(Level::Warn).key_values(&fields);
        let text = said(
            &record
                .args(format_args!("abctl0/1: worker 42\nwas killed"))
                .build(),
        );
        assert_eq!(
            text,
            "MESSAGE=abctl0/1: worker 42; was killed\nPRIORITY=4\n\
             SYSLOG_IDENTIFIER=abuse-supervisor\nABUSE_DEVICE=abctl0\nABUSE_SLOT=1\n\
             ABUSE_EVENT=died\nABUSE_WORKER=42\n"
        );
        for (line, device) in [
            ("abctl12: served", Some("ABUSE_DEVICE=abctl12\n")),
            ("abctl: x", None),
            ("abctl1/x: x", None),
            ("/etc/x: x", None),
            ("told to end", None),
        ] {
            let text = said(&Record::builder().args(format_args!("{line}")).build());
            let found = text.contains("ABUSE_DEVICE");
            assert_eq!(found, device.is_some(), "{line}: {text}");
            assert!(device.is_none_or(|device| text.contains(device)), "{text}");
        }
        // Nobody listens any more: it is said anyway.
        let (out, lines) = channel();
        drop(journal);
        std::fs::remove_file(&path).unwrap();
        writer.stderr = Box::new(Stuck {
            gate: Arc::default(),
            out,
        });
        writer.write(&Entry::of(
            &Record::builder().args(format_args!("x")).build(),
        ));
        assert_eq!(lines.recv().unwrap(), "<6>x\n");
    }
}
