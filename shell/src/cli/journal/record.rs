//! `aqueduct journal record`: reads a ring and writes its records to a directory, as a journal has
//! them, so that every other command for journals takes it.
//!
//! A segment has no holes, so each run of records without one begins a segment. Positions are those
//! in the recording, not those of the ring.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aqueduct_client::{Client, Event, Options, ReadError, Record, RingInfo, Start};
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{GRANULE_BYTES, KIND_ATTRIBUTES, KIND_DATA};
use async_signal::Signals;
use smol::future;
use smol::stream::StreamExt;

use super::super::listener::ListenerArgs;
use super::super::text::FormatArgs;
use super::super::{EXIT_USAGE, print};
use crate::config::{Millis, Size};
use crate::journal::disk::File;
use crate::journal::files::Files;
use crate::journal::format::{GRANULE, serial_of};
use crate::journal::history::History;
use crate::journal::log::Segment;
use crate::journal::recover::LOCK_NAME;
use crate::journal::{
    CursorFile, Cursors, Disk, Durability, Facts, Failure, Log, cursors, prepare,
};
use crate::server::endings_unless_nohup;

/// The longest sleep: so long after a signal, the program notices.
const SLICE: Duration = Duration::from_millis(250);
/// How long a subscription is waited for that another reader holds.
const HANDOVER: Duration = Duration::from_secs(3);
/// Bytes that are written together, and released together at most.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes of records in a segment, unless the command line says otherwise.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Flags of `aqueduct journal record`.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RecordArgs {
    /// Directory of the recording, which is made if it is not there. One of the same ring goes on
    /// after its last record
    directory: PathBuf,
    #[command(flatten)]
    listener: ListenerArgs,
    /// Ring to read [default: the only one]
    #[arg(long, value_name = "NAME")]
    ring: Option<String>,
    /// Reads as the reader of this subscription, which nobody else may be then: records are
    /// released when they are on the disk, and none is missed. Without it nobody is held back, and
    /// what comes faster than it is written is missed, and said to be
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    /// Begins with the next record that comes [default: with the oldest that is in the ring]
    #[arg(long)]
    latest: bool,
    /// Ends after so many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Ends when everything published is recorded
    #[arg(long)]
    no_follow: bool,
    /// Size of a file [default: 64MiB]
    #[arg(long, value_name = "BYTES")]
    segment_bytes: Option<Size>,
    /// How long to try to attach again when the listener has ended, 0 not at all [default: for
    /// ever]
    #[arg(long, value_name = "TIME")]
    reconnect_for: Option<Millis>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Records until it is told to end, or cannot go on.
pub(super) fn run(args: &RecordArgs) -> ExitCode {
    let socket = match args.listener.socket() {
        Ok(socket) => socket,
        Err(error) => {
            say!("aqueduct: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    // Before anything that may take long, so that an early signal is not lost.
    let signals = match endings_unless_nohup() {
        Ok(signals) => signals,
        Err(error) => {
            say!("aqueduct: signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let client = match args.attach(&socket) {
        Ok(client) => client,
        Err(error) => {
            say!("aqueduct: {}: {error}", socket.display());
            return ExitCode::FAILURE;
        }
    };
    let mut taking = match Taking::new(args, client, signals) {
        Ok(taking) => taking,
        Err(error) => {
            say!("aqueduct: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = taking.read();
    let finished = taking.finish();
    let Taking { taken, missed, is_damaged, .. } = taking;
    if let Err(error) = ended.and(finished) {
        say!("aqueduct: {error}");
        return ExitCode::FAILURE;
    }
    let printed = print(&args.format.choose(
        || format!("{taken} records recorded, {missed} missed\n"),
        &serde_json::json!({ "recorded": taken, "missed": missed, "is_damaged": is_damaged }),
    ));
    if missed > 0 || is_damaged { ExitCode::FAILURE } else { printed }
}

impl RecordArgs {
    fn attach(&self, socket: &Path) -> Result<Client, aqueduct_client::OpenError> {
        let reconnect_for = match self.reconnect_for {
            _ if self.no_follow => Duration::ZERO,
            Some(Millis(time)) => Duration::from_millis(time),
            None => Duration::MAX,
        };
        let start = match (self.latest, &self.subscription) {
            (true, _) => Start::Latest,
            (false, Some(_)) => Start::Here,
            (false, None) => Start::Oldest,
        };
        let options = Options::new(socket)
            .ring(self.ring.clone().unwrap_or_default())
            .start(start)
            .reconnect_for(reconnect_for);
        match &self.subscription {
            // The process before this one may not be gone yet.
            Some(name) => options.subscription(name).retry_open_for(HANDOVER).standby().attach(),
            None => options.observe(),
        }
    }

    /// What the segments of a ring's records say.
    fn facts(&self, info: &RingInfo, gates: bool) -> Facts {
        let segment = self.segment_bytes.map_or(SEGMENT_BYTES, |Size(bytes)| bytes);
        // What is written together fits into one.
        let largest = BATCH_BYTES as u64 + u64::from(info.max_payload_bytes);
        Facts {
            ring: info.name.clone(),
            // Who releases records must not lose them with the power.
            durability: if gates { Durability::Disk } else { Durability::Process },
            capacity: info.capacity_granules,
            clock_id: info.clock_id,
            boot: [0; 16],
            segment_bytes: segment.max((largest + 2 * GRANULE).next_multiple_of(GRANULE)),
        }
    }
}

/// A recording in progress.
struct Taking<'a> {
    args: &'a RecordArgs,
    client: Client,
    signals: Signals,
    recording: Recording,
    /// Room for one record.
    room: Vec<u8>,
    taken: u64,
    missed: u64,
    is_damaged: bool,
}

impl<'a> Taking<'a> {
    fn new(args: &'a RecordArgs, client: Client, signals: Signals) -> Result<Self, String> {
        let facts = args.facts(client.info(), client.is_gating());
        let recording = Recording::open(&args.directory, facts)?;
        let room = vec![0; client.info().max_payload_bytes as usize];
        Ok(Self { args, client, signals, recording, room, taken: 0, missed: 0, is_damaged: false })
    }

    /// Whether a signal has asked for the end.
    fn is_asked(&mut self) -> bool {
        smol::block_on(future::poll_once(self.signals.next())).is_some()
    }

    fn read(&mut self) -> Result<(), String> {
        while self.args.count.is_none_or(|count| self.taken < count) {
            let epoch = self.client.info().epoch;
            match self.client.next_into(&mut self.room) {
                Ok(Event::Record(record)) => {
                    let bytes = self.room.get(..record.bytes()).unwrap_or_default();
                    let put = self.recording.put(epoch, &record, bytes);
                    if let Some(missed) = put.map_err(|failure| failure.to_string())? {
                        self.taken += 1;
                        if missed > 0 {
                            self.miss(missed, "came faster than they were written, or before");
                        }
                    }
                    if self.recording.pending.len() >= BATCH_BYTES {
                        self.flush()?;
                        if self.is_asked() {
                            return Ok(());
                        }
                    }
                }
                Ok(Event::Empty) => {
                    self.flush()?;
                    if self.args.no_follow || self.is_asked() {
                        return Ok(());
                    }
                    self.client.wait(Some(SLICE)).map_err(|error| error.to_string())?;
                }
                Ok(Event::EpochChanged(change)) => {
                    self.flush()?;
                    if change.missed_old || change.missed_new {
                        let (old, new) = (change.old_epoch, change.new_epoch);
                        self.miss(
                            1,
                            &format!("at least, between epochs {old:016x} and {new:016x}"),
                        );
                    }
                    let info = self.client.info();
                    let largest = info.max_payload_bytes as usize;
                    self.room.resize(largest.max(self.room.len()), 0);
                    self.recording.facts = self.args.facts(info, self.client.is_gating());
                }
                Ok(Event::Closed) => return Ok(()),
                Ok(Event::Lost) if self.args.no_follow => return Ok(()),
                Ok(Event::Lost) => {
                    return Err("the listener ended without closing the ring".to_owned());
                }
                Err(error) => self.damaged(&error)?,
            }
        }
        Ok(())
    }

    fn damaged(&mut self, error: &ReadError) -> Result<(), String> {
        match *error {
            // The next record says how many are missing before it.
            ReadError::Overrun { .. } | ReadError::Gap { .. } => {}
            ReadError::Payload { .. } | ReadError::Header { .. } => {
                self.is_damaged = true;
                say!("aqueduct: {error}");
            }
            ReadError::BufferTooSmall { needed, .. } => self.room.resize(needed, 0),
            _ => return Err(error.to_string()),
        }
        Ok(())
    }

    fn miss(&mut self, records: u64, why: &str) {
        self.missed += records;
        say!("aqueduct: {records} records: {why}");
    }

    /// Writes what was read; releases it when it is on the disk.
    fn flush(&mut self) -> Result<(), String> {
        self.recording.flush().map_err(|failure| failure.to_string())?;
        if self.client.is_gating() {
            self.client.release();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.recording.finish().map_err(|failure| failure.to_string())?;
        if self.client.is_gating() {
            self.client.release();
        }
        Ok(())
    }
}

/// The files.
struct Recording {
    files: Arc<Disk>,
    /// For as long as this process writes.
    _lock: <Disk as Files>::Lock,
    facts: Facts,
    cursors: CursorFile<File>,
    /// Segments that were there before.
    segments: Vec<Segment>,
    log: Option<Log<Disk>>,
    framing: Framing,
    epoch: u64,
    /// Where the next record of the epoch is put, granules.
    position: u64,
    /// The number that the next record of the epoch must have, if there was one.
    next_seq: Option<u64>,
    /// Encoded and not written.
    pending: Vec<u8>,
    /// Number of the first record in `pending`.
    pending_seq: u64,
}

impl Recording {
    /// Opens a directory, and finds the end of what was recorded.
    fn open(path: &Path, facts: Facts) -> Result<Self, String> {
        let directory = path.display();
        let said = |error: &dyn std::fmt::Display| format!("{directory}: {error}");
        let disk = Disk::open(path).map_err(|error| said(&error))?;
        let lock = disk.lock(LOCK_NAME).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => said(&"another process uses this journal"),
            _ => said(&error),
        })?;
        let history = History::open(path).map_err(|failure| said(&failure))?;
        let is_there = history.cursors.is_some();
        let mut segments = Vec::with_capacity(history.pieces.len());
        let (mut epoch, mut position, mut next_seq) = (0, 0, None);
        for piece in &history.pieces {
            let serial = serial_of(&piece.name).unwrap_or(0);
            let header =
                piece.header.as_ref().map_err(|why| said(&format!("{}: {why}", piece.name)))?;
            if header.ring != facts.ring {
                return Err(said(&format!("holds records of the ring {}", header.ring)));
            }
            (epoch, position, next_seq) =
                (header.epoch, header.first_position, Some(header.first_seq));
            segments.push(Segment { serial, header: Some(header.clone()) });
        }
        if let Some(last) = history.pieces.last() {
            history
                .walk(last, |_, found| {
                    position = found.end();
                    next_seq = Some(found.header.seq + u64::from(found.header.is_data()));
                    Ok(true)
                })
                .map_err(|failure| said(&failure))?;
        }
        let (cursors, _) = CursorFile::open(&disk, is_there).map_err(|error| said(&error))?;
        Ok(Self {
            files: Arc::new(disk),
            _lock: lock,
            facts,
            cursors,
            segments,
            log: None,
            framing: Framing::new(epoch),
            epoch,
            position,
            next_seq,
            pending: Vec::new(),
            pending_seq: 0,
        })
    }

    /// Takes a record. Returns how many are missing between the one before it and this one; `None`
    /// if it was recorded before.
    fn put(&mut self, epoch: u64, record: &Record, bytes: &[u8]) -> Result<Option<u64>, Failure> {
        let mut missed = 0;
        let follows = if epoch == self.epoch {
            let next = self.next_seq.unwrap_or(record.seq);
            let Some(between) = record.seq.checked_sub(next) else { return Ok(None) };
            missed = between;
            missed == 0
        } else {
            self.flush()?;
            (self.epoch, self.framing, self.position) = (epoch, Framing::new(epoch), 0);
            false
        };
        if self.log.is_none() || !follows {
            self.flush()?;
            self.begin(record.seq)?;
        }
        if self.pending.is_empty() {
            self.pending_seq = record.seq;
        }
        let has_attributes = record.attribute_units > 0;
        let header = Header {
            // A record's length has 32 bits in the ring.
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            kind: if has_attributes { KIND_DATA | KIND_ATTRIBUTES } else { KIND_DATA },
            flags: record.attribute_units,
            type_tag: record.type_tag,
            seq: record.seq,
            timestamp_ns: record.timestamp_ns,
            payload_crc: self.framing.payload_crc(bytes),
        };
        #[allow(clippy::cast_possible_truncation, reason = "the ring's own positions have 32 bits")]
        let at = (self.position + (self.pending.len() / GRANULE_BYTES) as u64) as u32;
        self.pending.extend_from_slice(&self.framing.encode(at, &header));
        self.pending.extend_from_slice(bytes);
        self.pending.resize(self.pending.len().next_multiple_of(GRANULE_BYTES), 0);
        self.next_seq = Some(record.seq + 1);
        Ok(Some(missed))
    }

    /// Begins a segment with this record.
    fn begin(&mut self, seq: u64) -> Result<(), Failure> {
        let segments = match self.log.take() {
            Some(log) => log.segments().to_vec(),
            None => std::mem::take(&mut self.segments),
        };
        let prepared = prepare(&*self.files, &self.facts)?;
        let place = (self.position, seq);
        let (files, facts, epoch) = (Arc::clone(&self.files), self.facts.clone(), self.epoch);
        let log = Log::begin(
            files,
            facts,
            segments,
            epoch,
            place,
            (0, Vec::new()),
            Ok(prepared),
            now_ns(),
        )?;
        self.log = Some(log);
        self.next_seq = Some(seq);
        self.note(false)
    }

    /// Says in the file of cursors how far the recording goes.
    fn note(&mut self, is_end: bool) -> Result<(), Failure> {
        let cursors = Cursors {
            epoch: self.epoch,
            published: self.position,
            next_seq: self.next_seq.unwrap_or(0),
            is_end,
            positions: Vec::new(),
            lagging: Vec::new(),
        };
        let failed = || Failure::of("writing", cursors::NAME);
        self.cursors.write(&cursors).map_err(failed())?;
        self.cursors.sync().map_err(failed())
    }

    /// Writes what is pending; as safe as the segments say.
    fn flush(&mut self) -> Result<(), Failure> {
        let Some(log) = &mut self.log else { return Ok(()) };
        if self.pending.is_empty() {
            return Ok(());
        }
        log.commit(&self.pending, self.pending_seq, now_ns())?;
        self.position = log.written();
        self.pending.clear();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.flush()?;
        if let Some(log) = &mut self.log {
            log.sync()?;
            self.note(true)?;
        }
        Ok(())
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
