use super::{Files, model, says};
use crate::error::Kind;
use crate::models::{NodeKind, Options, load};

fn names(files: &Files) -> Vec<String> {
    files.load().order().into_iter().map(|n| n.name.clone()).collect()
}

#[test]
fn the_order_has_parents_first_and_is_by_name_otherwise() {
    let files = Files::new()
        .model("z", "select 1")
        .model("a", "select * from {{ ref('z') }} join {{ ref('s') }}")
        .model("b", "select * from {{ ref('z') }}")
        .with("seeds/s.csv", "x\n1\n");
    assert_eq!(names(&files), ["z", "b", "s", "a"]);
}

#[test]
fn dependencies_stand_in_the_order_of_their_first_use_and_once() {
    let files = model("{{ ref('b') }} {{ source('raw', 't') }} {{ ref('a') }} {{ ref('b') }}")
        .model("a", "")
        .model("b", "")
        .with("models/s.yml", "sources: [{name: raw, tables: [{name: t}]}]");
    let project = files.load();
    assert_eq!(project.nodes["model.shop.m"].depends_on, ["model.shop.b", "source.shop.raw.t", "model.shop.a"]);
    assert_eq!(project.sources["source.shop.raw.t"].schema, "raw");
}

#[test]
fn an_unknown_ref_is_placed_and_the_nearest_model_named() {
    let e = model("select *\nfrom {{ ref('fact_cals') }}").model("fact_calls", "").error();
    says(&e, &["unknown model or seed `fact_cals`", "models/m.sql:2:9", "did you mean `fact_calls`?"]);
}

#[test]
fn an_unknown_ref_in_a_macro_is_placed_in_the_macro() {
    let files = model("{{ from_x() }}").with("macros/x.sql", "\n{% macro from_x() %}{{ ref('x') }}{% endmacro %}");
    says(&files.error(), &["models/m.sql: unknown model or seed `x`", "macros/x.sql:2:24"]);
}

#[test]
fn an_unknown_source_or_table_is_answered_with_the_nearest() {
    let sources = "sources: [{name: bronze, tables: [{name: call_events}]}]";
    let with = |sql| model(sql).with("models/s.yml", sources).error();
    says(&with("{{ source('bronce', 'call_events') }}"), &["unknown source `bronce`", "did you mean `bronze`?"]);
    says(
        &with("{{ source('bronze', 'call_event') }}"),
        &["table of the source `bronze`: `call_event`", "`call_events`?"],
    );
}

#[test]
fn a_circle_is_shown_with_its_way_and_a_place() {
    let files = model("from {{ ref('a') }}").model("a", "\nfrom {{ ref('b') }}").model("b", "from {{ ref('m') }}");
    says(&files.error(), &["made from each other: a <- b <- m <- a", "models/a.sql:2:13"]);
}

#[test]
fn two_nodes_of_one_name_or_one_table_are_errors() {
    let e = model("").with("models/sub/m.sql", "").error();
    says(&e, &["there are two nodes called `m`", "models/sub/m.sql", "models/m.sql"]);
    says(&model("").with("seeds/m.csv", "a\n").error(), &["two nodes called `m`"]);
    let e = model("{{ config(alias='x') }}").model("x", "").error();
    says(&e, &["two nodes for the table \"main\".\"x\""]);
}

#[test]
fn a_disabled_model_is_no_node_and_its_tests_neither_and_a_ref_to_it_says_so() {
    let yaml = "models:\n  - name: off\n    config: {enabled: false}\n    columns: [{name: x, tests: [unique]}]\n";
    let files = model("select 1").model("off", "select 1").with("models/p.yml", yaml);
    assert_eq!(names(&files), ["m"]);
    says(&files.model("n", "{{ ref('off') }}").error(), &["the model `off` is disabled", "models/n.sql:1:4"]);
}

#[test]
fn the_project_is_found_from_a_folder_inside_it() {
    let files = model("select 1").with("models/deep/er/x.sql", "select 1");
    let project = load(&files.path().join("models/deep"), &Options::default()).unwrap();
    assert_eq!(project.root, files.path());
    assert_eq!(project.nodes["model.shop.x"].fqn, ["shop", "deep", "er", "x"]);
}

#[test]
fn a_folder_without_a_project_is_an_error_that_says_what_is_missing() {
    let empty = tempfile::tempdir().unwrap();
    let e = load(empty.path(), &Options::default()).err().unwrap();
    assert_eq!(e.kind(), Kind::Input);
    says(&e.to_string(), &["there is no dbt_project.yml"]);
}

#[test]
fn paths_of_the_project_file_are_kept_to() {
    let files = Files::new()
        .with("dbt_project.yml", "name: shop\nmodel-paths: [sql]\nseed-paths: [data]\ntarget-path: out\n")
        .with("sql/m.sql", "select 1")
        .with("models/not_read.sql", "{{")
        .with("data/s.csv", "a\n");
    let project = files.load();
    assert_eq!(project.nodes.keys().collect::<Vec<_>>(), ["model.shop.m", "seed.shop.s"]);
    assert_eq!(project.nodes["seed.shop.s"].kind, NodeKind::Seed);
    assert_eq!(project.target_path, files.path().join("out"));
}

#[test]
fn an_unknown_key_of_the_project_file_is_answered_with_the_nearest() {
    let files = Files::new().with("dbt_project.yml", "name: shop\nmodel-path: [sql]\n");
    says(&files.error(), &["unknown key `model-path`", "dbt_project.yml:2:1", "did you mean `model-paths`?"]);
}

#[test]
fn unsupported_keys_files_and_blocks_are_refused_by_name() {
    let file = |path: &str, text: &str| Files::new().with(path, text).error();
    says(&file("dbt_project.yml", "name: shop\non-run-end: x\n"), &["`on-run-end` is not supported yet", ":2:1"]);
    says(&file("models/m.py", "x"), &["a model in Python is not supported yet"]);
    says(
        &file("packages.yml", "packages:\n  - package: x\n"),
        &["the package x is not in dbt_packages", "packages.yml:2:"],
    );
    says(&file("models/u.yml", "metrics: []\n"), &["`metrics` is not supported yet", "models/u.yml:1:1"]);
}

#[test]
fn a_folder_of_configuration_that_matches_nothing_is_a_warning_with_the_nearest() {
    let files = Files::new()
        .with("dbt_project.yml", "name: shop\nmodels:\n  shop:\n    silvr:\n      +materialized: table\n")
        .with("models/silver/m.sql", "select 1");
    assert_eq!(
        files.load().warnings,
        ["dbt_project.yml:4: `models.shop.silvr` matches nothing; did you mean `silver`?"]
    );
}

#[test]
fn properties_of_nothing_are_a_warning_with_the_nearest() {
    let files = model("").with("models/p.yml", "version: 2\nmodels:\n  - name: n\n");
    assert_eq!(files.load().warnings, ["models/p.yml:3: there is no model `n`; did you mean `m`?"]);
}

#[test]
fn the_target_comes_from_the_profile_and_its_environment() {
    let profile = "shop:\n  target: dev\n  outputs:\n    dev: {type: medallion, schema: me, threads: 3}\n    prod: {type: duckdb, schema: \"{{ env_var('MEDALLION_NO_SUCH_NAME', 'live') }}\"}\nother:\n  outputs: \"{{ env_var('MEDALLION_NO_SUCH_NAME') }}\"\n";
    let files = model("{{ target.name }}").with("profiles.yml", profile);
    let project = files.load();
    assert_eq!(
        (project.target.name.as_str(), project.target.schema.as_str(), project.target.threads),
        ("dev", "me", Some(3))
    );
    let with = |target: &str| load(files.path(), &Options { target: Some(target.to_owned()), ..Options::default() });
    let prod = with("prod").unwrap();
    assert_eq!((prod.target.schema.as_str(), prod.warnings.len()), ("live", 1));
    says(&with("prd").err().unwrap().to_string(), &["unknown target `prd`", "did you mean `prod`?"]);
}

#[test]
fn without_profiles_the_target_is_dev_and_the_schema_main() {
    let project = model("").load();
    assert_eq!((project.target.name.as_str(), project.target.schema.as_str()), ("dev", "main"));
}

#[test]
fn documentation_is_read_with_its_docs_blocks() {
    let yaml = "models:\n  - name: m\n    description: \"{{ doc('about') }}!\"\n    columns:\n      - {name: x, description: an x, data_type: int, meta: {pii: true}}\n";
    let files = model("")
        .with("models/p.yml", yaml)
        .with("models/d.md", "# Title\n{% docs about %}\nAbout {{ this }}\n{% enddocs %}\n");
    let project = files.load();
    let node = &project.nodes["model.shop.m"];
    assert_eq!(node.description, "About {{ this }}!");
    assert_eq!((node.columns[0].name.as_str(), node.columns[0].data_type.as_deref()), ("x", Some("int")));
    assert_eq!(node.columns[0].meta["pii"], true);
}

#[test]
fn sources_inherit_freshness_and_a_table_may_take_it_back() {
    let yaml = "sources:\n  - name: raw\n    loaded_at_field: at\n    config:\n      freshness: {warn_after: {count: 3, period: hour}}\n    tables:\n      - name: a\n      - name: b\n        freshness:\n";
    let project = Files::new().with("models/s.yml", yaml).load();
    let freshness = |name: &str| project.sources[&format!("source.shop.raw.{name}")].freshness.clone();
    assert_eq!(freshness("a").unwrap().warn_after.unwrap().count, 3);
    assert_eq!(freshness("b"), None);
    assert_eq!(project.sources["source.shop.raw.b"].loaded_at_field.as_deref(), Some("at"));
}

#[test]
fn a_file_that_is_not_utf8_is_named() {
    let files = Files::new();
    std::fs::create_dir(files.path().join("models")).unwrap();
    std::fs::write(files.path().join("models/m.sql"), b"a\xff").unwrap();
    says(&files.error(), &["models/m.sql is not valid UTF-8 (byte 1)"]);
}

#[test]
fn what_dbtignore_names_is_no_part_of_the_project() {
    let files = model("select 1")
        .with("models/drafts/broken.sql", "{{")
        .with("models/m.tmp.sql", "{{")
        .with(".dbtignore", "# not yet\ndrafts/\n*.tmp.sql\n");
    assert_eq!(files.load().nodes.keys().collect::<Vec<_>>(), ["model.shop.m"]);
}

#[test]
fn a_project_for_another_dbt_is_refused_unless_its_range_has_the_one_that_is_followed() {
    let with = |range: &str| model("select 1").with("dbt_project.yml", &format!("name: shop\n{range}\n"));
    assert!(with("require-dbt-version: [\">=1.6.0\", \"<2.0.0\"]").load().warnings.is_empty());
    says(&with("require-dbt-version: \">=1.0.0,<1.5.0\"").error(), &["is for dbt <1.5.0", "dbt_project.yml:2:1"]);
    says(&with("require-dbt-version: soon").error(), &["`soon` is not a range of versions"]);
}

#[test]
fn a_macro_for_names_of_databases_has_no_effect_and_says_so() {
    let files =
        model("select 1").with("macros/d.sql", "{% macro generate_database_name(custom, node) %}x{% endmacro %}");
    says(&files.load().warnings.join("\n"), &["`generate_database_name` has no effect"]);
}

#[test]
fn keys_without_effect_say_so() {
    for (key, value) in [("asset-paths", "[assets]"), ("log-path", "logs"), ("flags", "{}")] {
        let files = model("select 1").with("dbt_project.yml", &format!("name: shop\n{key}: {value}\n"));
        assert_eq!(files.load().warnings, [format!("dbt_project.yml:2: `{key}` has no effect here")]);
    }
}
