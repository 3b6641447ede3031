//! A small disk to test with: requests are numbers, processes die when told to, and time passes
//! only when a test says so.

use std::cell::Cell;
use std::rc::Rc;

use crate::ledger::{
    Arrival, Claim, Ended, Finish, Holder, Ledger, Op, Policies, Process, Refusal, Requeued, Slot,
    Unclaimed, Wake, Who, Why,
};

/// A request: its number, which cannot be copied, so that nobody can end it twice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request(pub(crate) u32);

/// A process, for as long as somebody says that it lives.
#[derive(Clone)]
pub(crate) struct Life(Rc<Cell<bool>>);

impl Life {
    pub(crate) fn new() -> Self {
        Life(Rc::new(Cell::new(true)))
    }

    pub(crate) fn die(&self) {
        self.0.set(false);
    }

    /// How many hold on to this process, the caller included.
    pub(crate) fn references(&self) -> usize {
        Rc::strong_count(&self.0)
    }
}

impl Process for Life {
    fn is_alive(&self) -> bool {
        self.0.get()
    }
}

pub(crate) type Book = Ledger<Request, Life>;

/// Places for `depth` requests.
pub(crate) fn slots(depth: usize) -> Vec<Slot<Request>> {
    (0..depth).map(|_| Slot::idle()).collect()
}

/// Room for `count` workers.
pub(crate) fn vacant(count: usize) -> Vec<Holder<Life>> {
    (0..count).map(|_| Holder::vacant()).collect()
}

/// Where the ids of the tests begin.
pub(crate) const ORIGIN: u64 = 1000;

/// A worker as the tests know it.
pub(crate) struct Worker {
    pub(crate) index: u32,
    pub(crate) who: Who,
    pub(crate) life: Life,
}

/// A disk and its clock.
pub(crate) struct Disk {
    pub(crate) ledger: Book,
    pub(crate) now: u64,
    serial: u32,
}

/// Policies that give up after so many deaths.
pub(crate) fn attempts(max_attempts: u32) -> Policies {
    Policies {
        max_attempts,
        ..Policies::default()
    }
}

/// Policies of a backend that rejects old writers itself.
pub(crate) fn fenced() -> Policies {
    Policies {
        fenced_backend: true,
        ..Policies::default()
    }
}

impl Disk {
    /// A device that has never been set up.
    pub(crate) fn blank() -> Self {
        Disk {
            ledger: Ledger::new(Vec::new(), vacant(8), ORIGIN),
            now: 0,
            serial: 0,
        }
    }

    /// A disk with `depth` tags.
    pub(crate) fn new(depth: usize) -> Self {
        Self::with(depth, Policies::default())
    }

    /// A disk with `depth` tags and policies.
    pub(crate) fn with(depth: usize, policies: Policies) -> Self {
        let mut disk = Self::blank();
        disk.ledger.polls();
        disk.configure(depth, policies);
        disk
    }

    /// Sets up again.
    pub(crate) fn configure(&mut self, depth: usize, policies: Policies) {
        let old = self.ledger.configure(slots(depth), policies);
        drop(old);
    }

    /// A request arrives; its number is its tag unless [`Disk::submit`] is asked.
    pub(crate) fn arrive(&mut self, tag: u32, op: Op) -> Wake {
        self.arrive_durable(tag, op, false)
    }

    /// As [`Disk::arrive`], of a request that may be durable once completed.
    pub(crate) fn arrive_durable(&mut self, tag: u32, op: Op, durable: bool) -> Wake {
        let arrival = Arrival {
            op,
            bytes: 4096,
            durable,
            v1: op as u8 <= 2,
        };
        match self.ledger.enqueue(tag, &arrival, Request(tag), self.now) {
            Ok(()) => self.ledger.wake(),
            Err(_) => panic!("tag {tag} was refused"),
        }
    }

    /// As [`Disk::arrive`], with a number never used before, which it returns.
    pub(crate) fn submit(&mut self, tag: u32, op: Op) -> Result<u32, Request> {
        self.serial += 1;
        let arrival = Arrival {
            op,
            bytes: 4096,
            durable: false,
            v1: true,
        };
        self.ledger
            .enqueue(tag, &arrival, Request(self.serial), self.now)?;
        let _wake = self.ledger.wake();
        Ok(self.serial)
    }

    /// A worker with a file, token and process of its own.
    pub(crate) fn worker(&mut self, number: u64) -> Worker {
        let who = Who {
            file: number,
            token: number + 100,
            process: number as usize,
        };
        self.enter(who, Life::new())
    }

    /// Another open file of a worker's process.
    pub(crate) fn second_file(&mut self, of: &Worker, file: u64) -> Worker {
        self.enter(Who { file, ..of.who }, of.life.clone())
    }

    fn enter(&mut self, who: Who, life: Life) -> Worker {
        let Ok(index) = self.ledger.holder_add(who, life.clone()) else {
            panic!("the table is full");
        };
        Worker { index, who, life }
    }

    /// Begins to take the next request.
    pub(crate) fn begin(&mut self, worker: &Worker) -> Option<Claim<Request>> {
        match self
            .ledger
            .take_begin(worker.index, false, u64::MAX, self.now)
        {
            Ok(claim) => Some(claim),
            Err(Unclaimed::Nothing) => None,
            Err(Unclaimed::TooBig(bytes)) => panic!("{bytes} bytes are too many"),
        }
    }

    /// Takes the next request, and says its id and number.
    pub(crate) fn try_take(&mut self, worker: &Worker) -> Option<(u64, u32)> {
        let claim = self.begin(worker)?;
        let taken = (claim.id, claim.request.0);
        assert!(
            self.ledger.take_commit(claim, self.now).is_none(),
            "nothing is doomed"
        );
        Some(taken)
    }

    /// Takes the next request, which is there.
    pub(crate) fn take(&mut self, worker: &Worker) -> u64 {
        self.try_take(worker).expect("a request is there").0
    }

    /// Takes everything, and says the numbers.
    pub(crate) fn take_all(&mut self, worker: &Worker) -> Vec<u32> {
        std::iter::from_fn(|| self.try_take(worker).map(|(_, number)| number)).collect()
    }

    /// Begins to complete.
    pub(crate) fn finish(&mut self, id: u64) -> Finish<Request> {
        self.ledger
            .finish_begin(id, false)
            .expect("the id is current")
    }

    /// Completes well.
    pub(crate) fn put(&mut self, id: u64) -> Result<Ended<Request>, Refusal> {
        let finish = self.ledger.finish_begin(id, false)?;
        Ok(self.ledger.finish_commit(finish, true, self.now))
    }

    /// Why a completion is refused, if it is; it is not carried out otherwise.
    pub(crate) fn refusal(&mut self, id: u64) -> Option<Refusal> {
        match self.ledger.finish_begin(id, false) {
            Err(refusal) => Some(refusal),
            Ok(finish) => {
                assert!(self.ledger.finish_abort(finish).is_ok());
                None
            }
        }
    }

    /// Offers everything again.
    pub(crate) fn requeue(&mut self, why: Why) -> Requeued {
        self.ledger.requeue(why, self.now, |_| true, |_| ())
    }

    /// Offers again what a token holds.
    pub(crate) fn requeue_token(&mut self, why: Why, token: u64) -> Requeued {
        self.ledger.requeue(
            why,
            self.now,
            |held| held.holder.who().token == token,
            |_| (),
        )
    }

    /// A worker dies and its supervisor says so.
    pub(crate) fn death(&mut self, worker: &Worker) -> Requeued {
        worker.life.die();
        self.requeue_token(Why::Asked, worker.who.token)
    }

    /// Takes out everything that is condemned.
    pub(crate) fn condemned(&mut self) -> Vec<u32> {
        let mut all: Vec<u32> = std::iter::from_fn(|| self.ledger.condemned_pop())
            .map(|ended| ended.request.0)
            .collect();
        all.sort_unstable();
        all
    }

    /// Goes to sleep; says whether among the patient.
    pub(crate) fn sleep(&mut self, worker: &Worker, min: u32) -> bool {
        self.ledger.sleep(worker.index, min)
    }

    /// Whether a worker would get anything now.
    pub(crate) fn ready(&self, worker: &Worker) -> bool {
        self.ledger.is_ready_for(worker.index, 1)
    }
}
