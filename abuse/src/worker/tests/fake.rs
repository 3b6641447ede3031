// SPDX-License-Identifier: MIT

//! A driver in user space: a queue, claims and completions, and refusals on demand.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{poll, PollTimeout};

use super::super::driver::Driver;
use crate::error::Result;
use crate::sys::ioctl::{Call, Reply};
use crate::sys::Arena;
use crate::{abi, Setup, Status};

/// A request as the block layer would make it.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    pub(super) op: u16,
    pub(super) flags: u16,
    pub(super) sector: u64,
    pub(super) length: u32,
    /// Of a write.
    pub(super) data: Vec<u8>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) id: u64,
    pub(super) result: u16,
    pub(super) flags: u16,
    /// Of a read that is not all zeros.
    pub(super) data: Vec<u8>,
    /// Of a forward, how many.
    pub(super) places: u32,
}

#[derive(Default)]
pub(super) struct State {
    next_id: u64,
    pub(super) queue: VecDeque<(u64, Job)>,
    pub(super) taken: HashMap<u64, Job>,
    /// In the order they came.
    pub(super) ends: Vec<End>,
    /// Errno for the next completions of a request, one each.
    pub(super) refuse: HashMap<u64, VecDeque<Errno>>,
    /// Errno for the next calls that take, one each.
    pub(super) fail: VecDeque<Errno>,
    pub(super) setup: Option<Setup>,
    pub(super) epoch: u32,
    /// Tell the worker an address outside its arena.
    pub(super) stray: bool,
    /// How often what is handed out was held by somebody who died.
    pub(super) attempt: u32,
    pub(super) exchanges: usize,
    pub(super) flags_seen: u32,
    pub(super) spin: u32,
    pub(super) owners_seen: Vec<u64>,
    pub(super) most_taken: usize,
}

pub(super) struct Fake {
    state: Mutex<State>,
}

impl Fake {
    /// A disk of this shape with nothing in its queue.
    pub(super) fn new(setup: Setup) -> Fake {
        Fake {
            state: Mutex::new(State {
                setup: Some(setup),
                epoch: 1,
                ..State::default()
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Queues a request; its id.
    pub(super) fn queue(&self, job: Job) -> u64 {
        let mut state = self.lock();
        state.next_id += 1;
        let id = state.next_id;
        state.queue.push_back((id, job));
        id
    }

    pub(super) fn read(&self, sector: u64, length: u32) -> u64 {
        self.queue(Job {
            op: abi::OP_READ,
            sector,
            length,
            ..Job::default()
        })
    }

    pub(super) fn write(&self, sector: u64, data: &[u8]) -> u64 {
        self.queue(Job {
            op: abi::OP_WRITE,
            sector,
            length: data.len() as u32,
            data: data.to_vec(),
            ..Job::default()
        })
    }

    pub(super) fn plain(&self, op: u16, flags: u16) -> u64 {
        let length = if op == abi::OP_FLUSH { 0 } else { 4096 };
        self.queue(Job {
            op,
            flags,
            length,
            ..Job::default()
        })
    }

    /// Waits until so many requests have ended.
    pub(super) fn wait_ends(&self, count: usize) {
        while self.lock().ends.len() < count {
            nap();
        }
    }

    pub(super) fn end(&self, id: u64) -> End {
        let ends = &self.lock().ends;
        let mut found = ends.iter().filter(|end| end.id == id);
        let end = found.next().expect("the request has not ended").clone();
        assert_eq!(found.next(), None, "a request ends once");
        end
    }
}

/// A moment in a system call that a signal interrupts.
pub(super) fn nap() -> bool {
    poll(&mut [], PollTimeout::from(2u8)) == Err(Errno::EINTR)
}

/// Memory of this process, by its address: the driver, too, knows nothing else.
fn memory(address: u64, length: u32) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, address)?;
    Ok(bytes)
}

impl State {
    fn complete(&mut self, done: &mut abi::Done) -> bool {
        assert_eq!(done.status, 0, "the worker clears the status");
        assert_eq!(done.reserved, 0);
        let mut errno = None;
        if let Some(script) = self.refuse.get_mut(&done.id) {
            errno = script.pop_front();
        }
        let Some(job) = self.taken.get(&done.id) else {
            done.status = -(Errno::ENOENT as i32);
            return false;
        };
        let mut data = Vec::new();
        if errno.is_none()
            && job.op == abi::OP_READ
            && done.result == abi::OK
            && done.flags & (abi::DONE_ZERO | abi::DONE_FORWARD) == 0
        {
            match memory(done.buffer, done.length) {
                Ok(bytes) if done.length == job.length => data = bytes,
                Ok(_) => errno = Some(Errno::EINVAL),
                Err(_) => errno = Some(Errno::EFAULT),
            }
        }
        if let Some(errno) = errno {
            if errno == Errno::ESTALE {
                self.taken.remove(&done.id);
            }
            done.status = -(errno as i32);
            return false;
        }
        self.taken.remove(&done.id);
        self.ends.push(End {
            id: done.id,
            result: done.result,
            flags: done.flags,
            data,
            places: match done.flags & abi::DONE_FORWARD {
                0 => 0,
                _ => done.length,
            },
        });
        true
    }

    /// Hands out what fits, or says that the first does not.
    fn hand_out(
        &mut self,
        take: &mut [abi::Take],
        mut arena: Option<&mut Arena>,
    ) -> nix::Result<usize> {
        let mut at = 0;
        let mut count = 0;
        while count < take.len() {
            let Some((id, job)) = self.queue.front().cloned() else {
                break;
            };
            let mut buffer = 0;
            if let Some(arena) = arena.as_deref_mut() {
                buffer = arena.address() + at;
                match arena.slice_mut(buffer, job.length as usize) {
                    Some(room) if job.op == abi::OP_WRITE => room.copy_from_slice(&job.data),
                    // A worker must not rely on what was there before.
                    Some(room) => room.fill(0xee),
                    None if count == 0 => return Err(Errno::EMSGSIZE),
                    None => break,
                }
                at += u64::from(job.length.next_multiple_of(abi::ARENA_ALIGN));
                if self.stray {
                    buffer = arena.address() + arena.len() as u64;
                }
            }
            take[count] = abi::Take {
                id,
                sector: job.sector,
                buffer,
                length: job.length,
                epoch: self.epoch,
                attempt: self.attempt,
                op: job.op,
                flags: job.flags,
                ..abi::Take::default()
            };
            self.queue.pop_front();
            self.taken.insert(id, job);
            count += 1;
        }
        self.most_taken = self.most_taken.max(count);
        Ok(count)
    }
}

impl Driver for Fake {
    fn exchange(&self, mut call: Call<'_>) -> nix::Result<Reply> {
        let mut reply = Reply::default();
        let mut took_effect = false;
        let start = Instant::now();
        {
            let mut state = self.lock();
            state.exchanges += 1;
            state.flags_seen |= call.flags;
            state.spin = call.spin;
            state.owners_seen.push(call.owner);
            if !call.take.is_empty() {
                if let Some(errno) = state.fail.pop_front() {
                    return Err(errno);
                }
            }
            for done in call.done.iter_mut() {
                match state.complete(done) {
                    true => took_effect = true,
                    false => reply.done_failed += 1,
                }
            }
        }
        loop {
            {
                let mut state = self.lock();
                reply.epoch = state.epoch;
                reply.taken = match state.hand_out(call.take, call.arena.as_deref_mut()) {
                    Err(_) if took_effect => return Ok(reply),
                    other => other?,
                };
                if reply.taken > 0 || call.take.is_empty() || call.timeout_ns == 0 {
                    return Ok(reply);
                }
            }
            // As the driver: a worker is told of a refusal at once, and one that wants to be woken soon
            // has a heart that beats. Else for ever, whatever the worker asked for: it must not live off
            // its time limit.
            let beats = call.timeout_ns < 1_000_000_000;
            let late = beats && start.elapsed() > Duration::from_nanos(call.timeout_ns);
            if reply.done_failed > 0 || late {
                return Ok(reply);
            }
            if nap() {
                return match took_effect || reply.done_failed > 0 {
                    true => Ok(reply),
                    false => Err(Errno::EINTR),
                };
            }
        }
    }

    fn status(&self) -> Result<Status> {
        let state = self.lock();
        let raw = abi::Status {
            state: abi::STATE_LIVE,
            epoch: state.epoch,
            config: state.setup.as_ref().map(Setup::to_abi).unwrap_or_default(),
            ..abi::Status::default()
        };
        Ok(Status::from_abi(&raw))
    }

    fn label(&self) -> String {
        "/dev/fake".into()
    }
}
