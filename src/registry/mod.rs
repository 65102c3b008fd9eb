//! A schema registry: the schema that an id stands for, with all that it refers to.
//!
//! What the registry says and what it does not say are kept apart: `None` means that the registry itself answered that
//! it has no such id; whatever else goes wrong (no connection, a proxy's error page, a refused token, a wrong path) is an
//! error, after which the same question may be asked again. A record is never given up for the latter.
//!
//! An id stands for the same schema for ever, so an answer is kept, up to a bound.

mod apicurio;
mod cache;
mod confluent;
mod http;
mod schema;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use self::cache::Cache;
use self::http::Http;
pub use self::schema::{Api, Language, Reference, Schema, SchemaId};
use crate::config::RegistryConfig;
use crate::error::{Error, Result};

/// Schemas that refer to each other more deeply than this are a mistake, or an attack.
const DEEPEST_REFERENCE: usize = 32;
const MOST_REFERENCES: usize = 1000;

/// A schema whose references are names so far.
struct Unresolved {
    language: Option<Language>,
    text: String,
    references: Vec<Pointer>,
}

/// Where a registry keeps a schema that another refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pointer {
    name: String,
    /// Apicurio alone has groups.
    group: Option<String>,
    subject: String,
    version: String,
}

/// Asks a registry. Secrets are in the headers of its requests alone, marked as such: no error, log or `Debug` shows
/// them.
#[derive(Debug)]
pub struct Client {
    http: Http,
    cache: Mutex<Cache>,
}

impl Client {
    /// None if no registry is configured.
    pub fn new(config: &RegistryConfig) -> Result<Option<Client>> {
        let Some(url) = &config.url else { return Ok(None) };
        Ok(Some(Client { http: Http::new(url, config)?, cache: Mutex::default() }))
    }

    pub fn address(&self) -> &str {
        self.http.address()
    }

    /// The schema of an id, or None if the registry says that there is none.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<Arc<Schema>>> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        let found = match id.api() {
            Api::Confluent => confluent::schema(&self.http, id).await,
            Api::Apicurio => apicurio::schema(&self.http, id).await,
        };
        let doing = |e: Error| e.context(format!("the schema registry {}, {id}", self.address()));
        let Some(unresolved) = found.map_err(doing)? else { return Ok(None) };
        let mut search = Search { http: &self.http, api: id.api(), seen: HashSet::new(), found: Vec::new() };
        search.follow(unresolved.references, 0).await.map_err(doing)?;
        let schema = Schema { language: unresolved.language, text: unresolved.text, references: search.found };
        Ok(Some(self.cache().insert(id, schema)))
    }

    /// The schema of an id that was asked for before.
    pub fn known(&self, id: SchemaId) -> Option<Arc<Schema>> {
        self.cache().get(id)
    }

    /// Fetches the newest schema of a topic's values under the name that serializers register it by. None if there is
    /// none.
    pub async fn prefetch(&self, topic: &str, api: Api) -> Result<Option<SchemaId>> {
        let subject = format!("{topic}-value");
        let newest = match api {
            Api::Confluent => confluent::newest(&self.http, &subject).await,
            Api::Apicurio => apicurio::newest(&self.http, &subject).await,
        };
        let ids = newest.map_err(|e| e.context(format!("the schema registry {}, {subject}", self.address())))?;
        for id in &ids {
            self.schema(*id).await?;
        }
        Ok(ids.first().copied())
    }

    /// Whether the registry answers us.
    pub async fn check(&self, api: Api) -> Result<()> {
        let checked = match api {
            Api::Confluent => confluent::check(&self.http).await,
            Api::Apicurio => apicurio::check(&self.http).await,
        };
        checked.map_err(|e| e.context(format!("the schema registry {}", self.address())))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Whoever panicked left a cache that is whole: it is changed in one step.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows references to their ends.
struct Search<'a> {
    http: &'a Http,
    api: Api,
    seen: HashSet<Pointer>,
    found: Vec<Reference>,
}

impl Search<'_> {
    fn follow(&mut self, pointers: Vec<Pointer>, depth: usize) -> BoxFuture<'_, Result<()>> {
        async move {
            for pointer in pointers {
                if !self.seen.insert(pointer.clone()) {
                    continue;
                }
                let Pointer { name, subject, version, .. } = &pointer;
                let what = format!("its reference `{name}` ({subject}, version {version})");
                if depth >= DEEPEST_REFERENCE || self.seen.len() > MOST_REFERENCES {
                    return Err(Error::outside(format!("{what}: the references do not come to an end")));
                }
                let found = match self.api {
                    Api::Confluent => confluent::referred(self.http, &pointer).await,
                    Api::Apicurio => apicurio::referred(self.http, &pointer).await,
                };
                let Some(schema) = found.map_err(|e| e.context(&what))? else {
                    return Err(Error::outside(format!("{what} is not in the registry"))
                        .hint("register it again: a schema cannot be read without what it refers to"));
                };
                self.follow(schema.references, depth + 1).await?;
                self.found.push(Reference { name: pointer.name, text: schema.text });
            }
            Ok(())
        }
        .boxed()
    }
}
