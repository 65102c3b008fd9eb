//! Avro schemas, parsed into what the decoder walks along: names resolved, keys and symbols already written as JSON.
//!
//! What a schema says about its readers (aliases, defaults, order, documentation) is of no use here: a datum is decoded by
//! the schema it was written with. A logical type that does not fit its type, or that is not known, is ignored, as the
//! specification wants.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::registry;

/// An index into the nodes of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(usize);

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    /// The symbols, as JSON strings.
    Enum(Vec<String>),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    /// The fields: the key with its colon, as JSON has it, and the type.
    Record(Vec<(String, Id)>),
    Decimal {
        /// None for bytes that begin with their length.
        size: Option<usize>,
        scale: usize,
    },
    /// Sixteen bytes; a UUID in a string is a string.
    Uuid,
    Date,
    TimeOfDay(Unit),
    Timestamp(Unit),
    /// By the clock on the wall, wherever that hangs.
    LocalTimestamp(Unit),
    Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    nodes: Vec<Node>,
    root: Id,
}

impl Schema {
    /// Parses a schema and what it refers to. The error is a sentence without a place: schemas have none.
    pub fn parse(schema: &registry::Schema) -> Result<Schema, String> {
        let mut parser = Parser::default();
        let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| format!("the schema is not JSON: {e}"));
        for reference in &schema.references {
            let parsed = json(&reference.text).and_then(|json| parser.schema(&json, ""));
            parsed.map_err(|problem| format!("in its reference {}: {problem}", reference.name))?;
        }
        let root = parser.schema(&json(&schema.text)?, "")?;
        Ok(Schema { nodes: parser.nodes, root })
    }

    pub fn root(&self) -> Id {
        self.root
    }

    pub fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id.0)
    }
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    /// By full name.
    named: HashMap<String, Id>,
}

impl Parser {
    fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        Id(self.nodes.len() - 1)
    }

    /// The depth of the recursion is bounded by that of the JSON, which its parser bounds.
    fn schema(&mut self, json: &Value, namespace: &str) -> Result<Id, String> {
        match json {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches: Result<Vec<Id>, String> = branches.iter().map(|b| self.schema(b, namespace)).collect();
                Ok(self.add(Node::Union(branches?)))
            }
            Value::Object(object) => self.object(object, namespace),
            other => Err(format!("a type cannot be `{other}`")),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<Id, String> {
        if let Some(node) = primitive(name) {
            return Ok(self.add(node));
        }
        let full = full_name(name, namespace);
        // Outside of any namespace is where a name without one is looked for last.
        let found = self.named.get(&full).or_else(|| self.named.get(name));
        found.copied().ok_or_else(|| format!("the type `{full}` is not defined"))
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Id, String> {
        let name = match object.get("type") {
            Some(Value::String(name)) => name.as_str(),
            // A type in brackets of its own.
            Some(inner @ (Value::Object(_) | Value::Array(_))) => return self.schema(inner, namespace),
            Some(other) => return Err(format!("a type cannot be `{other}`")),
            None => return Err("a type without `type`".to_owned()),
        };
        match name {
            "record" | "error" => self.record(object, namespace),
            "enum" => {
                let symbols: Option<Vec<String>> =
                    object.get("symbols").and_then(Value::as_array).and_then(|symbols| {
                        symbols.iter().map(|symbol| symbol.is_string().then(|| symbol.to_string())).collect()
                    });
                let symbols = symbols.ok_or("an enum without `symbols`")?;
                self.define(object, namespace, Node::Enum(symbols)).map(|(id, _)| id)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                let node = logical(object, Node::Fixed(size.ok_or("a fixed without `size`")?));
                self.define(object, namespace, node).map(|(id, _)| id)
            }
            "array" => {
                let items = self.schema(object.get("items").ok_or("an array without `items`")?, namespace)?;
                Ok(self.add(Node::Array(items)))
            }
            "map" => {
                let values = self.schema(object.get("values").ok_or("a map without `values`")?, namespace)?;
                Ok(self.add(Node::Map(values)))
            }
            name => match primitive(name) {
                Some(node) => Ok(self.add(logical(object, node))),
                None => self.by_name(name, namespace),
            },
        }
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Id, String> {
        let fields = object.get("fields").and_then(Value::as_array).ok_or("a record without `fields`")?;
        // The name stands before the fields, which may use it.
        let (id, namespace) = self.define(object, namespace, Node::Null)?;
        let mut parsed = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field.get("name").filter(|name| name.is_string()).ok_or("a field without `name`")?;
            let data_type = field.get("type").ok_or_else(|| format!("the field {name} has no `type`"))?;
            let data_type =
                self.schema(data_type, &namespace).map_err(|problem| format!("the field {name}: {problem}"))?;
            parsed.push((format!("{name}:"), data_type));
        }
        if let Some(node) = self.nodes.get_mut(id.0) {
            *node = Node::Record(parsed);
        }
        Ok(id)
    }

    /// Adds a type under its full name, and tells the namespace of what is inside.
    fn define(&mut self, object: &Map<String, Value>, namespace: &str, node: Node) -> Result<(Id, String), String> {
        let name = object.get("name").and_then(Value::as_str).ok_or("a named type without `name`")?;
        let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let full = full_name(name, own);
        let inside = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let id = self.add(node);
        match self.named.insert(full, id) {
            None => Ok((id, inside)),
            Some(_) => Err(format!("the type `{name}` is defined twice")),
        }
    }
}

fn primitive(name: &str) -> Option<Node> {
    Some(match name {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" => Node::Int,
        "long" => Node::Long,
        "float" => Node::Float,
        "double" => Node::Double,
        "bytes" => Node::Bytes,
        "string" => Node::String,
        _ => return None,
    })
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

/// The type that a logical type makes of another one.
fn logical(object: &Map<String, Value>, node: Node) -> Node {
    let Some(logical) = object.get("logicalType").and_then(Value::as_str) else { return node };
    match (logical, &node) {
        ("decimal", Node::Bytes | Node::Fixed(_)) => {
            let number = |key: &str| object.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
            let scale = if object.contains_key("scale") { number("scale") } else { Some(0) };
            match (number("precision"), scale) {
                (Some(precision), Some(scale)) if precision > 0 && scale <= precision => {
                    let size = if let Node::Fixed(size) = node { Some(size) } else { None };
                    Node::Decimal { size, scale }
                }
                _ => node,
            }
        }
        ("uuid", Node::Fixed(16)) => Node::Uuid,
        ("duration", Node::Fixed(12)) => Node::Duration,
        ("date", Node::Int) => Node::Date,
        ("time-millis", Node::Int) => Node::TimeOfDay(Unit::Millis),
        ("time-micros", Node::Long) => Node::TimeOfDay(Unit::Micros),
        ("timestamp-millis", Node::Long) => Node::Timestamp(Unit::Millis),
        ("timestamp-micros", Node::Long) => Node::Timestamp(Unit::Micros),
        ("timestamp-nanos", Node::Long) => Node::Timestamp(Unit::Nanos),
        ("local-timestamp-millis", Node::Long) => Node::LocalTimestamp(Unit::Millis),
        ("local-timestamp-micros", Node::Long) => Node::LocalTimestamp(Unit::Micros),
        ("local-timestamp-nanos", Node::Long) => Node::LocalTimestamp(Unit::Nanos),
        _ => node,
    }
}
