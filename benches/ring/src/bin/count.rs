//! Does one thing so many times, on one thread, always by the same instructions; `instructions.sh`
//! counts them. With `AQUEDUCT_COUNT_STOPS` it stops itself before and after them.
//!
//! Run: `count publish|publish16|read|verify RECORDS [GATING_READERS]`
//! or: `count crc|crc32fast TIMES BYTES`

use aqueduct_benches::machine::Mapping;
use aqueduct_benches::ring::{
    PAGE_BYTES, RING_BYTES, attach, create_gated_by, refuse_an_unknown_path,
};
use aqueduct_benches::work::Payload;
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::KIND_DATA;
use aqueduct_core::payload_crc;
use aqueduct_core::{Meta, Next};

const BYTES: usize = 64;
/// Records between two looks at the other side, few enough for the ring.
const STRETCH: u64 = 1024;
const META: Meta = Meta { type_tag: 7, timestamp_ns: 1 };

fn main() {
    refuse_an_unknown_path();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let records = args.get(1).and_then(|text| text.parse::<u64>().ok());
    let readers = args
        .get(2)
        .map_or(Some(1), |text| text.parse::<usize>().ok())
        .filter(|&readers| readers > 0);
    let records = records.filter(|_| readers.is_some());
    let readers = readers.unwrap_or(1);
    match (args.first().map(String::as_str), records) {
        (Some("publish"), Some(records)) => through_ring(records, 1, false, readers),
        (Some("publish16"), Some(records)) => through_ring(records, 16, false, readers),
        (Some("read"), Some(records)) => through_ring(records, 1, true, readers),
        (Some("verify"), Some(records)) => verify(records),
        (Some("crc"), Some(times)) => {
            let framing = Framing::new(1);
            crc(times, readers, |bytes| framing.payload_crc(bytes));
        }
        (Some("crc32fast"), Some(times)) => crc(times, readers, payload_crc),
        _ => {
            eprintln!("usage: count publish|publish16|read|verify RECORDS [GATING_READERS]");
            eprintln!("       count crc|crc32fast TIMES BYTES");
            std::process::exit(2);
        }
    }
}

/// Pushes and, if asked to, reads by stretches; otherwise the reader skips them.
fn through_ring(records: u64, batch: u64, read: bool, readers: usize) {
    let segment = Mapping::anonymous(RING_BYTES).expect("memory");
    let pages: Vec<_> =
        (0..readers).map(|_| Mapping::anonymous(PAGE_BYTES).expect("memory")).collect();
    let mut producer = create_gated_by(&segment, &pages);
    let mut readers: Vec<_> = pages.iter().map(|page| attach(&segment, page)).collect();
    let payload = Payload::new(BYTES).numbered(1).to_vec();
    let mut buf = [0; BYTES];
    stop();
    for stretch in 0..records.div_ceil(STRETCH) {
        let end = STRETCH.min(records - stretch * STRETCH);
        for at in 1..=end {
            if batch == 1 {
                let (_, wake) = producer.push(META, &payload).expect("room");
                assert!(wake.is_none());
            } else {
                producer.append(META, &payload).expect("room");
                if at % batch == 0 || at == end {
                    assert!(producer.publish().is_none());
                }
            }
        }
        for reader in &mut readers {
            if read {
                for _ in 0..end {
                    assert!(matches!(reader.next(&mut buf), Ok(Next::Record(_))));
                }
            } else {
                reader.skip_to_latest().expect("an undamaged ring");
            }
            assert!(!reader.release());
        }
    }
    stop();
}

/// Stops this process, for who counts its instructions.
fn stop() {
    if std::env::var_os("AQUEDUCT_COUNT_STOPS").is_some() {
        // SAFETY: a signal to the own process; who asked for it lets it go on.
        let outcome = unsafe { libc::raise(libc::SIGSTOP) };
        assert_eq!(outcome, 0);
    }
}

/// The checks alone: header and payload CRC of private bytes.
fn verify(records: u64) {
    let framing = Framing::new(0x1f2e_3d4c_5b6a_7988);
    let payload = Payload::new(BYTES).numbered(1).to_vec();
    let crc = payload_crc(&payload);
    let header = Header {
        len: 64,
        kind: KIND_DATA,
        flags: 0,
        type_tag: 7,
        seq: 41,
        timestamp_ns: 1,
        payload_crc: crc,
    };
    let bytes = framing.encode(3, &header);
    stop();
    for _ in 0..records {
        let header = framing.decode(3, std::hint::black_box(&bytes)).expect("a header");
        assert_eq!(header.payload_crc, framing.payload_crc(std::hint::black_box(&payload)));
    }
    stop();
}

/// The CRC of so many private bytes.
fn crc(times: u64, bytes: usize, compute: impl Fn(&[u8]) -> u32) {
    let bytes = vec![0x5a; bytes];
    stop();
    for _ in 0..times {
        std::hint::black_box(compute(std::hint::black_box(&bytes)));
    }
    stop();
}
