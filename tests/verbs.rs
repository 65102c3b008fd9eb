//! The verbs that dbt's users type, beside `build`.

mod freshness;

use crate::world::{World, project};

/// A seed, a model of it and a model of that, with a test each.
fn shop() -> World {
    let tested = |name: &str, column: &str| {
        format!("  - {{name: {name}, columns: [{{name: {column}, data_tests: [unique]}}]}}\n")
    };
    let seeds = format!("seeds:\n{}", tested("payments", "id"));
    let models = format!("models:\n{}{}", tested("customers", "customer"), tested("totals", "amount"));
    project(&[
        ("seeds/payments.csv", "id,customer,amount\n1,ada,12\n2,grace,7\n3,ada,3\n"),
        ("seeds/payments.yml", &seeds),
        ("models/customers.sql", "select customer, sum(amount) as amount from {{ ref('payments') }} group by 1"),
        ("models/totals.sql", "select sum(amount) as amount from {{ ref('customers') }}"),
        ("models/models.yml", &models),
    ])
}

fn statuses(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.path("project/target/run_results.json")).unwrap();
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    let of = |r: &serde_json::Value| format!("{} {}", r["unique_id"].as_str().unwrap(), r["status"].as_str().unwrap());
    let mut statuses: Vec<String> = artifact["results"].as_array().unwrap().iter().map(of).collect();
    statuses.sort();
    statuses
}

#[test]
fn seed_run_and_test_do_their_part_of_a_build_and_no_more() {
    let world = shop();
    world.fails(&["test"], 1, &["was never built"]);
    world.ok(&["seed"]);
    assert_eq!(statuses(&world), ["seed.tiny.payments success"]);
    world.ok(&["run"]);
    assert_eq!(statuses(&world), ["model.tiny.customers success", "model.tiny.totals success"]);
    assert_eq!(world.count("select amount from gold.totals"), 22);
    assert!(world.ok(&["test"]).out.contains("3 tests: 3 passed, 0 warnings, 0 failed"));
    assert_eq!(statuses(&world).len(), 3);
    assert!(world.ok(&["test", "--select", "customers"]).out.contains("1 tests: 1 passed"));
}

#[test]
fn only_a_build_makes_a_release() {
    let world = shop();
    let release = || world.ok(&["status"]).out.lines().filter(|l| l.starts_with("release")).collect::<String>();
    world.ok(&["build"]);
    let before = release();
    assert!(!before.is_empty());
    world.write("project/seeds/payments.csv", "id,customer,amount\n1,ada,12\n1,ada,5\n");
    world.fails(&["build"], 1, &["unique_payments_id"]);
    world.ok(&["run"]);
    world.ok(&["seed"]);
    world.fails(&["test"], 1, &["unique_payments_id"]);
    assert_eq!(release(), before, "what was not tested is in no release");
    assert_eq!(world.count("select count(*) from gold.payments"), 3);
    world.fails(&["build"], 1, &["unique_payments_id"]);
    assert_eq!(release(), before);
}

#[test]
fn test_tells_what_is_wrong_with_what_was_published_untested() {
    let world = shop();
    world.write("project/seeds/payments.csv", "id,customer,amount\n1,ada,12\n1,grace,7\n");
    world.ok(&["seed"]);
    world.fails(&["test", "--select", "payments"], 1, &["unique_payments_id", "1 failing rows"]);
}

#[test]
fn retry_builds_what_failed_and_what_was_skipped_for_it() {
    let world = shop();
    world.write("project/models/customers.sql", "select customer, nothing as amount from {{ ref('payments') }}");
    world.fails(&["build", "--vars", "{a: 1}"], 2, &["models/customers.sql", "nothing"]);
    world.write("project/models/customers.sql", "select customer, 1 as amount from {{ ref('payments') }} group by 1");
    world.ok(&["retry"]);
    let expected = [
        "model.tiny.customers success",
        "model.tiny.totals success",
        "test.tiny.unique_customers_customer pass",
        "test.tiny.unique_totals_amount pass",
    ];
    assert_eq!(statuses(&world), expected);
    assert!(world.ok(&["retry"]).out.contains("nothing to retry"));
    world.ok(&["clean"]);
    world.fails(&["retry"], 2, &["there is no last run", "run_results.json", "medallion build"]);
}

#[test]
fn a_node_whose_parent_nobody_built_is_an_error_that_says_how_to_build_both() {
    let world = shop();
    let hints = ["gold.customers is not in the lake", "--select +totals"];
    world.fails(&["build", "--full-refresh", "--select", "totals"], 2, &hints);
    world.ok(&["build", "--select", "+totals"]);
}

#[test]
fn ls_names_what_is_selected_in_each_form() {
    let world = shop();
    let said = |arguments: &[&str]| -> Vec<String> {
        world.ok(&[&["ls"], arguments].concat()).out.lines().map(str::to_owned).collect()
    };
    assert_eq!(said(&["--resource-type", "model", "seed"]), ["tiny.payments", "tiny.customers", "tiny.totals"]);
    assert_eq!(said(&["--select", "customers", "--output", "name"]), ["customers", "unique_customers_customer"]);
    assert_eq!(said(&["--select", "totals", "--resource-type", "model", "--output", "path"]), ["models/totals.sql"]);
    let json = said(&["--select", "totals", "--resource-type", "model", "--output", "json"]);
    let node: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(node["depends_on"]["nodes"], serde_json::json!(["model.tiny.customers"]));
    world.fails(&["ls", "--select", "custmers"], 2, &["custmers", "did you mean `customers`?"]);
}

#[test]
fn compile_writes_the_sql_and_show_runs_it_on_what_there_is() {
    let world = shop();
    let said = world.ok(&["compile", "--select", "totals"]).out;
    assert_eq!(said.trim(), "select sum(amount) as amount from \"gold\".\"customers\"");
    let written = world.path("project/target/compiled/tiny/models/totals.sql");
    assert_eq!(std::fs::read_to_string(written).unwrap().trim(), said.trim());
    let test = "project/target/compiled/tiny/models/models.yml/unique_customers_customer.sql";
    world.ok(&["compile"]);
    assert!(std::fs::read_to_string(world.path(test)).unwrap().contains("having count(*) > 1"));

    world.fails(&["show", "--select", "customers"], 2, &["gold.payments was never built", "medallion build"]);
    world.ok(&["seed"]);
    let shown = |limit: &str| {
        world.ok(&["show", "--select", "customers", "--format", "csv", "--limit", limit]).out.lines().count() - 1
    };
    assert_eq!((shown("1"), shown("5"), shown("-1")), (1, 2, 2));
}

#[test]
fn clean_deletes_what_runs_left_and_nothing_outside_of_the_project() {
    let world = shop();
    world.ok(&["compile"]);
    world.write("project/old/x", "x");
    let config = std::fs::read_to_string(world.path("project/dbt_project.yml")).unwrap();
    world.write("project/dbt_project.yml", &format!("{config}clean-targets: [target, old]\n"));
    world.ok(&["clean"]);
    assert!(!world.path("project/target").exists() && !world.path("project/old").exists());
    assert!(world.path("project/models").exists());
    for source in ["models", "seeds"] {
        world.write("project/dbt_project.yml", &format!("{config}clean-targets: [target, {source}]\n"));
        world.fails(&["clean"], 2, &["dbt_project.yml", source, "holds the project itself"]);
    }
    world.write("precious/x", "x");
    std::os::unix::fs::symlink(world.path("precious"), world.path("project/link")).unwrap();
    for outside in ["../precious", "/etc", ".", "link"] {
        world.write("project/dbt_project.yml", &format!("{config}clean-targets: ['{outside}']\n"));
        world.fails(&["clean"], 2, &["clean-targets", outside, "not a folder inside"]);
    }
    assert!(world.path("precious/x").exists());
}

#[test]
fn a_new_project_builds_as_it_is() {
    let world = World::new();
    world.ok(&["init", "shop"]);
    world.ok(&["build", "--project-dir", "shop"]);
    assert_eq!(world.count("select payments from main.customers where customer = 'ada'"), 2);
    world.fails(&["init", "shop"], 2, &["is there already"]);
    world.fails(&["init", "../up"], 2, &["cannot be the name"]);
    let said = world.ok(&["debug", "--project-dir", "shop"]).out;
    assert!(said.contains("project   shop") && said.contains("all is well"), "{said}");
    assert!(
        world
            .ok(&["parse", "--project-dir", "shop"])
            .out
            .contains("1 models, 1 seeds, 0 snapshots, 2 tests, 0 unit tests")
    );
    assert!(world.ok(&["deps", "--project-dir", "shop"]).out.contains("no packages"));
}

#[test]
fn what_changed_since_a_kept_run_is_built_and_what_failed_in_it() {
    let world = shop();
    world.ok(&["build"]);
    std::fs::rename(world.path("project/target"), world.path("before")).unwrap();
    let state = world.path("before").display().to_string();
    let modified = ["ls", "--select", "state:modified", "--state", &state];
    assert_eq!(world.ok(&modified).out, "");
    world.write("project/models/totals.sql", "select sum(amount) + 0 as amount from {{ ref('customers') }}");
    assert!(world.ok(&modified).out.starts_with("tiny.totals\n"));
    world.ok(&["build", "--select", "state:modified", "--state", &state]);
    assert_eq!(statuses(&world), ["model.tiny.totals success", "test.tiny.unique_totals_amount pass"]);
    world.fails(&["ls", "--select", "state:modified"], 2, &["compares with an earlier run", "--state"]);
    // The folder that is compared with may be the one that this run writes to.
    world.write("project/models/totals.sql", "select nothing as amount from {{ ref('customers') }}");
    world.fails(&["build"], 2, &["nothing"]);
    let target = world.path("project/target").display().to_string();
    let failed = ["ls", "--select", "result:error", "--state", &target, "--output", "name", "--resource-type", "model"];
    assert_eq!(world.ok(&failed).out, "totals\n");
    world.fails(&["ls", "--select", "state:new", "--state", "nowhere"], 2, &["there is no manifest.json in nowhere"]);
}

#[test]
fn ls_tells_the_keys_that_are_asked_for() {
    let world = shop();
    let said = world.ok(&[
        "ls",
        "-s",
        "totals",
        "--resource-type",
        "model",
        "--output",
        "json",
        "--output-keys",
        "name config.materialized",
    ]);
    assert_eq!(said.out, "{\"name\":\"totals\",\"config.materialized\":\"table\"}\n");
    world.fails(&["ls", "--resource-type", "modle"], 2, &["unknown resource type `modle`", "`model`"]);
}

#[test]
fn a_selector_of_the_project_is_named_on_the_command_line() {
    let world = shop();
    let selectors =
        "selectors: [{name: money, definition: {union: ['+totals', {exclude: [{method: fqn, value: customers}]}]}}]";
    world.write("project/selectors.yml", selectors);
    let said = world.ok(&["ls", "--selector", "money", "--resource-type", "model", "seed"]).out;
    assert_eq!(said, "tiny.payments\ntiny.totals\n");
    world.fails(&["build", "--selector", "mony"], 2, &["unknown selector `mony`", "`money`"]);
    world.ok(&["build", "--selector", "money", "--indirect-selection", "empty", "--resource-type", "seed"]);
    assert_eq!(statuses(&world), ["seed.tiny.payments success"]);
}

#[test]
fn warnings_are_errors_where_they_are_asked_to_be() {
    let world = shop();
    world.write("project/models/more.yml", "models: [{name: gone}]\n");
    world.ok(&["parse"]);
    world.fails(&["parse", "--warn-error"], 2, &["models/more.yml:1", "there is no model `gone`", "--warn-error"]);
    std::fs::remove_file(world.path("project/models/more.yml")).unwrap();
    let warns = "{{ config(severity='warn') }}select * from {{ ref('totals') }}";
    world.write("project/tests/warns.sql", warns);
    world.ok(&["build"]);
    world.fails(&["test", "--warn-error"], 1, &["a test warned", "--warn-error"]);
}

#[test]
fn what_is_not_built_in_a_target_is_read_where_another_one_has_it() {
    let world = shop();
    let profiles = "tiny:\n  target: prod\n  outputs:\n    prod: {type: medallion, schema: prod}\n    dev: {type: medallion, schema: dev}\n";
    world.write("project/profiles.yml", profiles);
    let names = "{% macro generate_schema_name(custom, node) %}{{ target.schema }}{% endmacro %}";
    world.write("project/macros/names.sql", names);
    world.ok(&["build"]);
    std::fs::rename(world.path("project/target"), world.path("before")).unwrap();
    let state = world.path("before").display().to_string();

    world.write("project/models/totals.sql", "select sum(amount) * 10 as amount from {{ ref('customers') }}");
    let develop = ["build", "--target", "dev", "--select", "totals"];
    world.fails(&develop, 2, &["dev.customers is not in the lake", "--select +totals"]);
    let deferred = [&develop[..], &["--state", &state, "--defer"]].concat();
    world.ok(&deferred);
    assert_eq!(world.count("select amount from dev.totals"), 220);
    assert_eq!(world.count("select amount from prod.totals"), 22);
    // What is built here is read here, unless the earlier run is favoured.
    world.ok(&["seed", "--target", "dev"]);
    world.write("project/models/customers.sql", "select customer, 1 as amount from {{ ref('payments') }} group by 1");
    world.ok(&["run", "--target", "dev", "--select", "customers"]);
    world.ok(&deferred);
    assert_eq!(world.count("select amount from dev.totals"), 20);
    world.ok(&[&deferred[..], &["--favor-state"]].concat());
    assert_eq!(world.count("select amount from dev.totals"), 220);
    world.fails(&["build", "--defer"], 2, &["--state"]);
}
