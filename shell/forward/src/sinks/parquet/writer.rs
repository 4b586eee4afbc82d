//! One file while it is written: records into pieces, pieces into row groups, row groups into the
//! file. Pieces may be encoded by another thread than the one that makes them.

use std::fs::File;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::columns::{self, FIXED, Piece, Rows, Unit};
use super::files::{Temporary, Whole};
use super::mapping::{Kind, Mapping};
use crate::batch::View;
use crate::compress::Codec;
use crate::json::Found;
use crate::sink::Failure;

/// A piece has so many rows, or payloads of so many bytes: what stays in a processor's cache
/// between the two threads.
const PIECE_ROWS: usize = 8192;
const PIECE_BYTES: usize = 1 << 20;
/// Bytes of a page before compression. Memory for larger ones is new at each page, and the kernel's
/// clearing of it took a fifth of the time.
const PAGE_BYTES: usize = 256 << 10;

/// What all files have in common.
#[derive(Debug)]
pub(super) struct Layout {
    mapping: Mapping,
    unit: Unit,
    schema: TypePtr,
    in_memory: SchemaRef,
    properties: WriterPropertiesPtr,
    row_group_rows: usize,
    row_group_bytes: usize,
}

impl Layout {
    /// Makes it from checked settings.
    ///
    /// # Errors
    /// Parquet cannot hold these columns: why.
    pub(super) fn new(
        mapping: Mapping,
        codec: Codec,
        unit: Unit,
        row_group_rows: usize,
        row_group_bytes: usize,
    ) -> Result<Self, String> {
        let schema = columns::schema(mapping.columns(), unit);
        let schema = schema.map_err(|error| format!("sink.columns: {error}"))?;
        let compression = match codec {
            Codec::None => Compression::UNCOMPRESSED,
            Codec::Snappy => Compression::SNAPPY,
            Codec::Zstd => Compression::ZSTD(parquet::basic::ZstdLevel::default()),
            Codec::Gzip => {
                return Err("sink.compression: allowed: none, snappy, zstd".to_owned());
            }
        };
        let mut properties = WriterProperties::builder()
            .set_created_by(format!("aqueduct-forward {}", env!("CARGO_PKG_VERSION")))
            .set_compression(compression)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_max_row_group_row_count(None);
        // Numbers that grow have no dictionary, and their differences are small.
        for name in [FIXED[1], FIXED[3]] {
            let path = ColumnPath::from(name);
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
        for column in mapping.columns() {
            if column.kind == Kind::Bytes {
                let path = ColumnPath::from(column.name.as_str());
                // Nobody looks for payloads by their order.
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_statistics_enabled(path, EnabledStatistics::None);
            }
        }
        let properties = Arc::new(properties.build());
        let in_memory = columns::in_memory(mapping.columns());
        Ok(Self { mapping, unit, schema, in_memory, properties, row_group_rows, row_group_bytes })
    }

    /// Says why a record does not fit, unless it does.
    pub(super) fn refuses(&self, record: &View<'_>) -> Option<String> {
        self.mapping.values(record, &mut Vec::new(), |_, _| ()).err()
    }
}

/// What is to be done for a file, in this order.
pub(super) enum Work {
    /// It is begun, and has the next number, from 0.
    Begin(Box<Encoder>),
    /// Rows are added to its last row group.
    Rows(usize, Piece),
    /// Its last row group is complete.
    EndGroup(usize),
}

/// Records of a file while they are gathered.
pub(super) struct Writer {
    layout: Arc<Layout>,
    directory: String,
    temporary: Temporary,
    number: usize,
    rows: Rows,
    /// Bytes of the records in `rows`.
    bytes: usize,
    /// Rows and bytes of records that the row group has beside them.
    group_rows: usize,
    group_bytes: usize,
    /// First and last sequence number of the file.
    span: Option<(u64, u64)>,
}

impl Writer {
    /// Begins a file of a directory, under its temporary name.
    pub(super) fn new(
        layout: &Arc<Layout>,
        (number, epoch): (usize, u64),
        directory: String,
        temporary: Temporary,
    ) -> Self {
        let rows = Rows::new(layout.mapping.columns(), layout.unit, epoch);
        Self {
            layout: Arc::clone(layout),
            directory,
            temporary,
            number,
            rows,
            bytes: 0,
            group_rows: 0,
            group_bytes: 0,
            span: None,
        }
    }

    /// Returns the directory that the file is for.
    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// Adds a record, and gives away what there is to do; the inner error says why it does not fit,
    /// and then it is not there. What is in `found` is of no further use.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add<'r>(
        &mut self,
        record: &View<'r>,
        found: &mut Vec<Found<'r>>,
        give: &mut dyn FnMut(Work) -> Result<(), Failure>,
    ) -> Result<Result<(), String>, Failure> {
        let rows = &mut self.rows;
        let fits = self.layout.mapping.values(record, found, |column, value| {
            rows.value(column, &value);
        });
        if let Err(reason) = fits {
            self.rows.take_back();
            return Ok(Err(reason));
        }
        self.rows.end(record);
        self.bytes += record.payload.len();
        let first = self.span.map_or(record.seq, |(first, _)| first);
        self.span = Some((first, record.seq));
        let is_full = self.group_bytes + self.bytes >= self.layout.row_group_bytes
            || self.group_rows + self.rows.len() >= self.layout.row_group_rows;
        if is_full {
            self.end_group(give)?;
        } else if self.bytes >= PIECE_BYTES || self.rows.len() >= PIECE_ROWS {
            self.piece(give)?;
        }
        Ok(Ok(()))
    }

    fn piece(&mut self, give: &mut dyn FnMut(Work) -> Result<(), Failure>) -> Result<(), Failure> {
        self.group_rows += self.rows.len();
        self.group_bytes += self.bytes;
        self.bytes = 0;
        let piece = self.rows.take().map_err(Failure::retry)?;
        give(Work::Rows(self.number, piece))
    }

    /// Gives away what is left of the last row group, and that it is complete.
    pub(super) fn end_group(
        &mut self,
        give: &mut dyn FnMut(Work) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.rows.len() > 0 {
            self.piece(give)?;
        }
        if self.group_rows > 0 {
            give(Work::EndGroup(self.number))?;
        }
        (self.group_rows, self.group_bytes) = (0, 0);
        Ok(())
    }

    /// Ends the file, whose row groups are complete, and syncs it; `None` if it has no record.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn end(
        &mut self,
        encoder: &mut Encoder,
        epoch: u64,
    ) -> Result<Option<Whole<'_>>, Failure> {
        let Some((first, last)) = self.span else { return Ok(None) };
        for (key, value) in [
            ("aqueduct.epoch", format!("{epoch:016x}")),
            ("aqueduct.first_seq", first.to_string()),
            ("aqueduct.last_seq", last.to_string()),
        ] {
            encoder.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        encoder.file.finish().map_err(|error| failure(&error))?;
        encoder.file.inner().sync_all().map_err(Failure::retry)?;
        let (directory, temporary) = (self.directory.as_str(), &mut self.temporary);
        Ok(Some(Whole { directory, epoch, first, last, temporary }))
    }
}

/// Pieces of a file while they are encoded.
pub(super) struct Encoder {
    in_memory: SchemaRef,
    file: SerializedFileWriter<File>,
    columns: ArrowRowGroupWriterFactory,
    /// Of the row group that is begun, one for each column; none between two of them.
    group: Vec<ArrowColumnWriter>,
    groups: usize,
}

impl Encoder {
    /// Begins a file.
    pub(super) fn new(layout: &Layout, file: File) -> Result<Self, Failure> {
        let (schema, properties) = (Arc::clone(&layout.schema), Arc::clone(&layout.properties));
        let file =
            SerializedFileWriter::new(file, schema, properties).map_err(|it| failure(&it))?;
        let in_memory = Arc::clone(&layout.in_memory);
        let columns = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&in_memory));
        Ok(Self { in_memory, file, columns, group: Vec::new(), groups: 0 })
    }

    fn rows(&mut self, piece: &Piece) -> Result<(), ParquetError> {
        if self.group.is_empty() {
            self.group = self.columns.create_column_writers(self.groups)?;
            self.groups += 1;
        }
        let fields = self.in_memory.fields().iter().zip(piece);
        for ((field, array), writer) in fields.zip(&mut self.group) {
            for leaf in compute_leaves(field, array)? {
                writer.write(&leaf)?;
            }
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for column in self.group.drain(..) {
            column.close()?.append_to_row_group(&mut group)?;
        }
        group.close().map(|_| ())
    }
}

/// Does what there is to do for files, and returns them.
///
/// # Errors
/// One of them cannot be written.
pub(super) fn encode(files: &mut Vec<Encoder>, work: Work) -> Result<(), Failure> {
    let done = match work {
        Work::Begin(file) => {
            files.push(*file);
            Ok(())
        }
        Work::Rows(file, piece) => files[file].rows(&piece),
        Work::EndGroup(file) => files[file].end_group(),
    };
    done.map_err(|error| failure(&error))
}

fn failure(error: &ParquetError) -> Failure {
    Failure::retry(error)
}
