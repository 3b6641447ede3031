// SPDX-License-Identifier: MIT

//! Load by fio, and what it found.

use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use serde_json::Value;

use super::command::tail;
use super::{Disk, Guest, Process, PATIENCE};

/// A job that is not started yet. Past the page cache, with libaio, unless said otherwise.
#[must_use]
pub struct Fio<'g> {
    guest: &'g Guest,
    options: Vec<String>,
    limit: Duration,
}

impl<'g> Fio<'g> {
    /// A job on one file or disk. The options are fio's own, without the dashes: `rw=randwrite`.
    pub fn on(guest: &'g Guest, file: impl AsRef<Path>, options: &[&str]) -> Fio<'g> {
        let mut all: Vec<String> = [
            "name=job",
            "ioengine=libaio",
            "direct=1",
            "thread=1",
            "group_reporting=1",
            "randrepeat=0",
        ]
        .map(String::from)
        .to_vec();
        all.push(format!("filename={}", file.as_ref().display()));
        all.extend(options.iter().map(|option| option.to_string()));
        Fio {
            guest,
            options: all,
            limit: PATIENCE * 2,
        }
    }

    /// Small requests on a disk for a minute, unless it goes earlier; returns when a worker has some.
    pub fn under_way(guest: &'g Guest, disk: &Disk<'_>, what: &str) -> Result<Load> {
        let job = [what, "bs=4k", "iodepth=16", "time_based", "runtime=60"];
        let load = Fio::on(guest, disk.path(), &job).start()?;
        disk.wait_status("requests under way", |status| status.taken > 0)?;
        Ok(load)
    }

    /// Every block is written with a checksum and read back; ends at the first that differs.
    pub fn verify(mut self) -> Self {
        for option in ["verify=crc32c", "verify_fatal=1", "do_verify=1"] {
            self.options.push(option.into());
        }
        self
    }

    /// How long it may take, instead of two minutes.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end; an error or a mismatch fails.
    pub fn run(self) -> Result<Report> {
        self.start()?.finish()
    }

    /// Starts it in the background.
    pub fn start(self) -> Result<Load> {
        let process = self
            .guest
            .command("fio")
            .args(["--output-format=json", "--eta=never"])
            .args(self.options.iter().map(|option| format!("--{option}")))
            .spawn()?;
        Ok(Load {
            process,
            limit: self.limit,
        })
    }
}

/// A job in the background.
#[derive(Debug)]
pub struct Load {
    /// The fio process.
    pub process: Process,
    limit: Duration,
}

impl Load {
    /// Waits for its end; an error or a mismatch fails.
    pub fn finish(self) -> Result<Report> {
        let report = self.report()?;
        report.check()?;
        Ok(report)
    }

    /// Waits for its end; what it reports, errors too.
    pub fn report(self) -> Result<Report> {
        let output = self.process.finish(self.limit)?;
        let mut report = Report::parse(&output.stdout)
            .with_context(|| format!("fio: {}: {}", output.status, tail(&output.stderr, 8)))?;
        report.ended_well = output.status.success();
        report.words = tail(&output.stderr, 8);
        Ok(report)
    }
}

/// What fio reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blocks read, those for verification included.
    pub reads: u64,
    /// Blocks written.
    pub writes: u64,
    /// I/O that failed, and blocks that differed.
    pub errors: u64,
    /// The errno of the first; 84, EILSEQ, for a block that differed.
    pub errno: u64,
    /// Whether fio ended with status 0.
    pub ended_well: bool,
    /// What it said besides.
    pub words: String,
}

impl Report {
    fn parse(text: &str) -> Result<Report> {
        // Notes may come before the JSON, on the same stream.
        let start = text.find('{').context("fio printed no JSON")?;
        let json: Value = serde_json::from_str(&text[start..]).context("fio's JSON")?;
        let jobs = json["jobs"].as_array().context("fio's JSON has no jobs")?;
        let mut report = Report::default();
        for job in jobs {
            let number = |value: &Value| value.as_u64().context("fio's JSON lacks a number");
            report.reads += number(&job["read"]["total_ios"])?;
            report.writes += number(&job["write"]["total_ios"])?;
            let errno = number(&job["error"])?;
            report.errors += job["total_err"].as_u64().unwrap_or(0) + u64::from(errno != 0);
            if report.errno == 0 {
                report.errno = errno;
            }
        }
        Ok(report)
    }

    /// Fails unless all went well, and something was done at all.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.ended_well && self.errors == 0,
            "fio: {} errors, first errno {}: {}",
            self.errors,
            self.errno,
            self.words
        );
        ensure!(self.reads + self.writes > 0, "fio did nothing");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"note: a hint
        {"jobs":[{"error":0,"total_err":0,"read":{"total_ios":12},"write":{"total_ios":10}}]}"#;
    const BAD: &str = r#"{"jobs":[
        {"error":0,"total_err":0,"read":{"total_ios":1},"write":{"total_ios":1}},
        {"error":84,"total_err":0,"read":{"total_ios":1},"write":{"total_ios":1}}]}"#;

    #[test]
    fn good_and_bad_ends_are_told_apart() {
        let mut good = Report::parse(GOOD).unwrap();
        assert_eq!((good.reads, good.writes, good.errors), (12, 10, 0));
        assert!(good.check().is_err(), "its status was not 0");
        good.ended_well = true;
        good.check().unwrap();

        let mut bad = Report::parse(BAD).unwrap();
        bad.ended_well = true;
        assert_eq!((bad.errors, bad.errno), (1, 84));
        assert!(bad.check().is_err());
    }

    #[test]
    fn doing_nothing_is_no_success() {
        let nothing = Report {
            ended_well: true,
            ..Report::default()
        };
        assert!(nothing.check().is_err());
        assert!(Report::parse("fio: bad option").is_err());
    }
}
