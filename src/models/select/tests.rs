use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::models::Project;
use crate::models::tests::{Files, says};

fn shop() -> Project {
    Files::new()
        .with("dbt_project.yml", "name: shop\nmodels:\n  shop:\n    gold: {+tags: nightly, +materialized: table}\n")
        .with("models/silver/calls.sql", "select * from {{ source('raw', 'events') }}")
        .with("models/silver/towers.sql", "select * from {{ ref('tower_list') }}")
        .with("models/gold/fact.sql", "{{ config(meta={'owner': 'me'}) }}select * from {{ ref('calls') }} join {{ ref('towers') }}")
        .with("models/gold/report.sql", "select * from {{ ref('fact') }}")
        .with("seeds/tower_list.csv", "a\n")
        .with("models/p.yml", "sources: [{name: raw, tables: [{name: events}]}]\nmodels:\n  - name: fact\n    columns: [{name: id, tests: [unique, not_null]}]\n")
        .with("tests/no_loss.sql", "select * from {{ ref('report') }}")
        .load()
}

fn texts(words: &str) -> Vec<String> {
    if words.is_empty() { Vec::new() } else { vec![words.to_owned()] }
}

/// The names of what is selected, tests left out unless asked for.
fn names(select: &str, exclude: &str) -> String {
    let project = shop();
    let ids = project.select(&texts(select), &texts(exclude)).unwrap();
    ids.iter()
        .filter(|id| !id.starts_with("test."))
        .map(|id| id.rsplit('.').next().unwrap())
        .collect::<Vec<_>>()
        .join(" ")
}

fn error(select: &str) -> String {
    shop().select(&texts(select), &[]).unwrap_err().to_string()
}

#[test]
fn nothing_selected_is_everything() {
    assert_eq!(shop().select(&[], &[]).unwrap().len(), 9);
}

#[test]
fn names_folders_and_paths_select() {
    assert_eq!(names("calls", ""), "calls");
    assert_eq!(names("silver", ""), "calls towers");
    assert_eq!(names("shop.silver.calls", ""), "calls");
    assert_eq!(names("silver.*", ""), "calls towers");
    assert_eq!(names("*a*", ""), "calls fact events");
    assert_eq!(names("models/gold", ""), "fact report");
    assert_eq!(names("path:models/*/f*.sql", ""), "fact");
    assert_eq!(names("fact.sql tower_list.csv", ""), "fact tower_list");
}

#[test]
fn a_part_of_a_name_selects_nothing() {
    says(&error("tower"), &["nothing is selected by `tower`", "did you mean `towers`?"]);
    says(&error("models/gol"), &["nothing is selected"]);
}

#[test]
fn properties_select() {
    assert_eq!(names("tag:nightly", ""), "fact report");
    assert_eq!(names("config.materialized:view", ""), "calls towers");
    assert_eq!(names("config.meta.owner:me", ""), "fact");
    assert_eq!(names("config.enabled:True,silver", ""), "calls towers");
    assert_eq!(names("resource_type:seed", ""), "tower_list");
    assert_eq!(names("source:raw source:raw.events", ""), "events");
    assert_eq!(names("tag:weekly", ""), "");
}

#[test]
fn graph_operators_widen() {
    assert_eq!(names("+towers", ""), "towers tower_list");
    assert_eq!(names("calls+", ""), "calls fact report");
    assert_eq!(names("calls+1", ""), "calls fact");
    assert_eq!(names("1+fact", ""), "calls fact towers");
    assert_eq!(names("source:raw+", ""), "calls fact report events");
    assert_eq!(names("@calls", ""), "calls fact report towers tower_list events");
}

#[test]
fn spaces_unite_commas_intersect_and_exclude_takes_away() {
    assert_eq!(names("calls towers", ""), "calls towers");
    assert_eq!(names("calls+,tag:nightly", ""), "fact report");
    assert_eq!(names("+report", "silver source:*"), "fact report tower_list");
}

#[test]
fn tests_come_along_with_what_they_read_and_go_with_it() {
    let project = shop();
    let tests = |select: &str, exclude: &str| {
        let ids = project.select(&texts(select), &texts(exclude)).unwrap();
        ids.into_iter().filter(|id| id.starts_with("test.")).count()
    };
    assert_eq!(tests("fact", ""), 2);
    assert_eq!(tests("report", ""), 1);
    assert_eq!(tests("fact,test_name:unique", ""), 1);
    assert_eq!(tests("test_type:singular", ""), 1);
    assert_eq!(tests("+report", "fact"), 1);
}

#[test]
fn what_is_not_a_selector_is_explained() {
    says(&error("@calls+"), &["`@` already takes the children"]);
    says(&error("tagg:x"), &["unknown selector method `tagg`", "did you mean `tag`?"]);
    says(&error("state:modified"), &["the selector method `state` is not supported yet"]);
    says(&error("resource_type:modle"), &["unknown resource type `modle`", "`model`"]);
    says(&error("99999999999999999999999+calls"), &["the number is too large"]);
    says(&error("config:x"), &["say which configuration"]);
    says(&error("calls,,towers"), &["it names nothing"]);
}

/// What the words select in a graph of numbered models, worked out step by step.
fn expected(parents: &BTreeMap<usize, BTreeSet<usize>>, terms: &[Vec<(usize, usize, usize)>]) -> BTreeSet<usize> {
    let up = |set: &BTreeSet<usize>| set.iter().flat_map(|n| parents[n].iter().copied()).collect::<BTreeSet<_>>();
    let down = |set: &BTreeSet<usize>| {
        parents.iter().filter(|(_, p)| !p.is_disjoint(set)).map(|(n, _)| *n).collect::<BTreeSet<_>>()
    };
    let one = |&(node, ups, downs): &(usize, usize, usize)| {
        let mut all = BTreeSet::from([node]);
        let mut front = all.clone();
        for _ in 0..ups {
            front = up(&front);
            all.extend(&front);
        }
        front = BTreeSet::from([node]);
        for _ in 0..downs {
            front = down(&front);
            all.extend(&front);
        }
        all
    };
    let word = |terms: &Vec<(usize, usize, usize)>| {
        terms.iter().map(one).reduce(|a, b| a.intersection(&b).copied().collect()).unwrap_or_default()
    };
    terms.iter().flat_map(word).collect()
}

const MODELS: usize = 8;

fn spelled(terms: &[Vec<(usize, usize, usize)>]) -> Vec<String> {
    let term = |(node, up, down): &(usize, usize, usize)| {
        let number = |n: usize| if n == MODELS { String::new() } else { n.to_string() };
        let before = if *up == 0 { String::new() } else { format!("{}+", number(*up)) };
        let after = if *down == 0 { String::new() } else { format!("+{}", number(*down)) };
        format!("{before}m{node}{after}")
    };
    terms.iter().map(|word| word.iter().map(term).collect::<Vec<_>>().join(",")).collect()
}

fn terms(least: usize) -> impl Strategy<Value = Vec<Vec<(usize, usize, usize)>>> {
    // No way is longer than the number of models, so that number stands for "all the way".
    let depth = prop_oneof![Just(0), 1..4_usize, Just(MODELS)];
    let term = (0..MODELS, depth.clone(), depth);
    prop::collection::vec(prop::collection::vec(term, 1..4), least..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn selecting_is_the_algebra_of_sets_over_the_graph(
        edges in prop::collection::vec((0..MODELS, 0..MODELS), 0..16),
        select in terms(1),
        exclude in terms(0),
    ) {
        let mut parents: BTreeMap<usize, BTreeSet<usize>> = (0..MODELS).map(|n| (n, BTreeSet::new())).collect();
        for (a, b) in edges.into_iter().filter(|(a, b)| a != b) {
            parents.get_mut(&a.max(b)).unwrap().insert(a.min(b));
        }
        let mut files = Files::new();
        for (node, parents) in &parents {
            let refs = parents.iter().map(|p| format!("{{{{ ref('m{p}') }}}}")).collect::<Vec<_>>().join(" ");
            files = files.model(&format!("m{node}"), &refs);
        }
        let selected = files.load().select(&spelled(&select), &spelled(&exclude)).unwrap();
        let excluded = expected(&parents, &exclude);
        let wanted: BTreeSet<String> =
            expected(&parents, &select).difference(&excluded).map(|n| format!("model.shop.m{n}")).collect();
        prop_assert_eq!(selected, wanted);
    }
}
