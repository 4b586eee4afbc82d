//! HTTP/1.x requests that carry records.

pub mod answer;

pub use answer::page;
