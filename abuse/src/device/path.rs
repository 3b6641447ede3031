// SPDX-License-Identifier: MIT

//! The names of a device: `/dev/abctlN`, `/dev/abuseN` and `N` are one and the same, and so are the
//! name it was added under and its link below `/dev/abuse/by-name`.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::abi;
use crate::error::{Error, Result};

const CONTROL: &str = "abctl";
const DISK: &str = "abuse";

/// Where udev makes a link to the disk of a device that has a name.
const BY_NAME: &str = "/dev/abuse/by-name";
/// What the driver says of its nodes.
const SYSFS: &str = "/sys/class/abuse";

/// A device, as somebody called it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Called {
    /// Its control node.
    pub(super) node: PathBuf,
    /// The name the device must still have when its node has been opened.
    pub(super) name: Option<String>,
}

/// The control node that `name` means. A path of another shape is taken as it is, for nodes that
/// udev or an administrator named.
///
/// The name of a device is looked up in what the driver says, and not by following a link: anybody
/// who can make links in a directory would decide which disk is meant.
pub(super) fn find(called: &Path) -> Result<Called> {
    let name = match called.strip_prefix(BY_NAME) {
        Ok(name) => name.to_str().filter(|name| is_name(name)),
        Err(_) => called.to_str().filter(|name| is_name(name)),
    };
    let Some(name) = name else {
        let node = control_node(called)?;
        return Ok(Called { node, name: None });
    };
    let number = number_of(Path::new(SYSFS), name).ok_or_else(|| {
        Error::explained(
            called.display(),
            "open",
            Errno::ENOENT,
            "no device has this name",
        )
        .with_hint("a device is /dev/abctlN, /dev/abuseN, N or a name that abusectl list shows")
    })?;
    Ok(Called {
        node: PathBuf::from(format!("/dev/{CONTROL}{number}")),
        name: Some(name.to_string()),
    })
}

/// Whether a device may be called so; the rule is the driver's. What means a number is no name.
pub fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    let bare = [CONTROL, DISK]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
    (1..abi::NAME_SIZE).contains(&text.len())
        && text.bytes().all(good)
        && !text.starts_with(['.', '+', '-'])
        && !bare.bytes().all(|byte| byte.is_ascii_digit())
        // No name a driver would refuse, but what somebody meant who forgot the disk.
        && !is_partition(text)
}

/// The number of the device of this name.
fn number_of(class: &Path, name: &str) -> Option<u32> {
    let mut numbers = numbers_in(class).ok()?.into_iter();
    (!name.is_empty()).then_some(())?;
    numbers.find(|number| {
        let attribute = class.join(format!("{CONTROL}{number}/name"));
        std::fs::read_to_string(attribute).is_ok_and(|is| is.trim_end() == name)
    })
}

fn control_node(name: &Path) -> Result<PathBuf> {
    let text = name.to_string_lossy();
    if let Some(number) = number(&text) {
        return Ok(PathBuf::from(format!("/dev/{CONTROL}{number}")));
    }
    let Some(file) = name.file_name().and_then(|file| file.to_str()) else {
        return Err(not_a_device(name));
    };
    // A slash behind it does not make it a name in the current directory.
    let parent = name
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let bare = parent.is_none();
    let directory = parent.unwrap_or(Path::new("/dev"));
    if let Some(number) = numbered(file, CONTROL).or_else(|| numbered(file, DISK)) {
        return Ok(directory.join(format!("{CONTROL}{number}")));
    }
    if is_partition(file) {
        return Err(not_a_device(name).with_hint("name the disk, not its partition"));
    }
    if bare {
        return Err(not_a_device(name));
    }
    Ok(name.to_path_buf())
}

/// The numbers of the control nodes in a directory, in order.
pub(super) fn numbers_in(directory: &Path) -> Result<Vec<u32>> {
    let fail = |error| Error::new(directory.display(), "list", error);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        numbers.extend(name.to_str().and_then(|name| numbered(name, CONTROL)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn numbered(name: &str, prefix: &str) -> Option<u32> {
    number(name.strip_prefix(prefix)?)
}

/// Digits only and without leading zeros, as the driver prints them.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

/// `abuse0p1`
fn is_partition(name: &str) -> bool {
    name.strip_prefix(DISK)
        .and_then(|rest| rest.split_once('p'))
        .is_some_and(|(disk, part)| number(disk).is_some() && number(part).is_some())
}

fn not_a_device(name: &Path) -> Error {
    Error::refused(name.display(), "open", "it does not name a device")
        .with_hint("a device is /dev/abctlN, /dev/abuseN, N or the name it was added under")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str) -> String {
        let called = find(Path::new(name)).unwrap();
        assert_eq!(called.name, None);
        called.node.display().to_string()
    }

    #[test]
    fn names_are_words_that_mean_no_number() {
        for name in ["x", "a.b_c+d-e", "2024-backup", "abuse-control", "abuse1x"] {
            assert!(is_name(name), "{name}");
        }
        let long = "n".repeat(abi::NAME_SIZE);
        assert!(is_name(&long[1..]));
        for name in [
            "", ".", "..", ".x", "-x", "+1", "a/b", "a b", "ä", "7", "abctl7", "abuse7", "abctl",
            "abuse0p1", &long,
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn the_number_of_a_name_is_what_the_driver_says() {
        let class = crate::backend::tests::TempDir::new();
        for (node, name) in [
            ("abctl0", "\n"),
            ("abctl7", "mine\n"),
            ("abuse-control", ""),
        ] {
            std::fs::create_dir(class.path().join(node)).unwrap();
            std::fs::write(class.path().join(node).join("name"), name).unwrap();
        }
        assert_eq!(number_of(class.path(), "mine"), Some(7));
        assert_eq!(number_of(class.path(), "min"), None);
        assert_eq!(number_of(class.path(), ""), None);
    }

    #[test]
    fn control_node_disk_and_number_mean_the_same_device() {
        for name in [
            "/dev/abctl12",
            "/dev/abuse12",
            "12",
            "abctl12",
            "abuse12",
            "abuse12/",
        ] {
            assert_eq!(node(name), "/dev/abctl12", "{name}");
        }
    }

    #[test]
    fn a_node_elsewhere_stays_there() {
        assert_eq!(node("/tmp/abuse3"), "/tmp/abctl3");
        assert_eq!(node("./abctl3"), "./abctl3");
        assert_eq!(node("/dev/disk/by-id/mine"), "/dev/disk/by-id/mine");
    }

    #[test]
    fn what_names_no_device_is_refused_with_the_next_step() {
        for name in ["", "x", "-1", "00", "abctl", "abuse-control", "/"] {
            let error = find(Path::new(name)).unwrap_err();
            assert!(error.hint().is_some(), "{name}: {error}");
        }
        let error = find(Path::new("/dev/abuse0p1")).unwrap_err();
        assert_eq!(error.hint(), Some("name the disk, not its partition"));
    }

    #[test]
    fn only_control_nodes_are_counted() {
        let directory = crate::backend::tests::TempDir::new();
        for name in ["abctl10", "abctl2", "abuse2", "abuse-control", "abctlx"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(numbers_in(directory.path()).unwrap(), [2, 10]);
    }

    proptest! {
        #[test]
        fn fuzzed_names_are_control_nodes_or_refused(
            name in "(/|\\./|/dev/|/dev/disk/by-id/)?(abuse|abctl|abuse-control)?[-+]?[0-9]{0,12}(p[0-9]{0,3})?/?|\\PC{0,12}"
        ) {
            match control_node(Path::new(&name)) {
                // A node of a control node is itself.
                Ok(node) => prop_assert_eq!(control_node(&node).ok(), Some(node)),
                Err(error) => prop_assert!(error.hint().is_some(), "{}: {}", name, error),
            }
        }
    }
}
