//! `medallion build --plan`: what a build would do, for people and for machines.

use std::sync::Arc;

use chrono::Utc;
use serde_json::{Value, json};

use super::PlanFormat;
use crate::build::{self, Action, Forecast, Options, Size};
use crate::cli::{World, grouped};
use crate::error::Result;
use crate::models::Project;

pub async fn show(world: &World, project: &Arc<Project>, options: Options, format: Option<PlanFormat>) -> Result<()> {
    let now = Utc::now();
    let engine = super::engine(world, now).await?;
    let forecasts = build::forecast(&engine, project, &world.contracts()?, options, now).await?;
    match format.unwrap_or(PlanFormat::Text) {
        PlanFormat::Json => println!("{}", Value::from(forecasts.iter().map(as_json).collect::<Vec<_>>())),
        PlanFormat::Text => {
            forecasts.iter().for_each(|f| println!("{}", as_text(f)));
            let count = |wanted: &[Action]| forecasts.iter().filter(|f| wanted.contains(&f.action)).count();
            println!(
                "{} in full, {} by increments, {} up to date, {} views",
                count(&[Action::Full]),
                count(&[Action::Increment]),
                count(&[Action::Fresh]),
                count(&[Action::View, Action::Ephemeral]),
            );
        }
    }
    Ok(())
}

fn as_json(forecast: &Forecast) -> Value {
    let size = |s: &Size| json!({"files": s.files, "rows": s.rows, "bytes": s.bytes});
    json!({
        "unique_id": forecast.unique_id,
        "relation": forecast.relation,
        "action": forecast.action.word(),
        "reason": forecast.reason,
        "reads": size(&forecast.reads),
        "replaces": size(&forecast.replaces),
    })
}

fn as_text(forecast: &Forecast) -> String {
    let mut line = format!("{:>9}  {:<45}", forecast.action.word(), forecast.relation);
    if !forecast.reason.is_empty() {
        line += &format!(" {}", forecast.reason);
    }
    for (what, size) in [("reads", forecast.reads), ("replaces at most", forecast.replaces)] {
        if size.files > 0 {
            line += &format!("; {what} {}", sized(size));
        }
    }
    line.trim_end().to_owned()
}

fn sized(size: Size) -> String {
    let rows = size.rows.map_or_else(|| "unknown".to_owned(), grouped);
    let files = if size.files == 1 { "1 file".to_owned() } else { format!("{} files", size.files) };
    format!("{rows} rows in {files}, {:.1} MB", size.bytes as f64 / 1e6)
}
