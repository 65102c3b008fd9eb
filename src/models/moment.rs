//! The start of the run, as templates see it.

use std::fmt::{self, Write};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use minijinja::value::{Object, ObjectRepr, from_args};
use minijinja::{Error, State, Value};

use super::problem::Problem;

#[derive(Debug)]
pub struct Moment(pub DateTime<Utc>);

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "strftime" => {
                let (format,): (&str,) = from_args(arguments)?;
                let mut text = String::new();
                // An unknown directive only shows when the text is written.
                write!(text, "{}", self.0.format(format))
                    .map_err(|_| Problem::new(format!("{format:?} is not a format of times")))?;
                Ok(Value::from(text))
            }
            "isoformat" => Ok(Value::from(self.0.format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string())),
            _ => Err(Problem::unsupported(format!("`run_started_at.{method}`")).into()),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d %H:%M:%S%.6f+00:00"))
    }
}
