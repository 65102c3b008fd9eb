//! What ingest asks of a broker: which partitions there are, where they begin and end, and a consumer of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{ClientConfig, ClientContext};

use super::consumer::Consumer;
use super::feed::{Kafka, Partition, Range};
use super::token;
use super::topic_id::topic_ids;
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What librdkafka takes if nothing is said.
const DEFAULT_REFRESH_MS: i64 = 300_000;

/// Properties that are ours: another value would break what ingest promises.
const RESERVED: &[(&str, &str)] = &[
    ("enable.auto.commit", "progress is kept in the tables"),
    ("enable.auto.offset.store", "progress is kept in the tables"),
    ("enable.partition.eof", "ingest has to know where a partition ends"),
    ("auto.offset.reset", "a jump of the offset must stop ingest, or records would be lost in silence"),
    ("bootstrap.servers", "set kafka.brokers"),
    ("group.id", "set kafka.group"),
];

/// How long one try takes, between which what waits for the client's owner is served.
const ONE_TRY: Duration = Duration::from_millis(500);
/// A cluster some of whose brokers refuse has so long for another one to answer.
const REFUSED_AFTER: Duration = Duration::from_secs(3);
const EVENTS_A_TRY: usize = 1000;

/// Hears why a client gets no answer. The answer itself only says that there was none, and librdkafka goes on trying
/// behind it, so what its threads say of their connections is kept.
struct Hearing {
    token_file: Option<PathBuf>,
    reason: Mutex<Option<String>>,
}

impl Hearing {
    fn hear(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Hearing {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let found = match &self.token_file {
            Some(file) => token::read(file, Utc::now().timestamp_millis()),
            None => Err(Error::input("OAUTHBEARER needs a token, and kafka.token_file is not set")),
        };
        match found {
            Ok(token) => Ok(OAuthToken {
                token: token.text.reveal().to_owned(),
                principal_name: token.principal,
                lifetime_ms: token.expires_ms,
            }),
            Err(e) => {
                self.hear(e.what().to_owned());
                Err(e.into())
            }
        }
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(facility, "{text}");
        if facility == "FAIL" {
            // Before it stands which thread speaks.
            let text = text.split_once("]: ").map_or(text, |(_, text)| text);
            self.hear(text.to_owned());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Hearing {}

type Asking = BaseConsumer<Hearing>;

#[derive(Clone)]
pub struct Broker {
    config: ClientConfig,
    address: String,
    token_file: Option<PathBuf>,
}

/// How a broker does not answer.
#[derive(Clone, Copy, PartialEq)]
enum Silence {
    Away,
    /// It does not take us for who we say we are.
    Refused,
    /// TLS does not come about.
    Tls,
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
            config.set(name, value.resolve(name)?);
        }
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        match config.create_native_config() {
            Err(KafkaError::ClientConfig(_, reason, name, _)) => Err(kafka.refused(&name, &reason)),
            Err(e) => Err(Error::input("kafka.properties").because(e)),
            Ok(_) => Ok(Broker { config, address: kafka.brokers.clone(), token_file: kafka.token_file.clone() }),
        }
    }

    fn asking(&self) -> Result<Asking> {
        let hearing = Hearing { token_file: self.token_file.clone(), reason: Mutex::default() };
        let mut config = self.config.clone();
        // A broker that hangs up is told of at this level.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.create_with_context(hearing).map_err(|e| {
            Error::input("kafka: the client cannot be made")
                .because(e)
                .hint("check the files that kafka.properties names")
        })
    }

    /// What the brokers say of themselves and of one topic, or all, or why they say nothing.
    fn metadata(&self, client: &Asking, topic: Option<&str>, within: Duration) -> Result<Metadata> {
        let began = Instant::now();
        let mut silence = Silence::Away;
        loop {
            // A poll serves one event, and says nothing of those that it served by itself, such as a line of the log.
            for event in (0..EVENTS_A_TRY).filter_map(|_| client.poll(Duration::ZERO)) {
                match event.err().and_then(|e| e.rdkafka_error_code()) {
                    Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                        silence = Silence::Refused;
                    }
                    Some(RDKafkaErrorCode::SSL) => silence = Silence::Tls,
                    _ => {}
                }
            }
            // Who refuses does so again.
            let within = if silence == Silence::Away { within } else { within.min(REFUSED_AFTER) };
            let left = within.saturating_sub(began.elapsed());
            match client.fetch_metadata(topic, left.min(ONE_TRY)) {
                Ok(metadata) => return Ok(metadata),
                Err(e) if left <= ONE_TRY => return Err(self.silent(silence, client.context().reason(), e)),
                Err(_) => {}
            }
        }
    }

    fn silent(&self, how: Silence, reason: Option<String>, error: KafkaError) -> Error {
        let (what, hint) = match how {
            Silence::Refused => (
                "refuses us",
                "check sasl.mechanism, sasl.username and sasl.password (or the token) in kafka.properties, and that the \
                 broker knows this user",
            ),
            Silence::Tls => (
                "is not reached by TLS",
                "check that ssl.ca.location in kafka.properties names the certificate of the broker's CA, that the \
                 broker's name is in its certificate, and security.protocol",
            ),
            Silence::Away => (
                "does not answer",
                "check kafka.brokers and the network; a broker that wants TLS or SASL needs security.protocol in \
                 kafka.properties",
            ),
        };
        let reason = reason.unwrap_or_else(|| error.to_string());
        Error::outside(format!("the Kafka broker {} {what}: {reason}", self.address)).hint(hint)
    }

    /// Fails unless a broker answers within this time.
    pub fn ensure_answers(&self, within: Duration) -> Result<()> {
        self.metadata(&self.asking()?, None, within).map(|_| ())
    }

    /// The topics that the cluster has now.
    pub fn topics(&self) -> Result<BTreeSet<String>> {
        let metadata = self.metadata(&self.asking()?, None, ANSWER_WITHIN)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// How often it is to be looked for new topics. None for never.
    pub fn refresh(&self) -> Option<Duration> {
        let millis = match self.config.get("topic.metadata.refresh.interval.ms") {
            Some(text) => text.parse::<i64>().ok()?,
            None => DEFAULT_REFRESH_MS,
        };
        u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis)
    }

    /// All partitions of these topics. A topic that the broker does not have is an error.
    pub fn partitions(&self, topics: &[String]) -> Result<Vec<Partition>> {
        let client = self.asking()?;
        let metadata = self.metadata(&client, None, ANSWER_WITHIN)?;
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

    fn ids_with(&self, client: &Asking, topics: &[&str]) -> Result<BTreeMap<String, i64>> {
        let Some(first) = topics.first() else { return Ok(BTreeMap::new()) };
        let metadata = self.metadata(client, Some(first), ANSWER_WITHIN)?;
        let Some(broker) = metadata.brokers().first() else { return Ok(BTreeMap::new()) };
        // SAFETY: the client is alive.
        unsafe { topic_ids(client.client().native_ptr(), broker.id(), topics, ANSWER_WITHIN) }.map_err(|reason| {
            Error::outside(format!("the Kafka broker {} does not describe its topics: {reason}", self.address))
                .hint("ingest needs the right to describe the topics that it reads")
        })
    }

    fn range_with(&self, client: &Asking, partition: &Partition) -> Result<Range> {
        match client.fetch_watermarks(&partition.topic, partition.partition, ANSWER_WITHIN) {
            Ok((low, high)) => Ok(Range { low, high, topic_id: None }),
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopicOrPartition,
            )) => Err(Error::outside(format!("{} {} went away", partition.topic, partition.partition))),
            Err(e) => Err(self.silent(Silence::Away, client.context().reason(), e)),
        }
    }
}

impl Kafka for Broker {
    type Feed = Consumer;

    fn join(&self) -> Result<Consumer> {
        Consumer::new(&self.config, self.token_file.clone())
    }

    /// Blocks its thread, which is the session's own.
    async fn ranges(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Range>> {
        self.ends(partitions)
    }
}
