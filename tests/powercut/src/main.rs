// SPDX-License-Identifier: MIT

//! `abuse-powercut`: records disks, checks what power cuts leave of them, and puts a load on
//! machines whose power really goes. `tests/powercut/run` and `tests/powercut/guests` use it.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::ExitCode;

use abuse::backend::{File, FileOptions};
use abuse::{Backend, Capabilities, Device, Worker};
use abuse_powercut::check::{check, Case, How};
use abuse_powercut::crash::Pick;
use abuse_powercut::fsck::Tools;
use abuse_powercut::load;
use abuse_powercut::plan::{Plan, THREADS};
use abuse_powercut::record::{self, record, Lie};
use anyhow::{bail, ensure, Context, Result};
use clap::{Parser, Subcommand};

/// Records disks, and checks every state a power cut can leave them in.
///
/// Exit status: 0 nothing is wrong; 1 something was lost or damaged; 2 it could not be done.
#[derive(Parser)]
#[command(name = "abuse-powercut")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a disk and a file system, have files written and synced, and log what the disk did.
    Record {
        /// Control node of a device that is not set up.
        device: PathBuf,
        /// The log, a new file.
        log: PathBuf,
        /// File system and mount options, as `ext4` or `btrfs notreelog`.
        #[arg(long, default_value = "ext4")]
        fs: String,
        /// A disk without a volatile cache.
        #[arg(long)]
        write_through: bool,
        /// Steps of each of the three threads.
        #[arg(long, default_value_t = 60)]
        steps: u64,
        /// Which steps.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Serve request by request instead of with the crate's worker.
        #[arg(long)]
        by_hand: bool,
        /// A disk that lies: drop-flush, early-flush, drop-fua, hidden-cache.
        #[arg(long)]
        lie: Option<Lie>,
    },
    /// Make states out of logs and look at each.
    Check {
        /// What `record` wrote.
        #[arg(required = true)]
        logs: Vec<PathBuf>,
        /// How many altogether.
        #[arg(long, default_value_t = 300)]
        states: usize,
        /// Which.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Threads, where nothing is mounted.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Mount each, as root, instead of looking from outside.
        #[arg(long)]
        mount: bool,
        /// Take the tools from this root file system.
        #[arg(long)]
        tools: Option<PathBuf>,
        /// Where the images are made.
        #[arg(long, default_value = "/dev/shm")]
        place: PathBuf,
    },
    /// Write one state into an image, to look at it.
    Image {
        /// What `record` wrote.
        log: PathBuf,
        /// Events of the log that had happened.
        at: usize,
        /// begun, completed, durable, or the seed of a random one.
        pick: String,
        /// The image.
        image: PathBuf,
    },
    /// Write and sync files until somebody stops it; `synced THREAD STEPS` for each step.
    Load {
        /// A mounted file system, with nothing on it.
        place: PathBuf,
        /// Which steps.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Check the files of a load that was stopped.
    Verify {
        /// The mounted file system.
        place: PathBuf,
        /// Which steps.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// What the load said, in a file.
        heard: PathBuf,
    },
    /// Serve a file through the page cache and never flush it, to see that it is noticed.
    Lie {
        /// The control node.
        device: PathBuf,
        /// The file.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("abuse-powercut: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Does it; whether nothing is wrong.
fn run(verb: Verb) -> Result<bool> {
    match verb {
        Verb::Record {
            device,
            log,
            fs,
            write_through,
            steps,
            seed,
            by_hand,
            lie,
        } => {
            let (kind, options) = fs.split_once(' ').unwrap_or((&fs, ""));
            record(&record::Plan {
                device,
                kind: kind.parse()?,
                options: options.to_string(),
                about: fs.clone(),
                write_through,
                steps,
                seed,
                by_hand,
                lie,
                place: log.with_extension("disk"),
                log: log.clone(),
            })?;
            let (writes, flushes, steps) = Case::read(&log)?.counts();
            println!("recorded {fs}: {writes} writes, {flushes} flushes, {steps} synced steps");
            Ok(true)
        }
        Verb::Check {
            logs,
            states,
            seed,
            jobs,
            mount,
            tools,
            place,
        } => {
            let cases = logs
                .iter()
                .map(|log| Case::read(log))
                .collect::<Result<Vec<_>>>()?;
            let place = place.join(format!("abuse-powercut-{}", std::process::id()));
            let tally = check(
                &cases,
                &How {
                    states,
                    seed,
                    jobs,
                    mount,
                    place: place.clone(),
                    tools: Tools { root: tools },
                },
            )?;
            std::fs::remove_dir(place)?;
            for words in &tally.words {
                eprintln!("{words}");
            }
            println!("{tally}");
            Ok(tally.good())
        }
        Verb::Image {
            log,
            at,
            pick,
            image,
        } => {
            let pick = match pick.as_str() {
                "begun" => Pick::Begun,
                "completed" => Pick::Completed,
                "durable" => Pick::Durable,
                seed => Pick::Random(seed.parse().context("a seed")?),
            };
            Case::read(&log)?.write(at, pick, &image)?;
            Ok(true)
        }
        Verb::Load { place, seed } => {
            load::prepare(&place)?;
            println!("begun");
            load::run(&place, seed, None, &|thread, steps| {
                let mut out = std::io::stdout().lock();
                writeln!(out, "synced {thread} {steps}")?;
                out.flush()
            })?;
            bail!("the load ended by itself")
        }
        Verb::Verify { place, seed, heard } => verify(&place, seed, &heard),
        Verb::Lie { device, file } => {
            let device = Device::open(device)?;
            let setup = device.status()?.setup.context("it is not set up")?;
            let options = FileOptions {
                create: true,
                buffered: true,
                ..FileOptions::for_disk(&setup)
            };
            let liar = Liar {
                file: File::open(&file, &options)?,
                cached: std::fs::OpenOptions::new().write(true).open(&file)?,
            };
            Worker::new(device).run(liar)?;
            Ok(true)
        }
    }
}

/// How many more steps a load may have synced than were heard of when its machine went.
const UNHEARD: u64 = 200;

fn verify(place: &std::path::Path, seed: u64, heard: &std::path::Path) -> Result<bool> {
    let text = std::fs::read_to_string(heard).with_context(|| heard.display().to_string())?;
    ensure!(text.contains("begun\n"), "the load had not begun");
    let mut synced = vec![0; THREADS as usize];
    // The last line may be cut off anywhere.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["synced", thread, steps] = words[..] {
            let thread: usize = thread.parse()?;
            *synced.get_mut(thread).context("a thread that is none")? = steps.parse()?;
        }
    }
    let mut good = true;
    let mut steps = 0;
    let found = match load::find(place) {
        Ok(found) => found,
        Err(error) => {
            println!("lost: {error:#}");
            return Ok(false);
        }
    };
    for (thread, files) in found.iter().enumerate() {
        let mut plan = Plan::new(seed, thread as u64);
        steps += synced[thread];
        if let Err(error) = plan.judge_from(synced[thread], UNHEARD, files) {
            println!(
                "lost: thread {thread} after {} synced steps: {error:#}",
                synced[thread]
            );
            good = false;
        }
    }
    println!("verified {steps} synced steps");
    Ok(good)
}

/// A file whose flushes are not done, and whose writes stay in the page cache.
struct Liar {
    file: File,
    cached: std::fs::File,
}

impl Backend for Liar {
    fn read(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], _durable: bool) -> std::io::Result<()> {
        self.cached.write_all_at(buf, offset)
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            discard: false,
            write_zeroes: false,
            ..self.file.capabilities()
        }
    }
}
