use serde_json::json;

use super::{Files, model, says};
use crate::models::{Materialized, NodeConfig, SchemaChange};

fn config(files: &Files) -> NodeConfig {
    files.load().nodes["model.shop.m"].config.clone()
}

#[test]
fn the_file_wins_over_yaml_over_the_project_and_nearer_folders_over_farther() {
    let files = Files::new()
        .with(
            "dbt_project.yml",
            "name: shop\nmodels:\n  +materialized: table\n  +on_schema_change: ignore\n  shop:\n    silver:\n      +schema: silver\n      schema: silver\n      alias: folder\n      m:\n        +on_schema_change: fail\n",
        )
        .with("models/silver/m.sql", "{{ config(alias='file') }}")
        .with("models/p.yml", "models: [{name: m, config: {alias: yaml, materialized: view}}]");
    let config = config(&files);
    assert_eq!((config.alias.as_str(), config.schema.as_str()), ("file", "main_silver"));
    assert_eq!((config.materialized, config.on_schema_change), (Materialized::View, SchemaChange::Fail));
}

#[test]
fn tags_add_up_and_meta_is_merged() {
    let files = model("{{ config(tags=['c', 'a'], meta={'x': 2}) }}")
        .with("dbt_project.yml", "name: shop\nmodels:\n  shop:\n    +tags: a\n    +meta: {x: 1, y: 1}\n")
        .with("models/p.yml", "models: [{name: m, tags: [b], config: {meta: {z: 1}}}]");
    let config = config(&files);
    assert_eq!(config.tags, ["a", "b", "c"]);
    assert_eq!(serde_json::Value::Object(config.meta), json!({"x": 2, "y": 1, "z": 1}));
}

#[test]
fn a_key_with_nothing_takes_back_what_was_set_above() {
    let files = model("{{ config(schema=none) }}").with("dbt_project.yml", "name: shop\nmodels: {+schema: x}\n");
    assert_eq!(config(&files).schema, "main");
}

#[test]
fn an_unknown_key_is_placed_in_whatever_layer_it_stands() {
    says(
        &model("\n{{ config(materialised='view') }}").error(),
        &["unknown configuration `materialised`", "m.sql:2:11", "`materialized`?"],
    );
    let e = model("{{ config(\n    schema='x',\n    materialised='view',\n    alias='a'\n) }}").error();
    says(&e, &["unknown configuration `materialised`", "m.sql:3:5"]);
    let files = model("").with("models/p.yml", "models:\n  - name: m\n    config:\n      tag: x\n");
    says(&files.error(), &["unknown configuration `tag`", "models/p.yml:4:7", "did you mean `tags`?"]);
    let files = model("").with("dbt_project.yml", "name: shop\nmodels:\n  shop:\n    materialize: view\n");
    says(&files.error(), &["unknown configuration `materialize`", "dbt_project.yml:4:5"]);
}

#[test]
fn a_wrong_value_says_what_was_expected() {
    says(
        &model("{{ config(materialized='tabel') }}").error(),
        &["one of view, table, incremental, ephemeral", "did you mean `table`?"],
    );
    says(
        &model("{{ config(enabled='yes') }}").error(),
        &["`enabled` should be true or false, but it is the text \"yes\""],
    );
    says(&model("{{ config(inputs={'a': 'b'}) }}").error(), &["`inputs` should be a map of inputs"]);
}

#[test]
fn configuration_of_dbt_without_an_answer_here_is_refused_by_name() {
    says(&model("{{ config(pre_hook='x') }}").error(), &["the configuration `pre_hook` is not supported yet"]);
    says(&model("{{ config(incremental_strategy='microbatch') }}").error(), &["`microbatch` is not supported yet"]);
}

const CHANGES: &str = "materialized='incremental', incremental_strategy='changes'";

#[test]
fn the_changes_strategy_carries_its_keys_and_mappings() {
    let sql = format!(
        "{{{{ config({CHANGES}, recompute_by='k', inputs={{'raw.t': {{'k': 'id'}}, 'a': {{'c': 'c'}}}}) }}}}\n{{{{ source('raw', 't') }}}} {{{{ ref('a') }}}}"
    );
    let files = model(&sql).model("a", "").with("models/s.yml", "sources: [{name: raw, tables: [{name: t}]}]");
    let config = config(&files);
    assert_eq!(config.recompute_by, ["k"]);
    assert_eq!(config.inputs["raw.t"]["k"], "id");
    assert_eq!(config.inputs["a"]["c"], "c");
}

#[test]
fn the_changes_strategy_needs_recompute_by_and_nothing_else_takes_it() {
    says(&model(&format!("{{{{ config({CHANGES}) }}}}")).error(), &["`changes` needs `recompute_by`", "m.sql:1:4"]);
    let merge = "{{ config(materialized='incremental', incremental_strategy='merge', recompute_by='k') }}";
    says(&model(merge).error(), &["`recompute_by` belongs to the incremental strategy `changes`, but it is `merge`"]);
}

#[test]
fn an_input_that_is_not_read_is_an_error_with_the_nearest() {
    let sql = format!(
        "{{{{ config({CHANGES}, recompute_by='k', inputs={{'raw.tt': {{'k': 'id'}}}}) }}}}{{{{ source('raw', 't') }}}}"
    );
    let files = model(&sql).with("models/s.yml", "sources: [{name: raw, tables: [{name: t}]}]");
    says(&files.error(), &["`inputs` names `raw.tt`, which this model does not read", "did you mean `raw.t`?"]);
}

#[test]
fn a_project_macro_decides_the_schema_and_sees_the_node() {
    let files = model("{{ config(schema='gold') }}")
        .with("macros/s.sql", "{% macro generate_schema_name(custom_schema_name, node) %}\n  {%- if custom_schema_name is none %}{{ target.schema }}{% else %}{{ custom_schema_name | trim }}_{{ node.name }}{% endif %}\n{% endmacro %}");
    assert_eq!(config(&files).schema, "gold_m");
    assert_eq!(files.load().relation("model.shop.m").unwrap().to_string(), "\"gold_m\".\"m\"");
}

#[test]
fn yaml_values_may_be_jinja_and_keep_their_types() {
    let files =
        model("").with("dbt_project.yml", "name: shop\nmodels:\n  +enabled: \"{{ target.name == 'dev' }}\"\n").with(
            "models/p.yml",
            "models:\n  - name: m\n    config: {tags: \"{{ ['x', 'y'] }}\", alias: \"m_{{ target.name }}\"}\n",
        );
    let config = config(&files);
    assert_eq!((config.tags.as_slice(), config.alias.as_str()), (["x".to_owned(), "y".to_owned()].as_slice(), "m_dev"));
}

#[test]
fn jinja_that_fails_in_yaml_is_placed() {
    let files = model("").with("models/p.yml", "models:\n  - name: m\n    description: \"{{ doc('nope') }}\"\n");
    says(&files.error(), &["unknown docs block `nope`", "models/p.yml:3:5"]);
}

#[test]
fn seeds_have_their_own_options() {
    let files = Files::new()
        .with("seeds/s.csv", "a;b\n1;2\n")
        .with("seeds/s.yml", "seeds:\n  - name: s\n    config:\n      delimiter: ;\n      quote_columns: true\n      column_types: {a: bigint}\n");
    let config = files.load().nodes["seed.shop.s"].config.clone();
    assert_eq!((config.delimiter.as_str(), config.quote_columns), (";", true));
    assert_eq!(config.column_types["a"], "bigint");
    let e = files.with("seeds/s.yml", "seeds:\n  - name: s\n    config: {delimiter: ab}\n").error();
    says(&e, &["`delimiter` should be one ASCII character"]);
}
