// SPDX-License-Identifier: MIT

//! What went wrong, what to do about it, and the exit code that says so to scripts.

use std::fmt::Display;

/// Exit codes; [`EXIT_CODES`] tells the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// All is well; only used to end early without a message.
    Fine = 0,
    /// It was tried, and did not work.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Not set up, or nothing pending.
    Nothing = 3,
    /// No such device.
    NoDevice = 4,
    /// Somebody uses it.
    Busy = 5,
    /// It did not happen in time.
    TimedOut = 124,
}

/// For `--help` and the man page.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    usage: the command line makes no sense
  3    the device is not set up, or nothing is pending
  4    no such device, or the driver is not loaded
  5    busy: in use or held by a living worker; --force overrides
  124  timed out";

/// A failure, as it is shown: one line that says what failed, one that says what to do.
#[derive(Debug, PartialEq)]
pub struct Failure {
    code: Code,
    what: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure without a next step yet.
    pub fn new(code: Code, what: impl Display) -> Self {
        Self {
            code,
            what: what.to_string(),
            hint: None,
        }
    }

    /// A command line that makes no sense.
    pub fn usage(what: impl Display) -> Self {
        Self::new(Code::Usage, what)
    }

    /// Ends the program with `code`; everything has been said.
    pub fn silent(code: Code) -> Self {
        Self::new(code, "")
    }

    /// An operation of the operating system that failed.
    pub fn io(object: impl Display, error: &std::io::Error) -> Self {
        Self::new(Code::Failed, format!("{object}: {}", cause(error)))
    }

    /// Says what to do; replaces what was said before.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The exit code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Both lines.
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}\n{hint}", self.what),
            None => self.what.clone(),
        }
    }

    /// Says it on stderr.
    pub fn report(&self) {
        if !self.what.is_empty() {
            crate::out::complain(&format!("abusectl: {}", self.text()));
        }
    }
}

/// The text of an error without Rust's `(os error 16)` behind it.
pub fn cause(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_the_words_of_strerror() {
        let busy = std::io::Error::from_raw_os_error(16);
        assert_eq!(cause(&busy), "Device or resource busy");
        assert_eq!(cause(&std::io::Error::other("odd")), "odd");
    }

    #[test]
    fn every_code_is_in_the_help() {
        for code in [
            Code::Fine,
            Code::Failed,
            Code::Usage,
            Code::Nothing,
            Code::NoDevice,
            Code::Busy,
            Code::TimedOut,
        ] {
            let line = format!("\n  {:<4} ", code as u8);
            assert!(EXIT_CODES.contains(&line), "{code:?}");
        }
    }
}
