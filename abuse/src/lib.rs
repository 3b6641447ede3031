//! A block device whose requests any process can serve.

#[path = "../uapi/abi.rs"]
pub mod abi;
