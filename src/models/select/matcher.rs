//! Which nodes, sources and exposures a criterion means by itself.

use regex::Regex;
use serde_json::{Value, json};

use super::criterion::Criterion;
use crate::models::exposure::Exposure;
use crate::models::node::{Node, NodeKind, Source};
use crate::models::problem::Problem;

pub const RESOURCE_TYPES: &[&str] = &["exposure", "model", "seed", "snapshot", "source", "test", "unit_test"];
const TEST_TYPES: &[&str] = &["data", "generic", "singular", "unit"];
const ACCESS: &[&str] = &["private", "protected", "public"];

/// A criterion made ready to be asked of everything.
pub struct Matcher<'a> {
    criterion: &'a Criterion,
    pattern: Regex,
}

impl<'a> Matcher<'a> {
    pub fn new(criterion: &'a Criterion) -> Result<Self, Problem> {
        let value = criterion.value.as_str();
        let words = match criterion.method.as_str() {
            "resource_type" => Some(("resource type", RESOURCE_TYPES)),
            "test_type" => Some(("test type", TEST_TYPES)),
            "access" => Some(("access", ACCESS)),
            _ => None,
        };
        if let Some((what, words)) = words.filter(|(_, words)| !words.contains(&value)) {
            return Err(Problem::unknown(what, value, words.iter().copied()));
        }
        let pattern =
            glob(value).map_err(|_| Problem::new(format!("`{value}` is not a pattern that can be matched")))?;
        Ok(Matcher { criterion, pattern })
    }

    fn is(&self, text: &str) -> bool {
        self.pattern.is_match(text)
    }

    pub fn node(&self, node: &Node) -> bool {
        let generic = node.test.as_ref().and_then(|test| test.generic.as_ref());
        let value = self.criterion.value.as_str();
        match self.criterion.method.as_str() {
            "fqn" => self.fqn(&node.fqn),
            "tag" => node.config.tags.iter().any(|tag| self.is(tag)),
            "path" => self.path(&node.path),
            "file" => self.file(&node.path) && generic.is_none(),
            "resource_type" => value == node.kind.as_str(),
            "config" => self.config(&Value::Object(node.config.given.clone())),
            "group" => node.config.group.as_deref().is_some_and(|group| self.is(group)),
            "access" => node.kind == NodeKind::Model && value == node.config.access.as_str(),
            "package" => self.package(&node.fqn),
            "test_name" => generic.is_some_and(|g| self.is(&g.name)),
            "test_type" => match value {
                "unit" => node.kind == NodeKind::UnitTest,
                "data" => node.kind == NodeKind::Test,
                value => node.kind == NodeKind::Test && (value == "generic") == generic.is_some(),
            },
            "unit_test" => node.kind == NodeKind::UnitTest && self.is(&node.name),
            _ => false,
        }
    }

    pub fn source(&self, source: &Source) -> bool {
        match self.criterion.method.as_str() {
            "fqn" => self.fqn(&source.fqn),
            "tag" => source.tags.iter().any(|tag| self.is(tag)),
            "path" => self.path(&source.path),
            "file" => self.file(&source.path),
            "resource_type" => self.criterion.value == "source",
            "config" => self.config(&json!({"enabled": true, "tags": source.tags, "meta": source.meta})),
            "package" => self.package(&source.fqn),
            "source" => {
                let table = format!("{}.{}", source.source_name, source.name);
                let project = source.fqn.first().map_or("", String::as_str);
                let mut names = [source.source_name.clone(), format!("{project}.{table}"), table].into_iter();
                names.any(|name| self.is(&name))
            }
            _ => false,
        }
    }

    pub fn exposure(&self, exposure: &Exposure) -> bool {
        match self.criterion.method.as_str() {
            "fqn" => self.fqn(&exposure.fqn),
            "tag" => exposure.tags.iter().any(|tag| self.is(tag)),
            "path" => self.path(&exposure.path),
            "file" => self.file(&exposure.path),
            "resource_type" => self.criterion.value == "exposure",
            "config" => self.config(&json!({"enabled": true, "tags": exposure.tags, "meta": exposure.meta})),
            "package" => self.package(&exposure.fqn),
            "exposure" => self.is(&exposure.name) || self.is(&exposure.fqn.join(".")),
            _ => false,
        }
    }

    fn package(&self, fqn: &[String]) -> bool {
        fqn.first().is_some_and(|package| self.is(package))
    }

    /// The last part alone, or a beginning of the whole, with or without the project.
    fn fqn(&self, fqn: &[String]) -> bool {
        let value = self.criterion.value.as_str();
        if fqn.last().is_some_and(|name| name == value) {
            return true;
        }
        let begins = |parts: &[String]| {
            let name = parts.join(".");
            if value.contains(['*', '?', '[']) {
                return self.is(&name);
            }
            name == value || name.strip_prefix(value).is_some_and(|rest| rest.starts_with('.'))
        };
        begins(fqn) || fqn.split_first().is_some_and(|(_, rest)| begins(rest))
    }

    /// The path itself or a folder that it lies in.
    fn path(&self, path: &str) -> bool {
        let value = self.criterion.value.trim_start_matches("./").trim_end_matches('/');
        let below = path.strip_prefix(value).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        below || self.is(path) || path.match_indices('/').any(|(i, _)| path.get(..i).is_some_and(|f| self.is(f)))
    }

    fn file(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.is(name) || name.rsplit_once('.').is_some_and(|(stem, _)| self.is(stem))
    }

    fn config(&self, given: &Value) -> bool {
        let mut parts = self.criterion.argument.split('.');
        let found = parts.try_fold(given, |value, key| value.get(key));
        let is = |value: &Value| match value {
            Value::String(text) => self.is(text),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
            other => other.to_string().eq_ignore_ascii_case(&self.criterion.value),
        };
        match found {
            Some(Value::Array(items)) => items.iter().any(is),
            Some(Value::Object(map)) => map.keys().any(|key| self.is(key)),
            value => value.is_some_and(is),
        }
    }
}

/// A pattern with `*`, `?` and `[...]`, which has to match as a whole.
fn glob(pattern: &str) -> Result<Regex, regex::Error> {
    let mut expression = String::from("^(?s:");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or("");
        match (c, rest.split_once(']')) {
            ('*', _) => expression.push_str(".*"),
            ('?', _) => expression.push('.'),
            ('[', Some((set, after))) if !set.is_empty() => {
                let (negation, set) = match set.strip_prefix('!') {
                    Some(set) => ("^", set),
                    None => ("", set),
                };
                expression.push_str(&format!("[{negation}{}]", set.replace('\\', "\\\\").replace('[', "\\[")));
                rest = after;
            }
            _ => expression.push_str(&regex::escape(&c.to_string())),
        }
    }
    expression.push_str(")$");
    Regex::new(&expression)
}
