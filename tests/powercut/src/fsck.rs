// SPDX-License-Identifier: MIT

//! The file systems: how each is made, and how it is repaired, checked and read after a power cut.
//!
//! Two ways. From outside, with the tools alone, an image is checked in a few tens of milliseconds,
//! wherever those tools run. By mounting it, which takes root, the kernel itself replays its log.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{bail, ensure, Context, Result};

use crate::load;
use crate::plan::{Files, Plan, THREADS};

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext4, with its journal.
    Ext4,
    /// xfs: only by mounting, as nothing but the kernel replays its log.
    Xfs,
    /// btrfs. From outside only what is in a committed transaction is seen, so without `notreelog`
    /// it is read by mounting.
    Btrfs,
    /// f2fs. From outside it is checked, but not read.
    F2fs,
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Kind> {
        Ok(match name {
            "ext4" => Kind::Ext4,
            "xfs" => Kind::Xfs,
            "btrfs" => Kind::Btrfs,
            "f2fs" => Kind::F2fs,
            _ => bail!("{name}: there are ext4, xfs, btrfs and f2fs"),
        })
    }
}

impl Kind {
    /// Bytes of a disk that is just large enough for it.
    pub fn bytes(self) -> u64 {
        match self {
            Kind::Ext4 => 64 << 20,
            Kind::Btrfs | Kind::F2fs => 128 << 20,
            Kind::Xfs => 304 << 20,
        }
    }

    /// What makes it, but for the disk.
    pub fn mkfs(self) -> &'static [&'static str] {
        match self {
            Kind::Ext4 => &["mkfs.ext4", "-q", "-F", "-b", "4096"],
            Kind::Xfs => &["mkfs.xfs", "-q", "-f"],
            Kind::Btrfs => &["mkfs.btrfs", "-q", "-f"],
            Kind::F2fs => &["mkfs.f2fs", "-q", "-f"],
        }
    }

    fn check(self) -> &'static [&'static str] {
        match self {
            Kind::Ext4 => &["e2fsck", "-fn"],
            Kind::Xfs => &["xfs_repair", "-n"],
            Kind::Btrfs => &["btrfs", "check", "--readonly"],
            Kind::F2fs => &["fsck.f2fs", "--dry-run"],
        }
    }
}

/// What a file system is like after a power cut.
#[derive(Debug)]
pub struct Found {
    /// What its checker has against it.
    pub damage: Option<String>,
    /// The files of each thread of the load, or why they cannot be had; `None` where this way of
    /// looking does not see them.
    pub files: Option<Result<Vec<Files>>>,
}

/// Where the tools come from.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// The root of another Debian, whose programs run with its own libraries; `None`: this machine.
    pub root: Option<PathBuf>,
}

impl Tools {
    fn command(&self, name: &str) -> Result<Command> {
        let Some(root) = &self.root else {
            return Ok(Command::new(name));
        };
        let program = ["usr/sbin", "usr/bin"]
            .map(|directory| root.join(directory).join(name))
            .into_iter()
            .find(|program| program.exists())
            .with_context(|| format!("{name}: not in {}", root.display()))?;
        let mut command = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(root.join("usr/lib/x86_64-linux-gnu"))
            .arg(program);
        Ok(command)
    }

    /// Runs a program: its exit status, and all it said.
    fn run(&self, words: &[&str], paths: &[&Path]) -> Result<(i32, String)> {
        let output = self
            .command(words[0])?
            .args(&words[1..])
            .args(paths)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", words[0]))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        // One that is killed by a signal has no status.
        Ok((output.status.code().unwrap_or(-1), text))
    }

    fn checked(&self, kind: Kind, image: &Path) -> Result<Option<String>> {
        let (status, text) = self.run(kind.check(), &[image])?;
        Ok((status != 0).then(|| complaint(kind.check()[0], status, &text)))
    }

    /// Looks from outside. The image is changed; `spare` is a directory that is not there yet.
    pub fn look(&self, kind: Kind, options: &str, image: &Path, spare: &Path) -> Result<Found> {
        let replayed = match kind {
            Kind::Ext4 => self.replay(image)?,
            _ => None,
        };
        let checked = self.checked(kind, image)?;
        let damage = match (replayed, checked) {
            (Some(first), Some(second)) => Some(format!("{first}; {second}")),
            (first, second) => first.or(second),
        };
        let files = match kind {
            Kind::Ext4 => Some(self.dump_ext4(image, spare)),
            Kind::Btrfs if options.contains("notreelog") => Some(self.restore(image, spare)),
            _ => None,
        };
        Ok(Found { damage, files })
    }

    /// Has the journal replayed and the orphans released, as a mount would; says what else there
    /// was to repair. Preening repairs harmless damage in silence otherwise: after a crash there
    /// must be none.
    fn replay(&self, image: &Path) -> Result<Option<String>> {
        let (status, text) = self.run(&["e2fsck", "-fp"], &[image])?;
        let other = text.lines().find(|line| !is_recovery(line));
        Ok(match other {
            None if matches!(status, 0 | 1) => None,
            _ => Some(complaint("e2fsck -fp", status, &text)),
        })
    }

    fn dump_ext4(&self, image: &Path, spare: &Path) -> Result<Vec<Files>> {
        fs::create_dir(spare)?;
        let mut request = String::from("rdump");
        for thread in 0..THREADS {
            // Writing to a string cannot fail.
            let _ = write!(request, " /{}", Plan::directory(thread));
        }
        let _ = write!(request, " {}", spare.display());
        let (status, text) = self.run(&["debugfs", "-R", &request], &[image])?;
        ensure!(status == 0, complaint("debugfs", status, &text));
        load::find(spare)
    }

    fn restore(&self, image: &Path, spare: &Path) -> Result<Vec<Files>> {
        fs::create_dir(spare)?;
        let words = [
            "btrfs",
            "restore",
            "--path-regex",
            "^/(|thread[0-9](|/.*))$",
        ];
        let (status, text) = self.run(&words, &[image, spare])?;
        ensure!(status == 0, complaint("btrfs restore", status, &text));
        load::find(spare)
    }

    /// Looks by mounting the image. `spare` is a directory that is not there yet.
    pub fn mount(&self, kind: Kind, options: &str, image: &Path, spare: &Path) -> Result<Found> {
        fs::create_dir(spare)?;
        if kind == Kind::Btrfs {
            // The kernel remembers the device that the last image was on.
            let (status, text) = self.run(&["btrfs", "device", "scan", "--forget"], &[])?;
            ensure!(status == 0, complaint("btrfs device scan", status, &text));
        }
        let options = match options {
            "" => "loop".to_string(),
            more => format!("loop,{more}"),
        };
        let (status, text) = self.run(&["mount", "-o", &options], &[image, spare])?;
        if status != 0 {
            return Ok(Found {
                damage: Some(complaint("mount", status, &text)),
                files: None,
            });
        }
        let files = load::find(spare);
        let (status, text) = self.run(&["umount"], &[spare])?;
        ensure!(status == 0, complaint("umount", status, &text));
        Ok(Found {
            damage: self.checked(kind, image)?,
            files: Some(files),
        })
    }
}

/// What e2fsck says of recovery as such.
fn is_recovery(line: &str) -> bool {
    line.trim().is_empty()
        || ["recovering journal", "Clearing orphaned inode", "Truncating orphaned inode"]
            .iter()
            .any(|words| line.contains(words))
        // The counts in the superblock are brought up to date only by an unmount.
        || ["Setting free inodes count", "Setting free blocks count"]
            .iter()
            .any(|words| line.starts_with(words))
        || (line.contains(" files (") && line.ends_with(" blocks"))
}

fn complaint(tool: &str, status: i32, text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(8)..];
    format!("{tool}: status {status}: {}", last.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_told_from_repair() {
        for line in [
            "disk: recovering journal",
            "disk: Clearing orphaned inode 13 (uid=0, gid=0, mode=0100644, size=5)",
            "disk: 11/16384 files (0.0% non-contiguous), 6538/65536 blocks",
            "Setting free inodes count to 8175 (was 8181)",
        ] {
            assert!(is_recovery(line), "{line}");
        }
        for line in [
            "disk: Block bitmap differences:  -1234",
            "disk: Unattached inode 14",
            "disk: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.",
        ] {
            assert!(!is_recovery(line), "{line}");
        }
    }

    #[test]
    fn a_tool_that_is_not_there_is_named() {
        let tools = Tools {
            root: Some("/nowhere".into()),
        };
        let error = tools.run(&["e2fsck", "-fn"], &[]).unwrap_err();
        assert!(error.to_string().starts_with("e2fsck"), "{error}");
    }
}
