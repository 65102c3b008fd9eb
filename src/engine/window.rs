//! Window functions over as many rows as there are groups, with memory for the largest group alone.
//!
//! DataFusion's operator for windows that need a whole group collects all rows of all groups first, and tells its memory
//! to nobody. Its input is sorted by the groups, so it is given pieces instead, each of whole groups. What is held for a
//! piece is asked of the memory pool: a group too large for that fails the query, and not the process.

use std::fmt;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::utils::evaluate_partition_ranges;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::common::{DataFusionError, Result as DfResult, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

/// A piece has this much, and the rest of its last group.
const PIECE_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub struct InPieces;

impl PhysicalOptimizerRule for InPieces {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        let replaced = plan.transform_up(|node| {
            Ok(match node.is::<WindowAggExec>() {
                true => Transformed::yes(Arc::new(WindowInPieces { window: node }) as Arc<dyn ExecutionPlan>),
                false => Transformed::no(node),
            })
        });
        replaced.map(|r| r.data)
    }

    fn name(&self) -> &str {
        "windows_in_pieces"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What a [`WindowAggExec`] does, a piece of its input at a time.
#[derive(Debug)]
struct WindowInPieces {
    window: Arc<dyn ExecutionPlan>,
}

impl WindowInPieces {
    fn exec(&self) -> DfResult<&WindowAggExec> {
        match self.window.downcast_ref::<WindowAggExec>() {
            Some(window) => Ok(window),
            None => internal_err!("{} is no window", self.window.name()),
        }
    }
}

impl DisplayAs for WindowInPieces {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InPieces: ")?;
        self.window.fmt_as(kind, f)
    }
}

impl ExecutionPlan for WindowInPieces {
    fn name(&self) -> &str {
        "WindowInPieces"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.window.input_distribution_requirements()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.window.required_input_ordering()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.window.maintains_input_order()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.window.benefits_from_input_partitioning()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.window.children()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let exec = self.exec()?;
        let [input] = children.as_slice() else { return internal_err!("a window has one input") };
        let window = WindowAggExec::try_new(exec.window_expr().to_vec(), input.clone(), true)?;
        Ok(Arc::new(WindowInPieces { window: Arc::new(window) }))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let exec = self.exec()?;
        let input = exec.input();
        let expressions = exec.window_expr().to_vec();
        let properties = input.properties().clone();
        let pieces = Pieces {
            groups: exec.partition_by_sort_keys()?,
            input: input.execute(partition, context.clone())?,
            held: Vec::new(),
            bytes: 0,
            enough: PIECE_BYTES,
            ended: false,
            memory: MemoryConsumer::new(format!("WindowInPieces[{partition}]")).register(context.memory_pool()),
        };
        let computed = stream::try_unfold(pieces, move |mut pieces| {
            let (expressions, properties, context) = (expressions.clone(), properties.clone(), context.clone());
            async move {
                let Some(rows) = pieces.next().await? else { return Ok::<_, DataFusionError>(None) };
                let piece: Arc<dyn ExecutionPlan> = Arc::new(Piece { rows, properties });
                let window = WindowAggExec::try_new(expressions, piece, true)?;
                Ok(Some((window.execute(partition, context)?, pieces)))
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), computed.try_flatten())))
    }
}

/// Sorted rows, cut where a group ends.
struct Pieces {
    input: SendableRecordBatchStream,
    groups: Vec<PhysicalSortExpr>,
    held: Vec<RecordBatch>,
    bytes: usize,
    /// When to look for the end of a group.
    enough: usize,
    ended: bool,
    memory: MemoryReservation,
}

impl Pieces {
    /// The next whole groups, or None at the end.
    async fn next(&mut self) -> DfResult<Option<RecordBatch>> {
        // The piece before this one is done with.
        self.memory.try_resize(self.bytes)?;
        loop {
            if self.ended || self.bytes >= self.enough {
                if self.held.is_empty() {
                    return Ok(None);
                }
                // The window makes a copy of its own.
                self.memory.try_grow(self.bytes)?;
                let all = concat_batches(&self.input.schema(), &self.held)?;
                self.held.clear();
                if self.ended {
                    self.bytes = 0;
                    return Ok(Some(all));
                }
                let columns =
                    self.groups.iter().map(|g| g.evaluate_to_sort_column(&all)).collect::<DfResult<Vec<_>>>()?;
                let groups = evaluate_partition_ranges(all.num_rows(), &columns)?;
                let cut = groups.last().map_or(0, |last| last.start);
                let rest = all.slice(cut, all.num_rows() - cut);
                let rest_bytes = self.bytes / all.num_rows().max(1) * rest.num_rows();
                self.held.push(rest);
                if cut > 0 {
                    self.bytes = rest_bytes;
                    self.enough = PIECE_BYTES.max(rest_bytes * 2);
                    return Ok(Some(all.slice(0, cut)));
                }
                // All of it is one group, which goes on.
                self.enough = self.bytes * 2;
                self.memory.try_resize(self.bytes)?;
            }
            match self.input.next().await {
                None => self.ended = true,
                Some(batch) => {
                    let batch = batch?;
                    if batch.num_rows() > 0 {
                        let bytes = get_record_batch_memory_size(&batch);
                        self.memory.try_grow(bytes)?;
                        self.bytes += bytes;
                        self.held.push(batch);
                    }
                }
            }
        }
    }
}

/// Rows in place of an input, sorted and divided as it is.
#[derive(Debug)]
struct Piece {
    rows: RecordBatch,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for Piece {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Piece")
    }
}

impl ExecutionPlan for Piece {
    fn name(&self) -> &str {
        "Piece"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let rows = stream::iter([Ok(self.rows.clone())]);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.rows.schema(), rows)))
    }
}
