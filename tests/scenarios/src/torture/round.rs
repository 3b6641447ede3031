// SPDX-License-Identifier: MIT

//! What a round is.

use std::fmt;
use std::time::Duration;

use super::random::Random;

/// Names of streams of random numbers.
const SHAPE: u64 = 1;
const TROUBLE: u64 = 2;
const JOB: u64 = 3;

/// Bytes that a file has room for behind the end of the disk.
pub const ROOM: u64 = 8 << 20;

/// Where the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// `file:`, on the guest's disk, with discard.
    File,
    /// `ram:`
    Ram,
}

/// Who works on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// So many jobs of ours.
    Register(u16),
    /// fio, with so many jobs.
    Fio(u16),
    /// The same on ext4, which is checked at the end.
    Files(u16),
}

/// The shape of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Of the run.
    pub seed: u64,
    /// Of this round in it.
    pub number: u64,
    /// Where the bytes are.
    pub store: Store,
    /// Whether a supervisor looks after the workers.
    pub supervised: bool,
    /// How many stand by, if one does.
    pub standby: usize,
    /// How many there are.
    pub workers: usize,
    /// Threads of each.
    pub threads: u64,
    /// Most requests that each thread takes at once.
    pub batch: u64,
    /// The logical block size.
    pub block: u64,
    /// Hardware queues.
    pub queues: u64,
    /// Requests of each.
    pub depth: u64,
    /// The largest request, in KiB.
    pub max_kib: u64,
    /// No volatile cache.
    pub write_through: bool,
    /// Who works on it.
    pub work: Work,
}

impl Round {
    /// Bytes of the disk: small, so that operations meet.
    pub const BYTES: u64 = 8 << 20;

    /// The round of this number.
    pub fn draw(seed: u64, number: u64) -> Round {
        let mut random = Random::new(seed, &[SHAPE, number]);
        let fio = random.percent(30);
        let jobs = random.within(4..=10) as u16;
        Round {
            seed,
            number,
            store: random.one_of(&[Store::File, Store::Ram]),
            supervised: random.percent(60),
            workers: random.within(1..=4) as usize,
            threads: random.one_of(&[1, 1, 2]),
            batch: random.one_of(&[1, 4, 32]),
            block: random.one_of(&[512, 4096]),
            queues: random.one_of(&[1, 2]),
            depth: random.one_of(&[2, 16, 128]),
            max_kib: random.one_of(&[16, 128, 1024]),
            write_through: random.percent(25),
            work: match (fio, random.percent(40)) {
                (true, true) => Work::Files(4),
                (true, false) => Work::Fio(4),
                (false, _) => Work::Register(jobs),
            },
            standby: random.below(2) as usize,
        }
    }

    /// The same round with jobs of ours.
    pub fn register(mut self) -> Round {
        if let Work::Fio(jobs) | Work::Files(jobs) = self.work {
            self.work = Work::Register(jobs);
        }
        self
    }

    /// The keys of its set-up.
    pub fn keys(&self) -> String {
        let Round {
            block,
            queues,
            depth,
            max_kib,
            ..
        } = self;
        let mut keys = format!(
            "size={},bs={block},queues={queues},depth={depth},max_bytes={max_kib}K",
            Round::BYTES
        );
        if self.write_through {
            keys += ",write_through";
        }
        if self.store == Store::File {
            keys += ",discard";
        }
        keys
    }

    /// The stream of its troubles.
    pub fn trouble(&self) -> Random {
        Random::new(self.seed, &[TROUBLE, self.number])
    }

    /// The stream of one of its jobs.
    pub fn job(&self, job: u16) -> Random {
        Random::new(self.seed, &[JOB, self.number, job.into()])
    }

    /// How to play it again.
    pub fn replay(&self, time: Duration) -> String {
        format!(
            "make torture SEED={} ROUND={} DURATION={}s",
            self.seed,
            self.number,
            time.as_secs().max(1)
        )
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = match self.store {
            Store::File => "file",
            Store::Ram => "ram",
        };
        let (work, jobs) = match self.work {
            Work::Register(jobs) => ("register", jobs),
            Work::Fio(jobs) => ("fio", jobs),
            Work::Files(jobs) => ("fio on ext4", jobs),
        };
        let workers = match (self.supervised, self.standby) {
            (false, _) => "workers",
            (true, 0) => "supervised workers",
            (true, _) => "supervised workers with a standby",
        };
        write!(
            f,
            "{work}, {jobs} jobs, {store}, {} {workers} of {} threads taking {}, bs {}, {} x {}, \
             up to {} KiB{}",
            self.workers,
            self.threads,
            self.batch,
            self.block,
            self.queues,
            self.depth,
            self.max_kib,
            if self.write_through {
                ", write-through"
            } else {
                ""
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abuse::setup_keys::plan;

    #[test]
    fn rounds_are_functions_of_seed_and_number() {
        assert_eq!(Round::draw(5, 6), Round::draw(5, 6));
        let rounds: Vec<Round> = (0..100).map(|number| Round::draw(5, number)).collect();
        assert!(rounds.iter().any(|round| round.supervised));
        assert!(rounds.iter().any(|round| !round.supervised));
        assert!(rounds
            .iter()
            .any(|round| matches!(round.work, Work::Fio(_))));
        assert!(rounds
            .iter()
            .any(|round| matches!(round.work, Work::Files(_))));
        let standby = |round: &&Round| round.supervised && round.standby > 0;
        assert!(rounds.iter().any(|round| standby(&round)));
        assert!(rounds.iter().any(|round| round.store == Store::Ram));
    }

    #[test]
    fn every_round_has_keys_that_mean_something() {
        for number in 0..100 {
            let round = Round::draw(1, number);
            plan(&[round.keys().as_str()]).unwrap();
        }
    }
}
