//! What is to be selected, as an expression over criteria: from words of the command line, or from selectors.yml.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Indirect;
use super::criterion::Criterion;
use crate::error::Result;
use crate::models::problem::Problem;
use crate::models::yaml::{At, Document};

/// Where the selectors of a project stand.
pub const FILE: &str = "selectors.yml";
const CRITERION: &[&str] = &[
    "method",
    "value",
    "children",
    "parents",
    "children_depth",
    "parents_depth",
    "childrens_parents",
    "indirect_selection",
    "exclude",
];

#[derive(Debug, Clone, PartialEq)]
pub enum Definition {
    One(Criterion),
    Union(Vec<Definition>),
    Intersection(Vec<Definition>),
    /// The first without the second.
    Without(Box<Definition>, Box<Definition>),
}

impl Definition {
    /// Words are united, criteria joined by commas are intersected. None if there are no words.
    pub fn of_words(texts: &[String]) -> Result<Option<Definition>, Problem> {
        let words: Vec<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
        let of_word = |word: &&str| -> Result<Definition, Problem> {
            let criteria = word.split(',').map(|text| Criterion::parse(text).map(Definition::One));
            Ok(Definition::Intersection(criteria.collect::<Result<_, _>>()?))
        };
        let united = words.iter().map(of_word).collect::<Result<Vec<_>, _>>()?;
        Ok((!united.is_empty()).then_some(Definition::Union(united)))
    }
}

/// A selector of selectors.yml.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    pub name: String,
    pub description: String,
    /// Selects when nothing else says what.
    pub is_default: bool,
    pub definition: Definition,
    /// As it stands in the file, for the manifest.
    pub written: Value,
}

impl Selector {
    /// As the manifest has it.
    pub fn entry(&self) -> Value {
        serde_json::json!({
            "name": self.name,
            "description": self.description,
            "default": self.is_default,
            "definition": self.written,
        })
    }
}

/// The selectors of a document, its Jinja already rendered.
pub fn read(document: &Document) -> Result<BTreeMap<String, Selector>> {
    let top = document.top();
    top.only(&["version", "selectors"], &[])?;
    let mut selectors: BTreeMap<String, Selector> = BTreeMap::new();
    for at in top.list("selectors")? {
        at.only(&["name", "description", "default", "definition"], &[])?;
        let name = at.required_text("name")?.to_owned();
        let Some(definition) = at.get("definition") else {
            return Err(at.error("`definition` is missing here"));
        };
        let selector = Selector {
            description: at.optional_text("description")?.unwrap_or_default(),
            is_default: at.get("default").map(|default| default.flag()).transpose()?.unwrap_or(false),
            definition: expression(&definition)?,
            written: definition.value.clone(),
            name: name.clone(),
        };
        if selector.is_default && selectors.values().any(|other| other.is_default) {
            return Err(at.error("two selectors are the default"));
        }
        if selectors.insert(name.clone(), selector).is_some() {
            return Err(at.error(format!("the selector `{name}` is defined twice")));
        }
    }
    Ok(selectors)
}

fn expression(at: &At<'_>) -> Result<Definition> {
    let entries = match at.value {
        Value::String(text) => {
            let words = Definition::of_words(std::slice::from_ref(text)).map_err(|problem| at.problem(problem))?;
            return words.ok_or_else(|| at.error("a selector is missing here"));
        }
        Value::Object(_) => at.entries()?,
        _ => return Err(at.error("a definition should be a text or a map, as in {method: tag, value: nightly}")),
    };
    match entries.as_slice() {
        [("union", list)] => combined(list, Definition::Union),
        [("intersection", list)] => combined(list, Definition::Intersection),
        _ if at.get("method").is_some() => criterion(at),
        [(method, value)] => {
            let text = scalar(value)?;
            let found = Criterion::of(&format!("{method}:{text}"), method, &text);
            Ok(Definition::One(found.map_err(|problem| value.problem(problem))?))
        }
        _ => {
            let error = at.error("a definition has one of `union`, `intersection` and `method`");
            Err(error.hint("put several criteria into a list below `union:` or `intersection:`"))
        }
    }
}

/// The items of a union or an intersection; those of `exclude` are taken away from all of the others.
fn combined(list: &At<'_>, combine: fn(Vec<Definition>) -> Definition) -> Result<Definition> {
    let (mut parts, mut without) = (Vec::new(), Vec::new());
    for item in list.items()? {
        match item.get("exclude").filter(|_| item.get("method").is_none()) {
            Some(excluded) => without.extend(expressions(&excluded)?),
            None => parts.push(expression(&item)?),
        }
    }
    if parts.is_empty() {
        return Err(list.error("there is nothing to combine here"));
    }
    Ok(less(combine(parts), without))
}

fn expressions(at: &At<'_>) -> Result<Vec<Definition>> {
    match at.value {
        Value::Array(_) => at.items()?.iter().map(expression).collect(),
        _ => Ok(vec![expression(at)?]),
    }
}

fn less(definition: Definition, without: Vec<Definition>) -> Definition {
    match without.is_empty() {
        true => definition,
        false => Definition::Without(Box::new(definition), Box::new(Definition::Union(without))),
    }
}

/// A value as the command line would have it.
fn scalar(at: &At<'_>) -> Result<String> {
    match at.value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(at.error("a value should be a text, a number or a truth value")),
    }
}

fn criterion(at: &At<'_>) -> Result<Definition> {
    at.only(CRITERION, &[])?;
    let Some(value) = at.get("value") else { return Err(at.error("`value` is missing here")) };
    let (method, value) = (at.required_text("method")?, scalar(&value)?);
    let text = format!("{method}:{value}");
    let mut found = Criterion::of(&text, method, &value).map_err(|problem| at.problem(problem))?;
    let flag = |key: &str| at.get(key).map_or(Ok(false), |flag| flag.flag());
    let depth = |key: &str| -> Result<usize> {
        let depth = at.get(key).map(|depth| depth.count()).transpose()?;
        Ok(depth.map_or(usize::MAX, |depth| usize::try_from(depth).unwrap_or(usize::MAX)))
    };
    if flag("parents")? {
        found.parents = depth("parents_depth")?;
    }
    if flag("children")? {
        found.children = depth("children_depth")?;
    }
    found.at = flag("childrens_parents")?;
    if found.at && found.children > 0 {
        return Err(at.error("`childrens_parents` already takes the children, so `children` cannot stand beside it"));
    }
    if let Some(mode) = at.get("indirect_selection") {
        found.indirect = Some(Indirect::named(mode.text()?).map_err(|problem| mode.problem(problem))?);
    }
    let without = at.get("exclude").map_or(Ok(Vec::new()), |exclude| expressions(&exclude))?;
    Ok(less(Definition::One(found), without))
}
