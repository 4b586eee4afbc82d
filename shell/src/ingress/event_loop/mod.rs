//! Event loops: sockets, deadlines, and turns as batches.

pub mod driver;
