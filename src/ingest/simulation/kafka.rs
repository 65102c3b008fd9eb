//! A cluster with one consumer group, as members see it: records, control gaps and tombstones behind each other, and
//! rebalances, eager or cooperative, that do not wait for a member who no longer polls.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::super::feed::{self, Event, Feed, Kafka, Kind, Message, Partition, Range};
use crate::contracts::Envelope;
use crate::error::{Error, Result};
use crate::runtime::simulated::{below, elapsed, happens, note, sleep};

/// A member that does not poll for so long is taken for dead. A real client's thread would send its heartbeats
/// meanwhile; here the group is stricter, as long as there is to be trouble.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(5);
/// Without trouble it may take as long over what it polled as with a real client.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);

/// What stands at an offset.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Record(Vec<u8>),
    Tombstone,
    /// A control record or one of an aborted transaction: consumers never see it.
    Hidden,
}

#[derive(Default)]
pub struct Cluster {
    pub logs: BTreeMap<Partition, Vec<Entry>>,
    cooperative: bool,
    members: BTreeMap<u64, Member>,
    next_member: u64,
    /// Who may fetch a partition now.
    owners: BTreeMap<Partition, u64>,
    /// Who is to have it after the rebalance that is under way.
    wanted: BTreeMap<Partition, u64>,
    calm: bool,
}

#[derive(Default)]
struct Member {
    topics: BTreeSet<String>,
    last_poll: Duration,
    events: VecDeque<Event>,
    /// Partitions that it was asked to give up and has not answered for.
    revoking: BTreeSet<Partition>,
    /// Told to take over, answered or not.
    holds: BTreeSet<Partition>,
    /// It was taken for dead, and learns of it when it polls again.
    expelled: bool,
}

pub type Shared = Rc<RefCell<Cluster>>;

impl Cluster {
    pub fn new(partitions: impl IntoIterator<Item = Partition>, cooperative: bool) -> Shared {
        let logs = partitions.into_iter().map(|p| (p, Vec::new())).collect();
        Rc::new(RefCell::new(Cluster { logs, cooperative, ..Cluster::default() }))
    }

    /// Makes partitions, of which members learn in their own time.
    pub fn create(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        self.logs.extend(partitions.into_iter().map(|p| (p, Vec::new())));
    }

    fn join(&mut self) -> u64 {
        self.next_member += 1;
        self.next_member
    }

    /// A member is one from when it subscribes.
    fn subscribe(&mut self, id: u64, topics: &[&str]) {
        let member = self.members.entry(id).or_insert_with(|| Member { last_poll: elapsed(), ..Member::default() });
        member.topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.rebalance();
    }

    fn leave(&mut self, member: u64) {
        if self.members.remove(&member).is_some() {
            self.owners.retain(|_, owner| *owner != member);
            self.rebalance();
        }
    }

    /// Decides anew who is to have what, and asks whoever has to give something up.
    fn rebalance(&mut self) {
        self.wanted.clear();
        for partition in self.logs.keys() {
            let takes = |(_, m): &(&u64, &Member)| !m.expelled && m.topics.contains(&partition.topic);
            let members: Vec<u64> = self.members.iter().filter(takes).map(|(id, _)| *id).collect();
            if !members.is_empty() {
                // Differently each time, so that partitions really move.
                let member = usize::try_from(below(members.len() as u64)).unwrap_or(0);
                self.wanted.insert(partition.clone(), members[member]);
            }
        }
        for (id, member) in &mut self.members {
            let moves = |p: &&Partition| !self.cooperative || self.wanted.get(p) != Some(id);
            let leaving: BTreeSet<Partition> = member.holds.iter().filter(moves).cloned().collect();
            let new: Vec<Partition> = leaving.difference(&member.revoking).cloned().collect();
            if !new.is_empty() && !member.expelled {
                member.revoking.extend(new.iter().cloned());
                // An assignment that was not looked at yet is void.
                member.events.push_back(Event::Revoked(new));
            }
        }
        self.hand_out();
    }

    /// Hands over what nobody holds any more.
    fn hand_out(&mut self) {
        if !self.cooperative && self.members.values().any(|m| !m.expelled && !m.revoking.is_empty()) {
            return;
        }
        let held: BTreeSet<Partition> =
            self.members.values().filter(|m| !m.expelled).flat_map(|m| m.holds.iter().cloned()).collect();
        let mut shares: BTreeMap<u64, Vec<Partition>> = BTreeMap::new();
        for (partition, member) in &self.wanted {
            if !held.contains(partition) {
                shares.entry(*member).or_default().push(partition.clone());
            }
        }
        for (id, share) in shares {
            if let Some(member) = self.members.get_mut(&id) {
                note(format!("kafka: member {id} gets {}", names(&share)));
                member.holds.extend(share.iter().cloned());
                member.events.push_back(Event::Assigned(share));
            }
        }
    }

    pub fn calm_down(&mut self) {
        self.calm = true;
    }

    /// Gives up on members that do not poll.
    pub fn look_after(&mut self) {
        let now = elapsed();
        let patience = if self.calm { MAX_POLL_INTERVAL } else { SESSION_TIMEOUT };
        let gone: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, m)| !m.expelled && now.saturating_sub(m.last_poll) > patience)
            .map(|(id, _)| *id)
            .collect();
        for id in &gone {
            note(format!("kafka: member {id} is taken for dead"));
            if let Some(member) = self.members.get_mut(id) {
                member.expelled = true;
            }
            self.owners.retain(|_, owner| owner != id);
        }
        if !gone.is_empty() {
            self.rebalance();
        }
    }
}

fn names(partitions: &[Partition]) -> String {
    partitions.iter().map(|p| format!("{}:{}", p.topic, p.partition)).collect::<Vec<_>>().join(" ")
}

/// A client of the cluster.
#[derive(Clone)]
pub struct Client(pub Shared);

impl Kafka for Client {
    type Feed = Consumer;

    fn join(&self) -> Result<Consumer> {
        let member = self.0.borrow_mut().join();
        Ok(Consumer { cluster: self.0.clone(), member, positions: RefCell::default(), paused: RefCell::default() })
    }

    async fn ranges(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Range>> {
        sleep(Duration::from_millis(below(20))).await;
        let cluster = self.0.borrow();
        let end = |p: &Partition| i64::try_from(cluster.logs[p].len()).unwrap_or(i64::MAX);
        Ok(partitions.iter().map(|p| (p.clone(), Range { low: 0, high: end(p), topic_id: None })).collect())
    }
}

pub struct Consumer {
    cluster: Shared,
    member: u64,
    /// Where fetching goes on, and whether the end there was told.
    positions: RefCell<BTreeMap<Partition, (i64, bool)>>,
    /// Partitions that are not fetched; one that was just paused has one more batch in the client's queue.
    paused: RefCell<BTreeMap<Partition, bool>>,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // A process that is killed leaves without a word; the group finds out by itself. `leave` is for a session that
        // ends in order, and both look alike from here, which is why some simply go.
        if let Ok(mut cluster) = self.cluster.try_borrow_mut()
            && happens(0.5)
        {
            cluster.leave(self.member);
        }
    }
}

pub struct Handed {
    kind: fn() -> Kind,
    partition: Partition,
    offset: i64,
    payload: Option<Vec<u8>>,
}

impl Message for &Handed {
    fn kind(&self) -> Kind {
        (self.kind)()
    }

    fn topic_handle(&self) -> usize {
        self.partition.topic.bytes().fold(7, |hash, b| hash * 31 + usize::from(b))
    }

    fn topic(&self) -> &str {
        &self.partition.topic
    }

    fn partition(&self) -> i32 {
        self.partition.partition
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn timestamp_ms(&self) -> Option<i64> {
        Some(self.offset)
    }

    fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref()
    }
}

impl Envelope for &Handed {
    fn key(&self) -> Option<&[u8]> {
        None
    }

    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

pub struct HandedBatch(Vec<Handed>);

impl feed::Batch for HandedBatch {
    fn messages(&self) -> impl Iterator<Item = impl Message> {
        self.0.iter()
    }

    fn take_out(&mut self, first: usize, topic_handle: usize) -> Self {
        let behind = self.0.split_off(first.min(self.0.len()));
        let (taken, left) = behind.into_iter().partition(|message| (&message).topic_handle() == topic_handle);
        self.0.extend::<Vec<Handed>>(left);
        HandedBatch(taken)
    }

    fn forget(&mut self, partition: i32) {
        self.0.retain(|message| message.partition.partition != partition);
    }
}

impl Consumer {
    fn fetch(&self) -> Vec<Handed> {
        let cluster = self.cluster.borrow();
        let mut handed = Vec::new();
        for (partition, (position, told)) in self.positions.borrow_mut().iter_mut() {
            let fetched = match self.paused.borrow_mut().get_mut(partition) {
                Some(queued) => std::mem::take(queued),
                None => happens(0.7),
            };
            if !fetched {
                continue;
            }
            let log = &cluster.logs[partition];
            let at = |offset: i64| usize::try_from(offset).unwrap_or(usize::MAX);
            // Now and then something is handed over again.
            if *position > 0 && happens(0.02) {
                *position -= i64::try_from(below(3.min(position.unsigned_abs() + 1))).unwrap_or(0);
            }
            for _ in 0..1 + below(12) {
                let Some(entry) = log.get(at(*position)) else { break };
                let payload = match entry {
                    Entry::Hidden => {
                        *position += 1;
                        continue;
                    }
                    Entry::Record(bytes) => Some(bytes.clone()),
                    Entry::Tombstone => None,
                };
                let record = Handed { kind: || Kind::Record, partition: partition.clone(), offset: *position, payload };
                handed.push(record);
                *position += 1;
                *told = false;
            }
            if at(*position) >= log.len() && !*told {
                *told = true;
                let (partition, offset) = (partition.clone(), *position);
                handed.push(Handed { kind: || Kind::EndOfPartition, partition, offset, payload: None });
            }
        }
        handed
    }
}

impl Feed for Consumer {
    type Batch<'a> = HandedBatch;

    async fn poll(&self, timeout: Duration) -> HandedBatch {
        sleep(timeout.mul_f64(0.05 + below(95) as f64 / 100.0)).await;
        {
            let mut cluster = self.cluster.borrow_mut();
            let now = elapsed();
            if let Some(member) = cluster.members.get_mut(&self.member) {
                member.last_poll = now;
                if member.expelled {
                    // It lost everything, and may come back.
                    member.expelled = false;
                    let lost: Vec<Partition> = std::mem::take(&mut member.holds).into_iter().collect();
                    member.events.clear();
                    member.revoking.clear();
                    if !lost.is_empty() {
                        note(format!("kafka: member {} is back, and lost {}", self.member, names(&lost)));
                        member.events.push_back(Event::Revoked(lost));
                    }
                    cluster.rebalance();
                }
            }
        }
        HandedBatch(self.fetch())
    }

    fn subscribe(&self, topics: &[&str]) -> Result<()> {
        self.cluster.borrow_mut().subscribe(self.member, topics);
        Ok(())
    }

    fn event(&self) -> Option<Event> {
        self.cluster.borrow_mut().members.get_mut(&self.member)?.events.pop_front()
    }

    fn assign(&self, partitions: &[(Partition, Option<i64>)]) -> Result<()> {
        let mut cluster = self.cluster.borrow_mut();
        for (partition, start) in partitions {
            cluster.owners.insert(partition.clone(), self.member);
            self.positions.borrow_mut().insert(partition.clone(), (start.unwrap_or(0), false));
        }
        Ok(())
    }

    fn unassign(&self, partitions: &[Partition]) -> Result<()> {
        let mut cluster = self.cluster.borrow_mut();
        for partition in partitions {
            self.positions.borrow_mut().remove(partition);
            if cluster.owners.get(partition) == Some(&self.member) {
                cluster.owners.remove(partition);
            }
            if let Some(member) = cluster.members.get_mut(&self.member)
                && member.revoking.remove(partition)
            {
                member.holds.remove(partition);
            }
        }
        cluster.hand_out();
        Ok(())
    }

    fn pause(&self, partitions: &[Partition], paused: bool) -> Result<()> {
        let mut set = self.paused.borrow_mut();
        for partition in partitions {
            if paused {
                set.insert(partition.clone(), true)
            } else {
                set.remove(partition)
            };
        }
        match happens(0.002) {
            true => Err(Error::outside("kafka: cannot pause: simulated")),
            false => Ok(()),
        }
    }

    fn report_progress(&self, _: &[(Partition, i64)]) {}

    fn known_end(&self, partition: &Partition) -> Option<i64> {
        i64::try_from(self.cluster.borrow().logs.get(partition)?.len()).ok()
    }
}
