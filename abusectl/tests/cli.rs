// SPDX-License-Identifier: MIT

//! The program as scripts meet it, on a machine without the driver: help, usage errors, exit
//! codes, and what is said on which stream.

use std::process::{Command, Output};

fn abusectl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_abusectl"))
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("JOURNAL_STREAM")
        .output()
        .expect("abusectl runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// These tests promise what happens when nothing is there; with a driver there is something.
fn driver_is_loaded() -> bool {
    std::path::Path::new("/sys/module/abuse").exists()
}

const VERBS: [&str; 18] = [
    "list",
    "info",
    "top",
    "setup",
    "reconnect",
    "requeue",
    "reset",
    "drain",
    "partscan",
    "resize",
    "add",
    "remove",
    "get",
    "put",
    "poll",
    "server",
    "version",
    "completions",
];

#[test]
fn help_lists_every_verb_and_every_exit_code() {
    let output = abusectl(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for verb in VERBS {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}:\n{help}");
    }
    for code in [
        "0    ", "1    ", "2    ", "3    ", "4    ", "5    ", "124  ",
    ] {
        assert!(help.contains(&format!("\n  {code}")), "{code}:\n{help}");
    }
    assert!(!help.contains("\n  man "), "{help}");
}

#[test]
fn every_verb_explains_itself_and_names_its_device_the_same_way() {
    for verb in VERBS {
        let output = abusectl(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        assert!(stdout(&output).contains("Usage: abusectl"), "{verb}");
    }
    assert!(stdout(&abusectl(&["setup", "--help"])).contains("size|sz=SIZE"));
    assert!(stdout(&abusectl(&["list", "--help"])).contains("MOUNTPOINTS"));
    assert!(stdout(&abusectl(&["server", "--help"])).contains("ram:NAME"));
}

#[test]
fn help_can_be_asked_for_as_a_verb() {
    let (verb, option) = (abusectl(&["help", "setup"]), abusectl(&["setup", "--help"]));
    assert_eq!(verb.status.code(), Some(0));
    assert_eq!(stdout(&verb), stdout(&option));
}

#[test]
fn no_arguments_is_a_usage_error_that_shows_the_help_on_stderr() {
    let output = abusectl(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage:"));
    assert!(output.stdout.is_empty());
}

#[test]
fn usage_errors_exit_with_2_and_say_what_was_meant() {
    for (arguments, why) in [
        (&["lst"][..], "list"),
        (&["list", "--jsno"], "--json"),
        (&["list", "-o", "SIZ"], "did you mean 'SIZE'?"),
        (&["list", "-J", "--raw"], "cannot be used with"),
        (
            &["info", "/dev/sda"],
            "a device is /dev/abctlN, /dev/abuseN, N, or its name",
        ),
        (&["setup", "0", "sise=1G"], "did you mean 'size'?"),
        (&["setup", "0", "size=1G,ro,rw"], "exclude each other"),
        (&["setup", "0", "size=1G", "size=2G"], "given twice"),
        (&["setup", "0", "size=10000"], "8192 and 12288"),
        (&["setup", "0"], "size is missing"),
        (&["setup", "/dev/sda", "size=1G"], "a device is"),
        (&["setup"], "required"),
        (&["setup", "0", "size=1G", "--timeout", "1s"], "--wait"),
        (&["requeue", "0"], "--all"),
        (
            &["requeue", "0", "--owner", "me"],
            "process id, or a token with 0x",
        ),
        (&["requeue", "0", "--older-than", "soon"], "5s"),
        (&["reset"], "--all"),
        (&["reset", "0", "--all"], "cannot be used with"),
        (&["put", "0", "0x1", "--result", "oky"], "ok"),
        (&["put", "0", "first"], "hexadecimal"),
        (&["server", "0"], "--backend"),
        (&["server", "0", "--backend", "zfs:tank"], "null, ram, file"),
        (
            &["server", "0", "--backend", "null", "--setup", "sise=1G"],
            "did you mean 'size'?",
        ),
        (
            &["server", "0", "--backend", "null", "--threads", "0"],
            "--threads",
        ),
        (&["completions", "cmd"], "bash"),
    ] {
        let output = abusectl(arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("abusectl: "), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn without_the_driver_every_verb_says_how_to_load_it_and_exits_with_4() {
    if driver_is_loaded() {
        eprintln!("skipped: the driver is loaded");
        return;
    }
    for arguments in [
        &["list"][..],
        &["info"],
        &["info", "/dev/abctl0"],
        &["info", "7"],
        &["setup", "0", "size=1G"],
        &["setup", "size=1G"],
        &["setup", "0", "reconnect"],
        &["reconnect", "0"],
        &["requeue", "0", "--all"],
        &["reset", "0"],
        &["reset", "--all"],
        &["resize", "0", "1G"],
        &["add"],
        &["add", "7", "--name", "mine"],
        &["remove", "0"],
        &["remove", "mine"],
        &["remove", "--all"],
        &["info", "mine"],
        &["get", "0"],
        &["put", "0", "0x1"],
        &["poll", "0", "--timeout", "1s"],
        &["server", "0", "--backend", "null"],
    ] {
        let output = abusectl(arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {said}");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{arguments:?}: {said}");
        assert!(lines[0].starts_with("abusectl: "), "{said}");
        assert!(lines[1].contains("modprobe abuse"), "{said}");
        assert!(
            !said.contains("panicked") && !said.contains("Os {"),
            "{said}"
        );
    }
    let said = stderr(&abusectl(&["info", "/dev/abuse7"]));
    assert!(
        said.starts_with("abusectl: /dev/abctl7: No such file or directory\n"),
        "{said}"
    );
}

#[test]
fn version_answers_without_the_driver_too() {
    let output = abusectl(&["version"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(
        text.contains(&format!("abusectl: {}\n", env!("CARGO_PKG_VERSION"))),
        "{text}"
    );
    assert!(text.contains("abi: 2"), "{text}");
    if !driver_is_loaded() {
        assert!(
            text.contains("module: not loaded") && text.contains("modprobe abuse"),
            "{text}"
        );
    }
    let json: serde_json::Value =
        serde_json::from_slice(&abusectl(&["version", "--json"]).stdout).expect("json");
    assert_eq!(json["abi"], 2);
    assert_eq!(json["abusectl"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn completions_are_generated_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = abusectl(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("abusectl"), "{shell}");
    }
}

#[test]
fn man_pages_are_generated_for_the_program_and_every_verb() {
    let dir = std::env::temp_dir().join(format!("abusectl-man-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let output = abusectl(&["man", dir.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = |name: &str| std::fs::read_to_string(dir.join(name)).expect(name);
    let whole = page("abusectl.8");
    assert!(whole.contains("124"), "{whole}");
    for verb in VERBS {
        assert!(
            page(&format!("abusectl-{verb}.8")).contains(".TH"),
            "{verb}"
        );
    }
    let setup = page("abusectl-setup.8");
    assert!(setup.contains("blocksize|bs"), "{setup}");
    std::fs::remove_dir_all(&dir).expect("removed");

    let nowhere = abusectl(&["man", "/nowhere/at/all"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("/nowhere/at/all/abusectl.8: No such file or directory"));
}

#[test]
fn a_closed_pipe_is_no_crash() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_abusectl"))
        .args(["completions", "zsh"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("abusectl starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}
