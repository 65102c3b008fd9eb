use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Files, model, says};
use crate::models::Project;
use crate::models::artifact::Invocation;

fn manifest(project: &Project) -> Value {
    let invocation = Invocation { id: "run-1".to_owned(), started_at: chrono::DateTime::UNIX_EPOCH };
    let compiled = BTreeMap::from([("model.shop.m".to_owned(), "select 1".to_owned())]);
    project.manifest(&invocation, &compiled)
}

fn with_exposure(exposure: &str) -> Files {
    model("").with("models/e.yml", &format!("exposures:\n  - {exposure}\n"))
}

#[test]
fn the_manifest_tells_what_is_made_from_what_and_with_which_sql() {
    let files = model("select * from {{ source('raw', 'events') }} where {{ odd('n') }}")
        .with("macros/odd.sql", "{% macro odd(c) %}{{ c }} % 2 = 1{% endmacro %}")
        .with("models/p.yml", "sources: [{name: raw, description: From afar, tables: [{name: events, identifier: ev}]}]\nmodels: [{name: m, description: Odd ones, columns: [{name: n, data_type: bigint, tests: [unique, not_null]}]}]\n");
    let manifest = manifest(&files.load());
    let node = &manifest["nodes"]["model.shop.m"];
    assert_eq!(node["depends_on"], json!({"macros": ["macro.shop.odd"], "nodes": ["source.shop.raw.events"]}));
    assert_eq!((&node["compiled"], &node["compiled_code"]), (&json!(true), &json!("select 1")));
    assert_eq!((&node["path"], &node["patch_path"]), (&json!("m.sql"), &json!("shop://models/p.yml")));
    assert_eq!(node["sources"], json!([["raw", "events"]]));
    assert_eq!((&node["relation_name"], &node["primary_key"]), (&json!("\"main\".\"m\""), &json!(["n"])));
    let test = &manifest["nodes"]["test.shop.unique_m_n"];
    assert_eq!((&test["attached_node"], &test["column_name"]), (&json!("model.shop.m"), &json!("n")));
    assert_eq!((&test["compiled"], &test["relation_name"]), (&json!(false), &json!(null)));
    assert_eq!(manifest["sources"]["source.shop.raw.events"]["relation_name"], "\"raw\".\"ev\"");
    assert_eq!(manifest["sources"]["source.shop.raw.events"]["source_description"], "From afar");
    assert_eq!(manifest["child_map"]["source.shop.raw.events"], json!(["model.shop.m"]));
    assert_eq!(manifest["parent_map"]["test.shop.unique_m_n"], json!(["model.shop.m"]));
    says(manifest["macros"]["macro.shop.odd"]["macro_sql"].as_str().unwrap(), &["{% macro odd(c) %}", "endmacro"]);
}

#[test]
fn what_is_switched_off_is_told_apart() {
    let manifest = manifest(&model("").model("off", "{{ config(enabled=false) }}").load());
    assert_eq!(manifest["nodes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["model.shop.m"]);
    assert_eq!(manifest["disabled"]["model.shop.off"][0]["config"]["enabled"], false);
}

#[test]
fn an_exposure_stands_below_what_it_reads() {
    let files = with_exposure(
        "{name: churn, label: Churn, type: dashboard, maturity: high, url: 'https://bi/1', owner: {name: Ada, email: ada@x}, tags: [board], depends_on: [ref('m')]}",
    );
    let project = files.load();
    let exposure = &manifest(&project)["exposures"]["exposure.shop.churn"];
    assert_eq!(exposure["depends_on"]["nodes"], json!(["model.shop.m"]));
    assert_eq!(exposure["owner"], json!({"name": "Ada", "email": "ada@x"}));
    assert_eq!((&exposure["type"], &exposure["tags"]), (&json!("dashboard"), &json!(["board"])));
    let below = project.select(&["m+".to_owned()], &[]).unwrap();
    assert!(below.contains("exposure.shop.churn"), "{below:?}");
}

#[test]
fn a_mistake_in_an_exposure_is_placed() {
    let e = with_exposure("{name: e, type: dashbord, owner: {name: A}}").error();
    says(&e, &["`type` should be one of dashboard, notebook", "models/e.yml:2", "did you mean `dashboard`?"]);
    let e = with_exposure("{name: e, type: ml, owner: {name: A}, depends_on: [ref('mm')]}").error();
    says(&e, &["unknown model or seed `mm`", "models/e.yml:2", "did you mean `m`?"]);
    let e = with_exposure("{name: e, type: ml, owner: {name: A}, depends_on: [m]}").error();
    says(&e, &["`m` is no reference", "ref('model')"]);
    says(&with_exposure("{name: e, type: ml}").error(), &["`owner` is missing here"]);
}

const GROUPS: &str = "groups:\n  - {name: billing, owner: {email: b@x}}\n  - {name: network, owner: {name: N}}\n";

#[test]
fn what_is_private_is_read_in_its_group_alone() {
    let files = |group: &str| {
        Files::new()
            .with("models/g.yml", &format!("{GROUPS}models: [{{name: a, access: private, config: {{group: billing}}, columns: [{{name: n, tests: [unique]}}]}}]\n"))
            .model("a", "select 1 as n")
            .model("b", &format!("{{{{ config(group='{group}') }}}}\nselect * from {{{{ ref('a') }}}}"))
    };
    let project = files("billing").load();
    assert_eq!(manifest(&project)["group_map"], json!({"billing": ["model.shop.a", "model.shop.b"], "network": []}));
    let e = files("network").error();
    says(&e, &["`a` is private to the group `billing`, and the model `b` is not in it", "models/b.sql:2:22"]);
    says(&files("netwrk").error(), &["unknown group `netwrk`", "did you mean `network`?", "models/b.sql:1"]);
    let e = files("billing")
        .with("models/e.yml", "exposures: [{name: e, type: ml, owner: {name: A}, depends_on: [ref('a')]}]")
        .error();
    says(&e, &["the exposure `e` is not in it", "models/e.yml:1"]);
}

#[test]
fn a_private_model_without_a_group_could_be_read_by_nobody() {
    says(&model("{{ config(access='private') }}").error(), &["`m` is private, but it belongs to no group"]);
    says(&model("{{ config(access='secret') }}").error(), &["`access` should be one of private, protected, public"]);
}
