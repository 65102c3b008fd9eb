//! Names to nodes, and nodes to what they are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::problem::Problem;
use super::relation::Relation;

/// A name as a template spells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    Ref(String),
    /// In a package, a name.
    RefTo(String, String),
    Source(String, String),
}

impl Dependency {
    /// The name alone, as configuration spells it.
    pub fn plain(&self) -> String {
        match self {
            Dependency::Ref(name) | Dependency::RefTo(_, name) => name.clone(),
            Dependency::Source(source, table) => format!("{source}.{table}"),
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dependency::Ref(name) => write!(f, "ref('{name}')"),
            Dependency::RefTo(package, name) => write!(f, "ref('{package}', '{name}')"),
            Dependency::Source(source, table) => write!(f, "source('{source}', '{table}')"),
        }
    }
}

/// Which node or source a name means.
#[derive(Debug, Clone, Default)]
pub struct Index {
    refs: BTreeMap<String, String>,
    sources: BTreeMap<String, BTreeMap<String, String>>,
    relations: BTreeMap<String, Relation>,
    /// The names of nodes and the `source.table` of sources that are switched off.
    disabled: BTreeSet<String>,
}

impl Index {
    pub fn add_ref(&mut self, name: &str, unique_id: &str, relation: Relation) {
        self.refs.insert(name.to_owned(), unique_id.to_owned());
        self.relations.insert(unique_id.to_owned(), relation);
    }

    pub fn add_source(&mut self, source: &str, table: &str, unique_id: &str, relation: Relation) {
        self.sources.entry(source.to_owned()).or_default().insert(table.to_owned(), unique_id.to_owned());
        self.relations.insert(unique_id.to_owned(), relation);
    }

    pub fn disable(&mut self, name: String) {
        self.disabled.insert(name);
    }

    pub fn is_disabled(&self, name: &str) -> bool {
        self.disabled.contains(name)
    }

    /// From now on the table of a node is read there.
    pub fn move_to(&mut self, unique_id: &str, relation: Relation) {
        self.relations.insert(unique_id.to_owned(), relation);
    }

    pub fn relation(&self, unique_id: &str) -> Option<&Relation> {
        self.relations.get(unique_id)
    }

    pub fn resolve(&self, dependency: &Dependency) -> Result<&str, Problem> {
        match dependency {
            Dependency::Ref(name) => self.refs.get(name).map(String::as_str).ok_or_else(|| {
                if self.disabled.contains(name) {
                    return Problem::new(format!("the model `{name}` is disabled"));
                }
                let problem = Problem::unknown("model or seed", name, self.refs.keys().map(String::as_str));
                problem.or_hint(format!("no file of the project is called {name}.sql or {name}.csv"))
            }),
            Dependency::RefTo(package, name) => {
                let packages: BTreeSet<&str> = self.refs.values().filter_map(|id| id.split('.').nth(1)).collect();
                if !packages.contains(package.as_str()) {
                    return Err(Problem::unknown("package", package, packages));
                }
                let id = self.resolve(&Dependency::Ref(name.clone()))?;
                if id.split('.').nth(1) == Some(package) {
                    return Ok(id);
                }
                Err(Problem::new(format!("the package `{package}` has no model or seed `{name}`; {id} is called so")))
            }
            Dependency::Source(source, table) => {
                let Some(tables) = self.sources.get(source) else {
                    if self.disabled.iter().any(|d| d.split('.').next() == Some(source)) {
                        return Err(Problem::new(format!("the source `{source}` is disabled")));
                    }
                    let problem = Problem::unknown("source", source, self.sources.keys().map(String::as_str));
                    return Err(problem.or_hint(format!(
                        "declare it in a YAML file: sources: [{{name: {source}, tables: [{{name: {table}}}]}}]"
                    )));
                };
                tables.get(table).map(String::as_str).ok_or_else(|| {
                    if self.disabled.contains(&format!("{source}.{table}")) {
                        return Problem::new(format!("the table `{table}` of the source `{source}` is disabled"));
                    }
                    let what = format!("table of the source `{source}`:");
                    Problem::unknown(&what, table, tables.keys().map(String::as_str))
                })
            }
        }
    }
}

/// The graph of unique ids, nodes and sources alike.
#[derive(Debug, Default)]
pub struct Graph {
    parents: BTreeMap<String, BTreeSet<String>>,
    children: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Parents,
    Children,
}

impl Graph {
    pub fn add(&mut self, unique_id: &str, parents: &[String]) {
        self.parents.entry(unique_id.to_owned()).or_default().extend(parents.iter().cloned());
        self.children.entry(unique_id.to_owned()).or_default();
        for parent in parents {
            self.parents.entry(parent.clone()).or_default();
            self.children.entry(parent.clone()).or_default().insert(unique_id.to_owned());
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.parents.keys().map(String::as_str)
    }

    pub fn contains(&self, unique_id: &str) -> bool {
        self.parents.contains_key(unique_id)
    }

    pub fn next(&self, unique_id: &str, direction: Direction) -> impl Iterator<Item = &str> {
        let edges = match direction {
            Direction::Parents => &self.parents,
            Direction::Children => &self.children,
        };
        edges.get(unique_id).into_iter().flatten().map(String::as_str)
    }

    /// What lies within so many steps of the given nodes in one direction, the nodes themselves left out unless another
    /// one leads to them.
    pub fn reach(&self, from: &BTreeSet<String>, direction: Direction, steps: usize) -> BTreeSet<String> {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut front: BTreeSet<&str> = from.iter().map(String::as_str).collect();
        for _ in 0..steps {
            let mut ahead = BTreeSet::new();
            for next in front.iter().flat_map(|id| self.next(id, direction)) {
                if seen.insert(next.to_owned()) {
                    ahead.insert(next);
                }
            }
            if ahead.is_empty() {
                break;
            }
            front = ahead;
        }
        seen
    }

    /// The ids, parents first and otherwise by name, or a circle.
    pub fn order(&self) -> Result<Vec<&str>, Vec<String>> {
        let mut waiting: BTreeMap<&str, usize> = self.parents.iter().map(|(id, p)| (id.as_str(), p.len())).collect();
        let mut ready: BTreeSet<&str> = waiting.iter().filter(|(_, n)| **n == 0).map(|(id, _)| *id).collect();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(id) = ready.pop_first() {
            waiting.remove(id);
            order.push(id);
            for child in self.next(id, Direction::Children) {
                if let Some(left) = waiting.get_mut(child) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        ready.insert(child);
                    }
                }
            }
        }
        if waiting.is_empty() { Ok(order) } else { Err(self.circle(&waiting)) }
    }

    /// Every node that is still waiting has a parent that is too, so that going up leads into a circle.
    fn circle(&self, waiting: &BTreeMap<&str, usize>) -> Vec<String> {
        let mut way: Vec<&str> = Vec::new();
        let mut at = waiting.keys().next().copied();
        while let Some(id) = at {
            if let Some(start) = way.iter().position(|seen| *seen == id) {
                let mut circle: Vec<String> = way.drain(start..).map(str::to_owned).collect();
                circle.push(id.to_owned());
                return circle;
            }
            way.push(id);
            at = self.next(id, Direction::Parents).find(|parent| waiting.contains_key(parent));
        }
        way.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (id, parents) in edges {
            graph.add(id, &parents.iter().map(|p| p.to_string()).collect::<Vec<_>>());
        }
        graph
    }

    #[test]
    fn parents_come_first_and_equals_by_name() {
        let graph = graph(&[("a", &["z", "m"]), ("m", &["z"]), ("b", &[])]);
        assert_eq!(graph.order().unwrap(), ["b", "z", "m", "a"]);
    }

    #[test]
    fn a_circle_is_shown_as_a_way_that_ends_where_it_began() {
        let graph = graph(&[("0", &[]), ("a", &["b", "0"]), ("b", &["c"]), ("c", &["a"]), ("after", &["a"])]);
        assert_eq!(graph.order().unwrap_err(), ["a", "b", "c", "a"]);
    }

    #[test]
    fn reach_counts_steps() {
        let graph = graph(&[("b", &["a"]), ("c", &["b"]), ("d", &["c"])]);
        let from = BTreeSet::from(["a".to_owned()]);
        let names = |steps| graph.reach(&from, Direction::Children, steps).into_iter().collect::<Vec<_>>();
        assert_eq!(names(0), Vec::<String>::new());
        assert_eq!(names(2), ["b", "c"]);
        assert_eq!(names(usize::MAX), ["b", "c", "d"]);
    }
}
