// SPDX-License-Identifier: MIT

//! The words a disk is described with, `size=1G,bs=4096 ro`, turned into a [`Setup`]: pure
//! functions from text, shared by everything that lets operators set up a disk.
//!
//! ```
//! use abuse::setup_keys::{plan, Plan};
//!
//! let Plan::Setup(setup) = plan(&["size=1G,bs=512", "ro"])? else { unreachable!() };
//! assert_eq!((setup.bytes, setup.logical_block), (1 << 30, 512));
//! assert!(plan(&["sise=1G"]).unwrap_err().contains("did you mean 'size'?"));
//! # Ok::<(), String>(())
//! ```
//!
//! Every parser answers `Result<T, String>`, where the string is half a sentence that fits behind
//! the argument it is about: clap prints it behind `invalid value '1Q' for 'SIZE': `, and [`plan`]
//! behind the key.
//!
//! Present with the feature `setup-keys`.

pub mod keys;
pub mod nearest;
pub mod size;
pub mod words;

use self::keys::{Key, Value, RECONNECT};
use crate::{Reconnect, Setup};

/// The block size of a disk that was not told one.
const DEFAULT_BLOCK: u32 = 4096;

/// The keys that a disk which is there takes, too.
pub const CHANGEABLE: [&str; 7] = [
    "ro",
    "rw",
    "requeue_on_close",
    "fenced_backend",
    "max_attempts",
    "lease",
    "no_server",
];

/// What a list of keys asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Make a disk.
    Setup(Setup),
    /// Keep the disk, change what is named, and offer what was taken again.
    Reconnect(Reconnect),
}

/// Parses keys, separated by commas or given as several words.
pub fn plan<S: AsRef<str>>(arguments: &[S]) -> Result<Plan, String> {
    let mut setup = Setup::new(0);
    let mut seen: Vec<(&'static Key, &str)> = Vec::new();
    let words = arguments.iter().flat_map(|word| word.as_ref().split(','));
    for word in words.map(str::trim).filter(|word| !word.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (word, None),
        };
        let key =
            keys::find(name).ok_or_else(|| format!("there is no key '{name}'{}", known(name)))?;
        if let Some((_, before)) = seen.iter().find(|(other, _)| other.name == key.name) {
            return Err(match *before == name {
                true => format!("'{name}' is given twice"),
                false => format!("'{before}' and '{name}' are the same key, given twice"),
            });
        }
        seen.push((key, name));
        apply(&mut setup, key, value).map_err(|why| format!("{name}: {why}"))?;
    }
    let has = |name: &str| seen.iter().any(|(key, _)| key.name == name);
    if has("ro") && has("rw") {
        return Err("'ro' and 'rw' exclude each other".into());
    }
    if has(RECONNECT) {
        if let Some((_, other)) = seen
            .iter()
            .find(|(key, _)| key.name != RECONNECT && !CHANGEABLE.contains(&key.name))
        {
            return Err(format!(
                "'reconnect' keeps the disk as it is: '{other}' cannot stand beside it, only {}",
                CHANGEABLE.join(", ")
            ));
        }
        let given = |name| has(name).then_some(());
        return Ok(Plan::Reconnect(Reconnect {
            force: false,
            read_only: given("ro").or(given("rw")).map(|()| setup.read_only),
            requeue_on_close: given("requeue_on_close").map(|()| setup.requeue_on_close),
            fenced_backend: given("fenced_backend").map(|()| setup.fenced_backend),
            max_attempts: given("max_attempts").map(|()| setup.max_attempts),
            lease: given("lease").map(|()| setup.lease),
            no_server: given("no_server").map(|()| setup.no_server),
        }));
    }
    check(&setup, has("size"))?;
    Ok(Plan::Setup(setup))
}

/// Which key was meant, if that can be guessed.
fn known(name: &str) -> String {
    match nearest::nearest(name, keys::spellings()) {
        Some(near) => format!("; did you mean '{near}'?"),
        None => String::new(),
    }
}

fn apply(setup: &mut Setup, key: &Key, value: Option<&str>) -> Result<(), String> {
    let needed = || {
        value
            .filter(|v| !v.is_empty())
            .ok_or_else(|| format!("needs a value, as in {}", example(key)))
    };
    match key.value {
        Value::Word(set) => match value {
            None => set(setup),
            Some(_) => return Err("takes no value".into()),
        },
        Value::Switch(set) => set(setup, value.map_or(Ok(true), words::yes_no)?),
        Value::Bytes(set) => set(setup, size::size(needed()?)?),
        Value::Bytes32(set) => set(setup, size::size32(needed()?)?),
        Value::Count(set) => set(setup, words::count(needed()?)?),
        Value::Time(set) => set(setup, words::duration_or_off(needed()?)?),
    }
    Ok(())
}

fn example(key: &Key) -> String {
    let value = match key.value {
        Value::Bytes(_) => "1G",
        Value::Bytes32(_) => "4096",
        Value::Count(_) => "4",
        Value::Time(_) => "5s",
        Value::Word(_) | Value::Switch(_) => "yes",
    };
    format!("{}={value}", key.name)
}

/// What can be said about the values without the driver, which has the last word.
fn check(setup: &Setup, size_given: bool) -> Result<(), String> {
    if !size_given {
        return Err("the size is missing, as in size=1G".into());
    }
    if setup.bytes == 0 {
        return Err("size: a disk of no bytes is no disk".into());
    }
    for (name, block) in [
        ("blocksize", setup.logical_block),
        ("physical", setup.physical_block),
    ] {
        if block != 0 && (!block.is_power_of_two() || block < 512) {
            return Err(format!("{name}: {block} is not a power of two from 512 up"));
        }
    }
    if setup.logical_block > 65536 {
        return Err(format!("blocksize: {} is above 64K", setup.logical_block));
    }
    let block = match setup.logical_block {
        0 => DEFAULT_BLOCK,
        block => block,
    };
    size::multiple_of(setup.bytes, u64::from(block)).map_err(|why| format!("size: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn setup(text: &str) -> Setup {
        match plan(&[text]).expect(text) {
            Plan::Setup(setup) => setup,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        plan(&[text]).expect_err(text)
    }

    #[test]
    fn commas_and_words_separate_keys() {
        let commas = plan(&["size=1G,bs=512,qs=64,ro"]).expect("commas");
        let words = plan(&["sz=1G", "blocksize=512", "queusize=64", "ro"]).expect("words");
        let mixed = plan(&["sz=1G, bs=512,", ",queuesize=64", "ro"]).expect("mixed");
        assert_eq!(commas, words);
        assert_eq!(commas, mixed);
        let setup = setup("size=1G,bs=512,qs=64,ro");
        assert_eq!(
            (setup.bytes, setup.logical_block, setup.depth),
            (1 << 30, 512, 64)
        );
        assert!(setup.read_only);
    }

    #[test]
    fn attributes_and_policies_arrive() {
        let setup = setup(
            "size=8M,pbs=4k,io_min=4K,io_opt=64K,max_bytes=256K,queues=2,segments=64,wt,nofua,\
             rotational,partscan,discard,write_zeroes,secure_erase=no,requeue_on_close=no,\
             fenced_backend,max_attempts=3,lease=5s,no_server=30s,discard_granularity=64K,max_discard=16M",
        );
        assert_eq!(
            (setup.physical_block, setup.io_min, setup.io_opt),
            (4096, 4096, 65536)
        );
        assert_eq!(
            (setup.max_bytes, setup.queues, setup.max_segments),
            (256 << 10, 2, 64)
        );
        assert!(setup.write_through && !setup.fua && setup.rotational && setup.partscan);
        assert!(setup.discard && setup.write_zeroes && !setup.secure_erase);
        assert!(!setup.requeue_on_close && setup.fenced_backend);
        assert_eq!(setup.max_attempts, 3);
        assert_eq!(setup.lease, Some(Duration::from_secs(5)));
        assert_eq!(setup.no_server, Some(Duration::from_secs(30)));
        assert_eq!(
            (setup.discard_granularity, setup.max_discard_bytes),
            (64 << 10, 16 << 20)
        );
    }

    #[test]
    fn the_safe_defaults_are_kept() {
        let setup = setup("size=1G,lease=off");
        assert!(
            setup.requeue_on_close && setup.fua && !setup.write_through && !setup.fenced_backend
        );
        assert_eq!((setup.lease, setup.no_server), (None, None));
    }

    #[test]
    fn reconnect_keeps_the_disk() {
        let reconnect = |words: &[&str]| match plan(words).expect("a reconnect") {
            Plan::Reconnect(how) => how,
            other => panic!("{words:?}: {other:?}"),
        };
        assert_eq!(reconnect(&["reconnect"]), Reconnect::default());
        assert_eq!(reconnect(&["reconnect,ro"]).read_only, Some(true));
        assert_eq!(reconnect(&["rw", "reconnect"]).read_only, Some(false));
        let all = reconnect(&[
            "reconnect,requeue_on_close=no,fenced_backend",
            "max_attempts=0,lease=off,no_server=5s",
        ]);
        let expected = Reconnect {
            force: false,
            read_only: None,
            requeue_on_close: Some(false),
            fenced_backend: Some(true),
            max_attempts: Some(0),
            lease: Some(None),
            no_server: Some(Some(Duration::from_secs(5))),
        };
        assert_eq!(all, expected);
        assert!(refused("reconnect,size=1G").contains("'size' cannot stand beside it"));
        assert!(refused("reconnect,depth=1").contains("max_attempts, lease"));
    }

    #[test]
    fn what_can_be_changed_are_keys() {
        for name in CHANGEABLE {
            assert_eq!(keys::find(name).expect(name).name, name);
        }
    }

    #[test]
    fn usage_errors_name_what_is_wrong() {
        for (keys, why) in [
            ("sise=1G", "did you mean 'size'?"),
            ("size=1G,blokcsize=4k", "did you mean 'blocksize'?"),
            ("size=1G,xyzzy", "there is no key 'xyzzy'"),
            ("size=1G,size=2G", "'size' is given twice"),
            ("size=1G,sz=2G", "'size' and 'sz' are the same key"),
            ("size=1G,qs=1,depth=2", "'qs' and 'depth' are the same key"),
            ("size=1G,ro,rw", "exclude each other"),
            ("ro,rw,reconnect", "exclude each other"),
            ("size=1G,ro=yes", "ro: takes no value"),
            ("size=1G,wt=perhaps", "wt: not yes or no"),
            ("size", "needs a value, as in size=1G"),
            ("size=", "needs a value, as in size=1G"),
            ("bs=4096", "the size is missing"),
            ("", "the size is missing"),
            ("size=0", "no bytes"),
            ("size=-1G", "size: a size cannot be negative"),
            ("size=32E", "size: too large"),
            ("size=10000", "8192 and 12288"),
            ("size=1GB,bs=4096", "no multiple of the block size 4096"),
            ("size=1G,bs=1000", "not a power of two"),
            ("size=1G,bs=256", "not a power of two from 512 up"),
            ("size=1G,bs=128K", "above 64K"),
            ("size=1G,depth=many", "depth: not a whole number"),
            ("size=1G,lease=soon", "lease: not a time"),
        ] {
            let error = refused(keys);
            assert!(error.contains(why), "{keys}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z_=,0-9KMG -]{0,60}") {
            let _ = plan(&[text]);
        }

        #[test]
        fn every_key_is_refused_twice(index in 0..keys::KEYS.len()) {
            let key = &keys::KEYS[index];
            let word = match key.value { Value::Word(_) => key.name.to_string(), _ => example(key) };
            let error = plan(&[format!("{word},{word}")]).expect_err("twice");
            prop_assert!(error.contains("twice"), "{}", error);
        }

        #[test]
        fn fuzzed_keys_make_a_disk_that_can_be_or_are_refused(
            words in proptest::collection::vec(
                "(size|sz|blocksize|bs|ro|rw|reconnect|depth|queues|lease|max_bytes|physical|[a-z_-]{1,12})((=|==| = )([0-9]{0,20}(K|M|G|T|E|kB|s|ms)?|yes|no|off|\\PC{0,4})?)?,?",
                0..6,
            )
        ) {
            let whole = plan(&words);
            // Words or commas, it is the same.
            prop_assert_eq!(&whole, &plan(&[words.join(",")]));
            if let Ok(Plan::Setup(setup)) = whole {
                let block = u64::from(setup.logical_block.max(512));
                prop_assert!(setup.bytes > 0 && setup.bytes % block == 0, "{:?}", setup);
            }
        }
    }
}
