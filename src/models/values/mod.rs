//! The values of templates that Python has and Jinja's engine does not: lists and maps that change in place, tuples,
//! sets. Filters, loops and operators see sequences and maps; printed, they look as in Python.

mod dict;
mod list;
mod set;
mod tuple;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::value::{ObjectRepr, Rest, ValueKind};
use minijinja::{Environment, Error, Value};
use serde_json::Value as Json;

pub use dict::Dict;
pub use list::List;
pub use set::Set;
pub use tuple::Tuple;

use super::literals;
use super::problem::Problem;

/// The functions that literals are put into.
pub fn install(env: &mut Environment<'static>) {
    env.add_function(literals::LIST, |items: Value| Ok::<_, Error>(Value::from_object(List::of(&items)?)));
    env.add_function(literals::TUPLE, |items: Value| Ok::<_, Error>(Value::from_object(Tuple::of(&items)?)));
    env.add_function(literals::DICT, |entries: Rest<Value>| {
        let pairs = entries.chunks(2).filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())));
        Ok::<_, Error>(Value::from_object(Dict::from_pairs(pairs)?))
    });
    env.add_function(literals::BOUND, |value: Rest<Value>| bound(value.0.into_iter().next().unwrap_or_default()));
    env.add_function("dict", |arguments: Rest<Value>| Dict::of(&arguments).map(Value::from_object));
    env.add_filter("list", |items: Value| Ok::<_, Error>(Value::from_object(List::of(&items)?)));
}

/// A value as `set` keeps it: what an operator or a filter made of sequences becomes a list of its own.
fn bound(value: Value) -> Result<Value, Error> {
    let plain = value.as_object().is_some_and(|object| {
        matches!(object.repr(), ObjectRepr::Seq | ObjectRepr::Iterable) && object.type_name().contains("minijinja")
            || object.type_name().starts_with("alloc::vec::Vec<")
    });
    Ok(if plain { Value::from_object(List::of(&value)?) } else { value })
}

/// Plain data as values that can be changed, and that nothing else changes with.
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Array(items) => Value::from_object(List::new(items.iter().map(from_json).collect())),
        Json::Object(map) => {
            let pairs = map.iter().map(|(key, value)| (Value::from(key.as_str()), from_json(value)));
            // Texts can be keys.
            Dict::from_pairs(pairs).map(Value::from_object).unwrap_or_default()
        }
        Json::String(text) => Value::from(text.as_str()),
        plain => Value::from_serialize(plain),
    }
}

/// As Python's `repr`.
fn shown(f: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    match value.as_str() {
        Some(text) => {
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            write!(f, "{quote}")?;
            for c in text.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    _ if c == quote => write!(f, "\\{c}")?,
                    _ => write!(f, "{c}")?,
                }
            }
            write!(f, "{quote}")
        }
        None => write!(f, "{value}"),
    }
}

fn shown_items(f: &mut fmt::Formatter<'_>, items: &[Value]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        f.write_str(if i > 0 { ", " } else { "" })?;
        shown(f, item)?;
    }
    Ok(())
}

fn items_of(value: &Value) -> Result<Vec<Value>, Error> {
    Ok(value.try_iter()?.collect())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value that held itself could never be printed or compared.
fn ensure_apart<T>(holder: &Arc<T>, values: &[Value]) -> Result<(), Error> {
    let goal = Arc::as_ptr(holder).cast::<()>();
    let mut seen = HashSet::new();
    let mut left: Vec<Value> = values.to_vec();
    while let Some(value) = left.pop() {
        let Some(object) = value.as_object() else { continue };
        if object.type_name().contains("namespace") {
            return Err(Problem::unsupported("a namespace in a list or map").hint("a dict can be changed too").into());
        }
        let at = if let Some(list) = value.downcast_object::<List>() {
            Arc::as_ptr(&list).cast::<()>()
        } else if let Some(dict) = value.downcast_object::<Dict>() {
            Arc::as_ptr(&dict).cast::<()>()
        } else if !object.type_name().contains("Tuple") {
            continue;
        } else {
            std::ptr::null()
        };
        if at == goal {
            return Err(Problem::new("a list or map cannot be put into itself").into());
        }
        if at.is_null() || seen.insert(at) {
            match value.kind() {
                ValueKind::Map => left.extend(object.try_iter_pairs().into_iter().flatten().map(|(_, v)| v)),
                _ => left.extend(object.try_iter().into_iter().flatten()),
            }
        }
    }
    Ok(())
}
