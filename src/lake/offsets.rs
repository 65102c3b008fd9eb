//! How far a partition has come, as the Bronze table itself records it.
//!
//! Each commit of rows sets Delta transactions (`txn`) per (topic, partition): the next offset, which is the fence
//! of exactly-once; the first offset ever taken; how many offsets since then made no row, because they were tombstones
//! or because Kafka passed over them, or because they were lost and somebody said so; and which topic of that name they
//! are of. From these and the rows alone `verify` proves that nothing is missing.

use std::collections::HashMap;

use super::log::Txn;
use crate::runtime::{Mistake, planted};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// The offset to read next; None while nothing was ever taken.
    pub next: Option<i64>,
    pub first: Option<i64>,
    pub tombstones: i64,
    pub gaps: i64,
    /// Offsets whose records Kafka deleted before they were ingested, and that somebody accepted to be lost.
    pub lost: i64,
    /// Which topic of that name the offsets are of.
    pub topic_id: Option<i64>,
}

fn id(what: &str, topic: &str, partition: i32) -> String {
    format!("medallion:{what}:{topic}:{partition}")
}

impl Marks {
    pub fn from_log(log: &HashMap<String, i64>, topic: &str, partition: i32) -> Marks {
        let get = |what| log.get(&id(what, topic, partition)).copied();
        Marks {
            next: get("next"),
            first: get("first"),
            tombstones: get("tombstones").unwrap_or(0),
            gaps: get("gaps").unwrap_or(0),
            lost: get("lost").unwrap_or(0),
            topic_id: get("topic_id"),
        }
    }

    /// The partitions of a topic that a table has marks of.
    pub fn partitions(log: &HashMap<String, i64>) -> Vec<(String, i32)> {
        let mut found: Vec<(String, i32)> = log
            .keys()
            .filter_map(|id| {
                let (topic, partition) = id.strip_prefix("medallion:next:")?.rsplit_once(':')?;
                Some((topic.to_owned(), partition.parse().ok()?))
            })
            .collect();
        found.sort();
        found
    }

    pub fn to_log(self, topic: &str, partition: i32) -> impl Iterator<Item = Txn> {
        let marks = [
            ("next", self.next),
            ("first", self.first.filter(|_| !planted(Mistake::FirstForgotten))),
            ("tombstones", Some(self.tombstones)),
            ("gaps", Some(self.gaps)),
            ("lost", Some(self.lost).filter(|lost| *lost > 0)),
            ("topic_id", self.topic_id),
        ];
        let topic = topic.to_owned();
        marks.into_iter().filter_map(move |(what, value)| {
            Some(Txn { app_id: id(what, &topic, partition), version: value?, last_updated: None })
        })
    }

    /// Takes the record at `offset`, or says that it was taken before.
    pub fn accept(&mut self, offset: i64) -> bool {
        if self.next.is_some_and(|next| offset < next) && !planted(Mistake::TakeAgain) {
            return false;
        }
        self.skip_to(offset);
        self.next = Some(offset.saturating_add(i64::from(!planted(Mistake::LastInsteadOfNext))));
        true
    }

    /// Passes over everything before `offset`. True if that changed anything.
    pub fn skip_to(&mut self, offset: i64) -> bool {
        match self.next {
            None => {
                self.first = Some(offset);
                self.next = Some(offset);
                true
            }
            Some(next) if offset > next => {
                self.gaps += if planted(Mistake::GapsNotCounted) { 0 } else { offset - next };
                self.next = Some(offset);
                true
            }
            Some(_) => false,
        }
    }

    /// Gives up everything before `offset`, and says how much that is.
    pub fn lose_up_to(&mut self, offset: i64) -> i64 {
        let lost = self.next.map_or(0, |next| (offset - next).max(0));
        self.lost += lost;
        self.next = self.next.map(|next| next + lost);
        lost
    }

    /// How many rows the table must have of this partition.
    pub fn rows_owed(&self) -> i64 {
        match (self.first, self.next) {
            (Some(first), Some(next)) => next - first - self.tombstones - self.gaps - self.lost,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_offset_is_one_past_the_last_taken_and_skipped_offsets_are_counted() {
        let mut marks = Marks::default();
        assert!(marks.accept(5) && marks.accept(6) && marks.accept(9));
        assert!(!marks.accept(9), "a record handed over twice is taken once");
        assert!(marks.skip_to(12) && !marks.skip_to(12));
        assert_eq!(marks, Marks { first: Some(5), next: Some(12), gaps: 4, ..Marks::default() });
        assert_eq!(marks.rows_owed(), 3);
    }

    #[test]
    fn marks_survive_the_log() {
        let marks = Marks { first: Some(0), next: Some(17), tombstones: 2, gaps: 1, lost: 10, topic_id: Some(7) };
        let log = marks.to_log("a:b", 3).map(|t| (t.app_id, t.version)).collect();
        assert_eq!(Marks::from_log(&log, "a:b", 3), marks);
        assert_eq!(Marks::partitions(&log), [("a:b".to_owned(), 3)]);
        assert_eq!(Marks::from_log(&log, "a:b", 4), Marks::default());
    }
}
