//! The macros of a project: any of them may call any other, in whatever file or order they stand.
//!
//! Every macro is a template of its own and a global function. Calling the function evaluates the template in the scope
//! of the node that is being rendered and calls the macro in it, so lines in errors are those of the macro's file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, Rest};
use minijinja::{Environment, Error, State, Value};

use super::blocks;
use super::context;
use super::files::{self, Found};
use super::jinja::{Jinja, macro_template};
use super::problem::Problem;
use super::returned;
use super::scope::Scope;
use crate::error::{Place, Result};

/// Macros that every project has and may replace.
const BUILT_IN: (&str, &str) = ("built-in macros", include_str!("built_in.sql"));
const BUILT_IN_PACKAGE: &str = "dbt";

/// What generic tests are called by, before their own name.
pub const TEST_PREFIX: &str = "test_";

#[derive(Debug)]
struct Macro {
    unique_id: String,
    template: String,
    path: String,
    line: usize,
    /// The macros that its text names.
    calls: BTreeSet<String>,
}

/// A macro as listings show it.
#[derive(Debug)]
pub struct Listed<'a> {
    pub name: &'a str,
    pub unique_id: &'a str,
    pub path: &'a str,
    pub text: String,
    /// The unique ids of those that its text names.
    pub calls: Vec<&'a str>,
}

#[derive(Debug, Default)]
pub struct Macros {
    by_name: BTreeMap<String, Macro>,
}

impl Macros {
    /// Reads the files and registers their macros, the built-in ones first.
    pub fn load(
        jinja: &mut Jinja,
        root: &std::path::Path,
        files: &[Found],
        generic_tests: &[Found],
        project: &str,
    ) -> Result<Self> {
        let mut macros = Macros::default();
        macros.add_file(jinja, BUILT_IN.0, BUILT_IN.1, BUILT_IN_PACKAGE)?;
        for file in files.iter().chain(generic_tests) {
            macros.add_file(jinja, &file.path, &files::read(root, &file.path)?, project)?;
        }
        macros.register(jinja, project);
        Ok(macros)
    }

    fn add_file(&mut self, jinja: &mut Jinja, path: &str, text: &str, package: &str) -> Result<()> {
        jinja.add_text(path, text);
        let found = blocks::find(text).map_err(|(offset, p)| p.at(Place::at_offset(path, text, offset)))?;
        for block in found {
            let place = Place::at_offset(path, text, block.whole.start);
            let mut source = text[block.whole.clone()].to_owned();
            let name = match block.word.as_str() {
                "macro" => block.name,
                "test" | "data_test" => {
                    // Jinja has no tests of tables, so the block becomes a macro in its own place.
                    let start = block.whole.start;
                    source.replace_range(block.closing.start - start..block.closing.end - start, "endmacro");
                    let header = block.opening.start - start..block.opening.end - start;
                    let rest = source[header.end..].trim_start();
                    let named = header.end + (source.len() - header.end - rest.len());
                    source.replace_range(named..named, TEST_PREFIX);
                    source.replace_range(header, "macro");
                    format!("{TEST_PREFIX}{}", block.name)
                }
                word => return Err(Problem::unsupported(format!("a `{word}` block")).at(place)),
            };
            if context::is_reserved(&name) {
                let problem =
                    Problem::new(format!("a macro cannot be called `{name}`: the name has a meaning of its own"));
                return Err(problem.at(place));
            }
            if let Some(other) = self.by_name.get(&name).filter(|m| m.path != BUILT_IN.0) {
                let problem = Problem::new(format!("there are two macros called `{name}`"));
                return Err(problem.hint(format!("the other one is at {}:{}", other.path, other.line)).at(place));
            }
            let padding = "\n".repeat(place.line - 1) + &" ".repeat(place.column - 1);
            let template = macro_template(path, &name);
            jinja.add_template(&template, &(padding + &source))?;
            let unique_id = format!("macro.{package}.{name}");
            let known = Macro { unique_id, template, path: path.to_owned(), line: place.line, calls: BTreeSet::new() };
            self.by_name.insert(name, known);
        }
        Ok(())
    }

    fn register(&mut self, jinja: &mut Jinja, project: &str) {
        let names: BTreeSet<String> = self.by_name.keys().cloned().collect();
        for known in self.by_name.values_mut() {
            known.calls = named(&jinja.env, &known.template, project, |name| names.contains(name));
        }
        let functions = self.by_name.iter().map(|(name, known)| (name, known, function(name, &known.template)));
        let functions: Vec<_> = functions.collect();
        let own = functions.iter().filter(|(_, known, _)| known.path != BUILT_IN.0);
        let package = Package(own.map(|(name, _, function)| ((*name).clone(), function.clone())).collect());
        jinja.env.add_global(project.to_owned(), Value::from_object(package));
        for (name, _, function) in functions {
            jinja.env.add_global(name.clone(), function);
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// All macros, for those who list them.
    pub fn all<'a>(&'a self, jinja: &'a Jinja) -> impl Iterator<Item = Listed<'a>> {
        self.by_name.iter().map(|(name, known)| {
            let unique_id = |name: &String| self.by_name.get(name).map(|m| m.unique_id.as_str());
            Listed {
                name,
                unique_id: &known.unique_id,
                path: &known.path,
                text: jinja.env.get_template(&known.template).map_or(String::new(), |t| t.source().trim().to_owned()),
                calls: known.calls.iter().filter_map(unique_id).collect(),
            }
        })
    }

    /// The names of the generic tests, without their prefix.
    pub fn generic_tests(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().filter_map(|name| name.strip_prefix(TEST_PREFIX))
    }

    /// The unique ids of the macros that a template names, and of those that they name in turn.
    pub fn used_by(&self, jinja: &Jinja, template: &str, project: &str) -> Vec<String> {
        self.closure(named(&jinja.env, template, project, |name| self.has(name)))
    }

    pub fn closure(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut left: Vec<String> = names.into_iter().collect();
        while let Some(name) = left.pop() {
            if let Some(known) = self.by_name.get(&name).filter(|m| seen.insert(m.unique_id.clone())) {
                left.extend(known.calls.iter().cloned());
            }
        }
        seen.into_iter().collect()
    }

    /// The names of a macro's parameters.
    pub fn parameters(&self, jinja: &Jinja, scope: &Arc<Scope>, name: &str) -> Vec<String> {
        let found = self.by_name.get(name).and_then(|m| {
            let captured = jinja.env.get_template(&m.template).ok()?.render_captured(scope.value()).ok()?;
            let names = captured.state().lookup(name)?.get_attr("arguments").ok()?;
            Some(names.try_iter().ok()?.map(|name| name.to_string()).collect())
        });
        found.unwrap_or_default()
    }

    /// Calls a macro on behalf of the program, in a scope.
    pub fn call(&self, jinja: &Jinja, scope: &Arc<Scope>, name: &str, arguments: &[Value]) -> Result<Value> {
        let template = self.by_name.get(name).map_or("", |m| m.template.as_str());
        call(&jinja.env, scope, template, name, arguments).map_err(|e| jinja.error(&e, template))
    }
}

/// Which of the macros a template names anywhere in its text.
fn named(env: &Environment<'_>, template: &str, project: &str, is_macro: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let Ok(template) = env.get_template(template) else { return BTreeSet::new() };
    let used = template.undeclared_variables(true);
    let plain = used.iter().map(|used| {
        let own = used.strip_prefix(project).and_then(|rest| rest.strip_prefix('.')).unwrap_or(used);
        own.split('.').next().unwrap_or(own)
    });
    plain.filter(|name| is_macro(name)).map(str::to_owned).collect()
}

/// The macros of the project by their full names, as in `{{ telecom.mask_phone('msisdn') }}`.
#[derive(Debug)]
struct Package(BTreeMap<String, Value>);

impl Object for Package {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).cloned()
    }

    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match self.0.get(method) {
            Some(function) => function.call(state, arguments),
            None => Err(Problem::unknown("macro", method, self.0.keys().map(String::as_str)).into()),
        }
    }
}

fn function(name: &str, template: &str) -> Value {
    let (name, template) = (name.to_owned(), template.to_owned());
    Value::from_function(move |state: &State, arguments: Rest<Value>| -> Result<Value, Error> {
        let scope = Scope::of(state)?;
        if let Some(value) = scope.overridden(&name) {
            return Ok(value);
        }
        let arguments = with_caller(state, &name, arguments.0)?;
        call(state.env(), &scope, &template, &name, &arguments)
    })
}

fn call(
    env: &Environment<'_>,
    scope: &Arc<Scope>,
    template: &str,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let _level = scope.enter(name)?;
    let captured = env.get_template(template)?.render_captured(scope.value())?;
    match captured.state().call_macro(name, arguments) {
        Ok(text) => Ok(Value::from(text)),
        Err(error) => returned::value(&error).ok_or(error),
    }
}

/// The body of a `{% call %}` block belongs to the template of the caller and cannot be rendered in that of the macro,
/// so it is rendered before; `caller()` then gives its text.
fn with_caller(state: &State, name: &str, mut arguments: Vec<Value>) -> Result<Vec<Value>, Error> {
    let Some(keywords) = arguments.last().filter(|last| last.is_kwargs()).cloned() else { return Ok(arguments) };
    let Ok(body) = keywords.get_attr("caller") else { return Ok(arguments) };
    if body.is_undefined() {
        return Ok(arguments);
    }
    if body.get_attr("arguments").ok().and_then(|a| a.len()).is_some_and(|n| n > 0) {
        return Err(Problem::unsupported(format!("a call block with arguments, around `{name}`")).into());
    }
    let text = body.call(state, &[])?;
    let caller = Value::from_function(move || text.clone());
    let mut entries = Vec::new();
    for key in keywords.try_iter()? {
        let value = if key.as_str() == Some("caller") { caller.clone() } else { keywords.get_item(&key)? };
        entries.push((key.to_string(), value));
    }
    arguments.pop();
    arguments.push(Kwargs::from_iter(entries).into());
    Ok(arguments)
}
