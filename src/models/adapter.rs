//! `adapter` and `api`: what templates ask of the database by name, and the implementations that macros are sent to.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::database::ColumnType;
use super::problem::Problem;
use super::queries;
use super::relation::{Named, Relation, quoted};
use super::scope::Scope;
use super::values::{List, Tuple};

/// As profiles have it, and as implementations of macros begin.
pub const TYPE: &str = "medallion";

/// Methods that would change tables beside the commits of a build.
const WRITES: &[&str] = &[
    "alter_column_type",
    "create_schema",
    "drop_relation",
    "drop_schema",
    "grant_access_to",
    "rename_relation",
    "truncate_relation",
];

pub fn install(env: &mut Environment<'static>) {
    env.add_global("adapter", Value::from_object(Adapter));
    env.add_global("api", Value::from_object(Api { member: "" }));
    env.add_function("load_relation", |state: &State, relation: Value| {
        known(&*Scope::of(state)?, &relation_of(&relation)?)
    });
}

#[derive(Debug)]
struct Adapter;

/// The relation that a value stands for.
fn relation_of(value: &Value) -> Result<Relation, Error> {
    let named = value.downcast_object_ref::<Named>().map(|named| named.relation.clone());
    named.ok_or_else(|| Problem::new(format!("{value} is no relation; ref() and source() give one")).into())
}

/// The relation, if it is there, with its kind. While the project is read nothing is.
fn known(scope: &Scope, relation: &Relation) -> Result<Value, Error> {
    if !scope.executes() {
        return Ok(Value::from(()));
    }
    let described = scope.database()?.describe(relation).map_err(Problem::from)?;
    Ok(described.map_or(Value::from(()), |described| {
        let kind = if described.is_view { "view" } else { "table" };
        Value::from_object(Named::new(relation.clone()).of_kind(Some(kind)))
    }))
}

fn columns(scope: &Scope, relation: &Relation) -> Result<Vec<ColumnType>, Error> {
    if !scope.executes() {
        return Ok(Vec::new());
    }
    let described = scope.database()?.describe(relation).map_err(Problem::from)?;
    Ok(described.map(|described| described.columns).unwrap_or_default())
}

fn list(columns: impl IntoIterator<Item = ColumnType>) -> Value {
    Value::from_object(List::new(columns.into_iter().map(|c| Value::from_object(Column(c))).collect()))
}

impl Object for Adapter {
    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let scope = Scope::of(state)?;
        match method {
            "dispatch" => {
                let (name, rest, options): (&str, Rest<Value>, Kwargs) = from_args(arguments)?;
                let named: Option<String> = options.get("macro_namespace")?;
                options.assert_all_used()?;
                let namespace = named.or_else(|| rest.first().and_then(|n| n.as_str().map(str::to_owned)));
                Ok(scope.dispatch(name, namespace.as_deref())?)
            }
            "quote" => {
                let (identifier,): (String,) = from_args(arguments)?;
                Ok(Value::from(quoted(&identifier)))
            }
            "quote_as_configured" => {
                let (identifier, _key): (String, &str) = from_args(arguments)?;
                Ok(Value::from(quoted(&identifier)))
            }
            "type" => Ok(Value::from(TYPE)),
            "get_relation" => {
                let (parts, options): (Rest<Value>, Kwargs) = from_args(arguments)?;
                let part = |at: usize, name: &str| -> Result<String, Error> {
                    let given = parts.get(at).cloned().or(options.get::<Option<Value>>(name)?);
                    let text = given.and_then(|value| value.as_str().map(str::to_owned));
                    text.ok_or_else(|| Problem::new(format!("`get_relation` needs `{name}`")).into())
                };
                let _database = options.get::<Option<Value>>("database")?;
                let relation = Relation { schema: part(1, "schema")?, name: part(2, "identifier")? };
                options.assert_all_used()?;
                known(&scope, &relation)
            }
            "already_exists" => {
                let (schema, name): (String, String) = from_args(arguments)?;
                Ok(Value::from(!known(&scope, &Relation { schema, name })?.is_none()))
            }
            "get_columns_in_relation" => {
                let (relation,): (Value,) = from_args(arguments)?;
                Ok(list(columns(&scope, &relation_of(&relation)?)?))
            }
            "get_missing_columns" => {
                let (from, to): (Value, Value) = from_args(arguments)?;
                let there = columns(&scope, &relation_of(&to)?)?;
                let own = columns(&scope, &relation_of(&from)?)?;
                Ok(list(own.into_iter().filter(|column| !there.iter().any(|t| t.name == column.name))))
            }
            "execute" => {
                let (sql, _options): (String, Kwargs) = from_args(arguments)?;
                let table = queries::answer(&scope, &sql)?.map_or_else(|| Value::from(()), Value::from_object);
                Ok(Value::from_object(Tuple::new(vec![Value::from("OK"), table])))
            }
            // Columns grow by themselves, and nothing is cached.
            "expand_target_column_types" | "cache_added" | "cache_dropped" | "cache_renamed" => Ok(Value::from(())),
            _ if WRITES.contains(&method) => {
                let problem =
                    Problem::new(format!("`adapter.{method}` would change tables beside the commits of a build"));
                Err(problem.hint("tables are made by models and seeds, and published when they are tested").into())
            }
            _ => Err(Problem::unsupported(format!("`adapter.{method}`")).into()),
        }
    }
}

/// `api` and its members `Relation` and `Column`.
#[derive(Debug)]
struct Api {
    member: &'static str,
}

impl Object for Api {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let member = ["Relation", "Column"].into_iter().find(|m| self.member.is_empty() && key.as_str() == Some(m))?;
        Some(Value::from_object(Api { member }))
    }

    fn call_method(self: &Arc<Self>, state: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match (self.member, method) {
            ("", "Column") => Value::from_object(Api { member: "Column" }).call(state, arguments),
            ("Relation", "create") => {
                let (options,): (Kwargs,) = from_args(arguments)?;
                let made = Named::create(&options)?;
                options.assert_all_used()?;
                Ok(Value::from_object(made))
            }
            ("Column", "create") => self.call(state, arguments),
            ("Column", "translate_type") => {
                let (name,): (String,) = from_args(arguments)?;
                Ok(Value::from(translated(&name)))
            }
            ("Column", "string_type") => Ok(Value::from("varchar")),
            ("Column", "numeric_type") => {
                let (name, precision, scale): (String, Value, Value) = from_args(arguments)?;
                Ok(Value::from(format!("{name}({precision},{scale})")))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn call(self: &Arc<Self>, _: &State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        if self.member != "Column" {
            return Err(Problem::new("only `api.Column` can be called; `api.Relation` has `create`").into());
        }
        let (parts, options): (Rest<Value>, Kwargs) = from_args(arguments)?;
        let part = |at: usize, name: &str| -> Result<Option<String>, Error> {
            let given = parts.get(at).cloned().or(options.get::<Option<Value>>(name)?);
            Ok(given.filter(|value| !value.is_none()).map(|value| value.to_string()))
        };
        let name = part(0, "column")?.or(part(0, "name")?).unwrap_or_default();
        let sql_type = part(1, "dtype")?.unwrap_or_else(|| "varchar".to_owned());
        let (precision, scale) = (part(3, "numeric_precision")?, part(4, "numeric_scale")?);
        let _size = part(2, "char_size")?;
        options.assert_all_used()?;
        let sql_type = match (precision, scale) {
            (Some(precision), Some(scale)) => format!("{sql_type}({precision},{scale})"),
            _ => sql_type,
        };
        Ok(Value::from_object(Column(ColumnType { name, sql_type })))
    }
}

/// The types that dbt speaks of, as they are called here.
fn translated(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "string" | "text" => "varchar".to_owned(),
        "integer" => "int".to_owned(),
        "float" => "double".to_owned(),
        other => other.to_owned(),
    }
}

#[derive(Debug)]
pub struct Column(ColumnType);

impl Column {
    fn is(&self, words: &[&str]) -> Value {
        let plain = self.0.sql_type.split('(').next().unwrap_or("").trim().to_ascii_lowercase();
        Value::from(words.contains(&plain.as_str()))
    }

    /// The numbers in parentheses behind the type.
    fn size(&self, at: usize) -> Value {
        let inside = self.0.sql_type.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        let number = inside.and_then(|(sizes, _)| sizes.split(',').nth(at)?.trim().parse::<i64>().ok());
        number.map_or_else(|| Value::from(()), Value::from)
    }
}

const INTEGERS: &[&str] =
    &["tinyint", "smallint", "int", "integer", "bigint", "smallint unsigned", "int unsigned", "bigint unsigned"];
const FLOATS: &[&str] = &["float", "real", "double", "double precision"];
const DECIMALS: &[&str] = &["decimal", "numeric"];
const STRINGS: &[&str] = &["varchar", "text", "string", "char", "character varying"];

impl Object for Column {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "name" | "column" => Value::from(self.0.name.as_str()),
            "quoted" => Value::from(quoted(&self.0.name)),
            "data_type" => Value::from(self.0.sql_type.as_str()),
            "dtype" => Value::from(self.0.sql_type.split('(').next().unwrap_or("")),
            "numeric_precision" => self.size(0),
            "numeric_scale" => self.size(1),
            "char_size" => Value::from(()),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["name", "data_type"])
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, _: &[Value]) -> Result<Value, Error> {
        Ok(match method {
            "is_string" => self.is(STRINGS),
            "is_integer" => self.is(INTEGERS),
            "is_float" => self.is(FLOATS),
            "is_numeric" => self.is(DECIMALS),
            "is_number" => self.is(&[INTEGERS, FLOATS, DECIMALS].concat()),
            "string_size" => Value::from(256),
            "literal" => Value::from(format!("cast({} as {})", quoted(&self.0.name), self.0.sql_type)),
            _ => return Err(Problem::unsupported(format!("the method `{method}` of a column")).into()),
        })
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Column {} ({})>", self.0.name, self.0.sql_type)
    }
}
