//! `changes` between any two versions of a table; in `increments`, what is built from it.

mod increments;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::DataFrame;
use medallion::engine::catalog::Catalog;
use medallion::engine::changes::{Difference, changes, difference};
use medallion::lake::Table;
use medallion::lake::log::{Add, Remove};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::world::inside::{Inside, NULL, cases, change, removal, runtime, texts, write};

/// In the log an empty text is a NULL, so there is none.
const TEXTS: [Option<&str>; 3] = [None, Some("x"), Some("y/1")];

/// A row of the random tables: key, number, text. Few values, so that rows come twice.
type Row = (Option<u8>, Option<i64>, Option<&'static str>);

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Row>),
    /// Files whose number has a bit in the mask go, with so many of their rows changed or left out.
    Rewrite {
        files: u8,
        come: Vec<Row>,
        keep_every: usize,
    },
    Delete {
        files: u8,
    },
    /// The same rows in other files.
    Compact {
        files: u8,
    },
    /// Rows that come and a compaction of older files, in one commit.
    AppendAndCompact {
        files: u8,
        come: Vec<Row>,
    },
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.8, 0u8..5), prop::option::weighted(0.7, 0i64..2), select(TEXTS.to_vec()))
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(row(), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => rows().prop_map(Step::Append),
        3 => (any::<u8>(), rows(), 1usize..4).prop_map(|(files, come, keep_every)| Step::Rewrite { files, come, keep_every }),
        1 => any::<u8>().prop_map(|files| Step::Delete { files }),
        2 => any::<u8>().prop_map(|files| Step::Compact { files }),
        2 => (any::<u8>(), rows()).prop_map(|(files, come)| Step::AppendAndCompact { files, come }),
    ]
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int32, true),
        Field::new("n", DataType::Int64, true),
        Field::new("t", DataType::Utf8, true),
    ]))
}

fn as_json(rows: &[Row]) -> Vec<Value> {
    rows.iter().map(|(k, n, t)| json!({ "k": k, "n": n, "t": t })).collect()
}

fn shown(row: &Row) -> Vec<String> {
    let or_null = |value: Option<String>| value.unwrap_or_else(|| NULL.to_owned());
    vec![
        or_null(row.0.map(|k| k.to_string())),
        or_null(row.1.map(|n| n.to_string())),
        or_null(row.2.map(str::to_owned)),
    ]
}

/// A table with what its files hold, version by version.
struct Tracked {
    table: Table,
    key: Vec<String>,
    /// Whether the text is a column of the log and not of the files.
    partitioned: bool,
    files: Vec<(Add, Vec<Row>)>,
    /// The rows of each version.
    versions: Vec<Vec<Vec<String>>>,
}

impl Tracked {
    async fn create(inside: &Inside, key: &[&str], partitioned: bool) -> Tracked {
        let key: Vec<String> = key.iter().map(|k| k.to_string()).collect();
        let (table, files, versions) = (inside.table("silver.t"), Vec::new(), Vec::new());
        let mut tracked = Tracked { table, key, partitioned, files, versions };
        tracked.commit(Vec::new(), Vec::new()).await;
        tracked
    }

    async fn file(&self, rows: Vec<Row>, data_change: bool) -> Vec<(Add, Vec<Row>)> {
        let mut files = Vec::new();
        if !self.partitioned {
            let adds = write(&self.table, &columns(), BTreeMap::new(), &as_json(&rows)).await;
            files.extend(adds.into_iter().map(|add| (add, rows.clone())));
        } else {
            let in_files = Arc::new(columns().project(&[0, 1]).unwrap());
            for text in TEXTS {
                let rows: Vec<Row> = rows.iter().filter(|r| r.2 == text).copied().collect();
                let json: Vec<Value> = rows.iter().map(|(k, n, _)| json!({ "k": k, "n": n })).collect();
                let values = BTreeMap::from([("t".to_owned(), text.map(str::to_owned))]);
                let adds = write(&self.table, &in_files, values, &json).await;
                files.extend(adds.into_iter().map(|add| (add, rows.clone())));
            }
        }
        files.iter_mut().for_each(|(add, _)| add.data_change = data_change);
        files
    }

    async fn commit(&mut self, come: Vec<(Add, Vec<Row>)>, go: Vec<Remove>) {
        self.files.retain(|(add, _)| go.iter().all(|r| r.path != add.path));
        let adds = come.iter().map(|(a, _)| a.clone()).collect();
        self.files.extend(come);
        let partition_columns: &[&str] = if self.partitioned { &["t"] } else { &[] };
        let version = change(&self.table, (&columns(), partition_columns), &self.key, adds, go).await;
        assert_eq!(version as usize, self.versions.len());
        let mut rows: Vec<Vec<String>> = self.files.iter().flat_map(|(_, rows)| rows.iter().map(shown)).collect();
        rows.sort();
        self.versions.push(rows);
    }

    fn chosen(&self, mask: u8) -> (Vec<&Add>, Vec<Row>) {
        let chosen = self.files.iter().enumerate().filter(|(i, _)| mask & (1 << (i % 8)) != 0);
        let (files, rows): (Vec<&Add>, Vec<Vec<Row>>) = chosen.map(|(_, (a, rows))| (a, rows.clone())).unzip();
        (files, rows.concat())
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Append(rows) => {
                let come = self.file(rows.clone(), true).await;
                self.commit(come, Vec::new()).await;
            }
            Step::Rewrite { files, come, keep_every } => {
                let (gone, rows) = self.chosen(*files);
                let go = gone.iter().map(|a| removal(a, true)).collect();
                let stay = rows.into_iter().step_by(*keep_every).chain(come.iter().copied()).collect();
                let come = self.file(stay, true).await;
                self.commit(come, go).await;
            }
            Step::Delete { files } => {
                let go = self.chosen(*files).0.iter().map(|a| removal(a, true)).collect();
                self.commit(Vec::new(), go).await;
            }
            Step::Compact { files } => {
                let (gone, rows) = self.chosen(*files);
                let go = gone.iter().map(|a| removal(a, false)).collect();
                let come = self.file(rows, false).await;
                self.commit(come, go).await;
            }
            Step::AppendAndCompact { files, come } => {
                let (gone, rows) = self.chosen(*files);
                let go = gone.iter().map(|a| removal(a, false)).collect();
                let mut both = self.file(rows, false).await;
                both.extend(self.file(come.clone(), true).await);
                self.commit(both, go).await;
            }
        }
    }

    /// What `changes` says became of the table's rows: each row with its kind in front. None: nothing can have changed.
    async fn changes(&self, inside: &Inside, from: usize, to: usize) -> Option<Vec<Vec<String>>> {
        let snapshot = self.table.at_version(to as u64).await.unwrap();
        let (added, removed) = match difference(&inside.lake, from as u64, &snapshot).await.unwrap() {
            Difference::Files { added, removed } => (added, removed),
            Difference::Nothing => return None,
            Difference::Unknown(why) => panic!("{why}"),
        };
        let plan = changes(&inside.lake, &snapshot, &added, &removed, &self.key).unwrap();
        let catalog = Arc::new(Catalog::of(&inside.lake).await.unwrap());
        let state = inside.engine().session(catalog).state();
        let batches = DataFrame::new(state, plan).collect().await.unwrap();
        let mut rows = texts(&batches);
        rows.iter_mut().for_each(|row| row.rotate_right(1));
        rows.sort();
        Some(rows)
    }
}

/// How often each row is in `after`, less how often it is in `before`; rows of which neither has more are left out.
fn net(before: &[Vec<String>], after: &[Vec<String>]) -> BTreeMap<Vec<String>, i64> {
    let mut net: BTreeMap<Vec<String>, i64> = BTreeMap::new();
    before.iter().for_each(|row| *net.entry(row.clone()).or_default() -= 1);
    after.iter().for_each(|row| *net.entry(row.clone()).or_default() += 1);
    net.retain(|_, count| *count != 0);
    net
}

/// The changes that there ought to be. With a key (the first column), a key that had a row and has another is updated.
fn expected(before: &[Vec<String>], after: &[Vec<String>], keyed: bool) -> Vec<Vec<String>> {
    let net = net(before, after);
    let mut rows = Vec::new();
    for (row, count) in &net {
        let paired = keyed && net.iter().any(|(other, n)| other[0] == row[0] && n.signum() == -count.signum());
        let kind = match (*count > 0, paired) {
            (true, false) => "insert",
            (true, true) => "update_after",
            (false, false) => "delete",
            (false, true) => "update_before",
        };
        let change: Vec<String> = std::iter::once(kind.to_owned()).chain(row.iter().cloned()).collect();
        rows.extend(std::iter::repeat_n(change, count.unsigned_abs() as usize));
    }
    rows.sort();
    rows
}

#[test]
fn changes_turn_the_rows_of_any_version_into_those_of_any_later_one() {
    let runtime = runtime();
    let steps = (prop::collection::vec(step(), 1..8), any::<[bool; 2]>(), any::<prop::sample::Index>());
    let outcome = TestRunner::new(cases(32)).run(&steps, |(steps, [keyed, partitioned], start)| {
        runtime.block_on(async {
            let inside = Inside::new();
            let mut tracked = Tracked::create(&inside, if keyed { &["k"] } else { &[] }, partitioned).await;
            for step in &steps {
                tracked.take(step).await;
            }
            let last = tracked.versions.len() - 1;
            let middle = start.index(last);
            for (from, to) in [(0, last), (middle, last), (middle, middle + 1), (last, last)] {
                let told = tracked.changes(&inside, from, to).await.unwrap_or_default();
                let ought = expected(&tracked.versions[from], &tracked.versions[to], keyed);
                prop_assert_eq!(told, ought, "from version {} to {}", from, to);
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn compaction_alone_is_no_change() {
    runtime().block_on(async {
        let inside = Inside::new();
        let mut tracked = Tracked::create(&inside, &[], false).await;
        for n in 0..3 {
            tracked.take(&Step::Append(vec![(Some(n), None, Some("x")), (None, None, None)])).await;
        }
        tracked.take(&Step::Compact { files: 0b011 }).await;
        tracked.take(&Step::Compact { files: 0xff }).await;
        assert_eq!(tracked.changes(&inside, 3, 5).await, None);
        assert_eq!(tracked.files.len(), 1, "the compactions left one file");
    });
}

#[test]
fn the_changes_of_an_append_only_table_are_its_new_rows() {
    runtime().block_on(async {
        let inside = Inside::new();
        let mut tracked = Tracked::create(&inside, &[], false).await;
        let twice = (Some(1), Some(1), Some("x"));
        tracked.take(&Step::Append(vec![twice])).await;
        tracked.take(&Step::Append(vec![twice, twice, (None, None, None)])).await;
        let insert = |row: &Row| [vec!["insert".to_owned()], shown(row)].concat();
        let ought = vec![insert(&twice), insert(&twice), insert(&(None, None, None))];
        assert_eq!(tracked.changes(&inside, 1, 2).await, Some(ought));
    });
}
