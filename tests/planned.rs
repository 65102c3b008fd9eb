//! A build says what it would do before it does it, and proves afterwards that it was enough.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::world::{World, project};

const CHANGES: &str = "{{ config(materialized='incremental', incremental_strategy='changes', unique_key='id', \
                       recompute_by='id') }}\nselect id, n from {{ ref('rows') }}";
const APPEND: &str = "{{ config(materialized='incremental', incremental_strategy='append') }}\n\
                      select id, n from {{ ref('rows') }}";

fn world() -> World {
    let world = project(&[
        ("models/kept.sql", CHANGES),
        ("models/seen.sql", "{{ config(materialized='view') }} select * from {{ ref('kept') }}"),
        ("models/total.sql", "select sum(n) as n from {{ ref('seen') }}"),
    ]);
    world.write("project/seeds/rows.csv", "id,n\na,1\nb,2\n");
    world
}

fn planned(world: &World) -> BTreeMap<String, Value> {
    let told = world.ok(&["build", "-q", "--plan", "--output", "json"]).out;
    let nodes: Vec<Value> = serde_json::from_str(&told).unwrap();
    nodes.into_iter().map(|node| (node["relation"].as_str().unwrap().replace("gold.", ""), node)).collect()
}

fn actions(world: &World) -> Vec<String> {
    planned(world).iter().map(|(name, node)| format!("{name} {}", node["action"].as_str().unwrap())).collect()
}

#[test]
fn a_plan_tells_what_would_be_built_and_why_and_builds_nothing() {
    let world = world();
    assert_eq!(actions(&world), ["kept full", "rows full", "seen view", "total full"]);
    assert!(!world.path("lake/gold").exists(), "nothing is written");
    let text = world.ok(&["build", "-q", "--plan"]).out;
    assert!(text.contains("it was never built"), "{text}");
    world.ok(&["build", "-q"]);
    assert_eq!(actions(&world), ["kept fresh", "rows fresh", "seen view", "total fresh"]);
    world.write("project/seeds/rows.csv", "id,n\na,1\nb,3\n");
    assert_eq!(actions(&world), ["kept increment", "rows full", "seen view", "total full"]);
    world.ok(&["build", "-q", "--select", "rows"]);
    let plan = planned(&world);
    let kept = &plan["kept"];
    assert_eq!((kept["action"].as_str(), kept["reads"]["files"].as_u64()), (Some("increment"), Some(2)), "{kept}");
    assert!(kept["reason"].as_str().unwrap().contains("gold.rows changed"), "{kept}");
    assert_eq!((kept["replaces"]["files"].as_u64(), kept["replaces"]["rows"].as_u64()), (Some(1), Some(2)), "{kept}");
    assert!(kept["reads"]["bytes"].as_u64().unwrap() > 0, "{kept}");
    assert!(plan["total"]["reason"].as_str().unwrap().contains("is built before it"), "{plan:?}");
}

#[test]
fn increments_are_proved_against_a_full_build_of_which_nothing_is_published() {
    let world = world();
    world.ok(&["build", "-q"]);
    world.write("project/seeds/rows.csv", "id,n\na,7\nc,3\n");
    let proved = world.ok(&["build", "-q", "--prove-incremental"]);
    assert!(proved.out.contains("proved: gold.kept is what a full build gives"), "{}", proved.out);

    world.write("project/models/piled.sql", APPEND);
    world.ok(&["build", "-q"]);
    world.write("project/seeds/rows.csv", "id,n\na,8\nc,3\n");
    let wrong = world.fails(&["build", "-q", "--prove-incremental"], 1, &["piled"]);
    assert!(wrong.out.contains("not proved: gold.piled"), "{}", wrong.out);
    assert!(wrong.out.contains("0 rows are missing, 2 are too many"), "{}", wrong.out);
    assert!(wrong.out.contains("the table alone"), "{}", wrong.out);
    assert_eq!(world.sql("select count(*) from gold.piled"), [["4"]], "the table is as the build left it");
    let files = |table: &str| {
        let entries = std::fs::read_dir(world.path(&format!("lake/gold/{table}"))).unwrap();
        entries.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "parquet")).count()
    };
    assert_eq!(files("piled"), 2, "what the proof wrote is gone");
}
