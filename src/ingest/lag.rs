//! How far the partitions are behind Kafka: whether they have caught up, and what a watcher is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::feed::{Feed, Kafka, Partition};
use super::metrics::Lag;
use super::read_marks;
use super::session::{Leave, Running};
use crate::lake::offsets::Marks;
use crate::runtime;

/// How often partitions that other daemons hold are looked up, when waiting for all of them to catch up.
const LOOK_UP_OTHERS: Duration = Duration::from_secs(1);
/// How often it is noted how far each partition is behind.
const NOTE_LAG: Duration = Duration::from_secs(1);

impl<K: Kafka> Running<'_, K> {
    /// Whether every partition is committed up to the end that it had at the start.
    pub async fn caught_up(&mut self) -> Result<bool, Leave> {
        let Some(ends) = &self.session.ends else { return Ok(false) };
        let reached = |committed: &BTreeMap<Partition, i64>| {
            ends.iter().all(|(p, end)| end.high <= end.low || committed.get(p).is_some_and(|next| *next >= end.high))
        };
        if reached(&self.committed) {
            return Ok(true);
        }
        if runtime::now().duration_since(self.looked_up) < LOOK_UP_OTHERS {
            return Ok(false);
        }
        self.looked_up = runtime::now();
        for (index, route) in self.session.routes.iter().enumerate() {
            let lands_there = |p: &&Partition| self.lanes.get(&p.topic).is_some_and(|lane| lane.outlet == index);
            let others: Vec<&Partition> =
                ends.keys().filter(lands_there).filter(|p| !self.assigned.contains(p)).collect();
            if !others.is_empty() {
                let (_, log) = read_marks(&route.table, self.session.config.commit_timeout).await?;
                for p in others {
                    if let Some(next) = Marks::from_log(&log, &p.topic, p.partition).next {
                        self.committed.insert(p.clone(), next);
                    }
                }
            }
        }
        Ok(reached(&self.committed))
    }

    pub fn note_lag(&mut self) {
        if runtime::now().duration_since(self.lag_noted) < NOTE_LAG {
            return;
        }
        self.lag_noted = runtime::now();
        let now_ms = runtime::utc_now().timestamp_millis();
        let lag = |partition: &Partition| {
            let next = *self.committed.get(partition)?;
            let records = u64::try_from(self.feed.known_end(partition)? - next).unwrap_or(0);
            let newest = self.lanes.get(&partition.topic)?.buffer.newest_ms(partition.partition);
            let seconds = newest.filter(|_| records > 0).map_or(0.0, |ms| (now_ms - ms).max(0) as f64 / 1000.0);
            Some((partition.clone(), Lag { records, seconds }))
        };
        self.session.metrics.set_lags(self.assigned.iter().filter_map(lag).collect());
    }
}
