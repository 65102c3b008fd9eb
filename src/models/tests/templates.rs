use serde_json::json;

use super::{Files, compiled, model, says};
use crate::models::{Options, RunContext, load};

#[test]
fn a_ref_and_a_source_are_the_quoted_names_of_their_tables() {
    let files =
        model("select * from {{ ref('a') }} join {{ source('raw', 'b') }} using (x)").model("a", "select 1 as x").with(
            "models/s.yml",
            "sources:\n  - name: raw\n    schema: landing\n    tables:\n      - name: b\n        identifier: b_v2\n",
        );
    assert_eq!(files.compiled(), "select * from \"main\".\"a\" join \"landing\".\"b_v2\" using (x)");
}

#[test]
fn a_ref_may_name_the_project_but_no_other_package() {
    assert_eq!(model("{{ ref('shop', 'a') }}").model("a", "").compiled(), "\"main\".\"a\"");
    says(&model("{{ ref('other', 'a') }}").error(), &["unknown package `other`", "m.sql:1:4"]);
}

#[test]
fn a_macro_may_call_one_in_another_file_or_further_down() {
    let files = model("{{ outer(1) }}")
        .with(
            "macros/a.sql",
            "{% macro outer(x) %}<{{ inner(x, y=2) }}{{ later() }}>{% endmacro %}\n{% macro later() %}!{% endmacro %}",
        )
        .with("macros/z/b.sql", "{% macro inner(x, y) %}{{ x }}-{{ y }}-{{ this.name }}{% endmacro %}");
    let project = files.load();
    assert_eq!(compiled(&project, "model.shop.m"), "<1-2-m!>");
    assert_eq!(project.nodes["model.shop.m"].macros, ["macro.shop.inner", "macro.shop.later", "macro.shop.outer"]);
}

#[test]
fn a_macro_may_be_called_by_its_full_name() {
    let files = model("{{ shop.one() }}").with("macros/a.sql", "{% macro one() %}1{% endmacro %}");
    assert_eq!(files.compiled(), "1");
    assert_eq!(files.load().nodes["model.shop.m"].macros, ["macro.shop.one"]);
}

#[test]
fn a_call_block_gives_its_body_to_the_macro() {
    let files = model("{% set x = 7 %}{% call twice(by=2) %}{{ x }}{% endcall %}")
        .with("macros/a.sql", "{% macro twice(by) %}{{ caller() }}/{{ by }}/{{ caller() }}{% endmacro %}");
    assert_eq!(files.compiled(), "7/2/7");
}

#[test]
fn a_macro_may_return_a_value_through_other_macros() {
    let macros =
        "{% macro list() %}{{ return([1, 2]) }}{% endmacro %}{% macro outer() %}{% do return(list()) %}{% endmacro %}";
    assert_eq!(model("{% for x in outer() %}{{ x + 1 }} {% endfor %}").with("macros/a.sql", macros).compiled(), "2 3");
}

#[test]
fn macros_that_call_each_other_forever_are_stopped() {
    let macros = "{% macro a() %}{{ b() }}{% endmacro %}\n{% macro b() %}{{ a() }}{% endmacro %}";
    says(&model("{{ a() }}").with("macros/a.sql", macros).error(), &["levels deep", "a macro that calls itself"]);
}

#[test]
fn an_undefined_name_is_an_error_with_its_place_and_the_nearest_name() {
    let e = model("select 1,\n       {{ custmer }}\n{% set customer = 1 %}").error();
    says(&e, &["`custmer` is not defined", "models/m.sql:2:11", "did you mean `customer`?"]);
}

#[test]
fn an_undefined_name_in_a_condition_is_an_error() {
    says(&model("{% if is_incrementl %}{% endif %}").error(), &["`is_incrementl` is not defined", "`is_incremental`"]);
}

#[test]
fn an_undefined_function_in_a_macro_is_placed_in_the_macro_and_names_the_model() {
    let files = model("{{ a() }}").with(
        "macros/f.sql",
        "{# é #}\n\n  {% macro a() %}\n    {{ maskk(1) }}{% endmacro %}\n{% macro mask(x) %}{% endmacro %}",
    );
    says(&files.error(), &["models/m.sql: `maskk` is not defined", "macros/f.sql:4:8", "did you mean `mask`?"]);
}

#[test]
fn what_dbt_has_and_this_has_not_is_refused_by_name() {
    says(
        &model("{% set r = load_agate_table() %}").error(),
        &["`load_agate_table` is not supported yet", "models/m.sql:1:"],
    );
    says(&model("{{ modules.datetime.timedelta(days=1) }}").error(), &["timedelta` is not supported yet", "`plus`"]);
    says(&model("{{ modules.json.loads('1') }}").error(), &["`loads` of a value that is not defined", "m.sql:1:16"]);
}

#[test]
fn broken_jinja_is_placed() {
    says(&model("select 1\n{% if %}").error(), &["models/m.sql:2:", "syntax error"]);
}

#[test]
fn a_variable_comes_from_the_command_line_before_the_project_before_the_default() {
    let files = model("{{ var('a') }} {{ var('b') }} {{ var('c', default='default') }} {{ var('d', none) is none }}")
        .with("dbt_project.yml", "name: shop\nvars:\n  a: global\n  b: global\n  shop:\n    b: own\n    unused: 1\n");
    let project = files.load_with(json!({"a": "typed"})).unwrap();
    assert_eq!(compiled(&project, "model.shop.m"), "typed own default True");
}

#[test]
fn a_missing_variable_is_an_error_with_the_nearest_one() {
    let files = model("{{ var('treshold') }}").with("dbt_project.yml", "name: shop\nvars: {threshold: 1}\n");
    says(&files.error(), &["the variable `treshold` is not set", "m.sql:1:4", "did you mean `threshold`?"]);
}

#[test]
fn a_missing_environment_variable_is_an_error_and_a_default_stands_in_for_it() {
    assert_eq!(model("{{ env_var('MEDALLION_NO_SUCH_NAME', 'x') }}").compiled(), "x");
    says(&model("{{ env_var('MEDALLION_NO_SUCH_NAME') }}").error(), &["`MEDALLION_NO_SUCH_NAME` is not set"]);
}

#[test]
fn execute_and_is_incremental_are_false_while_parsing() {
    let sql = "{{ config(materialized='incremental') }}{% if execute %}e{% endif %}{% if is_incremental() %}i{{ this }}{% endif %}";
    let project = model(sql).load();
    let run = |is_incremental, full_refresh| {
        let context = RunContext { is_incremental, full_refresh, ..RunContext::default() };
        project.compile("model.shop.m", &context).unwrap().sql
    };
    assert_eq!(run(false, false), "e");
    assert_eq!(run(true, false), "ei\"main\".\"m\"");
    assert_eq!(run(true, true), "e");
    says(
        &model("{% if not execute %}{{ exceptions.raise_compiler_error('parsing') }}{% endif %}").error(),
        &["parsing"],
    );
}

#[test]
fn a_table_is_never_incremental() {
    let project = model("{{ config(materialized='table') }}{{ is_incremental() }}").load();
    let context = RunContext { is_incremental: true, ..RunContext::default() };
    assert_eq!(project.compile("model.shop.m", &context).unwrap().sql, "False");
}

#[test]
fn the_start_of_the_run_can_be_written_in_any_format_and_a_wrong_format_is_an_error() {
    let files = model("{{ run_started_at }}|{{ run_started_at.strftime('%Y%m%d') }}|{{ run_started_at.isoformat() }}");
    let run_started_at = "2026-03-04T05:06:07.000008Z".parse().unwrap();
    let project = load(files.path(), &Options { run_started_at, ..Options::default() }).unwrap();
    let expected = "2026-03-04 05:06:07.000008+00:00|20260304|2026-03-04T05:06:07.000008+00:00";
    assert_eq!(compiled(&project, "model.shop.m"), expected);
    says(&model("{{ run_started_at.strftime('%Q') }}").error(), &["\"%Q\" is not a format of times"]);
}

#[test]
fn methods_of_python_work_on_texts_and_maps() {
    let sql = "{{ 'a-B'.upper().replace('-', '_') }}{% for k, v in {'x': 1}.items() %}{{ k }}{{ v }}{% endfor %}";
    assert_eq!(model(sql).compiled(), "A_Bx1");
}

#[test]
fn config_can_be_read_back() {
    let sql = "{{ config(materialized='table', meta={'a': 1}) }}{{ config.get('materialized') }}{{ config.get('alias', 'none') }}";
    assert_eq!(model(sql).compiled(), "tablenone");
    says(&model("{{ config.require('meta') }}").error(), &["the configuration `meta` is required here"]);
}

#[test]
fn an_error_that_a_macro_raises_is_told_as_it_is() {
    let files = model("\n{{ check(1) }}")
        .with("macros/a.sql", "{% macro check(x) %}{{ exceptions.raise_compiler_error('x is ' ~ x) }}{% endmacro %}");
    let e = files.error();
    says(&e, &["models/m.sql: x is 1", "macros/a.sql:1:"]);
    assert!(!e.contains("invalid operation"), "{e}");
}

#[test]
fn two_macros_of_one_name_and_a_macro_named_like_a_function_are_errors() {
    let twice = "{% macro a() %}{% endmacro %}";
    says(
        &Files::new().with("macros/a.sql", twice).with("macros/b.sql", twice).error(),
        &["two macros called `a`", "macros/b.sql:1:1", "macros/a.sql:1"],
    );
    says(&Files::new().with("macros/a.sql", "{% macro ref(x) %}{% endmacro %}").error(), &["cannot be called `ref`"]);
    says(
        &Files::new().with("macros/a.sql", "\n{% materialization x, default %}{% endmaterialization %}").error(),
        &["the materialization `x` is not supported yet", "a.sql:2:1"],
    );
}
