//! Windows over many small partitions: `row_number`, `lag`, `lead` and running counts, at the cost of the rows.
//!
//! DataFusion's streaming window operator keeps a state, a copy of all columns and an entry in a map for each
//! partition, which for keys of a row or two each costs more than all else in the query. Where rows come sorted by
//! their keys a partition is just a run of rows, and what these functions need of other rows lies a few rows behind or
//! ahead. So the plan gets an operator that works on whole batches and remembers those few rows. The result is the
//! same, value for value; any window that asks for more keeps DataFusion's operator.

mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, StandardWindowExpr, WindowExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, apply_expression_roots};
use datafusion::physical_plan::expressions::Literal;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

use rows::Rows;

/// How far behind or ahead a function may look: so many rows are kept.
const FARTHEST: usize = 100;

/// What a window asks of the rows around a row.
#[derive(Debug, Clone)]
enum Function {
    RowNumber,
    Lag {
        value: Arc<dyn PhysicalExpr>,
        by: usize,
    },
    Lead {
        value: Arc<dyn PhysicalExpr>,
        by: usize,
    },
    /// Rows from the first of the partition to this one in which none of these is NULL.
    Count {
        of: Vec<Arc<dyn PhysicalExpr>>,
    },
}

impl Function {
    fn of(window: &Arc<dyn WindowExpr>) -> Option<Function> {
        if let Some(standard) = window.as_any().downcast_ref::<StandardWindowExpr>() {
            let function = standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
            return match function.fun().name() {
                "row_number" => Some(Function::RowNumber),
                "lag" | "lead" => shift(function),
                _ => None,
            };
        }
        let aggregate = window.as_any().downcast_ref::<PlainAggregateWindowExpr>()?;
        let counted = aggregate.get_aggregate_expr();
        // Whether there is a filter, an aggregate tells in no other way.
        let plain = counted.fun().name() == "count"
            && !counted.is_distinct()
            && format!("{aggregate:?}").ends_with(", filter: None }");
        (plain && is_running(window.get_window_frame())).then(|| Function::Count { of: window.expressions() })
    }

    fn expressions(&self) -> &[Arc<dyn PhysicalExpr>] {
        match self {
            Function::RowNumber => &[],
            Function::Lag { value, .. } | Function::Lead { value, .. } => std::slice::from_ref(value),
            Function::Count { of } => of,
        }
    }
}

/// From the first row of a partition to the row itself, not to those that are its equals in order.
fn is_running(frame: &WindowFrame) -> bool {
    let unbounded = matches!(&frame.start_bound, WindowFrameBound::Preceding(n) if n.is_null());
    frame.units == WindowFrameUnits::Rows && unbounded && frame.end_bound == WindowFrameBound::CurrentRow
}

/// A shift by a few rows that takes NULLs as they come and gives NULL where there is no row. The evaluator's own
/// ranges tell: one that passes over NULLs asks for all rows, and no reversal stays hidden in them.
fn shift(function: &WindowUDFExpr) -> Option<Function> {
    const ROW: usize = 1 << 20;
    let no_default = function
        .args()
        .get(2)
        .is_none_or(|d| d.downcast_ref::<Literal>().is_some_and(|l| ScalarValue::is_null(l.value())));
    // By no rows, the ranges say the same as ahead by one.
    let somewhere = function.args().get(1).is_none_or(|by| {
        let literal = by.downcast_ref::<Literal>().and_then(|l| l.value().cast_to(&DataType::Int64).ok());
        matches!(literal, Some(ScalarValue::Int64(Some(by))) if by != 0)
    });
    let value = function.args().first()?.clone();
    let evaluator = datafusion::physical_expr::window::StandardWindowFunctionExpr::create_evaluator(function).ok()?;
    let reach = evaluator.get_range(ROW, 2 * ROW).ok()?;
    let (by, shift) = match evaluator.is_causal() {
        true => (ROW.checked_sub(reach.start)?, Function::Lag { value, by: ROW - reach.start }),
        false => (reach.end.checked_sub(ROW)?, Function::Lead { value, by: reach.end - ROW }),
    };
    (no_default && somewhere && (1..=FARTHEST).contains(&by)).then_some(shift)
}

#[derive(Debug)]
pub struct RunningWindows;

impl PhysicalOptimizerRule for RunningWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_up(|node| {
            let window = node.downcast_ref::<BoundedWindowAggExec>().and_then(running);
            Ok(match window {
                Some(window) => Transformed::yes(Arc::new(window) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        });
        changed.map(|c| c.data)
    }

    fn name(&self) -> &str {
        "running_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn running(window: &BoundedWindowAggExec) -> Option<RunningWindowExec> {
    let keys = window.window_expr().first()?.partition_by().to_vec();
    let sorted = matches!(window.input_order_mode, InputOrderMode::Sorted);
    let functions = window.window_expr().iter().map(Function::of).collect::<Option<Vec<_>>>()?;
    (sorted && !keys.is_empty()).then(|| RunningWindowExec {
        input: window.input().clone(),
        keys,
        functions,
        properties: window.properties().clone(),
        metrics: ExecutionPlanMetricsSet::new(),
    })
}

/// The rows as they come, which is sorted by the keys, each function's value as a column more.
#[derive(Debug, Clone)]
struct RunningWindowExec {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    functions: Vec<Function>,
    /// Those of the window that this stands for: the same columns, in the same order and partitions.
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl DisplayAs for RunningWindowExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let joined = |all: &[Arc<dyn PhysicalExpr>]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let functions: Vec<String> = self
            .functions
            .iter()
            .map(|function| match function {
                Function::RowNumber => "row_number".to_owned(),
                Function::Lag { value, by } => format!("lag({value}, {by})"),
                Function::Lead { value, by } => format!("lead({value}, {by})"),
                Function::Count { of } => format!("count({})", joined(of)),
            })
            .collect();
        write!(f, "RunningWindowExec: keys=[{}], functions=[{}]", joined(&self.keys), functions.join(", "))
    }
}

impl ExecutionPlan for RunningWindowExec {
    fn name(&self) -> &str {
        "RunningWindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        apply_expression_roots(self.keys.iter().chain(self.functions.iter().flat_map(Function::expressions)), f)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| self.input.clone());
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Arc::new(RunningWindowExec { input, metrics, ..RunningWindowExec::clone(&self) }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = Rows::new(&self.keys, &self.functions, self.schema());
        let input = self.input.execute(partition, context)?;
        let output = stream::try_unfold((rows, input.fuse(), metrics), |(mut rows, mut input, metrics)| async move {
            loop {
                let timer = metrics.elapsed_compute().timer();
                let ready = rows.next_ready()?;
                timer.done();
                if let Some(batch) = ready {
                    return Ok(Some((batch.record_output(&metrics), (rows, input, metrics))));
                }
                match input.try_next().await? {
                    Some(batch) => {
                        let timer = metrics.elapsed_compute().timer();
                        rows.push(batch)?;
                        timer.done();
                    }
                    None if rows.ended() => return Ok(None),
                    None => rows.end(),
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), output)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
