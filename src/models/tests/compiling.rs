use serde_json::json;

use super::{Files, compiled, model, says};
use crate::error::{Error, Place};
use crate::models::{Options, Project, RunContext, load};

fn hash(project: &Project, id: &str, run: &RunContext) -> String {
    project.compile(id, run).unwrap().code_hash
}

#[test]
fn the_hash_follows_macros_and_variables() {
    let with = |body: &str| {
        model("{{ f() }}")
            .with("macros/f.sql", &format!("{{% macro f() %}}{body}{{{{ var('v', 1) }}}}{{% endmacro %}}"))
    };
    let of = |files: &Files, vars| hash(&files.load_with(vars).unwrap(), "model.shop.m", &RunContext::default());
    let first = of(&with("a"), json!({}));
    assert_eq!(first, of(&with("a"), json!({})));
    assert_ne!(first, of(&with("b"), json!({})));
    assert_ne!(first, of(&with("a"), json!({"v": 2})));
}

#[test]
fn the_hash_follows_configuration_that_changes_the_table_and_no_other() {
    let of = |config: &str| {
        let sql = format!("{{{{ config(materialized='incremental', {config}) }}}}select 1");
        hash(&model(&sql).load(), "model.shop.m", &RunContext::default())
    };
    let text = "unique_key='a'";
    assert_ne!(of(text), of("unique_key='b'"));
    assert_eq!(of(text), of("unique_key=['a'], tags=['x'], meta={'owner': 'me'}"));
}

#[test]
fn the_hash_is_the_same_for_every_run_of_the_same_code() {
    let sql = "{{ config(materialized='incremental') }}{{ run_started_at }}{{ invocation_id }}{% if is_incremental() %}i{% endif %}";
    let files = model(sql);
    let of = |started: &str, run: &RunContext| {
        let options = Options { run_started_at: started.parse().unwrap(), ..Options::default() };
        hash(&load(files.path(), &options).unwrap(), "model.shop.m", run)
    };
    let later = RunContext { is_incremental: true, invocation_id: "x".to_owned(), ..RunContext::default() };
    assert_eq!(of("2026-01-01T00:00:00Z", &RunContext::default()), of("2026-01-02T00:00:00Z", &later));
}

#[test]
fn the_hash_sees_the_incremental_branch() {
    let of = |branch: &str| {
        let sql =
            format!("{{{{ config(materialized='incremental') }}}}{{% if is_incremental() %}}{branch}{{% endif %}}");
        hash(&model(&sql).load(), "model.shop.m", &RunContext::default())
    };
    assert_ne!(of("a"), of("b"));
}

#[test]
fn the_hash_of_a_seed_follows_its_content() {
    let of = |text: &str| hash(&Files::new().with("seeds/s.csv", text).load(), "seed.shop.s", &RunContext::default());
    assert_eq!(of("a\n1\n"), of("a\n1\n"));
    assert_ne!(of("a\n1\n"), of("a\n2\n"));
}

#[test]
fn an_ephemeral_model_stands_in_the_queries_of_those_who_name_it() {
    let files = model("select * from {{ ref('e') }} as e")
        .model("e", "{{ config(materialized='ephemeral') }}select * from {{ ref('f') }} as f")
        .model("f", "{{ config(materialized='ephemeral') }}select 1 as x");
    assert_eq!(files.compiled(), "select * from (\nselect * from (\nselect 1 as x\n) as f\n) as e");
}

#[test]
fn a_ref_that_parsing_did_not_see_asks_for_a_comment() {
    let files = model("{% if execute %}{{ ref('a') }}{% endif %}").model("a", "");
    let e = files.load().compile("model.shop.m", &RunContext::default()).unwrap_err().to_string();
    says(&e, &["ref('a') was not seen", "models/m.sql:1:20", "-- depends_on: {{ ref('a') }}"]);
    let seen = files.model("m", "-- depends_on: {{ ref('a') }}\n{% if execute %}{{ ref('a') }}{% endif %}");
    says(&compiled(&seen.load(), "model.shop.m"), &["\n\"main\".\"a\""]);
}

#[test]
fn an_unknown_id_is_answered_with_the_nearest() {
    let e = model("").load().compile("model.shop.mm", &RunContext::default()).unwrap_err().to_string();
    says(&e, &["there is no node `model.shop.mm`", "did you mean `model.shop.m`?"]);
}

#[test]
fn lines_of_the_sql_lead_back_to_the_file() {
    let files = model("{{ config(materialized='table') }}\n\nselect a,\n    {{ two() }}\nfrom {{ ref('a') }}\nwhere b")
        .model("a", "")
        .with("macros/t.sql", "{% macro two() %}x,\n y{% endmacro %}");
    let project = files.load();
    let compiled = project.compile("model.shop.m", &RunContext::default()).unwrap();
    let told = |line: usize, column: usize| {
        let error = Error::input("wrong").at(Place::in_text("sql", &compiled.sql, line, column));
        compiled.told_at_source(error, &project.nodes["model.shop.m"]).to_string()
    };
    let line = 1 + compiled.sql.lines().position(|l| l == "where b").unwrap();
    assert_eq!(line, 7);
    says(&told(line, 7), &["models/m.sql:6:7", "where b"]);
    says(&told(6, 1), &["models/m.sql:5:1"]);
    says(&told(5, 2), &["wrong; in the compiled SQL: `y`"]);
}

#[test]
fn a_chain_of_a_thousand_models_loads() {
    let mut files = Files::new().with("macros/f.sql", "{% macro f(x) %}coalesce({{ x }}, 0){% endmacro %}");
    let mut yaml = "models:\n".to_owned();
    for i in 0..1000 {
        let parent = if i == 0 { String::new() } else { format!("from {{{{ ref('m{}') }}}}", i - 1) };
        files = files.model(
            &format!("m{i}"),
            &format!("{{{{ config(materialized='table') }}}}\nselect {{{{ f('a') }}}} as a\n{parent}"),
        );
        yaml.push_str(&format!("  - name: m{i}\n    columns:\n      - name: a\n        tests: [unique, not_null]\n"));
    }
    let files = files.with("models/p.yml", &yaml);
    let project = files.load();
    assert_eq!(project.nodes.len(), 3000);
}
