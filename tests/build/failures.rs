//! What of a failed test is counted, and what is kept of it.

use crate::world::{World, project};

const PAYMENTS: &str = "id,customer\n1,ada\n2,\n3,\n4,\n";

/// A seed with a test of its customers, with this configuration.
fn shop(seed: &str, config: &str) -> World {
    let tests = format!(
        "seeds:\n  - name: payments\n    columns:\n      - name: customer\n        data_tests: [{{not_null: {{name: known, config: {config}}}}}]\n"
    );
    project(&[("seeds/payments.csv", seed), ("seeds/payments.yml", &tests)])
}

#[test]
fn a_limit_is_of_failing_rows() {
    let world = shop(PAYMENTS, "{limit: 2}");
    world.fails(&["build"], 1, &["2 failing rows"]);
    let world = shop(PAYMENTS, "{limit: 2, error_if: '> 2'}");
    world.ok(&["build"]);
    let world = shop(PAYMENTS, "{error_if: '> 2'}");
    world.fails(&["build"], 1, &["3 failing rows"]);
}

#[test]
fn a_test_keeps_its_failing_rows_where_it_is_asked_to() {
    let kept = "select id from main_dbt_test__audit.known order by id";
    for config in ["{store_failures: true}", "{store_failures_as: table, store_failures: false}"] {
        let world = shop(PAYMENTS, config);
        world.fails(&["build"], 1, &["3 failing rows, kept in main_dbt_test__audit.known"]);
        assert_eq!(world.sql(kept), [["2"], ["3"], ["4"]]);
        assert!(
            !world.path("lake/gold/payments/_delta_log").exists(),
            "the rows are kept, their table is not published"
        );
        world.write("project/seeds/payments.csv", "id,customer\n1,ada\n5,\n");
        world.fails(&["build"], 1, &["1 failing rows"]);
        assert_eq!(world.sql(kept), [["5"]]);
        world.write("project/seeds/payments.csv", "id,customer\n1,ada\n");
        world.ok(&["build"]);
        assert_eq!(world.count("select count(*) from main_dbt_test__audit.known"), 0);
        let log = world.path("lake/main_dbt_test__audit/known/_delta_log");
        let versions = || std::fs::read_dir(&log).unwrap().count();
        let before = versions();
        world.ok(&["test"]);
        assert_eq!(versions(), before, "what passes and has passed commits nothing");
    }
    for config in ["{store_failures: true, limit: 1}", "{store_failures: true, store_failures_as: ephemeral}"] {
        let world = shop(PAYMENTS, config);
        world.fails(&["build"], 1, &["failing rows"]);
        let folder = world.path("lake/main_dbt_test__audit");
        match config.contains("limit") {
            true => assert_eq!(world.sql(kept).len(), 1),
            false => assert!(!folder.exists()),
        }
    }
}
