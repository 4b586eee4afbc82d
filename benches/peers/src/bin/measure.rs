//! Measures everything that is not `cargo bench`, and writes each part as it is done.
//!
//! Run by `benches/run`: `measure PARTS_DIRECTORY RUST_PROGRAMS C_PROGRAMS [PART …]`; parts:
//! throughput trips idle mappings growth counts.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aqueduct_benches::rounds::{Plan, Series};
use aqueduct_peers::processes::{self, Programs};
use aqueduct_peers::results::{Measure, save};
use aqueduct_peers::{growth, mappings};

const PARTS: [&str; 6] = ["throughput", "trips", "idle", "mappings", "growth", "counts"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [parts_directory, rust, c, wanted @ ..] = &args[..] else {
        eprintln!("usage: measure PARTS_DIRECTORY RUST_PROGRAMS C_PROGRAMS [{}]", PARTS.join("|"));
        std::process::exit(2);
    };
    let rust = Path::new(rust);
    let programs = Programs::of(rust, Path::new(c));
    for part in PARTS
        .into_iter()
        .filter(|part| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part))
    {
        let began = Instant::now();
        let measures = match part {
            "throughput" => processes::throughput(Plan::from_env(15, 40), &programs),
            "trips" => processes::trips(Plan::from_env(15, 40), &programs),
            "idle" => processes::idle(&programs, Duration::from_secs(10)),
            "mappings" => mappings::table(Plan::from_env(15, 40)),
            "growth" => growth::curves(Plan::from_env(15, 8)),
            _ => instructions(rust),
        };
        eprintln!("{part}: {} measures in {} s", measures.len(), began.elapsed().as_secs());
        save(Path::new(parts_directory), part, &measures).expect("a directory to write to");
    }
}

/// Instructions of one publication for so many gating readers, by callgrind: what cores cannot show
/// that are not there.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn instructions(rust: &Path) -> Vec<Measure> {
    const FEW: u64 = 4096;
    const MANY: u64 = 69632;
    let count = |readers: usize, records: u64| -> Option<u64> {
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(rust.join("count"));
        let output =
            command.args(["publish", &records.to_string(), &readers.to_string()]).output().ok()?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        log.split("Collected : ").nth(1)?.split_whitespace().next()?.parse().ok()
    };
    let mut measures = Vec::new();
    for readers in [1, 2, 4, 8] {
        let (Some(few), Some(many)) = (count(readers, FEW), count(readers, MANY)) else {
            eprintln!("no instruction counts: valgrind is not there");
            return measures;
        };
        let each = (many - few) as f64 / (MANY - FEW) as f64;
        let with = [("readers", readers as u64)];
        measures.push(Measure::new(
            "instructions",
            "publish",
            &with,
            "instructions per record",
            &Series::of(vec![each]),
        ));
    }
    measures
}
