//! Topics whose next record waits for its schema.
//!
//! Such a record must be neither dropped nor rejected, and what comes after it has to stay behind it. So all that the
//! topic has in hand is set aside, in its order, until the registry answers; if that takes time, no more of it is fetched.
//! Other topics, commits and the group go on meanwhile.

use std::time::{Duration, Instant};

use super::feed::{Batch, Feed, Kafka, Message, Partition};
use super::schemas::Asked;
use super::session::{Leave, Running};
use crate::error::Result;
use crate::registry::SchemaId;
use crate::runtime;

/// How long a schema is waited for before fetching is paused. Mostly it takes one request.
const PATIENCE_BEFORE_PAUSE: Duration = Duration::from_millis(50);

pub struct Parked<B> {
    topic: String,
    id: SchemaId,
    asked: Asked,
    since: Instant,
    paused: bool,
    /// What was handed over of the topic, from the record that waits on.
    batches: Vec<B>,
}

impl<'a, K: Kafka> Running<'a, K> {
    /// Whether a schema is about to come.
    pub fn expects_schema(&self) -> bool {
        self.parked.values().any(|parked| !parked.paused)
    }

    /// Decodes a batch, save what belongs to topics that wait.
    pub async fn take(&mut self, mut batch: <K::Feed as Feed>::Batch<'a>) -> Result<(), Leave> {
        for (handle, parked) in &mut self.parked {
            let behind = batch.take_out(0, *handle);
            if behind.messages().next().is_some() {
                parked.batches.push(behind);
            }
        }
        let mut from = 0;
        while let Some((index, id)) = self.push(&batch, from).await? {
            let found = batch.messages().nth(index).map(|message| (message.topic_handle(), message.topic().to_owned()));
            let Some((handle, topic)) = found else { break };
            let asked = self.session.schemas.ask(id);
            let batches = vec![batch.take_out(index, handle)];
            self.parked.insert(handle, Parked { topic, id, asked, since: runtime::now(), paused: false, batches });
            from = index;
        }
        Ok(())
    }

    /// Goes on with the topics for whose schema there is an answer.
    pub async fn unpark(&mut self) -> Result<(), Leave> {
        let waiting: Vec<usize> = self.parked.keys().copied().collect();
        for handle in waiting {
            let Some(parked) = self.parked.get_mut(&handle) else { continue };
            let Some(schema) = parked.asked.answer()? else {
                if !parked.paused && runtime::now().duration_since(parked.since) > PATIENCE_BEFORE_PAUSE {
                    parked.paused = true;
                    tracing::info!(topic = parked.topic, id = %parked.id, "fetching is paused until the schema is there");
                    self.hold_parked()?;
                }
                continue;
            };
            let Some(parked) = self.parked.remove(&handle) else { continue };
            if parked.paused {
                self.feed.pause(&self.assigned_of(&parked.topic), false)?;
            }
            if let Some(lane) = self.lanes.get_mut(&parked.topic) {
                lane.buffer.learn(parked.id, schema.as_deref());
            }
            // The next record may wait for another schema; then what is left of these is set aside again.
            for batch in parked.batches {
                self.take(batch).await?;
            }
        }
        Ok(())
    }

    /// Pauses what has to be paused, after something may have set it going.
    pub fn hold_parked(&self) -> Result<()> {
        let mut paused = self.parked.values().filter(|parked| parked.paused);
        paused.try_for_each(|parked| self.feed.pause(&self.assigned_of(&parked.topic), true))
    }

    /// Drops what is set aside of partitions that go to somebody else. It is read again by whoever gets them; should
    /// that be us, the half of it that is still here would pass for all of it.
    pub fn forget_parked(&mut self, partitions: &[Partition]) {
        for parked in self.parked.values_mut() {
            for partition in partitions.iter().filter(|p| p.topic == parked.topic) {
                parked.batches.iter_mut().for_each(|batch| batch.forget(partition.partition));
            }
        }
    }

    fn assigned_of(&self, topic: &str) -> Vec<Partition> {
        self.assigned.iter().filter(|partition| partition.topic == topic).cloned().collect()
    }
}
