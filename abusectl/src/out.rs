// SPDX-License-Identifier: MIT

//! Standard output and standard error, without the panic of `println!` on a closed pipe.

use std::io::{self, Write};

use crate::failure::{Code, Failure};

/// Prints `text`. A reader that went away ends the program quietly.
pub fn print(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Prints `text` and a newline.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints raw bytes.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(Code::Fine)),
        Err(error) => Err(Failure::io("standard output", &error)),
    }
}

/// Shows how far it has come on the terminal, in place of what was shown before.
pub fn progress(line: &str) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush());
}

/// Prints a line to stderr. When that fails there is nobody left to tell.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
