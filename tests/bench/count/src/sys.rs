// SPDX-License-Identifier: MIT

//! What of QEMU's plugin interface (`qemu-plugin.h`) is needed, for its versions 1 to 3 and on.
//!
//! The functions are looked up in the emulator that loads the plugin: so one file does for all of
//! them, and nothing of QEMU has to be there to build it.

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::{mem, slice};

use crate::blocks::{Blocks, Mark};

/// The version of the interface this speaks; settled by [`choose`], before QEMU looks.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: AtomicI32 = AtomicI32::new(1);

/// Run by the loader, before anything else of this library.
#[used]
#[link_section = ".init_array"]
static CHOOSE: extern "C" fn() = choose;

extern "C" fn choose() {
    let version = match (
        look_up(c"qemu_plugin_register_vcpu_tb_exec_inline").is_some(),
        look_up(c"qemu_plugin_scoreboard_new").is_some(),
    ) {
        (true, false) => 1,
        (true, true) => 2,
        (false, _) => 3,
    };
    qemu_plugin_version.store(version, Relaxed);
}

fn look_up(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with a NUL.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// `qemu_info_t`, as far as all versions have it.
#[repr(C)]
pub struct Info {
    target: *const c_char,
    least: c_int,
    current: c_int,
    system: bool,
    processors: c_int,
    most_processors: c_int,
}

/// A block that is being translated.
type Block = *mut c_void;
/// An instruction of it.
type Instruction = *mut c_void;
type OnTranslation = extern "C" fn(id: u64, block: Block);
type OnExecution = extern "C" fn(processor: c_uint, data: *mut c_void);

const ADD_U64: c_int = 0;
const NO_REGISTERS: c_int = 0;

/// The functions of the emulator.
struct Qemu {
    on_translation: unsafe extern "C" fn(u64, OnTranslation),
    on_block: unsafe extern "C" fn(Block, OnExecution, c_int, *mut c_void),
    /// Not in newer versions, whose counters are one for each processor.
    add_in_block: Option<unsafe extern "C" fn(Block, c_int, *mut u64, u64)>,
    on_instruction: unsafe extern "C" fn(Instruction, OnExecution, c_int, *mut c_void),
    instructions: unsafe extern "C" fn(Block) -> usize,
    address: unsafe extern "C" fn(Block) -> u64,
    instruction: unsafe extern "C" fn(Block, usize) -> Instruction,
    size: unsafe extern "C" fn(Instruction) -> usize,
    bytes: Bytes,
}

/// How the bytes of an instruction are had.
enum Bytes {
    Shown(unsafe extern "C" fn(Instruction) -> *const u8),
    Copied(unsafe extern "C" fn(Instruction, *mut u8, usize) -> usize),
}

/// The function of that name.
///
/// # Safety
///
/// `F` must be the type of a pointer to it.
unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
    assert_eq!(mem::size_of::<F>(), mem::size_of::<*mut c_void>());
    let address = look_up(name)?;
    // SAFETY: a function's address, of the size of `F`, which is its type by the contract.
    Some(unsafe { mem::transmute_copy(&address) })
}

impl Qemu {
    fn new(version: c_int) -> Option<Qemu> {
        // SAFETY: the types are those of `qemu-plugin.h`; the bytes of an instruction are copied
        // from version 3 on.
        #[allow(clippy::multiple_unsafe_ops_per_block)]
        unsafe {
            Some(Qemu {
                on_translation: function(c"qemu_plugin_register_vcpu_tb_trans_cb")?,
                on_block: function(c"qemu_plugin_register_vcpu_tb_exec_cb")?,
                add_in_block: function(c"qemu_plugin_register_vcpu_tb_exec_inline"),
                on_instruction: function(c"qemu_plugin_register_vcpu_insn_exec_cb")?,
                instructions: function(c"qemu_plugin_tb_n_insns")?,
                address: function(c"qemu_plugin_tb_vaddr")?,
                instruction: function(c"qemu_plugin_tb_get_insn")?,
                size: function(c"qemu_plugin_insn_size")?,
                bytes: match version {
                    ..3 => Bytes::Shown(function(c"qemu_plugin_insn_data")?),
                    _ => Bytes::Copied(function(c"qemu_plugin_insn_data")?),
                },
            })
        }
    }
}

static QEMU: OnceLock<Qemu> = OnceLock::new();
static BLOCKS: OnceLock<Mutex<Blocks>> = OnceLock::new();

/// Called by QEMU when it has loaded the plugin.
///
/// # Safety
///
/// As QEMU calls it: `info` is valid, and `argv` has `argc` strings.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: by the contract.
    let info = unsafe { &*info };
    let arguments = match argc {
        // The pointer may be anything.
        ..1 => &[],
        // SAFETY: by the contract.
        _ => unsafe { slice::from_raw_parts(argv, argc as usize) },
    };
    let directory = arguments.iter().find_map(|&argument| {
        // SAFETY: by the contract.
        let argument = unsafe { CStr::from_ptr(argument) };
        argument.to_str().ok()?.strip_prefix("dir=")
    });
    let Some(directory) = directory else {
        eprintln!("abuse-count: where do the counts go? Say dir=DIRECTORY");
        return 1;
    };
    if !info.system || info.processors != 1 {
        eprintln!("abuse-count: counts are exact with one processor only. Say -smp 1");
        return 1;
    }
    let Some(qemu) = Qemu::new(info.current) else {
        eprintln!("abuse-count: this emulator's plugin interface lacks a function");
        return 1;
    };
    let _ = BLOCKS.set(Mutex::new(Blocks::new(PathBuf::from(directory))));
    let qemu = QEMU.get_or_init(|| qemu);
    // SAFETY: the id is ours, and the callback is of the type that it wants.
    unsafe { (qemu.on_translation)(id, translated) };
    0
}

/// A block is being translated.
extern "C" fn translated(_id: u64, block: Block) {
    let (Some(qemu), Some(blocks)) = (QEMU.get(), BLOCKS.get()) else {
        return;
    };
    // SAFETY: the block is valid during this callback.
    let address = unsafe { (qemu.address)(block) };
    // SAFETY: as above.
    let instructions = unsafe { (qemu.instructions)(block) };
    let Ok(mut blocks) = blocks.lock() else {
        return;
    };
    let counter = blocks.counter(address, instructions as u64);
    drop(blocks);
    match qemu.add_in_block {
        // SAFETY: the counter stays for ever.
        Some(add) => unsafe { add(block, ADD_U64, counter, 1) },
        // SAFETY: the same, and the callback is of the type that it wants.
        None => unsafe { (qemu.on_block)(block, entered, NO_REGISTERS, counter.cast()) },
    }
    for index in 0..instructions {
        // SAFETY: the block is valid and has that many.
        let instruction = unsafe { (qemu.instruction)(block, index) };
        // SAFETY: an instruction of a valid block.
        if unsafe { (qemu.size)(instruction) } != 8 {
            continue;
        }
        let bytes = match qemu.bytes {
            Bytes::Shown(show) => {
                // SAFETY: as above.
                let bytes = unsafe { show(instruction) };
                // SAFETY: there are as many as the size says.
                unsafe { *bytes.cast::<[u8; 8]>() }
            }
            Bytes::Copied(copy) => {
                let mut bytes = [0; 8];
                // SAFETY: there is room for 8.
                unsafe { copy(instruction, bytes.as_mut_ptr(), 8) };
                bytes
            }
        };
        let callback = match Mark::of(&bytes) {
            None => continue,
            Some(Mark::Begin) => begin,
            Some(Mark::End) => end as OnExecution,
        };
        let none = std::ptr::null_mut();
        // SAFETY: an instruction of a valid block, and the callback needs no data.
        unsafe { (qemu.on_instruction)(instruction, callback, NO_REGISTERS, none) };
    }
}

/// A block is entered; only where the emulator cannot count by itself.
extern "C" fn entered(_processor: c_uint, counter: *mut c_void) {
    // SAFETY: the pointer is that of a counter, which stays for ever.
    let counter = unsafe { &*counter.cast::<AtomicU64>() };
    counter.fetch_add(1, Relaxed);
}

extern "C" fn begin(_processor: c_uint, _data: *mut c_void) {
    mark(Mark::Begin);
}

extern "C" fn end(_processor: c_uint, _data: *mut c_void) {
    mark(Mark::End);
}

fn mark(mark: Mark) {
    if let Some(Ok(mut blocks)) = BLOCKS.get().map(Mutex::lock) {
        blocks.mark(mark);
    }
}
