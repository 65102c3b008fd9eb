//! Data tests as nodes: a generic test is one call of its macro with the arguments that YAML gives it.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Kwargs;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::config::{self, Layer, Resource};
use super::jinja::Jinja;
use super::macros::{Macros, TEST_PREFIX};
use super::node::GenericTest;
use super::problem::Problem;
use super::properties::TestEntry;
use super::relation::quoted;
use super::scope::Scope;
use super::yaml::has_jinja;
use crate::error::Result;

/// Longer names are cut and closed by a digest, so that they fit where names are limited.
const LONGEST_NAME: usize = 63;

/// The name that dbt gives a test: its macro, what it stands at, and its arguments in the order of their names.
pub fn generated_name(entry: &TestEntry, subject: &str, of_source: bool) -> String {
    let mut arguments: Vec<(&str, String)> =
        entry.arguments.iter().map(|(name, value)| (name.as_str(), flat(value).join("__"))).collect();
    arguments.extend(entry.column.iter().map(|c| ("column_name", c.name.clone())));
    arguments.sort();
    let test = entry.test.replace('.', "_");
    let head = format!("{}{test}_{subject}", if of_source { "source_" } else { "" });
    let arguments = arguments.into_iter().map(|(_, a)| clean(&a)).collect::<Vec<_>>().join("__");
    let full = format!("{head}_{arguments}");
    if full.len() <= LONGEST_NAME {
        return full;
    }
    let start: String = head.chars().take(30).collect();
    format!("{start}_{}", digest(&full).chars().take(32).collect::<String>())
}

/// The words in a value, spelled as Python spells them.
fn flat(value: &Json) -> Vec<String> {
    match value {
        Json::Array(items) => items.iter().flat_map(flat).collect(),
        Json::Object(map) => map.values().flat_map(flat).collect(),
        Json::String(s) => vec![s.clone()],
        Json::Bool(true) => vec!["True".to_owned()],
        Json::Bool(false) => vec!["False".to_owned()],
        Json::Null => vec!["None".to_owned()],
        Json::Number(n) => vec![n.to_string()],
    }
}

/// Anything but letters, digits and underscores becomes one underscore.
fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut replaced = false;
    for c in text.chars() {
        let keep = c.is_ascii_alphanumeric() || c == '_';
        if keep {
            cleaned.push(c);
        } else if !replaced {
            cleaned.push('_');
        }
        replaced = !keep;
    }
    cleaned
}

pub fn digest(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

/// What tells two tests of one name apart.
pub fn fingerprint(entry: &TestEntry) -> String {
    let config = serde_json::json!([entry.arguments, entry.config]).to_string();
    digest(&config).chars().take(10).collect()
}

/// The configuration of a test's entry, rendered and checked. A condition is rendered with the test's SQL.
pub fn layer(jinja: &Jinja, scope: &Arc<Scope>, entry: &TestEntry) -> Result<Layer, Problem> {
    let mut layer = Layer::new();
    if let Some(column) = &entry.column {
        config::merge_entry(&mut layer, "tags", column.tags.clone().into());
    }
    for (key, value) in &entry.config {
        let value = if key == "where" { value.clone() } else { plain(render(jinja, scope, value)?)? };
        config::check(Resource::Test, key, &value)?;
        config::merge_entry(&mut layer, key, value);
    }
    Ok(layer)
}

fn plain(value: Value) -> Result<Json, Problem> {
    serde_json::to_value(value).map_err(|e| Problem::new(format!("this does not give plain data: {e}")))
}

/// What an expression in YAML stands for, as JSON.
pub fn rendered_json(jinja: &Jinja, scope: &Arc<Scope>, text: &str) -> Result<Json, Problem> {
    plain(jinja.render_text(text, scope)?)
}

fn render(jinja: &Jinja, scope: &Arc<Scope>, value: &Json) -> Result<Value, Problem> {
    Ok(match value {
        Json::String(text) if is_reference(text) => jinja.render_text(&format!("{{{{ {} }}}}", text.trim()), scope)?,
        Json::String(text) if has_jinja(text) => jinja.render_text(text, scope)?,
        Json::Array(items) => {
            items.iter().map(|item| render(jinja, scope, item)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Json::Object(map) => {
            let entries = map.iter().map(|(key, item)| Ok((key.clone(), render(jinja, scope, item)?)));
            entries.collect::<Result<Value, Problem>>()?
        }
        other => Value::from_serialize(other),
    })
}

/// `to: ref('dim_towers')` names a table without being marked as Jinja.
fn is_reference(text: &str) -> bool {
    let text = text.trim();
    let call = ["ref", "source"].iter().find_map(|name| text.strip_prefix(name));
    call.is_some_and(|rest| rest.trim_start().starts_with('(')) && text.ends_with(')')
}

/// Writes down what `ref('orders')` in a text of YAML names.
pub fn reference(jinja: &Jinja, scope: &Arc<Scope>, text: &str) -> Result<(), Problem> {
    if !is_reference(text) {
        let problem = Problem::new(format!("`{text}` is no reference"));
        return Err(problem.hint("write ref('model') or source('source', 'table')"));
    }
    jinja.render_text(&format!("{{{{ {} }}}}", text.trim()), scope).map(|_| ())
}

/// The SQL of a generic test in a scope.
pub fn sql(jinja: &Jinja, macros: &Macros, scope: &Arc<Scope>, test: &GenericTest) -> Result<String> {
    let arguments = arguments(jinja, scope, test).map_err(Problem::error)?;
    let id = macros.generic_test(&test.name, &scope.package()).unwrap_or_default();
    Ok(macros.call_id(jinja, scope, &id, &[arguments])?.to_string())
}

fn arguments(jinja: &Jinja, scope: &Arc<Scope>, test: &GenericTest) -> Result<Value, Problem> {
    let subject = scope.depend(test.subject.clone())?;
    let model = match &test.condition {
        None => subject,
        Some(condition) => {
            let condition = jinja.render_text(condition, scope)?;
            Value::from(format!("(select * from {subject} where {condition}) dbt_subquery"))
        }
    };
    let mut arguments = vec![("model".to_owned(), model)];
    if let Some(column) = &test.column {
        let name = if test.quote { quoted(column) } else { column.clone() };
        arguments.push(("column_name".to_owned(), Value::from(name)));
    }
    for (name, value) in &test.arguments {
        arguments.push((name.clone(), render(jinja, scope, value)?));
    }
    Ok(Kwargs::from_iter(arguments).into())
}

/// How the test would be written as a template; its node shows it as its text.
pub fn written(test: &GenericTest) -> String {
    let mut arguments = vec![format!("model={}", test.subject)];
    arguments.extend(test.column.iter().map(|column| format!("column_name='{column}'")));
    arguments.extend(test.arguments.iter().map(|(name, value)| match value {
        Json::String(text) if is_reference(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    }));
    format!("{{{{ {TEST_PREFIX}{}({}) }}}}", test.name, arguments.join(", "))
}
