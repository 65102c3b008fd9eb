use super::{Files, compiled, model, says};
use crate::models::{Project, Severity};

fn with_test(yaml: &str) -> Files {
    let yaml = format!("models:\n  - name: m\n    columns:\n      - name: x\n        tests:\n{yaml}");
    model("select 1 as x").model("n", "select 1 as y").with("models/p.yml", &yaml)
}

/// The SQL of a test on one line.
fn sql(project: &Project, name: &str) -> String {
    compiled(project, &format!("test.shop.{name}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_built_in_tests_select_the_failing_rows() {
    let project = with_test("          - unique\n          - not_null\n").load();
    assert_eq!(
        sql(&project, "unique_m_x"),
        "select x as unique_field, count(*) as n_records from \"main\".\"m\" where x is not null group by x having count(*) > 1"
    );
    assert_eq!(sql(&project, "not_null_m_x"), "select * from \"main\".\"m\" where x is null");
}

#[test]
fn accepted_values_are_quoted_unless_told_otherwise() {
    let yaml = "          - accepted_values: {values: [a, it's]}\n          - accepted_values: {arguments: {values: [1, 2], quote: false}}\n";
    let project = with_test(yaml).load();
    says(&sql(&project, "accepted_values_m_x__a__it_s"), &["where x not in ( 'a', 'it''s' )"]);
    says(&sql(&project, "accepted_values_m_x__False__1__2"), &["where x not in ( 1, 2 )"]);
}

#[test]
fn relationships_depend_on_both_sides() {
    let project = with_test("          - relationships: {to: ref('n'), field: y}\n").load();
    let id = "test.shop.relationships_m_x__y__ref_n_";
    assert_eq!(project.nodes[id].depends_on, ["model.shop.m", "model.shop.n"]);
    assert_eq!(project.nodes[id].test.as_ref().unwrap().attached_node.as_deref(), Some("model.shop.m"));
    says(&compiled(&project, id), &["from \"main\".\"m\"", "from \"main\".\"n\"", "where parent.to_field is null"]);
}

#[test]
fn a_test_carries_its_settings() {
    let yaml = "          - not_null:\n              name: mine\n              severity: warn\n              where: \"x > {{ var('least', 3) }}\"\n              config: {warn_if: '> 5', limit: 9, tags: [t], meta: {a: 1}}\n";
    let project = with_test(yaml).load();
    let node = &project.nodes["test.shop.mine"];
    let config = &node.test.as_ref().unwrap().config;
    assert_eq!((config.severity, config.limit, node.line), (Severity::Warn, Some(9), 6));
    assert_eq!(
        (config.warn_if.as_str(), config.error_if.as_str(), config.fail_calc.as_str()),
        ("> 5", "!= 0", "count(*)")
    );
    assert_eq!(
        sql(&project, "mine"),
        "select * from (select * from \"main\".\"m\" where x > 3) dbt_subquery where x is null"
    );
}

#[test]
fn a_test_block_of_the_project_is_a_test_and_may_replace_a_built_in_one() {
    let own = "{% test positive(model, column_name, least=0) %}select * from {{ model }} where {{ column_name }} <= {{ least }}{% endtest %}";
    let files = with_test("          - positive: {least: 5}\n          - unique\n")
        .with("tests/generic/positive.sql", own)
        .with("macros/u.sql", "{% test unique(model, column_name) %}mine{% endtest %}");
    let project = files.load();
    assert_eq!(sql(&project, "positive_m_x__5"), "select * from \"main\".\"m\" where x <= 5");
    assert_eq!(sql(&project, "unique_m_x"), "mine");
    assert_eq!(project.nodes["test.shop.positive_m_x__5"].macros, ["macro.shop.test_positive"]);
}

#[test]
fn an_error_in_a_test_block_is_placed_in_its_own_line_and_names_the_entry() {
    let own = "-- a comment\n{% test broken(model, column_name) %}\n  {{ colum_name }}\n{% endtest %}";
    let e = with_test("          - broken\n").with("tests/generic/b.sql", own).error();
    says(&e, &["`colum_name` is not defined", "tests/generic/b.sql:3:6", "models/p.yml:6: the test `broken_m_x`"]);
}

#[test]
fn an_unknown_test_is_placed_and_the_nearest_named() {
    says(
        &with_test("          - uniqe\n").error(),
        &["unknown test `uniqe`", "models/p.yml:6:13", "did you mean `unique`?"],
    );
    says(
        &with_test("          - dbt_utils.not_empty\n").error(),
        &[
            "unknown test `dbt_utils.not_empty`",
            "models/p.yml:6:13",
            "it is looked for in dbt_packages/dbt_utils/macros",
        ],
    );
    says(
        &with_test("          - unique: {config: {store_failures_as: view}}\n").error(),
        &["`store_failures_as: view` is not supported yet", "use table"],
    );
}

#[test]
fn an_unknown_ref_in_a_test_is_placed_at_the_test() {
    let e = with_test("          - unique\n          - relationships: {to: ref('nn'), field: y}\n").error();
    says(&e, &["unknown model or seed `nn`", "models/p.yml:7:", "did you mean `n`?"]);
}

#[test]
fn one_test_with_different_settings_is_several_tests_and_with_the_same_an_error() {
    let project =
        with_test("          - unique\n          - unique: {where: x > 1}\n          - unique: {where: x > 2}\n")
            .load();
    let names: Vec<_> = project.nodes.keys().filter(|id| id.starts_with("test.")).collect();
    assert_eq!(names.len(), 3);
    assert!(names[1].starts_with("test.shop.unique_m_x."), "{names:?}");
    says(
        &with_test("          - unique\n          - unique: {where: x}\n          - unique: {where: x}\n").error(),
        &["stands here twice", "models/p.yml:8:", "models/p.yml:7"],
    );
}

#[test]
fn a_long_name_is_cut_and_stays_unique() {
    let yaml = "          - accepted_values: {values: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbb]}\n          - accepted_values: {values: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, cccccccccccccccccc]}\n";
    let project = with_test(yaml).load();
    let names: Vec<_> = project.nodes.values().filter(|n| n.test.is_some()).map(|n| n.name.len()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|n| *n <= 63), "{names:?}");
}

#[test]
fn a_singular_test_is_a_query_with_its_own_configuration() {
    let files = model("")
        .with("tests/none_lost.sql", "{{ config(severity='warn') }}select * from {{ ref('m') }}")
        .with("tests/t.yml", "data_tests:\n  - name: none_lost\n    description: Nothing is lost.\n");
    let project = files.load();
    let node = &project.nodes["test.shop.none_lost"];
    assert_eq!(
        (node.depends_on.as_slice(), node.description.as_str()),
        (["model.shop.m".to_owned()].as_slice(), "Nothing is lost.")
    );
    let test = node.test.as_ref().unwrap();
    assert_eq!(
        (test.config.severity, test.attached_node.as_ref(), test.generic.is_none()),
        (Severity::Warn, None, true)
    );
}

#[test]
fn sources_and_quoted_columns_can_be_tested() {
    let yaml = "sources:\n  - name: raw\n    tables:\n      - name: t\n        columns:\n          - name: record_ID\n            quote: true\n            data_tests: [not_null]\n";
    let project = Files::new().with("models/s.yml", yaml).load();
    assert_eq!(
        sql(&project, "source_not_null_raw_t_record_ID"),
        "select * from \"raw\".\"t\" where \"record_ID\" is null"
    );
}

#[test]
fn the_project_configures_tests_by_folder() {
    let files = with_test("          - unique\n")
        .with("dbt_project.yml", "name: shop\ndata_tests:\n  shop:\n    +severity: warn\n");
    let project = files.load();
    assert_eq!(project.nodes["test.shop.unique_m_x"].test.as_ref().unwrap().config.severity, Severity::Warn);
}
