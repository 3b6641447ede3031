// SPDX-License-Identifier: MIT

//! `abuse.h` and `abi.rs` say the same, number by number and field by field, for 64-bit and 32-bit
//! callers.
//!
//! The tables below name both sides of everything once; a C compiler then compares the header with
//! what Rust computed. What stands in the header or the mirror and not in a table fails the test,
//! so that nothing can be added on one side only.

#[path = "abi/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use abuse::abi;
use table::{constants, structs, Struct};

fn uapi(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("uapi")
        .join(file)
}

fn header() -> String {
    without_comments(&fs::read_to_string(uapi("abuse.h")).unwrap())
}

fn mirror() -> String {
    let text = fs::read_to_string(uapi("abi.rs")).unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |all, line| all + line + "\n")
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, comment)) = rest.split_once("/*") {
        kept += before;
        rest = comment.split_once("*/").unwrap().1;
    }
    kept + rest
}

/// The type of C that a field of this type of Rust has, as `_Generic` sees it.
fn c_type(rust: &str) -> String {
    if let Some(array) = rust.strip_prefix('[') {
        let element = array.split_once(';').unwrap().0;
        return format!("{} *", c_type(element));
    }
    let name = rust.rsplit("::").next().unwrap();
    match name {
        "u8" => "char".into(),
        "u16" => "__u16".into(),
        "u32" => "__u32".into(),
        "i32" => "__s32".into(),
        "u64" => "__u64".into(),
        _ => {
            let all = structs();
            let found = all.iter().find(|one| one.rust == name);
            format!("struct {}", found.expect(rust).c)
        }
    }
}

/// A C file that compiles only if the header is what Rust thinks it is.
fn program(bits: usize) -> String {
    let mut c = String::from("#include <stddef.h>\n#include \"abuse.h\"\n");
    let mut check = |condition: String| {
        writeln!(
            c,
            "_Static_assert({condition}, \"{}\");",
            condition.replace('"', "'")
        )
        .unwrap();
    };
    for one in structs() {
        let name = one.c;
        let size = match name {
            "abuse_info" if bits == 32 => abi::INFO32_SIZE,
            _ => one.size,
        };
        check(format!("sizeof(struct {name}) == {size}"));
        for field in &one.fields {
            let c = field.c;
            check(format!("offsetof(struct {name}, {c}) == {}", field.offset));
            let value = format!("((struct {name} *)0)->{c}");
            check(format!("sizeof({value}) == {}", field.size));
            let kind = c_type(field.kind);
            check(format!("_Generic({value}, {kind}: 1, default: 0)"));
        }
    }
    for (name, _, value) in constants() {
        // Unsigned and wide, so that neither a sign nor a cut-off digit gets lost.
        check(format!("(unsigned long long)({name}) == {value}ULL"));
    }
    c
}

/// Compiles for a machine of so many bits; what the compiler says against it.
fn compile(name: &str, text: &str, bits: usize) -> Result<(), String> {
    let file = std::env::temp_dir().join(format!("abuse-{name}-{}.c", std::process::id()));
    fs::write(&file, text).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"])
        .arg(format!("-m{bits}"))
        .arg("-I")
        .arg(uapi(""));
    // The kernel's headers are for both; a 32-bit libc is not needed and may not be there.
    let triplet = Command::new("cc").arg("-print-multiarch").output();
    if let Ok(triplet) = triplet {
        let triplet = String::from_utf8_lossy(&triplet.stdout);
        cc.arg("-idirafter")
            .arg(Path::new("/usr/include").join(triplet.trim()));
    }
    let output = cc.arg(&file).output().expect("a C compiler called cc");
    fs::remove_file(&file).unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn header_and_mirror_are_equal_for_64_bit_callers() {
    compile("abi-64", &program(64), 64).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn header_and_mirror_are_equal_for_32_bit_callers() {
    compile("abi-32", &program(32), 32).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_difference_does_not_go_unnoticed() {
    for (is, would_be) in [
        (
            "sizeof(struct abuse_take) == 48",
            "sizeof(struct abuse_take) == 40",
        ),
        (
            "offsetof(struct abuse_done, status) == 24",
            "offsetof(struct abuse_done, status) == 28",
        ),
        (
            "((struct abuse_done *)0)->status, __s32",
            "((struct abuse_done *)0)->status, __u32",
        ),
    ] {
        let good = program(64);
        assert!(good.contains(is), "{is}");
        let error = compile("abi-bad", &good.replace(is, would_be), 64).unwrap_err();
        assert!(error.contains("static assertion failed"), "{error}");
    }
}

#[test]
fn the_header_compiles_by_itself_and_twice() {
    let twice = "#include \"abuse.h\"\n#include \"abuse.h\"\nint main(void) { return 0; }\n";
    compile("abi-alone", twice, 64).unwrap_or_else(|error| panic!("{error}"));
}

/// The structs of the header and their fields.
fn header_structs() -> BTreeSet<String> {
    let header = header();
    let mut all = BTreeSet::new();
    let definitions = header.split("\nstruct ").skip(1);
    for (head, rest) in definitions.filter_map(|text| text.split_once('{')) {
        let name = head.trim();
        let body = rest.split_once("};").unwrap().0;
        for field in body.split(';').map(str::trim).filter(|f| !f.is_empty()) {
            let field = field.split_whitespace().last().unwrap();
            let field = field.split('[').next().unwrap();
            all.insert(format!("{name}.{field}"));
        }
    }
    all
}

/// The macros and enumerators of the header.
fn header_constants() -> BTreeSet<String> {
    let header = header();
    let mut all = BTreeSet::new();
    for line in header.lines() {
        if let Some(define) = line.strip_prefix("#define ") {
            all.insert(define.split_whitespace().next().unwrap().to_string());
        }
    }
    for text in header.split("\nenum {").skip(1) {
        let body = text.split_once("};").unwrap().0;
        for entry in body.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            all.insert(entry.split_whitespace().next().unwrap().to_string());
        }
    }
    assert!(all.remove("ABUSE_H"), "the guard");
    all
}

#[test]
fn nothing_in_the_header_is_missing_from_the_tables() {
    let fields = |one: &Struct| -> Vec<String> {
        let names = one.fields.iter().map(|field| field.c);
        names.map(|field| format!("{}.{field}", one.c)).collect()
    };
    let known: BTreeSet<String> = structs().iter().flat_map(fields).collect();
    assert_eq!(header_structs(), known);

    let known: BTreeSet<String> = constants()
        .iter()
        .map(|(name, ..)| name.to_string())
        .collect();
    assert_eq!(header_constants(), known);
}

#[test]
fn nothing_in_the_mirror_is_missing_from_the_tables() {
    let mirror = mirror();
    let mut fields = BTreeSet::new();
    for (head, rest) in mirror
        .split("pub struct ")
        .skip(1)
        .filter_map(|text| text.split_once('{'))
    {
        let body = rest.split_once("\n}").unwrap().0;
        for field in body.lines().filter_map(|l| l.trim().strip_prefix("pub ")) {
            let field = field.split_once(':').unwrap().0;
            fields.insert(format!("{}.{field}", head.trim()));
        }
    }
    // The mirror spells out the padding of the 64-bit layout.
    assert!(fields.remove("Info._pad"));
    let known: BTreeSet<String> = structs()
        .iter()
        .flat_map(|one| {
            one.fields
                .iter()
                .map(move |f| format!("{}.{}", one.rust, f.rust))
        })
        .collect();
    assert_eq!(fields, known);

    let mut constants_there: BTreeSet<&str> = mirror
        .split("pub const ")
        .skip(1)
        .map(|text| text.split_once(':').unwrap().0)
        .collect();
    // The mirror's own: sums of other constants, and what the header can say with sizeof.
    for own in ["F_ALL", "P_ALL", "INFO32_SIZE"] {
        assert!(constants_there.remove(own), "{own}");
    }
    let tables = constants();
    let known: BTreeSet<&str> = tables.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(constants_there, known);
}

#[test]
fn the_sums_of_the_mirror_hold_all_their_parts() {
    let sum = |prefix: &str| {
        let parts = constants();
        let parts = parts.iter().filter(|(_, name, _)| name.starts_with(prefix));
        parts.fold(0, |sum, (_, _, value)| sum | value)
    };
    assert_eq!(u64::from(abi::F_ALL), sum("F_"));
    assert_eq!(u64::from(abi::P_ALL), sum("P_"));
}
