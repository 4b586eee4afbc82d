//! Sends requests at a constant rate, whatever the answers do, and says how long each took from the
//! instant it was due: a server that stops for a while is charged with every request that was due
//! meanwhile, sent or not (no coordinated omission). One thread, any number of connections; a
//! request goes out on the connection that has been idle longest.
//!
//! Run: `load ADDRESS PATH CONNECTIONS RATE SECONDS BYTES [NUMBERS]`. RATE is requests per second;
//! 0 sends whenever a connection is idle, which finds the capacity. With NUMBERS each body begins
//! with a number of its own, 8 bytes, little-endian, and the file gets 16 bytes for each 2xx: the
//! sequence number that was answered, and the number.
//! Expect one line of JSON.

mod connection;
mod report;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use connection::{Answer, Connection};
use report::Report;

/// How long answers are waited for after the last request.
const GRACE: Duration = Duration::from_secs(3);
const EVENTS: usize = 256;

struct Plan {
    address: SocketAddr,
    path: String,
    connections: usize,
    /// Requests per second; `None`: whenever a connection is idle.
    rate: Option<f64>,
    time: Duration,
    bytes: usize,
    numbers: Option<String>,
}

fn main() -> ExitCode {
    let Some(plan) = plan() else {
        eprintln!("usage: load ADDRESS PATH CONNECTIONS RATE SECONDS BYTES [NUMBERS]");
        return ExitCode::from(2);
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan() -> Option<Plan> {
    let mut words = std::env::args().skip(1);
    let address = words.next()?.parse().ok()?;
    let path = words.next()?;
    let connections = words.next()?.parse().ok()?;
    let rate: f64 = words.next()?.parse().ok()?;
    let time = Duration::try_from_secs_f64(words.next()?.parse().ok()?).ok()?;
    let bytes = words.next()?.parse().ok()?;
    let rate = (rate > 0.0).then_some(rate);
    Some(Plan { address, path, connections, rate, time, bytes, numbers: words.next() })
}

fn run(plan: &Plan) -> io::Result<()> {
    // Wake-ups on time: 50 us is the default.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(plan.connections);
    for number in 0..plan.connections {
        let connection = Connection::open(plan.address, &plan.path, plan.bytes)?;
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&poll, connection.socket(), EventData::new_u64(number as u64), edge)?;
        connections.push(connection);
    }
    let mut idle: VecDeque<usize> = (0..connections.len()).collect();
    let mut report = Report::default();
    let mut events = Vec::with_capacity(EVENTS);
    let mut sent: u64 = 0;
    let start = Instant::now();
    let end = start + plan.time;
    loop {
        let now = Instant::now();
        while now < end
            && let Some(&next) = idle.front()
        {
            let due = due(plan, start, sent, now);
            if due > now {
                break;
            }
            idle.pop_front();
            report.sent_late(now - due);
            connections[next].send(sent, due, plan.numbers.is_some())?;
            sent += 1;
        }
        let done = now >= end && idle.len() == connections.len();
        if done || now >= end + GRACE {
            break;
        }
        let until = if now >= end {
            end + GRACE
        } else if idle.is_empty() {
            end
        } else {
            due(plan, start, sent, now).min(end)
        };
        events.clear();
        let wait = Timespec::try_from(until - now).map_err(io::Error::other)?;
        match epoll::wait(&poll, spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &events {
            let number = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
            while let Some(answer) = connections[number].receive()? {
                let Answer { due, status, seq, number: sent } = answer;
                report.answered(due.elapsed(), status, seq, sent);
                idle.push_back(number);
            }
        }
    }
    report.unanswered = (connections.len() - idle.len()) as u64;
    report.unsent = due_in(plan, plan.time).saturating_sub(sent);
    report.print(sent, start.elapsed().min(plan.time));
    plan.numbers.as_ref().map_or(Ok(()), |file| report.write_numbers(file))
}

/// When a request is due.
fn due(plan: &Plan, start: Instant, number: u64, now: Instant) -> Instant {
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52")]
    plan.rate.map_or(now, |rate| start + Duration::from_secs_f64(number as f64 / rate))
}

/// How many requests are due within a time; none without a rate.
fn due_in(plan: &Plan, time: Duration) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    plan.rate.map_or(0, |rate| (rate * time.as_secs_f64()) as u64)
}
