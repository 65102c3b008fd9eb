//! The functions of dbt's context that need nothing but their arguments: JSON, YAML, sets, zips, digests, printing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use md5::{Digest, Md5};
use minijinja::value::{Enumerator, Kwargs, Object, Rest};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde::Serialize;
use serde_json::Value as Json;

use super::modules::Modules;
use super::problem::Problem;
use super::values::{Dict, List, Set, Tuple, from_json};

pub fn install(env: &mut Environment<'static>) {
    env.add_function("tojson", |value: Value, default: Option<Value>, options: Kwargs| {
        let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
        or_default(json_text(&value, sorted).map(Value::from), default, &options)
    });
    env.add_filter("tojson", |value: Value| json_text(&value, true).map(for_html));
    env.add_function("fromjson", |text: Value, default: Option<Value>, options: Kwargs| {
        or_default(read(&text, "JSON", |text| serde_json::from_str(text).map_err(|e| e.to_string())), default, &options)
    });
    env.add_function("toyaml", |value: Value, default: Option<Value>, options: Kwargs| {
        let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
        let text = plain(&value, sorted).and_then(|json| {
            serde_yaml_ng::to_string(&json).map_err(|e| Problem::new(format!("this cannot be YAML: {e}")).into())
        });
        or_default(text.map(Value::from), default, &options)
    });
    env.add_function("fromyaml", |text: Value, default: Option<Value>, options: Kwargs| {
        let parse = |text: &str| serde_yaml_ng::from_str(text).map_err(|e| e.to_string());
        or_default(read(&text, "YAML", parse), default, &options)
    });
    env.add_function("set", |items: Value, default: Option<Value>, options: Kwargs| {
        or_default(Set::of(&items).map(Value::from_object), default, &options)
    });
    env.add_function("set_strict", |items: Value| Set::of(&items).map(Value::from_object));
    env.add_function("zip", |arguments: Rest<Value>, options: Kwargs| or_default(zip(&arguments), None, &options));
    env.add_function("zip_strict", |arguments: Rest<Value>| zip(&arguments));
    env.add_function("local_md5", |text: &str| format!("{:x}", Md5::digest(text)));
    env.add_function("print", print);
    env.add_function("diff_of_two_dicts", difference);
    env.add_function("try_or_compiler_error", try_or_compiler_error);
    env.add_global("modules", Value::from_object(Modules));
    env.add_global("builtins", Value::from_object(Builtins));
    env.add_global("dbt_version", Value::from(DBT_VERSION));
}

/// The version of dbt whose documented behaviour is kept to.
pub const DBT_VERSION: &str = "1.12.0";

/// What went wrong gives way to a default, if there is one, by position or by name.
fn or_default(made: Result<Value, Error>, default: Option<Value>, options: &Kwargs) -> Result<Value, Error> {
    let named = if options.has("default") { Some(options.get::<Value>("default")?) } else { None };
    options.assert_all_used()?;
    match (made, default.or(named)) {
        (Err(_), Some(default)) => Ok(default),
        (made, _) => made,
    }
}

fn read(text: &Value, what: &str, parse: impl Fn(&str) -> Result<Json, String>) -> Result<Value, Error> {
    let Some(text) = text.as_str() else { return Err(Problem::new(format!("{text} is not a text of {what}")).into()) };
    let json = parse(text).map_err(|e| Problem::new(format!("this text is not {what}: {e}")))?;
    Ok(from_json(&json))
}

/// A value as plain data.
pub fn plain(value: &Value, sorted: bool) -> Result<Json, Error> {
    let json = serde_json::to_value(value).map_err(|e| Problem::new(format!("{value} is not plain data: {e}")))?;
    Ok(if sorted { in_order(json) } else { json })
}

fn in_order(json: Json) -> Json {
    match json {
        Json::Array(items) => items.into_iter().map(in_order).collect(),
        Json::Object(map) => {
            let sorted: BTreeMap<String, Json> = map.into_iter().map(|(key, value)| (key, in_order(value))).collect();
            sorted.into_iter().collect()
        }
        plain => plain,
    }
}

/// JSON with blanks behind commas and colons, as Python writes it.
#[derive(Debug)]
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

fn json_text(value: &Value, sorted: bool) -> Result<String, Error> {
    let json = plain(value, sorted)?;
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Spaced);
    let written = json.serialize(&mut serializer).map_err(|e| e.to_string());
    written
        .and_then(|()| String::from_utf8(bytes).map_err(|e| e.to_string()))
        .map_err(|e| Problem::new(format!("this cannot be JSON: {e}")).into())
}

/// The filter of Jinja writes what can stand in a page.
fn for_html(json: String) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").replace('\'', "\\u0027")
}

fn zip(arguments: &[Value]) -> Result<Value, Error> {
    let pools = arguments.iter().map(|a| Ok(a.try_iter()?.collect::<Vec<_>>())).collect::<Result<Vec<_>, Error>>()?;
    let shortest = pools.iter().map(Vec::len).min().unwrap_or(0);
    let row = |i: usize| pools.iter().filter_map(|pool| pool.get(i).cloned()).collect();
    Ok(Value::from_object(List::new((0..shortest).map(|i| Value::from_object(Tuple::new(row(i)))).collect())))
}

fn print(message: Value) -> Result<&'static str, Error> {
    // Nobody may be reading.
    let _ = writeln!(io::stdout(), "{message}");
    Ok("")
}

/// Of two maps of lists of texts, what only the first one has, whatever the case of the letters.
fn difference(first: Value, second: Value) -> Result<Value, Error> {
    let lower = |value: &Value| value.to_string().to_lowercase();
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in second.try_iter()? {
        known.insert(lower(&key), second.get_item(&key)?.try_iter()?.map(|item| lower(&item)).collect());
    }
    let mut left = Vec::new();
    for key in first.try_iter()? {
        let others = known.get(&lower(&key));
        let items = first.get_item(&key)?.try_iter()?;
        let own: Vec<Value> = items.filter(|item| !others.is_some_and(|o| o.contains(&lower(item)))).collect();
        if !own.is_empty() {
            left.push((key, Value::from_object(List::new(own))));
        }
    }
    Ok(Value::from_object(Dict::from_pairs(left)?))
}

fn try_or_compiler_error(
    state: &State<'_, '_>,
    message: String,
    function: Value,
    arguments: Rest<Value>,
) -> Result<Value, Error> {
    function.call(state, &arguments).map_err(|e| Problem::new(message).hint(e.to_string()).into())
}

/// `builtins`: the functions of the context, whatever a macro of the same name does.
#[derive(Debug)]
struct Builtins;

const BUILTINS: &[&str] =
    &["ref", "source", "config", "var", "env_var", "log", "return", "print", "tojson", "fromjson"];

impl Object for Builtins {
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(BUILTINS)
    }

    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match state.lookup(method).filter(|_| BUILTINS.contains(&method)) {
            Some(function) => function.call(state, arguments),
            None => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
