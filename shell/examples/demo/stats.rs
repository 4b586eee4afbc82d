//! The C program `stats` as a process: its lines, made readable, and the file it writes, compared
//! with the data set.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::Sender;
use std::thread;

use crate::Event;
use crate::posting::Accepted;
use crate::process::Process;

/// How often the C program reports, milliseconds.
const INTERVAL_MS: &str = "100";
/// So many new records at once are shown with their text.
const SHOWN_WITH_TEXT: u64 = 5;

/// The C program at work.
pub(crate) struct Stats {
    /// The process.
    pub(crate) process: Process,
    /// How many records it has reported.
    pub(crate) received: u64,
    out: PathBuf,
    /// How much of `out` has been shown, bytes.
    shown_bytes: u64,
}

/// One of its lines: `received=5000 rate=12345/s p50_us=12.3 p99_us=45.6 crc_failures=0 lost=0`.
pub(crate) struct Line {
    received: u64,
    readable: String,
}

impl Stats {
    /// Attaches it to `[ring, subscription]`; its lines become events.
    pub(crate) fn start(
        program: &Path,
        socket: &Path,
        names: [&str; 2],
        dir: &Path,
        sender: Sender<Event>,
    ) -> io::Result<Self> {
        let out = dir.join("received.csv");
        let mut command = Command::new(program);
        command.arg(socket).args(names).arg("--out").arg(&out).args(["--interval-ms", INTERVAL_MS]);
        let mut process = Process::start("the C program", &mut command, dir.join("stats.log"))?;
        let stdout =
            process.take_stdout().ok_or_else(|| io::Error::other("the C program has no stdout"))?;
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(line) = Line::parse(&line) {
                    let _ = sender.send(Event::Line(line));
                }
            }
            let _ = sender.send(Event::ReaderEnded);
        });
        Ok(Self { process, received: 0, out, shown_bytes: 0 })
    }

    /// Prints a line if it reports anything new, with the text of the records if they are few.
    pub(crate) fn show(&mut self, line: &Line) -> io::Result<()> {
        let new = line.received - self.received;
        self.received = line.received;
        if new == 0 {
            return Ok(());
        }
        println!("C received {}", line.readable);
        let mut file = File::open(&self.out)?;
        file.seek(SeekFrom::Start(self.shown_bytes))?;
        let mut text = Vec::new();
        self.shown_bytes += file.read_to_end(&mut text)? as u64;
        if new <= SHOWN_WITH_TEXT {
            for record in String::from_utf8_lossy(&text).lines() {
                println!("           {record:?}");
            }
        }
        Ok(())
    }

    /// Compares all that the C program has written with what was accepted: record `seq` is its line
    /// `seq`. An error names the first difference.
    pub(crate) fn compare(&self, accepted: &[Accepted]) -> io::Result<()> {
        let received = fs::read(&self.out)?;
        let mut lines = received.split_inclusive(|&byte| byte == b'\n');
        for (expected, Accepted { seq, record }) in (0..).zip(accepted) {
            let line = lines.next().unwrap_or_default();
            if *seq != expected || line.strip_suffix(b"\n") != Some(record.as_bytes()) {
                let line = String::from_utf8_lossy(line);
                return Err(io::Error::other(format!(
                    "record {seq} is {record:?}; line {expected} of the C program is {line:?}"
                )));
            }
        }
        match lines.next() {
            None => Ok(()),
            Some(line) => Err(io::Error::other(format!(
                "the C program received what was not posted: {:?}",
                String::from_utf8_lossy(line)
            ))),
        }
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| {
            line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let received = field("received")?.parse().ok()?;
        let rate = field("rate")?.strip_suffix("/s")?.parse().ok()?;
        let (p50, p99) = (field("p50_us")?, field("p99_us")?);
        let (crc_failures, lost) = (field("crc_failures")?, field("lost")?);
        let (count, rate) = (grouped(received), grouped(rate));
        let readable = format!(
            "{count:>9} records {rate:>9} records/s   latency p50 {p50:>6} us, p99 {p99:>7} us   CRC failures {crc_failures}   lost {lost}"
        );
        Some(Self { received, readable })
    }
}

/// `8759` as `8,759`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
    groups.collect::<Vec<_>>().join(",")
}
