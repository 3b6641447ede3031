//! A block device whose requests any process can serve.
