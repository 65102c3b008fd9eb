//! Selectors as dbt spells them: `--select "tag:nightly +fact_calls,config.materialized:incremental"`.
//!
//! A criterion finds nodes and sources by a method, widened by graph operators; the tests of what it finds come along.
//! Words are united, criteria joined by commas are intersected, and what `exclude` finds is taken away.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::Project;
use super::graph::Direction;
use super::node::{Node, NodeKind, Source};
use super::problem::Problem;
use crate::error::Result;

const METHODS: [&str; 10] =
    ["config", "file", "fqn", "path", "resource_type", "source", "tag", "test_name", "test_type", "unit_test"];
const UNSUPPORTED_METHODS: [&str; 13] = [
    "access",
    "exposure",
    "group",
    "metric",
    "package",
    "result",
    "saved_query",
    "selector",
    "semantic_model",
    "snapshot",
    "source_status",
    "state",
    "version",
];
const RESOURCE_TYPES: [&str; 6] = ["model", "seed", "snapshot", "source", "test", "unit_test"];
const TEST_TYPES: [&str; 4] = ["data", "generic", "singular", "unit"];

/// `@?(\d*\+)?(method[.arg]:)?value(\+\d*)?`
#[derive(Debug, PartialEq, Eq)]
struct Criterion<'a> {
    method: &'a str,
    argument: &'a str,
    value: &'a str,
    parents: usize,
    children: usize,
    /// Also everything that its children are made from.
    at: bool,
}

impl<'a> Criterion<'a> {
    fn parse(text: &'a str) -> Result<Self, Problem> {
        let wrong = |why: &str| Problem::new(format!("`{text}` is not a selector: {why}"));
        let (at, rest) = match text.strip_prefix('@') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let depth = |digits: &str| -> Result<usize, Problem> {
            if digits.is_empty() {
                Ok(usize::MAX)
            } else {
                digits.parse().map_err(|_| wrong("the number is too large"))
            }
        };
        let is_depth = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let (parents, rest) = match rest.split_once('+') {
            Some((digits, rest)) if is_depth(digits) => (depth(digits)?, rest),
            _ => (0, rest),
        };
        let (rest, children) = match rest.rsplit_once('+') {
            Some((rest, digits)) if is_depth(digits) => (rest, depth(digits)?),
            _ => (rest, 0),
        };
        if at && children > 0 {
            return Err(wrong("`@` already takes the children, so it cannot stand with a `+` at the end"));
        }
        let (method, value) = match rest.split_once(':') {
            Some((method, value)) => (method, value),
            None if rest.contains('/') => ("path", rest),
            None if rest.ends_with(".sql") || rest.ends_with(".csv") => ("file", rest),
            None => ("fqn", rest),
        };
        if value.is_empty() {
            return Err(wrong("it names nothing"));
        }
        let (method, argument) = method.split_once('.').unwrap_or((method, ""));
        if UNSUPPORTED_METHODS.contains(&method) {
            return Err(Problem::unsupported(format!("the selector method `{method}`")));
        }
        if !METHODS.contains(&method) {
            return Err(Problem::unknown("selector method", method, METHODS));
        }
        if (method == "config") == argument.is_empty() {
            return Err(match method {
                "config" => wrong("say which configuration, as in config.materialized:incremental"),
                _ => wrong(&format!("`{method}` takes nothing after a dot")),
            });
        }
        Ok(Criterion { method, argument, value, parents, children, at })
    }

    /// Whether it names things that have to be there, unlike a property that nothing may have.
    fn is_name(&self) -> bool {
        matches!(self.method, "fqn" | "path" | "file" | "source" | "test_name") && !self.value.contains(['*', '?', '['])
    }
}

impl Project {
    /// The unique ids of the nodes and sources that are selected; all of them if `select` is empty.
    pub fn select(&self, select: &[String], exclude: &[String]) -> Result<BTreeSet<String>> {
        let mut selected = BTreeSet::new();
        if select.iter().all(|words| words.trim().is_empty()) {
            selected.extend(self.graph.ids().map(str::to_owned));
        }
        for word in words(select) {
            selected.extend(self.intersection(word)?);
        }
        for word in words(exclude) {
            let excluded = self.intersection(word)?;
            selected.retain(|id| !excluded.contains(id));
        }
        Ok(selected)
    }

    fn intersection(&self, word: &str) -> Result<BTreeSet<String>> {
        let mut all: Option<BTreeSet<String>> = None;
        for text in word.split(',') {
            let found = self.criterion(text).map_err(Problem::error)?;
            all = Some(match all {
                None => found,
                Some(before) => before.intersection(&found).cloned().collect(),
            });
        }
        Ok(all.unwrap_or_default())
    }

    fn criterion(&self, text: &str) -> Result<BTreeSet<String>, Problem> {
        let criterion = Criterion::parse(text)?;
        let matcher = Matcher::new(&criterion)?;
        let nodes = self.nodes.values().filter(|n| matcher.node(n)).map(|n| n.unique_id.clone());
        let sources = self.sources.values().filter(|s| matcher.source(s)).map(|s| s.unique_id.clone());
        let mut found: BTreeSet<String> = nodes.chain(sources).collect();
        if found.is_empty() && criterion.is_name() {
            let problem = Problem::new(format!("nothing is selected by `{text}`"));
            return Err(problem.nearest(criterion.value, self.selectable(criterion.method)));
        }
        let mut widened = BTreeSet::new();
        if criterion.at {
            let children = self.graph.reach(&found, Direction::Children, usize::MAX);
            found.extend(children);
            widened.extend(self.graph.reach(&found, Direction::Parents, usize::MAX));
        }
        widened.extend(self.graph.reach(&found, Direction::Parents, criterion.parents));
        widened.extend(self.graph.reach(&found, Direction::Children, criterion.children));
        found.extend(widened);
        self.add_tests(&mut found);
        Ok(found)
    }

    /// A test comes along with any of the nodes that it reads.
    fn add_tests(&self, found: &mut BTreeSet<String>) {
        let children = found.iter().flat_map(|id| self.graph.next(id, Direction::Children));
        let is_test = |id: &&str| self.nodes.get(*id).is_some_and(|n| n.kind.is_test());
        let tests: Vec<String> = children.filter(is_test).map(str::to_owned).collect();
        found.extend(tests);
    }

    /// The names that a mistyped one may have meant.
    fn selectable(&self, method: &str) -> Vec<&str> {
        let nodes = self.nodes.values();
        match method {
            "path" | "file" => nodes.map(|n| n.path.as_str()).collect(),
            "source" => self.sources.values().flat_map(|s| [s.source_name.as_str(), s.name.as_str()]).collect(),
            "test_name" => nodes.filter_map(|n| n.test.as_ref()?.generic.as_ref()).map(|g| g.name.as_str()).collect(),
            _ => nodes.flat_map(|n| n.fqn.iter()).map(String::as_str).collect(),
        }
    }
}

fn words(texts: &[String]) -> impl Iterator<Item = &str> {
    texts.iter().flat_map(|text| text.split_whitespace())
}

/// A criterion made ready to be asked of every node.
struct Matcher<'a> {
    criterion: &'a Criterion<'a>,
    pattern: Regex,
}

impl<'a> Matcher<'a> {
    fn new(criterion: &'a Criterion<'a>) -> Result<Self, Problem> {
        if criterion.method == "resource_type" && !RESOURCE_TYPES.contains(&criterion.value) {
            return Err(Problem::unknown("resource type", criterion.value, RESOURCE_TYPES));
        }
        if criterion.method == "test_type" && !TEST_TYPES.contains(&criterion.value) {
            return Err(Problem::unknown("test type", criterion.value, TEST_TYPES));
        }
        let pattern = glob(criterion.value)
            .map_err(|_| Problem::new(format!("`{}` is not a pattern that can be matched", criterion.value)))?;
        Ok(Matcher { criterion, pattern })
    }

    fn is(&self, text: &str) -> bool {
        self.pattern.is_match(text)
    }

    fn node(&self, node: &Node) -> bool {
        let generic = node.test.as_ref().and_then(|test| test.generic.as_ref());
        match self.criterion.method {
            "fqn" => self.fqn(&node.fqn),
            "tag" => node.config.tags.iter().any(|tag| self.is(tag)),
            "path" => self.path(&node.path),
            "file" => self.file(&node.path) && generic.is_none(),
            "resource_type" => self.criterion.value == node.kind.as_str(),
            "config" => self.config(&Value::Object(node.config.given.clone())),
            "test_name" => generic.is_some_and(|g| self.is(&g.name)),
            "test_type" => match self.criterion.value {
                "unit" => node.kind == NodeKind::UnitTest,
                "data" => node.kind == NodeKind::Test,
                value => node.kind == NodeKind::Test && (value == "generic") == generic.is_some(),
            },
            "unit_test" => node.kind == NodeKind::UnitTest && self.is(&node.name),
            _ => false,
        }
    }

    fn source(&self, source: &Source) -> bool {
        match self.criterion.method {
            "fqn" => self.fqn(&source.fqn),
            "tag" => source.tags.iter().any(|tag| self.is(tag)),
            "path" => self.path(&source.path),
            "file" => self.file(&source.path),
            "resource_type" => self.criterion.value == "source",
            "config" => self.config(&serde_json::json!({"enabled": true, "tags": source.tags, "meta": source.meta})),
            "source" => {
                let table = format!("{}.{}", source.source_name, source.name);
                let project = source.fqn.first().map_or("", String::as_str);
                let mut names = [source.source_name.clone(), format!("{project}.{table}"), table].into_iter();
                names.any(|name| self.is(&name))
            }
            _ => false,
        }
    }

    /// The last part alone, or a beginning of the whole, with or without the project.
    fn fqn(&self, fqn: &[String]) -> bool {
        let value = self.criterion.value;
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
            other => other.to_string().eq_ignore_ascii_case(self.criterion.value),
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

#[cfg(test)]
mod tests;
