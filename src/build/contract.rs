//! A model's contract, held before its rows are seen: the columns it declares are those that come, with their types, and
//! what it says of every row is so.

use datafusion::arrow::datatypes::DataType;
use datafusion::prelude::SessionContext;

use super::turn::Turn;
use super::{at_source, name_of};
use crate::engine::sql::{self, Text};
use crate::engine::types::sql_type;
use crate::error::{Error, Place, Result};
use crate::lake::TableName;
use crate::models::{ColumnDoc, Compiled, Constraint, ConstraintKind, Node};

impl Turn {
    /// Compares the declared columns with those of the query, before anything of it runs.
    pub(super) async fn ensure_columns(&self, node: &Node, compiled: &Compiled) -> Result<()> {
        if !node.config.contract {
            return Ok(());
        }
        let context = self.session();
        let query = Text { file: &node.path, text: &compiled.sql };
        let frame = sql::query(&context, query).await.map_err(|e| at_source(e, node, compiled))?;
        let comes: Vec<(&str, String)> =
            frame.schema().fields().iter().map(|f| (f.name().as_str(), stored(f.data_type()))).collect();
        let mut broken = Vec::new();
        let mut place = None;
        for column in &node.columns {
            let said = declared(&context, column).await?;
            let told = match comes.iter().find(|(name, _)| column.name.eq_ignore_ascii_case(name)) {
                Some((_, data_type)) if *data_type == said => continue,
                Some((_, data_type)) => format!("`{}` is declared as {said}, but it comes as {data_type}", column.name),
                None => format!("`{}` is declared as {said}, but the query does not give it", column.name),
            };
            place.get_or_insert_with(|| column.place.clone());
            broken.push(told);
        }
        let is_declared = |name: &str| node.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        for (name, data_type) in comes.iter().filter(|(name, _)| !is_declared(name)) {
            broken.push(format!("`{name}` comes as {data_type}, but it is not declared"));
        }
        if broken.is_empty() {
            return Ok(());
        }
        let place = place.unwrap_or_else(|| beginning(node));
        let error = Error::input(format!("the contract of `{}` is broken: {}", node.name, broken.join("; ")));
        Err(error.at(place).hint("change the query, or what is declared; what readers see is unchanged"))
    }

    /// Looks for rows that the contract rules out, in the table or view as this build would publish it.
    pub(super) async fn ensure_constraints(&self, node: &Node) -> Result<()> {
        let context = self.session();
        for constraint in constraints(node) {
            let query = counting(constraint, &name_of(node));
            let text = Text { file: &constraint.place.file, text: &query };
            let wrong = |e: Error| Error::input(e.what()).at(constraint.place.clone());
            let frame = sql::query(&context, text).await.map_err(wrong)?;
            let rows = frame.count().await.map_err(|e| crate::engine::error("holding a contract", e))?;
            if rows > 0 {
                return Err(violated(node, constraint, rows));
            }
        }
        Ok(())
    }
}

/// What an enforced contract says of every row.
pub(super) fn constraints(node: &Node) -> impl Iterator<Item = &Constraint> {
    let all = node.columns.iter().flat_map(|column| &column.constraints).chain(&node.constraints);
    all.filter(|_| node.config.contract)
}

/// The type as a table keeps it: times there have no nanoseconds.
fn stored(data_type: &DataType) -> String {
    sql_type(data_type).replace("TIMESTAMP(9)", "TIMESTAMP")
}

/// What the engine makes of a declared type.
async fn declared(context: &SessionContext, column: &ColumnDoc) -> Result<String> {
    let missing = || {
        let error = Error::input(format!("the contract is enforced, so `{}` needs a `data_type`", column.name));
        error.at(column.place.clone())
    };
    let data_type = column.data_type.as_deref().ok_or_else(missing)?;
    let unknown = || {
        let what = format!("`{data_type}` of the column `{}` is no type that SQL has here", column.name);
        Error::input(what).at(column.place.clone()).hint("as in bigint, varchar, decimal(18, 2), date, timestamp")
    };
    let query = format!("select cast(null as {data_type}) as declared");
    let frame = sql::query(context, Text { file: "data_type", text: &query }).await.map_err(|_| unknown())?;
    frame.schema().fields().first().map(|field| stored(field.data_type())).ok_or_else(unknown)
}

/// A query of the rows, or of the keys, that a constraint rules out.
fn counting(constraint: &Constraint, table: &TableName) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = constraint.columns.iter().map(|column| quoted(column)).collect();
    let from = format!("from {}.{}", quoted(&table.schema), quoted(&table.name));
    let nulls = columns.iter().map(|column| format!("{column} is null")).collect::<Vec<_>>().join(" or ");
    let given = columns.iter().map(|column| format!("{column} is not null")).collect::<Vec<_>>().join(" and ");
    let keys = columns.join(", ");
    match constraint.kind {
        ConstraintKind::NotNull => format!("select 1 {from} where {nulls}"),
        ConstraintKind::Unique => format!("select {keys} {from} where {given} group by {keys} having count(*) > 1"),
        ConstraintKind::PrimaryKey => {
            format!("select {keys} {from} group by {keys} having count(*) > 1 or {nulls}")
        }
        // As in SQL, what is unknown is not false.
        ConstraintKind::Check => {
            format!("select 1 {from} where not ({})", constraint.expression.as_deref().unwrap_or("true"))
        }
    }
}

fn violated(node: &Node, constraint: &Constraint, rows: usize) -> Error {
    let columns = constraint.columns.join(", ");
    let kind = constraint.kind.as_str();
    let what = match constraint.kind {
        ConstraintKind::Check => {
            let said = constraint.name.as_deref().or(constraint.expression.as_deref()).unwrap_or(kind);
            format!("{rows} rows of `{}` fail the check {said}", node.name)
        }
        ConstraintKind::NotNull => format!("`{columns}` is null in {rows} rows of `{}`", node.name),
        ConstraintKind::Unique | ConstraintKind::PrimaryKey => {
            format!("{rows} values of `{columns}` in `{}` are no {kind}", node.name)
        }
    };
    Error::failed(what).at(constraint.place.clone()).hint("the contract rules it out; what readers see is unchanged")
}

fn beginning(node: &Node) -> Place {
    Place::in_text(&node.path, &node.raw, 1, 1)
}
