//! Rust produces by `aqueduct-core`, C reads and releases, both in one program and over one ring.
//!
//! Run: `cargo run --features both --example both`. Expect: `30 records read by C, 0 damaged`.

use aqueduct_core::{ClaimError, Memory, Meta, Producer, Region, RingConfig, Segment, Start};
use aqueduct_reader_sys as sys;

static RING: Segment<{ 256 + 512 }> = Segment::new();
static CURSOR: Segment<{ sys::AQD_CURSOR_BYTES_MIN }> = Segment::new();

/// Reads and releases what is there. Returns how many records were whole, and how many damaged.
fn drain(reader: &mut sys::aqd_reader) -> (u32, u32) {
    let (mut whole, mut damaged) = (0, 0);
    let mut buf = [0_u8; 64];
    loop {
        let mut record = sys::aqd_record::default();
        // SAFETY: a reader that was attached; `buf` has the size that is said; all of them live.
        let status = unsafe {
            sys::aqd_reader_next(reader, buf.as_mut_ptr().cast(), buf.len(), &mut record)
        };
        match status {
            sys::AQD_OK => {
                assert_eq!(buf[..record.len as usize], record.seq.to_le_bytes());
                whole += 1;
            }
            sys::AQD_ERR_HEADER | sys::AQD_ERR_PAYLOAD => damaged += 1,
            _ => break,
        }
    }
    // SAFETY: as above. The producer here does not sleep, so nobody is told.
    let _ = unsafe { sys::aqd_reader_release(reader) };
    (whole, damaged)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = RingConfig::new("both", 0x5eed_5f0a, 512);
    let mut producer: Producer<Region<'_>> = Producer::create(RING.region(), &config)?;
    let id = producer.subscribe(Start::Oldest)?;
    producer.attach(id, "c", CURSOR.region())?;

    let mut reader = sys::aqd_reader::zeroed();
    // SAFETY: both segments live for ever, are aligned to 64, have these sizes, and are reached by
    // the atomics of either library only.
    let status = unsafe {
        sys::aqd_reader_init(
            &mut reader,
            RING.region().base().as_ptr().cast(),
            RING.region().size(),
            CURSOR.region().base().as_ptr().cast(),
            CURSOR.region().size(),
        )
    };
    assert_eq!(status, sys::AQD_OK);

    let (mut whole, mut damaged) = (0, 0);
    for number in 0..30_u64 {
        loop {
            match producer.push(Meta::default(), &number.to_le_bytes()) {
                Ok(_) => break,
                Err(ClaimError::Full { .. }) => {
                    let (read, lost) = drain(&mut reader);
                    if read + lost == 0 {
                        return Err("the reader does not advance".into());
                    }
                    (whole, damaged) = (whole + read, damaged + lost);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    let (read, lost) = drain(&mut reader);
    (whole, damaged) = (whole + read, damaged + lost);
    println!("{whole} records read by C, {damaged} damaged");
    if (whole, damaged) == (30, 0) { Ok(()) } else { Err("not all 30 were read".into()) }
}
