//! One criterion: `@?(\d*\+)?(method[.arg]:)?value(\+\d*)?`.

use super::Indirect;
use crate::models::problem::Problem;

/// What a criterion can ask.
pub const METHODS: &[&str] = &[
    "access",
    "config",
    "exposure",
    "file",
    "fqn",
    "group",
    "package",
    "path",
    "resource_type",
    "result",
    "selector",
    "source",
    "source_status",
    "state",
    "tag",
    "test_name",
    "test_type",
    "unit_test",
];
/// What a criterion of dbt can ask and none here.
pub const UNSUPPORTED_METHODS: &[&str] = &["metric", "saved_query", "semantic_model", "snapshot", "version"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    /// As it was written.
    pub text: String,
    pub method: String,
    pub argument: String,
    pub value: String,
    pub parents: usize,
    pub children: usize,
    /// Also everything that its children are made from.
    pub at: bool,
    /// How tests come along, if not as for all others.
    pub indirect: Option<Indirect>,
}

impl Criterion {
    pub fn parse(text: &str) -> Result<Self, Problem> {
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
        let mut criterion = Criterion::of(text, method, value)?;
        (criterion.at, criterion.parents, criterion.children) = (at, parents, children);
        Ok(criterion)
    }

    /// The criterion of a method, which may have an argument behind a dot, and a value.
    pub fn of(text: &str, method: &str, value: &str) -> Result<Self, Problem> {
        let wrong = |why: &str| Problem::new(format!("`{text}` is not a selector: {why}"));
        if value.is_empty() {
            return Err(wrong("it names nothing"));
        }
        let (method, argument) = method.split_once('.').unwrap_or((method, ""));
        if UNSUPPORTED_METHODS.contains(&method) {
            return Err(Problem::unsupported(format!("the selector method `{method}`")));
        }
        if !METHODS.contains(&method) {
            return Err(Problem::unknown("selector method", method, METHODS.iter().copied()));
        }
        if (method == "config") == argument.is_empty() {
            return Err(match method {
                "config" => wrong("say which configuration, as in config.materialized:incremental"),
                _ => wrong(&format!("`{method}` takes nothing after a dot")),
            });
        }
        Ok(Criterion {
            text: text.to_owned(),
            method: method.to_owned(),
            argument: argument.to_owned(),
            value: value.to_owned(),
            parents: 0,
            children: 0,
            at: false,
            indirect: None,
        })
    }

    /// Whether it names things that have to be there, unlike a property that nothing may have.
    pub fn is_name(&self) -> bool {
        let names = ["fqn", "path", "file", "source", "test_name", "exposure", "group", "package"];
        names.contains(&self.method.as_str()) && !self.value.contains(['*', '?', '['])
    }
}
