//! The driver's ledger, compiled unchanged in user space so that its rules can be tested without a
//! kernel. One file per subject.

/// What the kernel keeps in a `KVVec`.
type Store<T> = Vec<T>;

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
mod shapes;
