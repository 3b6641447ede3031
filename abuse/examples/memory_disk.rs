//! A disk in memory: `cargo run --example memory_disk /dev/abctl0`

use std::{io, sync::RwLock};

use abuse::{Backend, Device, Setup, Worker};

struct Memory(RwLock<Vec<u8>>);

impl Backend for Memory {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.read().map_err(|_| io::ErrorKind::Other)?;
        buf.copy_from_slice(&bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], _durable: bool) -> io::Result<()> {
        let mut bytes = self.0.write().map_err(|_| io::ErrorKind::Other)?;
        bytes[offset as usize..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(()) // memory is as durable as it gets
    }
}

fn main() -> abuse::Result<()> {
    let node = std::env::args().nth(1).unwrap_or("/dev/abctl0".into());
    let device = Device::open(node)?;
    let disk = match device.status()?.setup {
        Some(disk) => disk,
        None => device.setup(&Setup::new(64 << 20))?,
    };
    let memory = Memory(RwLock::new(vec![0; disk.bytes as usize]));
    Worker::new(device).run(memory)?; // until somebody kills it
    Ok(())
}
