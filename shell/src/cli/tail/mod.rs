//! `aqueduct tail`: shows the records of a ring as they come.

mod shape;
mod wanted;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use aqueduct_client::{Change, Client, Event, Options, ReadError, Seek, SeekError, Start};
use rustix::event::{PollFd, PollFlags, Timespec};

use self::shape::{Format, Origin};
use self::wanted::{From, Moment, Named, Wanted};
use super::listener::ListenerArgs;
use super::{EXIT_USAGE, is_quiet_end};
use crate::config::Millis;

/// The longest sleep: so long after the other end of a pipe is gone, the program notices.
const SLICE: Duration = Duration::from_millis(500);
/// Records that are written and released together at most.
const BATCH_RECORDS: u32 = 256;
/// Bytes that are written together.
const BATCH_BYTES: usize = 64 * 1024;

/// Flags of `aqueduct tail`.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, clap::Args)]
pub struct TailArgs {
    #[command(flatten)]
    listener: ListenerArgs,
    /// Ring to read [default: the only one]
    #[arg(long, value_name = "NAME")]
    ring: Option<String>,
    /// Reads as the reader of this subscription, which nobody else may be then: what is shown is
    /// released. Without it nobody is held back, and what comes faster than it is shown is missed
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    /// Where to begin: oldest, latest, a sequence number, a time as 2026-11-29T10:00:00Z, or how
    /// long ago, as 5m [default: latest; of a subscription where its last reader stopped]
    #[arg(long, value_name = "WHERE")]
    from: Option<From>,
    /// Shape of the output
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Only records of this type; may be repeated
    #[arg(long = "type", value_name = "N")]
    types: Vec<u16>,
    /// Only records with this attribute: NAME, NAME=VALUE or NAME=BEGINNING*; may be repeated, and
    /// a record must have all of them
    #[arg(long = "attribute", value_name = "NAME[=VALUE]")]
    attributes: Vec<Named>,
    /// Ends before the first record of this time or later, a time or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Ends after so many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Ends when everything published has been shown
    #[arg(long)]
    no_follow: bool,
    /// How long to try to attach again when the listener has ended, 0 not at all [default: for
    /// ever]
    #[arg(long, value_name = "TIME")]
    reconnect_for: Option<Millis>,
}

/// Shows records until it is told to end, or cannot go on.
pub(super) fn run(args: &TailArgs) -> ExitCode {
    let socket = match args.listener.socket() {
        Ok(socket) => socket,
        Err(error) => {
            say!("aqueduct: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let reconnect_for = match args.reconnect_for {
        _ if args.no_follow => Duration::ZERO,
        Some(Millis(time)) => Duration::from_millis(time),
        None => Duration::MAX,
    };
    let options = Options::new(&socket)
        .ring(args.ring.clone().unwrap_or_default())
        .start(args.start())
        .reconnect_for(reconnect_for);
    let opened = match &args.subscription {
        Some(name) => options.subscription(name).attach(),
        None => options.observe(),
    };
    let client = match opened {
        Ok(client) => client,
        Err(error) => {
            say!("aqueduct: {}: {error}", socket.display());
            return ExitCode::FAILURE;
        }
    };
    let out = io::BufWriter::with_capacity(BATCH_BYTES, io::stdout().lock());
    Tail::new(args, client, out).run()
}

impl TailArgs {
    fn start(&self) -> Start {
        match self.from {
            None if self.subscription.is_some() => Start::Here,
            None | Some(From::Latest) => Start::Latest,
            Some(_) => Start::Oldest,
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            types: self.types.clone(),
            attributes: self.attributes.clone(),
            from_seq: None,
            from_ns: match self.from {
                Some(From::Time(Moment(ns))) => Some(ns),
                _ => None,
            },
        }
    }
}

/// Why it ends.
enum End {
    /// As it was asked to, or nobody takes the output any more.
    Done,
    /// The ring is over, and reconnecting, too.
    Over(&'static str),
    Failed(String),
}

impl std::convert::From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        if is_quiet_end(&error) { Self::Done } else { Self::Failed(error.to_string()) }
    }
}

struct Tail<'a, W> {
    args: &'a TailArgs,
    wanted: Wanted,
    client: Client,
    out: W,
    shown: u64,
    /// Records that were missed or damaged, in all rings; where the number is not known, 0.
    missed: u64,
    /// Written and not flushed, or read and not released.
    pending: u32,
}

impl<'a, W: Write> Tail<'a, W> {
    fn new(args: &'a TailArgs, client: Client, out: W) -> Self {
        Self { args, wanted: args.wanted(), client, out, shown: 0, missed: 0, pending: 0 }
    }

    fn run(mut self) -> ExitCode {
        let end = match self.seek().and_then(|()| self.read()) {
            Ok(never) => never,
            Err(end) => end,
        };
        let flushed = self.flush();
        let end = match flushed {
            Err(failed) if matches!(end, End::Done) => failed,
            _ => end,
        };
        if self.missed > 0 {
            say!("aqueduct: {} records shown, {} missed", self.shown, self.missed);
        }
        match end {
            End::Done => ExitCode::SUCCESS,
            End::Over(why) => {
                say!("aqueduct: {why}");
                ExitCode::FAILURE
            }
            End::Failed(error) => {
                say!("aqueduct: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// Goes to the number with which reading is to begin.
    fn seek(&mut self) -> Result<(), End> {
        let Some(From::Seq(seq)) = self.args.from else { return Ok(()) };
        let epoch = self.client.info().epoch;
        self.wanted.from_seq = Some((epoch, seq));
        loop {
            match self.client.seek(epoch, seq) {
                Ok(Seek::Found | Seek::Ahead) => return Ok(()),
                Ok(Seek::Gone { oldest }) => return self.miss(oldest - seq, "are overwritten"),
                // Overrun on its way; it is at the oldest again.
                Err(SeekError::Read(ReadError::Overrun { .. })) => {}
                Err(error) => return Err(End::Failed(error.to_string())),
            }
        }
    }

    fn read(&mut self) -> Result<End, End> {
        loop {
            if self.args.count.is_some_and(|count| self.shown >= count) {
                return Ok(End::Done);
            }
            if self.pending >= BATCH_RECORDS {
                self.flush()?;
            }
            if let Some(Moment(until)) = self.args.until {
                // It is not to be released, so it must not be read.
                match self.client.peek() {
                    Ok(Event::Record(record)) if record.timestamp_ns >= until => {
                        return Ok(End::Done);
                    }
                    Ok(Event::Record(_)) => {}
                    Ok(event) => {
                        self.pause(event)?;
                        continue;
                    }
                    Err(error) => {
                        self.damaged(error)?;
                        continue;
                    }
                }
            }
            let info = self.client.info();
            let origin = Origin { epoch: info.epoch, clock_id: info.clock_id };
            let event = match self.client.next_with_attributes() {
                Ok(Event::Record((record, payload, attributes))) => {
                    self.pending += 1;
                    if self.wanted.is_met_by(origin.epoch, &record, &attributes) {
                        let format = self.args.format;
                        format.write(&mut self.out, origin, &record, payload, attributes)?;
                        self.shown += 1;
                    }
                    continue;
                }
                Ok(Event::Empty) => Event::Empty,
                Ok(Event::Closed) => Event::Closed,
                Ok(Event::Lost) => Event::Lost,
                Ok(Event::EpochChanged(change)) => Event::EpochChanged(change),
                Err(error) => {
                    self.damaged(error)?;
                    continue;
                }
            };
            self.pause(event)?;
        }
    }

    /// Does what is to be done when there is no record.
    fn pause(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Record(_) => Ok(()),
            Event::Empty => {
                self.flush()?;
                if self.args.no_follow {
                    return Err(End::Done);
                }
                self.wait()
            }
            Event::EpochChanged(change) => self.changed(&change),
            Event::Closed => Err(End::Done),
            Event::Lost if self.args.no_follow => Err(End::Done),
            Event::Lost => Err(End::Over("the listener ended without closing the ring")),
        }
    }

    /// Sleeps until something comes, or notices that nobody takes the output.
    fn wait(&mut self) -> Result<(), End> {
        self.client.wait(Some(SLICE))?;
        // Only errors and hang-ups are asked for.
        let stdout = io::stdout();
        let mut on = [PollFd::new(&stdout, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let is_gone = rustix::event::poll(&mut on, Some(&now)).is_ok_and(|ready| ready > 0)
            && on[0].revents().intersects(PollFlags::ERR | PollFlags::HUP);
        if is_gone { Err(End::Done) } else { Ok(()) }
    }

    /// Has what was written taken, and releases it then.
    fn flush(&mut self) -> Result<(), End> {
        self.out.flush()?;
        self.client.release();
        self.pending = 0;
        Ok(())
    }

    fn damaged(&mut self, error: ReadError) -> Result<(), End> {
        match error {
            ReadError::Overrun { expected: Some(expected), found: Some(found) } => {
                self.miss(found.saturating_sub(expected), "came faster than they were shown")
            }
            ReadError::Overrun { .. } => Ok(()),
            ReadError::Gap { expected, found } => {
                self.miss(found.saturating_sub(expected), "are missing")
            }
            ReadError::Payload { .. } => self.miss(1, &error.to_string()),
            ReadError::Header { lost, .. } => self.miss(lost.unwrap_or(0), &error.to_string()),
            error => Err(End::Failed(error.to_string())),
        }
    }

    fn changed(&mut self, change: &Change) -> Result<(), End> {
        self.flush()?;
        let Change { old_epoch, new_epoch, missed_old, missed_new, .. } = *change;
        let what = match (missed_old, missed_new) {
            (false, false) => "nothing was missed",
            (true, false) => "the end of the old ring was missed",
            (false, true) => "the beginning of the new ring was missed",
            (true, true) => "the end of the old ring and the beginning of the new were missed",
        };
        if self.args.format == Format::Json {
            writeln!(
                self.out,
                "{{\"event\":\"epoch\",\"old\":\"{old_epoch:016x}\",\"new\":\"{new_epoch:016x}\",\
                 \"missed_old\":{missed_old},\"missed_new\":{missed_new}}}"
            )?;
        } else {
            say!("aqueduct: epoch {new_epoch:016x} after {old_epoch:016x}: {what}");
        }
        Ok(())
    }

    /// Says that records were not shown, and counts them; 0: it is not known yet how many.
    fn miss(&mut self, records: u64, why: &str) -> Result<(), End> {
        self.missed += records;
        if self.args.format == Format::Json {
            writeln!(
                self.out,
                "{{\"event\":\"missed\",\"records\":{records},\"reason\":{}}}",
                super::text::json(why)
            )?;
        } else {
            say!("aqueduct: {records} records: {why}");
        }
        Ok(())
    }
}
