//! Which node runs when: each as soon as everything that it stands on is done, as many at a time as there are threads.
//!
//! A test runs with the last of its nodes, so the others come before that one too. Of nodes that could begin, the first
//! in the order of the project begins. Told to stop, or at the first failure if that is asked for, whatever is not just
//! being published is given up; what is being published is waited for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use super::gate::Gate;
use super::lineage::Lineage;
use super::progress::{Made, Outcome, Progress};
use super::report::{NodeResult, Status};
use super::turn::{Turn, unbuilt};
use super::{Build, name_of};
use crate::error::{Error, Kind, Result};
use crate::models::{Node, Project};

const STOPPED: &str = "the build was told to stop";
const FAILED_FAST: &str = "stopped at the first failure (--fail-fast)";

/// What can be run at one go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unit {
    /// A test that reads sources alone. If it fails, whatever reads them is not built.
    SourceTest(String),
    /// A node with the tests that run with it. One that was not selected is read as it is.
    Node { id: String, tests: Vec<String>, selected: bool },
}

/// The units of a build in the order of the project, and how they depend on each other.
struct Schedule {
    units: Vec<Unit>,
    /// For each unit, those that have to wait for it.
    next: Vec<BTreeSet<usize>>,
    /// For each unit, how many it waits for.
    waits: Vec<usize>,
}

impl Schedule {
    fn of(project: &Project, selected: &BTreeSet<String>) -> Schedule {
        let order = project.order();
        let tests = || order.iter().filter(|n| n.kind.is_test() && selected.contains(&n.unique_id));
        let own = |test: &Node| -> Vec<String> {
            test.depends_on.iter().filter(|d| project.nodes.contains_key(*d)).cloned().collect()
        };
        let mut units: Vec<Unit> =
            tests().filter(|t| own(t).is_empty()).map(|t| Unit::SourceTest(t.unique_id.clone())).collect();
        let mut places = HashMap::new();
        for node in order.iter().filter(|n| !n.kind.is_test()) {
            places.insert(node.unique_id.as_str(), units.len());
            let (id, selected) = (node.unique_id.clone(), selected.contains(&node.unique_id));
            units.push(Unit::Node { id, tests: Vec::new(), selected });
        }
        let place = |id: &String| places.get(id.as_str()).copied();
        let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); units.len()];
        for node in order.iter().filter(|n| !n.kind.is_test()) {
            let Some(at) = place(&node.unique_id) else { continue };
            before[at].extend(node.depends_on.iter().filter_map(place));
        }
        for (at, unit) in units.iter().enumerate() {
            if let Unit::SourceTest(test) = unit {
                let readers = readers(project, test);
                readers.iter().filter_map(place).for_each(|reader| {
                    before[reader].insert(at);
                });
            }
        }
        for test in tests() {
            let on: BTreeSet<usize> = own(test).iter().filter_map(place).collect();
            let Some(last) = on.last().copied() else { continue };
            before[last].extend(on.into_iter().filter(|at| *at != last));
            if let Unit::Node { tests, .. } = &mut units[last] {
                tests.push(test.unique_id.clone());
            }
        }
        let mut next = vec![BTreeSet::new(); units.len()];
        for (at, before) in before.iter().enumerate() {
            before.iter().for_each(|earlier| {
                next[*earlier].insert(at);
            });
        }
        Schedule { units, next, waits: before.iter().map(BTreeSet::len).collect() }
    }
}

/// The nodes that read the sources of a test.
fn readers(project: &Project, test: &str) -> Vec<String> {
    let Some(test) = project.nodes.get(test) else { return Vec::new() };
    let nodes = project.nodes.values().filter(|n| !n.kind.is_test());
    let reading = nodes.filter(|n| n.depends_on.iter().any(|d| test.depends_on.contains(d)));
    reading.map(|n| n.unique_id.clone()).collect()
}

/// Runs all units, and calls `done` for each result as its unit ends.
pub async fn run(
    build: &Arc<Build>,
    progress: &mut Progress,
    selected: &BTreeSet<String>,
    mut stop: watch::Receiver<bool>,
    lineage: Option<&Lineage>,
    done: &mut dyn FnMut(&NodeResult),
) -> Result<()> {
    let schedule = Schedule::of(&build.project, selected);
    let ready = (0..schedule.units.len()).filter(|at| schedule.waits[*at] == 0).collect();
    let waits = schedule.waits.clone();
    let tasks = JoinSet::new();
    let mut running = Running {
        build,
        progress,
        schedule,
        waits,
        ready,
        tasks,
        turns: BTreeMap::new(),
        ending: None,
        failure: None,
        lineage,
    };
    loop {
        running.start(done);
        let ended = tokio::select! {
            biased;
            () = told(&mut stop), if !running.progress.interrupted => {
                running.progress.interrupted = true;
                running.end(STOPPED);
                continue;
            }
            ended = running.tasks.join_next_with_id() => ended,
        };
        match ended {
            Some(ended) => running.ended(ended, done),
            None => return running.failure.map_or(Ok(()), Err),
        }
    }
}

/// Returns once `stop` is true. If nobody can say so any more, never.
async fn told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// A build under way.
struct Running<'a> {
    build: &'a Arc<Build>,
    progress: &'a mut Progress,
    schedule: Schedule,
    /// For each unit, how many it still waits for.
    waits: Vec<usize>,
    ready: BTreeSet<usize>,
    tasks: JoinSet<Result<Outcome>>,
    turns: BTreeMap<Id, Under>,
    /// Why no more is begun.
    ending: Option<&'static str>,
    /// What ends the build without a release.
    failure: Option<Error>,
    lineage: Option<&'a Lineage>,
}

/// A unit that is running.
struct Under {
    place: usize,
    gate: Arc<Gate>,
    task: tokio::task::AbortHandle,
}

impl Running<'_> {
    /// Begins what can begin, and skips what never will.
    fn start(&mut self, done: &mut dyn FnMut(&NodeResult)) {
        let threads = self.build.options.threads.max(1);
        while self.tasks.len() < threads
            && self.failure.is_none()
            && let Some(place) = self.ready.pop_first()
        {
            match (self.unmet(place), self.reason_to_skip(place)) {
                (Some(outcome), _) => self.finish(place, outcome, done),
                (None, Some(reason)) => self.skip(place, &reason, done),
                (None, None) => {
                    let turn = self.progress.turn(self.build);
                    let gate = turn.gate.clone();
                    let task = self.tasks.spawn(run_unit(turn, self.schedule.units[place].clone()));
                    self.turns.insert(task.id(), Under { place, gate, task });
                }
            }
        }
    }

    /// What comes of a node that reads what this build was not asked for and no build before it made.
    fn unmet(&self, place: usize) -> Option<Outcome> {
        let Unit::Node { id, tests, selected: true } = &self.schedule.units[place] else { return None };
        let node = self.build.project.nodes.get(id).filter(|_| self.ending.is_none())?;
        let left_out = |id: &String| {
            self.schedule.units.iter().any(|u| matches!(u, Unit::Node { id: i, selected: false, .. } if i == id))
        };
        let parent = node.depends_on.iter().find(|p| self.progress.broken(p).is_some() && left_out(p))?;
        let parent = self.build.project.nodes.get(parent)?;
        let message = format!(
            "{} is not in the lake, and this build does not make it\nhint: make it as well: --select +{}",
            name_of(parent),
            node.name
        );
        Some(unbuilt(node, &named(&self.build.project, tests), Status::Error(Kind::Input), &message))
    }

    fn reason_to_skip(&self, place: usize) -> Option<String> {
        let Unit::Node { id, selected: true, .. } = &self.schedule.units[place] else { return None };
        let node = self.build.project.nodes.get(id)?;
        let not_built = |parent: &String| {
            self.progress.broken(parent)?;
            let name = self.build.project.nodes.get(parent).map_or(parent, |n| &n.name);
            Some(format!("{name} was not built"))
        };
        let own = self.progress.broken(id).cloned().or_else(|| self.ending.map(str::to_owned));
        own.or_else(|| node.depends_on.iter().find_map(not_built))
    }

    fn skip(&mut self, place: usize, reason: &str, done: &mut dyn FnMut(&NodeResult)) {
        let project = self.build.project.clone();
        let outcome = match &self.schedule.units[place] {
            Unit::SourceTest(id) => {
                let results = project.nodes.get(id).map(|test| NodeResult::of(test, Status::Skipped, reason));
                Outcome { results: results.into_iter().collect(), ..Outcome::default() }
            }
            Unit::Node { id, tests, .. } => match project.nodes.get(id) {
                Some(node) => unbuilt(node, &named(&project, tests), Status::Skipped, reason),
                None => Outcome::default(),
            },
        };
        self.finish(place, outcome, done);
    }

    fn ended(&mut self, ended: Result<(Id, Result<Outcome>), JoinError>, done: &mut dyn FnMut(&NodeResult)) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(under) = self.turns.remove(&id) else { return };
        match ended {
            Ok((_, Ok(outcome))) => self.finish(under.place, outcome, done),
            Ok((_, Err(e))) => {
                self.failure.get_or_insert(e);
                self.end(STOPPED);
            }
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The candidate that was being tested is nobody's now.
                Err(_) => {
                    if let Unit::Node { id, .. } = &self.schedule.units[under.place] {
                        self.progress.given_up.extend(self.build.project.nodes.get(id).map(name_of));
                    }
                    self.skip(under.place, self.ending.unwrap_or(STOPPED), done);
                }
            },
        }
    }

    /// Takes up what came of a unit, and lets those that waited for it begin.
    fn finish(&mut self, place: usize, outcome: Outcome, done: &mut dyn FnMut(&NodeResult)) {
        let failed = outcome.results.iter().any(|r| r.status.is_failure());
        outcome.results.iter().for_each(&mut *done);
        if let Some(lineage) = self.lineage {
            let schema = outcome.made.as_ref().and_then(Made::schema);
            outcome.results.iter().for_each(|r| lineage.node(&self.build.project, r, schema.as_deref()));
        }
        match &self.schedule.units[place] {
            Unit::SourceTest(test) => {
                if let (true, Some(result)) = (failed, outcome.results.first()) {
                    let reason = format!("the test {} of its source failed", result.name);
                    self.progress.give_up(readers(&self.build.project, test), &reason);
                }
                self.progress.take_results(place, outcome.results);
            }
            Unit::Node { id, selected, .. } => {
                if let Some(node) = self.build.project.nodes.get(id) {
                    self.progress.take(place, node, *selected, outcome);
                }
            }
        }
        for later in &self.schedule.next[place] {
            self.waits[*later] -= 1;
            if self.waits[*later] == 0 {
                self.ready.insert(*later);
            }
        }
        if failed && self.build.options.fail_fast {
            self.end(FAILED_FAST);
        }
    }

    /// Nothing more is built. What runs is given up, unless it is being published or only looked at.
    fn end(&mut self, reason: &'static str) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(reason);
        for under in self.turns.values() {
            let is_read = matches!(self.schedule.units[under.place], Unit::Node { selected: false, .. });
            if !is_read && under.gate.give_up() {
                under.task.abort();
            }
        }
    }
}

async fn run_unit(turn: Turn, unit: Unit) -> Result<Outcome> {
    let project = turn.build.project.clone();
    let known = |id: &str| project.nodes.get(id).ok_or_else(|| Error::bug(format!("{id} is not in the project")));
    match unit {
        Unit::SourceTest(test) => {
            let results = turn.run_tests(&[known(&test)?]).await?;
            Ok(Outcome { results, ..Outcome::default() })
        }
        Unit::Node { id, tests, selected: true } => turn.build(known(&id)?, &named(&project, &tests)).await,
        Unit::Node { id, tests, selected: false } => turn.adopt(known(&id)?, &named(&project, &tests)).await,
    }
}

fn named<'p>(project: &'p Project, ids: &[String]) -> Vec<&'p Node> {
    ids.iter().filter_map(|id| project.nodes.get(id)).collect()
}
