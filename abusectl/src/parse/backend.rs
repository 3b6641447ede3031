// SPDX-License-Identifier: MIT

//! `--backend`: what `server` serves the disk from.

use std::path::PathBuf;

use super::{nearest, size};

/// A backend, as it was asked for. Nothing is opened yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Reads give zeroes, writes go nowhere.
    Null,
    /// Named shared memory.
    Ram {
        /// Its name, below /dev/shm.
        name: String,
    },
    /// A file, or a block device.
    File {
        /// Where it is.
        path: PathBuf,
        /// Through the page cache instead of O_DIRECT.
        buffered: bool,
        /// Make it when it is missing.
        create: bool,
        /// Its size when it is made; the disk's when `None`.
        size: Option<u64>,
        /// With reads and writes under way together.
        io_uring: bool,
    },
}

/// The kinds there are, for `--help` and for messages.
pub const KINDS: [&str; 3] = ["null", "ram", "file"];

/// Parses `null`, `ram:NAME` or `file:PATH[,option…]`. A path ends at its first comma.
pub fn backend(text: &str) -> Result<Spec, String> {
    let mut parts = text.split(',');
    let head = parts.next().unwrap_or_default();
    let (kind, rest) = match head.split_once(':') {
        Some((kind, rest)) => (kind, Some(rest)),
        None => (head, None),
    };
    match (kind, rest.filter(|rest| !rest.is_empty())) {
        ("null", None) => no_options("null", parts).map(|()| Spec::Null),
        ("null", Some(_)) => Err("null takes no name".into()),
        ("ram", Some(name)) => {
            if name.contains('/') || name.starts_with('.') {
                return Err(format!(
                    "ram:{name}: a name without '/', which does not begin with '.'"
                ));
            }
            let name = name.to_string();
            no_options("ram", parts).map(|()| Spec::Ram { name })
        }
        ("ram", None) => Err("ram needs a name, as in ram:disk0".into()),
        ("file", Some(path)) => file(PathBuf::from(path), parts),
        ("file", None) => Err("file needs a path, as in file:/srv/disk0.img".into()),
        (other, _) => Err(format!(
            "there is no backend '{other}'{}",
            nearest::suggestion(other, KINDS)
        )),
    }
}

fn no_options<'a>(kind: &str, mut options: impl Iterator<Item = &'a str>) -> Result<(), String> {
    match options.next() {
        None => Ok(()),
        Some(option) => Err(format!("{kind} has no option '{option}'")),
    }
}

fn file<'a>(path: PathBuf, options: impl Iterator<Item = &'a str>) -> Result<Spec, String> {
    let (mut mode, mut create, mut bytes, mut io_uring) = (None, false, None, false);
    for option in options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("direct" | "buffered", "") => match mode {
                Some(before) if before != option => {
                    return Err("'direct' and 'buffered' exclude each other".into());
                }
                _ => mode = Some(option),
            },
            ("create", "") => create = true,
            ("io_uring", "") => io_uring = true,
            ("size", text) => bytes = Some(size::size(text).map_err(|why| format!("size: {why}"))?),
            (name, _) => {
                return Err(format!(
                    "file has no option '{option}'{}",
                    nearest::suggestion(name, ["direct", "buffered", "create", "size", "io_uring"])
                ));
            }
        }
    }
    if bytes.is_some() && !create {
        return Err("'size' says how large a new file becomes: it needs 'create' beside it".into());
    }
    if io_uring && mode == Some("buffered") {
        return Err("'io_uring' goes past the page cache, and 'buffered' through it".into());
    }
    Ok(Spec::File {
        path,
        io_uring,
        buffered: mode == Some("buffered"),
        create,
        size: bytes,
    })
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Spec::Null => f.write_str("null"),
            Spec::Ram { name } => write!(f, "ram:{name}"),
            Spec::File { path, .. } => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_is_understood() {
        assert_eq!(backend("null"), Ok(Spec::Null));
        assert_eq!(backend("ram:a"), Ok(Spec::Ram { name: "a".into() }));
        let plain = Spec::File {
            path: "/srv/a.img".into(),
            buffered: false,
            create: false,
            size: None,
            io_uring: false,
        };
        assert_eq!(backend("file:/srv/a.img"), Ok(plain.clone()));
        assert_eq!(backend("file:/srv/a.img,direct"), Ok(plain));
        assert_eq!(
            backend("file:/srv/a.img,buffered,create,size=1G"),
            Ok(Spec::File {
                path: "/srv/a.img".into(),
                buffered: true,
                create: true,
                size: Some(1 << 30),
                io_uring: false
            })
        );
        let rings = backend("file:/srv/a.img,io_uring");
        assert!(matches!(rings, Ok(Spec::File { io_uring: true, .. })));
    }

    #[test]
    fn what_is_no_backend_is_refused_with_what_there_is() {
        for (text, why) in [
            ("", "there are null, ram, file"),
            ("fiel:/a", "did you mean 'file'?"),
            ("zfs:tank", "there are null, ram, file"),
            ("null:x", "takes no name"),
            ("null,x", "null has no option 'x'"),
            ("ram", "needs a name"),
            ("ram:", "needs a name"),
            ("ram:../x", "without '/'"),
            ("file", "needs a path"),
            ("file:/a,dirct", "did you mean 'direct'?"),
            ("file:/a,direct,buffered", "exclude each other"),
            ("file:/a,buffered,io_uring", "past the page cache"),
            ("file:/a,size=1G", "needs 'create'"),
            ("file:/a,create,size=big", "size: not a size"),
        ] {
            let error = backend(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn fuzzed_backends_are_understood_or_refused_in_words(
            text in "(null|ram|file|[a-z]{1,5})(:[-a-z0-9./]{0,8})?(,(direct|buffered|create|io_uring|size=[0-9]{0,20}[KMG]?|[a-z=]{0,6})){0,4}|\\PC{0,12}"
        ) {
            match backend(&text) {
                Ok(Spec::Ram { name }) => prop_assert!(!name.contains('/') && !name.is_empty()),
                Ok(Spec::File { path, create, size, .. }) => {
                    prop_assert!(!path.as_os_str().is_empty() && (create || size.is_none()));
                }
                Ok(Spec::Null) => prop_assert_eq!(text.trim_end_matches(':'), "null"),
                Err(why) => prop_assert!(!why.is_empty()),
            }
        }
    }
}
