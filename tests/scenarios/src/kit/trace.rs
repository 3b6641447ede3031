// SPDX-License-Identifier: MIT

//! The driver's tracepoints, read from an instance of one's own below tracefs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

const TRACEFS: &str = "/sys/kernel/tracing";

/// Records the events of group `abuse` until it is dropped.
#[derive(Debug)]
pub struct Trace {
    place: PathBuf,
}

/// One event, of whatever device.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name without `abuse_`.
    pub name: String,
    /// All of its text: `abuse0 id=0x10003 read sector=0 ...`.
    pub text: String,
}

impl Trace {
    /// Begins.
    pub fn start() -> Result<Trace> {
        let place = PathBuf::from(format!("{TRACEFS}/instances/abuse-{}", std::process::id()));
        fs::create_dir(&place).with_context(|| place.display().to_string())?;
        let trace = Trace { place };
        trace.enable(true)?;
        Ok(trace)
    }

    /// Turns all events of the driver on or off.
    pub fn enable(&self, on: bool) -> Result<()> {
        self.set("events/abuse/enable", if on { "1" } else { "0" })
    }

    /// Writes a file of the instance, as `events/abuse/abuse_queue/filter`.
    pub fn set(&self, file: &str, value: &str) -> Result<()> {
        let place = self.place.join(file);
        fs::write(&place, value).with_context(|| place.display().to_string())
    }

    /// What was recorded of one disk so far, in the order in which it happened.
    pub fn events(&self, disk: u32) -> Result<Vec<Event>> {
        Ok(parse(&self.text()?, disk))
    }

    /// Everything that was recorded so far, as the kernel prints it.
    pub fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(self.place.join("trace"))?)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.enable(false);
        let _ = fs::remove_dir(&self.place);
    }
}

/// The events of a disk in what tracefs or `trace-cmd report` prints.
pub fn parse(text: &str, disk: u32) -> Vec<Event> {
    let disk = format!("abuse{disk} ");
    let event = |line: &str| {
        let (_, rest) = line.split_once(": abuse_")?;
        let (name, text) = rest.split_once(':')?;
        let text = text.trim();
        text.starts_with(&disk).then(|| Event {
            name: name.to_string(),
            text: text.to_string(),
        })
    };
    text.lines().filter_map(event).collect()
}

impl Event {
    /// The value of a field: `pid` of `pid=7`.
    pub fn field(&self, name: &str) -> Result<&str> {
        let mut words = self.text.split(' ');
        words
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            .with_context(|| format!("no {name} in '{}'", self.text))
    }

    /// An id.
    pub fn id(&self, name: &str) -> Result<u64> {
        let value = self.field(name)?;
        u64::from_str_radix(value.trim_start_matches("0x"), 16).context(value.to_string())
    }

    /// A time, in nanoseconds.
    pub fn nanoseconds(&self, name: &str) -> Result<u64> {
        let value = self.field(name)?;
        value
            .trim_end_matches("ns")
            .parse()
            .context(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_disk_are_found_in_what_both_print() {
        let text = "\
# tracer: nop
            fio-71 [001] ..... 12.5: abuse_queue: abuse1 id=0x1f0003 read sector=8 bytes=4096 flags=
            fio-71 [001] ..... 12.6: abuse_queue: abuse11 id=0x1 read sector=8 bytes=4096 flags=
     puppet-9     [000] ..... 13.0: abuse_end:            abuse1 id=0x1f0003 read sector=8 bytes=4096 error=-5 age=77ns
";
        let events = parse(text, 1);
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["queue", "end"]);
        assert_eq!(events[0].id("id").unwrap(), 0x1f_0003);
        assert_eq!(events[1].field("error").unwrap(), "-5");
        assert_eq!(events[1].nanoseconds("age").unwrap(), 77);
        assert!(events[1].field("pid").is_err());
    }
}
