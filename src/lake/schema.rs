//! Arrow schemas in the words of the Delta log.
//!
//! Everything that medallion writes is conformed first, so that each reader sees the same few types: UTC microseconds
//! for every time, signed integers, plain strings.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The key of a column's comment in Arrow field metadata, and in the Delta schema.
pub const COMMENT: &str = "comment";

/// Times in the lake: microseconds, UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The type under which values of `data_type` are stored, or None where Delta has no type for them.
pub fn stored_type(data_type: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match data_type {
        Utf8 | LargeUtf8 | Utf8View => Utf8,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Dictionary(_, values) => return stored_type(values),
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Date32 => data_type.clone(),
        UInt8 => Int16,
        UInt16 => Int32,
        UInt32 | UInt64 => Int64,
        Float16 => Float32,
        Date64 => Date32,
        Timestamp(_, _) => timestamp(),
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) => Decimal128(*p, *s),
        List(item) | LargeList(item) | ListView(item) | FixedSizeList(item, _) => List(Arc::new(stored_field(item)?)),
        Struct(fields) => Struct(fields.iter().map(|f| stored_field(f)).collect::<Option<Fields>>()?),
        Map(entries, sorted) => Map(Arc::new(stored_field(entries)?), *sorted),
        _ => return None,
    })
}

fn stored_field(field: &Field) -> Option<Field> {
    Some(Field::new(field.name(), stored_type(field.data_type())?, field.is_nullable()))
}

/// The schema under which the rows of a query are stored. Columns are nullable: tests, not types, say what must hold.
pub fn stored_schema(schema: &Schema) -> Result<SchemaRef> {
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let stored = stored_type(field.data_type()).ok_or_else(|| {
            let hint = match field.data_type() {
                DataType::Null => "it has no type, only NULL: cast it to the type that it should have",
                _ => "cast it to a type that Delta tables have",
            };
            Error::input(format!(
                "column `{}` has the type {}, which Delta does not have",
                field.name(),
                field.data_type()
            ))
            .hint(hint)
        })?;
        let mut metadata = field.metadata().clone();
        metadata.retain(|key, _| key == COMMENT);
        fields.push(Field::new(field.name(), stored, true).with_metadata(metadata));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// `schemaString` of a Delta table's metadata.
pub fn delta_schema(schema: &Schema) -> Result<String> {
    Ok(delta_struct(schema.fields())?.to_string())
}

fn delta_struct(fields: &Fields) -> Result<Value> {
    // Readers of Delta tables take names that differ only in case for the same.
    let mut seen = BTreeMap::new();
    for name in fields.iter().map(|field| field.name()) {
        if let Some(other) = seen.insert(name.to_lowercase(), name) {
            return Err(Error::input(format!("the columns `{other}` and `{name}` differ only in case"))
                .hint("a Delta table cannot have both; give one of them another name"));
        }
    }
    let fields = fields
        .iter()
        .map(|f| {
            Ok(json!({
                "name": f.name(),
                "type": delta_type(f.data_type())?,
                "nullable": f.is_nullable(),
                "metadata": f.metadata(),
            }))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(json!({ "type": "struct", "fields": fields }))
}

fn delta_type(data_type: &DataType) -> Result<Value> {
    let unsupported = || Error::bug(format!("the type {data_type} was not conformed before writing"));
    Ok(match data_type {
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("binary"),
        DataType::Boolean => json!("boolean"),
        DataType::Int8 => json!("byte"),
        DataType::Int16 => json!("short"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => json!("timestamp"),
        DataType::Decimal128(precision, scale) => json!(format!("decimal({precision},{scale})")),
        DataType::Struct(fields) => delta_struct(fields)?,
        DataType::List(item) => json!({
            "type": "array", "elementType": delta_type(item.data_type())?, "containsNull": item.is_nullable(),
        }),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => json!({
                "type": "map",
                "keyType": delta_type(pair[0].data_type())?,
                "valueType": delta_type(pair[1].data_type())?,
                "valueContainsNull": pair[1].is_nullable(),
            }),
            _ => return Err(unsupported()),
        },
        _ => return Err(unsupported()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_stored_as_utc_microseconds_and_every_string_plain() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
            Field::new("b", DataType::Utf8View, false),
            Field::new("c", DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()), false),
            Field::new("d", DataType::UInt64, false),
        ]);
        let stored = stored_schema(&schema).unwrap();
        let types: Vec<_> = stored.fields().iter().map(|f| f.data_type().clone()).collect();
        assert_eq!(types, [timestamp(), DataType::Utf8, DataType::Utf8, DataType::Int64]);
    }

    #[test]
    fn a_column_of_nothing_but_null_is_refused_by_name() {
        let error = stored_schema(&Schema::new(vec![Field::new("x", DataType::Null, true)])).unwrap_err();
        assert!(error.to_string().contains("column `x`") && error.to_string().contains("cast it"), "{error}");
    }
}
