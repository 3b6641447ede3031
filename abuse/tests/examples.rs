// SPDX-License-Identifier: MIT

//! The example device in three languages: built, and sent to a node that is none. The guest's
//! scenarios let them serve.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use abuse::abi;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn says(output: Output, expected: &str) {
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_c_example_builds_without_a_warning_and_says_what_failed() {
    let program = std::env::temp_dir().join(format!("abuse-example-{}", std::process::id()));
    let cc = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-I"])
        .arg(here("uapi"))
        .arg("-o")
        .arg(&program)
        .arg(here("examples/memory_disk.c"))
        .output()
        .expect("a C compiler called cc");
    assert!(
        cc.status.success(),
        "{}",
        String::from_utf8_lossy(&cc.stderr)
    );
    let output = Command::new(&program).arg("/dev/null").output().unwrap();
    std::fs::remove_file(&program).unwrap();
    says(output, "/dev/null: status failed: ");
}

/// Runs a line of Python after the example was imported.
fn python(line: &str) -> String {
    let program = format!(
        "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1]); \
         import memory_disk as disk; {line}"
    );
    let output = Command::new("python3")
        .args(["-c", &program])
        .arg(here("examples"))
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

#[test]
fn the_python_example_says_what_failed() {
    let output = Command::new("python3")
        .arg(here("examples/memory_disk.py"))
        .arg("/dev/null")
        .output()
        .expect("python3");
    says(output, "memory_disk: ");
}

#[test]
fn the_python_example_has_the_calls_and_structs_of_the_header() {
    let numbers = python("print(disk.ABUSE_STATUS, disk.ABUSE_SETUP, disk.ABUSE_EXCHANGE)");
    assert_eq!(
        numbers,
        format!(
            "{} {} {}",
            abi::IOC_STATUS,
            abi::IOC_SETUP,
            abi::IOC_EXCHANGE
        )
    );
    let sizes = python("print(disk.TAKE.size, disk.DONE.size)");
    assert_eq!(
        sizes,
        format!("{} {}", size_of::<abi::Take>(), size_of::<abi::Done>())
    );
}

#[test]
fn the_python_example_serves_reads_and_writes() {
    let answers = python(
        "data, arena = bytearray(4096), bytearray(4096); \
         arena[1024:1536] = b'x' * 512; \
         write = disk.serve((1, 2, 9024, 0, 512, 0, 0, disk.WRITE, 0), data, arena, 8000); \
         read = disk.serve((2, 2, 8000, 0, 512, 0, 0, disk.READ, 0), data, arena, 8000); \
         other = disk.serve((3, 2, 0, 0, 512, 0, 0, 3, 0), data, arena, 8000); \
         print(bytes(data[1024:1536]) == b'x' * 512, bytes(arena[:512]) == b'x' * 512, \
               [disk.DONE.unpack(one) for one in (write, read, other)])",
    );
    assert_eq!(
        answers,
        "True True [(1, 0, 0, 0, 0, 0, 0), (2, 8000, 512, 0, 0, 0, 0), (3, 0, 0, 5, 0, 0, 0)]"
    );
}
