//! Parquet files in a directory or a bucket: a batch is a file for each partition, and complete
//! when it has its name.
//!
//! Delivered means that the file was synced, renamed to its name, and its directory synced; or that
//! the bucket has acknowledged all of it. The name carries epoch and sequence numbers, so what was
//! written before a crash is found again: each record is there once.

#[cfg(feature = "s3")]
mod bucket;
mod columns;
mod files;
mod mapping;
mod partition;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

use aqueduct::config::Size;
use serde::Deserialize;

use super::Context;
use crate::batch::{Records, View};
use crate::compress::Codec;
use crate::sink::{Delivered, Failure, Sink};
use crate::stop::Stop;
use columns::{FIXED, Unit};
use files::Files;
use mapping::{ColumnTable, Field, Mapping};
use partition::Level;
use writer::{Encoder, Layout, Work, Writer};

/// Most files that are written at the same time. A batch with more partitions is written in parts.
const MOST_OPEN: usize = 64;
/// From so many records on, another thread encodes what this one reads.
const APART_RECORDS: usize = 8192;
/// Pieces that may wait for that thread.
const PIECES_AHEAD: usize = 2;
/// What the allocator keeps for the next page and the next piece.
const KEPT_BYTES: usize = 16 << 20;
/// How many records are read between two looks at the deadline.
const LOOK_RECORDS: usize = 256;

/// `[sink]` with `kind = "parquet"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The directory. It must be there: a file system that is not mounted is not written beside.
    /// Or `s3://BUCKET/PREFIX`.
    path: PathBuf,
    /// How the bucket is reached.
    #[cfg(feature = "s3")]
    s3: Option<bucket::S3Table>,
    /// Directories below it, by the records' timestamps (UTC).
    #[serde(default)]
    partition: Vec<Level>,
    /// Columns beside those that every file has; without it, the payload.
    columns: Option<Vec<ColumnTable>>,
    /// How pages are compressed.
    #[serde(default = "snappy")]
    compression: Codec,
    /// Unit of the column `timestamp`.
    #[serde(default)]
    timestamp_unit: Unit,
    /// Most rows of a row group.
    row_group_rows: Option<u64>,
    /// Most bytes of the records of a row group, before encoding; one record may be larger.
    row_group_bytes: Option<Size>,
}

const fn snappy() -> Codec {
    Codec::Snappy
}

/// The sink.
#[derive(Debug)]
pub struct Parquet {
    layout: Arc<Layout>,
    levels: Vec<Level>,
    files: Files,
}

impl Parquet {
    /// Takes the settings. The directory is looked at by the first delivery or probe.
    ///
    /// # Errors
    /// What is wrong with the settings, with the name of its key.
    pub fn open(table: Table, context: &Context) -> Result<Self, String> {
        let payload = || ColumnTable {
            name: "payload".to_owned(),
            pointer: None,
            attribute: None,
            field: Some(Field::Payload),
            kind: None,
            required: true,
        };
        let levels = table.partition;
        partition::check(&levels)?;
        let mut taken = FIXED.to_vec();
        taken.extend(levels.iter().map(|level| level.name()));
        let mapping = Mapping::check(table.columns.unwrap_or_else(|| vec![payload()]), &taken)?;
        let rows = limit("sink.row_group_rows", table.row_group_rows, 1 << 20, 1 << 24)?;
        let bytes = table.row_group_bytes;
        let bytes = limit("sink.row_group_bytes", bytes, 64 << 20, 1 << 30)?;
        if !table.compression.is_built() {
            return Err("sink.compression: this build does not have it".to_owned());
        }
        if context.flow.contains('/') {
            return Err("from.subscription: a file's name begins with it; no `/`".to_owned());
        }
        let layout = Layout::new(mapping, table.compression, table.timestamp_unit, rows, bytes)?;
        #[cfg(feature = "s3")]
        let files = match (bucket::parts_of(&table.path), table.s3) {
            (None, None) => Files::new(table.path, context.flow.clone()),
            (Some(parts), Some(s3)) => {
                let (bucket, spool) = bucket::Bucket::new(parts, &context.flow, &s3)?;
                Files::new(spool, context.flow.clone()).of_bucket(bucket)
            }
            _ => {
                return Err("sink.s3: with path = \"s3://BUCKET/PREFIX\", and only then".to_owned());
            }
        };
        #[cfg(not(feature = "s3"))]
        let files = if table.path.starts_with("s3:") {
            return Err("sink.path: this build has no S3; build with --features s3".to_owned());
        } else {
            Files::new(table.path, context.flow.clone())
        };
        keep_memory();
        Ok(Self { layout: Arc::new(layout), levels, files })
    }

    /// Writes records up to the first that does not fit, or that would need one file too many.
    /// Returns how many are delivered, how many of these were there already, and why the next does
    /// not fit.
    fn write(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Part, Failure> {
        let (part, writers, mut encoders) = if records.len() < APART_RECORDS {
            let mut encoders = Vec::new();
            let give = &mut |work| writer::encode(&mut encoders, work);
            let (part, writers) = self.read(records, stop, give)?;
            (part, writers, encoders)
        } else {
            self.read_apart(records, stop)?
        };
        for (mut writer, encoder) in writers.into_iter().zip(&mut encoders) {
            if let Some(mut whole) = writer.end(encoder, records.epoch())? {
                self.files.publish(&mut whole, stop)?;
            }
        }
        self.files.sync()?;
        Ok(part)
    }

    /// Reads records while another thread encodes those before them.
    fn read_apart(
        &mut self,
        records: &Records<'_>,
        stop: &Stop,
    ) -> Result<(Part, Vec<Writer>, Vec<Encoder>), Failure> {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(PIECES_AHEAD);
            let encoding = thread::Builder::new().name("forward-encode".to_owned());
            let encoding = encoding.spawn_scoped(scope, move || {
                let mut encoders = Vec::new();
                receiver.iter().try_for_each(|work| writer::encode(&mut encoders, work))?;
                Ok(encoders)
            });
            let encoding = encoding.map_err(Failure::retry)?;
            let give = &mut |work| {
                // It is gone only if it has failed, and then says why.
                sender.send(work).map_err(|_| Failure::retry("the encoding thread has ended"))
            };
            let read = self.read(records, stop, give);
            drop(sender);
            let encoded = encoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let encoders = encoded?;
            let (part, writers) = read?;
            Ok((part, writers, encoders))
        })
    }

    /// Gathers the rows of records, and gives away what there is to do for files.
    fn read(
        &mut self,
        records: &Records<'_>,
        stop: &Stop,
        give: &mut dyn FnMut(Work) -> Result<(), Failure>,
    ) -> Result<(Part, Vec<Writer>), Failure> {
        let (mut part, mut open) = (Part::default(), Vec::<Writer>::new());
        let mut found = Vec::new();
        // Where the record before went: most go where that did.
        let mut place: Option<Place> = None;
        for (at, record) in records.iter().enumerate() {
            if at.is_multiple_of(LOOK_RECORDS) && stop.is_over() {
                return Err(Failure::retry("the time for it is over"));
            }
            let hour = partition::hour(record.timestamp_ns);
            let place = match &mut place {
                Some(place) if place.hour == hour => place,
                other => {
                    let directory = partition::of(&self.levels, record.timestamp_ns);
                    let file = open.iter().position(|writer| *writer.directory() == *directory);
                    other.insert(Place { hour, directory, file, is_looked_up: true })
                }
            };
            if place.is_looked_up {
                if self.files.knows(&place.directory, (record.epoch, record.seq), stop)? {
                    part.done += 1;
                    part.known += 1;
                    continue;
                }
                place.is_looked_up = self.files.may_know(&place.directory);
            }
            let file = match place.file {
                Some(file) => file,
                None if open.len() == MOST_OPEN => break,
                None => {
                    let (file, temporary) = self.files.create()?;
                    give(Work::Begin(Box::new(Encoder::new(&self.layout, file)?)))?;
                    let number = (open.len(), record.epoch);
                    let directory = place.directory.clone();
                    open.push(Writer::new(&self.layout, number, directory, temporary));
                    *place.file.insert(number.0)
                }
            };
            if let Err(reason) = open[file].add(&record, &mut found, give)? {
                part.refused = Some(reason);
                break;
            }
            part.done += 1;
        }
        for writer in &mut open {
            writer.end_group(give)?;
        }
        Ok((part, open))
    }
}

/// Where a record goes.
#[derive(Debug)]
struct Place {
    /// By the hour that it is of.
    hour: Option<u64>,
    directory: String,
    /// Number of its file, once it is begun.
    file: Option<usize>,
    /// Whether records of it may be in a file already.
    is_looked_up: bool,
}

/// What became of the first records of a batch.
#[derive(Debug, Default)]
struct Part {
    done: usize,
    known: u64,
    /// Why the next one will never be taken.
    refused: Option<String>,
}

impl Sink for Parquet {
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure> {
        self.files.check()?;
        let mut done = 0;
        let mut known = 0;
        while done < records.len() {
            let rest = records.slice(done..records.len());
            let part = self.write(&rest, stop).map_err(|failure| {
                // Some files may have their names, others not: they are looked for again.
                self.files.forget();
                failure.after(done)
            })?;
            done += part.done;
            known += part.known;
            if let Some(reason) = part.refused {
                return Err(Failure::poison(done, reason));
            }
        }
        Ok(Delivered { known })
    }

    fn probe(&mut self, stop: &Stop) -> Result<(), Failure> {
        self.files.check()?;
        self.files.probe(stop)
    }

    fn refuses(&self, record: &View<'_>) -> Option<String> {
        self.layout.refuses(record)
    }
}

/// Has glibc keep the memory of pages that were written, in place of giving it back and having each
/// page of the next one cleared by the kernel, which takes as long as all the rest of a file: it
/// does so up to the size of what it had mapped and was given back. Elsewhere it does nothing.
fn keep_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT_BYTES)));
}

/// Checks a limit: from 1.
fn limit(
    key: &str,
    given: Option<impl Into<u64>>,
    default: u64,
    most: u64,
) -> Result<usize, String> {
    let value = given.map_or(default, Into::into);
    if (1..=most).contains(&value) {
        return usize::try_from(value).map_err(|error| format!("{key}: {error}"));
    }
    Err(format!("{key}: `{value}` is not allowed; allowed: 1 to {most}"))
}

#[cfg(test)]
mod tests;
