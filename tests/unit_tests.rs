//! Unit tests: a model on rows that are made up for it.

use crate::world::{World, project};

const MODEL: &str = "select customer, sum(amount) as amount, max(paid_on) as last from {{ ref('payments') }}\n\
                     where amount > {{ var('least', 0) }} group by customer";
const SEED: &str = "id,customer,amount,paid_on\n1,ada,12,2024-01-01\n2,grace,7,2024-01-02\n";

/// A seed `payments`, a model `totals` of it, and these unit tests.
fn shop(tests: &str) -> World {
    project(&[("seeds/payments.csv", SEED), ("models/totals.sql", MODEL), ("models/tests.yml", tests)])
}

fn of_totals(rest: &str) -> String {
    format!("unit_tests:\n  - name: sums\n    model: totals\n{rest}")
}

const GIVEN: &str = "    given:\n      - input: ref('payments')\n        rows:\n          - {customer: ada, amount: 3}\n          \
                     - {customer: ada, amount: 4, paid_on: 2024-05-01}\n          - {customer: NOBODY, amount: -1}\n";

#[test]
fn a_model_is_built_once_its_unit_tests_pass_and_they_run_again_when_its_code_changes() {
    let world = shop(&of_totals(&format!(
        "{GIVEN}    expect:\n      rows: [{{customer: ada, amount: 7, last: 2024-05-01}}]\n"
    )));
    assert!(world.ok(&["build"]).out.contains("2 built, 0 up to date, 1 tests"));
    assert!(world.ok(&["build"]).out.contains("nothing changed"));
    assert!(world.ok(&["test"]).out.contains("1 tests: 1 passed"));
    let before = world.sql("select * from gold.totals order by 1");
    world.write("project/models/totals.sql", &MODEL.replace("sum(amount)", "min(amount)"));
    let said = world.fails(&["build"], 1, &["FAIL  sums", "skip  gold.totals", "a unit test of it failed"]).err;
    for line in ["|   | customer | amount | last       |", "| ~ | ada      | 7 -> 3 | 2024-05-01 |"] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(world.sql("select * from gold.totals order by 1"), before);
    world.fails(&["test", "--select", "test_type:unit"], 1, &["sums"]);
    assert!(world.ok(&["run"]).out.contains("1 built"), "run tests nothing");
    let listed = |select: &str| world.ok(&["ls", "--select", select, "--output", "name"]).out;
    for select in ["test_type:unit", "resource_type:unit_test", "unit_test:su*"] {
        assert_eq!(listed(select), "sums\n");
    }
}

#[test]
fn unit_tests_need_no_table() {
    let world = shop(&of_totals(&format!(
        "{GIVEN}    expect:\n      rows: [{{customer: ada, amount: 8}}, {{customer: eve, amount: 1}}]\n"
    )));
    let said = world.fails(&["test"], 1, &["sums"]).err;
    assert!(said.contains("| ~ | ada      | 8 -> 7 |") && said.contains("| - | eve      | 1      |"), "{said}");
    assert!(!world.path("lake/gold").exists());
}

#[test]
fn rows_are_maps_csv_or_sql_and_may_stand_in_files_of_their_own() {
    let given = |rows: &str| format!("    given: [{{input: ref('payments'), {rows}}}]\n");
    let csv = "customer,amount\nada,3\nada,4\n";
    for (given, expect) in [
        (
            given("format: csv, rows: \"customer,amount\\nada,3\\nada,4\\n\""),
            "format: csv, rows: \"customer,amount\\nada,7\"",
        ),
        (given("format: csv, fixture: some"), "format: sql, rows: \"select 7 as amount, 'ada' as customer\""),
        (given("format: sql, rows: \"select 'ada' as customer, 7 as amount\""), "format: csv, fixture: sums"),
        (given("rows: []"), "rows: []"),
    ] {
        let world = shop(&of_totals(&format!("{given}    expect: {{{expect}}}\n")));
        world.write("project/tests/fixtures/some.csv", csv);
        world.write("project/tests/fixtures/sums.csv", "amount\n7\n");
        assert!(world.ok(&["test"]).out.contains("1 passed"), "{given}{expect}");
    }
    let world = shop(&of_totals(&format!("{}    expect: {{rows: []}}\n", given("format: csv, fixture: sume"))));
    world.write("project/tests/fixtures/some.csv", csv);
    world.fails(&["test"], 2, &["models/tests.yml:4", "unknown fixture `sume`", "did you mean `some`?"]);
}

#[test]
fn macros_variables_and_the_environment_are_overridden_for_one_test() {
    let model = "select {{ var('least') }} as least, '{{ env_var('PLACE') }}' as place, {{ rate() }} as rate, \
                 {{ is_incremental() }} as more from {{ ref('payments') }}";
    let world = shop("");
    world.write("project/macros/rate.sql", "{% macro rate() %}1{% endmacro %}");
    world.write("project/models/totals.sql", model);
    let overrides =
        "    overrides: {vars: {least: 5}, env_vars: {PLACE: here}, macros: {rate: 3, is_incremental: true}}\n";
    let tests = of_totals(&format!(
        "{overrides}    given: [{{input: ref('payments'), rows: [{{id: 1}}]}}]\n    expect: {{rows: [{{least: 5, place: here, rate: 3, more: true}}]}}\n"
    ));
    world.write("project/models/tests.yml", &tests);
    let world = world.with("PLACE", "there");
    let said = world.run(&["test", "--vars", "{least: 1}"]);
    assert_eq!(said.code, 0, "{}", said.err);
}

/// A table of what was paid, to which new payments are added.
fn paid(config: &str, tests: &str) -> World {
    let model = format!(
        "{{{{ config(materialized='incremental', {config}) }}}}\nselect id, amount from {{{{ ref('payments') }}}}"
    );
    let world = shop(tests);
    world.write("project/models/totals.sql", &model);
    world
}

#[test]
fn the_table_after_the_rows_are_in_it_is_tested_by_the_strategy_that_builds_it() {
    let test = |after: &str| {
        of_totals(&format!(
            "    given:\n      - {{input: this, rows: [{{id: 1, amount: 10}}, {{id: 2, amount: 20}}]}}\n      \
             - {{input: ref('payments'), rows: [{{id: 2, amount: 21}}, {{id: 3, amount: 30}}]}}\n    expect_after:\n      rows: {after}\n"
        ))
    };
    let merged = "[{id: 1, amount: 10}, {id: 2, amount: 21}, {id: 3, amount: 30}]";
    let added = "[{id: 1, amount: 10}, {id: 2, amount: 20}, {id: 2, amount: 21}, {id: 3, amount: 30}]";
    for (config, after) in [
        ("unique_key='id'", merged),
        ("unique_key='id', incremental_strategy='delete+insert'", merged),
        ("incremental_strategy='changes', recompute_by='id', unique_key='id'", merged),
        ("incremental_strategy='append'", added),
    ] {
        let world = paid(config, &test(after));
        assert!(world.ok(&["test"]).out.contains("1 passed"), "{config}");
    }
    let world = paid("incremental_strategy='append'", &test(merged));
    world.fails(&["build"], 1, &["what its table has then (+) differ", "| + | 2  | 20     |", "skip  gold.totals"]);
}

#[test]
fn a_unit_test_that_cannot_be_right_is_refused_at_its_place() {
    let expect = "    expect: {rows: []}\n";
    for (rest, words) in [
        (format!("    given: []\n{expect}"), ["models/tests.yml:2", "gives no rows for payments"]),
        (
            format!("    given: [{{input: ref('paymets'), rows: []}}]\n{expect}"),
            ["models/tests.yml:4", "did you mean `payments`?"],
        ),
        (format!("    given: [{{input: payments, rows: []}}]\n{expect}"), ["models/tests.yml:4", "payments"]),
        (GIVEN.to_owned(), ["models/tests.yml:2", "`expect` is missing"]),
        (format!("{GIVEN}    expect: {{rows: [{{custmer: ada}}]}}\n"), ["custmer", "did you mean `customer`?"]),
        (
            format!("{}{expect}", GIVEN.replace("amount: 3", "amount: much")),
            ["given for gold.payments: `amount` is Int64", "much"],
        ),
        (format!("{GIVEN}    expect: {{format: cvs, rows: []}}\n"), ["models/tests.yml", "did you mean `csv`?"]),
    ] {
        let world = shop(&of_totals(&rest));
        world.fails(&["test"], 2, &words);
    }
    let world = shop(&of_totals(&format!("{GIVEN}{expect}")).replace("model: totals", "model: total"));
    world.fails(&["parse"], 2, &["models/tests.yml:2", "did you mean `totals`?"]);
}

#[test]
fn the_project_configures_snapshots_and_unit_tests_by_folder() {
    let world = shop(&of_totals(&format!("{GIVEN}    expect: {{rows: []}}\n")));
    let history =
        "{% snapshot history %}{{ config(unique_key='id') }} select * from {{ ref('payments') }}{% endsnapshot %}";
    world.write("project/snapshots/payments.sql", history);
    let file = std::fs::read_to_string(world.path("project/dbt_project.yml")).unwrap();
    let more = "snapshots: {tiny: {+strategy: check, +check_cols: all}}\nunit_tests: {tiny: {+enabled: false}}\n";
    world.write("project/dbt_project.yml", &format!("{file}{more}"));
    assert!(world.ok(&["build"]).out.contains("3 built, 0 up to date, 0 tests"));
    assert_eq!(world.count("select count(*) from gold.history where dbt_valid_to is null"), 2);
}
