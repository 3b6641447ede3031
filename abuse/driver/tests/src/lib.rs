//! The driver's ledger, compiled unchanged in user space so that its rules can be tested without a
//! kernel. One file per subject; each test is named for the promise it keeps.
//!
//! - `fixture` holds what the tests share: a small disk with workers that can be told to die.
//! - `life` and its neighbours take the rules one by one.
//! - `model` says what the ledger must do in the most obvious way; `world` and `steps` play a whole
//!   machine against it: workers that copy, sleep, die and come back, a submitter, an operator; and
//!   `judge` compares.
//! - `histories` plays random games in that world, and `explore` all short ones.
//!
//! `ABUSE_LEDGER_STEPS=1000000 cargo test --release -p abuse-ledger-tests` plays longer, and
//! `ABUSE_LEDGER_DEPTH=99` explores to the end.

/// What the kernel keeps in a `KVVec`.
#[cfg(test)]
type Store<T> = Vec<T>;

// Kernel code, formatted by the kernel's rules. The device calls what the tests have no use for.
#[cfg(test)]
#[allow(dead_code, unused_imports)]
#[path = "../../ledger/mod.rs"]
mod ledger;

#[cfg(test)]
mod counting;
#[cfg(test)]
mod doomed;
#[cfg(test)]
mod explore;
#[cfg(test)]
mod fencing;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod forwards;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod holders;
#[cfg(test)]
mod ids;
#[cfg(test)]
mod innocent;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod life;
#[cfg(test)]
mod model;
#[cfg(test)]
mod order;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod terms;
#[cfg(test)]
mod waiting;
#[cfg(test)]
mod world;

// What a set-up is made of, as pure as the ledger.
#[cfg(test)]
#[allow(dead_code)]
#[path = "../../../uapi/abi.rs"]
mod abi;
#[cfg(test)]
#[allow(dead_code)]
#[path = "../../name.rs"]
mod name;
#[cfg(test)]
mod names;
#[cfg(test)]
#[path = "../../shape.rs"]
mod shape;
#[cfg(test)]
mod shapes;
