//! Templates that ask the tables while they are rendered, in builds of small projects.

use crate::world::{World, project};

const SEED: (&str, &str) = ("seeds/rows.csv", "id,kind,at\n1,sms,2026-01-31\n2,call,2026-02-01\n3,sms,2026-02-28\n");

fn table(world: &World, query: &str) -> Vec<String> {
    world.sql(query).iter().map(|row| row.join(",")).collect()
}

#[test]
fn a_model_is_written_by_what_a_query_gives() {
    let model = "{%- set kinds = run_query('select distinct kind from ' ~ ref('rows') ~ ' order by 1') -%}\n\
        select\n\
        {% if execute %}{% for row in kinds %}  count(*) filter (where kind = '{{ row['kind'] }}') as {{ row[0] }},\n{% endfor %}{% endif %}\
        count(*) as n from {{ ref('rows') }}";
    let world = project(&[("models/m.sql", model)]);
    world.write("project/seeds/rows.csv", SEED.1);
    world.ok(&["build", "-q"]);
    assert_eq!(table(&world, "select call, sms, n from gold.m"), ["1,2,3"]);
    world.write("project/seeds/rows.csv", &format!("{}4,mms,2026-03-01\n", SEED.1));
    world.ok(&["build", "-q"]);
    assert_eq!(table(&world, "select call, mms, sms, n from gold.m"), ["1,1,2,4"]);
    let compiled = world.ok(&["compile", "-s", "m"]).out;
    assert!(compiled.contains("where kind = 'mms'"), "{compiled}");
}

#[test]
fn relations_columns_and_statements_are_as_in_dbt() {
    let model = "-- depends_on: {{ ref('rows') }}\n\
        {% call statement('counts', fetch_result=True) %}select count(*) as n, max(at) from {{ ref('rows') }}{% endcall %}\n\
        {%- set there = load_relation(ref('rows')) -%}\n\
        {%- set columns = adapter.get_columns_in_relation(ref('rows')) -%}\n\
        select\n\
          {{ load_result('counts')['data'][0][0] if execute else 0 }} as n,\n\
          '{{ columns | map(attribute='name') | join(' ') }}' as names,\n\
          '{{ columns[0].data_type if execute }} {{ columns[2].is_string() if execute }}' as types,\n\
          {{ there is not none and there.is_table }} as there,\n\
          {{ adapter.get_relation(this.database, this.schema, 'nobody') is none }} as nobody,\n\
          '{{ adapter.quote('a b') }}' as quoted";
    let world = project(&[SEED, ("models/m.sql", model)]);
    world.ok(&["build", "-q"]);
    let names = "select n, names, types, there, nobody, quoted from gold.m";
    assert_eq!(table(&world, names), ["3,id kind at,bigint False,true,true,\"a b\""]);
}

#[test]
fn a_query_sees_what_the_build_stands_on_and_changes_nothing() {
    let model = |sql: &str| format!("-- {{{{ ref('rows') }}}}\n{{% set x = run_query(\"{sql}\") %}}select 1 as x");
    let world = project(&[SEED, ("models/m.sql", &model("drop table gold.rows"))]);
    world.fails(&["build"], 2, &["models/m.sql", "only reads", "drop table gold.rows"]);
    world.write("project/models/m.sql", &model("select nope from gold.rows"));
    world.fails(&["build"], 2, &["models/m.sql:2:", "nope"]);
    world.write("project/models/m.sql", &model("select * from gold.other"));
    world.fails(&["build"], 2, &["models/m.sql", "gold.other"]);
}

#[test]
fn what_dbt_writes_for_all_databases_is_written_for_this_one() {
    let sql = [
        ("dbt.date_trunc('month', \"cast('2026-02-14' as timestamp)\")", "2026-02-01T00:00:00Z"),
        ("dbt.dateadd('day', -1, \"cast('2026-03-01' as timestamp)\")", "2026-02-28T00:00:00Z"),
        ("dbt.dateadd('quarter', 1, \"cast('2026-01-31' as timestamp)\")", "2026-04-30T00:00:00Z"),
        ("dbt.datediff(\"'2026-01-31'\", \"'2026-02-01'\", 'month')", "1"),
        ("dbt.datediff(\"'2025-12-31 23:59:59'\", \"'2026-01-01 00:00:01'\", 'hour')", "1"),
        ("dbt.datediff(\"'2026-01-01'\", \"'2026-03-01'\", 'day')", "59"),
        ("dbt.datediff(\"'2026-01-04'\", \"'2026-01-05'\", 'week')", "1"),
        ("dbt.datediff(\"'2026-01-04'\", \"'2025-10-05'\", 'quarter')", "-1"),
        ("dbt.last_day(\"'2024-02-14'\", 'month')", "2024-02-29"),
        ("dbt.concat([\"'a'\", \"'b'\"])", "ab"),
        ("dbt.hash(\"'hello'\")", "5d41402abc4b2a76b9719d911017c592"),
        ("dbt.safe_cast(\"'x'\", dbt.type_int())", ""),
        ("dbt.cast(\"'7'\", dbt.type_bigint())", "7"),
        ("dbt.length(\"'four'\")", "4"),
        ("dbt.position(\"'b'\", \"'abc'\")", "2"),
        ("dbt.replace(\"'abc'\", \"'b'\", \"'x'\")", "axc"),
        ("dbt.right(\"'abc'\", 2)", "bc"),
        ("dbt.split_part(\"'a-b-c'\", \"'-'\", 2)", "b"),
        ("dbt.string_literal(dbt.escape_single_quotes(\"it's\"))", "it's"),
        ("dbt.cast_bool_to_text('true')", "true"),
        ("dbt.date(2026, 2, 3)", "2026-02-03"),
        ("dbt.any_value(\"'a'\")", "a"),
        ("dbt.bool_or('false')", "false"),
        ("dbt.listagg('x', \"'-'\", 'order by x desc')", "c-b-a"),
        ("dbt.listagg('x', \"'-'\", 'order by x', 2)", "a-b"),
    ];
    let columns: Vec<String> = (0..sql.len()).map(|i| format!("c{i}")).collect();
    let calls = sql.iter().zip(&columns).map(|((call, _), column)| format!("{{{{ {call} }}}} as {column}"));
    let model =
        format!("select\n{}\nfrom (values ('a'), ('b'), ('c')) as t (x)", calls.collect::<Vec<_>>().join(",\n"));
    let world = project(&[SEED, ("models/m.sql", &model)]);
    world.ok(&["build", "-q", "-s", "m"]);
    let rows = world.sql(&format!("select {} from gold.m", columns.join(", ")));
    for ((call, expected), value) in sql.iter().zip(&rows[0]) {
        assert_eq!(value, expected, "{call}");
    }
    world.write("project/models/m.sql", "{{ dbt.date_spine('day', \"'2026-02-27'\", \"'2026-03-02'\") }}");
    world.ok(&["build", "-q", "-s", "m"]);
    assert_eq!(table(&world, "select count(*), min(date_day) from gold.m"), ["3,2026-02-27T00:00:00Z"]);
    world.write("project/models/m.sql", "select 1 as a {{ dbt.except() }} select 2 {{ dbt.intersect() }} select 2");
    world.ok(&["build", "-q", "-s", "m"]);
}

/// A project with the package of `tests/packages/tools`, which `deps` has linked.
fn with_tools(files: &[(&str, &str)]) -> World {
    let world = project(files);
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/tools");
    world.write("project/packages.yml", &format!("packages:\n  - local: {}\n", tools.display()));
    world.fails(&["build"], 2, &["is not installed", "packages.yml:2:", "medallion deps"]);
    let linked = world.ok(&["deps"]).out;
    assert!(linked.contains("linked tools"), "{linked}");
    world
}

#[test]
fn a_package_lends_its_macros_models_seeds_and_tests() {
    let model = "select {{ tools.generate_surrogate_key(['id', 'kind']) }} as key,\n\
        {{ tools.star(ref('rows'), except=['AT']) }},\n\
        (select max(name) from {{ ref('tools', 'levels') }}) as level\nfrom {{ ref('rows') }}";
    let pivot = "select {{ tools.pivot('kind', tools.get_column_values(ref('rows'), 'kind', 'value')) }} from {{ ref('rows') }}";
    let union = "{{ tools.union_relations([ref('rows'), ref('level_names')]) }}";
    let tests =
        "models:\n  - name: m\n    columns:\n      - name: id\n        data_tests: [{tools.at_least: {value: 1}}]\n";
    let world = with_tools(&[
        SEED,
        ("models/m.sql", model),
        ("models/pivoted.sql", pivot),
        ("models/united.sql", union),
        ("models/m.yml", tests),
    ]);
    world.ok(&["build", "-q"]);
    let rows = table(&world, "select key = md5('1-sms'), id, kind, level from gold.m where id = 1");
    assert_eq!(rows, ["true,1,sms,middle"]);
    assert_eq!(table(&world, "select call, sms from gold.pivoted"), ["1,2"]);
    let united = "select _relation, count(*), count(id), count(level) from gold.united group by 1 order by 1";
    assert_eq!(table(&world, united), ["level_names,3,0,3", "rows,3,3,0"]);
    let listed = world.ok(&["ls"]).out;
    for name in ["tools.levels", "tools.level_names", "tools.at_least_levels_level__1", "tiny.tools_at_least_m_id__1"] {
        assert!(listed.lines().any(|line| line.ends_with(name)), "{name} is missing in\n{listed}");
    }
}

#[test]
fn a_project_may_say_what_a_package_does() {
    let own = "{% macro medallion__generate_surrogate_key(fields) %}'own ' || {{ fields[0] }}{% endmacro %}\n\
        {% macro null_text() %}'{{ var('null_text', 'mine') }}'{% endmacro %}";
    let world = with_tools(&[
        ("macros/own.sql", own),
        SEED,
        (
            "models/m.sql",
            "select {{ tools.generate_surrogate_key(['id']) }} as k, {{ null_text() }} as n from {{ ref('rows') }}",
        ),
    ]);
    let file = "name: tiny\nprofile: tiny\nvars: {tools: {levels: 1}}\nmodels: {tiny: {+schema: gold, +materialized: table}, tools: {+enabled: false}}\n\
        seeds: {tools: {+enabled: false}}\ndispatch: [{macro_namespace: tools, search_order: [tiny, tools]}]\n";
    world.write("project/dbt_project.yml", file);
    world.ok(&["build", "-q"]);
    assert_eq!(table(&world, "select k, n from gold.m where k = 'own 1'"), ["own 1,mine"]);
}

#[test]
fn a_package_of_a_hub_is_refused_by_its_name_until_somebody_puts_it_there() {
    let world = project(&[("models/m.sql", "select 1 as x")]);
    world.write("project/packages.yml", "packages:\n  - package: some-lab/handy_things\n    version: 1.0.0\n");
    for command in ["build", "deps"] {
        world.fails(
            &[command],
            2,
            &["some-lab/handy_things is not in dbt_packages", "packages.yml:2:", "no hub", "handy_things"],
        );
    }
    world.write("project/dbt_packages/handy_things/dbt_project.yml", "name: handy_things\n");
    world.ok(&["deps"]);
    world.ok(&["build", "-q"]);
}

#[test]
fn a_text_can_be_compiled_and_shown_and_a_macro_called_by_hand() {
    let world = project(&[SEED, ("models/m.sql", "select id from {{ ref('rows') }}")]);
    world.write(
        "project/macros/own.sql",
        "{% macro told(table, days=1) %}{% set n = run_query('select count(*) from gold.' ~ table).rows[0][0] %}\
         {% do print(n ~ ' rows, ' ~ days ~ ' days') %}{% endmacro %}\n\
         {% macro gone(table) %}{% do run_query('drop table gold.' ~ table) %}{% endmacro %}",
    );
    world.ok(&["build", "-q"]);
    assert_eq!(
        world.ok(&["compile", "--inline", "select {{ 1 + 1 }} from {{ ref('m') }}"]).out.trim(),
        "select 2 from \"gold\".\"m\""
    );
    let shown = world.ok(&["show", "--inline", "select max(id) as top from {{ ref('m') }}", "--format", "csv"]).out;
    assert_eq!(shown.trim(), "top\n3");
    let said = world.ok(&["run-operation", "told", "--args", "{table: m, days: 7}"]).out;
    assert_eq!(said.trim(), "3 rows, 7 days");
    world.fails(&["run-operation", "gone", "--args", "{table: m}"], 2, &["only reads", "macros/own.sql:2:"]);
    world.fails(&["run-operation", "tol"], 2, &["unknown macro `tol`", "did you mean `told`?"]);
    world.fails(&["run-operation", "told", "--args", "7"], 2, &["--args: `7` names no arguments"]);
}
