// SPDX-License-Identifier: MIT

//! Who uses a disk: mounts, swap, and the devices built on top of it, from sysfs and procfs.

use std::fs;
use std::path::{Path, PathBuf};

/// Everything found on one disk and its partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Where it is mounted, in this mount namespace.
    pub mountpoints: Vec<String>,
    /// Nodes that are swapped to.
    pub swaps: Vec<String>,
    /// Devices that hold it: `/dev/mapper/NAME`, `/dev/md0`.
    pub holders: Vec<String>,
}

impl Users {
    /// Looks for the users of /dev/abuse`number`.
    pub fn of(number: u32) -> Self {
        Self::below(Path::new("/"), number)
    }

    fn below(root: &Path, number: u32) -> Self {
        let disk = root.join(format!("sys/block/abuse{number}"));
        let parts = parts(&disk, number);
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        Self {
            mountpoints: mounts(&text("proc/self/mountinfo"), &parts),
            swaps: swaps(&text("proc/swaps"), &parts),
            holders: holders(root, &parts),
        }
    }

    /// The column MOUNTPOINTS: as in lsblk, swap is `[SWAP]`.
    pub fn mountpoints_and_swap(&self) -> Vec<String> {
        let swaps = self.swaps.iter().map(|_| "[SWAP]".to_string());
        self.mountpoints.iter().cloned().chain(swaps).collect()
    }
}

/// The nodes of the partitions of /dev/abuse`number`.
pub fn partitions(number: u32) -> Vec<String> {
    let disk = PathBuf::from(format!("/sys/block/abuse{number}"));
    let parts = parts(&disk, number).into_iter().skip(1);
    parts.map(|part| part.node).collect()
}

/// The disk, or one of its partitions.
struct Part {
    node: String,
    numbers: String,
    sysfs: PathBuf,
}

fn parts(disk: &Path, number: u32) -> Vec<Part> {
    let part = |sysfs: PathBuf| {
        let numbers = fs::read_to_string(sysfs.join("dev"))
            .ok()?
            .trim()
            .to_string();
        let node = format!("/dev/{}", sysfs.file_name()?.to_str()?);
        Some(Part {
            node,
            numbers,
            sysfs,
        })
    };
    let prefix = format!("abuse{number}p");
    let below = entries(disk)
        .into_iter()
        .filter(|name| name.starts_with(&prefix));
    std::iter::once(disk.to_path_buf())
        .chain(below.map(|name| disk.join(name)))
        .filter_map(part)
        .collect()
}

fn entries(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Mountpoints, by device number; by source where the filesystem has a number of its own (btrfs).
fn mounts(mountinfo: &str, parts: &[Part]) -> Vec<String> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, rest)) = line.split_once(" - ") else {
            continue;
        };
        let fields: Vec<&str> = mount.split(' ').collect();
        let [_, _, numbers, _, at, ..] = fields[..] else {
            continue;
        };
        let source = unescape(rest.split(' ').nth(1).unwrap_or_default());
        if parts
            .iter()
            .any(|part| part.numbers == numbers || part.node == source)
        {
            found.push(unescape(at));
        }
    }
    found
}

fn swaps(text: &str, parts: &[Part]) -> Vec<String> {
    let nodes = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    nodes
        .map(unescape)
        .filter(|node| parts.iter().any(|part| part.node == *node))
        .collect()
}

fn holders(root: &Path, parts: &[Part]) -> Vec<String> {
    let names = parts
        .iter()
        .flat_map(|part| entries(&part.sysfs.join("holders")));
    names
        .map(
            |name| match fs::read_to_string(root.join(format!("sys/block/{name}/dm/name"))) {
                Ok(mapped) => format!("/dev/mapper/{}", mapped.trim()),
                Err(_) => format!("/dev/{name}"),
            },
        )
        .collect()
}

/// `\040` and its like, as procfs writes blanks.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\');
        let value = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A directory that is removed when the test ends.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("abusectl-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
                fs::write(path, text).expect("a file");
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn mounts_swap_and_holders_of_the_disk_and_its_partitions_are_found() {
        let tree = Tree::new(
            "users",
            &[
                ("sys/block/abuse1/dev", "259:0\n"),
                ("sys/block/abuse1/abuse1p1/dev", "259:1\n"),
                ("sys/block/abuse1/abuse1p2/dev", "259:2\n"),
                ("sys/block/abuse1/abuse1p2/holders/dm-3", ""),
                ("sys/block/abuse1/holders/md0", ""),
                ("sys/block/abuse1/queue/rotational", "0"),
                ("sys/block/dm-3/dm/name", "secret\n"),
                (
                    "proc/self/mountinfo",
                    "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     36 21 259:0 / /srv rw,noatime shared:1 - ext4 /dev/abuse1 rw\n\
                     37 21 259:1 /sub /mnt/a\\040b rw - ext4 /dev/abuse1p1 rw\n\
                     38 21 0:44 / /mnt/btrfs rw - btrfs /dev/abuse1p2 rw\n\
                     39 21 259:10 / /other rw - ext4 /dev/abuse10 rw\n\
                     garbage\n",
                ),
                (
                    "proc/swaps",
                    "Filename Type Size Used Priority\n/dev/abuse1p2 partition 1 0 -2\n/dev/sda2 partition 1 0 -3\n",
                ),
            ],
        );
        let users = Users::below(&tree.0, 1);
        assert_eq!(users.mountpoints, ["/srv", "/mnt/a b", "/mnt/btrfs"]);
        assert_eq!(users.swaps, ["/dev/abuse1p2"]);
        assert_eq!(users.holders, ["/dev/md0", "/dev/mapper/secret"]);
        assert_eq!(
            users.mountpoints_and_swap().last().map(String::as_str),
            Some("[SWAP]")
        );
    }

    #[test]
    fn a_disk_that_is_not_there_has_no_users() {
        let tree = Tree::new("nobody", &[("proc/swaps", "")]);
        assert_eq!(Users::below(&tree.0, 0), Users::default());
    }

    #[test]
    fn odd_escapes_are_kept_as_they_are() {
        assert_eq!(unescape("a\\040b\\011\\x\\"), "a b\t\\x\\");
        assert_eq!(unescape("\\777"), "\\777");
    }

    proptest! {
        #[test]
        fn fuzzed_mount_and_swap_tables_name_only_what_they_hold(
            text in "(([0-9]{1,3} [0-9]{1,3} 2(5|6):[0-9] / /[a-z\\\\0-7]{0,9} \\PC{0,5}( - )?[a-z]{0,4} (/dev/abuse0|\\PC{0,4}) rw|\\PC{0,9})\n){0,6}"
        ) {
            let parts = [Part { node: "/dev/abuse0".into(), numbers: "25:0".into(), sysfs: PathBuf::new() }];
            for found in mounts(&text, &parts).into_iter().chain(swaps(&text, &parts)) {
                prop_assert!(text.contains("25:0") || text.contains("abuse0"), "{}", found);
            }
            prop_assert!(unescape(&text).len() <= text.len() * 3);
        }
    }
}
