//! The layout of two cores that share a piece of RAM: a producer and a reader that know nothing but
//! addresses.
//!
//! The memory map places the ring and two cursor segments; each side builds its regions from the
//! bare addresses. One core plays both parts, the producer's in a timer's interrupt. The reader
//! finds the ring by its magic, sleeps by WFE, flips bytes in records that are on their way, and
//! must be told exactly what is damaged. Needs no compare-and-swap and no 64-bit atomics. Also run
//! with the features `crc-small` and `crc-hook`.
//!
//! Run: `cargo run --release --bin dual`, also with `--target thumbv6m-none-eabi`. Expect a line
//! `ok` and exit code 0. Read next: `producer_core`.

#![no_std]
#![no_main]

mod producer_core;
mod reader_core;

use core::num::NonZeroUsize;

use aqueduct_core::payload_crc;
use aqueduct_firmware::content::Source;
use aqueduct_firmware::pass;
use cortex_m_rt::entry;

/// Records in the stream.
const RECORDS: u32 = 5000;

const SOURCE: Source = 7;

unsafe extern "C" {
    static _aqueduct_ring: u8;
    static _aqueduct_ring_bytes: u8;
    static _aqueduct_pages: u8;
    static _aqueduct_page_bytes: u8;
}

/// Where something lies that both cores use.
#[derive(Clone, Copy)]
struct Place {
    address: NonZeroUsize,
    bytes: usize,
}

/// All that a core knows of the other one.
#[derive(Clone, Copy)]
struct Map {
    ring: Place,
    pages: [Place; 2],
}

fn map() -> Map {
    let place = |address: usize, bytes| Place {
        address: NonZeroUsize::new(address).expect("RAM is not at 0"),
        bytes,
    };
    let (ring, ring_bytes) =
        ((&raw const _aqueduct_ring).expose_provenance(), (&raw const _aqueduct_ring_bytes).addr());
    let (pages, page_bytes) = (
        (&raw const _aqueduct_pages).expose_provenance(),
        (&raw const _aqueduct_page_bytes).addr(),
    );
    Map {
        ring: place(ring, ring_bytes),
        pages: [place(pages, page_bytes), place(pages + page_bytes, page_bytes)],
    }
}

#[entry]
fn main() -> ! {
    assert_eq!(payload_crc(b"123456789"), 0xCBF4_3926, "the check value of the catalogue");
    producer_core::power_on(map());
    reader_core::run(map());
    #[cfg(feature = "crc-hook")]
    assert!(aqueduct_firmware::crc_unit::bytes() > RECORDS, "the core computed CRCs by itself");
    pass()
}
