//! A reader for `cross` that checks nothing of the ring and knows where the records lie: it copies
//! each payload out and takes its CRC by a library, as one would without Aqueduct. What a reader
//! that copies and checks cannot beat, in the place where it works.
//!
//! ```text
//! limit read RING_FD PAGE_FD RECORDS BYTES drain RELEASE_EVERY CORE
//! ```
//! `AQUEDUCT_CRC_PATH` names the instructions; the build has to be restricted to them, too. Each
//! library is tried with two copies, `memcpy` and a loop of vectors, each for a lap of the ring in
//! turn, so RECORDS should be as many laps as there are pairs. What it prints is as the readers of
//! `cross` do it, for RECORDS by the quickest pair, whose name goes to stderr.

use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aqueduct_core::layout::{GRANULE_BYTES, ring_word};
use aqueduct_core::{Memory, ReadRegion, Reader, Region};
use aqueduct_crc_bench::{Compute, libraries, path_named};

/// A way to copy private bytes.
type Copy = fn(&[u8], &mut [u8]);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ["read", ring, page, records, bytes, "drain", _, core] = args[..] else {
        eprintln!("usage: limit read RING_FD PAGE_FD RECORDS BYTES drain RELEASE_EVERY CORE");
        std::process::exit(2);
    };
    let path = std::env::var("AQUEDUCT_CRC_PATH").ok().and_then(|name| path_named(&name));
    let path = path.expect("AQUEDUCT_CRC_PATH is pclmul, avx2 or avx512");
    let (ring, page) = (Mapping::inherited(ring, false), Mapping::inherited(page, true));
    pin(number(core));
    read(&ring, &page, number(records), number(bytes), &libraries(path));
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text}: not a number"))
}

// ---- reading

/// One library with one copy, and what it took.
struct Pair<'a> {
    name: String,
    compute: &'a Compute,
    copy: Copy,
    records: u64,
    took: Duration,
}

fn read(ring: &Mapping, page: &Mapping, records: u64, bytes: usize, libraries: &[(&str, Compute)]) {
    let copies: [(&str, Copy); 2] = [("memcpy", by_memcpy), ("vectors", by_vectors)];
    let mut pairs: Vec<Pair> = libraries
        .iter()
        .flat_map(|(library, compute)| {
            copies.map(|(copy_name, copy)| Pair {
                name: format!("{library}, {copy_name}"),
                compute,
                copy,
                records: 0,
                took: Duration::ZERO,
            })
        })
        .collect();
    let mut reader = Reader::attach(ring.read_only(), page.region()).expect("a ring and its page");
    let count = pairs.len();
    println!("ready");
    let (mut seq, mut position) = (0, 0);
    for lap in 0.. {
        // ORDER(publish): Acquire, as a reader loads it.
        let tail = loop {
            let tail = ring.read_only().load(ring_word::TAIL, Ordering::Acquire);
            #[allow(
                clippy::cast_possible_truncation,
                reason = "positions are compared by low bits"
            )]
            if tail != position as u32 {
                break tail;
            }
            std::thread::yield_now();
        };
        let pair = &mut pairs[lap % count];
        let before = seq;
        let lap_start = position;
        let began = Instant::now();
        position = drain(ring, &reader, position, tail, bytes, |payload, into| {
            (pair.copy)(payload, into);
            black_box((pair.compute)(into));
            assert!(is_numbered(into, seq), "record {seq}: not what was sent");
            seq += 1;
        });
        pair.took += began.elapsed();
        pair.records += seq - before;
        // Once more, to see that the library computed what the producer did.
        drain(ring, &reader, lap_start, tail, bytes, |payload, into| {
            (pair.copy)(payload, into);
            let header = payload.as_ptr().wrapping_sub(GRANULE_BYTES - 24);
            // SAFETY: every payload of the ring has a header before it, whose 25th to 28th bytes
            // are its CRC.
            let stored = unsafe { header.cast::<[u8; 4]>().read() };
            assert_eq!((pair.compute)(into), u32::from_le_bytes(stored), "{}", pair.name);
        });
        reader.skip_to_latest().expect("an undamaged ring");
        assert!(!reader.release(), "nobody asks for space");
        if seq >= records {
            break;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let ns = |pair: &Pair| pair.took.as_secs_f64() * 1e9 / pair.records as f64;
    let tried = pairs.iter().filter(|pair| pair.records > 0);
    let best = tried.min_by(|a, b| ns(a).total_cmp(&ns(b))).expect("one lap at least");
    eprintln!("{}", best.name);
    #[allow(clippy::cast_precision_loss, reason = "as above")]
    let reading = ns(best) * records as f64;
    println!("0 0 {reading:.0}");
}

/// Gives each payload from `position` to `tail`, and a buffer of as many bytes, to `each`. All have
/// the same length, so that where the next one begins is known without a look at its header.
fn drain(
    ring: &Mapping,
    reader: &Reader<ReadRegion, Region>,
    mut position: u64,
    tail: u32,
    bytes: usize,
    mut each: impl FnMut(&[u8], &mut [u8]),
) -> u64 {
    let geometry = reader.geometry();
    let granules = u32::try_from(1 + bytes.div_ceil(GRANULE_BYTES)).expect("a record's granules");
    let mut into = vec![0; bytes];
    #[allow(clippy::cast_possible_truncation, reason = "positions are compared by low bits")]
    while position as u32 != tail {
        let room = geometry.room_to_end(position);
        if room < granules {
            position += u64::from(room);
            continue;
        }
        let at = geometry.offset_of(position) + GRANULE_BYTES;
        // SAFETY: a record of the ring, which is mapped and as long as its geometry says; the
        // producer of `drain` waits until all of it was released.
        let payload = unsafe { ring.base.as_ptr().add(at) };
        // SAFETY: as above.
        let payload = unsafe { std::slice::from_raw_parts(payload, bytes) };
        each(black_box(payload), &mut into);
        position += u64::from(granules);
    }
    position
}

/// As `check` of the other readers: the number in the first eight bytes, its complement in the
/// last.
fn is_numbered(payload: &[u8], seq: u64) -> bool {
    payload.first_chunk() == Some(&seq.to_le_bytes())
        && payload.last_chunk() == Some(&(!seq).to_le_bytes())
}

fn by_memcpy(from: &[u8], into: &mut [u8]) {
    into.copy_from_slice(from);
}

/// Not `rep movsb`, which some processors are slow at.
#[allow(clippy::cast_ptr_alignment, reason = "asserted, or any will do")]
fn by_vectors(from: &[u8], into: &mut [u8]) {
    #[cfg(target_feature = "avx2")]
    type Vector = core::arch::x86_64::__m256i;
    #[cfg(not(target_feature = "avx2"))]
    type Vector = core::arch::x86_64::__m128i;
    let whole = from.len() - from.len() % size_of::<Vector>();
    assert!(from.as_ptr().cast::<Vector>().is_aligned(), "payloads lie at granules");
    for at in (0..whole).step_by(size_of::<Vector>()) {
        let from = from[at..].as_ptr().cast::<Vector>();
        // Volatile, for the compiler would make a `memcpy` of the loop.
        // SAFETY: a vector of the slice (`at` is below `whole`), and aligned (asserted).
        let vector = unsafe { from.read_volatile() };
        let into = into[at..].as_mut_ptr().cast::<Vector>();
        // SAFETY: a vector of the other slice, which is as long; any alignment.
        unsafe { into.write_unaligned(vector) };
    }
    into[whole..].copy_from_slice(&from[whole..]);
}

// ---- the processor and its memory

fn pin(core: usize) {
    let mut set = [0_u64; 16];
    set[core / 64] |= 1 << (core % 64);
    // SAFETY: the kernel reads `size_of_val(&set)` bytes from `set`, which lives through the call.
    let outcome = unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) };
    assert_eq!(outcome, 0, "two cores to run on");
}

/// A memfd that the parent process left open, mapped until this one ends.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn inherited(number: &str, writable: bool) -> Self {
        use std::os::fd::AsRawFd;
        let mut options = std::fs::File::options();
        let file = options.read(true).write(true).open(format!("/proc/self/fd/{number}"));
        let file = file.expect("a memfd");
        let bytes = usize::try_from(file.metadata().expect("its size").len()).expect("its size");
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        let at = std::ptr::null_mut();
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { libc::mmap(at, bytes, protection, flags, file.as_raw_fd(), 0) };
        assert!(base != libc::MAP_FAILED, "a memfd can be mapped");
        Self { base: NonNull::new(base.cast()).expect("not at address 0"), bytes }
    }

    fn region(&self) -> Region<'_> {
        // SAFETY: mapped until the process ends, writable where it is called (the page), aligned to
        // pages, and accessed by regions only.
        unsafe { Region::from_raw(self.base, self.bytes) }
    }

    fn read_only(&self) -> ReadRegion<'_> {
        // SAFETY: as above, with reads alone.
        unsafe { ReadRegion::from_raw(self.base, self.bytes) }
    }
}
