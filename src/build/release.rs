//! Which versions readers may see together after a build.
//!
//! A table moves to its new version unless something that was built from the old one, and failed, still stands there:
//! a new dimension beside an old fact table would be a lie. What failed keeps its version; what it was made from, and
//! whatever else was made from that, keeps its version with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::report::Released;
use super::{Build, PATIENCE, name_of};
use crate::engine::release::{self, Member, Release};
use crate::error::{Error, Result};
use crate::lake::TableName;
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::log::Remove;
use crate::lake::write::TableWriter;

/// Releases that are kept. A reader that has one open keeps reading it until its files are vacuumed.
const KEPT: usize = 100;

pub async fn publish(build: &Build<'_>) -> Result<Option<Released>> {
    let before = release::all(build.engine).await?;
    let current = before.last();
    let (members, held_back) = members(build, current);
    let unchanged = current.is_some_and(|c| c.members == members) || members.is_empty();
    let held_back = held_back.iter().map(TableName::to_string).collect();
    if unchanged {
        return Ok(current.map(|c| Released { id: c.id, new: false, held_back }));
    }
    let id = current.map_or(1, |c| c.id + 1);
    let mut kept = before;
    kept.push(Release { id, created_at: build.started_at, build: build.id.to_string(), members });
    let surplus = kept.len().saturating_sub(KEPT);
    write(build, &kept[surplus..]).await?;
    Ok(Some(Released { id, new: true, held_back }))
}

/// The tables and views of the next release, and those that it holds back.
fn members(build: &Build<'_>, current: Option<&Release>) -> (BTreeMap<TableName, Member>, BTreeSet<TableName>) {
    let mut members = current.map_or_else(BTreeMap::new, |c| c.members.clone());
    let released = |name: &TableName| current.and_then(|c| c.members.get(name));
    let built: BTreeMap<&TableName, Member> = build
        .versions
        .iter()
        .map(|(name, version)| (name, Member::Table { version: *version }))
        .chain(build.views.iter().map(|(name, sql)| (name, Member::View { sql: sql.clone() })))
        .collect();
    let moved = |name: &TableName| built.get(name).is_some_and(|m| released(name) != Some(m));
    let edges: Vec<(TableName, TableName)> = build
        .project
        .nodes
        .values()
        .filter(|n| !n.kind.is_test())
        .flat_map(|child| {
            let parents = child.depends_on.iter().filter_map(|d| build.project.nodes.get(d));
            parents.map(|parent| (name_of(parent), name_of(child)))
        })
        .collect();
    // What failed and has a released version that readers go on seeing.
    let mut held: BTreeSet<TableName> = build.held_back.iter().filter(|n| released(n).is_some()).cloned().collect();
    loop {
        let more: Vec<TableName> = edges
            .iter()
            .flat_map(|(parent, child)| {
                // The old child was made from the old parent; the new child from the new parent.
                let up = (held.contains(child) && moved(parent)).then_some(parent);
                let down = (held.contains(parent) && moved(parent) && moved(child)).then_some(child);
                up.into_iter().chain(down)
            })
            .filter(|name| !held.contains(name))
            .cloned()
            .collect();
        if more.is_empty() {
            break;
        }
        held.extend(more);
    }
    for (name, member) in built {
        if !held.contains(name) && !build.held_back.contains(name) {
            members.insert(name.clone(), member);
        }
    }
    (members, held)
}

async fn write(build: &Build<'_>, releases: &[Release]) -> Result<()> {
    let table = build.lake().table(&release::table_name())?;
    let existing = table.latest().await?;
    let mut writer = TableWriter::new(&table, release::schema(), BTreeMap::new())?;
    writer.write(&release::to_batch(releases)?).await?;
    let mut change = Commit::new("WRITE").parameter("build", build.id.to_string());
    change.adds = writer.close().await?;
    match &existing {
        None => {
            let description = "The versions that belong together: a row a table or view of each release.";
            let id = Uuid::new_v4().to_string();
            change = change.with_metadata(&id, &release::schema(), &[], &[], Some(description))?;
        }
        Some(snapshot) => {
            let now: DateTime<Utc> = Utc::now();
            change.removes = snapshot
                .files
                .iter()
                .map(|f| Remove {
                    path: f.path.clone(),
                    data_change: true,
                    deletion_timestamp: now.timestamp_millis(),
                    extended_file_metadata: true,
                    partition_values: f.partition_values.clone(),
                    size: i64::try_from(f.size).unwrap_or(i64::MAX),
                })
                .collect();
        }
    }
    let patience: Duration = PATIENCE;
    match commit(&table, existing.map(|s| s.version), &change, patience).await? {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Fenced { .. } | Outcome::Conflict { .. } => {
            Err(Error::outside("another build made a release at the same time").hint("build again"))
        }
    }
}
