//! A list that can be changed where it is.

use std::fmt;
use std::sync::{Arc, Mutex};

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::{ensure_apart, items_of, locked, shown_items};
use crate::models::problem::Problem;

#[derive(Debug, Default)]
pub struct List(Mutex<Vec<Value>>);

impl List {
    pub fn new(items: Vec<Value>) -> Self {
        List(Mutex::new(items))
    }

    /// A list of what a value holds.
    pub fn of(items: &Value) -> Result<Self, Error> {
        Ok(List::new(items_of(items)?))
    }

    fn items(&self) -> Vec<Value> {
        locked(&self.0).clone()
    }

    fn add(self: &Arc<Self>, at: Option<usize>, new: Vec<Value>) -> Result<Value, Error> {
        ensure_apart(self, &new)?;
        let mut items = locked(&self.0);
        let at = at.unwrap_or(items.len()).min(items.len());
        items.splice(at..at, new);
        Ok(Value::from(()))
    }

    fn take(&self, at: i64) -> Result<Value, Error> {
        let mut items = locked(&self.0);
        match position(at, items.len()).filter(|at| *at < items.len()) {
            Some(at) => Ok(items.remove(at)),
            None if items.is_empty() => Err(Problem::new("`pop` from a list that is empty").into()),
            None => Err(Problem::new(format!("`pop({at})` from a list of {}", items.len())).into()),
        }
    }

    fn find(&self, what: &Value) -> Result<usize, Error> {
        let found = self.items().iter().position(|item| item == what);
        found.ok_or_else(|| Problem::new(format!("{what} is not in the list")).into())
    }
}

/// Negative numbers count from the end.
fn position(at: i64, length: usize) -> Option<usize> {
    if at < 0 { length.checked_sub(usize::try_from(at.unsigned_abs()).ok()?) } else { usize::try_from(at).ok() }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        locked(&self.0).get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(locked(&self.0).len())
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let none = Ok(Value::from(()));
        match method {
            "append" => {
                let (item,): (Value,) = from_args(arguments)?;
                self.add(None, vec![item])
            }
            "extend" => {
                let (items,): (&Value,) = from_args(arguments)?;
                self.add(None, items_of(items)?)
            }
            "insert" => {
                let (at, item): (i64, Value) = from_args(arguments)?;
                let length = locked(&self.0).len();
                self.add(Some(position(at, length).unwrap_or(0)), vec![item])
            }
            "pop" => {
                let (at,): (Option<i64>,) = from_args(arguments)?;
                self.take(at.unwrap_or(-1))
            }
            "remove" => {
                let (item,): (&Value,) = from_args(arguments)?;
                let at = self.find(item)?;
                locked(&self.0).remove(at);
                none
            }
            "clear" => {
                let () = from_args(arguments)?;
                locked(&self.0).clear();
                none
            }
            "reverse" => {
                let () = from_args(arguments)?;
                locked(&self.0).reverse();
                none
            }
            "sort" => {
                let (options,): (Kwargs,) = from_args(arguments)?;
                let reverse = options.get::<Option<bool>>("reverse")?.unwrap_or(false);
                options.assert_all_used()?;
                // Comparing items must not find their own list locked.
                let mut items = self.items();
                items.sort();
                if reverse {
                    items.reverse();
                }
                *locked(&self.0) = items;
                none
            }
            "copy" => {
                let () = from_args(arguments)?;
                Ok(Value::from_object(List::new(self.items())))
            }
            "index" => {
                let (item,): (&Value,) = from_args(arguments)?;
                Ok(Value::from(self.find(item)?))
            }
            "count" => {
                let (item,): (&Value,) = from_args(arguments)?;
                Ok(Value::from(self.items().iter().filter(|i| *i == item).count()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        shown_items(f, &self.items())?;
        f.write_str("]")
    }
}
