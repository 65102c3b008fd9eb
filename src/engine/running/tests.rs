use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::*;

type Row = (Option<u8>, Option<u8>, u8);

/// The rows in batches of so many, in two partitions.
fn table(rows: &[Row], batch: usize) -> MemTable {
    let places: Vec<i64> = (0..).take(rows.len()).collect();
    let batches: Vec<RecordBatch> = rows
        .chunks(batch)
        .zip(places.chunks(batch))
        .map(|(rows, places)| {
            let text = |v: Option<u8>| v.map(|v| format!("key {v}"));
            RecordBatch::try_from_iter([
                ("a", Arc::new(StringArray::from_iter(rows.iter().map(|r| text(r.0)))) as ArrayRef),
                ("b", Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.1.map(i64::from))))),
                ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| i64::from(r.2))))),
                ("place", Arc::new(Int64Array::from_iter_values(places.iter().copied()))),
            ])
        })
        .collect::<Result<_, _>>()
        .unwrap();
    let schema = batches[0].schema();
    let (left, right) = batches.split_at(batches.len() / 2);
    // Columns of one batch may say that they hold no NULL; those of all may.
    let schema = Arc::new(arrow::datatypes::Schema::new(
        schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    ));
    MemTable::try_new(schema, vec![left.to_vec(), right.to_vec()]).unwrap()
}

async fn answer(rows: &[Row], batch: usize, with: bool, query: &str) -> (String, String) {
    let config = SessionConfig::new().with_target_partitions(3).with_batch_size(4);
    let mut state = SessionStateBuilder::new().with_config(config).with_default_features();
    if with {
        state = state.with_physical_optimizer_rule(Arc::new(RunningWindows));
    }
    let context = SessionContext::new_with_state(state.build());
    context.register_table("t", Arc::new(table(rows, batch))).unwrap();
    let frame = context.sql(query).await.unwrap();
    let plan = frame.clone().create_physical_plan().await.unwrap();
    let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    (plan, pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string())
}

/// Sorted by all there is, so that no row has an equal whose place is left to chance.
const OVER: &str = "over (partition by a, b order by n desc, place";

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
    #[test]
    fn running_windows_give_what_datafusions_own_give(
        rows in prop::collection::vec((prop::option::of(0..3u8), prop::option::of(0..3u8), 0..3u8), 1..60),
        batch in 1..20usize,
        by in 1..5i64,
        functions in prop::collection::vec(0..FUNCTIONS.len(), 1..4),
        condition in prop::sample::select(vec!["true", "f0 is not null", "i = 1"]),
    ) {
        let columns: Vec<String> = functions
            .iter()
            .enumerate()
            .map(|(i, f)| FUNCTIONS[*f].replace("BY", &by.to_string()).replace("OVER", OVER) + &format!(" as f{i}"))
            .collect();
        let query = format!(
            "select * from (select *, row_number() {OVER}) as i, {} from (select *, struct(n, b) as s from t)) where {condition} order by a, b, n, place",
            columns.join(", ")
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (plan, ours) = runtime.block_on(answer(&rows, batch, true, &query));
        let (_, theirs) = runtime.block_on(answer(&rows, batch, false, &query));
        prop_assert!(plan.contains("RunningWindowExec") && !plan.contains("BoundedWindowAgg"), "{}", plan);
        prop_assert_eq!(ours, theirs);
    }
}

const FUNCTIONS: &[&str] = &[
    "row_number() OVER)",
    "lag(n) OVER)",
    "lag(b, BY) OVER)",
    "lag(s, BY) OVER)",
    "lead(n) OVER)",
    "lead(b, -BY) OVER)",
    "lag(s, -BY) OVER)",
    "lead(b, BY) OVER)",
    "lead(s, BY, null) OVER)",
    "count(*) OVER rows between unbounded preceding and current row)",
    "count(b) OVER rows between unbounded preceding and current row)",
    "count(case when n > 1 then b end) OVER rows between unbounded preceding and current row)",
];

#[tokio::test]
async fn a_window_that_asks_for_more_stays_datafusions() {
    let rows = [(Some(1), Some(1), 1), (Some(1), Some(1), 2), (None, Some(2), 0)];
    for function in [
        "rank() over (partition by a order by n)",
        "row_number() over (order by n)",
        "lag(n, 1, 7) over (partition by a order by n)",
        "lag(b) ignore nulls over (partition by a order by n)",
        "lead(b) ignore nulls over (partition by a order by n)",
        "lag(n, 0) over (partition by a order by n)",
        "lag(n, 101) over (partition by a order by n)",
        "count(*) over (partition by a order by n)",
        "count(*) filter (where n > 1) over (partition by a order by n rows between unbounded preceding and current row)",
        "count(distinct b) over (partition by a order by n rows between unbounded preceding and current row)",
        "count(*) over (partition by a order by n rows between 1 preceding and current row)",
        "sum(n) over (partition by a order by n rows between unbounded preceding and current row)",
    ] {
        let (plan, _) = answer(&rows, 1, true, &format!("select *, {function} from t")).await;
        assert!(!plan.contains("RunningWindow"), "{function}\n{plan}");
    }
}
