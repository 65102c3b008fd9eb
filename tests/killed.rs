//! A build that dies at any of its steps: readers see the release before or the one after, and the next build is as if
//! nothing had happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use medallion::build::Options;
use medallion::engine::release;
use medallion::lake::TableName;
use medallion::models::Project;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

use crate::world::faulty::Faulty;
use crate::world::inside::{Inside, project, runtime, texts, written};

const SEED: &str = "seeds/s.csv";
const MODEL: &str = "{{ config(materialized='incremental', incremental_strategy='changes', unique_key='id', \
                     recompute_by='id') }} select id, n from {{ ref('s') }}";

async fn build(inside: &Inside, project: &Arc<Project>) {
    let options = Options { threads: 2, ..Options::default() };
    let summary = inside.build_with(project, options, &mut |_| {}).await.unwrap();
    assert!(summary.failure().is_none(), "{:#?}", summary.results);
}

/// What readers see, all of it at one moment.
async fn seen(inside: &Inside) -> Vec<Vec<String>> {
    let engine = inside.engine();
    let current = release::current(&engine).await.unwrap();
    let catalog = release::catalog(&engine, &inside.lake, current.as_ref(), false).await.unwrap();
    let query =
        "select m.id, m.n, t.n, v.n from gold.m m join gold.v v on m.id = v.id cross join gold.total t order by 1";
    let frame = engine.session(Arc::new(catalog)).sql(query).await.unwrap();
    texts(&frame.collect().await.unwrap())
}

/// The objects of a store by folder and kind: names of data files are made by chance.
async fn shape(store: &dyn ObjectStore) -> BTreeMap<String, usize> {
    let mut shape = BTreeMap::new();
    for object in store.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let path = object.location.to_string();
        let kind = match path.split_once("part-") {
            Some((folder, _)) => folder.to_owned(),
            None => path,
        };
        *shape.entry(kind).or_default() += 1;
    }
    shape
}

/// The lease of the dead runs out by itself after a minute; here its time is over at once.
async fn let_leases_run_out(inside: &Inside, store: &dyn ObjectStore) {
    let leases = inside.lake.own_path(&["leases"]);
    for lease in store.list(Some(&leases)).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = store.get(&lease.location).await.unwrap().bytes().await.unwrap();
        let mut state: Value = serde_json::from_slice(&bytes).unwrap();
        if !state["until"].is_null() {
            state["until"] = "2000-01-01T00:00:00Z".into();
            store.put(&lease.location, state.to_string().into()).await.unwrap();
        }
    }
}

/// Data files beside the tables that none of their versions names.
async fn nobodys(inside: &Inside, store: &dyn ObjectStore) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["gold.s", "gold.m", "gold.total", "_medallion.releases"] {
        let (schema, table) = name.split_once('.').unwrap();
        let table = inside.lake.table(&TableName::new(schema, table)).unwrap();
        let Some(snapshot) = table.latest().await.unwrap() else { continue };
        let mut named: Vec<String> = table.removed_since(snapshot.version, 0).await.unwrap().into_iter().collect();
        named.extend(snapshot.files.iter().map(|f| f.path.clone()));
        for object in store.list(Some(table.folder())).try_collect::<Vec<_>>().await.unwrap() {
            let file = object.location.filename().unwrap();
            if file.starts_with("part-") && !named.iter().any(|n| n == file) {
                found.push(object.location.to_string());
            }
        }
    }
    found
}

#[test]
fn a_build_that_dies_at_any_of_its_calls_shows_nothing_in_between_and_leaves_nothing_behind() {
    runtime().block_on(async {
        let (dir, before) = written(&[
            ("models/m.sql", MODEL),
            ("models/total.sql", "select sum(n) as n from {{ ref('m') }}"),
            ("models/v.sql", "{{ config(materialized='view') }} select id, n from {{ ref('m') }}"),
            ("tests/m_has_ids.sql", "select * from {{ ref('m') }} where id is null"),
            (SEED, "id,n\na,1\nb,2\n"),
        ]);
        let store = InMemory::new();
        let whole = Inside::on(Arc::new(store.clone()));
        build(&whole, &before).await;
        let old = seen(&whole).await;
        std::fs::write(dir.path().join(SEED), "id,n\na,5\nc,7\n").unwrap();
        let after = project(dir.path());
        let new = [["a", "5", "12", "5"], ["c", "7", "12", "7"]];

        let (mut died, mut looked, mut last) = (0, 0, None);
        for calls in 0.. {
            let faulty = Faulty::with_content_of(&store);
            let inside = Inside::on(faulty.clone());
            faulty.die_after(calls);
            let finished = tokio::select! {
                () = build(&inside, &after) => true,
                () = faulty.died() => false,
            };
            // What was running is gone before the store answers again.
            tokio::time::sleep(Duration::from_millis(2)).await;
            faulty.revive();
            let shape = shape(&*faulty).await;
            // Between two writes it makes no difference when it died.
            if finished || last.as_ref() != Some(&shape) {
                looked += 1;
                let now = seen(&inside).await;
                assert!(now == old || now == new, "after {calls} calls: {now:?}");
                assert!(!finished || now == new);
                let_leases_run_out(&inside, &*faulty).await;
                build(&inside, &after).await;
                assert_eq!(seen(&inside).await, new, "after {calls} calls");
                assert_eq!(nobodys(&inside, &*faulty).await, Vec::<String>::new(), "after {calls} calls");
            }
            if finished {
                break;
            }
            (died, last) = (died + 1, Some(shape));
        }
        assert!(died > 40 && looked > 10, "died {died} times, of which {looked} after a write");
    });
}
