// SPDX-License-Identifier: MIT

//! What went wrong, in one sentence, and what to do about it.
//!
//! An [`Error`] names the object, the operation and the cause; [`Error::hint`] names the next step
//! where there is one.
//!
//! ```
//! let error = abuse::Device::open("/dev/null").unwrap_err();
//! assert!(error.to_string().starts_with("/dev/null: open failed: "));
//! assert!(error.hint().is_some());
//! ```

use std::borrow::Cow;
use std::{fmt, io};

use nix::errno::Errno;

/// Result of everything in this crate that is not a backend's own I/O.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation: on what, which one, why, and what to do next.
///
/// Prints as one sentence, `/dev/abctl0: reset failed: Device or resource busy`.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    object: String,
    operation: Cow<'static, str>,
    cause: Cause,
    hint: Option<Cow<'static, str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    /// The kernel said no.
    Errno(i32),
    /// The kernel said no, and here that means this.
    Explained(i32, String),
    /// This crate said no, or the error has no number.
    Reason(String),
}

impl Error {
    /// `operation` on `object` failed with what the system said.
    pub fn new(
        object: impl fmt::Display,
        operation: impl Into<Cow<'static, str>>,
        cause: impl Into<io::Error>,
    ) -> Error {
        let cause = cause.into();
        let cause = match cause.raw_os_error() {
            Some(errno) => Cause::Errno(errno),
            None => Cause::Reason(cause.to_string()),
        };
        Error {
            object: object.to_string(),
            operation: operation.into(),
            cause,
            hint: None,
        }
    }

    /// `operation` on `object` was not even tried, for this reason.
    pub fn refused(
        object: impl fmt::Display,
        operation: impl Into<Cow<'static, str>>,
        reason: impl Into<String>,
    ) -> Error {
        Error {
            object: object.to_string(),
            operation: operation.into(),
            cause: Cause::Reason(reason.into()),
            hint: None,
        }
    }

    /// `operation` on `object` failed with an errno that means this here.
    pub(crate) fn explained(
        object: impl fmt::Display,
        operation: impl Into<Cow<'static, str>>,
        errno: Errno,
        meaning: impl Into<String>,
    ) -> Error {
        Error {
            object: object.to_string(),
            operation: operation.into(),
            cause: Cause::Explained(errno as i32, meaning.into()),
            hint: None,
        }
    }

    /// The same error with a next step.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// What it happened to: a node, a file.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// What was tried: `setup`, `reset`, ...
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// The errno, when the system refused. `None` when this crate did.
    pub fn errno(&self) -> Option<i32> {
        match self.cause {
            Cause::Errno(errno) | Cause::Explained(errno, _) => Some(errno),
            Cause::Reason(_) => None,
        }
    }

    /// What to do next, when there is something.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} failed: ", self.object, self.operation)?;
        match &self.cause {
            Cause::Errno(errno) => match Errno::from_raw(*errno) {
                Errno::UnknownErrno => write!(f, "error {errno}"),
                known => f.write_str(known.desc()),
            },
            Cause::Explained(_, reason) | Cause::Reason(reason) => f.write_str(reason),
        }
    }
}

/// For people, too: it is what a `main` that returns an error prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_object_operation_and_cause() {
        let error = Error::new("/dev/abctl0", "reset", Errno::EBUSY);
        assert_eq!(
            error.to_string(),
            "/dev/abctl0: reset failed: Device or resource busy"
        );
        assert_eq!(error.errno(), Some(libc::EBUSY));
        assert_eq!(error.hint(), None);
    }

    #[test]
    fn a_reason_of_our_own_has_no_errno() {
        let error = Error::refused("a.img", "open", "it is too small").with_hint("grow it");
        assert_eq!(error.to_string(), "a.img: open failed: it is too small");
        assert_eq!(error.errno(), None);
        assert_eq!(error.hint(), Some("grow it"));
        assert_eq!(
            format!("{error:?}"),
            "a.img: open failed: it is too small\ngrow it"
        );
    }

    #[test]
    fn an_unknown_errno_prints_its_number() {
        let error = Error::new("x", "y", io::Error::from_raw_os_error(4095));
        assert_eq!(error.to_string(), "x: y failed: error 4095");
    }
}
