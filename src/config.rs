//! The configuration: flags beat environment, environment beats the file, the file beats the defaults.
//!
//! The defaults are `medallion.toml` of this repository, compiled in, so that the file a user reads is the one that
//! holds. A key that the defaults do not know is an error with the nearest name: a typo never passes for a setting.

mod kafka;
mod secret;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::{Table, Value};

pub use self::kafka::{KafkaConfig, Property};
pub use self::secret::Secret;
use self::secret::guarded;
use crate::error::{Error, Place, Result, nearest};

const DEFAULTS: &str = include_str!("../medallion.toml");

/// Keys without a default, and the tables in which any key is allowed.
const OPTIONAL: &[&str] = &[
    "lake.endpoint",
    "lake.ca_file",
    "kafka.token_file",
    "build.webhook",
    "build.webhook_file",
    "build.openlineage",
    "registry.url",
    "registry.user",
    "registry.password_file",
    "registry.token_file",
    "privacy.key_file",
    "serve.tls",
    "serve.users",
    "serve.limits",
];
const OPEN_TABLES: &[&str] = &["kafka.properties", "serve.tls", "serve.users", "serve.limits"];

#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub lake: LakeConfig,
    pub kafka: KafkaConfig,
    pub registry: RegistryConfig,
    pub ingest: IngestConfig,
    pub care: CareConfig,
    pub build: BuildConfig,
    pub privacy: PrivacyConfig,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LakeConfig {
    pub url: String,
    pub endpoint: Option<String>,
    pub region: String,
    pub allow_http: bool,
    /// Certificates of authorities that are trusted besides the machine's own.
    pub ca_file: Option<PathBuf>,
}

/// Where the schemas of Avro and Protobuf records are. The secrets themselves are not here: see
/// [`registry::Client`](crate::registry::Client).
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RegistryConfig {
    pub url: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct IngestConfig {
    pub contracts: PathBuf,
    #[serde(deserialize_with = "bytes")]
    pub flush_bytes: u64,
    pub flush_rows: u64,
    #[serde(deserialize_with = "duration")]
    pub flush_interval: Duration,
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    pub metrics_address: String,
    pub error_rate_limit: f64,
    #[serde(deserialize_with = "duration")]
    pub commit_timeout: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct CareConfig {
    pub enabled: bool,
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    #[serde(deserialize_with = "bytes")]
    pub target_file: u64,
    #[serde(deserialize_with = "duration")]
    pub min_age: Duration,
    #[serde(deserialize_with = "duration")]
    pub log_retention: Duration,
    #[serde(deserialize_with = "duration")]
    pub vacuum_interval: Duration,
    #[serde(deserialize_with = "duration")]
    pub vacuum_retention: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct BuildConfig {
    pub project: PathBuf,
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    pub threads: usize,
    /// The address may hold a secret.
    #[serde(default, deserialize_with = "secret")]
    pub webhook: Option<Secret>,
    pub webhook_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "secret")]
    pub openlineage: Option<Secret>,
    pub retries: u32,
    pub releases_keep: usize,
    #[serde(deserialize_with = "duration")]
    pub releases_age: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct PrivacyConfig {
    pub key_file: Option<PathBuf>,
}

impl BuildConfig {
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        }
    }
}

impl Config {
    /// Reads the configuration as a command sees it: `file` is the value of `--config`, if any.
    pub fn load(file: Option<&Path>) -> Result<Config> {
        let env: BTreeMap<String, String> =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        let here = std::env::current_dir().map_err(|e| Error::outside("no working directory").because(e))?;
        Config::resolve(file, &env, &here)
    }

    /// The same, with everything it depends on passed in.
    pub fn resolve(file: Option<&Path>, env: &BTreeMap<String, String>, here: &Path) -> Result<Config> {
        let mut merged: Table =
            DEFAULTS.parse().map_err(|e| Error::bug("the built-in configuration is broken").because(e))?;
        let known = known_keys(&merged);

        let named = file.map(Path::to_owned).or_else(|| env.get("MEDALLION_CONFIG").map(PathBuf::from));
        let found = named.or_else(|| here.ancestors().map(|d| d.join("medallion.toml")).find(|f| f.is_file()));
        let mut shown = String::from("the environment");
        if let Some(path) = found {
            shown = path.display().to_string();
            let text = std::fs::read_to_string(&path)
                .map_err(|e| Error::input(format!("cannot read the configuration {shown}")).because(e))?;
            let user: Table = text.parse().map_err(|e: toml::de::Error| {
                let error = Error::input(format!("the configuration is not valid TOML: {}", e.message()));
                match e.span() {
                    Some(span) => error.at(guarded(Place::at_offset(&shown, &text, span.start))),
                    None => error,
                }
            })?;
            check_keys(&user, "", &known, &|key| place_of_key(&shown, &text, "", key))?;
            if let Some(name) = kafka::written_secret(&user) {
                let error = Error::input(format!("kafka.properties: `{name}` is written in the configuration")).hint(
                    format!("name where the secret is: \"{name}\" = {{ file = \"PATH\" }} or {{ env = \"VARIABLE\" }}"),
                );
                return Err(match place_of_key(&shown, &text, "kafka.properties", name) {
                    Some(place) => error.at(place),
                    None => error,
                });
            }
            merge(&mut merged, user);
        }
        for (name, value) in env {
            let Some(path) = name.strip_prefix("MEDALLION_").filter(|p| p.contains("__")) else { continue };
            set_from_environment(&mut merged, name, path, value, &known)?;
        }
        Config::deserialize(merged).map_err(|e| {
            Error::input(format!("the configuration does not fit: {}", e.message()))
                .hint(format!("see {shown}; medallion.toml of the project documents every key"))
        })
    }
}

fn known_keys(defaults: &Table) -> Vec<String> {
    let mut keys: Vec<String> = OPTIONAL.iter().map(|k| k.to_string()).collect();
    for (section, value) in defaults {
        keys.push(section.clone());
        if let Value::Table(table) = value {
            keys.extend(table.keys().map(|k| format!("{section}.{k}")));
        }
    }
    keys
}

fn is_open(key: &str) -> bool {
    OPEN_TABLES.iter().any(|open| key == *open || key.strip_prefix(open).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown_key(key: &str, known: &[String]) -> Error {
    let error = Error::input(format!("unknown key `{key}` in the configuration"));
    match nearest(key, known.iter().map(String::as_str)) {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("medallion.toml of the project documents every key"),
    }
}

fn check_keys(table: &Table, prefix: &str, known: &[String], place: &dyn Fn(&str) -> Option<Place>) -> Result<()> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if is_open(&key) {
            continue;
        }
        if !known.contains(&key) {
            let error = unknown_key(&key, known);
            return Err(match place(&key) {
                Some(place) => error.at(place),
                None => error,
            });
        }
        if let Value::Table(inner) = value {
            check_keys(inner, &key, known, place)?;
        }
    }
    Ok(())
}

/// Finds where a dotted key is written, for the error that names it. What is below `open` has dots of its own.
fn place_of_key(file: &str, text: &str, open: &str, key: &str) -> Option<Place> {
    let (section, name) = match open {
        "" => key.rsplit_once('.').unwrap_or(("", key)),
        section => (section, key),
    };
    let place = |line, column| Some(guarded(Place::in_text(file, text, line, column)));
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if let Some(header) = trimmed.strip_prefix('[') {
            current = header.trim_start_matches('[').split(']').next().unwrap_or("").trim().to_owned();
            if current == key {
                return place(index + 1, line.len() - trimmed.len() + 2);
            }
        }
        let written = trimmed.split('=').next().unwrap_or("").trim().trim_matches('"');
        if current == section && written == name {
            return place(index + 1, line.len() - trimmed.len() + 1);
        }
    }
    None
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(existing)), Value::Table(new)) => merge(existing, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn set_from_environment(merged: &mut Table, name: &str, path: &str, text: &str, known: &[String]) -> Result<()> {
    let lower = path.to_lowercase();
    let parts: Vec<&str> = lower.split("__").collect();
    let key = parts.join(".");
    if !known.contains(&key) && !is_open(&key) {
        return Err(unknown_key(&key, known).context(format!("environment variable {name}")));
    }
    let (Some(last), sections) = (parts.last(), &parts[..parts.len() - 1]) else { return Ok(()) };
    let mut table = merged;
    for section in sections {
        let next = table.entry(section.to_string()).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = next else {
            return Err(Error::input(format!("environment variable {name}: `{section}` is a value, not a section")));
        };
        table = inner;
    }
    // librdkafka's names have dots: MEDALLION_KAFKA__PROPERTIES__SECURITY_PROTOCOL sets security.protocol.
    let leaf = match sections {
        ["kafka", "properties"] => last.replace('_', "."),
        _ => last.to_string(),
    };
    // The default's type decides how the text reads; a key without a default is text.
    let value = match table.get(&leaf) {
        Some(Value::Integer(_)) => text.parse().map(Value::Integer).map_err(|_| "a whole number"),
        Some(Value::Float(_)) => text.parse().map(Value::Float).map_err(|_| "a number"),
        Some(Value::Boolean(_)) => text.parse().map(Value::Boolean).map_err(|_| "true or false"),
        _ => Ok(Value::String(text.to_owned())),
    };
    let value = value.map_err(|wanted| Error::input(format!("environment variable {name}: expected {wanted}")))?;
    table.insert(leaf, value);
    Ok(())
}

/// Reads `"128MB"`, `"1.5 GiB"` or a plain number of bytes. Units are powers of 1024, as in most tools' memory settings.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(Error::input(format!("`{text}` is not a size; write for example 128MB"))),
    };
    match number.parse::<f64>() {
        Ok(n) if n > 0.0 => Ok((n * (1u64 << shift) as f64) as u64),
        _ => Err(Error::input(format!("`{text}` is not a size; write for example 128MB"))),
    }
}

/// Reads `"250ms"`, `"1s"`, `"5m"`, `"2h"`, `"7d"`.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(Error::input(format!("`{text}` is not a duration; write for example 500ms, 1s or 5m"))),
    };
    let seconds = number.parse::<f64>().ok().map(|n| n * scale);
    seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .filter(|d| !d.is_zero())
        .ok_or_else(|| Error::input(format!("`{text}` is not a duration; write for example 500ms, 1s or 5m")))
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Integer(n) if n > 0 => Ok(n as u64),
        Value::String(text) => parse_bytes(&text).map_err(|e| D::Error::custom(e.what())),
        other => Err(D::Error::custom(format!("`{other}` is not a size; write for example 128MB"))),
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Some(Secret::new(String::deserialize(deserializer)?)))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(|e| D::Error::custom(e.what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(file: &str, env: &[(&str, &str)]) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("medallion.toml");
        std::fs::write(&path, file).unwrap();
        let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Config::resolve(None, &env, dir.path())
    }

    #[test]
    fn environment_beats_file_beats_defaults() {
        let config = resolve(
            "[kafka]\nbrokers = \"file:1\"\ngroup = \"from-file\"\n",
            &[("MEDALLION_KAFKA__BROKERS", "env:1"), ("MEDALLION_INGEST__FLUSH_ROWS", "7")],
        )
        .unwrap();
        assert_eq!((config.kafka.brokers.as_str(), config.kafka.group.as_str()), ("env:1", "from-file"));
        assert_eq!(config.ingest.flush_rows, 7);
        assert_eq!(config.ingest.flush_bytes, 128 << 20);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_place_and_nearest_name() {
        let error = resolve("[kafka]\n  brokrs = \"x\"\n", &[]).unwrap_err();
        let place = error.place().unwrap();
        assert_eq!((place.line, place.column), (2, 3));
        assert!(error.to_string().contains("did you mean `kafka.brokers`?"), "{error}");
        let error = resolve("", &[("MEDALLION_KAFKA__BROKRS", "x")]).unwrap_err();
        assert!(error.to_string().contains("did you mean `kafka.brokers`?"), "{error}");
    }

    #[test]
    fn properties_of_librdkafka_pass_through() {
        let config = resolve(
            "[kafka.properties]\n\"security.protocol\" = \"SSL\"\n",
            &[("MEDALLION_KAFKA__PROPERTIES__SSL_CA_LOCATION", "/ca")],
        )
        .unwrap();
        let value = |name: &str| config.kafka.properties[name].resolve(name).unwrap();
        assert_eq!((value("security.protocol").as_str(), value("ssl.ca.location").as_str()), ("SSL", "/ca"));
    }

    #[test]
    fn sizes_and_durations_read_with_units_and_refuse_nonsense() {
        assert_eq!(parse_bytes("1.5 GiB").unwrap(), 3 << 29);
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_duration("7d").unwrap(), Duration::from_secs(7 * 24 * 3600));
        assert!(parse_bytes("12 parsecs").is_err() && parse_bytes("-1").is_err());
        assert!(parse_duration("1").is_err() && parse_duration("0s").is_err());
        assert!(resolve("[ingest]\nflush_bytes = \"lots\"\n", &[]).is_err());
    }

    #[test]
    fn a_secret_of_kafka_is_named_in_the_file_and_never_written_there() {
        let error = resolve("[kafka.properties]\n  \"sasl.password\" = \"canary\"\n", &[]).unwrap_err();
        let place = error.place().unwrap();
        assert_eq!((error.kind(), place.line, place.column), (crate::error::Kind::Input, 2, 3));
        assert!(error.to_string().contains("{ file = \"PATH\" }"), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "from file\n").unwrap();
        let named = format!(
            "[kafka.properties]\n\"sasl.password\" = {{ file = {:?} }}\n\"ssl.key.pem\" = {{ env = \"NOT_SET_ANYWHERE\" }}\n",
            file.display().to_string()
        );
        let config = resolve(&named, &[]).unwrap();
        assert_eq!(config.kafka.properties["sasl.password"].resolve("sasl.password").unwrap(), "from file");
        let missing = config.kafka.properties["ssl.key.pem"].resolve("ssl.key.pem").unwrap_err();
        assert!(missing.to_string().contains("`ssl.key.pem`: the environment variable NOT_SET_ANYWHERE"), "{missing}");
        assert!(resolve("[kafka.properties]\n\"sasl.password\" = { flie = \"x\" }\n", &[]).is_err());
    }

    #[test]
    fn debug_of_the_configuration_and_its_errors_show_no_secret() {
        let secret = ("MEDALLION_KAFKA__PROPERTIES__SASL_PASSWORD", "canary");
        let config = resolve("", &[secret, ("MEDALLION_KAFKA__PROPERTIES__SASL_USERNAME", "me")]).unwrap();
        assert_eq!(config.kafka.properties["sasl.password"].resolve("sasl.password").unwrap(), "canary");
        let shown = format!("{config:?}");
        assert!(shown.contains("sasl.password") && shown.contains("\"me\"") && !shown.contains("canary"), "{shown}");
        for wrong in [
            "[registry]\npassword = \"canary\"\n",
            "[registry]\ntoken = \"canary\"\n",
            "[registry]\npassword_file = canary\n",
            "[kafka.properties]\n\"ssl.key.password\" = canary\n",
        ] {
            let error = resolve(wrong, &[]).unwrap_err();
            assert!(error.place().is_some() && !format!("{error:?}").contains("canary"), "{error:?}");
        }
    }
}
