//! What brings records.

pub mod event_loop;
