//! dbt's catalog.json, version 1: the tables and views that are there, with the types of their columns and their sizes.

use std::collections::BTreeMap;

use chrono::DateTime;
use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::TableReference;
use serde_json::{Map, Value, json};

use super::{Described, Shown};
use crate::engine::{self, Engine};
use crate::error::Result;
use crate::lake::{Snapshot, TableName};
use crate::models::artifact::{Invocation, time};
use crate::models::{ColumnDoc, Project};

/// Describes each relation that the lake has. One that was never built is left out.
pub(super) async fn catalog(
    engine: &Engine,
    shown: &Shown,
    project: &Project,
    relations: &BTreeMap<TableName, &str>,
    invocation: &Invocation,
) -> Result<Described> {
    let context = engine.session(shown.clone());
    let (mut nodes, mut sources) = (Map::new(), Map::new());
    for (name, unique_id) in relations.iter().filter(|(name, _)| shown.names().any(|known| known == *name)) {
        let (schema, snapshot) = match shown.snapshot(name).await? {
            Some(snapshot) => (snapshot.schema.clone(), Some(snapshot)),
            None => {
                let reference = TableReference::partial(name.schema.as_str(), name.name.as_str());
                let view = context.table_provider(reference).await;
                (view.map_err(|e| engine::error(&format!("reading {name}"), e))?.schema(), None)
            }
        };
        let (comment, columns) = match (project.nodes.get(*unique_id), project.sources.get(*unique_id)) {
            (Some(node), _) => (&node.description, node.columns.as_slice()),
            (None, Some(source)) => (&source.description, source.columns.as_slice()),
            (None, None) => continue,
        };
        let entry = json!({
            "metadata": {
                "type": if snapshot.is_some() { "BASE TABLE" } else { "VIEW" },
                "schema": name.schema,
                "name": name.name,
                "database": null,
                "comment": comment,
                "owner": null,
            },
            "columns": described_columns(&schema, columns),
            "stats": snapshot.map_or_else(|| json!({"has_stats": has_stats(false)}), |s| statistics(&s)),
            "unique_id": unique_id,
        });
        let section = if project.sources.contains_key(*unique_id) { &mut sources } else { &mut nodes };
        section.insert((*unique_id).to_owned(), entry);
    }
    let described = nodes.len() + sources.len();
    let artifact = json!({
        "metadata": invocation.metadata("catalog/v1"),
        "nodes": nodes,
        "sources": sources,
        "errors": null,
    });
    Ok(Described { artifact, described })
}

fn described_columns(schema: &Schema, docs: &[ColumnDoc]) -> Map<String, Value> {
    let comment = |name: &str| docs.iter().find(|doc| doc.name.eq_ignore_ascii_case(name)).map(|doc| &doc.description);
    let entries = schema.fields().iter().enumerate().map(|(at, field)| {
        let name = field.name();
        let entry =
            json!({"type": sql_type(field.data_type()), "index": at + 1, "name": name, "comment": comment(name)});
        (name.clone(), entry)
    });
    entries.collect()
}

fn has_stats(value: bool) -> Value {
    json!({
        "id": "has_stats",
        "label": "Has Stats?",
        "value": value,
        "include": false,
        "description": "Whether the log of the table tells its size",
    })
}

fn statistics(snapshot: &Snapshot) -> Value {
    let one = |id: &str, label: &str, value: Value, description: &str| {
        let include = !value.is_null();
        json!({"id": id, "label": label, "value": value, "include": include, "description": description})
    };
    let changed = snapshot.files.iter().map(|f| f.modified_ms).max().and_then(DateTime::from_timestamp_millis);
    json!({
        "num_rows": one("num_rows", "Rows", snapshot.rows().into(), "Rows of this version"),
        "num_bytes": one("num_bytes", "Bytes", snapshot.bytes().into(), "Size of the files of this version"),
        "num_files": one("num_files", "Files", snapshot.files.len().into(), "Files of this version"),
        "version": one("version", "Version", snapshot.version.into(), "Version of the Delta table"),
        "last_modified": one("last_modified", "Last changed", changed.map(time).into(), "When its newest file came"),
        "has_stats": has_stats(true),
    })
}

/// The type as SQL spells it.
fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            format!("{} UNSIGNED", sql_type(&signed(data_type)))
        }
        DataType::Float16 | DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => format!("DECIMAL({p}, {s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "VARBINARY".to_owned()
        }
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, None) => {
            "TIMESTAMP".to_owned()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "TIMESTAMP(9)".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("ARRAY<{}>", sql_type(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{} {}", f.name(), sql_type(f.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let types: Vec<String> = fields.iter().map(|f| sql_type(f.data_type())).collect();
                format!("MAP<{}>", types.join(", "))
            }
            other => format!("MAP<{}>", sql_type(other)),
        },
        DataType::Dictionary(_, value) => sql_type(value),
        other => other.to_string().to_uppercase(),
    }
}

fn signed(unsigned: &DataType) -> DataType {
    match unsigned {
        DataType::UInt8 => DataType::Int8,
        DataType::UInt16 => DataType::Int16,
        DataType::UInt32 => DataType::Int32,
        _ => DataType::Int64,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::Field;

    use super::*;

    #[test]
    fn types_are_spelled_as_sql_spells_them() {
        let item = Arc::new(Field::new("item", DataType::Decimal128(12, 2), true));
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![Field::new("at", time, true), Field::new("amounts", DataType::List(item), true)];
        let told = sql_type(&DataType::Struct(fields.into()));
        assert_eq!(told, "STRUCT<at TIMESTAMP WITH TIME ZONE, amounts ARRAY<DECIMAL(12, 2)>>");
        assert_eq!(sql_type(&DataType::UInt16), "SMALLINT UNSIGNED");
    }
}
