// SPDX-License-Identifier: MIT

//! The guest's kernel log, from where a scenario began; and the lines that fail it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

const NODE: &str = "/dev/kmsg";

/// The one list of bad lines: that of the guest's runner.
const GATE: &str = include_str!("../../../vm/lib/gate.sh");

/// The kernel's log since one moment.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
    lines: Vec<String>,
    /// How many of them `bad_lines` has looked at.
    judged: usize,
}

impl KernelLog {
    /// Begins here, and writes a mark there that the runner finds.
    pub fn begin(mark: &str) -> Result<KernelLog> {
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new()
                .read(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(NODE)?;
            file.seek(SeekFrom::End(0))?;
            note(mark)?;
            Ok(file)
        };
        let file = open().with_context(|| format!("{NODE}, which root may read"))?;
        Ok(KernelLog {
            file,
            lines: Vec::new(),
            judged: 0,
        })
    }

    /// Everything that was said so far.
    pub fn lines(&mut self) -> Result<&[String]> {
        let mut record = [0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => break,
                Ok(bytes) => self.lines.extend(line(&record[..bytes])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Lost in the ring; the next read goes on behind the gap.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.lines.push("(lines were lost here)".into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(NODE),
            }
        }
        Ok(&self.lines)
    }

    /// The lines that must not be there, of those that have come since this was last asked.
    pub fn bad_lines(&mut self) -> Result<Vec<String>> {
        let from = self.judged;
        let lines = self.lines()?;
        let (text, judged) = (lines[from..].join("\n"), lines.len());
        self.judged = judged;
        match text.is_empty() {
            true => Ok(Vec::new()),
            false => grep(&pattern(GATE), &text),
        }
    }
}

/// Writes a line into the kernel's log.
pub fn note(text: &str) -> io::Result<()> {
    let mut node = OpenOptions::new().write(true).open(NODE)?;
    node.write_all(format!("{text}\n").as_bytes())
}

/// `6,1234,5678901,-;text\n KEY=value` as `[    5.678901] text`.
fn line(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let text = text.lines().next().unwrap_or_default();
    Some(format!("[{seconds:5}.{micros:06}] {text}"))
}

/// The regular expression that gate.sh puts together.
fn pattern(script: &str) -> String {
    let parts = script.lines().filter_map(|line| {
        let rest = line.strip_prefix("GATE")?;
        let rest = rest.strip_prefix('+').unwrap_or(rest);
        rest.strip_prefix("='")?.strip_suffix('\'')
    });
    parts.collect()
}

/// With grep, as the runner does it: the same list must mean the same here.
fn grep(pattern: &str, text: &str) -> Result<Vec<String>> {
    let mut grep = Command::new("grep")
        .args(["-aE", "--", pattern])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("grep")?;
    let mut input = grep.stdin.take().context("grep's input")?;
    let text = text.to_string();
    let feeder = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = grep.wait_with_output().context("grep")?;
    // It reads all of its input, or fails by itself.
    let _ = feeder.join();
    match output.status.code() {
        Some(0 | 1) => Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_string)
            .collect()),
        _ => anyhow::bail!("grep: {}", output.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_the_lines_people_know() {
        let record = b"6,339,5140900,-;NET: Registered\n SUBSYSTEM=x\n";
        assert_eq!(line(record).unwrap(), "[    5.140900] NET: Registered");
        assert_eq!(line(b"nonsense"), None);
    }

    #[test]
    fn the_gate_is_that_of_the_runner_and_shuts() {
        let pattern = pattern(GATE);
        let log = "abuse: loaded\n\
                   WARNING: CPU: 1 PID: 7 at drivers/x.c:1\n\
                   INFO: task fio:12 blocked for more than 120 seconds.\n\
                   rcu: INFO: rcu_preempt self-detected stall on CPU\n\
                   BUG: KASAN: slab-use-after-free in x\n\
                   Oops: 0000 [#1] SMP\n\
                   EXT4-fs (abuse0): mounted filesystem";
        let bad = grep(&pattern, log).unwrap();
        assert_eq!(bad.len(), 5, "{bad:?}");
    }
}
