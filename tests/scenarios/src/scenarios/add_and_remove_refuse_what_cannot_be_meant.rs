// SPDX-License-Identifier: MIT

//! Each argument of ADD and REMOVE that cannot be meant is refused, with its errno, and nothing is added
//! or removed.

use abuse::abi::{self, Add, Remove};
use abuse::Registry;
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, Memory, Raw, NOWHERE, PAGE};
use crate::kit::Guest;

type Change<T> = fn(&mut T);

fn named(add: &mut Add, name: &[u8]) {
    for (to, from) in add.name.iter_mut().zip(name) {
        *to = *from;
    }
}

const ADD: [(&str, Errno, Change<Add>); 28] = [
    ("size 0", Errno::EINVAL, |it| it.size = 0),
    ("size 95", Errno::EINVAL, |it| it.size -= 1),
    ("size 5000", Errno::E2BIG, |it| it.size = 5000),
    ("flag 1", Errno::EINVAL, |it| it.flags = 1),
    ("flag 2^31", Errno::EINVAL, |it| it.flags = 1 << 31),
    ("reserved", Errno::EINVAL, |it| it.reserved = 1),
    ("reserved1", Errno::EINVAL, |it| it.reserved1 = 1 << 63),
    ("number 2^20", Errno::ENOSPC, |it| it.number = 1 << 20),
    ("number 2^32-2", Errno::ENOSPC, |it| {
        it.number = u32::MAX - 1
    }),
    ("number 0", Errno::EEXIST, |it| it.number = 0),
    ("name without an end", Errno::EINVAL, |it| {
        it.name = [b'a'; 64]
    }),
    ("dirt behind the name", Errno::EINVAL, |it| {
        named(it, b"a\0b")
    }),
    ("dirt behind no name", Errno::EINVAL, |it| named(it, b"\0b")),
    ("name .", Errno::EINVAL, |it| named(it, b".")),
    ("name ..", Errno::EINVAL, |it| named(it, b"..")),
    ("name .x", Errno::EINVAL, |it| named(it, b".x")),
    ("name -x", Errno::EINVAL, |it| named(it, b"-x")),
    ("name +1", Errno::EINVAL, |it| named(it, b"+1")),
    ("name a/b", Errno::EINVAL, |it| named(it, b"a/b")),
    ("name a b", Errno::EINVAL, |it| named(it, b"a b")),
    ("name a\\n", Errno::EINVAL, |it| named(it, b"a\n")),
    ("name a$b", Errno::EINVAL, |it| named(it, b"a$b")),
    ("name \u{e4}", Errno::EINVAL, |it| {
        named(it, "\u{e4}".as_bytes())
    }),
    ("name 7", Errno::EINVAL, |it| named(it, b"7")),
    ("name 007", Errno::EINVAL, |it| named(it, b"007")),
    ("name abctl7", Errno::EINVAL, |it| named(it, b"abctl7")),
    ("name abuse7", Errno::EINVAL, |it| named(it, b"abuse7")),
    ("name abuse", Errno::EINVAL, |it| named(it, b"abuse")),
];

const REMOVE: [(&str, Errno, Change<Remove>); 10] = [
    ("size 0", Errno::EINVAL, |it| it.size = 0),
    ("size 55", Errno::EINVAL, |it| it.size -= 1),
    ("size 5000", Errno::E2BIG, |it| it.size = 5000),
    ("flag 2", Errno::EINVAL, |it| it.flags = 2),
    ("flag 2^31", Errno::EINVAL, |it| it.flags = 1 << 31),
    ("reserved", Errno::EINVAL, |it| it.reserved = 1),
    ("reserved1", Errno::EINVAL, |it| it.reserved1[1] = 1 << 63),
    ("number 4000", Errno::ENODEV, |it| it.number = 4000),
    ("number 2^32-1", Errno::ENODEV, |it| it.number = u32::MAX),
    ("sequence 2^64-1", Errno::ESTALE, |it| {
        it.sequence = u64::MAX
    }),
];

pub(super) fn run(_guest: &Guest) -> Result<()> {
    let raw = Raw::open("/dev/abuse-control")?;
    let before = Registry::list()?;
    for (what, errno, change) in ADD {
        let mut add = Add {
            size: size_of::<Add>() as u32,
            number: 50,
            ..Add::default()
        };
        change(&mut add);
        expect(what, raw.call(abi::IOC_ADD, &mut add), errno)?;
    }
    for (what, errno, change) in REMOVE {
        let mut remove = Remove {
            size: size_of::<Remove>() as u32,
            ..Remove::default()
        };
        change(&mut remove);
        expect(what, raw.call(abi::IOC_REMOVE, &mut remove), errno)?;
    }
    let read_only = Memory::new(PAGE)?;
    read_only.put(0, 96u32);
    read_only.put(8, 50u32);
    read_only.allow(true, false)?;
    for number in [abi::IOC_ADD, abi::IOC_REMOVE] {
        for nowhere in [0, NOWHERE, 1 << 63, u64::MAX - 3, read_only.address()] {
            let what = format!("{number:#x} at {nowhere:#x}");
            expect(&what, raw.call_at(number, nowhere), Errno::EFAULT)?;
        }
    }
    for number in [0, abi::IOC_STATUS, abi::GET_STATUS, abi::RESET] {
        let what = format!("call {number:#x}");
        expect(&what, raw.call_at(number, 0), Errno::ENOTTY)?;
    }
    let after = Registry::list()?;
    let sequences = |all: &[abuse::Status]| all.iter().map(|it| it.sequence).collect::<Vec<_>>();
    ensure!(sequences(&before) == sequences(&after), "{after:?}");
    Ok(())
}
