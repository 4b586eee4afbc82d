//! Columns of some rows while they are filled, and their types in the file.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, LargeBinaryArray};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::Result;
use parquet::schema::types::{Type, TypePtr};
use serde::Deserialize;

use super::mapping::{Column, Kind, Value};
use crate::batch::View;

/// Names of the columns that every file has, in order.
pub(super) const FIXED: [&str; 4] = ["epoch", "seq", "type", "timestamp"];

/// Unit of a timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Unit {
    /// Nanoseconds, which some readers do not know.
    #[serde(rename = "ns")]
    Nanos,
    /// Microseconds.
    #[default]
    #[serde(rename = "us")]
    Micros,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
}

impl Unit {
    const fn of(self, timestamp_ns: u64) -> u64 {
        match self {
            Self::Nanos => timestamp_ns,
            Self::Micros => timestamp_ns / 1000,
            Self::Millis => timestamp_ns / 1_000_000,
        }
    }

    const fn in_file(self) -> TimeUnit {
        match self {
            Self::Nanos => TimeUnit::NANOS,
            Self::Micros => TimeUnit::MICROS,
            Self::Millis => TimeUnit::MILLIS,
        }
    }
}

/// Returns the schema of a file.
pub(super) fn schema(columns: &[Column], unit: Unit) -> Result<TypePtr> {
    let [epoch, seq, type_tag, timestamp] = FIXED;
    let required = Repetition::REQUIRED;
    let stamp = LogicalType::timestamp(true, unit.in_file());
    let mut fields = vec![
        field(epoch, Physical::BYTE_ARRAY, required, Some(LogicalType::String))?,
        field(seq, Physical::INT64, required, None)?,
        field(type_tag, Physical::INT32, required, Some(LogicalType::integer(16, false)))?,
        field(timestamp, Physical::INT64, Repetition::OPTIONAL, Some(stamp))?,
    ];
    for column in columns {
        let (physical, logical) = match column.kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Kind::Bytes => (Physical::BYTE_ARRAY, None),
            Kind::Integer => (Physical::INT64, None),
            Kind::Float => (Physical::DOUBLE, None),
            Kind::Boolean => (Physical::BOOLEAN, None),
        };
        let repetition = if column.required { required } else { Repetition::OPTIONAL };
        fields.push(field(&column.name, physical, repetition, logical)?);
    }
    Type::group_type_builder("record").with_fields(fields).build().map(Arc::new)
}

fn field(
    name: &str,
    physical: Physical,
    repetition: Repetition,
    logical: Option<LogicalType>,
) -> Result<TypePtr> {
    let builder = Type::primitive_type_builder(name, physical);
    builder.with_repetition(repetition).with_logical_type(logical).build().map(Arc::new)
}

/// Returns the columns as they are in memory: what is bytes in a file is bytes here, whatever they
/// mean, because nothing here reads them.
pub(super) fn in_memory(columns: &[Column]) -> SchemaRef {
    let [epoch, seq, type_tag, timestamp] = FIXED;
    let mut fields = vec![
        Field::new(epoch, DataType::LargeBinary, false),
        Field::new(seq, DataType::Int64, false),
        Field::new(type_tag, DataType::Int32, false),
        Field::new(timestamp, DataType::Int64, true),
    ];
    fields.extend(columns.iter().map(|column| {
        let kind = match column.kind {
            Kind::Text | Kind::Json | Kind::Bytes => DataType::LargeBinary,
            Kind::Integer => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Boolean => DataType::Boolean,
        };
        Field::new(&column.name, kind, !column.required)
    }));
    Arc::new(Schema::new(fields))
}

/// Values of one column, one for each row: nothing in particular where there is none.
#[derive(Debug)]
enum Cells {
    Bytes(Bytes),
    Long(Vec<i64>),
    Double(Vec<f64>),
    Boolean(BooleanBufferBuilder),
}

/// Byte strings, one after the other.
#[derive(Debug)]
struct Bytes {
    bytes: Vec<u8>,
    /// INVARIANT: 0, and where each one ends.
    offsets: Vec<i64>,
}

/// One column of some rows.
#[derive(Debug)]
struct Filled {
    /// For each row, whether it has a value; `None` in a column that always has one.
    is_there: Option<BooleanBufferBuilder>,
    cells: Cells,
}

/// Some rows while they are gathered.
#[derive(Debug)]
pub(super) struct Rows {
    unit: Unit,
    epoch: [u8; 16],
    seqs: Vec<i64>,
    types: Vec<i32>,
    timestamps: Filled,
    mapped: Vec<Filled>,
}

/// Some rows, column by column as in the schema.
pub(super) type Piece = Vec<ArrayRef>;

impl Rows {
    /// Begins without rows.
    pub(super) fn new(columns: &[Column], unit: Unit, epoch: u64) -> Self {
        let mapped = columns.iter().map(|column| {
            let cells = match column.kind {
                Kind::Text | Kind::Json | Kind::Bytes => Cells::Bytes(Bytes::new()),
                Kind::Integer => Cells::Long(Vec::new()),
                Kind::Float => Cells::Double(Vec::new()),
                Kind::Boolean => Cells::Boolean(BooleanBufferBuilder::new(0)),
            };
            Filled::new(!column.required, cells)
        });
        let mut name = [0; 16];
        name.copy_from_slice(format!("{epoch:016x}").as_bytes());
        Self {
            unit,
            epoch: name,
            seqs: Vec::new(),
            types: Vec::new(),
            timestamps: Filled::new(true, Cells::Long(Vec::new())),
            mapped: mapped.collect(),
        }
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Adds a value of the row that is begun.
    pub(super) fn value(&mut self, column: usize, value: &Value<'_>) {
        self.mapped[column].push(value);
    }

    /// Ends the row that is begun: its values were added.
    pub(super) fn end(&mut self, record: &View<'_>) {
        // A ring counts from 0: half of the numbers are more than it will ever have.
        self.seqs.push(i64::try_from(record.seq).unwrap_or(i64::MAX));
        self.types.push(record.type_tag.into());
        let stamp = i64::try_from(self.unit.of(record.timestamp_ns)).ok().filter(|&it| it != 0);
        self.timestamps.push(&stamp.map_or(Value::Null, Value::Integer));
    }

    /// Takes back the values of the row that is begun.
    pub(super) fn take_back(&mut self) {
        let rows = self.len();
        self.mapped.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// Takes the rows out.
    ///
    /// # Errors
    /// Arrow cannot hold them: a bug here.
    pub(super) fn take(&mut self) -> Result<Piece, ArrowError> {
        let rows = self.len();
        let ends = OffsetBuffer::from_lengths(std::iter::repeat_n(self.epoch.len(), rows));
        let epochs = LargeBinaryArray::try_new(ends, self.epoch.repeat(rows).into(), None)?;
        let mut piece: Piece = vec![
            Arc::new(epochs),
            Arc::new(Int64Array::from(replaced(&mut self.seqs))),
            Arc::new(Int32Array::from(replaced(&mut self.types))),
            self.timestamps.take()?,
        ];
        for column in &mut self.mapped {
            piece.push(column.take()?);
        }
        Ok(piece)
    }
}

/// Takes a vector out, and leaves one that has room for as many.
fn replaced<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

impl Bytes {
    fn new() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }

    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        // A vector has less than half of the address space.
        self.offsets.push(i64::try_from(self.bytes.len()).unwrap_or(i64::MAX));
    }
}

impl Filled {
    fn new(is_optional: bool, cells: Cells) -> Self {
        Self { is_there: is_optional.then(|| BooleanBufferBuilder::new(0)), cells }
    }

    fn push(&mut self, value: &Value<'_>) {
        match (&mut self.cells, value) {
            (Cells::Bytes(cells), Value::Text(text)) => cells.push(text.as_bytes()),
            (Cells::Bytes(cells), Value::Bytes(value)) => cells.push(value),
            (Cells::Bytes(cells), _) => cells.push(b""),
            (Cells::Long(cells), Value::Integer(value)) => cells.push(*value),
            (Cells::Long(cells), _) => cells.push(0),
            (Cells::Double(cells), Value::Float(value)) => cells.push(*value),
            (Cells::Double(cells), _) => cells.push(0.0),
            (Cells::Boolean(cells), value) => cells.append(*value == Value::Boolean(true)),
        }
        if let Some(is_there) = &mut self.is_there {
            is_there.append(!matches!(value, Value::Null));
        }
    }

    fn truncate(&mut self, rows: usize) {
        match &mut self.cells {
            Cells::Bytes(Bytes { bytes, offsets }) => {
                offsets.truncate(rows + 1);
                let end = offsets.last().and_then(|&end| usize::try_from(end).ok());
                bytes.truncate(end.unwrap_or(0));
            }
            Cells::Long(cells) => cells.truncate(rows),
            Cells::Double(cells) => cells.truncate(rows),
            Cells::Boolean(cells) => cells.truncate(rows),
        }
        if let Some(is_there) = &mut self.is_there {
            is_there.truncate(rows);
        }
    }

    fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.is_there.as_mut().map(|it| NullBuffer::new(it.finish()));
        Ok(match &mut self.cells {
            Cells::Bytes(cells) => {
                let Bytes { bytes, offsets } = std::mem::replace(cells, Bytes::new());
                cells.bytes.reserve(bytes.len());
                cells.offsets.reserve(offsets.len());
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(LargeBinaryArray::try_new(offsets, bytes.into(), nulls)?)
            }
            Cells::Long(cells) => Arc::new(Int64Array::try_new(replaced(cells).into(), nulls)?),
            Cells::Double(cells) => Arc::new(Float64Array::try_new(replaced(cells).into(), nulls)?),
            Cells::Boolean(cells) => Arc::new(BooleanArray::new(cells.finish(), nulls)),
        })
    }
}
