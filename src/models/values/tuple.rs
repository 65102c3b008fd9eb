//! A tuple: a sequence that nobody changes, printed in parentheses, as SQL wants its lists of values.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, Value};

use super::{items_of, shown_items};

#[derive(Debug)]
pub struct Tuple(Vec<Value>);

impl Tuple {
    pub fn new(items: Vec<Value>) -> Self {
        Tuple(items)
    }

    pub fn of(items: &Value) -> Result<Self, Error> {
        Ok(Tuple(items_of(items)?))
    }
}

impl Object for Tuple {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        shown_items(f, &self.0)?;
        f.write_str(if self.0.len() == 1 { ",)" } else { ")" })
    }
}
