//! dbt's artifacts and the documentation, for people and for programs that know dbt's alone.

use serde_json::{Value, json};

use crate::world::http::get;
use crate::world::real::wait_until;
use crate::world::{World, project};

/// A seed, two tables, a view, an ephemeral model, tests, an exposure, a group and a model that is switched off.
fn shop() -> World {
    let models = "\
groups: [{name: sales, owner: {email: sales@shop}}]
models:
  - name: customers
    description: \"Who *buys*: {{ doc('buyer') }} </script>\"
    group: sales
    columns:
      - {name: customer, description: Their name, data_tests: [unique, not_null]}
  - {name: totals, columns: [{name: amount, data_tests: [{not_null: {config: {severity: warn}}}]}]}
exposures:
  - {name: board, type: dashboard, owner: {name: Ada}, depends_on: [ref('latest')]}
";
    project(&[
        ("seeds/payments.csv", "id,customer,amount\n1,ada,12\n2,grace,7\n3,ada,3\n"),
        ("models/docs.md", "{% docs buyer %}one who pays{% enddocs %}"),
        ("models/customers.sql", "select customer, sum(amount) as amount from {{ ref('payments') }} group by customer"),
        (
            "models/big.sql",
            "{{ config(materialized='ephemeral') }}select * from {{ ref('customers') }} where amount > 7",
        ),
        ("models/totals.sql", "select sum(amount) as amount, count(*) as n from {{ ref('big') }}"),
        ("models/latest.sql", "{{ config(materialized='view') }}select amount * 2 as twice from {{ ref('totals') }}"),
        ("models/off.sql", "{{ config(enabled=false) }}select * from {{ ref('nothing') }}"),
        ("models/models.yml", models),
        ("tests/nobody_owes.sql", "select * from {{ ref('customers') }} where amount < 0"),
    ])
}

fn artifact(world: &World, name: &str) -> Value {
    let text = std::fs::read_to_string(world.path(&format!("project/target/{name}"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_parser_that_knows_dbt_alone_reads_manifest_results_and_catalog() {
    let world = shop();
    world.ok(&["build"]);
    world.ok(&["docs", "generate"]);
    let read = world.python("artifacts.py", &[&world.path("project/target").display().to_string()], "");
    let lines: Vec<&str> = read.lines().collect();
    assert_eq!(lines, ["manifest 9 0 1 1", "run_results 9", "catalog 4 0"]);
}

#[test]
fn every_verb_that_reads_the_project_leaves_a_manifest_of_it() {
    let world = shop();
    for verb in ["parse", "ls", "compile"] {
        world.ok(&[verb]);
        let manifest = artifact(&world, "manifest.json");
        assert_eq!(manifest["metadata"]["project_name"], "tiny", "{verb}");
        assert_eq!(manifest["nodes"]["model.tiny.totals"]["compiled"], verb == "compile");
        world.ok(&["clean"]);
    }
    world.ok(&["build"]);
    let (manifest, results) = (artifact(&world, "manifest.json"), artifact(&world, "run_results.json"));
    assert_eq!(manifest["metadata"]["invocation_id"], results["metadata"]["invocation_id"]);
    let node = &manifest["nodes"]["model.tiny.customers"];
    assert!(node["compiled_code"].as_str().unwrap().contains("\"gold\".\"payments\""));
    assert_eq!(node["description"], "Who *buys*: one who pays </script>");
}

#[test]
fn the_catalogue_tells_the_types_and_sizes_that_readers_see() {
    let world = shop();
    world.ok(&["docs", "generate"]);
    assert_eq!(artifact(&world, "catalog.json")["nodes"], json!({}), "nothing is built yet");
    world.ok(&["build"]);
    world.ok(&["docs", "generate"]);
    let nodes = artifact(&world, "catalog.json")["nodes"].clone();
    let customers = &nodes["model.tiny.customers"];
    assert_eq!(customers["metadata"]["type"], "BASE TABLE");
    assert_eq!(customers["columns"]["customer"]["type"], "VARCHAR");
    assert_eq!(customers["columns"]["customer"]["comment"], "Their name");
    assert_eq!(customers["stats"]["num_rows"]["value"], 2);
    assert!(customers["stats"]["num_bytes"]["value"].as_u64().unwrap() > 100);
    assert_eq!(nodes["model.tiny.latest"]["metadata"]["type"], "VIEW");
    assert_eq!(nodes["model.tiny.latest"]["columns"]["twice"]["index"], 1);
}

#[test]
fn the_lineage_of_columns_leads_through_ephemeral_models_to_tables_and_views() {
    let world = shop();
    world.ok(&["build"]);
    world.ok(&["docs", "generate"]);
    let nodes = artifact(&world, "column_lineage.json")["nodes"].clone();
    let from = |node: &str, column: &str| nodes[format!("model.tiny.{node}")][column]["from"].clone();
    assert_eq!(from("customers", "amount"), json!([{"node": "seed.tiny.payments", "column": "amount"}]));
    assert_eq!(from("totals", "amount"), json!([{"node": "model.tiny.customers", "column": "amount"}]));
    assert_eq!(from("totals", "n"), json!([]));
    assert_eq!(from("latest", "twice"), json!([{"node": "model.tiny.totals", "column": "amount"}]));
}

#[test]
fn the_site_is_one_file_and_is_shown_on_this_machine_alone() {
    let world = shop();
    world.fails(&["docs", "serve"], 2, &["there is no site", "medallion docs generate"]);
    let said = world.ok(&["docs", "generate"]).out;
    let site = std::fs::read_to_string(said.trim()).unwrap();
    assert!(site.contains("model.tiny.customers") && site.contains("\\u003c/script>"), "a text stays a text");
    let out = world.path("address");
    let mut command = world.command(&["docs", "serve", "--port", "0"]);
    let mut serving = command.stdout(std::fs::File::create(&out).unwrap()).spawn().unwrap();
    let address = || std::fs::read_to_string(&out).unwrap().trim().to_owned();
    wait_until("the site is shown", || address().ends_with('/'));
    let host = address().trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert_eq!(get(&host, "/"), (200, site));
    assert_eq!(get(&host, "/../../dbt_project.yml").0, 404);
    assert!(get(&host, "/manifest.json").1.contains("\"dbt_schema_version\""));
    let other = std::process::Command::new("kill").args(["-TERM", &serving.id().to_string()]).status().unwrap();
    assert!(other.success() && serving.wait().unwrap().success());
}
