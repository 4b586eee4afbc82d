//! Columns of a row group while it is filled, and their types in the file.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::writer::SerializedColumnWriter;
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

/// Values of one column, as many as there are rows that have one.
#[derive(Debug)]
enum Cells {
    /// One after the other, and where each ends.
    Bytes {
        bytes: Vec<u8>,
        ends: Vec<usize>,
    },
    Long(Vec<i64>),
    Double(Vec<f64>),
    Boolean(Vec<bool>),
}

/// One column of a row group.
#[derive(Debug)]
struct Filled {
    /// For each row, whether it has a value: 1 or 0. Empty in a column that always has one.
    levels: Option<Vec<i16>>,
    cells: Cells,
}

/// A row group while it is filled.
#[derive(Debug)]
pub(super) struct Rows {
    unit: Unit,
    epoch: ByteArray,
    seqs: Vec<i64>,
    types: Vec<i32>,
    timestamps: Filled,
    mapped: Vec<Filled>,
}

impl Rows {
    /// Begins without rows.
    pub(super) fn new(columns: &[Column], unit: Unit) -> Self {
        let mapped = columns.iter().map(|column| Filled {
            levels: (!column.required).then(Vec::new),
            cells: match column.kind {
                Kind::Text | Kind::Json | Kind::Bytes => {
                    Cells::Bytes { bytes: Vec::new(), ends: Vec::new() }
                }
                Kind::Integer => Cells::Long(Vec::new()),
                Kind::Float => Cells::Double(Vec::new()),
                Kind::Boolean => Cells::Boolean(Vec::new()),
            },
        });
        let timestamps = Filled { levels: Some(Vec::new()), cells: Cells::Long(Vec::new()) };
        Self {
            unit,
            epoch: ByteArray::new(),
            seqs: Vec::new(),
            types: Vec::new(),
            timestamps,
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
        if self.seqs.is_empty() {
            self.epoch = ByteArray::from(format!("{:016x}", record.epoch).into_bytes());
        }
        // A ring counts from 0: half of the numbers are more than it will ever have.
        self.seqs.push(i64::try_from(record.seq).unwrap_or(i64::MAX));
        self.types.push(record.type_tag.into());
        let stamp = i64::try_from(self.unit.of(record.timestamp_ns)).ok().filter(|&it| it != 0);
        self.timestamps.push(&stamp.map_or(Value::Null, Value::Integer));
    }

    /// Takes back the values of the row that is begun.
    pub(super) fn take_back(&mut self, values: usize) {
        for column in &mut self.mapped[..values] {
            column.pop();
        }
    }

    /// Writes a column, counted from 0 as in the schema.
    pub(super) fn write(
        &mut self,
        column: usize,
        writer: &mut SerializedColumnWriter<'_>,
    ) -> Result<()> {
        match column {
            0 => {
                let epochs = vec![self.epoch.clone(); self.len()];
                writer.typed::<ByteArrayType>().write_batch(&epochs, None, None)?;
            }
            1 => _ = writer.typed::<Int64Type>().write_batch(&self.seqs, None, None)?,
            2 => _ = writer.typed::<Int32Type>().write_batch(&self.types, None, None)?,
            3 => self.timestamps.write(writer)?,
            mapped => self.mapped[mapped - FIXED.len()].write(writer)?,
        }
        Ok(())
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.seqs.clear();
        self.types.clear();
        self.timestamps.clear();
        self.mapped.iter_mut().for_each(Filled::clear);
    }
}

impl Filled {
    fn push(&mut self, value: &Value<'_>) {
        let mut is_there = 1;
        match (&mut self.cells, value) {
            (Cells::Bytes { bytes, ends }, Value::Text(text)) => {
                bytes.extend_from_slice(text.as_bytes());
                ends.push(bytes.len());
            }
            (Cells::Bytes { bytes, ends }, Value::Bytes(value)) => {
                bytes.extend_from_slice(value);
                ends.push(bytes.len());
            }
            (Cells::Long(cells), Value::Integer(value)) => cells.push(*value),
            (Cells::Double(cells), Value::Float(value)) => cells.push(*value),
            (Cells::Boolean(cells), Value::Boolean(value)) => cells.push(*value),
            (_, value) => {
                debug_assert_eq!(*value, Value::Null, "the mapping gives what its kind says");
                is_there = 0;
            }
        }
        if let Some(levels) = &mut self.levels {
            levels.push(is_there);
        }
    }

    fn pop(&mut self) {
        if self.levels.as_mut().is_some_and(|levels| levels.pop() == Some(0)) {
            return;
        }
        match &mut self.cells {
            Cells::Bytes { bytes, ends } => {
                ends.pop();
                bytes.truncate(ends.last().copied().unwrap_or(0));
            }
            Cells::Long(cells) => _ = cells.pop(),
            Cells::Double(cells) => _ = cells.pop(),
            Cells::Boolean(cells) => _ = cells.pop(),
        }
    }

    fn write(&mut self, writer: &mut SerializedColumnWriter<'_>) -> Result<()> {
        let levels = self.levels.as_deref();
        match &mut self.cells {
            Cells::Bytes { bytes, ends } => {
                let all = ByteArray::from(std::mem::take(bytes));
                let mut begin = 0;
                let each = ends.iter().map(|&end| {
                    let value = all.slice(begin, end - begin);
                    begin = end;
                    value
                });
                let values: Vec<_> = each.collect();
                writer.typed::<ByteArrayType>().write_batch(&values, levels, None)?;
            }
            Cells::Long(cells) => {
                writer.typed::<Int64Type>().write_batch(cells, levels, None)?;
            }
            Cells::Double(cells) => {
                writer.typed::<DoubleType>().write_batch(cells, levels, None)?;
            }
            Cells::Boolean(cells) => {
                writer.typed::<BoolType>().write_batch(cells, levels, None)?;
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        if let Some(levels) = &mut self.levels {
            levels.clear();
        }
        match &mut self.cells {
            Cells::Bytes { bytes, ends } => {
                bytes.clear();
                ends.clear();
            }
            Cells::Long(cells) => cells.clear(),
            Cells::Double(cells) => cells.clear(),
            Cells::Boolean(cells) => cells.clear(),
        }
    }
}
