//! The schemas that records need, asked for beside the loop that decodes them.
//!
//! Only the registry's own word that it has no such schema is an answer. While it is away the question stays open: it is
//! asked again, with pauses that grow, until the registry answers or nobody waits any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::Route;
use crate::config::RegistryConfig;
use crate::error::{Error, Result};
use crate::registry::{Client, Schema, SchemaId};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is said that the registry is still away.
const REMIND: Duration = Duration::from_secs(30);

/// The registry's answer: a schema, or that there is none.
pub type Answer = Option<Arc<Schema>>;

#[derive(Clone)]
pub struct Schemas {
    client: Option<Arc<Client>>,
}

/// A question that is being asked. When it is dropped, asking ends.
pub struct Asked(oneshot::Receiver<Answer>);

impl Schemas {
    /// Fails if a contract needs a registry and none is configured.
    pub fn new(config: &RegistryConfig, routes: &[Route]) -> Result<Schemas> {
        let client = Client::new(config)?.map(Arc::new);
        if client.is_none()
            && let Some(route) = routes.iter().find(|route| route.contract.registry().is_some())
        {
            return Err(Error::input(format!(
                "{} needs a schema registry, and none is configured",
                route.contract.file
            ))
            .hint("set registry.url, or MEDALLION_REGISTRY__URL"));
        }
        Ok(Schemas { client })
    }

    /// For records that need none.
    #[cfg(test)]
    pub fn none() -> Schemas {
        Schemas { client: None }
    }

    /// Fetches the newest schema of each topic, so that the first records need not wait. Whatever goes wrong here will be
    /// met, and waited for, when a record needs a schema.
    pub async fn prefetch(&self, routes: &[Route], claimed: &BTreeMap<String, usize>) {
        let Some(client) = &self.client else { return };
        for (topic, route) in claimed {
            let Some(framing) = routes.get(*route).and_then(|route| route.contract.registry()) else { continue };
            match client.prefetch(topic, framing.api()).await {
                Ok(Some(id)) => tracing::info!(topic, %id, "the newest schema"),
                Ok(None) => tracing::info!(topic, "no schema is registered under the topic's name"),
                Err(error) => {
                    tracing::warn!(topic, %error, "no schema yet");
                    // It would be waited for again and again.
                    return;
                }
            }
        }
    }

    pub fn ask(&self, id: SchemaId) -> Asked {
        let (answer, asked) = oneshot::channel();
        if let Some(client) = &self.client {
            match client.known(id) {
                Some(known) => drop(answer.send(Some(known))),
                None => drop(tokio::spawn(fetch(client.clone(), id, answer))),
            }
        }
        Asked(asked)
    }
}

impl Asked {
    /// The answer, once it is there.
    pub fn answer(&mut self) -> Result<Option<Answer>> {
        match self.0.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Closed) => Err(Error::bug("nobody asks the schema registry any more")),
        }
    }
}

async fn fetch(client: Arc<Client>, id: SchemaId, mut answer: oneshot::Sender<Answer>) {
    let mut pause = FIRST_PAUSE;
    let mut said: Option<Instant> = None;
    loop {
        let schema = tokio::select! {
            schema = client.schema(id) => schema,
            () = answer.closed() => return,
        };
        match schema {
            Ok(schema) => {
                if said.is_some() {
                    tracing::info!(%id, "the schema registry answers again");
                }
                // Whoever asked may have gone.
                let _ = answer.send(schema);
                return;
            }
            Err(error) if said.is_none_or(|at| at.elapsed() >= REMIND) => {
                said = Some(Instant::now());
                tracing::warn!(%error, "decoding waits for a schema");
            }
            Err(error) => tracing::debug!(%error, "decoding waits for a schema"),
        }
        // Several daemons need not ask at the same moments.
        let jittered = pause.mul_f64(rand::random_range(0.7..1.3));
        tokio::select! {
            () = tokio::time::sleep(jittered) => {}
            () = answer.closed() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
