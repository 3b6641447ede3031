// SPDX-License-Identifier: MIT
//! fio writes, reads back, and checks what it reads.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context;
use nix::libc::EILSEQ;
use serde_json::Value;

use crate::shell;

const JOBS: &str = "/tmp/demo.fio";
const ANSWER: &str = "/tmp/demo.fio.json";
const WORDS: &str = "/tmp/demo.fio.err";

/// Only reads what an earlier run with the same seed wrote.
pub const VERIFY_ONLY: &str = "--verify_only";

/// Four jobs with their own files. The seed changes with every pass, and fio keeps it in each
/// block: what an earlier pass left behind is not taken for this one's.
const JOB_FILE: &str = "\
[global]
directory=/mnt/demo
ioengine=libaio
direct=1
iodepth=8
size=24m
verify=crc32c
continue_on_error=all
randseed=${SEED}
[small]
rw=randwrite
bs=4k
size=6m
[mixed]
rw=randwrite
bsrange=4k-128k
[stream]
rw=write
bs=256k
[synced]
rw=randwrite
bs=16k
fsync=16
size=12m
";

/// What a run of fio came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    /// Bytes written and bytes read.
    pub bytes: (u64, u64),
    /// I/O errors, or a fio that failed without saying why.
    pub errors: u64,
    /// Blocks that were not what had been written.
    pub mismatches: u64,
    /// The longest time a request took, in milliseconds.
    pub slowest_ms: u64,
}

/// Writes the job file, and shows it.
pub fn write_jobs() -> anyhow::Result<()> {
    fs::write(JOBS, JOB_FILE).with_context(|| format!("{JOBS}: cannot write"))?;
    shell::show(&format!("cat {JOBS}"));
    for section in JOB_FILE.split("\n[") {
        shell::said(
            &format!("[{}", section.trim_start_matches('[').trim_end()).replace('\n', "  "),
        );
    }
    Ok(())
}

/// Starts fio in the background.
pub fn start(seed: u32, options: &[&str]) -> anyhow::Result<Child> {
    let shown = [&[JOBS], options].concat().join(" ");
    shell::show(&format!("SEED={seed} fio {shown}"));
    let words = File::create(WORDS).with_context(|| format!("{WORDS}: cannot create"))?;
    Command::new("fio")
        .arg(JOBS)
        .args(options)
        .args(["--output-format=json", "--output", ANSWER])
        .env("SEED", seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(words)
        .spawn()
        .context("cannot run fio")
}

/// What the fio that ended like this had to say.
pub fn verdict(options: &[&str], ended: ExitStatus) -> anyhow::Result<Verdict> {
    let answer = fs::read_to_string(ANSWER).with_context(|| format!("{ANSWER}: cannot read"))?;
    let words = fs::read_to_string(WORDS).with_context(|| format!("{WORDS}: cannot read"))?;
    let verdict = judge(options, &answer, &words, ended.success())?;
    if verdict.errors + verdict.mismatches > 0 {
        for line in words.lines().take(10) {
            shell::said(line);
        }
    }
    Ok(verdict)
}

fn judge(options: &[&str], answer: &str, words: &str, fine: bool) -> anyhow::Result<Verdict> {
    // fio's complaints stand before its answer, in the same file.
    let start = match answer.starts_with('{') {
        true => 0,
        false => answer.find("\n{").map_or(0, |at| at + 1),
    };
    let mut values = serde_json::Deserializer::from_str(&answer[start..]).into_iter::<Value>();
    let answer = values
        .next()
        .and_then(Result::ok)
        .context("fio's answer cannot be read")?;
    let mut verdict = Verdict {
        mismatches: words.lines().filter(|line| is_mismatch(line)).count() as u64,
        ..Verdict::default()
    };
    // With verify_only the writes are rehearsed, not done, but counted all the same.
    let rehearsed = options.contains(&VERIFY_ONLY);
    let ways: &[&str] = if rehearsed {
        &["read"]
    } else {
        &["read", "write"]
    };
    for job in answer["jobs"].as_array().into_iter().flatten() {
        for way in ways {
            let bytes = job[way]["io_bytes"].as_u64().unwrap_or(0);
            match *way {
                "write" => verdict.bytes.0 += bytes,
                _ => verdict.bytes.1 += bytes,
            }
            let slowest = job[way]["clat_ns"]["max"].as_u64().unwrap_or(0);
            verdict.slowest_ms = verdict.slowest_ms.max(slowest / 1_000_000);
        }
        match job["error"].as_i64() {
            Some(0) => {}
            // Mismatches have been counted.
            Some(error) if error == i64::from(EILSEQ) && verdict.mismatches > 0 => {}
            _ => verdict.errors += job["total_err"].as_u64().unwrap_or(1).max(1),
        }
    }
    if !fine && verdict.errors + verdict.mismatches == 0 || verdict.bytes.1 == 0 {
        verdict.errors += 1;
    }
    Ok(verdict)
}

fn is_mismatch(line: &str) -> bool {
    line.contains("verify: bad") || line.contains("verify failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = r#"{"jobs":[{"error":0,"read":{"io_bytes":7,"clat_ns":{"max":2000000}},
        "write":{"io_bytes":9,"clat_ns":{"max":1000000}}}]}"#;

    #[test]
    fn a_clean_run_is_clean() {
        let verdict = judge(&[], FINE, "", true).unwrap();
        assert_eq!((verdict.errors, verdict.mismatches), (0, 0));
        assert_eq!((verdict.bytes, verdict.slowest_ms), ((9, 7), 2));
        assert_eq!(judge(&[VERIFY_ONLY], FINE, "", true).unwrap().bytes, (0, 7));
    }

    #[test]
    fn what_is_wrong_is_counted_once() {
        let words =
            "verify: bad magic header 0, wanted acca at file x\ncrc32c: verify failed at y\n";
        let verdict = judge(&[], &format!("{words}{FINE}"), words, false).unwrap();
        assert_eq!((verdict.errors, verdict.mismatches), (0, 2));
        let failed = FINE.replace(r#""error":0"#, r#""error":5,"total_err":3"#);
        assert_eq!(judge(&[], &failed, "", false).unwrap().errors, 3);
        assert_eq!(judge(&[], FINE, "", false).unwrap().errors, 1);
        let nothing = FINE.replace("7", "0");
        assert_eq!(judge(&[], &nothing, "", true).unwrap().errors, 1);
    }
}
