//! A program and the copies of itself that it starts for the other side, which talk by lines of
//! text.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::rounds::Series;

/// This text as a number.
///
/// # Panics
/// It is none.
pub fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text}: not a number"))
}

/// A process on the other side, which says `ready` and, in the end, some numbers.
pub struct Peer {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// It is not.
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).spawn().expect("a program that can be started");
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut peer = Self { child, said };
        assert_eq!(peer.line(), "ready\n", "the other side is not ready");
        peer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line
    }

    /// Its numbers, when it has ended well.
    ///
    /// # Panics
    /// It has not.
    pub fn end<const N: usize>(mut self) -> [u64; N] {
        let line = self.line();
        assert!(self.child.wait().expect("a child").success(), "the other side failed");
        let numbers: Vec<u64> = line.split_whitespace().map(number).collect();
        numbers.try_into().expect("as many numbers as agreed")
    }
}

/// This program, to be started once more.
///
/// # Panics
/// It has no path.
pub fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("a path of this program"))
}

/// Round trips in one line: quantiles and the CPU time of both sides, ns.
#[allow(clippy::cast_precision_loss, reason = "times far below 2^52")]
pub fn print_trips(samples: Vec<u64>, cpu: u64) {
    let series = Series::of(samples.into_iter().map(|ns| ns as f64).collect());
    println!(
        "p50={} p99={} p999={} cpu_ns={cpu}",
        series.median(),
        series.quantile(0.99),
        series.quantile(0.999)
    );
}
