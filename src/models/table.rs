//! The rows of a query as templates see them: what `run_query` gives behaves as the tables of agate do.

use std::fmt;
use std::sync::Arc;

use chrono_tz::Tz;
use minijinja::value::{Enumerator, Object, ObjectRepr, from_args};
use minijinja::{Error, State, Value};

use super::database::{Answer, Cell};
use super::moment::Moment;
use super::problem::Problem;
use super::values::{Dict, List, Set, Tuple};

#[derive(Debug)]
pub struct Table {
    names: Arc<Vec<String>>,
    types: Vec<String>,
    rows: Vec<Value>,
    columns: Vec<Value>,
}

/// A row, or the values of a column, which keys name: the columns of the row, or nothing.
#[derive(Debug)]
struct Series {
    keys: Arc<Vec<String>>,
    values: Vec<Value>,
}

#[derive(Debug)]
struct Column {
    name: String,
    values: Vec<Value>,
}

impl Table {
    pub fn new(rows: Answer) -> Self {
        let names: Arc<Vec<String>> = Arc::new(rows.columns.iter().map(|c| c.name.clone()).collect());
        let types = rows.columns.into_iter().map(|c| c.sql_type).collect();
        let cells: Vec<Vec<Value>> = rows.rows.into_iter().map(|row| row.into_iter().map(value).collect()).collect();
        let column = |i: usize| cells.iter().filter_map(|row| row.get(i).cloned()).collect();
        let columns = names.iter().enumerate();
        let columns =
            columns.map(|(i, name)| Value::from_object(Column { name: name.clone(), values: column(i) })).collect();
        let row = |values| Value::from_object(Series { keys: names.clone(), values });
        Table { names: names.clone(), types, rows: cells.into_iter().map(row).collect(), columns }
    }

    /// The rows as the list of tuples that `load_result(...).data` is.
    pub fn data(&self) -> Value {
        let tuple = |row: &Value| Tuple::of(row).map(Value::from_object).unwrap_or_default();
        Value::from_object(List::new(self.rows.iter().map(tuple).collect()))
    }
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::from(()),
        Cell::Boolean(flag) => Value::from(flag),
        Cell::Integer(number) => Value::from(number),
        Cell::Float(number) => Value::from(number),
        Cell::Text(text) => Value::from(text),
        Cell::Date(date) => Value::from_object(Moment::date(date)),
        Cell::Time(time) => Value::from_object(Moment::naive(time)),
        Cell::ZonedTime(time) => Value::from_object(Moment::aware(time, Tz::UTC)),
    }
}

fn named(names: &[String]) -> Value {
    Value::from_object(Tuple::new(names.iter().map(|name| Value::from(name.as_str())).collect()))
}

/// The value at a name or a number.
fn pick(names: &[String], values: &[Value], key: &Value) -> Option<Value> {
    let at = match key.as_str() {
        Some(name) => names.iter().position(|n| n == name)?,
        None => key.as_usize()?,
    };
    values.get(at).cloned()
}

impl Object for Table {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some("rows") => Some(Value::from_object(Series { keys: Arc::default(), values: self.rows.clone() })),
            Some("columns") => {
                Some(Value::from_object(Series { keys: self.names.clone(), values: self.columns.clone() }))
            }
            Some("column_names") => Some(named(&self.names)),
            Some("column_types") => Some(named(&self.types)),
            Some(_) => None,
            None => self.rows.get(key.as_usize()?).cloned(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.rows.len())
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, _: &[Value]) -> Result<Value, Error> {
        match method {
            "print_table" | "print_csv" | "print_json" => {
                let rows = self.rows.iter().map(|row| row.to_string()).collect::<Vec<_>>().join("\n");
                tracing::info!("{}\n{rows}", self.names.join(", "));
                Ok(Value::from(""))
            }
            _ => Err(Problem::unsupported(format!("the method `{method}` of a table")).into()),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<table of {} rows: {}>", self.rows.len(), self.names.join(", "))
    }
}

impl Object for Series {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        pick(&self.keys, &self.values, key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.values.len())
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let pairs = || self.keys.iter().map(|k| Value::from(k.as_str())).zip(self.values.iter().cloned());
        Ok(match method {
            "values" => Value::from_object(Tuple::new(self.values.clone())),
            "keys" => named(&self.keys),
            "items" => {
                let pair = |(key, value)| Value::from_object(Tuple::new(vec![key, value]));
                Value::from_object(List::new(pairs().map(pair).collect()))
            }
            "dict" => Value::from_object(Dict::from_pairs(pairs())?),
            "get" => {
                let (key, default): (&Value, Option<Value>) = from_args(arguments)?;
                pick(&self.keys, &self.values, key).or(default).unwrap_or_else(|| Value::from(()))
            }
            _ => return Err(Problem::unsupported(format!("the method `{method}` of rows and columns")).into()),
        })
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Value::from_object(Tuple::new(self.values.clone())))
    }
}

impl Object for Column {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some("name") => Some(Value::from(self.name.as_str())),
            Some(_) => None,
            None => self.values.get(key.as_usize()?).cloned(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.values.len())
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, _: &[Value]) -> Result<Value, Error> {
        let known = || self.values.iter().filter(|value| !value.is_none()).cloned().collect::<Vec<_>>();
        let tuple = |values| Ok(Value::from_object(Tuple::new(values)));
        match method {
            "values" => tuple(self.values.clone()),
            "values_without_nulls" => tuple(known()),
            "values_sorted" | "values_without_nulls_sorted" => {
                let mut sorted = if method == "values_sorted" { self.values.clone() } else { known() };
                sorted.sort();
                tuple(sorted)
            }
            "values_distinct" => Ok(Value::from_object(Set::of(&Value::from_object(Tuple::new(self.values.clone())))?)),
            _ => Err(Problem::unsupported(format!("the method `{method}` of a column")).into()),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<column {}>", self.name)
    }
}
