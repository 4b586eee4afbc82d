//! The CRC of private bytes by one path of the core, beside libraries that are restricted to the
//! same instructions: a row of a table for each, quickest round of many, in turn.
//!
//! Run by `benches/crc/run`: `aqueduct-crc-bench pclmul|avx2|avx512 [ROUNDS]`. crc32fast is
//! restricted by the build; zlib-ng and ISA-L by the function that is called; crc-fast asks the
//! processor by itself and is only measured by AVX-512.

use std::hint::black_box;
use std::time::Instant;

use aqueduct_core::internals::{Crc, Path};

const SIZES: [usize; 6] = [16, 64, 256, 1024, 4096, 65536];

/// Bytes that one sample goes through, at least.
const SAMPLE_BYTES: usize = 200_000;

/// A CRC of bytes.
type Compute = Box<dyn Fn(&[u8]) -> u32>;

// Inside libz-ng.a, which dispatches to them, and of libisal.so.
unsafe extern "C" {
    fn crc32_pclmulqdq(crc: u32, bytes: *const u8, len: usize) -> u32;
    fn crc32_vpclmulqdq(crc: u32, bytes: *const u8, len: usize) -> u32;
}
#[link(name = "isal")]
unsafe extern "C" {
    fn crc32_gzip_refl_by8(crc: u32, bytes: *const u8, len: u64) -> u32;
    fn crc32_gzip_refl_by8_02(crc: u32, bytes: *const u8, len: u64) -> u32;
    fn crc32_gzip_refl_by16_10(crc: u32, bytes: *const u8, len: u64) -> u32;
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let path = args.get(1).and_then(|name| Path::ALL.into_iter().find(|path| path.name() == name));
    let rounds = args.get(2).map_or(Ok(200), |text| text.parse::<u32>());
    let (Some(path), Ok(rounds)) = (path.filter(|&path| path != Path::Portable), rounds) else {
        eprintln!("usage: aqueduct-crc-bench pclmul|avx2|avx512 [ROUNDS]");
        std::process::exit(2);
    };
    // SAFETY: gives a constant. That it is called links zlib-ng.
    assert!(!unsafe { libz_ng_sys::zlibVersion() }.is_null());
    let subjects = subjects(path);
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(SIZES[SIZES.len() - 1]).collect();
    for (name, compute) in &subjects {
        assert_eq!(compute(b"123456789"), 0xCBF4_3926, "{name}");
        for len in 0..2000 {
            assert_eq!(compute(&bytes[..len]), subjects[0].1(&bytes[..len]), "{name}, {len}");
        }
    }
    let mut quickest = vec![[f64::MAX; SIZES.len()]; subjects.len()];
    for _ in 0..rounds {
        for ((_, compute), quickest) in subjects.iter().zip(&mut quickest) {
            for (len, quickest) in SIZES.into_iter().zip(quickest) {
                *quickest = quickest.min(sample(compute, &bytes[..len]));
            }
        }
    }
    print_table(path, &subjects, &quickest);
}

fn subjects(path: Path) -> Vec<(&'static str, Compute)> {
    let empty = Crc::by(path).unwrap_or_else(|| panic!("this processor has no {}", path.name()));
    let ours: Compute = Box::new(move |bytes| {
        let mut crc = empty.clone();
        crc.update(bytes);
        crc.finalize()
    });
    let mut all = vec![("Aqueduct", ours), ("crc32fast", Box::new(crc32fast::hash) as Compute)];
    if path == Path::Avx512 {
        all.push(("crc-fast", Box::new(crc_fast::crc32_iso_hdlc)));
        all.push((
            "zlib-ng",
            Box::new(|bytes| {
                // SAFETY: reads a slice; the processor has the instructions.
                unsafe { crc32_vpclmulqdq(0, bytes.as_ptr(), bytes.len()) }
            }),
        ));
        all.push((
            "ISA-L",
            Box::new(|bytes| {
                // SAFETY: as above.
                unsafe { crc32_gzip_refl_by16_10(0, bytes.as_ptr(), bytes.len() as u64) }
            }),
        ));
        return all;
    }
    all.push((
        "zlib-ng",
        Box::new(|bytes| {
            // SAFETY: as above.
            unsafe { crc32_pclmulqdq(0, bytes.as_ptr(), bytes.len()) }
        }),
    ));
    if path == Path::Avx2 {
        all.push((
            "ISA-L",
            Box::new(|bytes| {
                // SAFETY: as above.
                unsafe { crc32_gzip_refl_by8_02(0, bytes.as_ptr(), bytes.len() as u64) }
            }),
        ));
    } else {
        all.push((
            "ISA-L",
            Box::new(|bytes| {
                // SAFETY: as above.
                unsafe { crc32_gzip_refl_by8(0, bytes.as_ptr(), bytes.len() as u64) }
            }),
        ));
    }
    all
}

/// Nanoseconds of one computation.
fn sample(compute: &Compute, bytes: &[u8]) -> f64 {
    let times = u32::try_from((SAMPLE_BYTES / (bytes.len() + 64)).max(4)).expect("few");
    let start = Instant::now();
    for _ in 0..times {
        black_box(compute(black_box(bytes)));
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

fn print_table(path: Path, subjects: &[(&str, Compute)], quickest: &[[f64; SIZES.len()]]) {
    let row = |name: &str, cells: &[String]| println!("| {name} | {} |", cells.join(" | "));
    row(&format!("{}, ns", path.name()), &SIZES.map(|len| format!("{len} B")));
    println!("|---|{}", "--:|".repeat(SIZES.len()));
    for ((name, _), quickest) in subjects.iter().zip(quickest) {
        row(name, &quickest.map(|ns| format!("{ns:.1}")));
    }
    let best = |at: usize| quickest[1..].iter().map(|row| row[at]).fold(f64::MAX, f64::min);
    let rates: Vec<_> =
        quickest[0].iter().enumerate().map(|(at, ns)| format!("{:.2}", best(at) / ns)).collect();
    row("rate by the best library", &rates);
    println!();
}
