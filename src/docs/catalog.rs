//! dbt's catalog.json, version 1: the tables and views that are there, with the types of their columns and their sizes.

use std::collections::BTreeMap;

use chrono::DateTime;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::TableReference;
use serde_json::{Map, Value, json};

use super::{Described, Shown};
use crate::engine::types::sql_type;
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
