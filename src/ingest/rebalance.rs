//! Taking partitions over and giving them up: from what the tables say, and after committing what is in hand.

use super::feed::{Event, Feed, Kafka, Partition, Range, ensure_continues, ensure_same_topic};
use super::read_marks;
use super::session::{Leave, Running};
use crate::error::{Error, Result};
use crate::lake::offsets::Marks;
use crate::runtime::{Mistake, planted};

impl<K: Kafka> Running<'_, K> {
    pub(super) async fn answer(&mut self, event: Event) -> Result<(), Leave> {
        match event {
            Event::Fatal(reason) => {
                Err(Error::outside(format!("kafka: {reason}")).hint("another client may use the same identity").into())
            }
            Event::Assigned(partitions) => self.take_over(partitions).await,
            Event::Revoked(partitions) => {
                // Whoever gets them reads the tables: the more is committed, the less is read twice.
                if !planted(Mistake::GiveUpUnflushed) {
                    self.flush_all(None).await?;
                }
                for p in &partitions {
                    if let Some(lane) = self.lanes.get_mut(&p.topic) {
                        lane.buffer.give_up(p.partition);
                    }
                }
                self.forget_parked(&partitions);
                self.assigned.retain(|p| !partitions.contains(p));
                Ok(self.feed.unassign(&partitions)?)
            }
        }
    }

    async fn take_over(&mut self, partitions: Vec<Partition>) -> Result<(), Leave> {
        let mut starts = Vec::with_capacity(partitions.len());
        for (index, route) in self.session.routes.iter().enumerate() {
            let lands_there = |p: &&Partition| self.lanes.get(&p.topic).is_some_and(|lane| lane.outlet == index);
            let mine: Vec<Partition> = partitions.iter().filter(lands_there).cloned().collect();
            if mine.is_empty() {
                continue;
            }
            let (version, log) = read_marks(&route.table, self.session.config.commit_timeout).await?;
            for (partition, range) in self.session.kafka.ranges(&mine).await? {
                let mut marks = Marks::from_log(&log, &partition.topic, partition.partition);
                if planted(Mistake::StartFromMemory)
                    && let Some(next) = self.committed.get(&partition)
                {
                    marks.next = Some(*next);
                }
                let changed = self.resume(&partition, range, &mut marks)?;
                if let Some(next) = marks.next {
                    self.committed.insert(partition.clone(), next);
                }
                if let Some(lane) = self.lanes.get_mut(&partition.topic) {
                    lane.buffer.take_over(partition.partition, marks, version, changed);
                }
                starts.push((partition, marks.next));
            }
        }
        tracing::info!(partitions = starts.len(), "reading");
        self.assigned.extend(partitions);
        // The client may give the handle of a topic that is gone to one that was just made.
        self.handles.clear();
        self.feed.assign(&starts)?;
        Ok(self.hold_parked()?)
    }

    /// Sets where a partition goes on, and says whether the table is to know of that at once.
    fn resume(&self, partition: &Partition, range: Range, marks: &mut Marks) -> Result<bool> {
        ensure_same_topic(partition, marks, range)?;
        marks.topic_id = range.topic_id.or(marks.topic_id);
        let Some(next) = marks.next else {
            // From where the topic begins, every offset is accounted for, also those that Kafka passes over.
            let start = if planted(Mistake::StartAtEnd) { range.high } else { range.low };
            (marks.first, marks.next) = (Some(start), Some(start));
            return Ok(false);
        };
        if next < range.low && self.session.accepted_gaps.contains(partition) {
            let lost = marks.lose_up_to(range.low);
            tracing::warn!(
                topic = partition.topic,
                partition = partition.partition,
                lost,
                "going on behind records that Kafka deleted, as was accepted"
            );
            return Ok(true);
        }
        ensure_continues(partition, marks, range).map(|()| false)
    }
}
