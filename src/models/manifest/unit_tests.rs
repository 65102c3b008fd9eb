//! The unit tests of a project, which a manifest keeps apart from its nodes.

use serde_json::{Value, json};

use super::entries::{Entries, extend};
use crate::models::checks;
use crate::models::{Node, Rows, UnitTest};

impl Entries<'_> {
    pub fn unit_test(&self, node: &Node, unit: &UnitTest) -> Value {
        let mut entry = self.head(node.kind.as_str(), &node.name, &node.unique_id, &node.fqn, &node.path);
        let given = unit.given.iter().map(|given| {
            let mut input = rows(Some(&given.rows));
            extend(&mut input, json!({"input": self.spelled(&given.input, unit)}));
            input
        });
        let overrides = &unit.overrides;
        extend(
            &mut entry,
            json!({
                "model": self.project.nodes.get(&unit.model).map(|model| model.name.as_str()),
                "given": given.collect::<Vec<_>>(),
                "expect": rows(unit.expect.as_ref()),
                "overrides": {"macros": overrides.macros, "vars": overrides.vars, "env_vars": overrides.env_vars},
                "path": node.path,
                "description": node.description,
                "depends_on": {"macros": [], "nodes": node.depends_on},
                "config": {"tags": node.config.tags, "meta": node.config.meta, "enabled": node.config.enabled},
                "checksum": checks::digest(&format!("{unit:?}")),
                "schema": node.config.schema,
                "created_at": self.seconds(),
                "versions": null,
                "version": null,
            }),
        );
        Value::Object(entry)
    }

    fn spelled(&self, input: &str, unit: &UnitTest) -> String {
        match (self.project.sources.get(input), self.project.nodes.get(input)) {
            _ if input == unit.model => "this".to_owned(),
            (Some(source), _) => format!("source('{}', '{}')", source.source_name, source.name),
            (None, Some(node)) => format!("ref('{}')", node.name),
            (None, None) => input.to_owned(),
        }
    }
}

fn rows(rows: Option<&Rows>) -> serde_json::Map<String, Value> {
    let (rows, format) = match rows {
        Some(Rows::Dict(rows)) => (json!(rows), "dict"),
        Some(Rows::Csv(text)) => (json!(text), "csv"),
        Some(Rows::Sql(text)) => (json!(text), "sql"),
        None => (Value::Null, "dict"),
    };
    [("rows".to_owned(), rows), ("format".to_owned(), format.into()), ("fixture".to_owned(), Value::Null)]
        .into_iter()
        .collect()
}
