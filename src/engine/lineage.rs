//! Which columns of which tables a query's columns are made of, read from its logical plan.
//!
//! What a value is computed from counts; what merely decides which rows there are (joins, filters, sorting) does not.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan};

use crate::lake::TableName;

/// A column of a table or view.
pub type Origin = (TableName, String);

/// For each column of the plan, in its order, what its values are made of. `is_known` tells the tables and views to stop
/// at; a view that is not known is looked through.
pub fn origins(plan: &LogicalPlan, is_known: &dyn Fn(&TableName) -> bool) -> Result<Vec<BTreeSet<Origin>>> {
    match plan {
        LogicalPlan::TableScan(scan) => Ok(of_table(&scan.table_name, &scan.projected_schema)),
        LogicalPlan::SubqueryAlias(alias) => {
            // A view stands in a plan as its query under its own full name; no alias that a user gives has a schema.
            let table = table_name(&alias.alias).filter(|name| alias.alias.schema().is_some() && is_known(name));
            match table {
                Some(_) => Ok(of_table(&alias.alias, &alias.schema)),
                None => origins(&alias.input, is_known),
            }
        }
        LogicalPlan::Projection(projection) => of_expressions(&projection.expr, &projection.input, is_known),
        LogicalPlan::Aggregate(aggregate) => {
            let expressions: Vec<Expr> = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).cloned().collect();
            let mut found = of_expressions(&expressions, &aggregate.input, is_known)?;
            // Grouping sets have columns of their own, which hold no data.
            found.resize(plan.schema().fields().len(), BTreeSet::new());
            Ok(found)
        }
        LogicalPlan::Window(window) => {
            let mut found = origins(&window.input, is_known)?;
            found.extend(of_expressions(&window.window_expr, &window.input, is_known)?);
            Ok(found)
        }
        LogicalPlan::Distinct(Distinct::On(on)) => of_expressions(&on.select_expr, &on.input, is_known),
        LogicalPlan::Join(join) => {
            let side = |plan: &LogicalPlan| origins(plan, is_known);
            let mut found = match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => side(&join.right)?,
                _ => side(&join.left)?,
            };
            if matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
                found.extend(side(&join.right)?);
            }
            // The mark of a mark join is a column that nothing is the origin of.
            found.resize(plan.schema().fields().len(), BTreeSet::new());
            Ok(found)
        }
        LogicalPlan::Union(union) => {
            let mut found = vec![BTreeSet::new(); plan.schema().fields().len()];
            for input in &union.inputs {
                for (column, origins) in found.iter_mut().zip(origins(input, is_known)?) {
                    column.extend(origins);
                }
            }
            Ok(found)
        }
        LogicalPlan::Unnest(unnest) => {
            let input = origins(&unnest.input, is_known)?;
            let of = |index: &usize| input.get(*index).cloned().unwrap_or_default();
            Ok(unnest.dependency_indices.iter().map(of).collect())
        }
        other => match other.inputs().as_slice() {
            // Filters, limits and sorting let columns through as they are.
            [only] if only.schema().fields().len() == other.schema().fields().len() => origins(only, is_known),
            _ => Ok(vec![BTreeSet::new(); other.schema().fields().len()]),
        },
    }
}

fn table_name(reference: &TableReference) -> Option<TableName> {
    Some(TableName::new(reference.schema()?, reference.table()))
}

fn of_table(reference: &TableReference, schema: &DFSchema) -> Vec<BTreeSet<Origin>> {
    let name = table_name(reference).unwrap_or_else(|| TableName::new("", reference.table()));
    schema.fields().iter().map(|field| BTreeSet::from([(name.clone(), field.name().clone())])).collect()
}

fn of_expressions(
    expressions: &[Expr],
    input: &LogicalPlan,
    is_known: &dyn Fn(&TableName) -> bool,
) -> Result<Vec<BTreeSet<Origin>>> {
    let known = origins(input, is_known)?;
    expressions.iter().map(|expression| of_expression(expression, input.schema(), &known, is_known)).collect()
}

fn of_expression(
    expression: &Expr,
    schema: &DFSchema,
    known: &[BTreeSet<Origin>],
    is_known: &dyn Fn(&TableName) -> bool,
) -> Result<BTreeSet<Origin>> {
    let mut found = BTreeSet::new();
    let column = |column: &Column| schema.maybe_index_of_column(column).and_then(|index| known.get(index));
    expression.apply(|part| {
        match part {
            Expr::Column(name) => found.extend(column(name).into_iter().flatten().cloned()),
            Expr::ScalarSubquery(query) => {
                let values = origins(&query.subquery, is_known)?;
                found.extend(values.into_iter().flatten());
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::Utc;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::{MemTable, ViewTable};
    use object_store::memory::InMemory;

    use super::*;
    use crate::engine::Engine;
    use crate::engine::catalog::Catalog;
    use crate::engine::sql::{Text, query};
    use crate::lake::Lake;

    /// `column: table.column, ...` a line for each column of a query over `s.orders`, `s.people` and the view `s.totals`.
    async fn told(sql: &str) -> String {
        let lake = Lake::with_store("memory:///".parse().unwrap(), Arc::new(InMemory::new())).unwrap();
        let engine = Engine::new(&lake, 64 << 20, 1, Utc::now(), None).unwrap();
        let mut catalog = Catalog::only(&lake, []);
        for (table, columns) in [("orders", ["id", "person", "amount"]), ("people", ["id", "name", "city"])] {
            let fields: Vec<Field> = columns.iter().map(|c| Field::new(*c, DataType::Int64, true)).collect();
            let table_of = MemTable::try_new(Arc::new(Schema::new(fields)), vec![vec![]]).unwrap();
            catalog.replace(&TableName::new("s", table), Arc::new(table_of));
        }
        let plan = |catalog: &Catalog, sql: &str| {
            let (context, sql) = (engine.session(Arc::new(catalog.clone())), sql.to_owned());
            async move { query(&context, Text { file: "q", text: &sql }).await.unwrap().into_unoptimized_plan() }
        };
        let view = plan(&catalog, "select person, sum(amount) as total from s.orders group by person").await;
        catalog.replace(&TableName::new("s", "totals"), Arc::new(ViewTable::new(view, None)));
        let plan = plan(&catalog, sql).await;
        let found = origins(&plan, &|_| true).unwrap();
        let columns = plan.schema().fields().iter().zip(found).map(|(field, origins)| {
            let origins: Vec<String> = origins.iter().map(|(t, c)| format!("{}.{c}", t.name)).collect();
            format!("{}: {}", field.name(), origins.join(" "))
        });
        columns.collect::<Vec<_>>().join("; ")
    }

    #[tokio::test]
    async fn a_column_is_made_of_what_its_expression_reads_and_not_of_what_chose_its_row() {
        let said = told("select o.amount * 2 + o.id as n, 1 as one from s.orders o where o.person > 3").await;
        assert_eq!(said, "n: orders.amount orders.id; one: ");
    }

    #[tokio::test]
    async fn joins_common_tables_and_aggregates_are_seen_through() {
        let sql = "with sums as (select person, sum(amount) as total from s.orders group by person)
            select p.name, s.total, coalesce(p.city, s.person) as city from sums s left join s.people p on p.id = s.person";
        assert_eq!(told(sql).await, "name: people.name; total: orders.amount; city: orders.person people.city");
    }

    #[tokio::test]
    async fn windows_unions_and_subqueries_count_what_they_read() {
        let sql = "select id, sum(amount) over (partition by person) as s from s.orders";
        assert_eq!(told(sql).await, "id: orders.id; s: orders.amount orders.person");
        let sql = "select name as x from s.people union all select amount from s.orders";
        assert_eq!(told(sql).await, "x: orders.amount people.name");
        let sql = "select (select max(amount) from s.orders) as most, id from s.people";
        assert_eq!(told(sql).await, "most: orders.amount; id: people.id");
    }

    #[tokio::test]
    async fn a_view_is_an_origin_of_its_own() {
        assert_eq!(told("select t.total from s.totals t").await, "total: totals.total");
    }
}
