//! `aqueduct bench`: load for a listener, and a check of what arrived.
//!
//! With a rate, each record has a time at which it is due, and its latency counts from then, also
//! if it was sent late because an answer before it was: nothing is left out because the other side
//! was slow. Without one, each connection sends as soon as it was answered.

mod arrivals;
mod record;

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use self::arrivals::Arrivals;
use self::record::{Mark, nanoseconds};
use super::listener::ListenerArgs;
use super::target::{Manner, Outcome, Target, Url};
use super::text::{Format, plain};
use super::wire::TrustArgs;
use super::{EXIT_USAGE, print};
use crate::config::{Millis, Size};

/// Latencies that are told apart, nanoseconds: up to ten minutes.
const LATENCY_MAX: u64 = 600_000_000_000;
/// Steps in which the latencies of what was left unsent are counted, at most: at a high rate they
/// are many millions.
const LEFT_STEPS_MAX: u64 = 1000;
/// Percentiles that are printed.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

/// Flags of `aqueduct bench`.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// http://HOST:PORT/v1/rings/RING/records, resp://HOST:PORT/RING, mqtt://HOST:PORT/TOPIC,
    /// lines://HOST:PORT, nul://HOST:PORT or octets://HOST:PORT; the same over TLS, https://…,
    /// resp+tls://…, and over UNIX sockets, http+unix://SOCKET:/v1/rings/RING/records,
    /// resp+unix://SOCKET:RING
    to: Url,
    #[command(flatten)]
    listener: ListenerArgs,
    /// Ring that is watched [default: the one in the address, or the only one]
    #[arg(long, value_name = "NAME")]
    ring: Option<String>,
    /// Connections, each with a thread
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// Records a second, of all connections together [default: as many as are answered]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: Millis,
    /// Size of a record
    #[arg(long, value_name = "SIZE", default_value = "100")]
    size: Size,
    /// Records in a batch: a body of HTTP, a pipeline of RESP or MQTT
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Does not watch the ring
    #[arg(long)]
    no_check: bool,
    /// File with a token, which is sent as the credential
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Shape of the output
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// An empty histogram with three digits.
fn histogram() -> Histogram<u64> {
    // The bounds are possible, so that this cannot fail.
    Histogram::new_with_bounds(1, LATENCY_MAX, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are possible"))
}

/// What the connections did.
struct Sent {
    records: u64,
    taken: u64,
    refused: u64,
    errors: u64,
    /// Were due, and were not sent: the answers before them did not come in time, or it was refused
    /// for good, which ends the run.
    unsent: u64,
    /// It was refused for good.
    is_refused: bool,
    /// The last error, or the reason of a refusal.
    last: Option<String>,
    /// From when a batch was due to when it was answered, or given up unsent, nanoseconds. One that
    /// failed has none.
    latency: Histogram<u64>,
}

impl Sent {
    fn new() -> Self {
        Self {
            records: 0,
            taken: 0,
            refused: 0,
            errors: 0,
            unsent: 0,
            is_refused: false,
            last: None,
            latency: histogram(),
        }
    }

    /// Counts the batches from `turn` on that were due before the end, with the time since then, if
    /// it is past, as a lower bound of their latency. Times in nanoseconds: when the first of all
    /// was due, from one to the next, the end, and now.
    fn leave(&mut self, [first, between, end, now]: [u64; 4], turn: u64, batch: u64) {
        let between = between.max(1);
        let all = end.saturating_sub(first).div_ceil(between);
        let step = all.saturating_sub(turn).div_ceil(LEFT_STEPS_MAX).max(1);
        let mut at = turn;
        while at < all {
            let count = step.min(all - at);
            let due = first.saturating_add(between.saturating_mul(at));
            if now > due {
                self.latency.saturating_record_n(now - due, count);
            }
            self.unsent = self.unsent.saturating_add(count.saturating_mul(batch));
            at += count;
        }
    }

    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.taken += other.taken;
        self.refused += other.refused;
        self.errors += other.errors;
        self.unsent += other.unsent;
        self.is_refused |= other.is_refused;
        self.last = other.last.or(self.last.take());
        // Both have the same bounds, so that this cannot fail.
        let _ = self.latency.add(&other.latency);
    }
}

/// Loads the listener, and says what came of it.
pub(super) fn run(args: &BenchArgs) -> ExitCode {
    args.trust.apply();
    let usage = |error: &dyn std::fmt::Display| {
        say!("aqueduct: {error}");
        ExitCode::from(EXIT_USAGE)
    };
    let token = match args.token_file.as_ref().map(std::fs::read_to_string).transpose() {
        Ok(token) => token.map(|token| token.trim().to_owned()),
        Err(error) => return usage(&error),
    };
    let run = match run_number() {
        Ok(run) => run,
        Err(error) => return usage(&error),
    };
    let began = Instant::now();
    let (tell, told) = mpsc::channel();
    let watching = if args.no_check {
        None
    } else {
        let socket = match args.listener.socket() {
            Ok(socket) => socket,
            Err(error) => return usage(&error),
        };
        let place = socket.display().to_string();
        let ring = args.ring.as_deref().or_else(|| args.to.ring()).unwrap_or_default().to_owned();
        match arrivals::watch(socket, ring, run, began, told) {
            Ok(watching) => Some(watching),
            Err(error) => {
                say!("aqueduct: {place}: {error}; without a check: --no-check");
                return ExitCode::FAILURE;
            }
        }
    };
    let manner = Manner { type_tag: 0, token };
    let threads: Result<Vec<_>, _> = (0..args.connections)
        .map(|connection| {
            let (args, manner) = (args.clone(), manner.clone());
            let send = move || send(&args, &manner, run, connection, began);
            std::thread::Builder::new().spawn(send)
        })
        .collect();
    let threads = match threads {
        Ok(threads) => threads,
        Err(error) => {
            say!("aqueduct: a thread for each connection: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut sent = Sent::new();
    for thread in threads {
        match thread.join() {
            Ok(of_one) => sent.add(of_one),
            Err(_) => sent.errors += 1,
        }
    }
    let took = began.elapsed();
    // Of lines, everything that was sent is to arrive.
    let _ = tell.send(sent.taken);
    let arrived = watching.and_then(|watching| watching.join().ok());
    let missing = arrived.as_ref().map(|it| sent.taken.saturating_sub(it.records + it.unseen));
    let is_wrong = sent.errors > 0
        || sent.is_refused
        || sent.unsent > 0
        || missing.is_some_and(|missing| missing > 0)
        || arrived.as_ref().is_some_and(|it| it.twice > 0 || it.damaged > 0);
    let printed = print(&match args.format {
        Format::Text => text(args, &sent, arrived.as_ref(), missing, took),
        Format::Json => object(&sent, arrived.as_ref(), missing, took),
    });
    if is_wrong { ExitCode::FAILURE } else { printed }
}

/// What one connection does.
fn send(args: &BenchArgs, manner: &Manner, run: u64, connection: u32, began: Instant) -> Sent {
    let (mut sent, mut target) = (Sent::new(), Target::new(&args.to));
    let Millis(duration) = args.duration;
    let end = Duration::from_millis(duration);
    let bytes = usize::try_from(args.size.0).unwrap_or(usize::MAX);
    let batch = u64::from(args.batch);
    // Between two batches of this connection; they do not all begin at once.
    let (connections, batches) = (f64::from(args.connections), f64::from(args.batch));
    #[allow(clippy::cast_precision_loss, reason = "at most 10^8")]
    let between =
        args.rate.map(|rate| Duration::from_secs_f64(connections * batches / rate as f64));
    let first = between
        .map_or(Duration::ZERO, |between| between.mul_f64(f64::from(connection) / connections));
    let mut turn = 0_u64;
    loop {
        let due = match between {
            Some(between) => first
                .saturating_add(Duration::from_nanos(nanoseconds(between).saturating_mul(turn))),
            None => began.elapsed(),
        };
        if due >= end || began.elapsed() >= end + end / 10 + Duration::from_secs(1) {
            break;
        }
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let from = turn * batch;
        let due_ns = nanoseconds(due);
        let marks = (from..from + batch).map(|number| Mark { run, connection, number, due_ns });
        let records: Vec<Vec<u8>> = marks.map(|mark| mark.write(bytes)).collect();
        sent.records += batch;
        match target.send(&records, manner, None) {
            Ok(Outcome::Published(_)) => {
                sent.taken += batch;
                let late = nanoseconds(began.elapsed()).saturating_sub(due_ns).max(1);
                sent.latency.saturating_record(late);
            }
            Ok(Outcome::Wait(_, reason)) => {
                sent.refused += batch;
                sent.last = Some(reason);
            }
            Ok(Outcome::Refused(reason)) => {
                sent.refused += batch;
                sent.last = Some(reason);
                sent.is_refused = true;
                turn += 1;
                break;
            }
            Err(error) => {
                sent.errors += batch;
                sent.last = Some(error.to_string());
                // Whoever refuses connections is not asked as fast as possible.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        turn += 1;
    }
    if let Some(between) = between {
        sent.leave([first, between, end, began.elapsed()].map(nanoseconds), turn, batch);
    }
    if let Err(error) = target.finish() {
        sent.errors += 1;
        sent.last = Some(error.to_string());
    }
    sent
}

fn run_number() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn text(
    args: &BenchArgs,
    sent: &Sent,
    arrived: Option<&Arrivals>,
    missing: Option<u64>,
    took: Duration,
) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let Sent { records, taken, refused, errors, unsent, .. } = sent;
    let rate = *taken as f64 / seconds;
    let mut lines = vec![format!(
        "{records} records sent over {} connections in {seconds:.1} s: {taken} taken ({rate:.0}/s), \
         {refused} refused, {errors} failed",
        args.connections
    )];
    if *unsent > 0 && sent.is_refused {
        lines.push(format!("{unsent} more were due and not sent, for they would be refused, too"));
    } else if *unsent > 0 {
        lines.push(format!(
            "{unsent} more were due and not sent, for the answers before them did not come in time; \
             they count with the time that they have waited"
        ));
    }
    if let Some(last) = &sent.last {
        lines.push(format!("last reason: {}", plain(last)));
    }
    let latencies = |name: &str, histogram: &Histogram<u64>| {
        let of = |(name, quantile): (&str, f64)| {
            let us = histogram.value_at_quantile(quantile) as f64 / 1000.0;
            format!("{name} {us:.1}")
        };
        let all: Vec<String> = QUANTILES.into_iter().map(of).collect();
        format!("{name}, us: {}, max {:.1}", all.join(", "), histogram.max() as f64 / 1000.0)
    };
    if !matches!(args.to, Url::Lines { .. }) && !sent.latency.is_empty() {
        lines.push(latencies("until answered", &sent.latency));
    }
    if let Some(arrived) = arrived {
        let Arrivals { records, twice, disordered, unseen, damaged, .. } = arrived;
        lines.push(format!(
            "{records} seen to arrive, {} missing, {twice} twice, {disordered} out of order, \
             {damaged} damaged; the observer missed {unseen}",
            missing.unwrap_or(0)
        ));
        if !arrived.latency.is_empty() {
            lines.push(latencies("until seen", &arrived.latency));
        }
    }
    lines.join("\n") + "\n"
}

fn object(sent: &Sent, arrived: Option<&Arrivals>, missing: Option<u64>, took: Duration) -> String {
    let latencies = |histogram: &Histogram<u64>| {
        let mut all = serde_json::Map::new();
        for (name, quantile) in QUANTILES {
            all.insert(name.to_owned(), histogram.value_at_quantile(quantile).into());
        }
        all.insert("max".to_owned(), histogram.max().into());
        all.insert("count".to_owned(), histogram.len().into());
        serde_json::Value::Object(all)
    };
    let arrived = arrived.map(|arrived| {
        serde_json::json!({
            "records": arrived.records,
            "missing": missing,
            "twice": arrived.twice,
            "disordered": arrived.disordered,
            "unseen": arrived.unseen,
            "damaged": arrived.damaged,
            "latency_ns": latencies(&arrived.latency),
        })
    });
    let all = serde_json::json!({
        "seconds": took.as_secs_f64(),
        "sent": sent.records,
        "taken": sent.taken,
        "refused": sent.refused,
        "errors": sent.errors,
        "unsent": sent.unsent,
        "last_reason": sent.last,
        "latency_ns": latencies(&sent.latency),
        "arrived": arrived,
    });
    format!("{all}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_unsent_is_counted_whole_however_much_it_is() {
        let mut few = Sent::new();
        // Due at 5, 15, … 95 of 100; the first three were sent, and it is 200.
        few.leave([5, 10, 100, 200], 3, 2);
        assert_eq!((few.unsent, few.latency.len()), (14, 7));
        assert_eq!((few.latency.min(), few.latency.max()), (105, 165));
        let mut many = Sent::new();
        let minute = 60_000_000_000;
        many.leave([0, 10, minute, minute], 0, 1);
        assert_eq!((many.unsent, many.latency.len()), (6_000_000_000, 6_000_000_000));
        let half = many.latency.value_at_quantile(0.5);
        assert!((29_900_000_000..30_200_000_000).contains(&half), "{half}");
        // Refused for good at 30: what is not due yet has not waited.
        let mut refused = Sent::new();
        refused.leave([5, 10, 100, 30], 1, 1);
        assert_eq!((refused.unsent, refused.latency.len(), refused.latency.max()), (9, 2, 15));
        let mut none = Sent::new();
        none.leave([5, 10, 100, 200], 10, 1);
        assert_eq!(none.unsent, 0);
    }
}
