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
use std::sync::Arc;

use aqueduct::config::Size;
use serde::Deserialize;

use super::Context;
use crate::batch::Records;
use crate::compress::Codec;
use crate::sink::{Delivered, Failure, Sink};
use crate::stop::Stop;
use columns::{FIXED, Unit};
use files::Files;
use mapping::{ColumnTable, Field, Mapping};
use partition::Level;
use writer::{Layout, Writer};

/// Most files that are written at the same time. A batch with more partitions is written in parts.
const MOST_OPEN: usize = 64;

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
        Ok(Self { layout: Arc::new(layout), levels, files })
    }

    /// Writes records up to the first that does not fit, or that would need one file too many.
    /// Returns how many are delivered, how many of these were there already, and why the next does
    /// not fit.
    fn write(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Part, Failure> {
        let mut part = Part::default();
        let mut open: Vec<Writer> = Vec::new();
        for record in records.iter() {
            let directory = partition::of(&self.levels, record.timestamp_ns);
            if self.files.knows(&directory, (record.epoch, record.seq), stop)? {
                part.done += 1;
                part.known += 1;
                continue;
            }
            let at = open.iter().position(|writer| *writer.directory() == *directory);
            let at = match at {
                Some(at) => at,
                None if open.len() == MOST_OPEN => break,
                None => {
                    let (file, temporary) = self.files.create()?;
                    open.push(Writer::new(&self.layout, directory, file, temporary)?);
                    open.len() - 1
                }
            };
            if let Err(reason) = open[at].add(&record)? {
                part.refused = Some(reason);
                break;
            }
            part.done += 1;
            if stop.is_over() {
                return Err(Failure::retry("the time for it is over"));
            }
        }
        for mut writer in open {
            if let Some(mut whole) = writer.end(records.epoch())? {
                self.files.publish(&mut whole, stop)?;
            }
        }
        self.files.sync()?;
        Ok(part)
    }
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
