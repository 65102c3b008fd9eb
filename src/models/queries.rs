//! Queries of templates: `run_query`, `statement` and `load_result`, answered by the [`Database`] of the run. While a
//! project is read there is none, `execute` is false, and nothing is asked.
//!
//! [`Database`]: super::database::Database

use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, Error, State, Value};

use super::problem::Problem;
use super::scope::Scope;
use super::table::Table;
use super::values::Dict;

pub fn install(env: &mut Environment<'static>) {
    env.add_function("run_query", |state: &State, sql: String| {
        let none = Value::from(());
        Ok::<_, Error>(answer(&*Scope::of(state)?, &sql)?.map_or(none, Value::from_object))
    });
    env.add_function("statement", statement);
    env.add_function("load_result", |state: &State, name: &str| {
        Ok::<_, Error>(Scope::of(state)?.result(name).unwrap_or_else(|| Value::from(())))
    });
    env.add_function("store_result", store_result);
}

/// What the database says; nothing while the project is read.
pub fn answer(scope: &Scope, sql: &str) -> Result<Option<Table>, Error> {
    if !scope.executes() {
        return Ok(None);
    }
    let database = scope.database()?;
    let rows = database.query(sql).map_err(|error| {
        let shown: Vec<&str> = sql.trim().lines().take(3).collect();
        Problem::from(error.context(format!("the query `{}`", shown.join(" "))))
    })?;
    Ok(Some(Table::new(rows)))
}

/// `{% call statement('name', fetch_result=true) %}...{% endcall %}`
fn statement(state: &State<'_, '_>, arguments: Rest<Value>, options: Kwargs) -> Result<&'static str, Error> {
    let scope = Scope::of(state)?;
    let named = options.get::<Option<String>>("name")?;
    let name = named.or_else(|| arguments.first().and_then(|n| n.as_str().map(str::to_owned)));
    let fetch = options.get::<Option<bool>>("fetch_result")?;
    let fetch = fetch.unwrap_or_else(|| arguments.get(1).is_some_and(Value::is_true));
    let caller = options.get::<Option<Value>>("caller")?;
    // They are of other databases, and mean nothing here.
    let _ = (options.get::<Option<Value>>("auto_begin")?, options.get::<Option<String>>("language")?);
    options.assert_all_used()?;
    let Some(body) = caller.filter(|_| scope.executes()) else { return Ok("") };
    let sql = body.call(state, &[])?.to_string();
    let Some(table) = answer(&scope, &sql)? else { return Ok("") };
    if let Some(name) = name {
        scope.keep_result(name, result(if fetch { Some(table) } else { None }, "OK")?);
    }
    Ok("")
}

fn result(table: Option<Table>, response: &str) -> Result<Value, Error> {
    let data = table.as_ref().map_or_else(|| Value::from(()), Table::data);
    let table = table.map_or_else(|| Value::from(()), Value::from_object);
    let entries = [("response", Value::from(response)), ("data", data), ("table", table)];
    Ok(Value::from_object(Dict::from_pairs(entries.map(|(key, value)| (Value::from(key), value)))?))
}

fn store_result(state: &State<'_, '_>, name: String, options: Kwargs) -> Result<&'static str, Error> {
    let response = options.get::<Option<Value>>("response")?.unwrap_or_default();
    let table = options.get::<Option<Value>>("agate_table")?.unwrap_or_else(|| Value::from(()));
    options.assert_all_used()?;
    let data = table.downcast_object_ref::<Table>().map_or_else(|| Value::from(()), Table::data);
    let entries = [("response", response), ("data", data), ("table", table)];
    let kept = Dict::from_pairs(entries.map(|(key, value)| (Value::from(key), value)))?;
    Scope::of(state)?.keep_result(name, Value::from_object(kept));
    Ok("")
}
