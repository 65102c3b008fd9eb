//! The end of the demo: what is in the lake, three answers, and what to type next.

use std::path::Path;
use std::time::Duration;

use super::{Times, grouped};
use crate::care::status;
use crate::cli::World;
use crate::error::Result;
use crate::shell::{Format, Shell};

const QUESTIONS: &[(&str, &str)] = &[
    (
        "busiest towers by hour",
        "select t.tower_id, t.city, a.hour, a.call_count, round(a.avg_load_pct, 1) as avg_load_pct, a.worst_load_status \
         from gold.agg_tower_hourly_utilization a join gold.dim_towers t on t.tower_key = a.tower_key \
         order by a.call_count desc, a.hour, t.tower_id limit 5",
    ),
    (
        "revenue by plan at the time of the call",
        "select c.plan_tier, count(*) as calls, sum(f.revenue_usd) as revenue_usd, \
         count(distinct c.customer_id) as customers \
         from gold.fact_calls f join gold.dim_customers c on c.customer_key = f.customer_key \
         group by c.plan_tier order by revenue_usd desc",
    ),
    (
        "one customer's history, with the calls of each version",
        "with busiest as ( \
           select c.customer_id from gold.dim_customers c join gold.fact_calls f on f.customer_key = c.customer_key \
           where not c.is_inferred and c.customer_id <> 'UNKNOWN' \
           group by c.customer_id order by count(distinct c.customer_key) desc, count(*) desc, c.customer_id limit 1) \
         select c.customer_id, c.plan_code, c.churn_risk, c.effective_from, c.effective_to, c.is_current, \
                count(f.call_id) as calls \
         from gold.dim_customers c left join gold.fact_calls f on f.customer_key = c.customer_key \
         where c.customer_id in (select customer_id from busiest) \
         group by c.customer_id, c.plan_code, c.churn_risk, c.effective_from, c.effective_to, c.is_current \
         order by c.effective_from",
    ),
];

pub async fn show(world: &World, dir: &Path, elapsed: Duration, times: &[Times]) -> Result<()> {
    let engine = world.engine()?;
    let tables = status::tables(&engine.lake, &world.config.care).await?;
    let shell = Shell::open(engine, Format::Table, None).await?;
    let mut rejected_in_bronze = 0;
    for name in tables.iter().map(|t| &t.name).filter(|n| n.schema == "bronze") {
        rejected_in_bronze += shell.count(&format!("select count(_error) from {name}")).await?;
    }
    let rows_of = |t: &status::TableStatus| t.rows.unwrap_or(0);
    println!(
        "{:<8} {:>8} {:>12} {:>10} {:>10} {:>7} {:>9}",
        "layer", "tables", "rows", "rejected", "versions", "files", "seconds"
    );
    for layer in ["bronze", "silver", "gold"] {
        let here: Vec<_> = tables.iter().filter(|t| t.name.schema == layer).collect();
        let (rejects, good): (Vec<_>, Vec<_>) = here.iter().copied().partition(|t| t.name.name.ends_with("__rejected"));
        let set_aside: u64 = rejects.iter().map(|t| rows_of(t)).sum();
        let rejected = if layer == "bronze" { rejected_in_bronze } else { set_aside };
        let rows: u64 = good.iter().map(|t| rows_of(t)).sum();
        let took: Duration = times
            .iter()
            .map(|t| match layer {
                "bronze" => t.bronze,
                "silver" => t.silver,
                _ => t.gold,
            })
            .sum();
        println!(
            "{layer:<8} {:>8} {:>12} {:>10} {:>10} {:>7} {:>9.1}",
            here.len(),
            grouped(rows.saturating_sub(if layer == "bronze" { rejected } else { 0 })),
            grouped(rejected),
            here.iter().map(|t| t.version + 1).sum::<u64>(),
            here.iter().map(|t| t.files).sum::<usize>(),
            took.as_secs_f64()
        );
    }
    for (question, sql) in QUESTIONS {
        println!("\n{question}");
        shell.run(question, sql).await?;
    }
    let lake = dir.display();
    // As it was called: in a clone the binary is in cargo's folder, elsewhere on the path.
    let program = std::env::args().next().unwrap_or_else(|| "medallion".to_owned());
    println!(
        "\ndone in {:.1} s. Next:\n\
         \x20 {program} sql --lake {lake}      ask anything; \\dt lists the tables\n\
         \x20 {program} verify --lake {lake}   proves that no record is missing or double\n\
         \x20 {program} status --lake {lake}   versions, rows, files\n\
         \x20 {program} sql --lake {lake} -c \"select count(*) from gold.fact_calls version as of 0\"",
        elapsed.as_secs_f64()
    );
    Ok(())
}
