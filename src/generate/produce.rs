//! Events to a Kafka broker, as any producer would send them.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::Event;
use crate::config::KafkaConfig;
use crate::error::{Error, Result};

pub struct Producer {
    client: ThreadedProducer<DefaultProducerContext>,
}

impl Producer {
    pub fn new(kafka: &KafkaConfig) -> Result<Producer> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &kafka.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("compression.type", "lz4")
            // The same key goes to the same partition on every machine, as Kafka's own clients have it.
            .set("partitioner", "murmur2_random");
        for (name, value) in &kafka.properties {
            config.set(name, value.resolve(name)?);
        }
        let client = config.create().map_err(|e| match e {
            KafkaError::ClientConfig(_, reason, name, _) => kafka.refused(&name, &reason),
            e => Error::input("kafka: the producer cannot be made").because(e),
        })?;
        Ok(Producer { client })
    }

    /// Queues one event, waiting while the queue is full.
    pub fn send(&self, event: &Event) -> Result<()> {
        // Kafka's time is when it is sent: with that of the event, retention would take most of the stream away at once.
        let mut record = BaseRecord::to(event.topic).key(event.key.as_bytes()).payload(event.value.as_slice());
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((e, _)) => return Err(Error::outside(format!("cannot produce to {}", event.topic)).because(e)),
            }
        }
    }

    /// Waits until the broker has all of it.
    pub fn flush(&self, within: Duration) -> Result<()> {
        self.client.flush(within).map_err(|e| {
            Error::outside("the broker did not take all events").because(e).hint("is it up? check kafka.brokers")
        })
    }
}
