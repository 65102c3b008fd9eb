//! A build that is larger than its memory: it spills, or says what to do.

use medallion::build::{Options, Status};
use medallion::error::Kind;

use crate::world::inside::{Inside, written};

const MEMORY: u64 = 24 << 20;
const ROWS: &str = "select value as id, 'a text that takes some room in memory, row by row, number ' || value as text \
                    from generate_series(1, 250000)";

#[tokio::test(flavor = "multi_thread")]
async fn joins_aggregates_and_windows_that_are_larger_than_the_memory_are_built() {
    let (_dir, project) = written(&[
        ("models/rows.sql", ROWS),
        (
            "models/joined.sql",
            "select a.id, a.text, b.text as other from {{ ref('rows') }} a join {{ ref('rows') }} b on a.id = b.id",
        ),
        ("models/grouped.sql", "select text, count(*) as n, max(id) as id from {{ ref('rows') }} group by text"),
        (
            "models/ranked.sql",
            "select id, text, percent_rank() over (partition by id % 500 order by id) as place from {{ ref('rows') }}",
        ),
    ]);
    let inside = Inside::new().with_memory(MEMORY);
    let options = Options { threads: 2, ..Options::default() };
    let summary = inside.build_with(&project, options, &mut |_| {}).await.unwrap();
    assert!(summary.failure().is_none(), "{:#?}", summary.results);
    let inside = inside.with_memory(256 << 20);
    for (query, answer) in [
        ("select count(*), count(distinct id) from gold.joined where text = other", ["250000", "250000"]),
        ("select count(*), sum(n) from gold.grouped", ["250000", "250000"]),
        ("select count(*), count(*) filter (where place = 0) from gold.ranked", ["250000", "500"]),
    ] {
        assert_eq!(inside.rows(query).await, [answer], "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_built_within_the_memory_names_the_key_to_raise_and_the_rest_is_built() {
    let (_dir, project) = written(&[
        ("models/rows.sql", ROWS),
        ("models/one_group.sql", "select id, percent_rank() over (order by text) as place from {{ ref('rows') }}"),
        ("models/small.sql", "select count(*) as n from {{ ref('rows') }}"),
    ]);
    let inside = Inside::new().with_memory(MEMORY);
    let options = Options { threads: 2, ..Options::default() };
    let summary = inside.build_with(&project, options, &mut |_| {}).await.unwrap();
    let of = |name: &str| summary.results.iter().find(|r| r.name == name).unwrap();
    assert_eq!(of("one_group").status, Status::Error(Kind::Outside), "{}", of("one_group").message);
    assert!(of("one_group").message.contains("raise build.memory"), "{}", of("one_group").message);
    assert_eq!(of("small").status, Status::Success);
}
