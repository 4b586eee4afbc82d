//! The way of a record: read, batched, delivered, released. Nothing here knows which sink it is.
//!
//! Progress is the subscription's cursor and nothing else: it moves over what was acknowledged, put
//! into the dead-letter file, or not wanted, when all of a batch was and when some of it fails.
//! Whatever ends the process in between has the rest delivered again.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct_client::{Client, Event, Interrupter, OpenError, Options, ReadError, Status, Waited};

use crate::batch::{Batch, Records, View};
use crate::dead_letter::{DeadLetters, may_pass};
use crate::metrics::Metrics;
use crate::progress::Bar;
use crate::retry::{Next, Retry, Window};
use crate::settings::Settings;
use crate::sink::{Failure, Remedy, Sink};
use crate::stop::Stop;

/// Bytes of a granule of a ring (`core/ABI.md` §1).
const GRANULE_BYTES: usize = 32;
/// How often an idle process asks whether the other side is there.
const PROBE_PERIOD: Duration = Duration::from_secs(2);
/// The first pause between attempts to attach, and the longest: those of the client.
const ATTACH_PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// The shortest time in which records that are there have to come, with `once`.
const COMING_MIN: Duration = Duration::from_secs(5);
/// The shortest time between two looks at the lag.
const LAG_PERIOD: Duration = Duration::from_millis(200);

/// Why the work ended before its end.
#[derive(Debug)]
pub enum Error {
    /// The ring cannot be attached.
    Open(OpenError),
    /// The wait for records failed, for lack of memory.
    Wait(io::Error),
    /// The ring cannot be read on.
    Read(ReadError),
    /// So many records were read and are not delivered: time is over. They will be delivered again.
    Undelivered {
        /// How many.
        records: usize,
        /// The last failure.
        reason: String,
    },
    /// A record will never be delivered, and there is no dead-letter file.
    Poison {
        /// `epoch-seq`.
        record: String,
        /// Why.
        reason: String,
    },
    /// With `once`: so many records were there at the beginning, and did not come.
    Missing {
        /// How many.
        records: u64,
    },
    /// The dead-letter file cannot be written.
    DeadLetter(io::Error),
    /// Nothing will be delivered before a person changes something.
    Sink(Failure),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "the ring: {error}"),
            Self::Wait(error) => write!(f, "waiting for records: {error}"),
            Self::Read(error) => write!(f, "the ring: {error}"),
            Self::Undelivered { records, reason } => {
                write!(f, "{records} records are not delivered and stay in the ring: {reason}")
            }
            Self::Poison { record, reason } => {
                write!(
                    f,
                    "record {record} will never be delivered, and stays in the ring: {reason}"
                )
            }
            Self::Missing { records } => {
                write!(f, "the ring: {records} records that were there did not come")
            }
            Self::DeadLetter(error) => write!(f, "the dead-letter file: {error}"),
            Self::Sink(failure) => write!(f, "the sink: {failure}"),
        }
    }
}

impl std::error::Error for Error {}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records acknowledged.
    pub delivered: u64,
    /// Records in the dead-letter file.
    pub dead_lettered: u64,
    /// Records that are left in the ring.
    pub left: u64,
}

/// Carries records until the ring ends, the end is asked for, or with `once` everything was
/// delivered that was there at the beginning.
///
/// # Errors
/// Any [`Error`]. Nothing that was not delivered is released.
pub fn run(
    settings: &Settings,
    sink: &mut dyn Sink,
    kind: &str,
    once: bool,
    handles: &Handles,
) -> Result<Report, Error> {
    let Some(client) = open(settings, once, handles)? else { return Ok(Report::default()) };
    handles.metrics.attached(true);
    tracing::info!(
        ring = client.info().name,
        epoch = format_args!("{:016x}", client.info().epoch),
        sink = kind,
        "attached"
    );
    let seed = u64::from(std::process::id()) ^ client.info().epoch.rotate_left(17);
    let mut flow = Flow {
        settings,
        sink,
        kind,
        once,
        stop: handles.stop.clone(),
        metrics: &handles.metrics,
        retry: Retry::new(settings.retry, seed),
        window: Window::default(),
        dead_letters: settings.dead_letters.clone().map(DeadLetters::new),
        client,
        batch: Batch::default(),
        unreleased: 0,
        probed: None,
        looked: None,
        told: Told::default(),
        was_held: false,
        goal: 0,
    };
    flow.carry()
}

/// What the frame shares with other threads.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Asks for the end.
    pub stop: Stop,
    /// Wakes the frame when the end was asked for.
    pub interrupter: Interrupter,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Attaches; `None` if the end was asked for meanwhile. While there is no ring, the log says why.
fn open(settings: &Settings, once: bool, handles: &Handles) -> Result<Option<Client>, Error> {
    let mut options = Options::new(&settings.socket)
        .ring(&*settings.ring)
        .subscription(&*settings.subscription)
        .interrupter(&handles.interrupter);
    if !once {
        options = options.reconnect_for(Duration::MAX);
    }
    let began = Instant::now();
    let mut pause = ATTACH_PAUSES.0;
    let mut told = Told::default();
    loop {
        let error = match options.attach() {
            Ok(client) => return Ok(Some(client)),
            Err(OpenError::Interrupted) if handles.stop.is_asked() => return Ok(None),
            Err(error) => error,
        };
        // Another process has the subscription: this one takes over when it ends.
        let is_held = !once && error.refusal() == Some(Status::Busy);
        if !(error.is_curable() || is_held) || (once && began.elapsed() >= settings.open_wait) {
            return Err(Error::Open(error));
        }
        told.detached(settings, &error);
        let left = settings.open_wait.saturating_sub(began.elapsed());
        handles.stop.pause(if once { pause.min(left) } else { pause });
        if handles.stop.is_asked() {
            return Ok(None);
        }
        pause = (pause * 2).min(ATTACH_PAUSES.1);
    }
}

/// What the log says of a ring that is not attached: the reason once, and again when it is another.
#[derive(Debug, Default)]
struct Told(Option<String>);

impl Told {
    fn detached(&mut self, settings: &Settings, error: &OpenError) {
        let reason = error.to_string();
        if self.0.as_ref() != Some(&reason) {
            let socket = settings.socket.display();
            tracing::warn!(%socket, ring = settings.ring, reason, "not attached; trying again");
            self.0 = Some(reason);
        }
    }

    fn attached(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("attached again");
        }
    }
}

/// What ended a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// There may be more.
    Full,
    /// There is nothing more now.
    Empty,
    /// Another ring comes, and this one's records will not come again.
    Epoch,
    /// The ring has ended, for good.
    End,
    /// The end was asked for.
    Asked,
}

struct Flow<'s> {
    settings: &'s Settings,
    sink: &'s mut dyn Sink,
    kind: &'s str,
    once: bool,
    stop: Stop,
    metrics: &'s Metrics,
    retry: Retry,
    window: Window,
    dead_letters: Option<DeadLetters>,
    client: Client,
    batch: Batch,
    /// Records read since the last release, wanted or not.
    unreleased: u64,
    probed: Option<Instant>,
    looked: Option<Instant>,
    told: Told,
    /// Another process had the subscription since the last record.
    was_held: bool,
    /// With `once`: the number after the last record that is to be delivered.
    goal: u64,
}

impl Flow<'_> {
    fn carry(&mut self) -> Result<Report, Error> {
        let first = if self.once { self.find_goal() } else { 0 };
        let mut bar = if self.once { Bar::new(self.goal - first) } else { None };
        let mut read = 0;
        loop {
            let next = self.client.next_seq().unwrap_or(first + read);
            let to_read = self.goal.saturating_sub(next);
            let ended = self.fill(if self.once { to_read } else { u64::MAX })?;
            read += self.unreleased;
            self.deliver()?;
            let (is_over, has_read) = (matches!(ended, Ended::End | Ended::Asked), self.unreleased);
            self.release();
            if let Some(bar) = &mut bar {
                bar.show(read);
            }
            let next = self.client.next_seq().unwrap_or(first + read);
            let left = if self.once { self.goal.saturating_sub(next) } else { 0 };
            if ended == Ended::Asked || (is_over && left == 0) || (self.once && left == 0) {
                break;
            }
            // Nothing came in all the time that there was for it. What is damaged was counted.
            if is_over || (self.once && has_read == 0) {
                if self.metrics.damaged.get() > 0 {
                    break;
                }
                return Err(Error::Missing { records: left });
            }
        }
        if let Some(bar) = bar {
            bar.end(read);
        }
        let left = self.client.lag().map_or(0, |lag| lag.records);
        let delivered = self.metrics.delivered_records.get();
        Ok(Report { delivered, dead_lettered: self.metrics.dead_lettered_records.get(), left })
    }

    /// Finds out what `once` is to deliver: what the listener has published. A subscription that
    /// may lag is given its records bit by bit, so its own ring does not say. Returns the number of
    /// the first of them.
    fn find_goal(&mut self) -> u64 {
        let lag = |client: &Client| client.lag().map_or(0, |lag| lag.records);
        let Ok(Event::Record(record)) = self.client.peek() else {
            return 0;
        };
        let first = record.seq;
        let published = Options::new(&self.settings.socket).ring(&*self.settings.ring).observe();
        let published = published.ok().filter(|it| it.info().epoch == self.client.info().epoch);
        let all = published.and_then(|mut all| match all.peek() {
            Ok(Event::Record(record)) => Some(record.seq + lag(&all)),
            _ => None,
        });
        let given = first + lag(&self.client);
        self.goal = all.map_or(given, |all| all.max(given));
        first
    }

    /// Reads a batch of at most `limit` records.
    fn fill(&mut self, limit: u64) -> Result<Ended, Error> {
        self.batch.clear(self.client.info().epoch);
        self.unreleased = 0;
        let limit_records = self.settings.batch_records as u64;
        // A full ring waits for the release of this batch. Small records take more there than their
        // bytes. The next ring may have another size.
        let limit_granules = (self.client.info().capacity_granules / 2).max(1);
        let limit_bytes = self.settings.batch_bytes.min(limit_granules as usize * GRANULE_BYTES);
        let mut until = None;
        let (mut begin, mut held) = (None, 0);
        if limit == 0 {
            return Ok(Ended::Full);
        }
        loop {
            if self.batch.len() as u64 >= limit_records
                || self.batch.bytes() >= limit_bytes
                || held >= limit_granules
                || self.unreleased >= limit
                // What is not wanted is held, too, until it is released.
                || self.unreleased >= limit_records.max(1024)
            {
                return Ok(Ended::Full);
            }
            let needed = self.client.info().max_payload_bytes as usize;
            match self.client.next_into(self.batch.room(needed)) {
                Ok(Event::Record(record)) => {
                    self.unreleased += 1;
                    self.was_held = false;
                    // It is in flight now, or not wanted.
                    let lag = &self.metrics.lag_records;
                    lag.set(lag.get().saturating_sub(1));
                    held = record.position.wrapping_sub(*begin.get_or_insert(record.position));
                    if self.settings.select.wants(&self.batch.view(record)) {
                        self.batch.keep(record);
                        self.metrics.in_flight_records.set(self.batch.len() as u64);
                    } else {
                        self.metrics.filtered_records.add(1);
                    }
                    if until.is_none() {
                        until = Instant::now().checked_add(self.settings.batch_wait);
                    }
                }
                Ok(Event::Empty) if self.once => {
                    // More is to come: there was more at the beginning.
                    let waited = Some(self.settings.open_wait.max(COMING_MIN));
                    if self.unreleased > 0 {
                        return Ok(Ended::Empty);
                    }
                    match self.client.wait(waited) {
                        Ok(Waited::Ready) => {}
                        Ok(Waited::Interrupted) if !self.stop.is_asked() => {}
                        Ok(Waited::Interrupted) => return Ok(Ended::Asked),
                        Ok(Waited::Elapsed) => return Ok(Ended::Empty),
                        Err(error) => return Err(Error::Wait(error)),
                    }
                }
                Ok(Event::Empty) => {
                    let now = Instant::now();
                    let is_due = until.is_some_and(|until| until <= now);
                    if is_due || (self.batch.is_empty() && self.unreleased > 0) {
                        return Ok(Ended::Empty);
                    }
                    let left = until.map(|until| until - now);
                    let period = self.probe_period();
                    // A batch that is gathered for long tells nothing of the other side.
                    if left.is_none_or(|left| left > period) {
                        self.look_around();
                    }
                    match self.client.wait(Some(left.unwrap_or(period).min(period))) {
                        Ok(Waited::Ready | Waited::Elapsed) => {}
                        Ok(Waited::Interrupted) if !self.stop.is_asked() => {}
                        Ok(Waited::Interrupted) => return Ok(Ended::Asked),
                        Err(error) => return Err(Error::Wait(error)),
                    }
                    self.look_at_attachment();
                }
                Ok(Event::EpochChanged(change)) => {
                    if change.missed_old || change.missed_new {
                        self.metrics.missed.add(1);
                        tracing::error!(?change, "another ring, and records are missing");
                    } else {
                        tracing::info!(
                            epoch = format_args!("{:016x}", change.new_epoch),
                            down_ms = change.down.as_millis(),
                            "another ring"
                        );
                    }
                    return Ok(Ended::Epoch);
                }
                Ok(Event::Closed | Event::Lost) => return Ok(Ended::End),
                Err(ReadError::BufferTooSmall { needed, .. }) => _ = self.batch.room(needed),
                Err(error @ ReadError::TailOutOfRange { .. }) => return Err(Error::Read(error)),
                // What it released is not missing.
                Err(ReadError::Gap { expected, found }) if self.was_held && found > expected => {
                    tracing::info!(expected, found, "another process delivered what is between");
                }
                Err(error) => {
                    self.metrics.damaged.add(1);
                    tracing::error!(%error, "the ring is damaged; reading on");
                }
            }
            if self.stop.is_asked() {
                return Ok(Ended::Asked);
            }
        }
    }

    /// Is the ring there? Otherwise the log says why not.
    fn look_at_attachment(&mut self) {
        let is_attached = self.client.is_attached();
        self.metrics.attached(is_attached);
        if is_attached {
            self.told.attached();
        } else if let Some(failure) = self.client.last_failure() {
            self.was_held |= failure.refusal() == Some(Status::Busy);
            self.told.detached(self.settings, failure);
        }
    }

    /// While there is nothing to do: is the other side there?
    fn look_around(&mut self) {
        self.look_at_lag();
        if self.probed.is_some_and(|probed| probed.elapsed() < self.probe_period()) {
            return;
        }
        match self.sink.probe(&self.stop) {
            Ok(()) => {
                self.metrics.answered();
                self.metrics.circuit(false);
            }
            Err(failure) => {
                self.metrics.failed();
                tracing::warn!(reason = failure.reason, "the other side does not answer");
            }
        }
        self.probed = Some(Instant::now());
    }

    /// An answer of the other side is never older than a ready process may have it.
    fn probe_period(&self) -> Duration {
        PROBE_PERIOD.min(self.settings.readiness.acknowledgement / 2)
    }

    fn look_at_lag(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LAG_PERIOD) {
            return;
        }
        self.looked = Some(Instant::now());
        if let Ok(lag) = self.client.lag() {
            self.metrics.lag_records.set(lag.records);
            self.metrics.lag_bytes.set(lag.bytes);
            self.metrics.lag_ms.set(lag.nanoseconds / 1_000_000);
        }
    }

    /// Delivers the batch, whatever it takes.
    fn deliver(&mut self) -> Result<(), Error> {
        // Out of the flow, which is changed while its records are lent.
        let mut batch = std::mem::take(&mut self.batch);
        let delivered = self.deliver_all(&mut batch);
        self.batch = batch;
        delivered
    }

    fn deliver_all(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let mut all = batch.records();
        let mut from = 0;
        // How many are tried together: fewer while one of them is refused.
        let mut together = all.len();
        self.metrics.waiting(!all.is_empty());
        while from < all.len() {
            self.metrics.in_flight_records.set((all.len() - from) as u64);
            self.look_at_lag();
            let records = all.slice(from..(from + together.min(self.window.most())).min(all.len()));
            let failure = match self.sink.deliver(&records, &self.stop) {
                Ok(delivered) => {
                    self.metrics.known_records.add(delivered.known);
                    self.metrics.acknowledged(records.len() as u64, records.payload_bytes());
                    self.metrics.circuit(false);
                    self.retry.succeeded();
                    self.window.delivered(records.len());
                    from += records.len();
                    together = all.len() - from;
                    // A batch that goes in many parts does not keep the ring full until its end.
                    self.release_before(&all, from);
                    continue;
                }
                Err(failure) => failure,
            };
            debug_assert!(failure.done <= records.len(), "{failure:?}");
            if failure.done > 0 {
                let done = records.slice(0..failure.done);
                self.metrics.acknowledged(done.len() as u64, done.payload_bytes());
                self.retry.succeeded();
                from += failure.done;
            }
            self.release_before(&all, from);
            if failure.remedy == Remedy::Fewer {
                self.window.late(records.len());
            }
            match failure.remedy {
                Remedy::Retry(_) | Remedy::Fewer => {
                    let after = match failure.remedy {
                        Remedy::Retry(after) => after,
                        _ => None,
                    };
                    self.metrics.failed();
                    self.metrics.retries.add(1);
                    self.pause(&failure, after, all.len() - from)?;
                }
                Remedy::Split if records.len() - failure.done > 1 => {
                    together = (records.len() - failure.done) / 2;
                }
                Remedy::Split | Remedy::Poison => {
                    if let Some(record) = (from < all.len()).then(|| all.get(from)) {
                        self.bury(&record, &failure.reason, all.len() - from)?;
                        from += 1;
                        if failure.remedy == Remedy::Poison {
                            let refused = self.sort_out(&all, from)?;
                            batch.forget(&refused);
                            all = batch.records();
                        }
                        together = (all.len() - from).max(1);
                    }
                }
                Remedy::Stop => return Err(Error::Sink(failure)),
            }
        }
        self.metrics.waiting(false);
        if !all.is_empty() {
            self.metrics.delivered_batches.add(1);
            self.probed = Some(Instant::now());
        } else if !self.once {
            // What is not wanted tells nothing of the other side.
            self.look_around();
        }
        Ok(())
    }

    /// Waits before the next attempt; with an open circuit, until the other side is there.
    fn pause(
        &mut self,
        failure: &Failure,
        after: Option<Duration>,
        records: usize,
    ) -> Result<(), Error> {
        let mut next = self.retry.failed(after);
        let mut reason = failure.reason.clone();
        loop {
            let (Next::Retry(pause) | Next::Probe(pause)) = next;
            tracing::warn!(reason, pause_ms = pause.as_millis(), records, "not delivered");
            if self.stop.is_over() {
                return Err(Error::Undelivered { records, reason });
            }
            self.metrics.circuit(self.retry.is_open());
            self.stop.pause(pause);
            self.look_at_lag();
            if self.stop.is_over() {
                return Err(Error::Undelivered { records, reason });
            }
            match next {
                Next::Retry(_) => return Ok(()),
                Next::Probe(_) => match self.sink.probe(&self.stop) {
                    Ok(()) => return Ok(()),
                    Err(failure) => {
                        next = self.retry.failed(None);
                        reason = failure.reason;
                    }
                },
            }
        }
    }

    /// Puts aside what the sink refuses of the records of a batch from this one on; returns which.
    fn sort_out(&mut self, all: &Records<'_>, from: usize) -> Result<Vec<usize>, Error> {
        let mut refused = Vec::new();
        for at in from..all.len() {
            if self.stop.is_over() {
                break;
            }
            let record = all.get(at);
            if let Some(reason) = self.sink.refuses(&record) {
                self.bury(&record, &reason, all.len() - from - refused.len())?;
                refused.push(at);
            }
        }
        Ok(refused)
    }

    /// Puts a record into the dead-letter file, or stops; `records` of the batch are not delivered.
    fn bury(&mut self, record: &View<'_>, reason: &str, records: usize) -> Result<(), Error> {
        let Some(dead_letters) = &mut self.dead_letters else {
            return Err(Error::Poison { record: record.name(), reason: reason.to_owned() });
        };
        while let Err(error) = dead_letters.add(record, self.kind, reason) {
            if !may_pass(&error) {
                return Err(Error::DeadLetter(error));
            }
            // As a sink would: what is to be put aside is not delivered otherwise.
            self.metrics.failed();
            self.metrics.retries.add(1);
            let (Next::Retry(pause) | Next::Probe(pause)) = self.retry.failed(None);
            let reason = Error::DeadLetter(error).to_string();
            tracing::warn!(reason, pause_ms = pause.as_millis(), records, "not put aside");
            if self.stop.is_over() {
                return Err(Error::Undelivered { records, reason });
            }
            self.stop.pause(pause);
        }
        self.retry.succeeded();
        self.metrics.dead_lettered_records.add(1);
        tracing::error!(record = record.name(), reason, "put into the dead-letter file");
        Ok(())
    }

    /// Releases what is before this record of a batch: delivered, put aside, or not wanted. What
    /// is tried for long, or ends the process, has no others delivered again.
    fn release_before(&mut self, all: &Records<'_>, at: usize) {
        // Of another ring there is nothing to release any more.
        if at > 0 && at < all.len() && all.epoch() == self.client.info().epoch {
            self.client.release_before(&all.record(at));
        }
    }

    fn release(&mut self) {
        if self.unreleased > 0 {
            self.client.release();
        }
        // After the release: with nothing in flight, the end may come at any instruction.
        self.metrics.in_flight_records.set(0);
        self.look_at_lag();
    }
}
