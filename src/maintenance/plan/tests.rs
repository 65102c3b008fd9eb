//! Which files a plan puts together, and which it leaves alone.

use std::collections::HashSet;

use arrow::datatypes::Schema;
use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::lake::TableName;
use crate::lake::snapshot::Retention;

const TARGET: u64 = 64 << 20;
const SIZES: Sizes = Sizes { target: TARGET, min_age: Duration::from_secs(60) };

fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A file of so many seconds ago.
fn file(name: &str, day: &str, size: u64, age: i64) -> Arc<DataFile> {
    Arc::new(DataFile {
        path: name.to_owned(),
        size,
        modified_ms: (now() - TimeDelta::seconds(age)).timestamp_millis(),
        partition_values: BTreeMap::from([("_ingest_date".to_owned(), Some(day.to_owned()))]),
        stats: None,
    })
}

fn table(files: Vec<Arc<DataFile>>) -> Snapshot {
    Snapshot {
        name: TableName::new("bronze", "t"),
        version: 1,
        schema: Arc::new(Schema::empty()),
        partition_columns: vec!["_ingest_date".to_owned()],
        table_id: String::new(),
        key: Vec::new(),
        metadata: serde_json::Value::Null,
        retention: Retention::default(),
        files,
    }
}

fn names(bins: &[Bin]) -> Vec<Vec<&str>> {
    bins.iter().map(|bin| bin.iter().map(|f| f.path.as_str()).collect()).collect()
}

fn small(count: usize) -> Vec<Arc<DataFile>> {
    (0..count).map(|i| file(&format!("f{i:03}"), "2026-03-01", 50_000, 1000 - i as i64)).collect()
}

#[test]
fn young_files_and_a_few_files_are_left_alone() {
    let mut files = small(7);
    assert!(bins(&table(files.clone()), SIZES, now()).is_empty(), "seven are too few");
    files.push(file("young", "2026-03-01", 50_000, 59));
    assert!(bins(&table(files.clone()), SIZES, now()).is_empty(), "the eighth is too young");
    files.push(file("old", "2026-03-01", 50_000, 61));
    assert_eq!(bins(&table(files), SIZES, now())[0].len(), 8);
}

#[test]
fn files_of_one_day_are_joined_in_the_order_in_which_they_came() {
    let mut files = small(9);
    files.extend((0..9).map(|i| file(&format!("other{i}"), "2026-02-28", 50_000, 90_000 - i)));
    files.reverse();
    let found = bins(&table(files), SIZES, now());
    let days: Vec<_> = found.iter().map(|b| b[0].partition_values["_ingest_date"].clone().unwrap()).collect();
    assert_eq!(days, ["2026-02-28", "2026-03-01"]);
    assert_eq!(names(&found)[1], ["f000", "f001", "f002", "f003", "f004", "f005", "f006", "f007", "f008"]);
}

#[test]
fn a_large_file_waits_until_the_others_weigh_as_much() {
    let mut files = vec![file("large", "2026-03-01", 40 << 20, 5000)];
    files.extend(small(20));
    assert_eq!(bins(&table(files.clone()), SIZES, now())[0].len(), 20, "without the large one");
    files.extend((0..8).map(|i| file(&format!("m{i}"), "2026-03-01", 5 << 20, 500 - i)));
    let found = bins(&table(files), SIZES, now());
    assert_eq!(found[0][0].path, "large");
    assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 29, "with the large one");
}

#[test]
fn a_day_to_which_nothing_is_added_any_more_is_packed_for_good() {
    let day = |age| vec![file("large", "2026-02-01", 40 << 20, age + 10), file("tiny", "2026-02-01", 1000, age)];
    assert!(bins(&table(day(3600)), SIZES, now()).is_empty());
    assert_eq!(names(&bins(&table(day(25 * 3600)), SIZES, now())), [["large", "tiny"]]);
    let done = vec![file("one", "2026-02-01", 1000, 90_000), file("full", "2026-02-01", TARGET, 90_000)];
    assert!(bins(&table(done), SIZES, now()).is_empty(), "one small file and one large one are all that it takes");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bins_are_disjoint_and_hold_small_old_files_of_one_day_to_the_targets_size(
        sizes in prop::collection::vec((1u64..80 << 20, 0i64..200_000, 0u8..3), 0..200)
    ) {
        let files: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(i, (size, age, day))| file(&format!("f{i}"), &format!("2026-02-2{day}"), *size, *age))
            .collect();
        let mut seen = HashSet::new();
        for bin in bins(&table(files), SIZES, now()) {
            prop_assert!(bin.len() > 1);
            let but_last: u64 = bin[..bin.len() - 1].iter().map(|f| f.size).sum();
            prop_assert!(but_last < TARGET, "a bin goes on after it has the target's size");
            for file in &bin {
                prop_assert!(seen.insert(file.path.clone()), "{} is in two bins", file.path);
                prop_assert!(SIZES.is_small(file));
                prop_assert!(file.modified_ms <= (now() - TimeDelta::seconds(60)).timestamp_millis());
                prop_assert_eq!(&file.partition_values, &bin[0].partition_values);
            }
            prop_assert!(bin.is_sorted_by_key(|f| f.modified_ms));
        }
    }

    /// A day of ingest: whatever the files' sizes, few small ones stay and each byte is rewritten a few times.
    #[test]
    fn compaction_goes_on_for_ever_with_few_files_and_little_work(
        sizes in prop::collection::vec(10_000u64..3_000_000, 200..1500), every in 10usize..100
    ) {
        let mut live: Vec<Arc<DataFile>> = Vec::new();
        let (mut written, mut rewritten) = (0, 0);
        let start = now();
        for (i, size) in sizes.iter().enumerate() {
            let came = start + TimeDelta::seconds(i as i64);
            written += size;
            live.push(Arc::new(DataFile { modified_ms: came.timestamp_millis(), ..(*file(&format!("f{i}"), "d", *size, 0)).clone() }));
            if i % every != 0 {
                continue;
            }
            let later = came + TimeDelta::seconds(61);
            for (n, bin) in bins(&table(live.clone()), SIZES, later).into_iter().enumerate() {
                let size = bin.iter().map(|f| f.size).sum();
                rewritten += size;
                live.retain(|f| bin.iter().all(|b| b.path != f.path));
                let newest = bin.last().unwrap().modified_ms;
                live.push(Arc::new(DataFile { modified_ms: newest, ..(*file(&format!("c{i}-{n}"), "d", size, 0)).clone() }));
            }
            let small = live.iter().filter(|f| SIZES.is_small(f)).count();
            prop_assert!(small < 2 * FEWEST, "{} small files stay", small);
        }
        // From the first joining to the target a byte's file doubles six times; the tiny ones are joined before that.
        prop_assert!(rewritten < 10 * written, "{} bytes rewritten of {}", rewritten, written);
    }
}
