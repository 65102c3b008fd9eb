//! The configuration of nodes: which keys there are, what they may hold, and how the layers of project, properties
//! and file fold into one.
//!
//! Every value is checked in the layer it comes from, where its place is known; resolving a checked layer then only
//! has to look at how keys fit together.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::problem::Problem;
use super::snapshot::SnapshotConfig;
use super::yaml::describe;

/// Checked entries of one or more places, not yet completed by defaults.
pub type Layer = Map<String, Value>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Model,
    Seed,
    Snapshot,
    Source,
    Test,
    UnitTest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Materialized {
    View,
    Table,
    Incremental,
    /// Not a table: its query stands in the queries of those who name it.
    Ephemeral,
}

/// How the rows of an incremental model come into its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    Append,
    Merge,
    DeleteInsert,
    InsertOverwrite,
    Changes,
}

/// What an incremental model does when its query has other columns than its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaChange {
    Ignore,
    Fail,
    AppendNewColumns,
    SyncAllColumns,
}

/// Who may build on a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// The models of its group.
    Private,
    /// The models of its project.
    #[default]
    Protected,
    Public,
}

impl Access {
    pub const WORDS: [&str; 3] = ["private", "protected", "public"];

    pub fn as_str(self) -> &'static str {
        match self {
            Access::Private => "private",
            Access::Protected => "protected",
            Access::Public => "public",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warn,
}

/// The finished configuration of a model, a seed or a snapshot.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub enabled: bool,
    pub materialized: Materialized,
    /// The schema that the relation is in, as the macro `generate_schema_name` has it.
    pub schema: String,
    /// The name of the relation, as the macro `generate_alias_name` has it.
    pub alias: String,
    pub unique_key: Vec<String>,
    /// For an incremental model.
    pub strategy: Strategy,
    /// The columns whose values say which rows a change touches; for the strategy `changes`.
    pub recompute_by: Vec<String>,
    /// By input, spelled as its ref or as `source.table`: the target's columns, each with the input's column.
    pub inputs: BTreeMap<String, BTreeMap<String, String>>,
    /// The columns that tell which rows `insert_overwrite` replaces.
    pub partition_by: Vec<String>,
    pub on_schema_change: SchemaChange,
    /// If any, the only columns that a merge changes in a row that is there.
    pub merge_update_columns: Vec<String>,
    /// The columns that a merge leaves alone in a row that is there.
    pub merge_exclude_columns: Vec<String>,
    /// Whether to build from all rows, whatever the command line says.
    pub full_refresh: Option<bool>,
    pub tags: Vec<String>,
    pub meta: Map<String, Value>,
    pub group: Option<String>,
    pub access: Access,
    /// Whether the columns have to be as they are declared.
    pub contract: bool,
    /// How a seed's file is to be read.
    pub delimiter: String,
    pub quote_columns: bool,
    pub column_types: BTreeMap<String, String>,
    /// Present exactly if the node is a snapshot.
    pub snapshot: Option<SnapshotConfig>,
    /// Every entry as it was given, for `config.get` and the selector `config:`.
    pub given: Layer,
}

/// The finished configuration of a data test.
#[derive(Debug, Clone)]
pub struct TestConfig {
    pub severity: Severity,
    pub warn_if: String,
    pub error_if: String,
    pub fail_calc: String,
    pub limit: Option<u64>,
    /// Restricts the tested relation; already part of the compiled SQL.
    pub condition: Option<String>,
    /// Whether the failing rows are kept as a table.
    pub stores_failures: bool,
}

enum Shape {
    Flag,
    Count,
    Text,
    Texts,
    Map,
    TextMap,
    /// Maps of texts by input.
    Inputs,
    /// Whether a contract is enforced.
    Contract,
    OneOf(&'static [&'static str]),
}

const MODEL: &[(&str, Shape)] = &[
    ("enabled", Shape::Flag),
    ("materialized", Shape::OneOf(&["view", "table", "incremental", "ephemeral"])),
    ("schema", Shape::Text),
    ("alias", Shape::Text),
    ("unique_key", Shape::Texts),
    ("incremental_strategy", Shape::OneOf(&["append", "merge", "delete+insert", "insert_overwrite", "changes"])),
    ("recompute_by", Shape::Texts),
    ("inputs", Shape::Inputs),
    ("partition_by", Shape::Texts),
    ("merge_update_columns", Shape::Texts),
    ("merge_exclude_columns", Shape::Texts),
    ("full_refresh", Shape::Flag),
    ("on_schema_change", Shape::OneOf(&["ignore", "fail", "append_new_columns", "sync_all_columns"])),
    ("tags", Shape::Texts),
    ("meta", Shape::Map),
    ("group", Shape::Text),
    ("access", Shape::OneOf(&Access::WORDS)),
    ("contract", Shape::Contract),
];
const SEED: &[(&str, Shape)] = &[
    ("enabled", Shape::Flag),
    ("schema", Shape::Text),
    ("alias", Shape::Text),
    ("delimiter", Shape::Text),
    ("quote_columns", Shape::Flag),
    ("column_types", Shape::TextMap),
    ("tags", Shape::Texts),
    ("meta", Shape::Map),
    ("group", Shape::Text),
];
const SNAPSHOT: &[(&str, Shape)] = &[
    ("enabled", Shape::Flag),
    ("materialized", Shape::OneOf(&["snapshot"])),
    ("schema", Shape::Text),
    ("target_schema", Shape::Text),
    ("alias", Shape::Text),
    ("strategy", Shape::OneOf(&["timestamp", "check"])),
    ("unique_key", Shape::Texts),
    ("updated_at", Shape::Text),
    ("check_cols", Shape::Texts),
    ("hard_deletes", Shape::OneOf(&["ignore", "invalidate", "new_record"])),
    ("invalidate_hard_deletes", Shape::Flag),
    ("dbt_valid_to_current", Shape::Text),
    ("snapshot_meta_column_names", Shape::TextMap),
    ("tags", Shape::Texts),
    ("meta", Shape::Map),
];
const SOURCE: &[(&str, Shape)] = &[("enabled", Shape::Flag), ("tags", Shape::Texts), ("meta", Shape::Map)];
const TEST: &[(&str, Shape)] = &[
    ("enabled", Shape::Flag),
    ("severity", Shape::OneOf(&["error", "warn", "ERROR", "WARN", "Error", "Warn"])),
    ("warn_if", Shape::Text),
    ("error_if", Shape::Text),
    ("fail_calc", Shape::Text),
    ("limit", Shape::Count),
    ("where", Shape::Text),
    ("store_failures", Shape::Flag),
    ("store_failures_as", Shape::OneOf(&["table", "view", "ephemeral"])),
    ("tags", Shape::Texts),
    ("meta", Shape::Map),
    ("group", Shape::Text),
];

/// Keys of dbt that nothing here answers to.
const UNSUPPORTED: &[&str] = &[
    "batch_size",
    "begin",
    "catalog_name",
    "concurrent_batches",
    "database",
    "docs",
    "event_time",
    "grants",
    "incremental_predicates",
    "lookback",
    "packages",
    "persist_docs",
    "post-hook",
    "post_hook",
    "pre-hook",
    "pre_hook",
    "quoting",
    "sql_header",
    "static_analysis",
];

fn keys(resource: Resource) -> &'static [(&'static str, Shape)] {
    match resource {
        Resource::Model => MODEL,
        Resource::Seed => SEED,
        Resource::Snapshot => SNAPSHOT,
        Resource::Source | Resource::UnitTest => SOURCE,
        Resource::Test => TEST,
    }
}

pub fn is_known(resource: Resource, key: &str) -> bool {
    keys(resource).iter().any(|(name, _)| *name == key) || UNSUPPORTED.contains(&key)
}

/// Whether a key beside a test's arguments is configuration and not an argument.
pub fn is_test_setting(key: &str) -> bool {
    TEST.iter().any(|(name, _)| *name == key)
}

/// Checks one entry by itself. An empty value is allowed everywhere and takes the key back.
pub fn check(resource: Resource, key: &str, value: &Value) -> Result<(), Problem> {
    let known = keys(resource);
    let Some((_, shape)) = known.iter().find(|(name, _)| *name == key) else {
        if UNSUPPORTED.contains(&key) {
            return Err(Problem::unsupported(format!("the configuration `{key}`")));
        }
        let problem = Problem::unknown("configuration", key, known.iter().map(|(name, _)| *name));
        let names = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(if problem.has_hint() { problem } else { problem.hint(format!("there are {names}")) });
    };
    if key == "incremental_strategy" && value == "microbatch" {
        return Err(Problem::unsupported("the incremental strategy `microbatch`"));
    }
    if key == "store_failures_as" && value == "view" {
        let problem = Problem::unsupported("`store_failures_as: view`");
        return Err(problem.hint("failing rows may never be published, so that no view could show them: use table"));
    }
    match shape.expects(value) {
        None => Ok(()),
        Some(expected) => {
            let problem = Problem::new(format!("`{key}` should be {expected}, but it is {}", describe(value)));
            Err(match (shape, value) {
                (Shape::OneOf(words), Value::String(word)) => problem.nearest(word, words.iter().copied()),
                _ => problem,
            })
        }
    }
}

fn is_text_map(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(Value::is_string))
}

impl Shape {
    /// What was expected, if the value is not that.
    fn expects(&self, value: &Value) -> Option<String> {
        if value.is_null() {
            return None;
        }
        let (fits, expected) = match self {
            Shape::Flag => (value.is_boolean(), "true or false"),
            Shape::Count => (value.is_u64(), "a whole number that is not negative"),
            Shape::Text => (value.is_string(), "a text"),
            Shape::Texts => {
                let list = value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
                (value.is_string() || list, "a text or a list of texts")
            }
            Shape::Map => (value.is_object(), "a map"),
            Shape::TextMap => (is_text_map(value), "a map of texts"),
            Shape::Inputs => {
                let maps = value.as_object().is_some_and(|map| map.values().all(is_text_map));
                (maps, "a map of inputs, each a map {target column: input column}")
            }
            Shape::Contract => {
                let known = |(key, value): (&String, &Value)| {
                    ["enforced", "alias_types"].contains(&key.as_str()) && value.is_boolean()
                };
                (value.as_object().is_some_and(|map| map.iter().all(known)), "a map, as in {enforced: true}")
            }
            Shape::OneOf(words) => {
                let fits = value.as_str().is_some_and(|word| words.contains(&word));
                let lower = words.iter().filter(|w| w.chars().all(|c| !c.is_uppercase())).copied();
                return (!fits).then(|| format!("one of {}", lower.collect::<Vec<_>>().join(", ")));
            }
        };
        (!fits).then(|| expected.to_owned())
    }
}

/// Lays one entry over the layer: tags add up, meta is merged key by key, anything else replaces what was there. An
/// empty value stays, so that it takes back what lower layers say.
pub fn merge_entry(layer: &mut Layer, key: &str, value: Value) {
    let value = match (key, layer.remove(key), value) {
        (_, _, Value::Null) => Value::Null,
        ("tags", before, value) => {
            let mut tags = before.as_ref().map(texts).unwrap_or_default();
            tags.extend(texts(&value));
            let mut seen = std::collections::BTreeSet::new();
            tags.retain(|tag| seen.insert(tag.clone()));
            tags.into()
        }
        ("meta", Some(Value::Object(mut before)), Value::Object(over)) => {
            before.extend(over);
            Value::Object(before)
        }
        (_, _, value) => value,
    };
    layer.insert(key.to_owned(), value);
}

pub fn merge(layer: &mut Layer, over: Layer) {
    for (key, value) in over {
        merge_entry(layer, &key, value);
    }
}

pub fn is_enabled(layer: &Layer) -> bool {
    layer.get("enabled").and_then(Value::as_bool).unwrap_or(true)
}

pub fn text(layer: &Layer, key: &str) -> Option<String> {
    layer.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// A text, or the texts of a list.
pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(s) => vec![s.clone()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

pub fn text_map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

impl NodeConfig {
    /// Completes a checked layer; `schema` and `alias` are the final ones.
    pub fn resolve(mut given: Layer, resource: Resource, schema: String, alias: String) -> Result<Self, Problem> {
        let standard = match resource {
            Resource::Model => "view",
            Resource::Seed => "seed",
            Resource::Snapshot => "snapshot",
            Resource::Source => "source",
            Resource::Test => "test",
            Resource::UnitTest => "unit",
        };
        given.retain(|_, value| !value.is_null());
        given.entry("materialized").or_insert_with(|| standard.into());
        given.entry("enabled").or_insert(Value::Bool(true));
        let get_texts = |key: &str| given.get(key).map(texts).unwrap_or_default();
        let materialized = match given.get("materialized").and_then(Value::as_str) {
            Some("view") => Materialized::View,
            Some("incremental") => Materialized::Incremental,
            Some("ephemeral") => Materialized::Ephemeral,
            _ => Materialized::Table,
        };
        let unique_key = get_texts("unique_key");
        let strategy = match given.get("incremental_strategy").and_then(Value::as_str) {
            Some("changes") => Strategy::Changes,
            Some("delete+insert") => Strategy::DeleteInsert,
            Some("insert_overwrite") => Strategy::InsertOverwrite,
            // Where nothing tells rows apart, a merge adds them all.
            Some("append") => Strategy::Append,
            _ if unique_key.is_empty() => Strategy::Append,
            _ => Strategy::Merge,
        };
        let on_schema_change = match given.get("on_schema_change").and_then(Value::as_str) {
            Some("fail") => SchemaChange::Fail,
            Some("append_new_columns") => SchemaChange::AppendNewColumns,
            Some("sync_all_columns") => SchemaChange::SyncAllColumns,
            _ => SchemaChange::Ignore,
        };
        let snapshot = (resource == Resource::Snapshot).then(|| SnapshotConfig::resolve(&given)).transpose()?;
        let inputs = given.get("inputs").and_then(Value::as_object).into_iter().flatten();
        let config = NodeConfig {
            enabled: is_enabled(&given),
            materialized,
            schema,
            alias,
            unique_key,
            strategy,
            recompute_by: get_texts("recompute_by"),
            inputs: inputs.map(|(input, columns)| (input.clone(), text_map(columns))).collect(),
            partition_by: get_texts("partition_by"),
            on_schema_change,
            merge_update_columns: get_texts("merge_update_columns"),
            merge_exclude_columns: get_texts("merge_exclude_columns"),
            full_refresh: given.get("full_refresh").and_then(Value::as_bool),
            tags: get_texts("tags"),
            meta: given.get("meta").and_then(Value::as_object).cloned().unwrap_or_default(),
            group: text(&given, "group"),
            contract: given.get("contract").and_then(|c| c.get("enforced")).and_then(Value::as_bool).unwrap_or(false),
            access: match given.get("access").and_then(Value::as_str) {
                Some("private") => Access::Private,
                Some("public") => Access::Public,
                _ => Access::Protected,
            },
            delimiter: text(&given, "delimiter").unwrap_or_else(|| ",".to_owned()),
            quote_columns: given.get("quote_columns").and_then(Value::as_bool).unwrap_or(false),
            column_types: given.get("column_types").map(text_map).unwrap_or_default(),
            snapshot,
            given,
        };
        config.fits()?;
        Ok(config)
    }

    /// Checks how the keys fit together.
    fn fits(&self) -> Result<(), Problem> {
        if self.delimiter.chars().count() != 1 || !self.delimiter.is_ascii() {
            return Err(Problem::new(format!(
                "`delimiter` should be one ASCII character, but it is {:?}",
                self.delimiter
            )));
        }
        if self.materialized != Materialized::Incremental {
            return Ok(());
        }
        match text(&self.given, "incremental_strategy").as_deref() {
            Some("changes") if self.recompute_by.is_empty() => Err(Problem::new(
                "the incremental strategy `changes` needs `recompute_by`",
            )
            .hint("name the columns whose values say which rows a change touches, as in recompute_by='call_id'")),
            Some("changes") => Ok(()),
            strategy if !self.recompute_by.is_empty() || !self.inputs.is_empty() => {
                let key = if self.recompute_by.is_empty() { "inputs" } else { "recompute_by" };
                let has = strategy.map_or("none is set".to_owned(), |s| format!("it is `{s}`"));
                Err(Problem::new(format!("`{key}` belongs to the incremental strategy `changes`, but {has}"))
                    .hint("set incremental_strategy='changes'"))
            }
            Some("delete+insert") if self.unique_key.is_empty() => {
                Err(Problem::new("the incremental strategy `delete+insert` needs `unique_key`"))
            }
            _ if !self.merge_update_columns.is_empty() && !self.merge_exclude_columns.is_empty() => {
                Err(Problem::new("`merge_update_columns` and `merge_exclude_columns` exclude each other"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a merge leaves columns of a row that is there as they are.
    pub fn merges_in_part(&self) -> bool {
        !self.merge_update_columns.is_empty() || !self.merge_exclude_columns.is_empty()
    }

    pub fn updates_on_merge(&self, column: &str) -> bool {
        let among = |columns: &[String]| columns.iter().any(|c| c == column);
        match self.merge_update_columns.is_empty() {
            true => !among(&self.merge_exclude_columns),
            false => among(&self.merge_update_columns) || among(&self.unique_key),
        }
    }

    /// The entries that change what a build makes of the query.
    pub fn meaning(&self) -> Value {
        serde_json::json!({
            "materialized": format!("{:?}", self.materialized),
            "unique_key": self.unique_key,
            "strategy": format!("{:?}", self.strategy),
            "recompute_by": self.recompute_by,
            "inputs": self.inputs,
            "partition_by": self.partition_by,
            "delimiter": self.delimiter,
            "quote_columns": self.quote_columns,
            "column_types": self.column_types,
            "snapshot": self.snapshot.as_ref().map(|snapshot| format!("{snapshot:?}")),
        })
    }
}

impl TestConfig {
    pub fn resolve(given: &Layer) -> Self {
        let severity = match text(given, "severity") {
            Some(word) if word.eq_ignore_ascii_case("warn") => Severity::Warn,
            _ => Severity::Error,
        };
        let or = |key: &str, default: &str| text(given, key).unwrap_or_else(|| default.to_owned());
        TestConfig {
            severity,
            warn_if: or("warn_if", "!= 0"),
            error_if: or("error_if", "!= 0"),
            fail_calc: or("fail_calc", "count(*)"),
            limit: given.get("limit").and_then(Value::as_u64),
            condition: text(given, "where"),
            // The newer key says all that the older one does, and more.
            stores_failures: match text(given, "store_failures_as") {
                Some(kind) => kind == "table",
                None => given.get("store_failures").and_then(Value::as_bool).unwrap_or(false),
            },
        }
    }
}
