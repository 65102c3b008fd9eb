//! `modules`: what templates may use of Python's library. `datetime` tells the start of the run as the time of now, so
//! that what a template makes of it is the same as long as the run lasts.

mod datetime;
mod itertools;
mod re;

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object};

/// The modules that there are.
pub const MODULES: &[&str] = &["datetime", "re", "itertools", "pytz"];

#[derive(Debug)]
pub struct Modules;

impl Object for Modules {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "datetime" => Value::from_object(datetime::Module),
            "pytz" => Value::from_object(datetime::Zones),
            "re" => Value::from_object(re::Module),
            "itertools" => Value::from_object(itertools::Module),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(MODULES)
    }
}
