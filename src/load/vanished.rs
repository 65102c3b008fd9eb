//! Which keys a full extract no longer has.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::engine::catalog::Catalog;
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::lake::TableName;

/// The keys whose last row before this load was not a deletion, and which `present` does not have, in order.
pub async fn keys(
    engine: &Engine,
    table: &TableName,
    version: Option<u64>,
    key: &str,
    present: &HashSet<String>,
) -> Result<Vec<String>> {
    let Some(version) = version else { return Ok(Vec::new()) };
    let mut catalog = Catalog::only(&engine.lake, [table.clone()]);
    catalog.pin(table, version);
    let context = engine.session(Arc::new(catalog));
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let key = quoted(key);
    let query = format!(
        "select {key} from (select {key}, _deleted from {}.{} where _error is null and {key} is not null \
         qualify row_number() over (partition by {key} order by _load desc, _deleted, _file desc, _row desc) = 1) as last \
         where not _deleted order by {key}",
        quoted(&table.schema),
        quoted(&table.name)
    );
    let doing = format!("looking for keys of {table} that have gone");
    let frame = context.sql(&query).await.map_err(|e| engine::error(&doing, e))?;
    let mut gone = Vec::new();
    for batch in frame.collect().await.map_err(|e| engine::error(&doing, e))? {
        let keys = cast(batch.column(0), &DataType::Utf8).map_err(|e| Error::bug("keys are text").because(e))?;
        gone.extend(keys.as_string::<i32>().iter().flatten().filter(|k| !present.contains(*k)).map(str::to_owned));
    }
    Ok(gone)
}
