//! The C program `e2e_reader` as a process, and what it printed, checked line by line as it comes.
//!
//! The program flushes its output before it releases what it printed, and prints `C <seq>` after
//! each release. So what is lost from its output when it is killed was not released, and it is
//! redelivered from the last `C` at the earliest.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Process, TIMEOUT};
use crate::records::{Id, Sizes};

/// What a reader printed, so far.
#[derive(Default)]
pub(crate) struct Reading {
    /// Every record, in the order of delivery.
    pub(crate) records: Vec<(u64, Id)>,
    /// The last `C` line: everything before this sequence number was released.
    pub(crate) released: Option<u64>,
    /// What stood behind `END`.
    pub(crate) end: Option<String>,
    /// `E` lines, and lines that are no line of the program or whose record was never made.
    pub(crate) errors: Vec<String>,
    /// Its output has ended.
    pub(crate) over: bool,
}

/// Where a reader attaches, and what it is to expect.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// For its log.
    pub(crate) dir: &'a Path,
    /// The listener's control socket.
    pub(crate) socket: &'a Path,
    /// Name of the ring.
    pub(crate) ring: &'a str,
    /// Sizes of the records that are posted.
    pub(crate) sizes: Sizes,
    /// So many records at most are released together.
    pub(crate) release_every: u64,
    /// How long the reader takes for each record, microseconds.
    pub(crate) delay_us: u32,
}

/// A reader at work.
pub(crate) struct Reader {
    process: Process,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    reading: Mutex<Reading>,
    changed: Condvar,
}

impl Reader {
    /// Attaches as `subscription`; `name` distinguishes the logs.
    pub(crate) fn start(place: Place<'_>, name: &str, subscription: &str) -> Self {
        let mut command = Command::new(place.program);
        command.arg(place.socket).args([place.ring, subscription]);
        command.args([
            "--release-every",
            &place.release_every.to_string(),
            "--delay-us",
            &place.delay_us.to_string(),
        ]);
        let log = place.dir.join(format!("{name}.log"));
        let mut process = Process::start(&format!("reader {name}"), &mut command, log)
            .expect("the C reader starts");
        let stdout =
            BufReader::with_capacity(1 << 16, process.take_stdout().expect("stdout is piped"));
        let shared = Arc::new(Shared { reading: Mutex::default(), changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || theirs.follow(stdout, place.sizes));
        Self { process, shared, thread }
    }

    /// As [`Reader::start`] and waits for the first record; tries again while the listener has not
    /// yet noticed that the last reader is gone.
    pub(crate) fn start_again(place: Place<'_>, name: &str, subscription: &str) -> Self {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let reader = Self::start(place, name, subscription);
            reader.wait_until("the first record", |reading| {
                reading.over || !reading.records.is_empty()
            });
            if !reader.was_refused_as_busy() || Instant::now() > deadline {
                return reader;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn was_refused_as_busy(&self) -> bool {
        let reading = self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.over
            && reading
                .errors
                .iter()
                .any(|error| error.starts_with("E open ") && error.contains(" refusal=5 "))
    }

    /// Waits until `wanted` holds of what was printed so far; panics, naming `what`, after
    /// [`TIMEOUT`] or if the reader ends before.
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&Reading) -> bool) {
        let reading = self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = |reading: &mut Reading| !wanted(reading) && !reading.over;
        let (reading, _) = self
            .shared
            .changed
            .wait_timeout_while(reading, TIMEOUT, pending)
            .unwrap_or_else(PoisonError::into_inner);
        let (count, errors, end) = (reading.records.len(), &reading.errors, &reading.end);
        assert!(
            wanted(&reading),
            "waited for {what}; the reader has {count} records, end {end:?}, errors {errors:?}"
        );
    }

    /// Sends a signal; the reader must still be running.
    pub(crate) fn signal(&mut self, signal: Signal) {
        assert!(
            self.process.signal(signal),
            "the reader ended before the test wanted to send it signal {signal:?}"
        );
    }

    /// Stops it (SIGSTOP) in the middle of a batch: some of it delivered, none of it released. Only
    /// for a reader that has more unread records than a batch holds, and takes its time with them.
    pub(crate) fn stop_before_release(&mut self, release_every: u64) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.signal(Signal::STOP);
            // For the process to stop and for its output to be read. If that takes longer, the next
            // line sees an earlier state.
            thread::sleep(Duration::from_millis(20));
            let unreleased = {
                let reading = self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner);
                reading.records.len() as u64 - reading.released.unwrap_or(0)
            };
            // A whole batch could be one that was released with the news still unprinted.
            if (1..release_every).contains(&unreleased) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the reader is never seen between delivery and release"
            );
            self.signal(Signal::CONT);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it (SIGKILL) and returns what it had printed. A last line without an end is dropped:
    /// it was not released.
    pub(crate) fn kill(mut self) -> Reading {
        self.signal(Signal::KILL);
        self.finish().0
    }

    /// Waits for the end of the program and returns what it printed.
    pub(crate) fn finish(mut self) -> (Reading, ExitStatus) {
        self.wait_until("the end of the reader's output", |reading| reading.over);
        let status =
            self.process.wait(TIMEOUT).expect("the reader exits once its output has ended");
        self.thread.join().expect("the thread that follows the reader does not panic");
        let mut reading = self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut *reading), status)
    }
}

impl Shared {
    fn follow(&self, mut stdout: impl BufRead, sizes: Sizes) {
        let (mut line, mut scratch) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            let more = stdout.read_until(b'\n', &mut line).is_ok_and(|count| count > 0);
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            match line.split_last() {
                Some((b'\n', whole)) => reading.take(whole, sizes, &mut scratch),
                Some(_) => {} // Cut off by the death of the program.
                None => reading.over = !more,
            }
            self.changed.notify_all();
            if !more {
                return;
            }
        }
    }
}

impl Reading {
    fn take(&mut self, line: &[u8], sizes: Sizes, scratch: &mut Vec<u8>) {
        let text = || String::from_utf8_lossy(line).into_owned();
        match line.first() {
            Some(b'R') => match record(line, sizes, scratch) {
                Some(record) => self.records.push(record),
                None => self.errors.push(format!("never made: {}", text())),
            },
            Some(b'C') => match number(line.strip_prefix(b"C ")) {
                Some(seq) => self.released = Some(seq),
                None => self.errors.push(text()),
            },
            _ => match text().strip_prefix("END ") {
                Some(end) => self.end = Some(end.to_owned()),
                None => self.errors.push(text()),
            },
        }
    }
}

/// `R seq type len timestamp payload`.
fn record(line: &[u8], sizes: Sizes, scratch: &mut Vec<u8>) -> Option<(u64, Id)> {
    let mut fields = line.splitn(6, |&byte| byte == b' ').skip(1);
    let seq = number(fields.next())?;
    let type_tag = u16::try_from(number(fields.next())?).ok()?;
    let length = number(fields.next())?;
    let timestamp_ns = number(fields.next())?;
    let payload = fields.next()?;
    let id = sizes.recognise(type_tag, payload, scratch)?;
    (length == payload.len() as u64 && timestamp_ns > 0).then_some((seq, id))
}

fn number(field: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(field?).ok()?.parse().ok()
}
