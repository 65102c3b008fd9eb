//! What the log says of a file, in the words that DataFusion prunes and plans by.
//!
//! A bound from the log may be wider than the values (long strings are cut, other writers cut times to milliseconds).
//! It is called exact only where it must be the value itself; the optimizer answers MIN and MAX from exact ones.
//!
//! Bounds of floats pass NaN over, which compares as greater than every number, or as less. Our own files have none where
//! there is a NaN; of anybody else's files they are not believed.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, BooleanArray, UInt64Array};
use arrow::compute::kernels::cast_utils::{Parser, parse_decimal, string_to_datetime};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Schema, TimeUnit};
use chrono::Utc;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::lake::{DataFile, write};

/// The bounds of one file's columns, in the order of the schema they were read for.
#[derive(Debug, Clone)]
pub struct FileStatistics {
    pub rows: Option<u64>,
    columns: Vec<Bounds>,
}

#[derive(Debug, Clone, Default)]
struct Bounds {
    min: Option<ScalarValue>,
    max: Option<ScalarValue>,
    nulls: Option<u64>,
    exact: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, bound = "'de: 'a")]
struct Logged<'a> {
    num_records: Option<u64>,
    #[serde(borrow)]
    min_values: HashMap<String, &'a RawValue>,
    #[serde(borrow)]
    max_values: HashMap<String, &'a RawValue>,
    #[serde(borrow)]
    null_count: HashMap<String, &'a RawValue>,
}

impl FileStatistics {
    /// Reads what the log has for these columns. What it does not have, or what cannot be read, is unknown.
    pub fn of(file: &DataFile, schema: &Schema) -> FileStatistics {
        let logged: Logged<'_> = file.stats.as_deref().and_then(|s| serde_json::from_str(s).ok()).unwrap_or_default();
        let is_own = write::is_own_file(file.path.rsplit('/').next().unwrap_or_default());
        let columns = schema
            .fields()
            .iter()
            .map(|field| {
                let nulls = logged.null_count.get(field.name()).and_then(|v| v.get().parse().ok());
                if field.data_type().is_floating() && !is_own {
                    return Bounds { nulls, ..Bounds::default() };
                }
                let (low, high) = (logged.min_values.get(field.name()), logged.max_values.get(field.name()));
                let min = low.and_then(|v| bound(v.get(), field.data_type(), false));
                let max = high.and_then(|v| bound(v.get(), field.data_type(), true));
                Bounds {
                    exact: is_exact(field.data_type(), low.map(|v| v.get()), high.map(|v| v.get())),
                    min,
                    max,
                    nulls,
                }
            })
            .collect();
        FileStatistics { rows: logged.num_records, columns }
    }

    /// Whether a float of this schema may be NaN in this file, whatever the bounds in the file itself say.
    pub fn may_have_nan(&self, schema: &Schema) -> bool {
        let floats = schema.fields().iter().zip(&self.columns).filter(|(f, _)| f.data_type().is_floating());
        floats.into_iter().any(|(_, c)| c.max.is_none() && (c.nulls.is_none() || c.nulls != self.rows))
    }

    /// The same for DataFusion's planner.
    pub fn to_datafusion(&self, bytes: u64) -> Statistics {
        let count = |n: Option<u64>| match n.and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Precision::Exact(n),
            None => Precision::Absent,
        };
        Statistics {
            num_rows: count(self.rows),
            total_byte_size: Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX)),
            column_statistics: self
                .columns
                .iter()
                .map(|c| {
                    let value = |v: &Option<ScalarValue>| match v {
                        Some(v) if c.exact => Precision::Exact(v.clone()),
                        Some(v) => Precision::Inexact(v.clone()),
                        None => Precision::Absent,
                    };
                    ColumnStatistics {
                        null_count: count(c.nulls),
                        min_value: value(&c.min),
                        max_value: value(&c.max),
                        ..ColumnStatistics::new_unknown()
                    }
                })
                .collect(),
        }
    }
}

/// Whether both bounds must be values of the column.
fn is_exact(data_type: &DataType, low: Option<&str>, high: Option<&str>) -> bool {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Boolean => {
            true
        }
        // Cut to milliseconds, a time has three digits; with six it is whole.
        DataType::Timestamp(_, _) => [low, high].iter().flatten().all(|text| {
            text.split('.').nth(1).is_some_and(|rest| rest.bytes().take_while(u8::is_ascii_digit).count() == 6)
        }),
        _ => false,
    }
}

/// A bound as a value of the column's type. `upper` widens where the text may have been cut.
fn bound(text: &str, data_type: &DataType, upper: bool) -> Option<ScalarValue> {
    let unquoted = || serde_json::from_str::<String>(text).ok();
    Some(match data_type {
        DataType::Int8 => ScalarValue::Int8(Some(text.parse().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(text.parse().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(text.parse().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(text.parse().ok()?)),
        DataType::Float32 => ScalarValue::Float32(Some(text.parse().ok()?)),
        DataType::Float64 => ScalarValue::Float64(Some(text.parse().ok()?)),
        DataType::Boolean => ScalarValue::Boolean(Some(text.parse().ok()?)),
        DataType::Utf8 => ScalarValue::Utf8(Some(unquoted()?)),
        DataType::Utf8View => ScalarValue::Utf8View(Some(unquoted()?)),
        DataType::Date32 => ScalarValue::Date32(Some(Date32Type::parse(&unquoted()?)?)),
        DataType::Decimal128(precision, scale) => {
            // Writers that go through a float cannot be trusted with more digits than it has.
            if text.contains(['e', 'E']) || text.bytes().filter(u8::is_ascii_digit).count() > 15 {
                return None;
            }
            let value = parse_decimal::<Decimal128Type>(text, *precision, *scale).ok()?;
            ScalarValue::Decimal128(Some(value), *precision, *scale)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let time = string_to_datetime(&Utc, &unquoted()?).ok()?.timestamp_micros();
            let widened = if upper && !is_exact(data_type, None, Some(text)) { time.checked_add(999)? } else { time };
            ScalarValue::TimestampMicrosecond(Some(widened), zone.clone())
        }
        _ => return None,
    })
}

/// Many files' bounds, for pruning: here a bound need not be exact, only true.
pub struct ManyFiles<'a> {
    pub schema: &'a Schema,
    pub files: Vec<&'a FileStatistics>,
}

impl ManyFiles<'_> {
    fn gather(&self, column: &Column, get: impl Fn(&Bounds) -> Option<ScalarValue>) -> Option<ArrayRef> {
        let (index, field) = self.schema.column_with_name(&column.name)?;
        let unknown = ScalarValue::try_from(field.data_type()).ok()?;
        let values = self.files.iter().map(|f| f.columns.get(index).and_then(&get).unwrap_or_else(|| unknown.clone()));
        let array = ScalarValue::iter_to_array(values).ok()?;
        (array.null_count() < array.len()).then_some(array)
    }
}

impl PruningStatistics for ManyFiles<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.gather(column, |b| b.min.clone())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.gather(column, |b| b.max.clone())
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (index, _) = self.schema.column_with_name(&column.name)?;
        Some(std::sync::Arc::new(UInt64Array::from_iter(self.files.iter().map(|f| f.columns.get(index)?.nulls))))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(std::sync::Arc::new(UInt64Array::from_iter(self.files.iter().map(|f| f.rows))))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

impl FileStatistics {
    /// Adds a column that has one value in the whole file.
    pub fn push_constant(&mut self, value: &ScalarValue) {
        let nulls = if value.is_null() { self.rows } else { Some(0) };
        let known = (!value.is_null()).then(|| value.clone());
        self.columns.push(Bounds { min: known.clone(), max: known, nulls, exact: true });
    }
}
