//! The properties files: what YAML beside the models says about models, seeds, sources, tests and macros.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::config::{self, Layer, Resource};
use super::contract::{self, Constraint};
use super::exposure::{self, ExposureEntry, Group};
use super::files::Found;
use super::problem::Problem;
use super::unit_tests::{self, UnitEntry};
use super::yaml::{At, Document};
use crate::error::{Error, Place, Result};

const TOP: &[&str] = &[
    "version",
    "models",
    "seeds",
    "snapshots",
    "sources",
    "macros",
    "tests",
    "data_tests",
    "unit_tests",
    "exposures",
    "groups",
];
const TOP_UNSUPPORTED: &[&str] = &["analyses", "anchors", "functions", "metrics", "saved_queries", "semantic_models"];
const NODE: &[&str] = &[
    "name",
    "description",
    "columns",
    "config",
    "tests",
    "data_tests",
    "tags",
    "meta",
    "group",
    "access",
    "constraints",
];
/// What a snapshot has beside that.
const SNAPSHOT: &[&str] = &["relation"];
const NODE_UNSUPPORTED: &[&str] = &[
    "agg_time_dimension",
    "deprecation_date",
    "docs",
    "latest_version",
    "primary_key",
    "semantic_model",
    "time_spine",
    "versions",
];
const COLUMN: &[&str] =
    &["name", "description", "data_type", "quote", "tests", "data_tests", "tags", "meta", "config", "constraints"];
const COLUMN_UNSUPPORTED: &[&str] = &["docs", "granularity", "dimension", "entity", "policy_tags"];
const SOURCE: &[&str] = &[
    "name",
    "description",
    "schema",
    "tables",
    "config",
    "tags",
    "meta",
    "freshness",
    "loaded_at_field",
    "loaded_at_query",
];
const SOURCE_UNSUPPORTED: &[&str] = &["database", "loader", "overrides", "quoting", "tests", "data_tests"];
const TABLE: &[&str] = &[
    "name",
    "identifier",
    "description",
    "columns",
    "config",
    "tests",
    "data_tests",
    "tags",
    "meta",
    "freshness",
    "loaded_at_field",
    "loaded_at_query",
];
const TABLE_UNSUPPORTED: &[&str] = &["external", "loader", "quoting", "docs"];
/// The two ways to say when the newest row came.
const LOADED_AT: [&str; 2] = ["loaded_at_field", "loaded_at_query"];
/// Where a source's config may repeat what also stands beside it.
const FRESHNESS: &[&str] = &["freshness", "loaded_at_field", "loaded_at_query"];

/// Whether the texts below a key are rendered where they are used: a generic test's arguments may hold refs. The rows of
/// a unit test are data.
pub fn rendered_later(depth: usize, key: &str) -> bool {
    (depth > 0 && ["tests", "data_tests"].contains(&key)) || (depth == 0 && key == "unit_tests")
}

/// The documentation of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDoc {
    pub name: String,
    pub description: String,
    pub data_type: Option<String>,
    /// Whether the name is to be quoted in SQL.
    pub quote: bool,
    pub tags: Vec<String>,
    pub meta: Map<String, Value>,
    pub constraints: Vec<Constraint>,
    pub place: Place,
}

/// A docs block of a Markdown file.
#[derive(Debug, Clone)]
pub struct DocBlock {
    pub name: String,
    pub path: String,
    pub text: String,
}

/// The documentation of a macro.
#[derive(Debug, Clone)]
pub struct MacroDoc {
    pub description: String,
    /// Each a map of name, type and description.
    pub arguments: Vec<Value>,
    pub place: Place,
}

/// How long a source may have gone without a new row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freshness {
    pub warn_after: Option<Age>,
    pub error_after: Option<Age>,
    pub filter: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    pub count: u64,
    pub period: Period,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Minute,
    Hour,
    Day,
}

impl Period {
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Minute => "minute",
            Period::Hour => "hour",
            Period::Day => "day",
        }
    }
}

/// What YAML says about a model, a seed, a snapshot or a singular test.
#[derive(Debug)]
pub struct Described {
    pub place: Place,
    /// The folders that the file lies in.
    pub folders: Vec<String>,
    /// What a snapshot that has no SQL is of, as in `ref('orders')`.
    pub relation: Option<String>,
    pub description: String,
    pub layer: Layer,
    /// The same before its Jinja was rendered.
    pub written: Layer,
    pub columns: Vec<ColumnDoc>,
    pub constraints: Vec<Constraint>,
    pub tests: Vec<TestEntry>,
}

#[derive(Debug)]
pub struct SourceTable {
    pub source: String,
    pub source_description: String,
    pub name: String,
    pub schema: String,
    pub identifier: String,
    pub freshness: Option<Freshness>,
    pub loaded_at_field: Option<String>,
    pub loaded_at_query: Option<String>,
    pub folders: Vec<String>,
    pub described: Described,
}

/// A generic test as it is asked for.
#[derive(Debug, Clone)]
pub struct TestEntry {
    pub test: String,
    /// The name that the user gave it.
    pub name: Option<String>,
    pub description: String,
    pub column: Option<ColumnDoc>,
    pub arguments: Map<String, Value>,
    /// Checked when the test is made, after rendering.
    pub config: Map<String, Value>,
    pub folders: Vec<String>,
    pub place: Place,
    /// Where the column is named.
    pub column_place: Option<Place>,
}

/// The properties of a project, by name.
#[derive(Debug, Default)]
pub struct Properties {
    pub models: BTreeMap<String, Described>,
    pub seeds: BTreeMap<String, Described>,
    pub snapshots: BTreeMap<String, Described>,
    pub tests: BTreeMap<String, Described>,
    pub macros: BTreeMap<String, MacroDoc>,
    pub sources: Vec<SourceTable>,
    pub unit_tests: Vec<UnitEntry>,
    pub exposures: Vec<ExposureEntry>,
    pub groups: BTreeMap<String, Group>,
}

impl Properties {
    /// Adds what a rendered document says.
    pub fn read(&mut self, document: &Document, file: &Found) -> Result<()> {
        let top = document.top();
        top.only(TOP, TOP_UNSUPPORTED)?;
        for at in top.list("models")? {
            add(&mut self.models, "model", &at, Reader { file, resource: Resource::Model })?;
        }
        for at in top.list("seeds")? {
            add(&mut self.seeds, "seed", &at, Reader { file, resource: Resource::Seed })?;
        }
        for at in top.list("snapshots")? {
            add(&mut self.snapshots, "snapshot", &at, Reader { file, resource: Resource::Snapshot })?;
        }
        for at in top.list("tests")?.into_iter().chain(top.list("data_tests")?) {
            at.only(&["name", "description", "config"], &[])?;
            add(&mut self.tests, "test", &at, Reader { file, resource: Resource::Test })?;
        }
        for at in top.list("unit_tests")? {
            self.unit_tests.push(unit_tests::read(&at, file)?);
        }
        for at in top.list("macros")? {
            at.only(&["name", "description", "arguments"], &["config", "docs", "meta"])?;
            let mut arguments = Vec::new();
            for argument in at.list("arguments")? {
                argument.only(&["name", "type", "description"], &[])?;
                let entry = ["name", "type", "description"].map(|key| (key.to_owned(), argument.value[key].clone()));
                arguments.push(Value::Object(entry.into_iter().collect()));
            }
            let description = at.optional_text("description")?.unwrap_or_default();
            let doc = MacroDoc { description, arguments, place: at.place() };
            self.macros.insert(at.required_text("name")?.to_owned(), doc);
        }
        for at in top.list("exposures")? {
            let entry = exposure::exposure(&at)?;
            let twin = self.exposures.iter().find(|other| other.exposure.name == entry.exposure.name);
            if let Some(other) = twin {
                return Err(twice(&format!("the exposure `{}`", entry.exposure.name), &at, &other.exposure.place));
            }
            self.exposures.push(entry);
        }
        for at in top.list("groups")? {
            let group = exposure::group(&at)?;
            if let Some(other) = self.groups.get(&group.name) {
                return Err(twice(&format!("the group `{}`", group.name), &at, &other.place));
            }
            self.groups.insert(group.name.clone(), group);
        }
        for at in top.list("sources")? {
            self.read_source(&at, Reader { file, resource: Resource::Source })?;
        }
        Ok(())
    }

    fn read_source(&mut self, at: &At<'_>, reader: Reader<'_>) -> Result<()> {
        at.only(SOURCE, SOURCE_UNSUPPORTED)?;
        let source = at.required_text("name")?;
        let schema = at.optional_text("schema")?.unwrap_or_else(|| source.to_owned());
        let (general, general_written) = reader.layer(at)?;
        for table in at.list("tables")? {
            table.only(TABLE, TABLE_UNSUPPORTED)?;
            let name = table.required_text("name")?;
            if let Some(other) = self.sources.iter().find(|t| t.source == source && t.name == name) {
                return Err(twice(&format!("the source table `{source}.{name}`"), &table, &other.described.place));
            }
            let mut described = reader.described(&table)?;
            let (mut layer, mut written) = (general.clone(), general_written.clone());
            config::merge(&mut layer, described.layer);
            config::merge(&mut written, described.written);
            (described.layer, described.written) = (layer, written);
            let freshness = match setting(&table, "freshness") {
                // An empty `freshness:` takes back that of the source.
                None if table.value.get("freshness").is_some() => None,
                None => setting(at, "freshness").map(|f| freshness(&f)).transpose()?,
                Some(own) => Some(freshness(&own)?),
            };
            // What the table says of when its rows came takes the place of all that the source says.
            let says = |at: &At<'_>, key: &str| setting(at, key).is_some();
            let teller = if LOADED_AT.iter().any(|key| says(&table, key)) { &table } else { at };
            if LOADED_AT.iter().all(|key| says(teller, key)) {
                return Err(teller.error("`loaded_at_field` and `loaded_at_query` exclude each other"));
            }
            let loaded = |key: &str| setting(teller, key).map(|v| v.text().map(str::to_owned)).transpose();
            self.sources.push(SourceTable {
                source: source.to_owned(),
                source_description: at.optional_text("description")?.unwrap_or_default(),
                name: name.to_owned(),
                schema: schema.clone(),
                identifier: table.optional_text("identifier")?.unwrap_or_else(|| name.to_owned()),
                freshness,
                loaded_at_field: loaded("loaded_at_field")?,
                loaded_at_query: loaded("loaded_at_query")?,
                folders: reader.file.folders.clone(),
                described,
            });
        }
        Ok(())
    }
}

/// A value beside the name or in the `config` block.
fn setting<'a>(at: &At<'a>, key: &str) -> Option<At<'a>> {
    at.get(key).or_else(|| at.get("config").and_then(|config| config.get(key)))
}

fn add(known: &mut BTreeMap<String, Described>, what: &str, at: &At<'_>, reader: Reader<'_>) -> Result<()> {
    match reader.resource {
        Resource::Test => {}
        Resource::Snapshot => at.only(&[NODE, SNAPSHOT].concat(), NODE_UNSUPPORTED)?,
        _ => at.only(NODE, NODE_UNSUPPORTED)?,
    }
    let name = at.required_text("name")?;
    if let Some(other) = known.get(name) {
        return Err(twice(&format!("the {what} `{name}`"), at, &other.place));
    }
    known.insert(name.to_owned(), reader.described(at)?);
    Ok(())
}

fn twice(what: &str, at: &At<'_>, other: &Place) -> Error {
    at.error(format!("{what} is described twice")).hint(format!("the other one is at {}:{}", other.file, other.line))
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    file: &'a Found,
    resource: Resource,
}

impl Reader<'_> {
    fn described(self, at: &At<'_>) -> Result<Described> {
        let mut columns = Vec::new();
        let mut tests = self.tests(at, None)?;
        for column in at.list("columns")? {
            let doc = column_doc(&column)?;
            let named = column.get("name").map(|name| name.place());
            tests.extend(
                self.tests(&column, Some(&doc))?.into_iter().map(|t| TestEntry { column_place: named.clone(), ..t }),
            );
            columns.push(doc);
        }
        let (layer, written) = self.layer(at)?;
        Ok(Described {
            place: at.place(),
            folders: self.file.folders.clone(),
            relation: at.optional_text("relation")?,
            description: at.optional_text("description")?.unwrap_or_default(),
            constraints: contract::constraints(at, None)?,
            layer,
            written,
            columns,
            tests,
        })
    }

    /// The entries of the `config` block, with those that may stand beside it.
    fn layer(self, at: &At<'_>) -> Result<(Layer, Layer)> {
        let (mut layer, mut written) = (Layer::new(), Layer::new());
        let beside =
            ["tags", "meta", "group", "access"].into_iter().filter_map(|key| at.get(key).map(|value| (key, value)));
        let block = at.get("config").map_or(Ok(Vec::new()), |config| config.entries())?;
        for (key, value) in beside.chain(block) {
            if self.resource == Resource::Source && FRESHNESS.contains(&key) {
                continue;
            }
            config::check(self.resource, key, value.value).map_err(|problem| value.problem(problem))?;
            config::merge_entry(&mut layer, key, value.value.clone());
            config::merge_entry(&mut written, key, value.written.clone());
        }
        Ok((layer, written))
    }

    fn tests(self, at: &At<'_>, column: Option<&ColumnDoc>) -> Result<Vec<TestEntry>> {
        if self.resource == Resource::Test {
            return Ok(Vec::new());
        }
        let entries = at.list("tests")?.into_iter().chain(at.list("data_tests")?);
        entries.map(|entry| self.test(&entry, column)).collect()
    }

    /// A test is spelled `unique`, `accepted_values: {values: [...]}`, or with its name under `test_name`.
    fn test(self, at: &At<'_>, column: Option<&ColumnDoc>) -> Result<TestEntry> {
        let (test, body) = match at.value {
            Value::String(name) => (name.as_str(), None),
            Value::Object(_) if at.get("test_name").is_some() => (at.required_text("test_name")?, Some(at.clone())),
            Value::Object(map) if map.len() == 1 => match at.entries()?.pop() {
                Some((name, body)) => (name, Some(body)),
                None => return Err(at.error("a test is missing here")),
            },
            _ => {
                let error = at.error("a test should be a name, or one name with its arguments below");
                return Err(error.hint("indent the arguments further than the name of the test"));
            }
        };
        let mut entry = TestEntry {
            test: test.to_owned(),
            name: None,
            description: String::new(),
            column: column.cloned(),
            arguments: Map::new(),
            config: Map::new(),
            folders: self.file.folders.clone(),
            place: at.place(),
            column_place: None,
        };
        for (key, value) in body.map_or(Ok(Vec::new()), |body| body.entries())? {
            match key {
                "test_name" => {}
                "name" => entry.name = Some(value.text()?.to_owned()),
                "description" => entry.description = value.text()?.to_owned(),
                "arguments" => entry.arguments.extend(value.map()?.clone()),
                "config" => entry.config.extend(value.map()?.clone()),
                "model" | "column_name" => {
                    return Err(value.error(format!("`{key}` is given by the place of the test and cannot be set")));
                }
                key if config::is_test_setting(key) => {
                    entry.config.insert(key.to_owned(), value.value.clone());
                }
                key => {
                    entry.arguments.insert(key.to_owned(), value.value.clone());
                }
            }
        }
        Ok(entry)
    }
}

fn column_doc(at: &At<'_>) -> Result<ColumnDoc> {
    at.only(COLUMN, COLUMN_UNSUPPORTED)?;
    let mut layer = Layer::new();
    if let Some(config) = at.get("config") {
        config.only(&["tags", "meta"], COLUMN_UNSUPPORTED)?;
    }
    for key in ["tags", "meta"] {
        for value in [at.get(key), at.get("config").and_then(|c| c.get(key))].into_iter().flatten() {
            config::check(Resource::Source, key, value.value).map_err(|problem| value.problem(problem))?;
            config::merge_entry(&mut layer, key, value.value.clone());
        }
    }
    Ok(ColumnDoc {
        name: at.required_text("name")?.to_owned(),
        description: at.optional_text("description")?.unwrap_or_default(),
        data_type: at.optional_text("data_type")?,
        quote: at.get("quote").map(|q| q.flag()).transpose()?.unwrap_or(false),
        tags: layer.get("tags").map(config::texts).unwrap_or_default(),
        meta: layer.get("meta").and_then(Value::as_object).cloned().unwrap_or_default(),
        constraints: contract::constraints(at, at.get("name").and_then(|name| name.value.as_str()))?,
        place: at.place(),
    })
}

fn freshness(at: &At<'_>) -> Result<Freshness> {
    at.only(&["warn_after", "error_after", "filter"], &[])?;
    let age = |key: &str| at.get(key).map(|value| age(&value)).transpose();
    Ok(Freshness {
        warn_after: age("warn_after")?,
        error_after: age("error_after")?,
        filter: at.optional_text("filter")?,
    })
}

fn age(at: &At<'_>) -> Result<Age> {
    at.only(&["count", "period"], &[])?;
    let missing = |key: &str| at.error(format!("`{key}` is missing here"));
    let count = at.get("count").ok_or_else(|| missing("count"))?.count()?;
    let period = match at.required_text("period")? {
        "minute" => Period::Minute,
        "hour" => Period::Hour,
        "day" => Period::Day,
        other => {
            let problem = Problem::new(format!("`{other}` is not a period: use minute, hour or day"));
            return Err(at.problem(problem.nearest(other, ["minute", "hour", "day"])));
        }
    };
    Ok(Age { count, period })
}

/// The docs blocks of a Markdown file.
pub fn docs(text: &str) -> Vec<(String, String)> {
    let pattern = Regex::new(r"(?s)\{%-?\s*docs\s+(\w+)\s*-?%\}(.*?)\{%-?\s*enddocs\s*-?%\}");
    let blocks = pattern.iter().flat_map(|p| p.captures_iter(text));
    blocks.filter_map(|c| Some((c.get(1)?.as_str().to_owned(), c.get(2)?.as_str().trim().to_owned()))).collect()
}
