//! A Kafka broker inside the test's own process, for tests that need no other behaviour of it than the protocol.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

pub struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Broker {
    /// A broker with these topics, of one partition each.
    pub fn with_topics(topics: &[&str]) -> Broker {
        let cluster = MockCluster::new(1).unwrap();
        topics.iter().for_each(|topic| cluster.create_topic(topic, 1, 1).unwrap());
        let producer =
            ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "0").create();
        Broker { cluster, producer: producer.unwrap() }
    }

    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Sends these records, in order, and waits until the broker has them.
    pub fn send<R: AsRef<[u8]>>(&self, topic: &str, records: &[R]) {
        for record in records {
            self.producer.send(BaseRecord::<(), [u8]>::to(topic).payload(record.as_ref())).unwrap();
        }
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }
}
