//! `defmt::Format`: what a program logs carries the numbers of an error, not text.
//!
//! Frames are indices of strings, which a linker script for firmware makes small, and the values in
//! little-endian order. A host lacks that script, so the indices mean nothing here; the values do.

use std::sync::Mutex;

use aqueduct_core::{ClaimError, Meta, ReadError, Wake};

/// What the logger was given.
static FRAME: Mutex<Vec<u8>> = Mutex::new(Vec::new());

#[defmt::global_logger]
struct Logger;

// SAFETY: one thread logs, and takes what it logged before it logs again.
unsafe impl defmt::Logger for Logger {
    fn acquire() {}

    unsafe fn flush() {}

    unsafe fn release() {}

    unsafe fn write(bytes: &[u8]) {
        FRAME.lock().expect("no panic inside").extend_from_slice(bytes);
    }
}

defmt::timestamp!("");

/// Whether the values are in the frame, one after the other, and nothing else of such a length.
fn logged(values: &[&[u8]]) {
    let frame = std::mem::take(&mut *FRAME.lock().expect("no panic inside"));
    let values = values.concat();
    assert!(frame.ends_with(&values), "{frame:?} has not {values:?}");
    assert!(frame.len() <= values.len() + 12, "{frame:?} is longer than indices and {values:?}");
}

#[test]
fn a_frame_has_the_numbers_of_what_is_logged() {
    defmt::error!("{}", ClaimError::Full { needed: 0x0a0b_0c0d, free: 7 });
    logged(&[&0x0a0b_0c0d_u32.to_le_bytes(), &7_u32.to_le_bytes()]);
    let damage = ReadError::Payload { seq: 5, position: 6, stored: 0xdead, computed: 0xbeef };
    defmt::error!("{}", damage);
    logged(&[
        &5_u64.to_le_bytes(),
        &6_u32.to_le_bytes(),
        &0xdead_u32.to_le_bytes(),
        &0xbeef_u32.to_le_bytes(),
    ]);
    defmt::error!("{}", Meta { type_tag: 3, timestamp_ns: 4 });
    logged(&[&3_u16.to_le_bytes(), &4_u64.to_le_bytes()]);
    defmt::error!("{}", Wake { futex: true, sockets: 9 });
    logged(&[&[1], &9_u64.to_le_bytes()]);
}
