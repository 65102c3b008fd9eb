//! What dbt's artifacts have in common: the metadata that readers look at first, and a file that is whole or not there.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// The release of dbt whose artifacts these are.
pub const DBT_VERSION: &str = "1.12.0";

/// Variables of the environment that users want to see again in every artifact.
const CUSTOM: &str = "DBT_ENV_CUSTOM_ENV_";

/// One call of the command line, as its artifacts name it.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub id: String,
    pub started_at: DateTime<Utc>,
}

impl Invocation {
    /// The `metadata` of an artifact; `schema` is as in `manifest/v12`.
    pub fn metadata(&self, schema: &str) -> Map<String, Value> {
        let custom = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.to_str()?.strip_prefix(CUSTOM)?.to_owned();
            Some((name, Value::from(value.to_str()?)))
        });
        let metadata = json!({
            "dbt_schema_version": format!("https://schemas.getdbt.com/dbt/{schema}.json"),
            "dbt_version": DBT_VERSION,
            "generated_at": time(Utc::now()),
            "invocation_id": self.id,
            "invocation_started_at": time(self.started_at),
            "env": custom.collect::<Map<String, Value>>(),
        });
        match metadata {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// A time as artifacts spell it.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Writes a file of the target folder. Whoever reads it meanwhile sees the one before or this one, never half of it.
pub fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&unfinished, text))
        .and_then(|()| std::fs::rename(&unfinished, &path))
        .map_err(|e| Error::outside(format!("cannot write {}", path.display())).because(e))
}
