//! A set: each value once, in the order in which they came.

use std::fmt;
use std::sync::{Arc, Mutex};

use minijinja::value::{Enumerator, Object, ObjectRepr, Rest, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::{ensure_apart, items_of, locked, shown_items};
use crate::models::problem::Problem;

#[derive(Debug)]
pub struct Set(Mutex<Vec<Value>>);

impl Set {
    pub fn of(items: &Value) -> Result<Self, Error> {
        let set = Set(Mutex::default());
        set.add(items_of(items)?)?;
        Ok(set)
    }

    fn add(&self, new: Vec<Value>) -> Result<(), Error> {
        let mut items = locked(&self.0);
        for item in new {
            // As in Python, only what never changes can be told apart for good.
            if item
                .as_object()
                .is_some_and(|o| !matches!(o.repr(), ObjectRepr::Plain) && !o.type_name().contains("Tuple"))
            {
                return Err(Problem::new(format!("{item} cannot be in a set")).into());
            }
            if !items.contains(&item) {
                items.push(item);
            }
        }
        Ok(())
    }

    fn items(&self) -> Vec<Value> {
        locked(&self.0).clone()
    }
}

impl Object for Set {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items())
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let of = |items: Vec<Value>| Value::from_object(Set(Mutex::new(items)));
        let one = || from_args::<(&Value,)>(arguments).map(|(value,)| value);
        match method {
            "add" | "update" => {
                let new = if method == "add" { vec![one()?.clone()] } else { items_of(one()?)? };
                ensure_apart(self, &new)?;
                self.add(new)?;
                Ok(Value::from(()))
            }
            "discard" | "remove" => {
                let gone = one()?;
                let before = self.items();
                let left: Vec<Value> = before.iter().filter(|item| *item != gone).cloned().collect();
                if method == "remove" && left.len() == before.len() {
                    return Err(Problem::new(format!("{gone} is not in the set")).into());
                }
                *locked(&self.0) = left;
                Ok(Value::from(()))
            }
            "union" => {
                let (others,): (Rest<Value>,) = from_args(arguments)?;
                let set = Set(Mutex::new(self.items()));
                for other in others.iter() {
                    set.add(items_of(other)?)?;
                }
                Ok(Value::from_object(set))
            }
            "intersection" | "difference" => {
                let other = items_of(one()?)?;
                let wanted = method == "intersection";
                Ok(of(self.items().into_iter().filter(|item| other.contains(item) == wanted).collect()))
            }
            "issubset" | "issuperset" => {
                let (own, other) = (self.items(), items_of(one()?)?);
                let (small, large) = if method == "issubset" { (own, other) } else { (other, own) };
                Ok(Value::from(small.iter().all(|item| large.contains(item))))
            }
            "copy" => Ok(of(self.items())),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = self.items();
        f.write_str(if items.is_empty() { "set(" } else { "{" })?;
        shown_items(f, &items)?;
        f.write_str(if items.is_empty() { ")" } else { "}" })
    }
}
