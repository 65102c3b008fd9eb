//! An embedded broker: librdkafka's mock cluster, which speaks the protocol over real sockets and keeps records in
//! memory.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::contracts::{Contract, Topics};
use crate::error::{Error, Result};

const PARTITIONS: i32 = 8;

pub struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

pub fn start(contracts: &[Contract]) -> Result<Broker> {
    let failed = |e| Error::outside("the embedded broker cannot start").because(e);
    let cluster = MockCluster::new(1).map_err(failed)?;
    for contract in contracts {
        for topic in contract.topics().map(Topics::names).unwrap_or_default() {
            cluster.create_topic(topic, PARTITIONS, 1).map_err(failed)?;
        }
    }
    Ok(Broker { cluster })
}

impl Broker {
    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
