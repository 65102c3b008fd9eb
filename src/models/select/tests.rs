use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Indirect, Selection, State};
use crate::models::Project;
use crate::models::artifact::Invocation;
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
    says(&error("state:modified"), &["compares with an earlier run", "--state"]);
    says(&error("version:latest"), &["the selector method `version` is not supported yet"]);
    says(&error("access:privat"), &["unknown access `privat`", "`private`"]);
    says(&error("exposure:x group:x"), &["nothing is selected by `exposure:x`"]);
    says(&error("selector:x"), &["unknown selector `x`"]);
    says(&error("resource_type:modle"), &["unknown resource type `modle`", "`model`"]);
    says(&error("99999999999999999999999+calls"), &["the number is too large"]);
    says(&error("config:x"), &["say which configuration"]);
    says(&error("calls,,towers"), &["it names nothing"]);
}

/// A model of a private group, one that all may read, tests of one and of both, an exposure.
fn owned() -> Files {
    Files::new()
        .with("models/g.yml", "groups: [{name: billing, owner: {name: B}}]\nmodels:\n  - {name: a, group: billing, access: private}\n  - {name: b, group: billing, access: public, columns: [{name: n, tests: [unique, {relationships: {arguments: {to: ref('c'), field: n}}}]}]}\nexposures: [{name: board, type: dashboard, owner: {name: O}, tags: [weekly], depends_on: [ref('b')]}]\n")
        .model("a", "select 1 as n")
        .model("b", "select * from {{ ref('a') }}")
        .model("c", "select 1 as n")
}

fn selected(project: &Project, selection: Selection) -> String {
    let ids = project.selected(&selection).unwrap();
    ids.iter().map(|id| id.splitn(3, '.').nth(2).unwrap()).collect::<Vec<_>>().join(" ")
}

fn of(select: &str) -> Selection {
    Selection { select: texts(select), indirect: Indirect::Empty, ..Selection::default() }
}

#[test]
fn owners_and_users_select() {
    let project = owned().load();
    assert_eq!(selected(&project, of("group:billing")), "a b");
    assert_eq!(selected(&project, of("access:public access:private")), "a b");
    assert_eq!(selected(&project, of("+exposure:board")), "board a b");
    assert_eq!(selected(&project, of("tag:weekly resource_type:exposure")), "board");
    assert_eq!(selected(&project, of("package:shop,file:c.sql")), "c");
    assert_eq!(selected(&project, of("test_type:data,test_name:unique")), "unique_b_n");
    let models = Selection { resource_types: vec!["model".to_owned()], ..of("") };
    assert_eq!(selected(&project, models), "a b c");
    let rest = Selection { exclude_resource_types: vec!["model".to_owned(), "test".to_owned()], ..of("") };
    assert_eq!(selected(&project, rest), "board");
}

#[test]
fn tests_come_along_as_the_mode_says() {
    let project = owned().load();
    let both = "relationships_b_n__n__ref_c_";
    let with = |select: &str, indirect: Indirect| selected(&project, Selection { indirect, ..of(select) });
    assert_eq!(with("b", Indirect::Eager), format!("b {both} unique_b_n"));
    assert_eq!(with("b", Indirect::Cautious), "b unique_b_n");
    assert_eq!(with("b c", Indirect::Cautious), format!("b c {both} unique_b_n"));
    assert_eq!(with("b", Indirect::Empty), "b");
    // What is above a selected node counts, what is beside it does not.
    let project = owned().model("b", "select * from {{ ref('c') }}").load();
    let with = |indirect: Indirect| selected(&project, Selection { indirect, ..of("b") });
    assert_eq!(with(Indirect::Buildable), format!("b {both} unique_b_n"));
    assert_eq!(with(Indirect::Cautious), "b unique_b_n");
}

#[test]
fn selectors_of_a_file_combine_nest_and_stand_in_when_nothing_is_asked_for() {
    let selectors = "
selectors:
  - name: paid
    description: What billing makes
    definition: {method: group, value: billing, exclude: [{method: access, value: private}]}
  - name: all_but_c
    default: true
    definition:
      union:
        - {method: selector, value: paid, parents: true}
        - 'resource_type:exposure'
        - exclude: [{fqn: c}]
  - name: tested
    definition: {method: fqn, value: b, indirect_selection: cautious, children: false}
";
    let project = owned().with("selectors.yml", selectors).load();
    let named = |name: &str| Selection { selector: Some(name.to_owned()), ..of("") };
    assert_eq!(selected(&project, named("paid")), "b");
    assert_eq!(selected(&project, named("all_but_c")), "board a b");
    assert_eq!(selected(&project, of("")), "board a b");
    assert_eq!(selected(&project, of("c")), "c");
    assert_eq!(selected(&project, of("selector:paid+")), "board b relationships_b_n__n__ref_c_ unique_b_n");
    assert_eq!(selected(&project, Selection { indirect: Indirect::Eager, ..named("tested") }), "b unique_b_n");
    let e = project.selected(&named("pay")).unwrap_err().to_string();
    says(&e, &["unknown selector `pay`", "did you mean `paid`?"]);
}

#[test]
fn a_mistake_in_selectors_is_placed() {
    let error = |definition: &str| {
        owned().with("selectors.yml", &format!("selectors:\n  - name: s\n    definition: {definition}\n")).error()
    };
    says(&error("{method: tagg, value: x}"), &["unknown selector method `tagg`", "selectors.yml:3", "`tag`"]);
    says(&error("{union: []}"), &["there is nothing to combine here", "selectors.yml:3"]);
    says(&error("{method: tag}"), &["`value` is missing here"]);
    says(&error("{method: tag, value: x, parent: true}"), &["unknown key `parent`", "`parents`"]);
    says(&error("{method: tag, value: x, indirect_selection: some}"), &["unknown indirect selection `some`"]);
    let circle = owned().with("selectors.yml", "selectors: [{name: s, definition: 'selector:s'}]").load();
    let e = circle.selected(&Selection { selector: Some("s".to_owned()), ..of("") }).unwrap_err();
    says(&e.to_string(), &["the selector `s` is defined by itself"]);
}

/// The artifacts of a project in a folder, as a run leaves them.
fn state(files: &Files, results: &str) -> (tempfile::TempDir, State) {
    let folder = tempfile::tempdir().unwrap();
    let invocation = Invocation { id: String::new(), started_at: chrono::DateTime::UNIX_EPOCH };
    let manifest = files.load().manifest(&invocation, &BTreeMap::new());
    std::fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::write(folder.path().join("run_results.json"), results).unwrap();
    let state = State::read(folder.path()).unwrap();
    (folder, state)
}

fn compared(before: &Files, now: &Files, select: &str) -> String {
    let (_folder, state) = state(before, "{\"results\": [{\"unique_id\": \"model.shop.b\", \"status\": \"error\"}]}");
    selected(&now.load(), Selection { state: Some(state.into()), ..of(select) })
}

/// Three models, the second of a macro, the third with a schema from wherever it is built.
fn stages() -> Files {
    Files::new()
        .model("a", "select 1 as n, 'x  y' as t")
        .model("b", "select {{ twice('n') }} from {{ ref('a') }}")
        .model("c", "{{ config(schema=var('where', 'x')) }}select * from {{ ref('b') }}")
        .with("macros/m.sql", "{% macro twice(c) %}{{ c }} * 2{% endmacro %}")
        .with("models/p.yml", "models: [{name: c, columns: [{name: n, tests: [unique]}]}]\n")
}

#[test]
fn what_makes_no_difference_to_a_table_is_no_change() {
    let spaced = stages().model("a", "select  1 as n,\n  'x  y' as t\n").with(
        "models/p.yml",
        "models: [{name: c, description: new, tags: [t], columns: [{name: n, description: also, tests: [unique]}]}]\n",
    );
    assert_eq!(compared(&stages(), &spaced, "state:modified"), "");
    assert_eq!(compared(&stages(), &spaced, "state:unmodified"), "a b c unique_c_n");
    // The same project under other variables is the same project.
    let (_folder, state) = state(&stages(), "{}");
    let elsewhere = stages().load_with(serde_json::json!({"where": "elsewhere"})).unwrap();
    assert_eq!(selected(&elsewhere, Selection { state: Some(state.into()), ..of("state:modified") }), "");
}

#[test]
fn each_kind_of_change_is_told_apart() {
    let body = stages().model("a", "select 2 as n, 'x y' as t");
    assert_eq!(compared(&stages(), &body, "state:modified"), "a");
    assert_eq!(compared(&stages(), &body, "state:modified.body"), "a");
    assert_eq!(compared(&stages(), &body, "state:modified.configs"), "");
    assert_eq!(compared(&stages(), &body, "state:modified+"), "a b c unique_c_n");
    let called = stages().with("macros/m.sql", "{% macro twice(c) %}{{ c }} + {{ c }}{% endmacro %}");
    assert_eq!(compared(&stages(), &called, "state:modified"), "b");
    assert_eq!(compared(&stages(), &called, "state:modified.macros"), "b");
    let configured = stages().with("dbt_project.yml", "name: shop\nmodels: {shop: {b: {+materialized: table}}}\n");
    assert_eq!(compared(&stages(), &configured, "state:modified.configs"), "b");
    let placed = stages().with("dbt_project.yml", "name: shop\nmodels: {shop: {b: {+schema: y}}}\n");
    assert_eq!(compared(&stages(), &placed, "state:modified.relation"), "b");
    assert_eq!(compared(&stages(), &placed, "state:modified.configs"), "");
    let added = stages().model("d", "select 1");
    assert_eq!(compared(&stages(), &added, "state:new"), "d");
    assert_eq!(compared(&stages(), &added, "state:modified"), "d");
    assert_eq!(compared(&stages(), &added, "state:old,resource_type:model"), "a b c");
    let tested = stages().with(
        "models/p.yml",
        "models: [{name: c, columns: [{name: n, tests: [{unique: {config: {where: n > 1}}}]}]}]\n",
    );
    assert_eq!(compared(&stages(), &tested, "state:modified"), "unique_c_n");
}

#[test]
fn results_of_the_last_run_select() {
    assert_eq!(compared(&stages(), &stages(), "result:error+"), "b c unique_c_n");
    assert_eq!(compared(&stages(), &stages(), "result:success"), "");
    let (_folder, state) = state(&stages(), "{}");
    let selection = Selection { state: Some(state.into()), ..of("source_status:error") };
    let e = stages().load().selected(&selection).unwrap_err().to_string();
    says(&e, &["there is no sources.json"]);
}

#[test]
fn sources_select_by_how_fresh_they_were_and_whether_they_are_fresher_now() {
    let files = || {
        Files::new()
            .model("m", "select * from {{ source('raw', 'a') }}")
            .with("models/s.yml", "sources: [{name: raw, tables: [{name: a}, {name: b}, {name: c}]}]\n")
    };
    let freshness = |sources: &[(&str, &str, &str)]| {
        let result = |(name, status, at): &(&str, &str, &str)| serde_json::json!({"unique_id": format!("source.shop.raw.{name}"), "status": status, "max_loaded_at": at});
        serde_json::json!({"results": sources.iter().map(result).collect::<Vec<_>>()}).to_string()
    };
    let (folder, _) = state(&files(), "{}");
    std::fs::write(
        folder.path().join("sources.json"),
        freshness(&[("a", "error", "2026-01-01"), ("b", "pass", "2026-01-02")]),
    )
    .unwrap();
    let state = std::sync::Arc::new(State::read(folder.path()).unwrap());
    let select =
        |project: &Project, words: &str| selected(project, Selection { state: Some(state.clone()), ..of(words) });
    let project = files().load();
    assert_eq!(select(&project, "source_status:error+"), "m raw.a");
    let e = project.selected(&Selection { state: Some(state.clone()), ..of("source_status:fresher") }).unwrap_err();
    says(&e.to_string(), &["sources.json to compare with", "medallion source freshness"]);
    let now = freshness(&[("a", "pass", "2026-01-03"), ("b", "pass", "2026-01-02"), ("c", "pass", "2026-01-01")]);
    let target = tempfile::tempdir().unwrap();
    std::fs::write(target.path().join("sources.json"), now).unwrap();
    let project = Project { target_path: target.path().to_owned(), ..files().load() };
    assert_eq!(select(&project, "source_status:fresher"), "raw.a raw.c");
}

/// What the words select in a graph of numbered models, worked out step by step.
fn expected(parents: &BTreeMap<usize, BTreeSet<usize>>, terms: &[Vec<(usize, usize, usize)>]) -> BTreeSet<usize> {
    let up = |set: &BTreeSet<usize>| set.iter().flat_map(|n| parents[n].iter().copied()).collect::<BTreeSet<_>>();
    let down = |set: &BTreeSet<usize>| {
        parents.iter().filter(|(_, p)| !p.is_disjoint(set)).map(|(n, _)| *n).collect::<BTreeSet<_>>()
    };
    let one = |&(node, ups, downs): &(usize, usize, usize)| {
        let mut all = BTreeSet::from([node]);
        if ups == AT {
            (0..MODELS).for_each(|_| all.extend(down(&all)));
            (0..MODELS).for_each(|_| all.extend(up(&all)));
            return all;
        }
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
/// In the place of the steps up: the operator `@`.
const AT: usize = MODELS + 1;

fn spelled(terms: &[Vec<(usize, usize, usize)>]) -> Vec<String> {
    let term = |(node, up, down): &(usize, usize, usize)| {
        if *up == AT {
            return format!("@m{node}");
        }
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
    let up = prop_oneof![4 => depth.clone(), 1 => Just(AT)];
    let term = (0..MODELS, up, depth);
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
        let united = |words: &[Vec<(usize, usize, usize)>]| -> serde_json::Value {
            let words = spelled(words).into_iter().map(|word| {
                let criteria: Vec<_> = word.split(',').map(str::to_owned).collect();
                serde_json::json!({"intersection": criteria})
            });
            serde_json::json!({"union": words.collect::<Vec<_>>()})
        };
        let mut definition = united(&select);
        if !exclude.is_empty() {
            definition["union"].as_array_mut().unwrap().push(serde_json::json!({"exclude": [united(&exclude)]}));
        }
        // JSON is YAML.
        let selectors = serde_json::json!({"selectors": [{"name": "same", "definition": definition}]});
        files = files.with("selectors.yml", &selectors.to_string());
        for (node, parents) in &parents {
            let refs = parents.iter().map(|p| format!("{{{{ ref('m{p}') }}}}")).collect::<Vec<_>>().join(" ");
            files = files.model(&format!("m{node}"), &refs);
        }
        let project = files.load();
        let selected = project.select(&spelled(&select), &spelled(&exclude)).unwrap();
        let defined = Selection { selector: Some("same".to_owned()), ..Selection::default() };
        prop_assert_eq!(&project.selected(&defined).unwrap(), &selected);
        let excluded = expected(&parents, &exclude);
        let wanted: BTreeSet<String> =
            expected(&parents, &select).difference(&excluded).map(|n| format!("model.shop.m{n}")).collect();
        prop_assert_eq!(selected, wanted);
    }
}
