// SPDX-License-Identifier: MIT

//! What happens to the workers.

use std::fs;
use std::io::Read;
use std::time::Duration;

use abuse::{Device, NewDevice, Operation, Reconnect, Registry, Selection, Setup};
use anyhow::{bail, ensure, Result};
use nix::errno::Errno;

use super::crew::Crew;
use super::hog::Hog;
use super::random::Random;
use super::round::{Round, ROOM};
use super::Tally;
use crate::kit::{Answer, Disk, Fio, Guest, Pending, Process, PATIENCE};

/// One trouble, and all its numbers. Workers are named by any number, of which the remainder by how
/// many there are then counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// SIGKILL for one; without a supervisor its place is filled so much later.
    Kill { worker: u64, away: Duration },
    /// SIGKILL for all at once.
    KillAll { away: Duration },
    /// SIGSTOP, what is offered again meanwhile, and SIGCONT or SIGKILL.
    Stop {
        worker: u64,
        time: Duration,
        reconnect: bool,
        kill: bool,
    },
    /// REQUEUE of all, or of what is older than this.
    Requeue { older: Option<Duration> },
    /// RECONNECT.
    Reconnect,
    /// One worker after the other ends in peace and is replaced: by the supervisor, if there is one.
    Roll,
    /// Another disk is set up, and reset under load.
    Reset { time: Duration },
    /// SIGKILL for the supervisor, perhaps for a worker too that nobody looks after, and a new one.
    KillSupervisor { away: Duration, orphan: Option<u64> },
    /// A process takes requests and dies with them, so much later.
    Theft { most: u32, time: Duration },
    /// A process takes requests; its reads are given to others, and its late answers refused.
    Late { most: u32 },
    /// Somebody takes memory or processors.
    Hog { hog: Hog, time: Duration },
    /// The disk becomes so many bytes larger than its clients know of, if its store has room; else
    /// RECONNECT.
    Resize { more: u64 },
    /// Another device is added, gets a disk, which somebody tries to read, and is removed so much later.
    Neighbour { time: Duration },
}

impl Trouble {
    /// How long all is well, and what comes then.
    pub fn draw(random: &mut Random) -> (Duration, Trouble) {
        let mut milliseconds = |most| Duration::from_millis(random.within(1..=most));
        let peace = milliseconds(400);
        let (short, long) = (milliseconds(100), milliseconds(400));
        let (worker, most) = (random.next(), random.within(1..=8) as u32);
        let trouble = match random.below(100) {
            0..30 => Trouble::Kill {
                worker,
                away: short,
            },
            30..36 => Trouble::KillAll { away: short },
            36..48 => Trouble::Stop {
                worker,
                time: long,
                reconnect: random.percent(30),
                kill: random.percent(40),
            },
            48..53 => Trouble::Requeue {
                older: random.percent(50).then_some(short),
            },
            53..55 => Trouble::Neighbour { time: short },
            55..58 => Trouble::Reconnect,
            58..61 => Trouble::Resize {
                more: random.within(0..=ROOM >> 16) << 16,
            },
            61..66 => Trouble::Roll,
            66..69 => Trouble::Reset { time: short },
            69..78 => Trouble::KillSupervisor {
                away: short,
                orphan: random.percent(50).then_some(worker),
            },
            78..86 => Trouble::Theft { most, time: short },
            86..93 => Trouble::Late { most },
            93..96 => Trouble::Hog {
                hog: Hog::Memory(80),
                time: long * 3,
            },
            _ => Trouble::Hog {
                hog: Hog::Processors(8),
                time: long * 2,
            },
        };
        (peace, trouble)
    }
}

/// Where troubles happen.
pub struct Stage<'a, 'g> {
    guest: &'g Guest,
    disk: &'a Disk<'g>,
    crew: &'a mut Crew<'g>,
    tally: &'a mut Tally,
    /// Whether the disk may grow.
    room: bool,
    hogs: Vec<Process>,
}

impl<'a, 'g> Stage<'a, 'g> {
    /// With nobody on it yet but the workers.
    pub fn new(
        guest: &'g Guest,
        disk: &'a Disk<'g>,
        crew: &'a mut Crew<'g>,
        tally: &'a mut Tally,
        room: bool,
    ) -> Stage<'a, 'g> {
        Stage {
            room,
            guest,
            disk,
            crew,
            tally,
            hogs: Vec::new(),
        }
    }

    /// Has it happen. Returns when it is over, but for a hog, which goes on.
    pub fn act(&mut self, trouble: Trouble) -> Result<()> {
        match trouble {
            Trouble::Kill { worker, away } => {
                self.kill(worker)?;
                self.wait(away);
            }
            Trouble::KillAll { away } => {
                for pid in self.crew.pids() {
                    self.tally.kills += u64::from(self.crew.kill(pid)?);
                }
                self.wait(away);
            }
            Trouble::Stop {
                worker,
                time,
                reconnect,
                kill,
            } => self.stop(worker, time, reconnect, kill)?,
            Trouble::Requeue { older: None } => self.requeue(&Selection::all())?,
            Trouble::Requeue { older: Some(age) } => {
                self.requeue(&Selection::older_than(age))?;
            }
            Trouble::Resize { more } if self.room => {
                // Smaller than it is now, perhaps, and it is open.
                self.disk.device().resize(Round::BYTES + more, true)?;
                self.tally.resizes += 1;
            }
            Trouble::Reconnect | Trouble::Resize { .. } => self.reconnect()?,
            Trouble::Roll => self.roll()?,
            Trouble::Neighbour { time } => self.neighbour(time)?,
            Trouble::Reset { time } => self.reset(time)?,
            Trouble::KillSupervisor { away, orphan } => {
                if self.crew.kill_supervisor()? {
                    self.tally.supervisor_kills += 1;
                    if let Some(worker) = orphan {
                        self.kill(worker)?;
                    }
                    self.wait(away);
                    self.crew.restore_supervisor()?;
                } else {
                    self.kill(orphan.unwrap_or(0))?;
                }
            }
            Trouble::Theft { most, time } => self.theft(most, time)?,
            Trouble::Late { most } => self.late(most)?,
            Trouble::Hog { hog, time } => self.hog(hog, time)?,
        }
        self.crew.fill()?;
        self.crew.check()
    }

    /// All troubles end, and everybody is there.
    pub fn clear(mut self) -> Result<()> {
        for mut hog in self.hogs.drain(..) {
            hog.wait(PATIENCE)?;
        }
        self.crew.recover()
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn kill(&mut self, worker: u64) -> Result<()> {
        if let Some(pid) = self.crew.pick(worker) {
            self.tally.kills += u64::from(self.crew.kill(pid)?);
        }
        Ok(())
    }

    fn stop(&mut self, worker: u64, time: Duration, reconnect: bool, kill: bool) -> Result<()> {
        let Some(pid) = self.crew.pick(worker) else {
            return Ok(());
        };
        if !self.crew.stop(pid)? {
            return Ok(());
        }
        self.tally.stops += 1;
        self.wait(time / 2);
        if reconnect {
            self.reconnect()?;
        } else {
            self.requeue(&Selection::pid(pid))?;
        }
        self.wait(time / 2);
        if kill {
            self.tally.kills += u64::from(self.crew.kill(pid)?);
        } else {
            self.crew.resume(pid);
        }
        Ok(())
    }

    fn requeue(&mut self, which: &Selection) -> Result<()> {
        self.tally.requeues += 1;
        match self.disk.device().requeue(which) {
            Ok(_) => Ok(()),
            // Writes of the living stay with them.
            Err(error) if error.errno() == Some(Errno::EBUSY as i32) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn reconnect(&mut self) -> Result<()> {
        self.tally.reconnects += 1;
        match self.disk.device().reconnect(&Reconnect::default()) {
            Ok(_) => Ok(()),
            Err(error) if error.errno() == Some(Errno::EBUSY as i32) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn roll(&mut self) -> Result<()> {
        if let Some(rolled) = self.crew.restart()? {
            self.tally.rolled += rolled;
            return Ok(());
        }
        for pid in self.crew.pids() {
            self.tally.rolled += u64::from(self.crew.end(pid)?);
            self.crew.fill()?;
        }
        Ok(())
    }

    fn reset(&mut self, time: Duration) -> Result<()> {
        let other = self.guest.disk("size=4M")?;
        let server = other.serve("ram:another")?;
        let load = Fio::under_way(self.guest, &other, "rw=randrw")?;
        self.wait(time);
        other.device().reset(true, Some(PATIENCE))?;
        let report = load.report()?;
        ensure!(report.errors > 0, "nobody felt the reset: {report:?}");
        let status = server.finish(PATIENCE)?.status;
        ensure!(status.code() == Some(3), "a worker of it: {status}");
        self.tally.resets += 1;
        Ok(())
    }

    fn theft(&mut self, most: u32, time: Duration) -> Result<()> {
        let mut thief = self.disk.puppet()?;
        thief.take_within(most, Duration::from_millis(100))?;
        self.wait(time);
        thief.kill()?;
        self.tally.thefts += 1;
        Ok(())
    }

    fn late(&mut self, most: u32) -> Result<()> {
        let mut late = self.disk.puppet()?;
        let held = late.take_within(most, Duration::from_millis(100))?;
        for request in &held {
            let offered = self.disk.device().requeue(&Selection::id(request.id));
            self.tally.requeues += 1;
            if request.operation == Operation::Read {
                ensure!(offered?.requeued == 1, "{request:?} was not offered again");
                // A wrong answer: if it counted, the reader would see it.
                let answer = late.put(request, Answer::Fill(0xdd))?;
                let refused = Some(Errno::ESTALE as i32);
                ensure!(
                    answer == refused,
                    "{request:?}: its late answer got {answer:?}"
                );
                self.tally.stale += 1;
            } else {
                match offered {
                    Err(error) if error.errno() == Some(Errno::EBUSY as i32) => {}
                    other => bail!("{request:?}: its owner lives, and REQUEUE got {other:?}"),
                }
            }
        }
        late.kill()?;
        self.tally.thefts += 1;
        Ok(())
    }

    fn neighbour(&mut self, time: Duration) -> Result<()> {
        let registry = Registry::open()?;
        let added = registry.add(&NewDevice::default())?;
        let device = Device::open(added.number.to_string())?;
        device.setup(&Setup::new(1 << 20))?;
        let path = device.disk_path();
        let reader = Pending::start("a read of a disk that goes", move || {
            fs::File::open(path).and_then(|mut disk| disk.read_exact(&mut [0; 512]))
        });
        self.wait(time);
        registry.remove(added.number, Some(added.sequence), true, Some(PATIENCE))?;
        let read = reader.finish(PATIENCE)?;
        ensure!(read.is_err(), "a disk that nobody served was read");
        self.tally.neighbours += 1;
        Ok(())
    }

    fn hog(&mut self, hog: Hog, time: Duration) -> Result<()> {
        *match hog {
            Hog::Memory(_) | Hog::Pages(_) => &mut self.tally.pressures,
            Hog::Processors(_) => &mut self.tally.starvations,
        } += 1;
        let program = std::env::current_exe()?;
        let command = self.guest.command(program).args(hog.words(time));
        // One that ended, killed for want of memory perhaps, has done its work.
        self.hogs
            .retain_mut(|hog| hog.is_running().unwrap_or(false));
        self.hogs.push(command.quiet().spawn()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_a_function_of_its_stream() {
        let draw = |seed| {
            let mut random = Random::new(seed, &[1]);
            let next = |_| Trouble::draw(&mut random);
            (0..200).map(next).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn every_trouble_comes() {
        let mut random = Random::new(1, &[1]);
        let mut kinds = std::collections::HashSet::new();
        for _ in 0..500 {
            kinds.insert(std::mem::discriminant(&Trouble::draw(&mut random).1));
        }
        assert_eq!(kinds.len(), 13);
    }
}
