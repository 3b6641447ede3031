// SPDX-License-Identifier: MIT
//! What a later supervisor must know of a worker: a line each, written as it becomes
//! true.
//!
//! ```text
//! token=0x0123456789abcdef   by the supervisor, before there is a process
//! pid=4242                   by the process itself, before it becomes the worker
//! start=123456               by the supervisor: field 22 of /proc/PID/stat
//! standby                    with the token: it waits to be promoted
//! heartbeat                  with the token: it was told to say WATCHDOG=1
//! ready                      by the supervisor, when the worker said so
//! active                     by the supervisor, when it was promoted
//! ```

/// What is whole of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) token: Option<u64>,
    pub(super) pid: Option<u32>,
    pub(super) start: Option<u64>,
    pub(super) ready: bool,
    pub(super) standby: bool,
    pub(super) active: bool,
    pub(super) heartbeat: bool,
}

impl Record {
    pub(super) fn parse(text: &str) -> Record {
        let mut record = Record::default();
        // A line without its end was being written when its writer died.
        for line in text.split_inclusive('\n') {
            let Some(line) = line.strip_suffix('\n') else {
                continue;
            };
            match line.split_once('=') {
                Some(("token", token)) => record.token = abuse::owner::parse(token),
                Some(("pid", pid)) => record.pid = pid.parse().ok(),
                Some(("start", start)) => record.start = start.parse().ok(),
                None if line == "ready" => record.ready = true,
                None if line == "standby" => record.standby = true,
                None if line == "active" => record.active = true,
                None if line == "heartbeat" => record.heartbeat = true,
                _ => {}
            }
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Up to the last end of a line.
    fn keep_lines(text: &str) -> &str {
        &text[..text.rfind('\n').map_or(0, |end| end + 1)]
    }

    #[test]
    fn a_record_cut_off_in_the_middle_says_what_was_whole() {
        let record = Record::parse("token=0x00000000000000ff\npid=42\nstart=99\nready\n");
        assert_eq!(record.token, Some(255));
        assert_eq!((record.pid, record.start), (Some(42), Some(99)));
        assert!(record.ready);
        let record = Record::parse("token=0xff\npid=4");
        assert_eq!((record.token, record.pid), (Some(255), None));
    }

    proptest! {
        #[test]
        fn fuzzed_records_say_what_is_whole_and_nothing_else(
            text in "((token=|pid=|start=|ready|=)?(0x)?[-+]?[0-9a-f]{0,20}(ready)?[\n\r]{0,2}|\\PC{0,6}\n){0,8}"
        ) {
            let record = Record::parse(&text);
            prop_assert!(record.token != Some(0));
            prop_assert!(!record.ready || text.lines().any(|line| line == "ready"));
            // A line that is still being written changes nothing.
            prop_assert_eq!(Record::parse(&format!("{}pid=7", keep_lines(&text))), record);
        }
    }
}
