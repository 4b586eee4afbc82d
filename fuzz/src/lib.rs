//! What the fuzz targets of Aqueduct have in common. Every target compares: with a naive decoder, a
//! second implementation or a round trip.
//!
//! [`input`] (bytes to decisions) → [`memory`] (segments) → [`wire`] (the ABI's bytes, written once
//! more from `core/ABI.md`) → [`image`] (a ring that an input describes) → [`oracle`] (a slow
//! reader) → [`c_library`] (the C library) → [`targets`].

pub mod c_library;
pub mod image;
pub mod input;
pub mod memory;
pub mod oracle;
pub mod targets;

pub mod torn;
pub mod wire;
