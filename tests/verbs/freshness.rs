//! `medallion source freshness`: whether sources still get their rows, and who is told.

use serde_json::Value;

use crate::world::{World, project};

/// A table `gold.payments` of a seed, which the project also has as a source with these properties.
fn shop(seed: &str, properties: &str) -> World {
    let world = project(&[("seeds/payments.csv", seed)]);
    world.ok(&["seed"]);
    let sources =
        format!("sources:\n  - name: shop\n    schema: gold\n    tables: [{{name: payments, {properties}}}]\n");
    world.write("project/models/sources.yml", &sources);
    world
}

const OLD: &str = "id,paid_on\n1,2024-01-01T10:00:00Z\n2,2024-03-01T10:00:00Z\n3,\n";
const LIMITS: &str = "freshness: {warn_after: {count: 1, period: day}";

fn results(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path("project/target/sources.json")).unwrap();
    let artifact: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(artifact["metadata"]["dbt_schema_version"], "https://schemas.getdbt.com/dbt/sources/v3.json");
    artifact["results"].as_array().unwrap().clone()
}

#[test]
fn an_old_source_is_a_warning_or_a_failure_as_its_limits_say() {
    let with_error = format!("{LIMITS}, error_after: {{count: 48, period: hour}}}}, loaded_at_field: paid_on");
    let world = shop(OLD, &with_error);
    let ended = world.fails(&["source", "freshness"], 1, &["not fresh: gold.payments"]);
    assert!(ended.out.starts_with("error  gold.payments"), "{}", ended.out);
    let result = &results(&world)[0];
    assert_eq!(result["unique_id"], "source.tiny.shop.payments");
    assert_eq!(result["status"], "error");
    assert_eq!(result["max_loaded_at"], "2024-03-01T10:00:00.000000Z");
    assert!(result["max_loaded_at_time_ago_in_s"].as_f64().unwrap() > 86_400.0);
    assert_eq!(result["criteria"]["error_after"], serde_json::json!({"count": 48, "period": "hour"}));

    let world = shop(OLD, &format!("{LIMITS}}}, loaded_at_field: paid_on"));
    assert!(world.ok(&["source", "freshness"]).out.starts_with(" warn  gold.payments"));
    assert_eq!(results(&world)[0]["status"], "warn");
    let elsewhere = world.path("told/s.json").display().to_string();
    world.ok(&["source", "freshness", "--select", "source:shop", "--output", &elsewhere]);
    assert!(world.path("told/s.json").is_file());
    assert!(world.ok(&["source", "freshness", "--exclude", "source:shop"]).out.contains("no source has a freshness"));
    assert!(results(&world).is_empty());
}

#[test]
fn a_filter_a_field_that_is_an_expression_and_a_query_say_which_row_is_the_newest() {
    let newest = |properties: &str| {
        let world = shop(OLD, properties);
        world.ok(&["source", "freshness"]);
        results(&world)[0]["max_loaded_at"].as_str().unwrap().to_owned()
    };
    let filtered = "freshness: {warn_after: {count: 1, period: minute}, filter: 'id = 1 -- the first'}";
    assert_eq!(newest(&format!("{filtered}, loaded_at_field: paid_on")), "2024-01-01T10:00:00.000000Z");
    let expression = "loaded_at_field: \"cast(paid_on as timestamp) + interval '1 hour'\"";
    assert_eq!(newest(&format!("{LIMITS}}}, {expression}")), "2024-03-01T11:00:00.000000Z");
    let query = "loaded_at_query: \"select min(paid_on) from gold.payments;\"";
    assert_eq!(newest(&format!("{LIMITS}}}, {query}")), "2024-01-01T10:00:00.000000Z");
    assert_eq!(newest(&format!("{LIMITS}}}, loaded_at_field: cast(null as timestamp)")), "0001-01-01T00:00:00Z");
}

#[test]
fn without_a_field_the_last_commit_that_changed_rows_tells() {
    let world = shop(OLD, "freshness: {error_after: {count: 1, period: hour}}");
    assert!(world.ok(&["source", "freshness"]).out.starts_with(" pass  gold.payments"));
    let log = world.path("lake/gold/payments/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter_mut().filter_map(|l| l.get_mut("commitInfo")).for_each(|info| info["timestamp"] = 1_000.into());
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(&log, lines.join("\n")).unwrap();
    // A commit after it, by which no row came.
    let idle = r#"{"commitInfo":{"timestamp":4000000000000,"operation":"OPTIMIZE"}}"#;
    std::fs::write(log.with_file_name("00000000000000000001.json"), idle).unwrap();
    world.fails(&["source", "freshness"], 1, &["not fresh: gold.payments"]);
    assert_eq!(results(&world)[0]["max_loaded_at"], "1970-01-01T00:00:01.000000Z");
}

#[test]
fn a_source_that_cannot_be_looked_at_is_told_beside_those_that_can() {
    let world = shop(OLD, &format!("{LIMITS}}}, loaded_at_field: paid_at"));
    let ended = world.fails(&["source", "freshness"], 1, &["not fresh: gold.payments"]);
    assert!(ended.out.contains("ERROR  gold.payments") && ended.out.contains("paid_on"), "{}", ended.out);
    assert_eq!(results(&world)[0]["status"], "runtime error");
    let world = shop(OLD, &format!("identifier: nothing, {LIMITS}}}"));
    assert!(world.fails(&["source", "freshness"], 1, &[]).out.contains("there is no table gold.nothing"));
    let filtered = "freshness: {warn_after: {count: 1, period: day}, filter: id = 1}";
    let world = shop(OLD, filtered);
    assert!(world.fails(&["source", "freshness"], 1, &[]).out.contains("loaded_at_field"));
    let world = shop(OLD, &format!("{LIMITS}}}, loaded_at_field: a, loaded_at_query: b"));
    world.fails(&["source", "freshness"], 2, &["models/sources.yml:4", "exclude each other"]);
}
