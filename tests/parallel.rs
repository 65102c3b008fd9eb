//! Nodes that do not depend on each other are built at the same time, and nobody can tell from what comes of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use medallion::build::{Options, Status, Summary};
use medallion::models::Project;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::world::hooked::Hooked;
use crate::world::inside::{Inside, written};

/// Lets the first data files of these tables be written only once all of the tables have begun theirs.
fn meeting(tables: &'static [&'static str]) -> Arc<Hooked> {
    let (begun, met) = (Arc::new(Mutex::new(BTreeSet::new())), watch::Sender::new(false));
    Hooked::new(move |path| {
        let table = tables.iter().find(|t| path.contains(**t) && path.ends_with(".parquet"));
        let (begun, met) = (begun.clone(), met.clone());
        Box::pin(async move {
            let Some(table) = table else { return Ok(()) };
            begun.lock().unwrap().insert(*table);
            if begun.lock().unwrap().len() == tables.len() {
                met.send_replace(true);
            }
            let all = tokio::time::timeout(Duration::from_secs(60), met.subscribe().wait_for(|met| *met)).await.is_ok();
            assert!(all, "only {:?} were written at the same time", begun.lock().unwrap());
            Ok(())
        })
    })
}

async fn built(inside: &Inside, project: &Arc<Project>, threads: usize) -> Summary {
    inside.build_with(project, Options { threads, ..Options::default() }, &mut |_| {}).await.unwrap()
}

fn statuses(summary: &Summary) -> Vec<(String, Status, String)> {
    summary.results.iter().map(|r| (r.name.clone(), r.status, r.how.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn independent_nodes_are_written_at_the_same_time() {
    let (_dir, project) = written(&[
        ("models/a.sql", "select 1 as n"),
        ("models/b.sql", "select 2 as n"),
        ("models/c.sql", "select 3 as n"),
        (
            "models/sum.sql",
            "select sum(n) as n from (select n from {{ ref('a') }} union all select n from {{ ref('b') }} union all select n from {{ ref('c') }})",
        ),
    ]);
    let inside = Inside::on(meeting(&["gold/a/", "gold/b/", "gold/c/"]));
    let summary = built(&inside, &project, 3).await;
    assert!(summary.failure().is_none(), "{:?}", statuses(&summary));
    assert_eq!(inside.rows("select n from gold.sum").await, [["6"]]);
}

/// Many nodes of all kinds, one of which fails its test.
fn mixed() -> (TempDir, Arc<Project>) {
    let mut files: Vec<(String, String)> = vec![
        ("seeds/s.csv".into(), "n\n1\n2\n3\n".into()),
        ("models/v.sql".into(), "{{ config(materialized='view') }} select n * 10 as n from {{ ref('s') }}".into()),
        ("models/e.sql".into(), "{{ config(materialized='ephemeral') }} select n + 1 as n from {{ ref('v') }}".into()),
        ("models/bad.sql".into(), "select n from {{ ref('m0') }}".into()),
        ("models/after_bad.sql".into(), "select n from {{ ref('bad') }}".into()),
        ("models/wrong.sql".into(), "select no_such_column from {{ ref('m1') }}".into()),
        ("models/last.sql".into(), "select count(*) as n from {{ ref('m2') }} join {{ ref('m5') }} using (n)".into()),
        ("tests/bad_has_none.sql".into(), "select * from {{ ref('bad') }}".into()),
        (
            "tests/two_agree.sql".into(),
            "select a.n from {{ ref('m3') }} a left join {{ ref('m4') }} b on a.n + 1 = b.n where b.n is null".into(),
        ),
    ];
    for m in 0..6 {
        files.push((format!("models/m{m}.sql"), format!("select n + {m} as n from {{{{ ref('e') }}}}")));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    written(&files)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_number_of_threads_the_outcome_is_the_same() {
    let mut outcomes = Vec::new();
    for threads in [1, 2, 8] {
        let (_dir, project) = mixed();
        let inside = Inside::new();
        let summary = built(&inside, &project, threads).await;
        let released = inside.rows("select schema, name, coalesce(version, -1) from _medallion.releases").await;
        let rows = inside.rows("select n from gold.m5 union all select n from gold.last").await;
        let again = built(&inside, &project, threads).await;
        outcomes.push((statuses(&summary), released, rows, statuses(&again)));
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
    let of = |name: &str| outcomes[0].0.iter().find(|(n, ..)| n == name).unwrap().1;
    assert_eq!(of("bad"), Status::Failed);
    assert_eq!(of("after_bad"), Status::Skipped);
    assert_eq!(of("two_agree"), Status::Success, "a test runs once all of its nodes are there");
    assert_eq!(of("last"), Status::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_told_as_nodes_end_and_kept_in_the_order_of_the_project() {
    let (_dir, project) = mixed();
    let mut told = Vec::new();
    let options = Options { threads: 4, ..Options::default() };
    let summary =
        Inside::new().build_with(&project, options, &mut |result| told.push(result.name.clone())).await.unwrap();
    let kept: Vec<String> = summary.results.iter().map(|r| r.name.clone()).collect();
    let order: Vec<String> = project.order().iter().map(|n| n.name.clone()).collect();
    let place = |name: &String| order.iter().position(|n| n == name).unwrap();
    let nodes: Vec<usize> =
        kept.iter().filter(|n| !["bad_has_none", "two_agree"].contains(&n.as_str())).map(place).collect();
    assert!(nodes.is_sorted(), "{kept:?}");
    told.sort();
    let mut kept = kept;
    kept.sort();
    assert_eq!(told, kept, "each result once");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_first_failure_the_rest_is_left_alone_if_asked_for() {
    let mut files: Vec<(String, String)> = vec![("models/a_wrong.sql".into(), "select no_such_column".into())];
    files.extend((0..20).map(|m| (format!("models/m{m:02}.sql"), "select 1 as n".into())));
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let (_dir, project) = written(&files);
    let options = Options { threads: 2, fail_fast: true, ..Options::default() };
    let summary = Inside::new().build_with(&project, options, &mut |_| {}).await.unwrap();
    assert_eq!(summary.results.len(), 21);
    let skipped = summary.count(|r| r.status == Status::Skipped && r.message.contains("--fail-fast"));
    let built = summary.count(|r| r.status == Status::Success);
    assert_eq!(summary.count(|r| r.status.is_failure()), 1);
    assert_eq!(skipped + built, 20);
    assert!(skipped >= 10, "{:?}", statuses(&summary));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_the_store_fails_is_tried_again_and_then_fails_the_build() {
    let (_dir, project) =
        written(&[("models/a.sql", "select 1 as n"), ("models/b.sql", "select n from {{ ref('a') }}")]);
    let failing = |times: usize| {
        let left = Arc::new(Mutex::new(times));
        Hooked::new(move |path| {
            let mut left = left.lock().unwrap();
            let fails = *left > 0 && path.contains("gold/a/part-");
            *left -= usize::from(fails);
            let error = object_store::Error::Generic { store: "Hooked", source: "the connection was reset".into() };
            Box::pin(async move { if fails { Err(error) } else { Ok(()) } })
        })
    };
    let options = || Options { threads: 2, retries: 1, ..Options::default() };
    let inside = Inside::on(failing(1));
    let summary = inside.build_with(&project, options(), &mut |_| {}).await.unwrap();
    assert!(summary.failure().is_none(), "{:?}", statuses(&summary));
    assert_eq!(inside.rows("select n from gold.b").await, [["1"]]);
    let error = Inside::on(failing(2)).build_with(&project, options(), &mut |_| {}).await.err().unwrap();
    assert!(error.to_string().contains("building a") && error.to_string().contains("reset"), "{error}");
}
