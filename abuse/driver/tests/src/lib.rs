//! The driver's ledger, compiled unchanged in user space so that its rules can be tested without a
//! kernel. One file per subject; each test is named for the promise it keeps.
//!
//! - `fixture` holds what the tests share: a small disk with workers that can be told to die.
//! - `life` to `counting` take the rules one by one.

/// What the kernel keeps in a `KVVec`.
#[cfg(test)]
type Store<T> = Vec<T>;

// Kernel code, formatted by the kernel's rules. The device calls what the tests have no use for.
#[cfg(test)]
#[rustfmt::skip]
#[allow(dead_code)]
#[path = "../../ledger.rs"]
mod ledger;

#[cfg(test)]
#[allow(dead_code)]
#[path = "../../../uapi/abi.rs"]
mod abi;
#[cfg(test)]
#[rustfmt::skip]
#[path = "../../shape.rs"]
mod shape;
#[cfg(test)]
mod counting;
#[cfg(test)]
mod doomed;
#[cfg(test)]
mod fencing;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod holders;
#[cfg(test)]
mod ids;
#[cfg(test)]
mod innocent;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod life;
#[cfg(test)]
mod order;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod waiting;
