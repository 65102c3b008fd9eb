//! What ingest asks of a broker: which partitions there are, where they begin and end, and a consumer of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

use super::consumer::Consumer;
use super::feed::{Kafka, Partition, Range};
use super::topic_id::topic_ids;
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Properties that are ours: another value would break what ingest promises.
const RESERVED: &[(&str, &str)] = &[
    ("enable.auto.commit", "progress is kept in the tables"),
    ("enable.auto.offset.store", "progress is kept in the tables"),
    ("enable.partition.eof", "ingest has to know where a partition ends"),
    ("auto.offset.reset", "a jump of the offset must stop ingest, or records would be lost in silence"),
    ("bootstrap.servers", "set kafka.brokers"),
    ("group.id", "set kafka.group"),
];

/// A client whose every answer is checked by whoever asks, so that its log would only repeat it.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(facility, "{text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Quiet {}

#[derive(Clone)]
pub struct Broker {
    config: ClientConfig,
    address: String,
}

impl Broker {
    /// `memory` is what ingest may hold as a whole; Kafka's queues get a quarter of it.
    pub fn new(kafka: &KafkaConfig, memory: u64) -> Result<Broker> {
        let mut config = ClientConfig::new();
        let queue_kilobytes = (memory / 4 / 1024).clamp(1024, 2_097_151);
        config
            .set("bootstrap.servers", &kafka.brokers)
            .set("group.id", &kafka.group)
            .set("client.id", "medallion")
            .set("isolation.level", "read_committed")
            .set("queued.max.messages.kbytes", queue_kilobytes.to_string())
            // A daemon that was killed is missed for this long, before its partitions go to whoever takes its place. One
            // that is taken for dead falsely costs a rebalance and nothing else: the tables' fences decide.
            .set("session.timeout.ms", "10000")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100");
        for (name, value) in &kafka.properties {
            if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
                return Err(Error::input(format!("kafka.properties: `{name}` cannot be set: {why}")));
            }
            let text = match value {
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            config.set(name, text);
        }
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        Ok(Broker { config, address: kafka.brokers.clone() })
    }

    fn asking(&self) -> Result<BaseConsumer<Quiet>> {
        self.config.create_with_context(Quiet).map_err(|e| match e {
            KafkaError::ClientConfig(_, reason, name, value) => {
                Error::input(format!("kafka.properties: `{name}` = `{value}`: {reason}"))
            }
            e => Error::input("kafka: the client cannot be made").because(e),
        })
    }

    fn unreachable(&self, error: KafkaError) -> Error {
        Error::outside(format!("the Kafka broker {} does not answer: {error}", self.address))
            .hint("check kafka.brokers, the network, and kafka.properties for TLS and SASL")
    }

    /// Fails unless a broker answers within this time.
    pub fn ensure_answers(&self, within: Duration) -> Result<()> {
        self.asking()?.fetch_metadata(None, within).map(|_| ()).map_err(|e| self.unreachable(e))
    }

    /// All partitions of these topics. A topic that the broker does not have is an error.
    pub fn partitions(&self, topics: &[String]) -> Result<Vec<Partition>> {
        let client = self.asking()?;
        let metadata = client.fetch_metadata(None, ANSWER_WITHIN).map_err(|e| self.unreachable(e))?;
        let known: BTreeMap<&str, _> = metadata.topics().iter().map(|t| (t.name(), t.partitions())).collect();
        let missing: BTreeSet<&str> = topics.iter().map(String::as_str).filter(|t| !known.contains_key(t)).collect();
        if !missing.is_empty() {
            let names = missing.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Error::outside(format!("the broker {} has no topic {names}", self.address))
                .hint("create it, or name the topics to ingest with --topics"));
        }
        Ok(topics
            .iter()
            .flat_map(|topic| {
                let partitions = known.get(topic.as_str()).copied().unwrap_or_default();
                partitions.iter().map(|p| Partition { topic: topic.clone(), partition: p.id() })
            })
            .collect())
    }

    /// Where each partition begins and ends now, and of which topic.
    pub fn ends(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Range>> {
        let client = self.asking()?;
        let topics: BTreeSet<&str> = partitions.iter().map(|p| p.topic.as_str()).collect();
        let ids = self.ids_with(&client, &topics.into_iter().collect::<Vec<_>>())?;
        partitions
            .iter()
            .map(|p| {
                let topic_id = ids.get(&p.topic).copied();
                Ok((p.clone(), Range { topic_id, ..self.range_with(&client, p)? }))
            })
            .collect()
    }

    fn ids_with(&self, client: &BaseConsumer<Quiet>, topics: &[&str]) -> Result<BTreeMap<String, i64>> {
        let Some(first) = topics.first() else { return Ok(BTreeMap::new()) };
        let metadata = client.fetch_metadata(Some(first), ANSWER_WITHIN).map_err(|e| self.unreachable(e))?;
        let Some(broker) = metadata.brokers().first() else { return Ok(BTreeMap::new()) };
        // SAFETY: the client is alive.
        unsafe { topic_ids(client.client().native_ptr(), broker.id(), topics, ANSWER_WITHIN) }.map_err(|reason| {
            Error::outside(format!("the Kafka broker {} does not describe its topics: {reason}", self.address))
                .hint("ingest needs the right to describe the topics that it reads")
        })
    }

    fn range_with(&self, client: &BaseConsumer<Quiet>, partition: &Partition) -> Result<Range> {
        match client.fetch_watermarks(&partition.topic, partition.partition, ANSWER_WITHIN) {
            Ok((low, high)) => Ok(Range { low, high, topic_id: None }),
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopicOrPartition,
            )) => Err(Error::outside(format!("{} {} went away", partition.topic, partition.partition))),
            Err(e) => Err(self.unreachable(e)),
        }
    }
}

impl Kafka for Broker {
    type Feed = Consumer;

    fn subscribe(&self, topics: &[&str]) -> Result<Consumer> {
        Consumer::new(&self.config, topics)
    }

    /// Blocks its thread, which is the session's own.
    async fn ranges(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Range>> {
        self.ends(partitions)
    }
}
