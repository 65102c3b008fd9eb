//! What a project was before: its manifest and the results of a run, and what is other than it was then.
//!
//! Only what changes a table counts. Blank space, comments' places, folders, descriptions and what a configuration comes
//! to under another environment do not: configurations are compared as they were written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::models::problem::Problem;

/// What `state:` can ask for, beside the aspects of `modified`.
const WORDS: &[&str] = &["new", "old", "modified", "unmodified"];
/// As in `state:modified.body`.
const ASPECTS: &[&str] = &["body", "configs", "relation", "macros", "contract"];
/// Configuration that names things, or describes them, and changes no row. The first three say where a table lies, which
/// is an aspect of its own.
const NO_CONFIGS: &[&str] = &["alias", "schema", "database", "tags", "meta", "docs", "group", "access"];
const RELATION: &[&str] = &["alias", "schema", "database"];

/// The folder of an earlier run.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
    manifest: Value,
    results: Option<Value>,
    sources: Option<Value>,
}

impl State {
    pub fn read(folder: &Path) -> Result<State> {
        let manifest = read(&folder.join(crate::models::MANIFEST))?.ok_or_else(|| {
            Error::input(format!("there is no {} in {}", crate::models::MANIFEST, folder.display()))
                .hint("keep the target folder of the run to compare with, and name it with --state")
        })?;
        Ok(State {
            folder: folder.to_owned(),
            manifest,
            results: read(&folder.join("run_results.json"))?,
            sources: read(&folder.join("sources.json"))?,
        })
    }

    /// A node, source or exposure as it was.
    pub fn entry(&self, unique_id: &str) -> Option<&Value> {
        ["nodes", "sources", "exposures", "unit_tests"]
            .iter()
            .find_map(|section| self.manifest.get(section)?.get(unique_id))
    }

    /// The ids whose last result has that status, as `result:error` asks for.
    pub fn with_result(&self, status: &str) -> Result<BTreeSet<String>, Problem> {
        let results = self.results.as_ref().ok_or_else(|| self.lacks("run_results.json"))?;
        Ok(having(results, |result| result.get("status").and_then(Value::as_str) == Some(status)))
    }

    /// The sources that were as fresh as that. Those that are `fresher` have newer rows than they had then.
    pub fn with_source_status(&self, status: &str, now: &Path) -> Result<BTreeSet<String>, Problem> {
        let before = self.sources.as_ref().ok_or_else(|| self.lacks("sources.json"))?;
        if status != "fresher" {
            return Ok(having(before, |result| result.get("status").and_then(Value::as_str) == Some(status)));
        }
        let path = now.join("sources.json");
        let now = read(&path).ok().flatten().ok_or_else(|| {
            Problem::new(format!("there is no {} to compare with", path.display())).hint("medallion source freshness")
        })?;
        let loaded = |result: &Value| result.get("max_loaded_at").and_then(Value::as_str).map(str::to_owned);
        let then: BTreeMap<&str, Option<String>> =
            results(before).filter_map(|r| Some((r.get("unique_id")?.as_str()?, loaded(r)))).collect();
        Ok(having(&now, |result| {
            let id = result.get("unique_id").and_then(Value::as_str).unwrap_or_default();
            then.get(id).is_none_or(|then| loaded(result) > *then)
        }))
    }

    fn lacks(&self, name: &str) -> Problem {
        Problem::new(format!("there is no {name} in {}", self.folder.display()))
            .hint("keep it beside the manifest of that run")
    }
}

fn read(path: &Path) -> Result<Option<Value>> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| Error::input(format!("{} is no artifact of a run", path.display())).because(e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::outside(format!("cannot read {}", path.display())).because(e)),
    }
}

fn results(artifact: &Value) -> impl Iterator<Item = &Value> {
    artifact.get("results").and_then(Value::as_array).into_iter().flatten()
}

fn having(artifact: &Value, wanted: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let found = results(artifact).filter(|result| wanted(result));
    found.filter_map(|result| Some(result.get("unique_id")?.as_str()?.to_owned())).collect()
}

/// The ids of `now`, a manifest, to which the words of a `state:` criterion apply.
pub fn compared(state: &State, now: &Value, words: &str) -> Result<BTreeSet<String>, Problem> {
    let (word, aspect) = words.split_once('.').map_or((words, None), |(word, aspect)| (word, Some(aspect)));
    if !WORDS.contains(&word) {
        return Err(Problem::unknown("state", word, WORDS.iter().copied()));
    }
    match aspect {
        Some(_) if word != "modified" => return Err(Problem::new(format!("`state:{word}` takes nothing after a dot"))),
        Some(aspect) if !ASPECTS.contains(&aspect) => {
            return Err(Problem::unknown("aspect of `state:modified`", aspect, ASPECTS.iter().copied()));
        }
        _ => {}
    }
    let changed = changed_macros(&state.manifest, now);
    let entries = ["nodes", "sources", "exposures", "unit_tests"]
        .iter()
        .filter_map(|section| now.get(section)?.as_object())
        .flatten();
    let applies = |id: &str, now: &Value| {
        let Some(before) = state.entry(id) else { return matches!(word, "new" | "modified") };
        match word {
            "new" => false,
            "old" => true,
            "modified" => ASPECTS
                .iter()
                .filter(|known| aspect.is_none_or(|aspect| aspect == **known))
                .any(|aspect| differs(aspect, before, now, &changed)),
            _ => !ASPECTS.iter().any(|aspect| differs(aspect, before, now, &changed)),
        }
    };
    Ok(entries.filter(|(id, entry)| applies(id, entry)).map(|(id, _)| id.clone()).collect())
}

fn differs(aspect: &str, before: &Value, now: &Value, changed_macros: &BTreeSet<String>) -> bool {
    match aspect {
        "body" => body(before) != body(now),
        "configs" => {
            let counts = |key: &str| !NO_CONFIGS.contains(&key);
            configs(before, counts) != configs(now, counts)
        }
        "relation" => place(before) != place(now),
        "macros" => {
            let used = now.pointer("/depends_on/macros").and_then(Value::as_array).into_iter().flatten();
            used.filter_map(Value::as_str).any(|id| changed_macros.contains(id))
        }
        _ => contract(before) != contract(now),
    }
}

fn text<'v>(entry: &'v Value, pointer: &str) -> &'v str {
    entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What a node does, in a form in which what makes no difference is the same.
fn body(entry: &Value) -> Value {
    let kind = text(entry, "/resource_type");
    match entry.get("test_metadata").filter(|metadata| !metadata.is_null()) {
        Some(metadata) => {
            let mut arguments = metadata.get("kwargs").and_then(Value::as_object).cloned().unwrap_or_default();
            // The same thing is spelled in several ways.
            arguments.remove("model");
            serde_json::json!([metadata.get("name"), arguments, entry.get("attached_node")])
        }
        None if kind == "seed" => entry.get("checksum").cloned().unwrap_or_default(),
        None if kind == "exposure" => {
            let parts = ["type", "owner", "url", "maturity", "label", "description"].map(|key| entry.get(key));
            serde_json::json!([parts, entry.pointer("/depends_on/nodes")])
        }
        None if kind == "unit_test" => {
            let parts = ["model", "given", "expect", "expect_after", "overrides"].map(|key| entry.get(key));
            serde_json::json!(parts)
        }
        None if kind == "source" => {
            let parts = ["freshness", "loaded_at_field", "loaded_at_query"].map(|key| entry.get(key));
            serde_json::json!(parts)
        }
        None => evened(text(entry, "/raw_code")).into(),
    }
}

fn configs(entry: &Value, counts: impl Fn(&str) -> bool) -> Map<String, Value> {
    let written = entry.get("unrendered_config").and_then(Value::as_object);
    let written = written.into_iter().flatten().filter(|(key, value)| counts(key) && !value.is_null());
    written.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Where the table lies, as far as the project says so: the schema of a target is of the environment.
fn place(entry: &Value) -> Value {
    if text(entry, "/resource_type") == "source" {
        return serde_json::json!([entry.get("schema"), entry.get("identifier")]);
    }
    Value::Object(configs(entry, |key| RELATION.contains(&key)))
}

/// What an enforced contract promises: its columns with their types and constraints.
fn contract(entry: &Value) -> Option<Value> {
    entry.pointer("/contract/enforced").filter(|enforced| **enforced == Value::Bool(true))?;
    let columns = entry.get("columns").and_then(Value::as_object).into_iter().flatten();
    let promised = columns.map(|(name, column)| {
        let data_type = column.get("data_type").and_then(Value::as_str).map(str::to_lowercase);
        (name.to_lowercase(), serde_json::json!([data_type, column.get("constraints")]))
    });
    Some(serde_json::json!([promised.collect::<BTreeMap<_, _>>(), entry.get("constraints")]))
}

/// The macros whose text is another one, or that are new.
fn changed_macros(before: &Value, now: &Value) -> BTreeSet<String> {
    let macros = |manifest: &Value| -> BTreeMap<String, String> {
        let entries = manifest.get("macros").and_then(Value::as_object).into_iter().flatten();
        entries.map(|(id, entry)| (id.clone(), evened(text(entry, "/macro_sql")))).collect()
    };
    let before = macros(before);
    macros(now).into_iter().filter(|(id, text)| before.get(id) != Some(text)).map(|(id, _)| id).collect()
}

/// A template with each run of blank space as one space, save in quoted texts. A comment to the end of its line keeps
/// that end: what follows would be part of it otherwise.
fn evened(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        let (taken, is_blank) = match c {
            c if c.is_whitespace() => (rest.len() - rest.trim_start().len(), true),
            '\'' | '"' | '`' => (closed(rest, c.len_utf8(), &c.to_string()), false),
            '{' if rest.starts_with("{#") => (closed(rest, 2, "#}"), false),
            '/' if rest.starts_with("/*") => (closed(rest, 2, "*/"), false),
            '-' if rest.starts_with("--") => (rest.find('\n').map_or(rest.len(), |end| end + 1), false),
            c => (c.len_utf8(), false),
        };
        let (token, after) = rest.split_at(taken);
        match is_blank {
            true if out.ends_with('\n') => {}
            true => out.push(' '),
            false => out.push_str(token),
        }
        rest = after;
    }
    out
}

/// How long a token is that ends with `end`, looked for behind its first bytes.
fn closed(text: &str, skip: usize, end: &str) -> usize {
    let found = text.get(skip..).and_then(|rest| rest.find(end));
    found.map_or(text.len(), |at| skip + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_space_makes_no_difference_outside_of_texts() {
        assert_eq!(evened("select  a,\n\t'x  y'\nfrom t\n"), evened("select a, 'x  y' from t"));
        assert_ne!(evened("select 'x  y'"), evened("select 'x y'"));
        assert_ne!(evened("a -- x\nb"), evened("a -- x b"));
        assert_ne!(evened("{# don't #} 'a  b'"), evened("{# don't #} 'a b'"));
        assert_eq!(evened("a -- x\n\n  b"), evened("a -- x\nb"));
    }
}
