//! The Jinja environment of a project, and its errors told with file, line and column.
//!
//! A template is named by the path of its file, and a macro's template by its file and its own name: see
//! [`macro_template`]. The texts stay here, so that an error can show the line it is about.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use regex::Regex;

use super::blocks;
use super::context;
use super::literals::Rewritten;
use super::problem::Problem;
use super::scope::{self, Scope};
use crate::error::{Error, Place, Result};

pub struct Jinja {
    pub env: Environment<'static>,
    /// The texts of the files that templates come from, by path.
    texts: BTreeMap<String, String>,
    /// What the templates were made from, by name.
    templates: BTreeMap<String, Rewritten>,
}

/// The filters of Jinja here, for who misspells one.
const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "default",
    "dictsort",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
];

/// Separates the path of a file from the name of a macro in the name of a template; no path holds it.
const SEPARATOR: char = '\0';

pub fn macro_template(path: &str, name: &str) -> String {
    format!("{path}{SEPARATOR}{name}")
}

impl Jinja {
    pub fn new() -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        // Places come from spans, which are always kept; the rest of debug mode copies sources at every error.
        env.set_debug(false);
        env.set_unknown_method_callback(context::unknown_method);
        context::install(&mut env);
        Jinja { env, texts: BTreeMap::new(), templates: BTreeMap::new() }
    }

    pub fn add_text(&mut self, path: &str, text: &str) {
        self.texts.insert(path.to_owned(), text.to_owned());
    }

    /// Compiles a template. Its text is that of the file, possibly with parts left out, but never moved.
    pub fn add_template(&mut self, name: &str, text: &str) -> Result<()> {
        let rewritten = Rewritten::template(text);
        let compiled = self.env.add_template_owned(name.to_owned(), rewritten.text.clone());
        self.templates.insert(name.to_owned(), rewritten);
        compiled.map_err(|e| {
            let ended_early = e.detail().is_some_and(|detail| detail.contains("unexpected end of input"));
            match blocks::unclosed(text).filter(|_| ended_early) {
                Some((offset, problem)) => problem.at(Place::at_offset(file_of(name), text, offset)),
                None => self.error(&e, name),
            }
        })
    }

    /// The text of a template as the user wrote it.
    pub fn written(&self, template: &str) -> &str {
        self.templates.get(template).map_or("", |made| made.original.as_str())
    }

    pub fn render(&self, template: &str, scope: &Arc<Scope>) -> Result<String> {
        let rendered = self.env.get_template(template).and_then(|t| t.render(scope.value()));
        rendered.map_err(|e| self.error(&e, template))
    }

    /// Renders a text that is not a file of its own, as those in YAML are. One expression alone keeps its type.
    pub fn render_text(&self, text: &str, scope: &Arc<Scope>) -> Result<Value, Problem> {
        let Some(expression) = alone(text) else {
            let template = Rewritten::template(text);
            let rendered = self.env.render_str(&template.text, scope.value());
            return rendered.map(Value::from).map_err(|e| self.problem(&e, &template));
        };
        let made = Rewritten::expression(expression);
        let value = self.env.compile_expression(&made.text).and_then(|e| e.eval(scope.value()));
        match value {
            Ok(value) if value.is_undefined() => Err(self.undefined(expression, expression)),
            value => value.map_err(|e| self.problem(&e, &made)),
        }
    }

    /// The error of a template as the user should read it.
    pub fn error(&self, error: &minijinja::Error, template: &str) -> Error {
        // The innermost error that has a place is the one that went wrong; those around it were under way.
        let mut inner = error;
        while let Some(next) = inner.source().and_then(|s| s.downcast_ref::<minijinja::Error>()) {
            inner = next;
        }
        let rendered = file_of(template);
        let name = inner.name().unwrap_or(template);
        let file = file_of(name);
        let unknown = Rewritten::default();
        let rewritten_from = self.templates.get(name).unwrap_or(&unknown);
        let compiled = rewritten_from.original.as_str();
        let source = self.texts.get(file).map_or(compiled, String::as_str);
        let problem = self.problem(inner, rewritten_from);
        let line = inner.line().unwrap_or(1);
        let range = inner.range().map(|range| Place::at_offset(file, compiled, rewritten_from.origin(range).start));
        let place = match (problem.word().and_then(|word| configured(compiled, word)), range) {
            (Some(offset), _) => Place::at_offset(file, compiled, offset),
            (None, Some(place)) if place.line == line => place,
            _ => Place::in_text(file, compiled, line, 1),
        };
        let told = problem.at(Place::in_text(file, source, place.line, place.column));
        if file == rendered { told } else { told.context(rendered) }
    }

    fn problem(&self, error: &minijinja::Error, made: &Rewritten) -> Problem {
        let mut cause = error.source();
        while let Some(e) = cause {
            if let Some(problem) = e.downcast_ref::<Problem>() {
                return problem.clone();
            }
            cause = e.source();
        }
        let source = made.original.as_str();
        let about = error.range().and_then(|range| source.get(made.origin(range))).unwrap_or("");
        let called = about.split(['(', ' ', '|', '.', '[']).next().unwrap_or("");
        match (error.kind(), error.detail()) {
            (ErrorKind::UndefinedError, _) => self.undefined(about, source),
            (ErrorKind::UnknownFunction, Some(detail)) => {
                self.undefined(detail.strip_suffix(" is unknown").unwrap_or(called), source)
            }
            (ErrorKind::InvalidOperation, Some(detail)) if detail.contains("undefined is not callable") => {
                self.undefined(called, source)
            }
            (ErrorKind::UnknownFilter, Some(detail)) => {
                let name = detail.trim_start_matches("filter ").trim_end_matches(" is unknown");
                Problem::unknown("filter", name, FILTERS.iter().copied())
            }
            (ErrorKind::SyntaxError, Some(detail)) if detail.contains("expected end of variable block") => {
                Problem::new(detail).hint("an expression ends with }}")
            }
            (kind, Some(detail)) => Problem::new(format!("{kind}: {detail}")),
            (kind, None) => Problem::new(kind.to_string()),
        }
    }

    fn undefined(&self, expression: &str, source: &str) -> Problem {
        let expression = expression.trim();
        if expression.is_empty() {
            return Problem::new("a value that is used here is not defined");
        }
        let root = expression.split('.').next().unwrap_or(expression);
        if context::UNSUPPORTED.contains(&root) {
            return Problem::unsupported(format!("`{expression}`"));
        }
        let problem = Problem::new(format!("`{expression}` is not defined"));
        let assigned = Regex::new(r"(?:\bset|\bfor)\s+(\w+)").ok();
        let assigned = assigned.iter().flat_map(|r| r.captures_iter(source)).filter_map(|c| Some(c.get(1)?.as_str()));
        let globals: Vec<&str> = self.env.globals().map(|(name, _)| name).collect();
        let known = globals.into_iter().chain(scope::VARIABLES.iter().copied()).chain(assigned);
        problem.nearest(root, known.filter(|name| *name != root && !name.starts_with("__"))).or_hint(
            "a template sets its own with {% set %}; a variable of the project is var('…'); a text stands in quotes",
        )
    }
}

/// The expression, if the text is nothing but that.
fn alone(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let inner = inner.strip_suffix('-').unwrap_or(inner);
    (!inner.contains("}}")).then_some(inner)
}

/// Where a key of a configuration stands in a template: the first time after `config(` as a word of its own.
fn configured(template: &str, key: &str) -> Option<usize> {
    let call = template.find("config(")?;
    let word = Regex::new(&format!(r"\b{}\b", regex::escape(key))).ok()?;
    Some(word.find_at(template, call)?.start())
}

fn file_of(template: &str) -> &str {
    template.split(SEPARATOR).next().unwrap_or(template)
}
