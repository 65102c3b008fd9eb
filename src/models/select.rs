//! Selectors as dbt spells them: `--select "tag:nightly +fact_calls,config.materialized:incremental"`.
//!
//! A criterion finds nodes, sources and exposures by a method, widened by graph operators; tests come along with what
//! they read. Words are united, criteria joined by commas are intersected, and what `exclude` finds is taken away.
//! `selectors.yml` says the same with more structure.

mod criterion;
pub(super) mod definition;
mod matcher;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Project;
use super::artifact::Invocation;
use super::graph::Direction;
use super::problem::Problem;
use crate::error::{Error, Result};
use criterion::Criterion;
use definition::Definition;
use matcher::Matcher;
pub use matcher::RESOURCE_TYPES;
pub use state::State;

/// How tests come along with what is selected, where none says that it is they who are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Indirect {
    /// With any of the nodes that they read.
    #[default]
    Eager,
    /// With all of them.
    Cautious,
    /// With all of them, where what is above a selected node counts as selected.
    Buildable,
    /// Not at all.
    Empty,
}

impl Indirect {
    const WORDS: [(&str, Indirect); 4] = [
        ("eager", Indirect::Eager),
        ("cautious", Indirect::Cautious),
        ("buildable", Indirect::Buildable),
        ("empty", Indirect::Empty),
    ];

    pub(super) fn named(word: &str) -> Result<Self, Problem> {
        let known = Indirect::WORDS.iter().find(|(known, _)| *known == word);
        known.map(|(_, mode)| *mode).ok_or_else(|| {
            let words = Indirect::WORDS.map(|(word, _)| word);
            let problem = Problem::unknown("indirect selection", word, words);
            if problem.has_hint() { problem } else { problem.hint(format!("there are {}", words.join(", "))) }
        })
    }
}

impl std::str::FromStr for Indirect {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Indirect::named(word).map_err(Problem::error)
    }
}

/// What of a project is asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub select: Vec<String>,
    pub exclude: Vec<String>,
    /// A selector of selectors.yml, in the place of the other two.
    pub selector: Option<String>,
    pub indirect: Indirect,
    /// Only resources of these types, if any are named.
    pub resource_types: Vec<String>,
    pub exclude_resource_types: Vec<String>,
    /// An earlier run to compare with.
    pub state: Option<Arc<State>>,
}

impl Selection {
    /// Whether it is nothing but words to select and to exclude.
    pub fn is_words(&self) -> bool {
        self.selector.is_none()
            && self.indirect == Indirect::Eager
            && self.resource_types.is_empty()
            && self.exclude_resource_types.is_empty()
            && self.state.is_none()
    }
}

/// What is selected, and the tests that would be if more of what they read were.
#[derive(Debug, Clone, Default)]
struct Found {
    direct: BTreeSet<String>,
    indirect: BTreeSet<String>,
}

impl Found {
    fn combine(self, other: Found, both: impl Fn(&BTreeSet<String>, &BTreeSet<String>) -> BTreeSet<String>) -> Found {
        Found { direct: both(&self.direct, &other.direct), indirect: both(&self.indirect, &other.indirect) }
    }
}

impl Project {
    /// The unique ids of what is selected; all of them if `select` is empty and no selector is the default.
    pub fn select(&self, select: &[String], exclude: &[String]) -> Result<BTreeSet<String>> {
        let (select, exclude) = (select.to_vec(), exclude.to_vec());
        self.selected(&Selection { select, exclude, ..Selection::default() })
    }

    pub fn selected(&self, selection: &Selection) -> Result<BTreeSet<String>> {
        self.ids_of(selection).map_err(Problem::error)
    }

    fn ids_of(&self, selection: &Selection) -> Result<BTreeSet<String>, Problem> {
        let Selection { select, exclude, selector, .. } = selection;
        let (wanted, unwanted) = (Definition::of_words(select)?, Definition::of_words(exclude)?);
        let known = || self.selectors.keys().map(String::as_str);
        let wanted = match selector {
            Some(_) if wanted.is_some() || unwanted.is_some() => {
                return Err(Problem::new("--selector stands in the place of --select and --exclude"));
            }
            Some(name) => match self.selectors.get(name) {
                Some(selector) => Some(selector.definition.clone()),
                None => return Err(Problem::unknown("selector", name, known())),
            },
            None if wanted.is_none() && unwanted.is_none() => {
                self.selectors.values().find(|s| s.is_default).map(|s| s.definition.clone())
            }
            None => wanted,
        };
        let question = Question { project: self, selection, asked: Vec::new() };
        let mut found = match wanted {
            Some(definition) => question.evaluate(&definition)?,
            None => Found { direct: self.graph.ids().map(str::to_owned).collect(), indirect: BTreeSet::new() },
        };
        if let Some(definition) = unwanted {
            found = found.combine(question.evaluate(&definition)?, |a, b| a - b);
        }
        question.incorporate(&mut found);
        let types = |list: &[String]| -> Result<(), Problem> {
            match list.iter().find(|kind| !RESOURCE_TYPES.contains(&kind.as_str()) && *kind != "all") {
                Some(kind) => Err(Problem::unknown("resource type", kind, RESOURCE_TYPES.iter().copied())),
                None => Ok(()),
            }
        };
        types(&selection.resource_types)?;
        types(&selection.exclude_resource_types)?;
        let is_of =
            |id: &str, list: &[String]| list.iter().any(|kind| kind == "all" || id.split('.').next() == Some(kind));
        found.direct.retain(|id| {
            let wanted = selection.resource_types.is_empty() || is_of(id, &selection.resource_types);
            wanted && !is_of(id, &selection.exclude_resource_types)
        });
        Ok(found.direct)
    }

    fn is_test(&self, id: &str) -> bool {
        self.nodes.get(id).is_some_and(|node| node.kind.is_test())
    }

    /// The names that a mistyped one may have meant.
    fn selectable(&self, method: &str) -> Vec<&str> {
        let nodes = self.nodes.values();
        match method {
            "path" | "file" => nodes.map(|n| n.path.as_str()).collect(),
            "source" => self.sources.values().flat_map(|s| [s.source_name.as_str(), s.name.as_str()]).collect(),
            "test_name" => nodes.filter_map(|n| n.test.as_ref()?.generic.as_ref()).map(|g| g.name.as_str()).collect(),
            "exposure" => self.exposures.values().map(|e| e.name.as_str()).collect(),
            "group" => self.groups.keys().map(String::as_str).collect(),
            "package" => nodes.filter_map(|n| n.fqn.first()).map(String::as_str).collect(),
            _ => nodes.flat_map(|n| n.fqn.iter()).map(String::as_str).collect(),
        }
    }
}

/// A selection on its way through its definitions.
struct Question<'a> {
    project: &'a Project,
    selection: &'a Selection,
    /// The selectors that led here, each by the one before.
    asked: Vec<&'a str>,
}

impl<'a> Question<'a> {
    fn evaluate(&self, definition: &Definition) -> Result<Found, Problem> {
        let all = |parts: &[Definition]| parts.iter().map(|part| self.evaluate(part)).collect::<Result<Vec<_>, _>>();
        let mut found = match definition {
            Definition::One(criterion) => return self.criterion(criterion),
            Definition::Union(parts) => {
                all(parts)?.into_iter().reduce(|a, b| a.combine(b, |a, b| a | b)).unwrap_or_default()
            }
            Definition::Intersection(parts) => {
                all(parts)?.into_iter().reduce(|a, b| a.combine(b, |a, b| a & b)).unwrap_or_default()
            }
            Definition::Without(whole, part) => self.evaluate(whole)?.combine(self.evaluate(part)?, |a, b| a - b),
        };
        self.incorporate(&mut found);
        Ok(found)
    }

    /// Tests that lacked something of what they read may have it by now.
    fn incorporate(&self, found: &mut Found) {
        if matches!(self.selection.indirect, Indirect::Cautious | Indirect::Buildable) {
            let reachable = self.reachable(&found.direct, self.selection.indirect);
            let complete = |test: &&String| self.parents(test).all(|parent| reachable.contains(parent));
            let complete: Vec<String> = found.indirect.iter().filter(complete).cloned().collect();
            found.direct.extend(complete);
        }
    }

    fn parents(&self, id: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let graph: &'a super::graph::Graph = &self.project.graph;
        graph.next(id, Direction::Parents).collect::<Vec<_>>().into_iter()
    }

    /// What a test may read to come along.
    fn reachable(&self, selected: &BTreeSet<String>, indirect: Indirect) -> BTreeSet<String> {
        let mut reachable = selected.clone();
        if indirect == Indirect::Buildable {
            reachable.extend(self.project.graph.reach(selected, Direction::Parents, usize::MAX));
        }
        reachable
    }

    fn criterion(&self, criterion: &Criterion) -> Result<Found, Problem> {
        if criterion.method == "selector" {
            return self.named(criterion);
        }
        let mut selected = self.meant(criterion)?;
        if selected.is_empty() && criterion.is_name() {
            let problem = Problem::new(format!("nothing is selected by `{}`", criterion.text));
            return Err(problem.nearest(&criterion.value, self.project.selectable(&criterion.method)));
        }
        self.widen(criterion, &mut selected);
        let indirect = criterion.indirect.unwrap_or(self.selection.indirect);
        let children = selected.iter().flat_map(|id| self.project.graph.next(id, Direction::Children));
        let tests: BTreeSet<String> = children.filter(|id| self.project.is_test(id)).map(str::to_owned).collect();
        let reachable = self.reachable(&selected, indirect);
        let complete = |test: &String| self.parents(test).all(|parent| reachable.contains(parent));
        let (along, lacking) = match indirect {
            Indirect::Eager => (tests, BTreeSet::new()),
            Indirect::Cautious | Indirect::Buildable => tests.into_iter().partition(complete),
            Indirect::Empty => (BTreeSet::new(), BTreeSet::new()),
        };
        selected.extend(along);
        Ok(Found { direct: selected, indirect: lacking })
    }

    /// What another selector of selectors.yml selects, widened as any criterion is.
    fn named(&self, criterion: &Criterion) -> Result<Found, Problem> {
        let known = || self.project.selectors.keys().map(String::as_str);
        let selector = self.project.selectors.get(&criterion.value);
        let selector = selector.ok_or_else(|| Problem::unknown("selector", &criterion.value, known()))?;
        if self.asked.contains(&selector.name.as_str()) {
            return Err(Problem::new(format!("the selector `{}` is defined by itself", selector.name)));
        }
        let asked = self.asked.iter().copied().chain([selector.name.as_str()]).collect();
        let within = Question { project: self.project, selection: self.selection, asked };
        let mut found = within.evaluate(&selector.definition)?;
        self.widen(criterion, &mut found.direct);
        Ok(found)
    }

    /// What a method means, before graph operators.
    fn meant(&self, criterion: &Criterion) -> Result<BTreeSet<String>, Problem> {
        let project = self.project;
        let state = || {
            self.selection.state.as_deref().ok_or_else(|| {
                let problem = Problem::new(format!("`{}` compares with an earlier run", criterion.text));
                problem.hint("name the folder of its artifacts with --state")
            })
        };
        let known = |mut ids: BTreeSet<String>| -> BTreeSet<String> {
            ids.retain(|id| project.graph.contains(id));
            ids
        };
        match criterion.method.as_str() {
            "state" => {
                let invocation = Invocation { id: String::new(), started_at: project.shared.run_started_at };
                let now = project.manifest(&invocation, &BTreeMap::new());
                return state::compared(state()?, &now, &criterion.value);
            }
            "result" => return state()?.with_result(&criterion.value).map(known),
            "source_status" => {
                return state()?.with_source_status(&criterion.value, &project.target_path).map(known);
            }
            _ => {}
        }
        let matcher = Matcher::new(criterion)?;
        let nodes = project.nodes.values().filter(|n| matcher.node(n)).map(|n| &n.unique_id);
        let sources = project.sources.values().filter(|s| matcher.source(s)).map(|s| &s.unique_id);
        let exposures = project.exposures.values().filter(|e| matcher.exposure(e)).map(|e| &e.unique_id);
        Ok(nodes.chain(sources).chain(exposures).cloned().collect())
    }

    fn widen(&self, criterion: &Criterion, found: &mut BTreeSet<String>) {
        let graph = &self.project.graph;
        let mut widened = BTreeSet::new();
        if criterion.at {
            let children = graph.reach(found, Direction::Children, usize::MAX);
            found.extend(children);
            widened.extend(graph.reach(found, Direction::Parents, usize::MAX));
        }
        widened.extend(graph.reach(found, Direction::Parents, criterion.parents));
        widened.extend(graph.reach(found, Direction::Children, criterion.children));
        found.extend(widened);
    }
}

#[cfg(test)]
mod tests;
