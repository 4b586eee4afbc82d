//! Real processes over a shared mapping, killed and stopped at random: is every published record
//! there, whole, in order?
//!
//! The judge starts a producer, then a reader; stops and kills either by SIGKILL and SIGSTOP, and
//! lets the next producer recover and resume, the next reader go on where the last one was. Readers
//! check content, order and completeness; what they are given twice must be the same. Ends with a
//! panic (status 101) at the first violation.
//!
//! Run: `cargo run --release -p aqueduct-verify --bin kill_loop -- [ROUNDS] [SEED]`. Expected, with
//! other numbers:
//! `kill_loop: 50 rounds, 38021 records, 41 readers killed, 9 producers killed before they published, 30 stopped, 0 missed wakes`

mod journal;
mod mapping;
mod roles;

use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use aqueduct_core::recovery::{Bound, Checkpoint, Cut, recover};
use aqueduct_core::{Next, Observer};
use aqueduct_verify::rng::Rng;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use journal::{JOURNAL_BYTES, Journal, Made};
use mapping::Mapping;
use roles::{PAGE_BYTES, RING_BYTES, Shared, consume, produce};

/// A process that takes longer to do what it must is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child that does not outlive the judge.
struct Killable {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Killable {
    fn start(arguments: &[String]) -> Self {
        Self {
            child: Command::new("/proc/self/exe").args(arguments).spawn().expect("another process"),
            ended: None,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // The child is not waited for yet, so its number is still its own.
        kill_process(pid, signal).expect("kill");
    }

    /// Kills it; it must have been running.
    fn kill(mut self, who: &str) {
        self.signal(Signal::KILL);
        let status = self.child.wait().expect("wait");
        self.ended = Some(status);
        assert!(status.code().is_none(), "the {who} ended by itself: {status}");
    }

    /// Whether it has ended, and well; a bad end is a violation.
    fn ended_well(&mut self, who: &str) -> bool {
        self.ended = self.ended.or(self.child.try_wait().expect("wait"));
        self.ended.is_some_and(|status| {
            assert!(status.success(), "the {who} found a violation: {status}");
            true
        })
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what}: nothing after {PATIENCE:?}");
        sleep(Duration::from_micros(200));
    }
}

#[derive(Debug, Default)]
struct Counts {
    readers_killed: u32,
    early: u32,
    stopped: u32,
}

struct Judge {
    shared: Shared,
    paths: [String; 3],
    rng: Rng,
    counts: Counts,
}

impl Judge {
    fn start(&mut self, role: &str, round: u16, number: i64) -> Killable {
        let numbers = [role.to_owned(), round.to_string(), number.to_string()];
        Killable::start(&[&numbers[..], &self.paths[..]].concat())
    }

    fn nap(&mut self, most_us: usize) {
        sleep(Duration::from_micros(self.rng.below(most_us) as u64));
    }

    /// One producer's life. `last`: the round whose page holds the cursor. Whether this round's
    /// page does now.
    fn round(&mut self, round: u16, last: Option<u16>) -> bool {
        let ready = u64::from(round) + 1;
        let mut producer = self.start("produce", round, last.map_or(-1, i64::from));
        if self.rng.once_in(5) {
            // In the middle of creating, recovering or attaching, or soon after.
            self.nap(4000);
            producer.kill("producer");
            self.counts.early += u32::from(self.shared.journal.ready() < ready);
            return self.shared.journal.ready() == ready;
        }
        wait_until("the producer begins", || {
            !producer.ended_well("producer") && self.shared.journal.ready() == ready
        });
        self.shared.journal.set_stop(false);
        let mut seed = i64::from(round) << 8;
        let mut reader = self.start("consume", round, seed);
        for _ in 0..=self.rng.below(4) {
            self.nap(4000);
            match self.rng.below(5) {
                0 | 1 => {
                    reader.kill("reader");
                    self.counts.readers_killed += 1;
                    seed += 1;
                    reader = self.start("consume", round, seed);
                }
                2 => self.pause(&reader),
                3 => self.pause(&producer),
                _ => {}
            }
        }
        self.nap(3000);
        producer.kill("producer");
        if self.rng.once_in(3) {
            reader.kill("reader");
            self.counts.readers_killed += 1;
        } else {
            self.shared.journal.set_stop(true);
            wait_until("the reader drains", || reader.ended_well("reader"));
            self.drained();
        }
        true
    }

    fn pause(&mut self, process: &Killable) {
        process.signal(Signal::STOP);
        self.nap(2000);
        process.signal(Signal::CONT);
        self.counts.stopped += 1;
    }

    /// Every published record was processed.
    fn drained(&self) {
        let ring = self.shared.ring.whole();
        let found = recover(&ring, Checkpoint::oldest(&ring), Bound::Tail).expect("recover");
        assert!(
            found.next_seq.is_none_or(|next| next == self.shared.journal.next()),
            "{found:?}: {} processed",
            self.shared.journal.next()
        );
    }

    /// An observer of the dead ring sees whole records in order.
    fn observe(&self) {
        let ring = self.shared.ring.whole();
        let found = recover(&ring, Checkpoint::oldest(&ring), Bound::Tail).expect("recover");
        assert_eq!((found.cut, found.cut_granules), (Cut::None, 0));
        let mut observer = Observer::oldest(ring).expect("the ring is one");
        let (mut buf, mut records) = (vec![0; 1 << 16], 0);
        while let Next::Record(record) = observer.next(&mut buf).expect("nothing is damaged") {
            assert_eq!(buf[..record.len], Made::of(&record).payload());
            records += 1;
        }
        assert_eq!(records, found.records);
    }
}

fn judge(rounds: u16, seed: u64) {
    let (ring, ring_path, _ring_fd) = Mapping::create("ring", RING_BYTES);
    let (pages, pages_path, _pages_fd) = Mapping::create("pages", usize::from(rounds) * PAGE_BYTES);
    let (journal, journal_path, _journal_fd) = Mapping::create("journal", JOURNAL_BYTES);
    let shared = Shared { ring, pages, journal: Journal::new(journal) };
    let paths = [ring_path, pages_path, journal_path];
    let mut judge = Judge { shared, paths, rng: Rng::new(seed), counts: Counts::default() };
    let mut last = None;
    for round in 0..rounds {
        if judge.round(round, last) {
            last = Some(round);
        }
        if last.is_some() {
            judge.observe();
        }
    }
    let (records, missed) = (shared.journal.next(), shared.journal.missed_wakes());
    let Counts { readers_killed, early, stopped } = judge.counts;
    print!("kill_loop: {rounds} rounds, {records} records, {readers_killed} readers killed, ");
    println!(
        "{early} producers killed before they published, {stopped} stopped, {missed} missed wakes"
    );
    assert!(records > u64::from(rounds), "next to nothing happened");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize| arguments.get(at).map(|number| number.parse::<i64>().expect("a number"));
    match arguments.first().map(String::as_str) {
        Some(role @ ("produce" | "consume")) => {
            set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
            let [ring, pages, journal] = [3, 4, 5].map(|at| Mapping::open(&arguments[at]));
            let shared = Shared { ring, pages, journal: Journal::new(journal) };
            let round = u16::try_from(number(1).expect("a round")).expect("a round");
            let other = number(2).expect("a number");
            if role == "produce" {
                produce(shared, round, u16::try_from(other).ok());
            } else {
                consume(shared, round, other.unsigned_abs());
            }
        }
        _ => judge(
            u16::try_from(number(0).unwrap_or(50)).expect("up to 30000 rounds"),
            number(1).unwrap_or(1).unsigned_abs(),
        ),
    }
}
