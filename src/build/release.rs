//! Which versions readers may see together after a build.
//!
//! A table moves to its new version unless something that was built from the old one, and failed, still stands there:
//! a new dimension beside an old fact table would be a lie. What failed keeps its version; what it was made from, and
//! whatever else was made from that, keeps its version with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::progress::Progress;
use super::report::Released;
use super::{Build, PATIENCE, name_of};
use crate::engine::release::{self, Member, Release};
use crate::engine::stage::same_columns;
use crate::error::{Error, Result};
use crate::lake::TableName;
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::log::Remove;
use crate::lake::write::TableWriter;
use crate::models::Project;

const DESCRIPTION: &str = "The versions that belong together: a row a table or view of each release.";

/// Which releases are kept. A reader that has an older one open keeps reading it until its files are vacuumed.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// So many of the newest.
    pub number: usize,
    /// Of those, the ones that are not older than this, and always the current one.
    pub age: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Keep { number: 100, age: Duration::MAX }
    }
}

impl Keep {
    fn apply(self, mut releases: Vec<Release>, now: DateTime<Utc>) -> Vec<Release> {
        let surplus = releases.len().saturating_sub(self.number.max(1));
        releases.drain(..surplus);
        let current = releases.last().map(|r| r.id);
        let is_young = |r: &Release| (now - r.created_at).to_std().map_or(true, |age| age <= self.age);
        releases.retain(|r| Some(r.id) == current || is_young(r));
        releases
    }
}

pub async fn publish(build: &Build, progress: &Progress) -> Result<Option<Released>> {
    let before = release::all(&build.engine).await?;
    let current = before.last();
    let next = next(&build.project, progress, current);
    let held_back = next.held_back.iter().map(TableName::to_string).collect();
    let keep = build.options.releases;
    match current {
        // Nobody sees anything else than before, but the next build has to know what failed in this one.
        Some(c) if c.members == next.members => {
            let (id, failed) = (c.id, &next.failed);
            if c.held_back != *failed {
                let mut kept = before.clone();
                kept.iter_mut().filter(|r| r.id == id).for_each(|r| r.held_back.clone_from(failed));
                write(build, &kept).await?;
            }
            Ok(Some(Released { id, new: false, held_back }))
        }
        _ if next.members.is_empty() => Ok(current.map(|c| Released { id: c.id, new: false, held_back })),
        _ => {
            let id = current.map_or(1, |c| c.id + 1);
            let (created_at, build_id) = (build.started_at, build.id.to_string());
            let mut kept = before;
            kept.push(Release { id, created_at, build: build_id, members: next.members, held_back: next.failed });
            write(build, &keep.apply(kept, build.started_at)).await?;
            Ok(Some(Released { id, new: true, held_back }))
        }
    }
}

/// What readers are to see after a build.
struct Next {
    members: BTreeMap<TableName, Member>,
    /// Members that stay at their released version.
    held_back: BTreeSet<TableName>,
    /// What was to be built, now or earlier, and was not mended since.
    failed: BTreeSet<TableName>,
}

fn next(project: &Project, progress: &Progress, current: Option<&Release>) -> Next {
    let mut members = current.map_or_else(BTreeMap::new, |c| c.members.clone());
    let released = |name: &TableName| current.and_then(|c| c.members.get(name));
    let moved = |name: &TableName| progress.members.get(name).is_some_and(|m| released(name) != Some(m));
    let nodes: BTreeSet<TableName> = project.nodes.values().filter(|n| !n.kind.is_test()).map(name_of).collect();
    let earlier = current.into_iter().flat_map(|c| &c.held_back);
    let unmended = earlier.filter(|name| nodes.contains(*name) && !progress.mended.contains(*name));
    let failed: BTreeSet<TableName> = progress.held_back.iter().chain(unmended).cloned().collect();
    let edges: Vec<(TableName, TableName)> = project
        .nodes
        .values()
        .filter(|n| !n.kind.is_test())
        .flat_map(|child| {
            let parents = child.depends_on.iter().filter_map(|d| project.nodes.get(d));
            parents.map(|parent| (name_of(parent), name_of(child)))
        })
        .collect();
    // What failed and has a released version that readers go on seeing.
    let mut held: BTreeSet<TableName> = failed.iter().filter(|n| released(n).is_some()).cloned().collect();
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
    for (name, member) in &progress.members {
        if !held.contains(name) && !failed.contains(name) {
            members.insert(name.clone(), member.clone());
        }
    }
    Next { members, held_back: held, failed }
}

async fn write(build: &Build, releases: &[Release]) -> Result<()> {
    let table = build.lake().table(&release::table_name())?;
    let existing = table.latest().await?;
    let mut writer = TableWriter::new(&table, release::schema(), BTreeMap::new())?;
    writer.write(&release::to_batch(releases)?).await?;
    let mut change = Commit::new("WRITE").parameter("build", build.id.to_string());
    change.adds = writer.close().await?;
    match &existing {
        None => {
            let id = Uuid::new_v4().to_string();
            change = change.with_metadata(&id, &release::schema(), &[], &[], Some(DESCRIPTION))?;
        }
        Some(snapshot) => {
            if !same_columns(&snapshot.schema, &release::schema()) {
                change = change.with_metadata(&snapshot.table_id, &release::schema(), &[], &[], Some(DESCRIPTION))?;
            }
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
