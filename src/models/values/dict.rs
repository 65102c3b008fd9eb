//! A map that can be changed where it is, and that keeps the order of its entries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::{List, Tuple, ensure_apart, items_of, locked, shown};
use crate::models::problem::Problem;

#[derive(Debug, Default)]
pub struct Dict(Mutex<Entries>);

#[derive(Debug, Default, Clone)]
struct Entries {
    pairs: Vec<(Value, Value)>,
    /// Where each key stands in the pairs.
    at: BTreeMap<Value, usize>,
}

impl Entries {
    fn put(&mut self, key: Value, value: Value) -> Result<(), Error> {
        let is_key = key.as_object().is_none_or(|o| o.type_name().contains("Tuple"));
        if !is_key {
            return Err(Problem::new(format!("{key} cannot be the key of a map")).into());
        }
        match self.at.get(&key).and_then(|at| self.pairs.get_mut(*at)) {
            Some(pair) => pair.1 = value,
            None => {
                self.at.insert(key.clone(), self.pairs.len());
                self.pairs.push((key, value));
            }
        }
        Ok(())
    }

    fn get(&self, key: &Value) -> Option<Value> {
        self.at.get(key).and_then(|at| self.pairs.get(*at)).map(|(_, value)| value.clone())
    }

    fn take(&mut self, key: &Value) -> Option<Value> {
        let (_, value) = self.pairs.remove(self.at.remove(key)?);
        self.at = self.pairs.iter().enumerate().map(|(at, (key, _))| (key.clone(), at)).collect();
        Some(value)
    }
}

impl Dict {
    pub fn from_pairs(pairs: impl IntoIterator<Item = (Value, Value)>) -> Result<Self, Error> {
        let mut entries = Entries::default();
        for (key, value) in pairs {
            entries.put(key, value)?;
        }
        Ok(Dict(Mutex::new(entries)))
    }

    /// As Python's `dict(...)`: of a map, of pairs, and of what is named.
    pub fn of(arguments: &[Value]) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for argument in arguments {
            pairs.extend(pairs_of(argument)?);
        }
        Dict::from_pairs(pairs)
    }

    fn entries(&self) -> Entries {
        locked(&self.0).clone()
    }
}

/// The entries of a map, or of a sequence of pairs.
fn pairs_of(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    if value.kind() == ValueKind::Map {
        return value.try_iter()?.map(|key| Ok((key.clone(), value.get_item(&key)?))).collect();
    }
    let pair = |item: Value| match items_of(&item)?.as_slice() {
        [key, value] => Ok((key.clone(), value.clone())),
        _ => Err(Problem::new(format!("{item} is no pair of a key and a value")).into()),
    };
    value.try_iter()?.map(pair).collect()
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        locked(&self.0).get(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries().pairs.into_iter().map(|(key, _)| key).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(locked(&self.0).pairs.len())
    }

    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let list = |items: Vec<Value>| Ok(Value::from_object(List::new(items)));
        match method {
            "keys" => {
                let () = from_args(arguments)?;
                list(self.entries().pairs.into_iter().map(|(key, _)| key).collect())
            }
            "values" => {
                let () = from_args(arguments)?;
                list(self.entries().pairs.into_iter().map(|(_, value)| value).collect())
            }
            "items" => {
                let () = from_args(arguments)?;
                let pair = |(key, value)| Value::from_object(Tuple::new(vec![key, value]));
                list(self.entries().pairs.into_iter().map(pair).collect())
            }
            "get" => {
                let (key, default): (&Value, Option<Value>) = from_args(arguments)?;
                Ok(locked(&self.0).get(key).or(default).unwrap_or_else(|| Value::from(())))
            }
            "update" => {
                let mut new = Vec::new();
                for argument in arguments {
                    new.extend(pairs_of(argument)?);
                }
                ensure_apart(self, &new.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>())?;
                let mut entries = locked(&self.0);
                new.into_iter().try_for_each(|(key, value)| entries.put(key, value))?;
                Ok(Value::from(()))
            }
            "setdefault" => {
                let (key, default): (Value, Option<Value>) = from_args(arguments)?;
                let default = default.unwrap_or_else(|| Value::from(()));
                ensure_apart(self, std::slice::from_ref(&default))?;
                let mut entries = locked(&self.0);
                if entries.get(&key).is_none() {
                    entries.put(key.clone(), default)?;
                }
                Ok(entries.get(&key).unwrap_or_default())
            }
            "pop" => {
                let (key, default): (&Value, Option<Value>) = from_args(arguments)?;
                let taken = locked(&self.0).take(key);
                taken.or(default).ok_or_else(|| Problem::new(format!("`pop`: there is no key {key}")).into())
            }
            "clear" => {
                let () = from_args(arguments)?;
                *locked(&self.0) = Entries::default();
                Ok(Value::from(()))
            }
            "copy" => {
                let () = from_args(arguments)?;
                Ok(Value::from_object(Dict(Mutex::new(self.entries()))))
            }
            // A macro or a function that is kept in the map.
            _ => {
                let kept = locked(&self.0).get(&Value::from(method));
                kept.ok_or_else(|| Error::from(ErrorKind::UnknownMethod))?.call(state, arguments)
            }
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (key, value)) in self.entries().pairs.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            shown(f, key)?;
            f.write_str(": ")?;
            shown(f, value)?;
        }
        f.write_str("}")
    }
}
