// SPDX-License-Identifier: MIT
//! What the kernel said since the demo began.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;

/// The kernel's log, from now on.
pub struct KernelLog(File);

impl KernelLog {
    /// From now on.
    pub fn follow() -> anyhow::Result<KernelLog> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("/dev/kmsg: cannot open")?;
        file.seek(SeekFrom::End(0))
            .context("/dev/kmsg: cannot seek")?;
        Ok(KernelLog(file))
    }

    /// Lines since then that say that a file system or a disk had an error.
    pub fn errors(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return found,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    // "priority,number,time,flags;text"
                    let line = text.lines().next().unwrap_or_default();
                    let line = line.split_once(';').map_or(line, |(_, text)| text);
                    if is_error(line) {
                        found.push(line.to_owned());
                    }
                }
                // Records that were overwritten before they were read.
                Err(error) if error.raw_os_error() == Some(nix::libc::EPIPE) => {}
                Err(_) => return found,
            }
        }
    }
}

fn is_error(line: &str) -> bool {
    let line = line.to_lowercase();
    let about = ["ext4", "jbd2", "abuse", "buffer i/o", "i/o error"];
    let bad = ["error", "corrupt", "abort", "failed"];
    line.contains("blocked for more than")
        || (about.iter().any(|word| line.contains(word))
            && bad.iter().any(|word| line.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_file_system_and_disk_are_found_and_nothing_else() {
        assert!(is_error(
            "EXT4-fs error (device abuse0): ext4_lookup:1787: inode #2"
        ));
        assert!(is_error(
            "I/O error, dev abuse0, sector 2048 op 0x1:(WRITE)"
        ));
        assert!(is_error("Aborting journal on device abuse0-8."));
        assert!(!is_error(
            "EXT4-fs (abuse0): mounted filesystem 5d1c r/w with ordered data mode."
        ));
        assert!(!is_error("abuse: device 0 is set up"));
    }
}
