//! Programs that do one measure and print it as `name=number …`: run in turn, round by round.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use aqueduct_benches::rounds::{Plan, Series};

use crate::results::Measure;

/// What a program printed.
pub type Printed = BTreeMap<String, f64>;

/// One program under measure. An argument `N` stands for the number of records or trips.
#[derive(Clone, Debug)]
pub struct Program {
    /// As the tables call it.
    pub subject: String,
    /// Program and arguments.
    pub line: Vec<String>,
    /// What it is given to do.
    pub with: Vec<(&'static str, u64)>,
}

impl Program {
    /// Of a command line, separated by spaces, after the path of the program.
    pub fn new(
        subject: &str,
        program: &str,
        arguments: &str,
        with: &[(&'static str, u64)],
    ) -> Self {
        let line = std::iter::once(program).chain(arguments.split(' ')).map(String::from).collect();
        Self { subject: subject.into(), line, with: with.to_vec() }
    }

    /// Runs it for so many records or trips. None, with a line to stderr, if it fails.
    pub fn run(&self, times: u64) -> Option<Printed> {
        let arguments = self.line[1..]
            .iter()
            .map(|argument| if argument == "N" { times.to_string() } else { argument.clone() });
        let output = Command::new(&self.line[0]).args(arguments).stderr(Stdio::inherit()).output();
        let text = match output {
            Ok(output) if output.status.success() => String::from_utf8(output.stdout).ok()?,
            other => {
                eprintln!(
                    "{} failed: {:?}: {}",
                    self.subject,
                    self.line,
                    other.map_or_else(|error| error.to_string(), |o| o.status.to_string())
                );
                return None;
            }
        };
        text.split_whitespace()
            .map(|field| {
                field
                    .split_once('=')
                    .and_then(|(name, n)| Some((name.to_string(), n.parse().ok()?)))
            })
            .collect()
    }
}

/// Records that take a round.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and times far below 2^52"
)]
fn calibrate(program: &Program, round: Duration) -> Option<u64> {
    let mut times = 1024;
    loop {
        let took = *program.run(times)?.get("ns")?;
        if took * 8.0 >= round.as_nanos() as f64 {
            return Some(((times as f64 * round.as_nanos() as f64 / took) as u64).max(64));
        }
        times *= 4;
    }
}

/// Measures ns per record of all programs in turn, and the CPU time of both sides. One that fails
/// is left out.
pub fn per_record(plan: Plan, group: &str, programs: &[Program]) -> Vec<Measure> {
    let times: Vec<Option<u64>> =
        programs.iter().map(|program| calibrate(program, plan.round)).collect();
    in_turn(plan, group, programs, &times, |printed| {
        let records = printed.get("records")?;
        let ns = |name: &str| Some(printed.get(name)? / records);
        Some(vec![
            ("ns per record", ns("ns")?),
            ("CPU ns per record, sender", ns("send_cpu_ns")?),
            ("CPU ns per record, receivers", ns("receive_cpu_ns")?),
        ])
    })
}

/// Measures quantiles of so many round trips of all programs in turn, and their CPU time.
pub fn round_trips(plan: Plan, group: &str, programs: &[Program], trips: u32) -> Vec<Measure> {
    let times = vec![Some(u64::from(trips)); programs.len()];
    in_turn(plan, group, programs, &times, |printed| {
        let ns = |name: &str| printed.get(name).copied();
        Some(vec![
            ("p50 ns", ns("p50")?),
            ("p99 ns", ns("p99")?),
            ("p99.9 ns", ns("p999")?),
            ("CPU ns per trip, both", ns("cpu_ns")? / f64::from(trips)),
        ])
    })
}

fn in_turn(
    plan: Plan,
    group: &str,
    programs: &[Program],
    times: &[Option<u64>],
    quantities: impl Fn(&Printed) -> Option<Vec<(&'static str, f64)>>,
) -> Vec<Measure> {
    let mut samples: Vec<BTreeMap<&str, Vec<f64>>> = vec![BTreeMap::new(); programs.len()];
    for _ in 0..plan.rounds {
        for ((program, times), samples) in programs.iter().zip(times).zip(&mut samples) {
            let Some(values) =
                times.and_then(|times| program.run(times)).as_ref().and_then(&quantities)
            else {
                continue;
            };
            for (quantity, value) in values {
                samples.entry(quantity).or_default().push(value);
            }
        }
    }
    let of = |(program, samples): (&Program, BTreeMap<&str, Vec<f64>>)| {
        let measure = |(quantity, samples)| {
            Measure::new(group, &program.subject, &program.with, quantity, &Series::of(samples))
        };
        samples.into_iter().map(measure).collect::<Vec<_>>()
    };
    programs.iter().zip(samples).flat_map(of).collect()
}
