//! A build that is larger than its memory: it spills, or says what to do.

use medallion::build::{Options, Status};
use medallion::error::Kind;

use crate::world::inside::{Inside, written};

const MEMORY: u64 = 24 << 20;
const TEXTS: &str = "select value as id, 'a text that takes some room in memory, row by row, number ' || value as text \
                     from generate_series(1, 250000)";
const NUMBERS: &str = "select value as id, value * 2 as a, value * 3 as b, value * 5 as c, value * 7 as d, \
                       value * 11 as e, value * 13 as f, value * 17 as g, value * 19 as h, value * 23 as i \
                       from generate_series(1, 300000)";

#[tokio::test(flavor = "multi_thread")]
async fn joins_aggregates_and_windows_that_are_larger_than_the_memory_are_built() {
    let joined = "select x.*, y.i as j from {{ ref('numbers') }} x join {{ ref('numbers') }} y on x.id = y.id";
    let ranked = "select *, percent_rank() over (partition by id % 500 order by id) as place from {{ ref('numbers') }}";
    let grouped = "select text, count(*) as n, max(id) as id from {{ ref('texts') }} group by text";
    let (_dir, project) = written(&[
        ("models/texts.sql", TEXTS),
        ("models/numbers.sql", NUMBERS),
        ("models/joined.sql", joined),
        ("models/grouped.sql", grouped),
        ("models/ranked.sql", ranked),
    ]);
    let inside = Inside::new().with_memory(MEMORY);
    let options = Options { threads: 2, ..Options::default() };
    let summary = inside.build_with(&project, options, &mut |_| {}).await.unwrap();
    assert!(summary.failure().is_none(), "{:#?}", summary.results);
    let inside = inside.with_memory(256 << 20);
    for (query, answer) in [
        ("select count(*), count(distinct id) from gold.joined where i = j", ["300000", "300000"]),
        ("select count(*), sum(n) from gold.grouped", ["250000", "250000"]),
        ("select count(*), count(*) filter (where place = 0) from gold.ranked", ["300000", "500"]),
    ] {
        assert_eq!(inside.rows(query).await, [answer], "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_built_within_the_memory_names_the_key_to_raise_and_the_rest_is_built() {
    let (_dir, project) = written(&[
        ("models/texts.sql", TEXTS),
        ("models/one_group.sql", "select id, percent_rank() over (order by text) as place from {{ ref('texts') }}"),
        ("models/small.sql", "select count(*) as n from {{ ref('texts') }}"),
    ]);
    let inside = Inside::new().with_memory(MEMORY);
    let options = Options { threads: 2, ..Options::default() };
    let summary = inside.build_with(&project, options, &mut |_| {}).await.unwrap();
    let of = |name: &str| summary.results.iter().find(|r| r.name == name).unwrap();
    assert_eq!(of("one_group").status, Status::Error(Kind::Outside), "{}", of("one_group").message);
    assert!(of("one_group").message.contains("raise build.memory"), "{}", of("one_group").message);
    assert_eq!(of("small").status, Status::Success);
}
