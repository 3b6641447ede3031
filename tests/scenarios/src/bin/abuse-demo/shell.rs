// SPDX-License-Identifier: MIT
//! Commands, shown as they are run.

use std::process::{Command, Output, Stdio};

use anyhow::{bail, Context};

/// A step of the story, in words.
pub fn step(text: &str) {
    println!();
    println!("# {text}");
}

/// Shows a command that is run some other way.
pub fn show(line: &str) {
    println!("$ {line}");
}

/// A line of what came out.
pub fn said(line: &str) {
    println!("  {line}");
}

/// Runs a line as the shell does and shows it with its output. That it fails is an error.
pub fn run(line: &str) -> anyhow::Result<()> {
    show(line);
    let output = quiet(line)?;
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        said(line);
    }
    if !output.status.success() {
        said(&format!("({})", output.status));
        bail!("this failed: {line}");
    }
    Ok(())
}

fn quiet(line: &str) -> anyhow::Result<Output> {
    Command::new("sh")
        // Both outputs as one, in their order.
        .args(["-c", &format!("exec 2>&1; {line}")])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run: {line}"))
}
