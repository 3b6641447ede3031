// SPDX-License-Identifier: MIT

//! The client of 2009 in C, `tests/clients/v1_serve.c`, for 64 and for 32 bits.

use std::collections::BTreeMap;

use abuse::Device;
use anyhow::{ensure, Context, Result};

use super::raw::{free, node};
use super::{Guest, Process};

/// The client and a device.
#[derive(Debug)]
pub struct Client<'g> {
    guest: &'g Guest,
    program: &'static str,
    device: Device,
}

/// What it printed: `KEY VALUE` lines.
#[derive(Debug)]
pub struct Answers(BTreeMap<String, String>);

impl Answers {
    /// The value behind a word.
    pub fn get(&self, key: &str) -> Result<&str> {
        let value = self
            .0
            .get(key)
            .with_context(|| format!("no {key} in {self:?}"))?;
        Ok(value)
    }

    /// ... as a number.
    pub fn number(&self, key: &str) -> Result<u64> {
        let value = self.get(key)?;
        value.parse().with_context(|| format!("{key} {value}"))
    }

    /// Fails unless these are the values.
    pub fn are(&self, expected: &[(&str, &str)]) -> Result<()> {
        for (key, value) in expected {
            let got = self.get(key)?;
            ensure!(got == *value, "{key}: expected {value}, got {got}");
        }
        Ok(())
    }
}

impl<'g> Client<'g> {
    /// For 64 bits, on a device that is free.
    pub fn new(guest: &'g Guest) -> Result<Client<'g>> {
        Ok(Client::on(guest, free()?))
    }

    /// For 32 bits.
    pub fn of_32_bits(guest: &'g Guest) -> Result<Client<'g>> {
        Ok(Client::on_32_bits(guest, free()?))
    }

    /// For 32 bits, on this device.
    pub fn on_32_bits(guest: &'g Guest, device: Device) -> Client<'g> {
        Client {
            program: "v1_serve-32",
            ..Client::on(guest, device)
        }
    }

    /// On this device.
    pub fn on(guest: &'g Guest, device: Device) -> Client<'g> {
        Client {
            guest,
            program: "v1_serve",
            device,
        }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// One verb and its words, run to the end; what it answered.
    pub fn ask(&self, verb: &str, words: &[&str]) -> Result<Answers> {
        let node = node(&self.device);
        let command = self.guest.command(self.program).args([verb, &node]);
        let output = command.args(words).run()?;
        let answers: BTreeMap<_, _> = output
            .stdout
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        ensure!(
            !answers.is_empty(),
            "{verb}: {}{}",
            output.stdout,
            output.stderr
        );
        Ok(Answers(answers))
    }

    /// Fails unless the answer to a verb is this: an errno, or `ok`.
    pub fn expect(&self, verb: &str, words: &[&str], answer: &str) -> Result<()> {
        let answers = self.ask(verb, words);
        answers
            .and_then(|answers| answers.are(&[(verb, answer)]))
            .with_context(|| format!("{verb} {words:?}"))
    }

    /// Sets the device up and waits for its disk.
    pub fn set_up(&self, words: &[&str]) -> Result<()> {
        self.expect("setup", words, "ok")?;
        let path = self.device.disk_path();
        super::wait_until("the disk's node", super::PATIENCE, || path.exists())
    }

    /// Starts it as a worker.
    pub fn serve(&self, words: &[&str]) -> Result<Process> {
        let node = node(&self.device);
        let command = self.guest.command(self.program).args(["serve", &node]);
        command.args(words).spawn()
    }
}
