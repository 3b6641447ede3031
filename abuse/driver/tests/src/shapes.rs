//! What a set-up asks for: what is refused, what is completed, what is clamped and reported.

use crate::abi::{self, Info, Reconnect, Setup};
use crate::shape::{changed, check_change, of_2009, settle, Bad};

const CPUS: u32 = 4;
const PAGE: u32 = 4096;

fn asked(bytes: u64) -> Setup {
    Setup {
        bytes,
        ..Setup::default()
    }
}

fn settled(change: impl FnOnce(&mut Setup)) -> Result<Setup, Bad> {
    let mut setup = asked(1 << 30);
    change(&mut setup);
    settle(&setup, CPUS, PAGE)
}

#[test]
fn a_size_alone_makes_a_safe_disk() {
    let disk = settled(|_| {}).unwrap();
    assert_eq!(
        disk.adjusted, 0,
        "nothing was asked for, so nothing was adjusted"
    );
    assert_eq!(
        (disk.logical_block, disk.physical_block, disk.io_min),
        (4096, 4096, 4096)
    );
    assert_eq!((disk.depth, disk.queues), (128, 1));
    assert_eq!((disk.max_bytes, disk.max_segments), (1 << 20, 256));
    let unsafe_bits = abi::F_WRITE_THROUGH | abi::F_NO_FUA;
    assert_eq!(
        disk.features & unsafe_bits,
        0,
        "volatile cache and FUA are declared"
    );
    assert_eq!(disk.policies, 0, "requeue on close, and no old writers");
}

#[test]
fn sizes_that_cannot_be_meant_are_refused() {
    assert_eq!(settle(&asked(0), CPUS, PAGE), Err(Bad::Invalid));
    assert_eq!(settle(&asked(4095), CPUS, PAGE), Err(Bad::Invalid));
    assert_eq!(settle(&asked(1 << 63), CPUS, PAGE), Err(Bad::TooBig));
    assert!(settle(&asked((1 << 63) - 4096), CPUS, PAGE).is_ok());
}

#[test]
fn blocks_are_powers_of_two_from_512_to_64k() {
    for block in [1, 511, 513, 3000, 256, 128 << 10, u32::MAX] {
        let outcome = settled(|setup| setup.logical_block = block);
        assert_eq!(outcome, Err(Bad::Invalid), "logical block {block}");
    }
    for block in [512, 1024, 4096, 65536] {
        let disk = settled(|setup| setup.logical_block = block).unwrap();
        assert_eq!(disk.logical_block, block);
        assert!(disk.max_bytes >= block && disk.max_segments >= block / PAGE);
    }
}

#[test]
fn a_physical_block_is_at_least_a_logical_one() {
    let disk = settled(|setup| setup.physical_block = 512).unwrap();
    assert_eq!(
        (disk.physical_block, disk.adjusted),
        (4096, abi::ADJ_PHYSICAL)
    );
    assert_eq!(
        settled(|setup| setup.physical_block = 5000),
        Err(Bad::Invalid)
    );
}

/// The block layer rounds by the physical block in silence, so the shape does it first.
#[test]
fn best_io_and_discards_come_in_physical_blocks() {
    let disk = settled(|setup| setup.physical_block = 16384).unwrap();
    assert_eq!((disk.discard_granularity, disk.io_opt), (16384, 0));
    assert_eq!(disk.adjusted, 0);
    let disk = settled(|setup| {
        (setup.physical_block, setup.io_opt) = (16384, 20480);
        setup.discard_granularity = 4096;
    })
    .unwrap();
    assert_eq!((disk.discard_granularity, disk.io_opt), (16384, 16384));
    assert_eq!(disk.adjusted, abi::ADJ_IO_OPT | abi::ADJ_DISCARD);
}

#[test]
fn what_is_unknown_or_reserved_is_refused() {
    let bad: [fn(&mut Setup); 4] = [
        |setup| setup.features = abi::F_ALL + 1,
        |setup| setup.policies = abi::P_ALL + 1,
        |setup| setup.reserved0 = 1,
        |setup| setup.reserved = [0, 0, 0, 0, 1],
    ];
    for change in bad {
        assert_eq!(settled(change), Err(Bad::Invalid));
    }
}

#[test]
fn what_is_too_large_is_clamped_and_reported() {
    let disk = settled(|setup| {
        setup.depth = 100_000;
        setup.queues = 1000;
        setup.max_bytes = 1 << 30;
        setup.max_segments = 1000;
    })
    .unwrap();
    assert_eq!(disk.depth, abi::MAX_DEPTH);
    assert_eq!(disk.queues, CPUS);
    assert_eq!(disk.max_bytes, abi::MAX_BYTES);
    assert_eq!(disk.max_segments, abi::MAX_SEGMENTS);
    let adjusted = abi::ADJ_DEPTH | abi::ADJ_QUEUES | abi::ADJ_MAX_BYTES | abi::ADJ_SEGMENTS;
    assert_eq!(disk.adjusted, adjusted);
}

#[test]
fn tags_fit_an_id_however_many_processors_there_are() {
    let mut setup = asked(1 << 30);
    (setup.depth, setup.queues) = (4096, 4096);
    let disk = settle(&setup, 4096, PAGE).unwrap();
    assert_eq!(disk.depth * disk.queues, abi::MAX_TAGS);
}

#[test]
fn fua_without_a_cache_is_dropped_and_reported() {
    let disk = settled(|setup| setup.features = abi::F_WRITE_THROUGH).unwrap();
    assert_ne!(disk.features & abi::F_NO_FUA, 0);
    assert_eq!(disk.adjusted, abi::ADJ_FUA);
    let disk = settled(|setup| setup.features = abi::F_WRITE_THROUGH | abi::F_NO_FUA).unwrap();
    assert_eq!(disk.adjusted, 0);
}

#[test]
fn settling_what_was_settled_changes_nothing() {
    for depth in [1, 2, 77, 4096] {
        for block in [512, 4096, 65536] {
            let once = settled(|setup| (setup.depth, setup.logical_block) = (depth, block));
            let mut once = once.unwrap();
            once.adjusted = 0;
            assert_eq!(settle(&once, CPUS, PAGE), Ok(once));
        }
    }
}

fn info() -> Info {
    Info {
        bytes: 1 << 20,
        blocksize: 4096,
        max_queue: 128,
        ..Info::default()
    }
}

#[test]
fn a_disk_of_2009_has_no_cache_and_no_partitions() {
    let setup = of_2009(&info(), false, PAGE).unwrap();
    assert_eq!(setup.features, abi::F_WRITE_THROUGH | abi::F_NO_FUA);
    let setup = of_2009(&info(), true, PAGE).unwrap();
    assert_ne!(setup.features & abi::F_PARTSCAN, 0);
}

#[test]
fn what_2009_refused_is_refused() {
    let bad: [fn(&mut Info); 5] = [
        |info| info.blocksize = 0,
        |info| info.blocksize = 3000,
        |info| info.blocksize = 8192,
        |info| info.blocksize = 256,
        |info| info.max_queue = 513,
    ];
    for change in bad {
        let mut info = info();
        change(&mut info);
        assert_eq!(of_2009(&info, false, PAGE), Err(Bad::Invalid));
    }
}

#[test]
fn flags_that_2009_did_not_know_are_not_looked_at() {
    let mut info = info();
    info.flags = !abi::FLAGS_READ_ONLY;
    let setup = of_2009(&info, false, PAGE).unwrap();
    assert_eq!(setup.features, abi::F_WRITE_THROUGH | abi::F_NO_FUA);
}

#[test]
fn a_change_changes_what_it_names_and_nothing_else() {
    let before = settled(|setup| {
        setup.policies = abi::P_KEEP_ON_CLOSE;
        setup.max_attempts = 3;
        setup.lease_ns = 5;
        setup.no_server_ns = 7;
    })
    .unwrap();
    assert_eq!(changed(&before, &Reconnect::default()), before);
    let call = Reconnect {
        flags: abi::RC_READ_ONLY | abi::RC_LEASE,
        policies: abi::P_FENCED_BACKEND,
        policy_mask: abi::P_ALL,
        ..Reconnect::default()
    };
    assert_eq!(check_change(&call), Ok(()));
    let mut expected = before;
    expected.features |= abi::F_READ_ONLY;
    expected.policies = abi::P_FENCED_BACKEND;
    expected.lease_ns = 0;
    assert_eq!(changed(&before, &call), expected);
    let call = Reconnect {
        flags: abi::RC_READ_WRITE | abi::RC_MAX_ATTEMPTS | abi::RC_NO_SERVER,
        max_attempts: 9,
        no_server_ns: 11,
        ..Reconnect::default()
    };
    assert_eq!(check_change(&call), Ok(()));
    let after = changed(&expected, &call);
    expected.features &= !abi::F_READ_ONLY;
    expected.max_attempts = 9;
    expected.no_server_ns = 11;
    assert_eq!(after, expected);
}

#[test]
fn a_change_that_cannot_be_meant_is_refused() {
    let bad: [fn(&mut Reconnect); 9] = [
        |call| call.flags = abi::RC_READ_ONLY | abi::RC_READ_WRITE,
        |call| call.flags = 0x40,
        |call| call.policy_mask = abi::P_ALL + 1,
        |call| call.policies = abi::P_FENCED_BACKEND,
        |call| call.max_attempts = 1,
        |call| call.lease_ns = 1,
        |call| call.no_server_ns = 1,
        |call| call.reserved0 = 1,
        |call| call.reserved = 1,
    ];
    for (index, change) in bad.into_iter().enumerate() {
        let mut call = Reconnect::default();
        change(&mut call);
        assert_eq!(check_change(&call), Err(Bad::Invalid), "{index}");
    }
}
