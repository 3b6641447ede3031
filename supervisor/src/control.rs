// SPDX-License-Identifier: MIT
//! The socket of a device: whoever may, asks its supervisor how it stands, or for
//! something. One line of JSON each way; then it is closed.
//!
//! ```text
//! {"verb":"restart"}   ►   {"done":true}
//! {"verb":"status"}    ►   {"done":true,"status":{...}}
//! {"verb":"dance"}     ►   {"done":false,"why":"..."}
//! ```
//!
//! Only root and the supervisor's own user are answered; the kernel says who asks.
//! Nobody who asks can hold the supervisor up: it never waits for one of them.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt};
use serde::{Deserialize, Serialize};

use crate::status::DeviceStatus;

/// As many ask at once; the next wait.
const ASKERS: usize = 8;
/// No question is longer.
const LONGEST: usize = 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// How it stands.
    Status,
    /// New workers.
    Restart,
    /// No workers.
    Drain,
    /// The configuration file, again.
    Reload,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What is asked for.
    pub verb: Verb,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// It is done, or under way.
    pub done: bool,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<DeviceStatus>,
}

impl Answer {
    /// Done.
    pub fn done() -> Answer {
        Answer {
            done: true,
            ..Answer::default()
        }
    }

    /// Not done.
    pub fn refused(why: impl Into<String>) -> Answer {
        Answer {
            why: Some(why.into()),
            ..Answer::default()
        }
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    askers: Vec<Asker>,
}

#[derive(Debug)]
struct Asker {
    stream: UnixStream,
    heard: Vec<u8>,
    /// What is still to be said; then it is over.
    answer: Option<Vec<u8>>,
}

impl Control {
    /// Listens; a socket that a dead supervisor left is replaced.
    pub fn bind(path: &Path) -> io::Result<Control> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Control {
            listener,
            askers: Vec::new(),
        })
    }

    /// What to wait for: somebody who asks, and somebody who may hear on.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let room = self.askers.len() < ASKERS;
        let listener = room.then(|| (self.listener.as_fd(), false));
        let askers = self.askers.iter();
        listener
            .into_iter()
            .chain(askers.map(|asker| (asker.stream.as_fd(), asker.answer.is_some())))
    }

    /// Hears and answers whoever is there.
    pub fn serve(&mut self, mut answer: impl FnMut(Verb) -> Answer) {
        while self.askers.len() < ASKERS {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            if stream.set_nonblocking(true).is_ok() {
                self.askers.push(Asker {
                    stream,
                    heard: Vec::new(),
                    answer: None,
                });
            }
        }
        self.askers.retain_mut(|asker| asker.turn(&mut answer));
    }
}

impl Asker {
    /// Whether it goes on.
    fn turn(&mut self, answer: &mut impl FnMut(Verb) -> Answer) -> bool {
        if self.answer.is_none() {
            if !self.hear() {
                return false;
            }
            let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') else {
                return true;
            };
            let reply = match serde_json::from_slice::<Question>(&self.heard[..end]) {
                _ if !self.may_ask() => Answer::refused("only root may ask"),
                Ok(question) => answer(question.verb),
                Err(error) => Answer::refused(format!("not understood: {error}")),
            };
            let mut line = serde_json::to_vec(&reply).unwrap_or_default();
            line.push(b'\n');
            self.answer = Some(line);
        }
        self.say()
    }

    fn hear(&mut self) -> bool {
        let mut piece = [0; 256];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(length) => {
                    self.heard.extend_from_slice(&piece[..length]);
                    if self.heard.contains(&b'\n') {
                        return true;
                    }
                    if self.heard.len() > LONGEST {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn say(&mut self) -> bool {
        let Some(rest) = &mut self.answer else {
            return true;
        };
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(length) => drop(rest.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        false
    }

    fn may_ask(&self) -> bool {
        let me = nix::unistd::geteuid().as_raw();
        let asks = getsockopt(&self.stream, sockopt::PeerCredentials);
        asks.is_ok_and(|who| who.uid() == 0 || who.uid() == me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufRead;

    fn scene(name: &str) -> (Control, std::path::PathBuf) {
        let name = format!("abuse-control-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        (Control::bind(&path).unwrap(), path)
    }

    /// What a question is answered with.
    fn ask(control: &mut Control, path: &Path, question: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(question).unwrap();
        control.serve(|verb| match verb {
            Verb::Drain => Answer::refused("not now"),
            _ => Answer::done(),
        });
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Who did not come to the end of a line is let go when nothing more comes.
        control.serve(|_| Answer::default());
        let mut line = String::new();
        let _ = std::io::BufReader::new(stream).read_line(&mut line);
        line
    }

    #[test]
    fn a_question_is_answered_in_one_line() {
        let (mut control, path) = scene("answers");
        let answer = ask(&mut control, &path, b"{\"verb\":\"restart\"}\n");
        assert_eq!(answer, "{\"done\":true}\n");
        let answer = ask(&mut control, &path, b"{\"verb\":\"drain\"}\n");
        assert_eq!(answer, "{\"done\":false,\"why\":\"not now\"}\n");
        let answer = ask(&mut control, &path, b"{\"verb\":\"dance\"}\n");
        assert!(answer.contains("not understood"), "{answer}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn whoever_says_nothing_or_too_much_holds_nobody_up() {
        let (mut control, path) = scene("silent");
        let silent: Vec<UnixStream> = (0..ASKERS - 1)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        let answer = ask(&mut control, &path, b"{\"verb\":\"status\"}\n");
        assert_eq!(answer, "{\"done\":true}\n");
        assert_eq!(ask(&mut control, &path, &[b'x'; 4096]), "");
        drop(silent);
        control.serve(|_| Answer::default());
        assert!(control.askers.is_empty());
        std::fs::remove_file(path).unwrap();
    }

    proptest! {
        #[test]
        fn fuzzed_questions_are_answered_or_cut_off(text in "(\\{\"verb\":\"(status|[a-z]{1,6})\"(,\"x\":1)?\\}|\\PC{0,20})\n?") {
            let (mut control, path) = scene("fuzzed");
            let answer = ask(&mut control, &path, text.as_bytes());
            std::fs::remove_file(path).unwrap();
            prop_assert!(answer.is_empty() || serde_json::from_str::<Answer>(&answer).is_ok());
            prop_assert!(control.askers.is_empty());
        }
    }
}
