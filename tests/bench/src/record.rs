// SPDX-License-Identifier: MIT

//! What was seen in the guest, a line of JSON each: it is there even if the guest is not any more.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{json, Value};

/// Something that was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// Somebody who is measured.
    Contender {
        name: String,
        what: String,
        module: String,
        version: String,
    },
    /// Somebody who should be, and why not.
    Missing { name: String, reason: String },
    /// Two runs of a job, whose instructions are in the phases of these numbers.
    Count {
        contender: String,
        job: String,
        round: u32,
        requests: [u64; 2],
        phases: [u64; 2],
        switches: [u64; 2],
    },
    /// Something that is done once, in so many equal parts, whose instructions are in a phase.
    Phase {
        name: String,
        phase: u64,
        parts: u32,
    },
    /// A figure that is known as it is.
    Value { name: String, value: f64 },
    /// One run of a job on a clock.
    Clock {
        contender: String,
        job: String,
        round: u32,
        iops: f64,
        p50_us: f64,
        p99_us: f64,
    },
}

impl Record {
    fn to_json(&self) -> Value {
        match self {
            Record::Contender {
                name,
                what,
                module,
                version,
            } => {
                json!({"kind": "contender", "name": name, "what": what, "module": module, "version": version})
            }
            Record::Missing { name, reason } => {
                json!({"kind": "missing", "name": name, "reason": reason})
            }
            Record::Count {
                contender,
                job,
                round,
                requests,
                phases,
                switches,
            } => {
                json!({"kind": "count", "contender": contender, "job": job, "round": round,
                       "requests": requests, "phases": phases, "switches": switches})
            }
            Record::Phase { name, phase, parts } => {
                json!({"kind": "phase", "name": name, "phase": phase, "parts": parts})
            }
            Record::Value { name, value } => {
                json!({"kind": "value", "name": name, "value": value})
            }
            Record::Clock {
                contender,
                job,
                round,
                iops,
                p50_us,
                p99_us,
            } => {
                json!({"kind": "clock", "contender": contender, "job": job, "round": round,
                       "iops": iops, "p50_us": p50_us, "p99_us": p99_us})
            }
        }
    }

    fn from_json(value: &Value) -> Option<Record> {
        let text = |key: &str| value[key].as_str().map(String::from);
        let float = |key: &str| value[key].as_f64();
        let pair = |key: &str| Some([value[key][0].as_u64()?, value[key][1].as_u64()?]);
        let round = || value["round"].as_u64().map(|round| round as u32);
        Some(match value["kind"].as_str()? {
            "contender" => Record::Contender {
                name: text("name")?,
                what: text("what")?,
                module: text("module")?,
                version: text("version")?,
            },
            "missing" => Record::Missing {
                name: text("name")?,
                reason: text("reason")?,
            },
            "count" => Record::Count {
                contender: text("contender")?,
                job: text("job")?,
                round: round()?,
                requests: pair("requests")?,
                phases: pair("phases")?,
                switches: pair("switches")?,
            },
            "phase" => Record::Phase {
                name: text("name")?,
                phase: value["phase"].as_u64()?,
                parts: value["parts"].as_u64()? as u32,
            },
            "value" => Record::Value {
                name: text("name")?,
                value: float("value")?,
            },
            "clock" => Record::Clock {
                contender: text("contender")?,
                job: text("job")?,
                round: round()?,
                iops: float("iops")?,
                p50_us: float("p50_us")?,
                p99_us: float("p99_us")?,
            },
            _ => return None,
        })
    }
}

/// The file they go to.
pub(crate) struct Log(File);

impl Log {
    pub(crate) fn create(path: &Path) -> Result<Log> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Log(file))
    }

    pub(crate) fn write(&mut self, record: &Record) -> Result<()> {
        writeln!(self.0, "{}", record.to_json()).context("a record")
    }
}

/// What is in such a file; nothing if it is not there.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(Vec::new());
    };
    let record = |line: &str| {
        let value = serde_json::from_str(line)?;
        Record::from_json(&value).context("not a record of this program")
    };
    text.lines()
        .map(|line| record(line).with_context(|| format!("{}: {line}", path.display())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let records = [
            Record::Missing {
                name: "kublk".into(),
                reason: "it \"could\" not".into(),
            },
            Record::Count {
                contender: "copy".into(),
                job: "job".into(),
                round: 2,
                requests: [1, 2],
                phases: [3, 4],
                switches: [5, 6],
            },
        ];
        for record in records {
            assert_eq!(Record::from_json(&record.to_json()), Some(record));
        }
    }
}
