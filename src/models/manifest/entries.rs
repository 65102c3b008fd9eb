//! One resource of a project, one entry of the manifest.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::models::checks;
use crate::models::exposure::{Exposure, Group, Owner};
use crate::models::graph::Dependency;
use crate::models::properties::{Age, Freshness};
use crate::models::{ColumnDoc, Constraint, Materialized, Node, NodeKind, Project, Relation, Source, Test};

pub(super) struct Entries<'a> {
    pub project: &'a Project,
    pub compiled: &'a BTreeMap<String, String>,
    pub created_at: DateTime<Utc>,
    /// The columns that tests say are a key, as dbt infers it: unique and never null.
    keys: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Entries<'a> {
    pub fn new(project: &'a Project, compiled: &'a BTreeMap<String, String>, created_at: DateTime<Utc>) -> Self {
        let tested = |name: &str| -> Vec<(&'a str, &'a str)> {
            let tests = project.nodes.values().filter_map(|node| node.test.as_ref());
            let of = |test: &'a Test| {
                let generic = test.generic.as_ref().filter(|generic| generic.name == name)?;
                Some((test.attached_node.as_deref()?, generic.column.as_deref()?))
            };
            tests.filter_map(of).collect()
        };
        let never_null: BTreeSet<_> = tested("not_null").into_iter().collect();
        let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, column) in tested("unique").into_iter().filter(|key| never_null.contains(key)) {
            keys.entry(node).or_default().push(column);
        }
        Entries { project, compiled, created_at, keys }
    }

    pub fn node(&self, node: &Node) -> Value {
        let compiled = self.compiled.get(&node.unique_id);
        let relation = Relation { schema: node.config.schema.clone(), name: node.config.alias.clone() };
        let has_relation = node.kind != NodeKind::Test && node.config.materialized != Materialized::Ephemeral;
        let mut entry = self.head(node.kind.as_str(), &node.name, &node.unique_id, &node.fqn, &node.path);
        let file_name = match node.test.as_ref().and_then(|test| test.generic.as_ref()) {
            Some(_) => format!("{}.sql", node.name),
            None => inside(&node.fqn, &node.path),
        };
        extend(
            &mut entry,
            json!({
                "path": file_name,
                "database": null,
                "schema": node.config.schema,
                "alias": node.config.alias,
                "checksum": self.checksum(node),
                "config": config(node),
                "tags": node.config.tags,
                "description": node.description,
                "columns": columns(&node.columns),
                "meta": node.config.meta,
                "group": node.config.group,
                "docs": {"show": true, "node_color": null},
                "patch_path": node.patch.as_ref().map(|file| format!("{}://{file}", self.project.name)),
                "build_path": null,
                "unrendered_config": node.written,
                "created_at": self.seconds(),
                "relation_name": has_relation.then(|| relation.to_string()),
                "raw_code": node.raw,
                "doc_blocks": [],
            }),
        );
        let depends_on = json!({"macros": node.macros, "nodes": node.depends_on});
        if node.kind == NodeKind::Seed {
            extend(&mut entry, json!({"root_path": self.project.root, "depends_on": {"macros": []}}));
            return Value::Object(entry);
        }
        extend(
            &mut entry,
            json!({
                "language": "sql",
                "refs": refs(&node.names),
                "sources": sources(&node.names),
                "metrics": [],
                "depends_on": depends_on,
                "compiled_path": compiled.map(|_| self.compiled_path(node)),
                "compiled": compiled.is_some(),
                "compiled_code": compiled,
                "extra_ctes_injected": compiled.is_some(),
                "extra_ctes": [],
                "contract": {"enforced": node.config.contract, "alias_types": true, "checksum": null},
            }),
        );
        if node.kind == NodeKind::Model {
            extend(
                &mut entry,
                json!({
                    "access": node.config.access.as_str(),
                    "constraints": constraints(&node.constraints, true),
                    "version": null,
                    "latest_version": null,
                    "deprecation_date": null,
                    "primary_key": self.keys.get(node.unique_id.as_str()).cloned().unwrap_or_default(),
                    "time_spine": null,
                }),
            );
        }
        if let Some(test) = &node.test
            && let Some(generic) = &test.generic
        {
            let mut arguments = generic.arguments.clone();
            arguments.extend(generic.column.iter().map(|column| ("column_name".to_owned(), column.clone().into())));
            arguments.insert("model".into(), format!("{{{{ get_where_subquery({}) }}}}", generic.subject).into());
            let section = if test.attached_node.as_deref().is_some_and(|id| id.starts_with("source.")) {
                "sources"
            } else {
                "models"
            };
            extend(
                &mut entry,
                json!({
                    "test_metadata": {"name": generic.name, "kwargs": arguments, "namespace": null},
                    "column_name": generic.column,
                    "file_key_name": format!("{section}.{}", generic.subject.plain()),
                    "attached_node": test.attached_node,
                }),
            );
        }
        Value::Object(entry)
    }

    pub fn source(&self, source: &Source) -> Value {
        let mut entry = self.head("source", &source.name, &source.unique_id, &source.fqn, &source.path);
        let relation = Relation { schema: source.schema.clone(), name: source.identifier.clone() };
        let freshness = source.freshness.as_ref().map(freshness);
        extend(
            &mut entry,
            json!({
                "path": source.path,
                "database": null,
                "schema": source.schema,
                "source_name": source.source_name,
                "source_description": source.source_description,
                "loader": "",
                "identifier": source.identifier,
                "quoting": {"database": null, "schema": null, "identifier": null, "column": null},
                "loaded_at_field": source.loaded_at_field,
                "loaded_at_query": source.loaded_at_query,
                "freshness": freshness,
                "external": null,
                "description": source.description,
                "columns": columns(&source.columns),
                "meta": source.meta,
                "source_meta": {},
                "tags": source.tags,
                "config": {
                    "enabled": true,
                    "event_time": null,
                    "freshness": freshness,
                    "loaded_at_field": source.loaded_at_field,
                    "loaded_at_query": source.loaded_at_query,
                    "meta": source.meta,
                    "tags": source.tags,
                },
                "patch_path": null,
                "unrendered_config": {},
                "relation_name": relation.to_string(),
                "created_at": self.seconds(),
                "doc_blocks": [],
            }),
        );
        Value::Object(entry)
    }

    pub fn exposure(&self, exposure: &Exposure) -> Value {
        let mut entry = self.head("exposure", &exposure.name, &exposure.unique_id, &exposure.fqn, &exposure.path);
        extend(
            &mut entry,
            json!({
                "path": exposure.path,
                "type": exposure.kind,
                "owner": owner(&exposure.owner),
                "description": exposure.description,
                "label": exposure.label,
                "maturity": exposure.maturity,
                "meta": exposure.meta,
                "tags": exposure.tags,
                "config": {"enabled": true, "tags": exposure.tags, "meta": exposure.meta},
                "unrendered_config": {},
                "url": exposure.url,
                "depends_on": {"macros": [], "nodes": exposure.depends_on},
                "refs": refs(&exposure.names),
                "sources": sources(&exposure.names),
                "metrics": [],
                "created_at": self.seconds(),
            }),
        );
        Value::Object(entry)
    }

    pub fn group(&self, group: &Group) -> Value {
        json!({
            "name": group.name,
            "resource_type": "group",
            "package_name": self.project.name,
            "path": group.path,
            "original_file_path": group.path,
            "unique_id": group.unique_id,
            "owner": owner(&group.owner),
            "description": group.description,
            "config": {"meta": group.meta},
        })
    }

    pub fn macros(&self) -> Map<String, Value> {
        let described = &self.project.described_macros;
        let entries = self.project.macros.all(&self.project.jinja).map(|known| {
            let described = described.get(known.name);
            let entry = json!({
                "name": known.name,
                "resource_type": "macro",
                "package_name": known.unique_id.split('.').nth(1),
                "path": known.path,
                "original_file_path": known.path,
                "unique_id": known.unique_id,
                "macro_sql": known.text,
                "depends_on": {"macros": known.calls},
                "description": described.map_or("", |d| d.description.as_str()),
                "meta": {},
                "docs": {"show": true, "node_color": null},
                "patch_path": described.map(|d| format!("{}://{}", self.project.name, d.place.file)),
                "arguments": described.map_or(json!([]), |d| d.arguments.clone().into()),
                "created_at": self.seconds(),
                "supported_languages": null,
            });
            (known.unique_id.to_owned(), entry)
        });
        entries.collect()
    }

    pub fn docs(&self) -> Map<String, Value> {
        let entries = self.project.docs.iter().map(|block| {
            let unique_id = format!("doc.{}.{}", self.project.name, block.name);
            let entry = json!({
                "name": block.name,
                "resource_type": "doc",
                "package_name": self.project.name,
                "path": block.path,
                "original_file_path": block.path,
                "unique_id": unique_id,
                "block_contents": block.text,
            });
            (unique_id, entry)
        });
        entries.collect()
    }

    pub(super) fn head(
        &self,
        kind: &str,
        name: &str,
        unique_id: &str,
        fqn: &[String],
        path: &str,
    ) -> Map<String, Value> {
        let mut entry = Map::new();
        extend(
            &mut entry,
            json!({
                "name": name,
                "resource_type": kind,
                "package_name": self.project.name,
                "original_file_path": path,
                "unique_id": unique_id,
                "fqn": fqn,
            }),
        );
        entry
    }

    pub(super) fn seconds(&self) -> f64 {
        self.created_at.timestamp_micros() as f64 / 1e6
    }

    fn compiled_path(&self, node: &Node) -> String {
        let path = self.project.compiled_path(node);
        let shown = path.strip_prefix(&self.project.root).unwrap_or(&path);
        shown.display().to_string()
    }

    /// What tells whether the text of a node is another one.
    fn checksum(&self, node: &Node) -> Value {
        let content = match node.kind {
            NodeKind::Seed => std::fs::read_to_string(self.project.root.join(&node.path)).unwrap_or_default(),
            _ if node.test.as_ref().is_some_and(|test| test.generic.is_some()) => {
                return json!({"name": "none", "checksum": ""});
            }
            _ => node.raw.clone(),
        };
        json!({"name": "sha256", "checksum": checks::digest(content.trim())})
    }
}

/// Below the folder that holds resources of this kind.
fn inside(fqn: &[String], path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let folders = fqn.get(1..fqn.len().saturating_sub(1)).unwrap_or_default();
    folders.iter().map(String::as_str).chain([file]).collect::<Vec<_>>().join("/")
}

pub(super) fn extend(entry: &mut Map<String, Value>, with: Value) {
    if let Value::Object(with) = with {
        entry.extend(with);
    }
}

/// The configuration with what dbt takes for granted, under what was given.
fn config(node: &Node) -> Value {
    let mut config = Map::new();
    extend(
        &mut config,
        json!({
            "enabled": true,
            "alias": null,
            "schema": null,
            "database": null,
            "tags": [],
            "meta": {},
            "group": null,
            "materialized": null,
        }),
    );
    if node.kind == NodeKind::Test {
        extend(
            &mut config,
            json!({
                "severity": "ERROR",
                "store_failures": null,
                "store_failures_as": null,
                "where": null,
                "limit": null,
                "fail_calc": "count(*)",
                "warn_if": "!= 0",
                "error_if": "!= 0",
            }),
        );
    } else {
        extend(
            &mut config,
            json!({
                "incremental_strategy": null,
                "persist_docs": {},
                "post-hook": [],
                "pre-hook": [],
                "quoting": {},
                "column_types": {},
                "full_refresh": null,
                "unique_key": null,
                "on_schema_change": "ignore",
                "on_configuration_change": "apply",
                "grants": {},
                "packages": [],
                "docs": {"show": true, "node_color": null},
                "contract": {"enforced": false, "alias_types": true},
                "event_time": null,
            }),
        );
    }
    match node.kind {
        NodeKind::Model => extend(&mut config, json!({"access": "protected"})),
        NodeKind::Seed => extend(&mut config, json!({"delimiter": ",", "quote_columns": null})),
        NodeKind::Snapshot => extend(
            &mut config,
            json!({
                "strategy": null,
                "target_schema": null,
                "target_database": null,
                "updated_at": null,
                "check_cols": null,
                "snapshot_meta_column_names": {},
                "dbt_valid_to_current": null,
            }),
        ),
        NodeKind::Test | NodeKind::UnitTest => {}
    }
    config.extend(node.config.given.clone());
    // One text is a list of one, here and in what dbt writes.
    config.insert("tags".into(), node.config.tags.clone().into());
    Value::Object(config)
}

fn columns(columns: &[ColumnDoc]) -> Map<String, Value> {
    let entry = |column: &ColumnDoc| {
        json!({
            "name": column.name,
            "description": column.description,
            "meta": column.meta,
            "data_type": column.data_type,
            "constraints": constraints(&column.constraints, false),
            "quote": column.quote.then_some(true),
            "config": {"meta": column.meta, "tags": column.tags},
            "tags": column.tags,
            "granularity": null,
            "doc_blocks": [],
        })
    };
    columns.iter().map(|column| (column.name.clone(), entry(column))).collect()
}

/// Those of a model name their columns; those of a column stand at it.
fn constraints(constraints: &[Constraint], of_model: bool) -> Vec<Value> {
    let entry = |constraint: &Constraint| {
        let mut entry = json!({
            "type": constraint.kind.as_str(),
            "name": constraint.name,
            "expression": constraint.expression,
            "warn_unenforced": true,
            "warn_unsupported": true,
            "to": null,
            "to_columns": [],
        });
        if of_model && let Value::Object(entry) = &mut entry {
            entry.insert("columns".into(), constraint.columns.clone().into());
        }
        entry
    };
    constraints.iter().map(entry).collect()
}

fn refs(names: &[Dependency]) -> Vec<Value> {
    let refs = names.iter().filter_map(|name| match name {
        Dependency::Ref(name) => Some(json!({"name": name, "package": null, "version": null})),
        Dependency::RefTo(package, name) => Some(json!({"name": name, "package": package, "version": null})),
        Dependency::Source(..) => None,
    });
    refs.collect()
}

fn sources(names: &[Dependency]) -> Vec<[&str; 2]> {
    let sources = names.iter().filter_map(|name| match name {
        Dependency::Ref(_) | Dependency::RefTo(..) => None,
        Dependency::Source(source, table) => Some([source.as_str(), table.as_str()]),
    });
    sources.collect()
}

fn owner(owner: &Owner) -> Value {
    let mut entry = owner.more.clone();
    entry.insert("name".into(), owner.name.clone().into());
    entry.insert("email".into(), owner.email.clone());
    Value::Object(entry)
}

fn freshness(freshness: &Freshness) -> Value {
    let age = |age: Option<Age>| match age {
        None => json!({"count": null, "period": null}),
        Some(Age { count, period }) => json!({"count": count, "period": period.as_str()}),
    };
    json!({
        "warn_after": age(freshness.warn_after),
        "error_after": age(freshness.error_after),
        "filter": freshness.filter,
    })
}
