//! One file while it is written: rows into row groups, row groups into the file.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::columns::{self, FIXED, Rows, Unit};
use super::files::{Temporary, Whole};
use super::mapping::{Kind, Mapping};
use crate::batch::View;
use crate::compress::Codec;
use crate::sink::Failure;

/// What all files have in common.
#[derive(Debug)]
pub(super) struct Layout {
    mapping: Mapping,
    unit: Unit,
    schema: TypePtr,
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
                properties = properties.set_column_dictionary_enabled(path, false);
            }
        }
        let properties = Arc::new(properties.build());
        Ok(Self { mapping, unit, schema, properties, row_group_rows, row_group_bytes })
    }
}

/// A file while it is written.
pub(super) struct Writer {
    layout: Arc<Layout>,
    directory: String,
    temporary: Temporary,
    file: SerializedFileWriter<File>,
    rows: Rows,
    /// Bytes of the records in `rows`.
    bytes: usize,
    /// First and last sequence number of the file.
    span: Option<(u64, u64)>,
}

impl Writer {
    /// Begins a file of a directory, under its temporary name.
    pub(super) fn new(
        layout: &Arc<Layout>,
        directory: String,
        file: File,
        temporary: Temporary,
    ) -> Result<Self, Failure> {
        let (schema, properties) = (Arc::clone(&layout.schema), Arc::clone(&layout.properties));
        let file =
            SerializedFileWriter::new(file, schema, properties).map_err(|it| failure(&it))?;
        let rows = Rows::new(layout.mapping.columns(), layout.unit);
        let layout = Arc::clone(layout);
        Ok(Self { layout, directory, temporary, file, rows, bytes: 0, span: None })
    }

    /// Returns the directory that the file is for.
    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// Adds a record; the inner error says why it does not fit, and then it is not there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add(&mut self, record: &View<'_>) -> Result<Result<(), String>, Failure> {
        let mut values = 0;
        let rows = &mut self.rows;
        let fits = self.layout.mapping.values(record, |column, value| {
            rows.value(column, &value);
            values = column + 1;
        });
        if let Err(reason) = fits {
            self.rows.take_back(values);
            return Ok(Err(reason));
        }
        self.rows.end(record);
        self.bytes += record.payload.len();
        let first = self.span.map_or(record.seq, |(first, _)| first);
        self.span = Some((first, record.seq));
        let is_full = self.bytes >= self.layout.row_group_bytes
            || self.rows.len() >= self.layout.row_group_rows;
        if is_full {
            self.row_group().map_err(|error| failure(&error))?;
        }
        Ok(Ok(()))
    }

    fn row_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        let mut column = 0;
        while let Some(mut writer) = group.next_column()? {
            self.rows.write(column, &mut writer)?;
            writer.close()?;
            column += 1;
        }
        group.close()?;
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Ends the file and syncs it; `None` if it has no record.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn end(&mut self, epoch: u64) -> Result<Option<Whole<'_>>, Failure> {
        let Some((first, last)) = self.span else { return Ok(None) };
        if self.rows.len() > 0 {
            self.row_group().map_err(|error| failure(&error))?;
        }
        for (key, value) in [
            ("aqueduct.epoch", format!("{epoch:016x}")),
            ("aqueduct.first_seq", first.to_string()),
            ("aqueduct.last_seq", last.to_string()),
        ] {
            self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self.file.finish().map_err(|error| failure(&error))?;
        self.file.inner().sync_all().map_err(Failure::retry)?;
        let (directory, temporary) = (self.directory.as_str(), &mut self.temporary);
        Ok(Some(Whole { directory, epoch, first, last, temporary }))
    }
}

fn failure(error: &ParquetError) -> Failure {
    Failure::retry(error)
}
