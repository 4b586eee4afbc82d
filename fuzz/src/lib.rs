//! What the fuzz targets of Aqueduct have in common. Every target compares: with a naive decoder, a
//! second implementation or a round trip.
//!
//! The import order: a module uses those above it, never one below.

// What the heap holds, bytes to decisions, and the segments that they fill.
pub mod heap;
pub mod input;
pub mod memory;
pub mod paths;

// The bytes of the ABI, written once more from `core/ABI.md`; a ring that an input describes.
pub mod wire;

pub mod image;

// Who is compared with: a slow reader, the C library.
pub mod c_library;
pub mod oracle;

// A protocol's bytes, however they are cut.
pub mod conversation;

// A ring that changes between any two loads, and the targets themselves.
pub mod torn;

pub mod targets;
