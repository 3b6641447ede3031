//! A disk striped over files: `cargo run --example striped_disk /dev/abctl0 FILE FILE...`
//!
//! The worker says where each piece of a request is, and the driver moves the data.

use std::{fs::File, io, os::fd::AsFd};

use abuse::backend::{Asked, Map, Mapped, Places};
use abuse::{Device, Operation, Setup, Worker};

const STRIPE: u64 = 64 << 10;

struct Striped(Vec<File>);

impl Map for Striped {
    fn map<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()> {
        if asked.operation == Operation::Flush {
            let all = self.0.iter();
            all.for_each(|file| places.add(file.as_fd(), 0, 0));
            return Ok(());
        }
        let files = self.0.len() as u64;
        let (mut at, end) = (asked.offset, asked.offset + u64::from(asked.length));
        while at < end {
            let (stripe, inside) = (at / STRIPE, at % STRIPE);
            let length = (STRIPE - inside).min(end - at);
            let file = &self.0[(stripe % files) as usize];
            places.add(
                file.as_fd(),
                stripe / files * STRIPE + inside,
                length as u32,
            );
            at += length;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let device = Device::open(arguments.next().unwrap_or("/dev/abctl0".into()))?;
    let disk = match device.status()?.setup {
        Some(disk) => disk,
        None => device.setup(&Setup::new(64 << 20))?,
    };
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let files: Vec<File> = arguments
        .map(|path| options.open(path))
        .collect::<Result<_, _>>()?;
    let share = disk
        .bytes
        .div_ceil(files.len().max(1) as u64)
        .next_multiple_of(STRIPE);
    files.iter().try_for_each(|file| file.set_len(share))?;
    Worker::new(device).run(Mapped(Striped(files)))?; // until somebody kills it
    Ok(())
}
