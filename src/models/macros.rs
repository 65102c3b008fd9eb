//! The macros of a project: any of them may call any other, in whatever file or order they stand.
//!
//! Every macro is a template of its own and a global function. Calling the function evaluates the template in the scope
//! of the node that is being rendered and calls the macro in it, so lines in errors are those of the macro's file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use minijinja::value::{Kwargs, Object, Rest};
use minijinja::{Environment, Error, State, Value};

use super::adapter;
use super::blocks;
use super::context;
use super::files::{self, Found};
use super::jinja::{Jinja, macro_template};
use super::problem::Problem;
use super::returned;
use super::scope::{Frame, Scope};
use super::values::{Dict, List};
use crate::error::{Place, Result};

/// Macros that every project has and may replace.
const BUILT_IN: [(&str, &str); 2] = [
    ("built-in macros", include_str!("built_in.sql")),
    ("built-in macros across databases", include_str!("cross_database.sql")),
];
pub const BUILT_IN_PACKAGE: &str = "dbt";

/// What generic tests are called by, before their own name.
pub const TEST_PREFIX: &str = "test_";

#[derive(Debug)]
struct Macro {
    unique_id: String,
    template: String,
    path: String,
    line: usize,
    /// Whether it takes arguments that it does not name.
    takes_rest: bool,
    /// The macros that its text names, by unique id.
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

/// Files of macros, and whose they are.
pub struct Package {
    pub name: String,
    pub files: Vec<Found>,
}

#[derive(Debug, Default)]
pub struct Macros {
    project: String,
    by_package: BTreeMap<String, BTreeMap<String, Macro>>,
}

/// The macros as functions, by package and name.
#[derive(Debug, Default)]
pub struct Namespaces(BTreeMap<String, BTreeMap<String, Value>>);

impl Namespaces {
    pub fn function(&self, package: &str, name: &str) -> Option<Value> {
        self.0.get(package)?.get(name).cloned()
    }
}

impl Macros {
    /// Reads the files of the project, which come first, and of its packages, and registers their macros and the
    /// built-in ones.
    pub fn load(
        jinja: &mut Jinja,
        root: &std::path::Path,
        packages: &[Package],
        namespaces: &OnceLock<Namespaces>,
    ) -> Result<Self> {
        let project = packages.first().map(|package| package.name.clone()).unwrap_or_default();
        let mut macros = Macros { project, by_package: BTreeMap::new() };
        for (path, text) in BUILT_IN {
            macros.add_file(jinja, path, text, BUILT_IN_PACKAGE)?;
        }
        for package in packages {
            macros.by_package.entry(package.name.clone()).or_default();
            for file in &package.files {
                macros.add_file(jinja, &file.path, &files::read(root, &file.path)?, &package.name)?;
            }
        }
        macros.register(jinja, namespaces);
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
                "materialization" => {
                    let problem = Problem::unsupported(format!("the materialization `{}`", block.name));
                    let hint = "models are made by table, view, incremental and ephemeral";
                    return Err(problem.hint(hint).at(place));
                }
                word => return Err(Problem::unsupported(format!("a `{word}` block")).at(place)),
            };
            if context::is_reserved(&name) && package != BUILT_IN_PACKAGE {
                let problem =
                    Problem::new(format!("a macro cannot be called `{name}`: the name has a meaning of its own"));
                return Err(problem.at(place));
            }
            let siblings = self.by_package.entry(package.to_owned()).or_default();
            if let Some(other) = siblings.get(&name) {
                let problem = Problem::new(format!("there are two macros called `{name}`"));
                return Err(problem.hint(format!("the other one is at {}:{}", other.path, other.line)).at(place));
            }
            let padding = "\n".repeat(place.line - 1) + &" ".repeat(place.column - 1);
            let template = macro_template(path, &name);
            let takes_rest = source.contains("varargs") || source.contains("kwargs");
            let mut calls = BTreeSet::new();
            if source.contains("adapter.dispatch") {
                // Whom a dispatch reaches is known when it runs; by custom they are called like this.
                calls.extend([adapter::TYPE, "default"].map(|p| format!("macro.{package}.{p}__{name}")));
            }
            jinja.add_template(&template, &(padding + &source))?;
            let unique_id = format!("macro.{package}.{name}");
            let line = place.line;
            siblings.insert(name, Macro { unique_id, template, path: path.to_owned(), line, takes_rest, calls });
        }
        Ok(())
    }

    fn register(&mut self, jinja: &mut Jinja, namespaces: &OnceLock<Namespaces>) {
        let mut called = Vec::new();
        for (package, macros) in &self.by_package {
            for (name, known) in macros {
                called.push((package.clone(), name.clone(), self.named(jinja, &known.template, package)));
            }
        }
        for (package, name, calls) in called {
            if let Some(known) = self.by_package.get_mut(&package).and_then(|macros| macros.get_mut(&name)) {
                known.calls.extend(calls);
            }
        }
        let of_package = |(package, macros): (&String, &BTreeMap<String, Macro>)| {
            let functions = macros.iter().map(|(name, known)| (name.clone(), function(package, name, known)));
            (package.clone(), functions.collect::<BTreeMap<_, _>>())
        };
        let functions: BTreeMap<_, _> = self.by_package.iter().map(of_package).collect();
        for (package, functions) in &functions {
            jinja.env.add_global(package.clone(), Value::from_object(Functions(functions.clone())));
        }
        // Names without a package are the project's, else built-in.
        for package in [BUILT_IN_PACKAGE, self.project.as_str()] {
            for (name, function) in functions.get(package).into_iter().flatten() {
                jinja.env.add_global(name.clone(), function.clone());
            }
        }
        // Macros are loaded once.
        let _ = namespaces.set(Namespaces(functions));
    }

    /// The macro that a name means in a package: `name`, or `package.name`.
    fn find(&self, name: &str, package: &str) -> Option<&Macro> {
        let of = |package: &str, name: &str| self.by_package.get(package)?.get(name);
        match name.split_once('.') {
            Some((named, rest)) if self.by_package.contains_key(named) => {
                of(named, rest.split('.').next().unwrap_or(rest))
            }
            _ => {
                let name = name.split('.').next().unwrap_or(name);
                of(package, name).or_else(|| of(&self.project, name)).or_else(|| of(BUILT_IN_PACKAGE, name))
            }
        }
    }

    /// Whether the project has a macro of this name, which may be `package.name`.
    pub fn has(&self, name: &str) -> bool {
        self.find(name, &self.project).is_some()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_package.values().flat_map(|macros| macros.keys()).map(String::as_str)
    }

    /// All macros, for those who list them.
    pub fn all<'a>(&'a self, jinja: &'a Jinja) -> impl Iterator<Item = Listed<'a>> {
        self.by_package.values().flatten().map(|(name, known)| Listed {
            name,
            unique_id: &known.unique_id,
            path: &known.path,
            text: jinja.written(&known.template).trim().to_owned(),
            calls: known.calls.iter().filter_map(|id| self.by_id(id)).map(|m| m.unique_id.as_str()).collect(),
        })
    }

    /// The names of the generic tests, without their prefix.
    pub fn generic_tests(&self) -> impl Iterator<Item = &str> {
        self.names().filter_map(|name| name.strip_prefix(TEST_PREFIX))
    }

    /// The macro of a generic test, which may be `package.test`, as its own package or the project has it.
    pub fn generic_test(&self, test: &str, package: &str) -> Option<String> {
        let name = match test.split_once('.') {
            Some((package, test)) => format!("{package}.{TEST_PREFIX}{test}"),
            None => format!("{TEST_PREFIX}{test}"),
        };
        self.find(&name, package).map(|known| known.unique_id.clone())
    }

    /// The unique ids of the macros that a template names, and of those that they name in turn.
    pub fn used_by(&self, jinja: &Jinja, template: &str, package: &str) -> Vec<String> {
        self.closure(self.named(jinja, template, package))
    }

    /// The macros of these unique ids, and those that they name in turn.
    pub fn closure(&self, ids: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut left: Vec<String> = ids.into_iter().collect();
        while let Some(id) = left.pop() {
            if let Some(known) = self.by_id(&id).filter(|m| seen.insert(m.unique_id.clone())) {
                left.extend(known.calls.iter().cloned());
            }
        }
        seen.into_iter().collect()
    }

    fn by_id(&self, id: &str) -> Option<&Macro> {
        let (package, name) = id.strip_prefix("macro.")?.split_once('.')?;
        self.by_package.get(package)?.get(name)
    }

    /// The names of the parameters of a macro, by its unique id.
    pub fn parameters(&self, jinja: &Jinja, scope: &Arc<Scope>, id: &str) -> Vec<String> {
        let found = self.by_id(id).and_then(|known| {
            let captured = jinja.env.get_template(&known.template).ok()?.render_captured(scope.value()).ok()?;
            let (_, name) = id.rsplit_once('.')?;
            let names = captured.state().lookup(name)?.get_attr("arguments").ok()?;
            Some(names.try_iter().ok()?.map(|name| name.to_string()).collect())
        });
        found.unwrap_or_default()
    }

    /// Calls a macro on behalf of the program, in a scope.
    pub fn call(&self, jinja: &Jinja, scope: &Arc<Scope>, name: &str, arguments: &[Value]) -> Result<Value> {
        let Some(known) = self.find(name, &self.project) else {
            return Err(Problem::unknown("macro", name, self.names()).error());
        };
        self.call_known(jinja, scope, known, arguments)
    }

    /// The same by unique id.
    pub fn call_id(&self, jinja: &Jinja, scope: &Arc<Scope>, id: &str, arguments: &[Value]) -> Result<Value> {
        match self.by_id(id) {
            Some(known) => self.call_known(jinja, scope, known, arguments),
            None => Err(Problem::unknown("macro", id, self.names()).error()),
        }
    }

    fn call_known(&self, jinja: &Jinja, scope: &Arc<Scope>, known: &Macro, arguments: &[Value]) -> Result<Value> {
        let called = Called::of(known);
        called.call(&jinja.env, scope, arguments).map_err(|e| jinja.error(&e, &known.template))
    }

    /// Which macros a template names anywhere in its text, by unique id.
    fn named(&self, jinja: &Jinja, template: &str, package: &str) -> BTreeSet<String> {
        let Ok(template) = jinja.env.get_template(template) else { return BTreeSet::new() };
        let used = template.undeclared_variables(true);
        used.iter().filter_map(|name| self.find(name, package)).map(|known| known.unique_id.clone()).collect()
    }
}

/// The macros of a package by their full names, as in `{{ telecom.mask_phone('msisdn') }}`.
#[derive(Debug)]
struct Functions(BTreeMap<String, Value>);

impl Object for Functions {
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

fn function(package: &str, name: &str, known: &Macro) -> Value {
    let is_built_in = package == BUILT_IN_PACKAGE;
    let called = Called::of(known);
    let name = name.to_owned();
    Value::from_function(move |state: &State, arguments: Rest<Value>| -> Result<Value, Error> {
        let scope = Scope::of(state)?;
        if let Some(value) = scope.overridden(&name) {
            return Ok(value);
        }
        if is_built_in && let Some(own) = scope.stand_in(&name) {
            return own.call(state, &arguments);
        }
        let arguments = with_caller(state, &name, arguments.0)?;
        called.call(state.env(), &scope, &arguments)
    })
}

/// What it takes to call a macro.
#[derive(Debug, Clone)]
struct Called {
    package: String,
    name: String,
    template: String,
    takes_rest: bool,
}

impl Called {
    fn of(known: &Macro) -> Self {
        let mut parts = known.unique_id.splitn(3, '.').skip(1).map(str::to_owned);
        Called {
            package: parts.next().unwrap_or_default(),
            name: parts.next().unwrap_or_default(),
            template: known.template.clone(),
            takes_rest: known.takes_rest,
        }
    }

    fn call(&self, env: &Environment<'_>, scope: &Arc<Scope>, arguments: &[Value]) -> Result<Value, Error> {
        let mut frame = Frame {
            package: self.package.clone(),
            varargs: Value::from(Vec::<Value>::new()),
            kwargs: Value::from_object(Dict::default()),
        };
        let template = env.get_template(&self.template)?;
        let mut arguments = arguments.to_vec();
        if self.takes_rest {
            let _level = scope.enter(&self.name, frame.clone())?;
            let captured = template.render_captured(scope.value())?;
            let declared = captured.state().lookup(&self.name).and_then(|m| m.get_attr("arguments").ok());
            split_rest(declared, &mut arguments, &mut frame)?;
        }
        let _level = scope.enter(&self.name, frame)?;
        let captured = template.render_captured(scope.value())?;
        match captured.state().call_macro(&self.name, &arguments) {
            Ok(text) => Ok(Value::from(text)),
            Err(error) => returned::value(&error).ok_or(error),
        }
    }
}

/// Takes what a macro does not name out of its arguments: those are `varargs` and `kwargs`.
fn split_rest(declared: Option<Value>, arguments: &mut Vec<Value>, frame: &mut Frame) -> Result<(), Error> {
    let declared: Vec<String> = match declared {
        Some(names) => names.try_iter()?.map(|name| name.to_string()).collect(),
        None => Vec::new(),
    };
    let keywords = arguments.pop_if(|last| last.is_kwargs());
    if arguments.len() > declared.len() {
        frame.varargs = Value::from_object(List::new(arguments.split_off(declared.len())));
    }
    let (mut known, mut rest) = (Vec::new(), Vec::new());
    for key in keywords.iter().flat_map(Value::try_iter).flatten() {
        let value = keywords.as_ref().map_or(Ok(Value::UNDEFINED), |keywords| keywords.get_item(&key))?;
        let is_known = key.as_str().is_some_and(|name| name == "caller" || declared.iter().any(|d| d == name));
        if is_known { known.push((key.to_string(), value)) } else { rest.push((key, value)) }
    }
    frame.kwargs = Value::from_object(Dict::from_pairs(rest)?);
    if !known.is_empty() {
        arguments.push(Kwargs::from_iter(known).into());
    }
    Ok(())
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
