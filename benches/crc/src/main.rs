//! The CRC of private bytes by one path of the core, beside libraries that are restricted to the
//! same instructions: a row of a table for each, quickest round of many, in turn.
//!
//! Run by `benches/crc/run`: `aqueduct-crc-bench pclmul|avx2|avx512 [ROUNDS]`.

use std::hint::black_box;
use std::time::Instant;

use aqueduct_core::internals::{Crc, Path};
use aqueduct_crc_bench::{Compute, libraries, path_named};

const SIZES: [usize; 6] = [16, 64, 256, 1024, 4096, 65536];

/// Bytes that one sample goes through, at least.
const SAMPLE_BYTES: usize = 200_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let path = args.get(1).and_then(|name| path_named(name));
    let rounds = args.get(2).map_or(Ok(200), |text| text.parse::<u32>());
    let (Some(path), Ok(rounds)) = (path, rounds) else {
        eprintln!("usage: aqueduct-crc-bench pclmul|avx2|avx512 [ROUNDS]");
        std::process::exit(2);
    };
    let subjects = subjects(path);
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(SIZES[SIZES.len() - 1]).collect();
    for (name, compute) in &subjects {
        assert_eq!(compute(b"123456789"), 0xCBF4_3926, "{name}");
        for len in (0..2000).chain([SIZES[SIZES.len() - 1]]) {
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
    std::iter::once(("Aqueduct", ours)).chain(libraries(path)).collect()
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
    let rates: Vec<_> = (0..SIZES.len()).map(|at| best(at) / quickest[0][at]).collect();
    let cells: Vec<_> = rates.iter().map(|rate| format!("{rate:.3}")).collect();
    row("rate by the best library", &cells);
    let met = |(len, &rate): (usize, &f64)| match len {
        1024 | 65536 if rate >= 1.0 => "yes".to_owned(),
        1024 | 65536 => "**no**".to_owned(),
        _ => String::new(),
    };
    let cells: Vec<_> = SIZES.into_iter().zip(&rates).map(met).collect();
    row("at least 1", &cells);
    println!();
}
