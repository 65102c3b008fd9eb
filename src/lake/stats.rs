//! Statistics of a data file, as the Delta log keeps them, so that readers can skip the file.
//!
//! Every value written is a true bound. Where Parquet has no bound for a column, the log says nothing of it. Nor does it
//! of a column that has a NaN: Parquet's bounds pass it over, though it compares as greater (or less) than every number.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{max, max_boolean, max_string, min, min_boolean, min_string};
use arrow::datatypes::*;
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

type Bounds = BTreeMap<String, Box<RawValue>>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: i64,
    min_values: Bounds,
    max_values: Bounds,
    null_count: BTreeMap<String, u64>,
}

/// Adds the columns that have a NaN in these rows. What lies under a NULL is no value: a division that became one leaves NaN.
pub fn find_nans(batch: &RecordBatch, found: &mut BTreeSet<String>) {
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let has_nan = match field.data_type() {
            DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().any(f32::is_nan),
            DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan),
            _ => false,
        };
        if has_nan && !found.contains(field.name()) {
            found.insert(field.name().clone());
        }
    }
}

/// The `stats` of an add action for a file with these columns, of which some have a NaN.
pub fn of_file(schema: &Schema, metadata: &ParquetMetaData, with_nan: &BTreeSet<String>) -> Result<String> {
    let bug = |what: &str, e: &dyn std::fmt::Display| Error::bug(format!("{what}: {e}"));
    let mut stats = Stats {
        num_records: metadata.file_metadata().num_rows(),
        min_values: Bounds::new(),
        max_values: Bounds::new(),
        null_count: BTreeMap::new(),
    };
    let groups = metadata.row_groups();
    for field in schema.fields().iter().filter(|f| !f.data_type().is_nested()) {
        let converter = StatisticsConverter::try_new(field.name(), schema, metadata.file_metadata().schema_descr())
            .map_err(|e| bug("no statistics", &e))?;
        let nulls = converter.row_group_null_counts(groups).map_err(|e| bug("no null counts", &e))?;
        if nulls.null_count() > 0 {
            continue;
        }
        stats.null_count.insert(field.name().clone(), nulls.values().iter().sum());
        if with_nan.contains(field.name()) {
            continue;
        }
        let rows: Vec<i64> = groups.iter().map(|g| g.num_rows()).collect();
        let mins = converter.row_group_mins(groups).map_err(|e| bug("no minimums", &e))?;
        let maxes = converter.row_group_maxes(groups).map_err(|e| bug("no maximums", &e))?;
        if !bounds_all_rows(&mins, &nulls, &rows) || !bounds_all_rows(&maxes, &nulls, &rows) {
            continue;
        }
        if let (Some(low), Some(high)) = (extreme(&mins, false), extreme(&maxes, true)) {
            let raw = |text| RawValue::from_string(text).map_err(|e| bug("a bound is not JSON", &e));
            stats.min_values.insert(field.name().clone(), raw(low)?);
            stats.max_values.insert(field.name().clone(), raw(high)?);
        }
    }
    serde_json::to_string(&stats).map_err(|e| bug("statistics are not JSON", &e))
}

/// A row group without a bound is fine only if it has nothing but nulls.
fn bounds_all_rows(bounds: &ArrayRef, nulls: &UInt64Array, rows: &[i64]) -> bool {
    (0..rows.len()).all(|i| bounds.is_valid(i) || nulls.value(i) == rows[i].unsigned_abs())
}

/// The smallest (or largest) of the row groups' bounds as JSON, or None if there is none to give.
fn extreme(values: &ArrayRef, largest: bool) -> Option<String> {
    macro_rules! number {
        ($t:ty) => {{
            let values = values.as_primitive_opt::<$t>()?;
            if largest { max(values) } else { min(values) }
        }};
    }
    let quoted = |text: String| serde_json::to_string(&text).ok();
    match values.data_type() {
        DataType::Int8 => number!(Int8Type).map(|v| v.to_string()),
        DataType::Int16 => number!(Int16Type).map(|v| v.to_string()),
        DataType::Int32 => number!(Int32Type).map(|v| v.to_string()),
        DataType::Int64 => number!(Int64Type).map(|v| v.to_string()),
        DataType::Float32 => {
            number!(Float32Type).filter(|v| v.is_finite()).and_then(|v| serde_json::to_string(&v).ok())
        }
        DataType::Float64 => {
            number!(Float64Type).filter(|v| v.is_finite()).and_then(|v| serde_json::to_string(&v).ok())
        }
        DataType::Decimal128(_, scale) => number!(Decimal128Type).map(|v| decimal_text(v, *scale)),
        DataType::Date32 => {
            let day = date32_to_datetime(number!(Date32Type)?)?;
            quoted(day.format("%Y-%m-%d").to_string())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let time = timestamp_us_to_datetime(number!(TimestampMicrosecondType)?)?;
            quoted(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        }
        DataType::Boolean => {
            let values = values.as_boolean_opt()?;
            (if largest { max_boolean(values) } else { min_boolean(values) }).map(|v| v.to_string())
        }
        DataType::Utf8 => {
            let values = values.as_string_opt::<i32>()?;
            (if largest { max_string(values) } else { min_string(values) }).and_then(|v| quoted(v.to_owned()))
        }
        _ => None,
    }
}

/// A decimal as JSON writes it: exactly, with no detour through a float.
fn decimal_text(value: i128, scale: i8) -> String {
    let Ok(scale) = usize::try_from(scale) else { return format!("{value}e{}", -i32::from(scale)) };
    if scale == 0 {
        return value.to_string();
    }
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_exactly() {
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(123456789012345678901234567890, 4), "12345678901234567890123456.7890");
        assert_eq!(decimal_text(7, 0), "7");
    }
}
