//! What it compares: see `aqueduct_fuzz::targets::routes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aqueduct_fuzz::targets::routes::run(bytes));
