//! dbt's own incremental strategies, each build with another seed for its input.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::world::{World, project};

/// An incremental model `m` of the seed `rows`, with this configuration.
fn incremental(config: &str) -> World {
    let model = format!("{{{{ config(materialized='incremental', {config}) }}}}\nselect * from {{{{ ref('rows') }}}}");
    project(&[("models/m.sql", &model)])
}

/// Builds with this seed, and gives what the table has.
fn build(world: &World, seed: &str) -> Vec<String> {
    world.write("project/seeds/rows.csv", seed);
    world.ok(&["build", "-q"]);
    rows(world)
}

fn rows(world: &World) -> Vec<String> {
    world.sql("select * from gold.m order by 1 nulls last, 2 nulls last").iter().map(|row| row.join(",")).collect()
}

/// The version of the table.
fn version(world: &World) -> i64 {
    let log = world.path("lake/gold/m/_delta_log");
    std::fs::read_dir(log)
        .unwrap()
        .filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "json"))
        .count() as i64
}

#[test]
fn append_adds_what_the_query_gives_and_an_unchanged_input_adds_nothing() {
    let world = incremental("incremental_strategy='append'");
    assert_eq!(build(&world, "id,n\na,1\nb,2\n"), ["a,1", "b,2"]);
    assert_eq!(build(&world, "id,n\nb,2\nc,3\n"), ["a,1", "b,2", "b,2", "c,3"]);
    let before = version(&world);
    assert_eq!(build(&world, "id,n\nb,2\nc,3\n").len(), 4);
    assert_eq!(version(&world), before);
    world.ok(&["build", "-q", "--full-refresh"]);
    assert_eq!(rows(&world), ["b,2", "c,3"]);
}

#[test]
fn without_a_strategy_rows_merge_by_their_key_and_are_added_where_there_is_none() {
    let world = incremental("unique_key='id'");
    build(&world, "id,n\na,1\nb,2\n,0\n");
    assert_eq!(build(&world, "id,n\nb,3\nc,4\n,5\n"), ["a,1", "b,3", "c,4", ",5"], "a NULL is a key like any other");
    let world = incremental("on_schema_change='ignore'");
    build(&world, "id,n\na,1\n");
    assert_eq!(build(&world, "id,n\na,2\n"), ["a,1", "a,2"]);
}

#[test]
fn the_query_sees_the_table_that_it_adds_to() {
    let model = "{{ config(materialized='incremental', unique_key='id') }}\nselect * from {{ ref('rows') }}\n\
                 {% if is_incremental() %}where n > (select max(n) from {{ this }}){% endif %}";
    let world = project(&[("models/m.sql", model)]);
    build(&world, "id,n\na,5\nb,7\n");
    assert_eq!(build(&world, "id,n\na,6\nb,8\nc,7\n"), ["a,5", "b,8"], "only b is newer than what was there");
}

#[test]
fn a_merge_may_leave_columns_of_rows_that_are_there_alone() {
    let first = "id,n,seen\na,1,monday\nb,2,monday\n";
    let second = "id,n,seen\nb,3,tuesday\nc,4,tuesday\n";
    for config in ["merge_update_columns=['n']", "merge_exclude_columns=['seen']"] {
        let world = incremental(&format!("unique_key='id', {config}"));
        build(&world, first);
        assert_eq!(build(&world, second), ["a,1,monday", "b,3,monday", "c,4,tuesday"], "{config}");
    }
}

#[test]
fn a_merge_refuses_a_key_that_comes_twice_and_delete_insert_takes_both() {
    let world = incremental("unique_key='id', incremental_strategy='merge'");
    build(&world, "id,n\na,1\n");
    world.write("project/seeds/rows.csv", "id,n\na,2\na,3\n");
    world.fails(&["build"], 1, &["models/m.sql", "same `unique_key`", "| a  |"]);
    assert_eq!(rows(&world), ["a,1"]);
    let world = incremental("unique_key='id', incremental_strategy='delete+insert'");
    build(&world, "id,n\na,1\nb,1\n");
    assert_eq!(build(&world, "id,n\na,2\na,3\n"), ["a,2", "a,3", "b,1"]);
}

#[test]
fn insert_overwrite_replaces_the_partitions_that_come() {
    let world = incremental("incremental_strategy='insert_overwrite', partition_by='day'");
    build(&world, "day,n\n1,10\n1,11\n2,20\n");
    assert_eq!(build(&world, "day,n\n1,12\n3,30\n"), ["1,12", "2,20", "3,30"]);
    let world = incremental("incremental_strategy='insert_overwrite'");
    build(&world, "day,n\n1,10\n2,20\n");
    assert_eq!(build(&world, "day,n\n1,12\n"), ["1,12"], "without partitions it is the whole table");
}

#[test]
fn a_changed_query_adds_to_what_is_there_until_a_full_refresh() {
    let world = incremental("incremental_strategy='append'");
    build(&world, "id,n\na,1\n");
    let model = "{{ config(materialized='incremental', incremental_strategy='append') }}\n\
                 select id, n + 10 as n from {{ ref('rows') }}";
    world.write("project/models/m.sql", model);
    assert_eq!(build(&world, "id,n\nb,2\n"), ["a,1", "b,12"]);
    world.write("project/models/m.sql", &model.replace("'append')", "'append', full_refresh=false)"));
    world.ok(&["build", "-q", "--full-refresh"]);
    assert_eq!(rows(&world), ["a,1", "b,12", "b,12"], "its configuration keeps it from being built anew");
}

#[test]
fn new_and_missing_columns_are_as_on_schema_change_says() {
    let (first, wider, narrower) = ("id,n\na,1\n", "id,n,more\na,2,x\n", "id,more\na,y\n");
    let with = |change: &str| {
        let world = incremental(&format!("unique_key='id', on_schema_change='{change}'"));
        build(&world, first);
        world
    };
    let world = with("ignore");
    assert_eq!(build(&world, wider), ["a,2"]);
    world.write("project/seeds/rows.csv", narrower);
    world.fails(&["build"], 2, &["models/m.sql", "has no `n`", "--full-refresh"]);

    let world = with("fail");
    world.write("project/seeds/rows.csv", wider);
    world.fails(&["build"], 1, &["models/m.sql", "new are `more`"]);
    assert_eq!(rows(&world), ["a,1"]);

    let world = with("append_new_columns");
    assert_eq!(build(&world, "id,n,more\nb,2,x\n"), ["a,1,", "b,2,x"]);
    assert_eq!(build(&world, narrower), ["a,,y", "b,2,x"]);

    let world = with("sync_all_columns");
    assert_eq!(build(&world, "id,more\nb,x\n"), ["a,", "b,x"]);
    assert_eq!(build(&world, "id,n,more\nc,3,z\n"), ["a,,", "b,x,", "c,z,3"], "what was dropped does not come back");
}

#[test]
fn columns_of_lineage_are_columns_like_any_other() {
    for strategy in ["merge", "delete+insert"] {
        let world = incremental(&format!("unique_key='id', incremental_strategy='{strategy}'"));
        build(&world, "id,_at,_by\na,1,9\nb,1,9\n");
        assert_eq!(build(&world, "id,_at,_by\na,2,3\n"), ["a,2,3", "b,1,9"], "{strategy}");
    }
    let world = incremental("incremental_strategy='insert_overwrite', partition_by='day'");
    build(&world, "day,_place\n1,5\n");
    assert_eq!(build(&world, "day,_place\n1,5\n1,6\n1,7\n"), ["1,5", "1,6", "1,7"]);
}

#[test]
fn a_value_of_another_type_is_refused_and_never_changed() {
    for (query, has) in [("1.7", "Float64"), ("true", "Boolean"), ("'1'", "Utf8")] {
        let world = incremental("incremental_strategy='append'");
        build(&world, "id,n\na,1\n");
        let model = "{{ config(materialized='incremental', incremental_strategy='append') }}\n";
        world.write(
            "project/models/m.sql",
            &format!("{model}select 'b' as id, {query} as n from {{{{ ref('rows') }}}}"),
        );
        world.fails(&["build"], 2, &["models/m.sql", "`n` is", has, "Int64", "cast it"]);
        assert_eq!(rows(&world), ["a,1"]);
    }
}

#[test]
fn names_that_differ_only_in_case_make_no_table() {
    let world = project(&[("models/m.sql", "select 1 as a, 2 as \"A\"")]);
    world.fails(&["build"], 2, &["`a` and `A` differ only in case"]);
    world.write("project/models/m.sql", "select 1 as a, 2 as b");
    world.ok(&["build"]);
    assert_eq!(rows(&world), ["1,2"]);
    world.ok(&["verify"]);
}

#[test]
fn a_merge_of_any_batches_is_the_last_row_of_each_key() {
    let batch = prop::collection::btree_map(prop::option::of(0u8..6), prop::option::of(0u8..3), 0..6);
    let batches = prop::collection::vec(batch, 1..5);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 6, ..ProptestConfig::default() });
    runner
        .run(&batches, |batches| {
            let world = incremental("unique_key='id'");
            world.write(
                "project/seeds/properties.yml",
                "seeds: [{name: rows, config: {column_types: {id: int, n: int}}}]",
            );
            let text = |n: &Option<u8>| n.map(|n| n.to_string()).unwrap_or_default();
            let mut expected = BTreeMap::new();
            for batch in batches {
                let lines: String = batch.iter().map(|(id, n)| format!("{},{}\n", text(id), text(n))).collect();
                expected.extend(batch);
                let mut found = build(&world, &format!("id,n\n{lines}"));
                found.sort();
                let mut rows: Vec<String> =
                    expected.iter().map(|(id, n)| format!("{},{}", text(id), text(n))).collect();
                rows.sort();
                prop_assert_eq!(found, rows);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn not_a_number_is_a_key_like_any_other_and_is_found() {
    let typed = "version: 2\nseeds: [{name: rows, config: {column_types: {id: double}}}]\n";
    for strategy in ["merge", "delete+insert"] {
        let world = incremental(&format!("unique_key='id', incremental_strategy='{strategy}'"));
        world.write("project/seeds/rows.yml", typed);
        build(&world, "id,n\nNaN,1\n2,1\n");
        assert_eq!(build(&world, "id,n\nNaN,2\n3,1\n"), ["2.0,1", "3.0,1", "NaN,2"], "{strategy}");
        // It compares as greater than every number, in whatever file it is.
        assert_eq!(world.sql("select n from gold.m where id > 100"), [["2"]], "{strategy}");
        assert_eq!(world.sql("select n from gold.m where id = cast('NaN' as double)"), [["2"]], "{strategy}");
    }
}

#[test]
fn rows_that_are_equal_but_for_their_lineage_keep_each_its_own() {
    let model = "{{ config(materialized='incremental', incremental_strategy='changes', unique_key='id', \
                 recompute_by='id') }}\nselect id, n, file as _file, place as _place from {{ ref('rows') }}";
    let world = project(&[("models/m.sql", model)]);
    let lineage = |seed: &str| -> Vec<String> {
        world.write("project/seeds/rows.csv", seed);
        world.ok(&["build", "-q"]);
        world.sql("select id, n, _file, _place from gold.m order by 1, 3").iter().map(|row| row.join(",")).collect()
    };
    assert_eq!(lineage("id,n,file,place\na,1,x,1\nb,1,x,2\n"), ["a,1,x,1", "b,1,x,2"]);
    let three = "id,n,file,place\na,1,x,1\na,1,y,9\na,1,z,5\nb,1,x,2\n";
    assert_eq!(lineage(three), ["a,1,x,1", "a,1,y,9", "a,1,z,5", "b,1,x,2"]);
}
