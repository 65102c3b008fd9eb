//! The functions that templates call: `ref`, `source`, `config`, `var` and, in `functions`, what needs no project.
//!
//! They are the same for all templates of a project; what they answer depends on the [`Scope`]. Nothing here reads a
//! clock, and only `env_var` reads the environment.

use std::sync::Arc;

use minijinja::value::{Kwargs, Object, Rest, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::config;
use super::graph::Dependency;
use super::problem::Problem;
use super::returned;
use super::scope::{Phase, Scope, VARIABLES};
use super::{adapter, functions, queries, values};

/// Names of dbt that nothing here answers to.
pub const UNSUPPORTED: &[&str] = &["load_agate_table", "context"];

const FUNCTIONS: &[&str] = &[
    "ref",
    "source",
    "config",
    "var",
    "env_var",
    "is_incremental",
    "log",
    "return",
    "doc",
    "exceptions",
    "range",
    "dict",
    "namespace",
    "caller",
    "loop",
    "tojson",
    "fromjson",
    "toyaml",
    "fromyaml",
    "set",
    "set_strict",
    "zip",
    "zip_strict",
    "print",
    "local_md5",
    "diff_of_two_dicts",
    "try_or_compiler_error",
    "modules",
    "builtins",
    "dbt_version",
    "run_query",
    "statement",
    "load_result",
    "store_result",
    "load_relation",
    "adapter",
    "api",
    "dbt",
];

/// Whether a macro of this name would hide something that templates rely on.
pub fn is_reserved(name: &str) -> bool {
    FUNCTIONS.contains(&name) || VARIABLES.contains(&name)
}

pub fn install(env: &mut Environment<'static>) {
    env.add_function("ref", reference);
    env.add_function("source", source);
    env.add_function("env_var", env_var);
    env.add_function("is_incremental", |state: &State| Scope::of(state).map(|scope| scope.is_incremental()));
    env.add_function("log", log);
    env.add_function("return", returned::leave);
    env.add_function("doc", doc);
    env.add_global("var", Value::from_object(Var));
    env.add_global("config", Value::from_object(Config));
    env.add_global("exceptions", Value::from_object(Exceptions));
    functions::install(env);
    queries::install(env);
    adapter::install(env);
    values::install(env);
}

/// Python's methods of texts, lists and maps.
pub fn unknown_method(state: &State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments).map_err(|error| {
        match (error.kind(), method) {
            (ErrorKind::UnknownMethod, "append" | "extend" | "update" | "insert" | "pop" | "remove") => {
                let problem = Problem::new(format!("`{method}` cannot change what a filter or an operator has made"));
                problem.hint("bind it first: {% set name = ... %} makes a value that can be changed").into()
            }
            (ErrorKind::UnknownMethod, _) if value.is_undefined() => {
                Problem::new(format!("`{method}` of a value that is not defined")).into()
            }
            (ErrorKind::UnknownMethod, _) => Problem::new(format!("unknown method `{method}` of {value}")).into(),
            _ => error,
        }
    })
}

fn text<'a>(function: &str, value: &'a Value) -> Result<&'a str, Error> {
    value.as_str().ok_or_else(|| {
        let what = if value.is_undefined() { "a name that is not defined".to_owned() } else { format!("{value:?}") };
        let problem = Problem::new(format!("`{function}` needs a text, but it was given {what}"));
        problem.hint(format!("put it in quotes: {function}('…')")).into()
    })
}

fn reference(state: &State, arguments: Rest<Value>) -> Result<Value, Error> {
    let scope = Scope::of(state)?;
    if arguments.last().is_some_and(Value::is_kwargs) {
        return Err(Problem::unsupported("a version in `ref`").into());
    }
    let dependency = match arguments.as_slice() {
        [name] => Dependency::Ref(text("ref", name)?.to_owned()),
        [package, name] => {
            let (package, name) = (text("ref", package)?, text("ref", name)?);
            Dependency::RefTo(package.to_owned(), name.to_owned())
        }
        _ => return Err(Problem::new("`ref` takes the name of a model or seed, as in ref('orders')").into()),
    };
    Ok(scope.depend(dependency)?)
}

fn source(state: &State, arguments: Rest<Value>) -> Result<Value, Error> {
    match arguments.as_slice() {
        [source, table] => {
            let dependency = Dependency::Source(text("source", source)?.to_owned(), text("source", table)?.to_owned());
            Ok(Scope::of(state)?.depend(dependency)?)
        }
        _ => {
            Err(Problem::new("`source` takes the names of a source and a table, as in source('shop', 'orders')").into())
        }
    }
}

/// The second argument, by position or as `default=`. None is a value like others.
fn default_of(arguments: &[Value]) -> Result<Option<Value>, Error> {
    match arguments {
        [] => Ok(None),
        [keywords] if keywords.is_kwargs() => {
            let keywords = Kwargs::try_from(keywords.clone())?;
            let default = keywords.has("default").then(|| keywords.get("default")).transpose()?;
            keywords.assert_all_used()?;
            Ok(default)
        }
        [default] => Ok(Some(default.clone())),
        _ => Err(Problem::new("this takes a name and a default").into()),
    }
}

/// `var(...)` and `var.has_var`.
#[derive(Debug)]
struct Var;

impl Object for Var {
    fn call(self: &Arc<Self>, state: &State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let (name, rest): (Value, Rest<Value>) = from_args(arguments)?;
        var(&*Scope::of(state)?, &name, &rest)
    }

    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        if method != "has_var" {
            return Err(Problem::unsupported(format!("`var.{method}`")).into());
        }
        let (name,): (&str,) = from_args(arguments)?;
        Ok(Value::from(Scope::of(state)?.var(name).is_some()))
    }
}

fn var(scope: &Scope, name: &Value, rest: &[Value]) -> Result<Value, Error> {
    let name = text("var", name)?;
    match (scope.var(name), default_of(rest)?) {
        (Some(value), _) => Ok(values::from_json(value)),
        (None, Some(default)) => Ok(default),
        (None, None) => {
            let problem = Problem::new(format!("the variable `{name}` is not set"));
            let problem = problem.nearest(name, scope.vars().keys().map(String::as_str));
            Err(if problem.has_hint() {
                problem.into()
            } else {
                problem.hint("set it under `vars:` in dbt_project.yml or with --vars, or give a default").into()
            })
        }
    }
}

/// Variables whose values have no place in compiled SQL, which artifacts and tables keep.
fn is_secret(name: &str) -> bool {
    ["MEDALLION_PII_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].contains(&name)
        || ["DBT_ENV_SECRET", "MEDALLION_KAFKA__PROPERTIES__", "MEDALLION_REGISTRY__"]
            .iter()
            .any(|p| name.starts_with(p))
}

fn env_var(state: &State, name: &str, rest: Rest<Value>) -> Result<Value, Error> {
    if let Some(value) = Scope::of(state)?.env_var(name) {
        return Ok(Value::from(value));
    }
    if is_secret(name) {
        return Err(Problem::new(format!("`{name}` is a secret, which a project may not read"))
            .hint("what a template reads stands in its SQL, for everybody")
            .into());
    }
    match (std::env::var(name), default_of(&rest)?.filter(|default| !default.is_none())) {
        (Ok(value), _) => Ok(Value::from(value)),
        (Err(_), Some(default)) => Ok(default),
        (Err(_), None) => {
            let problem = Problem::new(format!("the environment variable `{name}` is not set"));
            Err(problem.hint(format!("set it, or give a default: env_var('{name}', 'default')")).into())
        }
    }
}

fn doc(state: &State, name: &str) -> Result<String, Error> {
    let scope = Scope::of(state)?;
    let docs = &scope.shared.docs;
    let found = docs.get(name).cloned();
    found.ok_or_else(|| Problem::unknown("docs block", name, docs.keys().map(String::as_str)).into())
}

fn log(message: Value, options: Kwargs) -> Result<&'static str, Error> {
    if options.get::<Option<bool>>("info")?.unwrap_or(false) {
        tracing::info!("{message}");
    } else {
        tracing::debug!("{message}");
    }
    options.assert_all_used()?;
    Ok("")
}

/// `config(...)`, and `config.get`, `config.require`.
#[derive(Debug)]
struct Config;

impl Object for Config {
    fn call(self: &Arc<Self>, state: &State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let scope = Scope::of(state)?;
        if matches!(scope.phase, Phase::Text) {
            return Err(Problem::new("`config` cannot be used here").into());
        }
        for argument in arguments {
            for key in argument.try_iter()? {
                let value = argument.get_item(&key)?;
                if value.is_undefined() {
                    return Err(Problem::new(format!("`{key}` has no value here")).into());
                }
                let json = serde_json::to_value(&value)
                    .map_err(|e| Problem::new(format!("`{key}` does not hold plain data: {e}")))?;
                let key = key.to_string();
                config::check(scope.resource, &key, &json).map_err(|problem| problem.about(&key))?;
                scope.configure(&key, json);
            }
        }
        Ok(Value::from(""))
    }

    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let scope = Scope::of(state)?;
        let found = |key: &str| scope.configured(key).map(|json| values::from_json(&json));
        match method {
            "get" => {
                let (key, rest): (&str, Rest<Value>) = from_args(arguments)?;
                Ok(found(key).or(default_of(&rest)?).unwrap_or_else(|| Value::from(())))
            }
            "require" => {
                let (key,): (&str,) = from_args(arguments)?;
                found(key).ok_or_else(|| Problem::new(format!("the configuration `{key}` is required here")).into())
            }
            _ => Err(Problem::unsupported(format!("`config.{method}`")).into()),
        }
    }
}

#[derive(Debug)]
struct Exceptions;

impl Object for Exceptions {
    fn call_method(
        self: &Arc<Self>,
        _state: &State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        let told = |what: &str| -> Result<Value, Error> {
            let said: Vec<String> = arguments.iter().filter(|a| !a.is_kwargs()).map(Value::to_string).collect();
            let said = if said.is_empty() { method.to_owned() } else { said.join(": ") };
            Err(Problem::new(format!("{what}{said}")).into())
        };
        match method {
            "raise_compiler_error"
            | "raise_database_error"
            | "raise_dependency_error"
            | "raise_parsing_error"
            | "raise_fail_fast_error"
            | "raise_contract_error"
            | "raise_duplicate_patch_name"
            | "raise_duplicate_macro_name" => told(""),
            "raise_not_implemented" => told("not implemented: "),
            "missing_config" => told("a configuration is missing: "),
            "missing_materialization" => told("a materialization is missing: "),
            "missing_relation" => told("a relation is missing: "),
            "relation_wrong_type" => told("a relation is of another type: "),
            "column_type_missing" => told("the type of a column is missing: "),
            "warn" => {
                let (message,): (String,) = from_args(arguments)?;
                tracing::warn!("{message}");
                Ok(Value::from(""))
            }
            _ => Err(Problem::unsupported(format!("`exceptions.{method}`")).into()),
        }
    }
}
