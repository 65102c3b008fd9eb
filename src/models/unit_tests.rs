//! Unit tests: a model's SQL on rows that are made up for it, and what has to come of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::config::{self, Layer, Resource};
use super::files::Found;
use super::graph::Dependency;
use super::problem::Problem;
use super::yaml::At;
use crate::error::{Place, Result};

const KEYS: &[&str] = &["name", "description", "model", "given", "expect", "expect_after", "overrides", "config"];
const UNSUPPORTED: &[&str] = &["versions"];
const FORMATS: [&str; 3] = ["dict", "csv", "sql"];

/// What stands for a project's own macros, variables and environment while a test's SQL is rendered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// What macros give, whatever they are called with.
    pub macros: Map<String, Value>,
    pub vars: Map<String, Value>,
    pub env_vars: BTreeMap<String, String>,
    /// Inputs, by unique id, that are tables of their own, also where they are ephemeral.
    pub given: BTreeSet<String>,
}

/// Rows as they are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    Dict(Vec<Map<String, Value>>),
    Csv(String),
    Sql(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The unique id of a node or source; that of the model itself is its table as it was before.
    pub input: String,
    pub rows: Rows,
}

/// What a unit test has beyond other nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitTest {
    /// The unique id of the model.
    pub model: String,
    pub given: Vec<Given>,
    /// The rows that the query gives.
    pub expect: Option<Rows>,
    /// The rows that the table has once they are in it.
    pub expect_after: Option<Rows>,
    pub overrides: Overrides,
}

/// A unit test as it is written.
#[derive(Debug)]
pub struct UnitEntry {
    pub name: String,
    pub description: String,
    pub model: String,
    /// Inputs as they are spelled: `ref('x')`, `source('a', 'b')` or `this`.
    pub given: Vec<(String, Written, Place)>,
    pub expect: Option<Written>,
    pub expect_after: Option<Written>,
    pub overrides: Overrides,
    pub layer: Layer,
    pub folders: Vec<String>,
    pub place: Place,
}

/// Rows that stand in the properties, or in a file of their own.
#[derive(Debug)]
pub enum Written {
    Here(Rows),
    Fixture { name: String, extension: &'static str, place: Place },
}

/// An input whose name is not linked yet.
pub struct Input {
    pub name: Option<Dependency>,
    pub rows: Rows,
    pub place: Place,
}

pub fn read(at: &At<'_>, file: &Found) -> Result<UnitEntry> {
    at.only(KEYS, UNSUPPORTED)?;
    let mut given = Vec::new();
    for input in at.list("given")? {
        input.only(&["input", "rows", "format", "fixture"], &[])?;
        given.push((input.required_text("input")?.trim().to_owned(), written(&input)?, input.place()));
    }
    let rows = |key: &str| -> Result<Option<Written>> {
        let Some(expected) = at.get(key) else { return Ok(None) };
        expected.only(&["rows", "format", "fixture"], &[])?;
        written(&expected).map(Some)
    };
    let (expect, expect_after) = (rows("expect")?, rows("expect_after")?);
    if expect.is_none() && expect_after.is_none() {
        return Err(at.error("`expect` is missing here").hint(
            "`expect` tells the rows of the model's query, `expect_after` those of its table once they are in it",
        ));
    }
    let mut layer = Layer::new();
    for (key, value) in at.get("config").map_or(Ok(Vec::new()), |config| config.entries())? {
        config::check(Resource::UnitTest, key, value.value).map_err(|problem| value.problem(problem))?;
        config::merge_entry(&mut layer, key, value.value.clone());
    }
    Ok(UnitEntry {
        name: at.required_text("name")?.to_owned(),
        description: at.optional_text("description")?.unwrap_or_default(),
        model: at.required_text("model")?.to_owned(),
        given,
        expect,
        expect_after,
        overrides: at.get("overrides").map_or(Ok(Overrides::default()), |given| overrides(&given))?,
        layer,
        folders: file.folders.clone(),
        place: at.place(),
    })
}

fn overrides(at: &At<'_>) -> Result<Overrides> {
    at.only(&["macros", "vars", "env_vars"], &[])?;
    let map = |key: &str| at.get(key).map_or(Ok(Map::new()), |given| given.map().cloned());
    let plain = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(Overrides {
        macros: map("macros")?,
        vars: map("vars")?,
        env_vars: map("env_vars")?.into_iter().map(|(name, value)| (name, plain(value))).collect(),
        given: BTreeSet::new(),
    })
}

fn written(at: &At<'_>) -> Result<Written> {
    let format = match at.get("format") {
        Some(format) => format.text()?,
        None => "dict",
    };
    let fixture = at.optional_text("fixture")?;
    if fixture.is_some() && at.get("rows").is_some() {
        return Err(at.error("`rows` and `fixture` exclude each other"));
    }
    let rows = || at.get("rows").ok_or_else(|| at.error("`rows` is missing here"));
    match (format, fixture) {
        ("dict", Some(_)) => Err(at.error("a fixture is of the format csv or sql").hint("add `format: csv`")),
        ("dict", None) => {
            let rows = at.list("rows")?;
            Ok(Written::Here(Rows::Dict(rows.iter().map(|row| row.map().cloned()).collect::<Result<_>>()?)))
        }
        ("csv", None) => Ok(Written::Here(Rows::Csv(rows()?.text()?.to_owned()))),
        ("sql", None) => Ok(Written::Here(Rows::Sql(rows()?.text()?.to_owned()))),
        ("csv", Some(name)) => Ok(Written::Fixture { name, extension: "csv", place: at.place() }),
        ("sql", Some(name)) => Ok(Written::Fixture { name, extension: "sql", place: at.place() }),
        (other, _) => {
            let problem = Problem::unknown("format", other, FORMATS);
            Err(at.problem(if problem.has_hint() { problem } else { problem.hint("there are dict, csv and sql") }))
        }
    }
}
