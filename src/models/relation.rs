//! The name of a table or view, as SQL and as templates see it.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, Rest, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::values::Dict;

/// All tables of a lake lie in one database, by this name.
pub const DATABASE: &str = "lake";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Relation {
    pub schema: String,
    pub name: String,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

pub fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A relation in a template. That of an ephemeral model stands for its query.
#[derive(Debug, Clone)]
pub struct Named {
    pub relation: Relation,
    pub query: Option<String>,
    /// Whether it is a `table` or a `view`, where that is known.
    kind: Option<String>,
    /// Whether the schema and the name are written.
    shown: [bool; 2],
}

impl Named {
    pub fn new(relation: Relation) -> Self {
        Named { relation, query: None, kind: None, shown: [true; 2] }
    }

    pub fn with_query(self, query: Option<String>) -> Self {
        Named { query, ..self }
    }

    pub fn of_kind(self, kind: Option<&str>) -> Self {
        Named { kind: kind.map(str::to_owned), ..self }
    }

    /// `schema=`, `identifier=` and `type=`, over what is there.
    fn replaced(&self, options: &Kwargs) -> Result<Self, Error> {
        let given = |key: &str| options.get::<Option<String>>(key);
        let _database = given("database")?;
        let mut made = self.clone();
        made.relation.schema = given("schema")?.unwrap_or(made.relation.schema);
        made.relation.name = given("identifier")?.unwrap_or(made.relation.name);
        made.kind = given("type")?.or(made.kind);
        Ok(made)
    }

    /// `api.Relation.create(...)`
    pub fn create(options: &Kwargs) -> Result<Self, Error> {
        let made = Named::new(Relation { schema: String::new(), name: String::new() }).replaced(options)?;
        let shown = [!made.relation.schema.is_empty(), !made.relation.name.is_empty()];
        Ok(Named { shown, ..made })
    }

    fn is(&self, kind: &str) -> Value {
        Value::from(self.kind.as_deref() == Some(kind))
    }
}

impl Object for Named {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "database" => Value::from(DATABASE),
            "schema" => Value::from(self.relation.schema.as_str()),
            "name" | "identifier" | "table" => Value::from(self.relation.name.as_str()),
            "type" => match (&self.kind, &self.query) {
                (_, Some(_)) => Value::from("cte"),
                (Some(kind), None) => Value::from(kind.as_str()),
                (None, None) => Value::from(()),
            },
            "is_table" => self.is("table"),
            "is_view" => self.is("view"),
            "is_cte" => Value::from(self.query.is_some()),
            // By this, packages tell a relation from a text.
            "metadata" => Value::from_iter([("type", Value::from("MedallionRelation"))]),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["database", "schema", "identifier"])
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let own = |named: Named| Ok(Value::from_object(named));
        match method {
            "include" => {
                let (options,): (Kwargs,) = from_args(arguments)?;
                let mut made = Named::clone(self);
                options.get::<Option<bool>>("database")?;
                made.shown[0] = options.get::<Option<bool>>("schema")?.unwrap_or(made.shown[0]);
                made.shown[1] = options.get::<Option<bool>>("identifier")?.unwrap_or(made.shown[1]);
                options.assert_all_used()?;
                own(made)
            }
            "without_identifier" => own(Named { shown: [true, false], ..Named::clone(self) }),
            // Names are always quoted.
            "quote" => own(Named::clone(self)),
            "incorporate" => {
                let (options,): (Kwargs,) = from_args(arguments)?;
                let path: Option<Value> = options.get("path")?;
                let mut made = self.replaced(&options)?;
                if let Some(path) = path {
                    let part = |key: &str| path.get_attr(key).ok().and_then(|v| v.as_str().map(str::to_owned));
                    made.relation.schema = part("schema").unwrap_or(made.relation.schema);
                    made.relation.name = part("identifier").unwrap_or(made.relation.name);
                }
                options.assert_all_used()?;
                own(made)
            }
            "replace_path" => {
                let (options,): (Kwargs,) = from_args(arguments)?;
                let made = self.replaced(&options)?;
                options.assert_all_used()?;
                own(made)
            }
            "render" => Ok(Value::from(self.to_string())),
            "get" => {
                let (key, rest): (Value, Rest<Value>) = from_args(arguments)?;
                let default = rest.0.into_iter().next().unwrap_or_else(|| Value::from(()));
                Ok(self.get_value(&key).unwrap_or(default))
            }
            "to_dict" => {
                let keys = ["database", "schema", "identifier", "type"];
                let pairs = keys.map(|key| (Value::from(key), self.get_value(&Value::from(key)).unwrap_or_default()));
                Ok(Value::from_object(Dict::from_pairs(pairs)?))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(query) = &self.query {
            return write!(f, "(\n{query}\n)");
        }
        let parts = [&self.relation.schema, &self.relation.name];
        let parts: Vec<String> = parts.iter().zip(self.shown).filter(|(_, s)| *s).map(|(p, _)| quoted(p)).collect();
        f.write_str(&parts.join("."))
    }
}
