//! What is configured of Kafka: librdkafka's own properties pass through, and secrets among them are named, not written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::{Table, Value};

use super::secret::Secret;
use crate::error::{Error, Result};

/// Properties of librdkafka whose values are secrets.
const SECRETS: &[&str] = &[
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

#[derive(Debug, Clone, Deserialize)]
pub struct KafkaConfig {
    pub brokers: String,
    pub group: String,
    /// Where another program keeps the token of OAUTHBEARER.
    pub token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "properties")]
    pub properties: BTreeMap<String, Property>,
}

/// The value of a property, or where it is found when it is needed: whoever does not talk to Kafka needs none of its
/// secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    Plain(String),
    Secret(Secret),
    Variable(String),
    File(PathBuf),
}

impl Property {
    /// The text for librdkafka.
    pub fn resolve(&self, name: &str) -> Result<String> {
        let key = format!("kafka.properties: `{name}`");
        match self {
            Property::Plain(text) => Ok(text.clone()),
            Property::Secret(secret) => Ok(secret.reveal().to_owned()),
            Property::Variable(variable) => Ok(Secret::from_variable(&key, variable)?.reveal().to_owned()),
            Property::File(file) => Ok(Secret::from_file(&key, file)?.reveal().to_owned()),
        }
    }
}

impl KafkaConfig {
    /// Says what is wrong with one of the properties; `reason` and `name` are librdkafka's words.
    pub fn refused(&self, name: &str, reason: &str) -> Error {
        // A value is never shown: what is refused may be the misspelled name of a secret.
        let error = Error::input(format!("kafka.properties: `{name}`: {}", reason.trim()));
        match reason.contains("OIDC") {
            true => error.hint(
                "this binary fetches no tokens of OAUTHBEARER itself: let another program do so, and name the file that \
                 it keeps them in as kafka.token_file",
            ),
            false => error.hint("librdkafka's CONFIGURATION.md lists the properties and their values"),
        }
    }
}

/// The first property in a configuration file whose value there is a secret.
pub fn written_secret(file: &Table) -> Option<&'static str> {
    let properties = file.get("kafka")?.get("properties")?;
    SECRETS.iter().copied().find(|name| properties.get(name).is_some_and(|value| !value.is_table()))
}

fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Property>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        env: Option<String>,
        file: Option<PathBuf>,
    }
    let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let property = |(name, value): (String, Value)| {
        let property = match value {
            Value::String(text) if SECRETS.contains(&name.as_str()) => Property::Secret(Secret::new(text)),
            Value::String(text) => Property::Plain(text),
            Value::Table(_) => match value.try_into() {
                Ok(Named { env: Some(variable), file: None }) => Property::Variable(variable),
                Ok(Named { env: None, file: Some(file) }) => Property::File(file),
                _ => {
                    return Err(D::Error::custom(format!(
                        "kafka.properties: `{name}` is a text, {{ env = \"VARIABLE\" }} or {{ file = \"PATH\" }}"
                    )));
                }
            },
            other => Property::Plain(other.to_string()),
        };
        Ok((name, property))
    };
    values.into_iter().map(property).collect()
}
