//! Who uses what a project makes, and who owns it: exposures and groups of the properties files.

use serde_json::{Map, Value};

use super::config::{self, Layer, Resource};
use super::graph::Dependency;
use super::problem::Problem;
use super::yaml::At;
use crate::error::{Place, Result};

const KINDS: &[&str] = &["dashboard", "notebook", "analysis", "ml", "application"];
const MATURITIES: &[&str] = &["high", "medium", "low"];
const EXPOSURE: &[&str] =
    &["name", "label", "type", "url", "maturity", "description", "owner", "depends_on", "tags", "meta", "config"];
const GROUP: &[&str] = &["name", "owner", "description", "config", "meta"];

/// Something outside of the project that reads its tables.
#[derive(Debug, Clone)]
pub struct Exposure {
    /// As in `exposure.telecom.churn_dashboard`.
    pub unique_id: String,
    pub name: String,
    pub label: Option<String>,
    /// dashboard, notebook, analysis, ml or application.
    pub kind: String,
    pub url: Option<String>,
    pub maturity: Option<String>,
    pub description: String,
    pub owner: Owner,
    pub tags: Vec<String>,
    pub meta: Map<String, Value>,
    pub fqn: Vec<String>,
    pub path: String,
    pub depends_on: Vec<String>,
    pub(super) names: Vec<Dependency>,
    pub(super) place: Place,
}

/// Models that belong to one owner; what is private in it, others cannot build on.
#[derive(Debug, Clone)]
pub struct Group {
    pub unique_id: String,
    pub name: String,
    pub owner: Owner,
    pub description: Option<String>,
    pub meta: Map<String, Value>,
    pub path: String,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Default)]
pub struct Owner {
    pub name: Option<String>,
    /// A text or a list of texts.
    pub email: Value,
    /// Whatever else the project says of its owners.
    pub more: Map<String, Value>,
}

/// An exposure as it stands in a file, its references not read yet.
#[derive(Debug)]
pub struct ExposureEntry {
    pub exposure: Exposure,
    pub references: Vec<(String, Place)>,
    pub enabled: bool,
}

/// `unique_id` and `fqn` are those of the name alone until the project is known.
pub fn exposure(at: &At<'_>) -> Result<ExposureEntry> {
    at.only(EXPOSURE, &["docs"])?;
    let name = at.required_text("name")?.to_owned();
    let kind = one_of(at, "type", KINDS)?.ok_or_else(|| at.error("`type` is missing here"))?;
    let layer = layer(at)?;
    let references = at.list("depends_on")?;
    let references = references.iter().map(|item| Ok((item.text()?.to_owned(), item.place())));
    Ok(ExposureEntry {
        enabled: config::is_enabled(&layer),
        references: references.collect::<Result<_>>()?,
        exposure: Exposure {
            unique_id: String::new(),
            label: at.optional_text("label")?,
            kind,
            url: at.optional_text("url")?,
            maturity: one_of(at, "maturity", MATURITIES)?,
            description: at.optional_text("description")?.unwrap_or_default(),
            owner: owner(at)?,
            tags: layer.get("tags").map(config::texts).unwrap_or_default(),
            meta: layer.get("meta").and_then(Value::as_object).cloned().unwrap_or_default(),
            fqn: Vec::new(),
            path: at.place().file,
            depends_on: Vec::new(),
            names: Vec::new(),
            place: at.place(),
            name,
        },
    })
}

pub fn group(at: &At<'_>) -> Result<Group> {
    at.only(GROUP, &[])?;
    let beside = at.get("config").and_then(|config| config.get("meta"));
    Ok(Group {
        unique_id: String::new(),
        name: at.required_text("name")?.to_owned(),
        owner: owner(at)?,
        description: at.optional_text("description")?,
        meta: at.get("meta").or(beside).map(|meta| meta.map().cloned()).transpose()?.unwrap_or_default(),
        path: at.place().file,
        place: at.place(),
    })
}

fn layer(at: &At<'_>) -> Result<Layer> {
    let mut layer = Layer::new();
    let beside = ["tags", "meta"].into_iter().filter_map(|key| at.get(key).map(|value| (key, value)));
    let block = at.get("config").map_or(Ok(Vec::new()), |config| config.entries())?;
    for (key, value) in beside.chain(block) {
        // An exposure can be configured as a source can.
        config::check(Resource::Source, key, value.value).map_err(|problem| value.problem(problem))?;
        config::merge_entry(&mut layer, key, value.value.clone());
    }
    Ok(layer)
}

fn one_of(at: &At<'_>, key: &str, words: &[&str]) -> Result<Option<String>> {
    let Some(value) = at.get(key) else { return Ok(None) };
    let word = value.text()?;
    if words.contains(&word) {
        return Ok(Some(word.to_owned()));
    }
    let problem = Problem::new(format!("`{key}` should be one of {}, but it is `{word}`", words.join(", ")));
    Err(value.problem(problem.nearest(word, words.iter().copied())))
}

fn owner(at: &At<'_>) -> Result<Owner> {
    let Some(owner) = at.get("owner") else {
        return Err(at.error("`owner` is missing here").hint("owner: {name: ..., email: ...}"));
    };
    let mut more = owner.map()?.clone();
    let name = owner.optional_text("name")?;
    let email = more.remove("email").unwrap_or_default();
    more.remove("name");
    if name.is_none() && email.is_null() {
        return Err(owner.error("an owner needs a `name` or an `email`"));
    }
    Ok(Owner { name, email, more })
}
