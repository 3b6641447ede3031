// SPDX-License-Identifier: MIT

//! `server [DEV] --backend …`: a worker, ready to be run by a supervisor, by systemd, or by hand.
//!
//! It says READY=1 once it really takes requests, finishes what it holds on TERM or INT, and ends
//! with an exit code that tells a supervisor whether a new one makes sense: 3 when the device was
//! reset, 4 when it is gone.

use std::thread;

use abuse::backend::{File, FileOptions, Null, Ram};
use abuse::signals::Held;
use abuse::{notify, Backend, Device, Setup, Standby, State, Status, Stop, Worker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::choose::{self, Access, Dev, Want};
use crate::errno::{ENOENT, ENXIO};
use crate::failure::{cause, Code, Failure};
use crate::parse::backend::{self, Spec};
use crate::parse::setup::{self as keys, Plan};
use crate::{human, logging, verb};

/// Arguments of `server`.
#[derive(Debug, clap::Args)]
#[command(after_help = BACKENDS)]
pub struct Args {
    #[command(flatten)]
    dev: Dev,
    /// Where the bytes are; see below
    #[arg(long, value_name = "BACKEND", value_parser = backend::backend)]
    backend: Spec,
    /// Have the driver move the data between the disk and the file itself, without a copy
    #[arg(long)]
    forward: bool,
    /// Set the device up first when it is not; the keys of 'abusectl setup'
    #[arg(long, value_name = "KEYS", value_parser = setup_keys)]
    setup: Option<Box<Setup>>,
    /// Serve with N threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Take up to N requests at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: Option<u16>,
    /// Keep each thread to the processors of one of the disk's hardware queues, in turn
    #[arg(long)]
    pin: bool,
    /// Look for requests N times before sleeping; only with a processor of its own (try 300)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    spin: Option<u32>,
    /// Log to syslog instead of stderr
    #[arg(long)]
    syslog: bool,
    /// Log more
    #[arg(short, long)]
    verbose: bool,
}

const BACKENDS: &str = "\
Backends:
  null                    reads are zeroes, writes are forgotten
  ram:NAME                shared memory called NAME, which outlives the worker
  file:PATH[,OPTION…]     a file or a block device
     direct               past the page cache (default where it works)
     buffered             through the page cache
     io_uring             reads and writes of a batch under way together
     create[,size=SIZE]   make the file, sparse, or grow it to the disk's size or SIZE

With --forward the worker only says where in the file a request belongs, and the driver moves the
data between the disk and the file itself: what is under way goes on when the worker dies. It is for
'file' alone, and not for a file that lies on the disk itself.

Signals: TERM or INT finishes what was taken and ends; the second one ends at once.
Environment: ABUSE_OWNER, the owner token; ABUSE_STANDBY, the pipe it waits on before it serves;
NOTIFY_SOCKET, who is told READY=1; WATCHDOG_USEC, how often also WATCHDOG=1; JOURNAL_STREAM.";

fn setup_keys(text: &str) -> Result<Box<Setup>, String> {
    match keys::plan(&[text]).map_err(|why| format!("{why}\n{}", verb::setup::KEYS_HINT))? {
        Plan::Setup(setup) => Ok(Box::new(setup)),
        Plan::Reconnect(_) => {
            Err("a device that is set up is kept anyway, without 'reconnect'".into())
        }
    }
}

/// Serves until it is told to stop or the device goes. Failures go where the log goes.
pub fn run(args: &Args) -> Result<(), Failure> {
    // The log's thread must not be the one to get a signal that is not handled yet.
    let held = Held::all();
    logging::start(args.syslog, args.verbose)?;
    drop(held);
    let result = serve(args).map_err(|failure| {
        log::error!("{}", failure.text());
        Failure::silent(failure.code())
    });
    log::logger().flush();
    result
}

fn serve(args: &Args) -> Result<(), Failure> {
    let device = choose::open(args.dev.target.as_ref(), Want::SetUp, Access::Write)?;
    if let Some(setup) = &args.setup {
        set_up_if_empty(&device, setup)?;
    }
    let status = choose::set_up(&device)?;
    let Some(setup) = &status.setup else {
        return Err(choose::not_set_up(&device));
    };
    if args.forward {
        check_forward(&args.backend, &status)?;
    }
    let backend = open(args, &device, setup)?;

    let (disk, spec) = (
        device.disk_path().display().to_string(),
        args.backend.to_string(),
    );
    let mut worker = Worker::new(device.clone());
    if let Some(threads) = args.threads {
        worker = worker.threads(threads.into());
    }
    if let Some(batch) = args.batch {
        worker = worker.batch(batch.into());
    }
    worker = worker.pin(args.pin).spin(args.spin.unwrap_or(0));
    let does = match Standby::from_environment()? {
        Some(standby) => {
            worker = worker.standby(standby);
            "ready to serve"
        }
        None => "serving",
    };
    if let Some(limit) = notify::watchdog() {
        worker = worker.heartbeat(limit, notify::alive);
    }
    stop_on_signals(worker.stop_handle())?;
    let worker = worker.on_ready(move || {
        log::info!("{does} {disk} from {spec}");
        tell(&format!("READY=1\nSTATUS={does} {disk} from {spec}"));
    });
    let name = device.control_path().display().to_string();
    let served = worker.run(backend).map_err(|error| match error.errno() {
        Some(ENXIO) => Failure::new(Code::Nothing, format!("{name}: the device was reset")).hint(
            format!("Set it up and serve it again: abusectl setup {name} size=1G"),
        ),
        // Not the driver's word: the backend does not fit the disk.
        None if error.operation() == "serve" => {
            let failure = Failure::new(Code::Failed, format!("{error} ({})", args.backend));
            failure.hint(choose::sentence(
                error.hint().unwrap_or("choose another backend"),
            ))
        }
        _ => error.into(),
    })?;
    let helped = match served.helped {
        0 => String::new(),
        helped => format!(", {helped} of them by a thread that had not taken them"),
    };
    log::info!(
        "{name}: stopped, {} served{helped}",
        human::count(served.completed, "request")
    );
    Ok(())
}

/// Of several workers that start at once, one sets the device up and the others find it done.
fn set_up_if_empty(device: &Device, setup: &Setup) -> Result<(), Failure> {
    if device.status()?.state == State::Empty {
        match verb::setup::set_up(device, setup) {
            Err(failure) if failure.code() == Code::Busy => (),
            other => return other,
        }
    }
    let bytes = device.status()?.setup.map_or(0, |setup| setup.bytes);
    if bytes != 0 && bytes != setup.bytes {
        log::warn!(
            "{} is set up already, with {}: --setup is not applied",
            device.control_path().display(),
            human::size(bytes)
        );
    }
    Ok(())
}

fn open(args: &Args, device: &Device, setup: &Setup) -> Result<Box<dyn Backend>, Failure> {
    let spec = &args.backend;
    Ok(match spec {
        Spec::Null => Box::new(Null),
        Spec::Ram { name } => {
            let ram = Ram::for_disk(name, setup)?;
            log::info!("ram:{name} consists of {}", ram.pages());
            Box::new(ram)
        }
        Spec::File {
            path,
            buffered,
            create,
            size,
            io_uring,
        } => {
            let mut options = FileOptions::for_disk(setup);
            options.buffered = *buffered;
            options.create = *create;
            options.io_uring = *io_uring;
            options.forward = args.forward;
            if let Some(size) = size {
                if *size < setup.bytes {
                    return Err(too_small(spec, *size, setup));
                }
                options.bytes = *size;
            }
            let file = File::open(path, &options).map_err(|error| match error.errno() {
                Some(ENOENT) => Failure::new(Code::Failed, &error)
                    .hint(format!("Have it made: --backend {spec},create")),
                // Whatever the errno of a file is, it says nothing about the device.
                _ => Failure::new(Code::Failed, &error).hint(choose::sentence(
                    error.hint().unwrap_or("check the path and its permissions"),
                )),
            })?;
            if args.forward && file.is_on(&device.disk_path()) {
                let what = format!(
                    "--forward: {} is the disk itself, or lies on it",
                    path.display()
                );
                return Err(Failure::new(Code::Failed, what).hint("Choose a file elsewhere."));
            }
            Box::new(file)
        }
    })
}

/// What is certain to be refused is refused now, and not with every request.
fn check_forward(spec: &Spec, status: &Status) -> Result<(), Failure> {
    let refuse = |why: String| Failure::new(Code::Failed, format!("--forward: {why}"));
    match spec {
        Spec::File { io_uring: true, .. } => {
            let why = "io_uring moves nothing where the driver moves everything";
            return Err(refuse(why.into()).hint("Leave one of them out."));
        }
        Spec::File { .. } => {}
        Spec::Null | Spec::Ram { .. } => {
            return Err(
                refuse(format!("{spec} is no file that the driver could use"))
                    .hint("Use a file or a block device, or leave --forward out."),
            );
        }
    }
    if status.abi_features & abuse::abi::ABI_FORWARD == 0 {
        let version = &status.driver_version;
        return Err(
            refuse(format!("the driver ({version}) does not move data itself"))
                .hint("Load a newer one, or leave --forward out."),
        );
    }
    Ok(())
}

fn too_small(spec: &Spec, bytes: u64, setup: &Setup) -> Failure {
    Failure::new(
        Code::Failed,
        format!(
            "{spec}: too small: it has {bytes} bytes, the disk {}",
            setup.bytes
        ),
    )
    .hint("Enlarge it, or reset the device and set it up smaller.")
}

/// Tells the supervisor; one that cannot be told is no reason to stop serving.
fn tell(state: &str) {
    if let Err(error) = notify::send(state) {
        log::warn!("cannot tell the supervisor {state:?}: {}", cause(&error));
    }
}

/// TERM or INT: finish and end; the second one: end at once, as if nobody had caught it.
fn stop_on_signals(stop: Stop) -> Result<(), Failure> {
    let fail = |error| Failure::io("signals", &error);
    let held = Held::all();
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(fail)?;
    drop(held);
    let watch = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            if stopping {
                log::warn!("ending at once; what was taken is offered again");
                log::logger().flush();
                let _ = signal_hook::low_level::emulate_default_handler(signal);
                std::process::exit(Code::Failed as i32);
            }
            stopping = true;
            log::info!("stopping: finishing what was taken; once more ends at once");
            stop.stop();
            tell("STOPPING=1\nSTATUS=finishing what was taken");
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map_err(fail)?;
    Ok(())
}
