//! The lineage of columns: for each column of a model, which columns of its inputs its values are made of.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Shown;
use crate::engine::lineage::origins;
use crate::engine::sql::{self, Text};
use crate::engine::{self, Engine};
use crate::error::Result;
use crate::lake::TableName;
use crate::models::artifact::Invocation;
use crate::models::{Node, NodeKind, Project};

/// The artifact. A model whose query cannot be planned, as while its inputs are not built, has no entry.
pub(super) async fn lineage(
    engine: &Engine,
    shown: &Shown,
    project: &Project,
    relations: &BTreeMap<TableName, &str>,
    compiled: &BTreeMap<String, String>,
    invocation: &Invocation,
) -> Value {
    let mut nodes = Map::new();
    for node in project.nodes.values().filter(|n| n.kind == NodeKind::Model) {
        let Some(sql) = compiled.get(&node.unique_id) else { continue };
        match of_query(engine, shown, relations, node, sql).await {
            Ok(columns) => drop(nodes.insert(node.unique_id.clone(), columns)),
            Err(e) => tracing::debug!("no lineage of the columns of {}: {e}", node.name),
        }
    }
    json!({"metadata": invocation.metadata("column-lineage/v1"), "nodes": nodes})
}

async fn of_query(
    engine: &Engine,
    shown: &Shown,
    relations: &BTreeMap<TableName, &str>,
    node: &Node,
    sql: &str,
) -> Result<Value> {
    let context = engine.session(shown.clone());
    let plan = sql::query(&context, Text { file: &node.path, text: sql }).await?.into_unoptimized_plan();
    let found = origins(&plan, &|name| relations.contains_key(name))
        .map_err(|e| engine::error(&format!("the lineage of {}", node.name), e))?;
    let fields = plan.schema().fields();
    let columns = fields.iter().zip(found).map(|(field, origins)| {
        let from = origins.iter().filter_map(|(table, column)| {
            let unique_id = relations.get(table)?;
            Some(json!({"node": unique_id, "column": column}))
        });
        (field.name().clone(), json!({"from": from.collect::<Vec<_>>()}))
    });
    Ok(Value::Object(columns.collect()))
}
