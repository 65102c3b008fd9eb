//! Templates that ask a database, which here is made up, and macros that are sent to implementations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Files, model, says};
use crate::error::{Error, Result};
use crate::models::{Answer, Cell, ColumnType, Database, Described, Relation, RunContext};

/// Answers every query with its own text and two rows, and knows one table.
#[derive(Debug, Default)]
struct Told(AtomicUsize);

impl Database for Told {
    fn query(&self, sql: &str) -> Result<Answer> {
        if sql.contains("broken") {
            return Err(Error::outside("the store is away"));
        }
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        let column = |name: &str| ColumnType { name: name.to_owned(), sql_type: "varchar".to_owned() };
        let row = |n: i64| vec![Cell::Text(sql.to_owned()), Cell::Integer(n), Cell::Null];
        Ok(Answer { columns: ["sql", "n", "none"].map(column).into(), rows: vec![row(asked as i64), row(7)] })
    }

    fn describe(&self, relation: &Relation) -> Result<Option<Described>> {
        let column = ColumnType { name: "amount".to_owned(), sql_type: "decimal(10,2)".to_owned() };
        Ok((relation.name == "there").then(|| Described { is_view: true, columns: vec![column] }))
    }
}

fn compiled(files: &Files) -> Result<String> {
    let run = RunContext { database: Some(Arc::new(Told::default())), ..RunContext::default() };
    files.load().compile("model.shop.m", &run).map(|compiled| compiled.sql.trim().to_owned())
}

#[test]
fn a_query_gives_none_while_parsing_and_a_table_when_compiling() {
    let files = model(
        "{% set r = run_query('q') %}{% if execute %}{{ r.columns[1].values() }} {{ r.rows[1]['n'] }} {{ r[0][0] }} \
         {{ r | length }} {{ r.column_names }} {{ r.columns['none'][0] is none }} {% for x in r %}{{ x.n }}{% endfor %} \
         {{ r.columns[1].values_sorted() }}{{ r.rows[1].dict() }}{% else %}{{ r is none }}{% endif %}",
    );
    let expected = "(0, 7) 7 q 2 ('sql', 'n', 'none') True 07 (0, 7){'sql': 'q', 'n': 7, 'none': None}";
    assert_eq!(compiled(&files).unwrap(), expected, "asked once, though it is rendered more than once");
}

#[test]
fn a_statement_keeps_its_result() {
    let files = model(
        "{% call statement('s', fetch_result=true) %}select {{ 1 + 1 }}{% endcall %}{% set r = load_result('s') %}\
         {% if execute %}{{ r['data'] }}{{ r.table.columns[1][1] }}{{ load_result('other') is none }}{% endif %}",
    );
    assert_eq!(compiled(&files).unwrap(), "[('select 2', 0, None), ('select 2', 7, None)]7True");
}

#[test]
fn an_error_of_a_query_is_placed_in_the_template_and_keeps_its_kind() {
    let error = compiled(&model("select 1\n{{ run_query('broken') }}")).unwrap_err();
    says(&error.to_string(), &["the query `broken`: the store is away", "m.sql:2:4"]);
    assert_eq!(error.kind(), crate::error::Kind::Outside);
    let files = model("{{ run_query('x') }}");
    let error = files.load().compile("model.shop.m", &RunContext::default()).unwrap_err().to_string();
    says(&error, &["needs the tables", "m.sql:1:4"]);
}

#[test]
fn relations_can_be_looked_for_and_made() {
    let files = model(
        "{% set r = adapter.get_relation(database='x', schema='s', identifier='there') %}{% if execute %}{{ r }} {{ r.type }} \
         {{ adapter.get_columns_in_relation(r)[0].data_type }} {{ load_relation(this) is none }} {% endif %}\
         {% set made = api.Relation.create(schema='a', identifier='b') %}{{ made }} {{ made.include(schema=false) }} \
         {{ made is mapping }} {{ made.get('metadata', {}).get('type', '').endswith('Relation') }} {{ this.is_table }} \
         {{ api.Column('c', 'decimal', none, 10, 2).data_type }} {{ api.Column.translate_type('string') }}",
    );
    let expected = "\"s\".\"there\" view decimal(10,2) True \"a\".\"b\" \"b\" True True False decimal(10,2) varchar";
    assert_eq!(compiled(&files).unwrap(), expected);
    says(&model("{% do adapter.drop_relation(this) %}").error(), &["beside the commits of a build", "m.sql:1:"]);
}

#[test]
fn a_macro_is_sent_to_the_implementation_for_medallion_before_the_default() {
    let files = model("{{ f(1) }} {{ g(2) }}").with(
        "macros/f.sql",
        "{% macro f(x) %}{{ return(adapter.dispatch('f', 'shop')(x)) }}{% endmacro %}\n\
         {% macro default__f(x) %}default{% endmacro %}\n\
         {% macro medallion__f(x) %}medallion {{ x }}{% endmacro %}\n\
         {% macro g(x) %}{{ adapter.dispatch('g')(x) }}{% endmacro %}\n\
         {% macro default__g(x) %}default {{ x }}{% endmacro %}",
    );
    assert_eq!(files.compiled(), "medallion 1 default 2");
    let macros = &files.load().nodes["model.shop.m"].macros;
    assert!(macros.contains(&"macro.shop.medallion__f".to_owned()), "{macros:?}");
    says(&model("{{ adapter.dispatch('h')() }}").error(), &["`h` has no implementation", "default__h", "m.sql:1:11"]);
}

#[test]
fn a_built_in_macro_gives_way_to_the_projects_own_implementation() {
    let files = model("{{ dbt.type_string() }} {{ dbt.concat(['a', 'b']) }} {{ type_int() }}")
        .with("macros/f.sql", "{% macro medallion__type_string() %}text{% endmacro %}");
    assert_eq!(files.compiled(), "text a || b int");
}

#[test]
fn arguments_that_a_macro_does_not_name_are_varargs_and_kwargs() {
    let files = model("{{ f(1, 2, 3, b=5) }}{{ f(a=6) }}").with(
        "macros/f.sql",
        "{% macro f(x=0, a=0) %}{{ x }}{{ varargs }}{{ a }}{{ kwargs }}{% do kwargs.update({'z': 1}) %};{% endmacro %}",
    );
    assert_eq!(files.compiled(), "1[3]2{'b': 5};0[]6{};");
}

#[test]
fn the_graph_and_what_is_selected_are_known_when_compiling() {
    let files = model(
        "{{ graph.nodes.values() | map(attribute='name') | join(',') }}|{{ selected_resources }}|{{ flags.WHICH }}",
    )
    .model("other", "");
    let run = RunContext { selected: Arc::new(vec!["a".to_owned()]), verb: "run".to_owned(), ..RunContext::default() };
    assert_eq!(files.load().compile("model.shop.m", &run).unwrap().sql, "m,other|['a']|run");
}

#[test]
fn a_materialization_is_refused_by_its_name() {
    let files = Files::new().with("macros/m.sql", "\n{% materialization log, default %}{% endmaterialization %}");
    says(&files.error(), &["the materialization `log` is not supported yet", "m.sql:2:1"]);
}
