//! One node to the SQL that builds or tests it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use minijinja::Value;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::alignment;
use super::checks;
use super::config::Materialized;
use super::database::{Database, Remembering};
use super::load::at_entry;
use super::node::{Node, NodeKind, Source};
use super::properties::ColumnDoc;
use super::relation::{DATABASE, Relation};
use super::scope::{Phase, Scope};
use super::{Project, RunContext};
use crate::error::{Error, Place, Result, nearest};

/// The SQL of a node. That of a test selects the failing rows; a seed has none.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub sql: String,
    /// Changes exactly when what the node means changes: its SQL with every macro and variable in it, its
    /// configuration, or the content of a seed. The identity and the time of a run have no part in it.
    pub code_hash: String,
    raw: String,
}

impl Compiled {
    /// SQL that no file holds.
    pub fn of_text(sql: String) -> Compiled {
        Compiled { raw: sql.clone(), sql, code_hash: String::new() }
    }

    /// An error in the SQL, told where the user wrote what it is about.
    pub fn told_at_source(&self, error: Error, node: &Node) -> Error {
        let Some(generic) = node.test.as_ref().and_then(|test| test.generic.as_ref()) else {
            return self.told_in_template(error, node);
        };
        let names_column = generic.column.as_ref().is_some_and(|column| error.what().contains(column.as_str()));
        let place = generic.column_place.as_ref().filter(|_| names_column).unwrap_or(&generic.place);
        error.at(place.clone())
    }

    fn told_in_template(&self, error: Error, node: &Node) -> Error {
        let Some(place) = error.place().cloned() else { return error.context(&node.path) };
        let error = if error.what().contains("there is no table ") {
            error.hint("a model names another as {{ ref('…') }}, and a source as {{ source('…', '…') }}")
        } else {
            error
        };
        let (line, column) = alignment::source_position(&self.raw, &self.sql, place.line, place.column);
        let source = Place::in_text(&node.path, &self.raw, line, 1);
        let written = source.text.as_deref().unwrap_or("");
        let indent = written.len() - written.trim_start().len() + 1;
        let error = match (column, place.text) {
            (None, Some(made)) => error.detail(format!("in the compiled SQL: `{}`", made.trim())),
            _ => error,
        };
        error.at(Place { column: column.unwrap_or(indent), ..source })
    }
}

impl Project {
    pub fn compile(&self, unique_id: &str, run: &RunContext) -> Result<Compiled> {
        let node = self.nodes.get(unique_id).ok_or_else(|| {
            let error = Error::input(format!("there is no node `{unique_id}`"));
            match nearest(unique_id, self.nodes.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        })?;
        let mut hasher = Sha256::new();
        if let Some(unit) = &node.unit {
            hasher.update(format!("{unit:?}"));
            return Ok(Compiled { sql: String::new(), code_hash: hex(hasher), raw: String::new() });
        }
        hasher.update(node.config.meaning().to_string());
        if node.kind == NodeKind::Seed {
            let path = self.root.join(&node.path);
            let content = std::fs::read(&path)
                .map_err(|e| Error::outside(format!("cannot read {}", path.display())).because(e))?;
            hasher.update(content);
            return Ok(Compiled { sql: String::new(), code_hash: hex(hasher), raw: String::new() });
        }
        let run = &remembering(run);
        for is_incremental in [false, true] {
            let same = RunContext { is_incremental, database: run.database.clone(), ..RunContext::default() };
            hasher.update(self.sql(node, &same, DateTime::UNIX_EPOCH)?);
            if node.config.materialized != Materialized::Incremental {
                break;
            }
        }
        let sql = self.sql(node, run, self.shared.run_started_at)?;
        Ok(Compiled { sql, code_hash: hex(hasher), raw: node.raw.clone() })
    }

    pub(super) fn sql(&self, node: &Node, run: &RunContext, run_started_at: DateTime<Utc>) -> Result<String> {
        let mut queries = BTreeMap::new();
        for parent in node.depends_on.iter().filter_map(|id| self.nodes.get(id)) {
            let given = run.overrides.as_ref().is_some_and(|o| o.given.contains(&parent.unique_id));
            if parent.kind == NodeKind::Model && parent.config.materialized == Materialized::Ephemeral && !given {
                let whole = RunContext { is_incremental: false, ..run.clone() };
                queries.insert(parent.unique_id.clone(), self.sql(parent, &whole, run_started_at)?);
            }
        }
        let phase = Phase::Compile {
            index: self.index.clone(),
            run: run.clone(),
            depends_on: node.depends_on.iter().cloned().collect(),
            queries,
            database: run.database.clone(),
            graph: self.graph_value(),
        };
        let relation = Relation { schema: node.config.schema.clone(), name: node.config.alias.clone() };
        let mut scope = Scope::new(&self.shared, node.kind.resource(), &node.subject(&relation), phase);
        scope.run_started_at = run_started_at;
        let scope = Arc::new(scope);
        match node.test.as_ref().and_then(|test| test.generic.as_ref()) {
            Some(generic) => checks::sql(&self.jinja, &self.macros, &scope, generic)
                .map_err(|e| at_entry(e, &node.name, &generic.place)),
            None if node.kind == NodeKind::Snapshot => {
                // It stands among others in its file, at its own lines.
                Ok(self.jinja.render(&node.template(), &scope)?.trim().to_owned())
            }
            None => self.jinja.render(&node.template(), &scope),
        }
    }
}

impl Project {
    /// Nodes and sources as templates see them, under `graph`.
    pub(super) fn graph_value(&self) -> Value {
        let nodes = self.nodes.values().map(|node| (node.unique_id.clone(), of_node(node)));
        let sources = self.sources.values().map(|source| (source.unique_id.clone(), of_source(source)));
        let made = || {
            Value::from_serialize(json!({
                "nodes": nodes.collect::<Map<_, _>>(),
                "sources": sources.collect::<Map<_, _>>(),
                "exposures": {},
                "metrics": {},
            }))
        };
        self.graph_shown.get_or_init(made).clone()
    }
}

/// What a query answers is asked once, however often a template is rendered.
pub(super) fn remembering(run: &RunContext) -> RunContext {
    let database = run.database.clone().map(|database| Arc::new(Remembering::new(database)) as Arc<dyn Database>);
    RunContext { database, ..run.clone() }
}

fn columns(columns: &[ColumnDoc]) -> Map<String, Json> {
    let entry = |c: &ColumnDoc| (c.name.clone(), json!({"name": c.name, "description": c.description}));
    columns.iter().map(entry).collect()
}

fn of_node(node: &Node) -> Json {
    let relation = Relation { schema: node.config.schema.clone(), name: node.config.alias.clone() };
    json!({
        "unique_id": node.unique_id,
        "name": node.name,
        "resource_type": node.kind.as_str(),
        "package_name": node.fqn.first(),
        "original_file_path": node.path,
        "path": node.path,
        "fqn": node.fqn,
        "database": DATABASE,
        "schema": node.config.schema,
        "alias": node.config.alias,
        "relation_name": relation.to_string(),
        "config": node.config.given,
        "tags": node.config.tags,
        "meta": node.config.meta,
        "description": node.description,
        "columns": columns(&node.columns),
        "depends_on": {"nodes": node.depends_on, "macros": node.macros},
        "raw_code": node.raw,
    })
}

fn of_source(source: &Source) -> Json {
    let relation = Relation { schema: source.schema.clone(), name: source.identifier.clone() };
    json!({
        "unique_id": source.unique_id,
        "name": source.name,
        "source_name": source.source_name,
        "resource_type": "source",
        "package_name": source.fqn.first(),
        "original_file_path": source.path,
        "fqn": source.fqn,
        "database": DATABASE,
        "schema": source.schema,
        "identifier": source.identifier,
        "relation_name": relation.to_string(),
        "tags": source.tags,
        "meta": source.meta,
        "description": source.description,
        "columns": columns(&source.columns),
    })
}

fn hex(hasher: Sha256) -> String {
    format!("{:x}", hasher.finalize())
}
