//! Which topic lands in which table: what the contracts claim, what of that is asked for, and what the cluster has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::feed::{Feed, Kafka};
use super::session::{Leave, Running};
use super::source::Broker;
use super::{Route, blocking};
use crate::contracts::{Contract, Topics};
use crate::error::{Error, Result, nearest};

/// The topics of a cluster, as somebody last saw them.
pub type Existing = Arc<BTreeSet<String>>;

/// The contracts with topics that are asked for, by topic or by table, and what each is to take: a topic that is asked
/// for by its own name comes alone.
pub fn wanted(contracts: Vec<Contract>, names: &[String]) -> Result<Vec<(Contract, Topics)>> {
    let claims: Vec<(Contract, Topics)> =
        contracts.into_iter().filter_map(|c| c.topics().cloned().map(|topics| (c, topics))).collect();
    if names.is_empty() {
        return match claims.is_empty() {
            false => Ok(claims),
            true => Err(Error::input("no contract names a topic").hint("ingest.contracts is the folder of contracts")),
        };
    }
    // What is asked for of each contract: all, or these.
    let mut asked: BTreeMap<usize, Option<Vec<String>>> = BTreeMap::new();
    for name in names {
        let place = |is_meant: &dyn Fn(&(Contract, Topics)) -> bool| claims.iter().position(is_meant);
        if let Some(index) = place(&|(_, topics)| topics.names().contains(name)) {
            if let Some(topics) = asked.entry(index).or_insert_with(|| Some(Vec::new())) {
                topics.extend((!topics.contains(name)).then(|| name.clone()));
            }
        } else if let Some(index) = place(&|(contract, _)| contract.name == *name) {
            asked.insert(index, None);
        } else {
            let one = BTreeSet::from([name.clone()]);
            let claimed = claimed(claims.iter().map(|(c, topics)| (c.file.as_str(), topics)), &one)?;
            let index = *claimed.get(name).ok_or_else(|| unknown(name, &claims))?;
            if let Some(topics) = asked.entry(index).or_insert_with(|| Some(Vec::new())) {
                topics.push(name.clone());
            }
        }
    }
    let mut wanted = Vec::new();
    for (index, (contract, topics)) in claims.into_iter().enumerate() {
        match asked.remove(&index) {
            Some(Some(names)) => wanted.push((contract, Topics::Named(names))),
            Some(None) => wanted.push((contract, topics)),
            None => {}
        }
    }
    Ok(wanted)
}

fn unknown(name: &str, claims: &[(Contract, Topics)]) -> Error {
    let known: Vec<&str> = claims.iter().flat_map(|(_, topics)| topics.names()).map(String::as_str).collect();
    let error = Error::input(format!("--topics: no contract has the topic `{name}`"));
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => {
            let claims: Vec<String> = claims.iter().map(|(_, topics)| topics.to_string()).collect();
            error.hint(format!("the contracts have: {}", claims.join(", ")))
        }
    }
}

/// Who takes each topic: named ones whether the cluster has them or not, and those it has that a pattern matches. Claims
/// come with the files that make them. A topic lands in one table, so two that take the same one are an error.
pub fn claimed<'a>(
    claims: impl Iterator<Item = (&'a str, &'a Topics)>,
    existing: &BTreeSet<String>,
) -> Result<BTreeMap<String, usize>> {
    let mut found: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for (index, (file, topics)) in claims.enumerate() {
        let matching = existing.iter().filter(|topic| topics.names().is_empty() && topics.contains(topic));
        for topic in topics.names().iter().chain(matching) {
            if let Some((_, other)) = found.insert(topic.clone(), (index, file)) {
                return Err(Error::input(format!(
                    "the topic `{topic}` is claimed by two contracts, {other} and {file}"
                ))
                .hint("a topic lands in one table: let the pattern of one of them leave it out"));
            }
        }
    }
    Ok(found.into_iter().map(|(topic, (index, _))| (topic, index)).collect())
}

pub fn claimed_by(routes: &[Route], existing: &BTreeSet<String>) -> Result<BTreeMap<String, usize>> {
    claimed(routes.iter().map(|route| (route.contract.file.as_str(), &route.topics)), existing)
}

/// The index of the contract that takes each topic that the contracts name, or that the cluster has and they match.
pub async fn of_contracts(broker: &Broker, contracts: &[&Contract]) -> Result<BTreeMap<String, usize>> {
    let existing = existing(broker, contracts.iter().filter_map(|contract| contract.topics())).await?;
    claimed(contracts.iter().filter_map(|c| Some((c.file.as_str(), c.topics()?))), &existing)
}

/// The topics that a cluster has, which need not be known where all are named.
pub async fn existing<'a>(broker: &Broker, mut claims: impl Iterator<Item = &'a Topics>) -> Result<Existing> {
    match claims.any(|topics| matches!(topics, Topics::Matching(_))) {
        true => {
            let broker = broker.clone();
            blocking(move || broker.topics()).await.map(Arc::new)
        }
        false => Ok(Existing::default()),
    }
}

/// Looks again and again which topics the cluster has, and tells when that has changed.
pub async fn look_out(broker: Broker, every: Duration, seen: watch::Sender<Existing>) {
    loop {
        tokio::time::sleep(every).await;
        let asked = broker.clone();
        match blocking(move || asked.topics()).await {
            Ok(topics) => {
                seen.send_if_modified(|known| {
                    let changed = **known != topics;
                    if changed {
                        *known = Arc::new(topics);
                    }
                    changed
                });
            }
            // The consumer says so too, and the next look may find it back.
            Err(error) => tracing::debug!(%error, "it is not known which topics there are"),
        }
    }
}

impl<K: Kafka> Running<'_, K> {
    /// Takes up topics that somebody has seen since, and lets go of those that are gone.
    pub fn follow_topics(&mut self) -> Result<(), Leave> {
        if self.topics.has_changed().unwrap_or(false) {
            let existing = self.topics.borrow_and_update().clone();
            self.subscribe(&existing)?;
        }
        Ok(())
    }

    /// Asks Kafka for all topics that the contracts claim, unless that was done before.
    pub fn subscribe(&mut self, existing: &BTreeSet<String>) -> Result<(), Leave> {
        let claimed = claimed_by(&self.session.routes, existing)?;
        let topics: BTreeSet<String> = claimed.keys().cloned().collect();
        if topics == self.subscribed {
            return Ok(());
        }
        for (topic, outlet) in claimed {
            if let Some(route) = self.session.routes.get(outlet) {
                tracing::debug!(topic, table = %route.table.name, "lands in");
                self.add_lane(topic, outlet, route);
            }
        }
        tracing::info!(topics = topics.len(), "subscribing");
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.feed.subscribe(&names)?;
        self.subscribed = topics;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::parse;

    fn contracts() -> Vec<Contract> {
        let contract = |name: &str, options: &str| {
            parse(&format!("{name}.sql"), &format!("CREATE TABLE {name} (n INT) WITH ({options})")).unwrap()
        };
        vec![
            contract("calls", r"topic_pattern = 'calls\..*'"),
            contract("east", r"topic_pattern = '.*\.east'"),
            contract("files", "source = 'files'"),
            contract("sms", "topics = 'texts, messages'"),
        ]
    }

    /// The tables and their topics.
    fn asked(names: &[&str]) -> Result<Vec<(String, String)>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = wanted(contracts(), &names)?;
        Ok(wanted.into_iter().map(|(contract, topics)| (contract.name, topics.to_string())).collect())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(table, topics)| ((*table).to_owned(), (*topics).to_owned())).collect()
    }

    #[test]
    fn a_table_is_asked_for_with_all_of_its_topics_and_a_topic_alone() {
        let all = [("calls", r"calls\..*"), ("east", r".*\.east"), ("sms", "texts, messages")];
        assert_eq!(asked(&[]).unwrap(), pairs(&all));
        assert_eq!(asked(&["sms"]).unwrap(), pairs(&[("sms", "texts, messages")]));
        assert_eq!(asked(&["messages"]).unwrap(), pairs(&[("sms", "messages")]));
        assert_eq!(asked(&["messages", "texts", "texts"]).unwrap(), pairs(&[("sms", "messages, texts")]));
        for both in [["messages", "sms"], ["sms", "messages"]] {
            assert_eq!(asked(&both).unwrap(), pairs(&[("sms", "texts, messages")]));
        }
        let calls = [("calls", "calls.west, calls.north"), ("sms", "texts, messages")];
        assert_eq!(asked(&["calls.west", "sms", "calls.north"]).unwrap(), pairs(&calls));
        let said = |name: &str| asked(&[name]).unwrap_err().to_string();
        assert!(said("text").contains("did you mean `texts`?"), "{}", said("text"));
        assert!(said("files").contains("no contract has the topic `files`"), "{}", said("files"));
        assert!(said("calls.east").contains("two contracts, calls.sql and east.sql"), "{}", said("calls.east"));
    }

    #[test]
    fn a_topic_that_two_patterns_match_is_refused_by_the_names_of_both_files() {
        let contracts = contracts();
        let of = |existing: &[&str]| {
            let claims = contracts.iter().filter_map(|c| Some((c.file.as_str(), c.topics()?)));
            claimed(claims, &existing.iter().map(|topic| (*topic).to_owned()).collect())
        };
        let found = of(&["calls.west", "x.east", "other", "__calls.x"]).unwrap();
        let expected = [("calls.west", 0), ("messages", 2), ("texts", 2), ("x.east", 1)];
        assert_eq!(found, expected.map(|(topic, index)| (topic.to_owned(), index)).into());
        let said = of(&["calls.east"]).unwrap_err().to_string();
        assert!(said.contains("`calls.east` is claimed by two contracts, calls.sql and east.sql"), "{said}");
    }
}
