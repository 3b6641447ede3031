// SPDX-License-Identifier: MIT
//! What the kernel said since the demo began.

use abuse_scenarios::kit::kernel_log::KernelLog;

/// Lines that say that a file system or a disk had an error, or that the kernel itself had one.
pub fn errors(log: &mut KernelLog) -> anyhow::Result<Vec<String>> {
    let mut found = log.bad_lines()?;
    let lines = log.lines()?.iter();
    found.extend(lines.filter(|line| is_error(line)).cloned());
    Ok(found)
}

fn is_error(line: &str) -> bool {
    let line = line.to_lowercase();
    let about = ["ext4", "jbd2", "abuse", "buffer i/o", "i/o error"];
    let bad = ["error", "corrupt", "abort", "failed"];
    about.iter().any(|word| line.contains(word)) && bad.iter().any(|word| line.contains(word))
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
