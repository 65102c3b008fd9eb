//! The history of rows, as SQL over two tables: the versions that are kept, and the rows that are given now.
//!
//! What happened to a key is a line of events: versions begin, and some end without a next one. A given row is one more
//! event, wherever in time it belongs; each version then lasts until the event after it. So versions of a key follow each
//! other without gap or overlap, in whatever order they came. Keys are grouped, never joined, so that NULL is a key
//! like any other.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::models::{Deletions, SnapshotConfig, VersionedBy};

/// The rows of the snapshot's query, and the versions that its table has.
pub const GIVEN: &str = "snapshot_given";
pub const KEPT: &str = "snapshot_kept";

const TIME: &str = "Timestamp(Microsecond, Some(\"UTC\"))";

pub struct History<'a> {
    pub config: &'a SnapshotConfig,
    pub key: &'a [String],
    /// The columns that are the query's, or were.
    pub content: &'a [String],
    /// Those that are.
    pub given: &'a [String],
    /// Whether the table has the column for deletions, and whether it had it before.
    pub tells_deletions: bool,
    pub told_deletions: bool,
    pub now: DateTime<Utc>,
}

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn time(expression: &str) -> String {
    format!("arrow_cast({expression}, '{TIME}')")
}

impl History<'_> {
    /// Keys that the query gives twice for one time, or without one: nobody can tell which version is which.
    pub fn ambiguous(&self) -> String {
        let key = list(self.key);
        let given = table(GIVEN);
        match &self.config.versioned_by {
            VersionedBy::Time { updated_at } => {
                let updated_at = quoted(updated_at);
                format!(
                    "select {key}, {updated_at}, count(*) as rows from {given} group by {key}, {updated_at} \
                     having count(*) > 1 or {updated_at} is null limit 3"
                )
            }
            VersionedBy::Values { .. } => {
                format!("select {key}, count(*) as rows from {given} group by {key} having count(*) > 1 limit 3")
            }
        }
    }

    /// The keys whose versions change.
    pub fn touched(&self) -> String {
        let key = list(self.key);
        let open = format!("{} is null and not {}", self.ends(), self.is_deletion());
        // By version: whether it is given, kept, and the current one.
        let (versions, by) = match &self.config.versioned_by {
            VersionedBy::Time { updated_at } => (
                format!(
                    "select {key}, {} as _medallion_time, 1 as given, 0 as kept, 0 as open from {}\n\
                     union all select {key}, {}, 0, case when {} then 0 else 1 end, case when {open} then 1 else 0 end from {}",
                    time(&quoted(updated_at)),
                    table(GIVEN),
                    quoted(&self.config.columns.updated_at),
                    self.is_deletion(),
                    table(KEPT),
                ),
                format!("{key}, _medallion_time"),
            ),
            VersionedBy::Values { columns, .. } => {
                let checked = self.checked(columns);
                let by = list(self.key.iter().chain(checked.iter().filter(|c| !self.key.contains(c))));
                (
                    format!(
                        "select {by}, 1 as given, 0 as kept, 0 as open from {}\n\
                         union all select {by}, 0, 1, 1 from {} where {open}",
                        table(GIVEN),
                        table(KEPT),
                    ),
                    by,
                )
            }
        };
        let gone = match self.config.deletions {
            Deletions::Ignore => "",
            Deletions::Invalidate | Deletions::NewRecord => " or (present = 0 and current = 1)",
        };
        format!(
            "select {key} from (\n\
             select {key}, max(case when given > 0 and kept = 0 then 1 else 0 end) as fresh, max(given) as present, \
             max(open) as current from (\n\
             select {by}, max(given) as given, max(kept) as kept, max(open) as open from (\n{versions}\n) group by {by}\n\
             ) group by {key}\n\
             ) where fresh = 1 or (present = 1 and current = 0){gone}"
        )
    }

    /// All versions of the keys in the two tables, with these columns.
    pub fn versions(&self, columns: &[String]) -> String {
        let (key, content) = (list(self.key), list(self.content));
        let meta = &self.config.columns;
        let (given_time, differs, known) = match &self.config.versioned_by {
            VersionedBy::Time { updated_at } => (time(&quoted(updated_at)), "true".to_owned(), {
                let there = "max(case when _medallion_side = 0 and not _medallion_deleted then 1 else 0 end)";
                format!("{there} over (partition by {key}, _medallion_time order by _medallion_side) = 1")
            }),
            VersionedBy::Values { columns, updated_at } => {
                let line = self.line();
                let checked = self.checked(columns);
                let differs = checked.iter().map(|c| {
                    let c = quoted(c);
                    format!("(lag({c}) over ({line}) is distinct from {c})")
                });
                let given = updated_at.as_ref().map_or_else(|| time("null"), |column| time(&quoted(column)));
                (given, differs.collect::<Vec<_>>().join(" or "), "false".to_owned())
            }
        };
        let line = self.line();
        let so_far = "rows between unbounded preceding and current row";
        let mut select = Vec::new();
        for column in columns {
            let named = quoted(column);
            select.push(match column {
                c if *c == meta.scd_id => format!("coalesce(_medallion_id, {}) as {named}", self.id()),
                c if *c == meta.updated_at => format!("_medallion_time as {named}"),
                c if *c == meta.valid_from => format!("_medallion_from as {named}"),
                c if *c == meta.valid_to => match &self.config.valid_to_current {
                    Some(end) => format!("coalesce(_medallion_next, {}) as {named}", time(&format!("({end})"))),
                    None => format!("_medallion_next as {named}"),
                },
                c if self.tells_deletions && *c == meta.is_deleted => {
                    format!("case when _medallion_deleted then 'True' else 'False' end as {named}")
                }
                _ => named,
            });
        }
        format!(
            "with both_sides as (\n\
             select {content}, {id} as _medallion_id, {from} as _medallion_from, {ends} as _medallion_to, \
             {updated} as _medallion_time, {deletion} as _medallion_deleted, 0 as _medallion_side from {kept}\n\
             union all select {content}, null as _medallion_id, {never} as _medallion_from, {never} as _medallion_to, \
             {given_time} as _medallion_time, false as _medallion_deleted, 1 as _medallion_side from {given}\n\
             ), line as (\n\
             select *, lead(_medallion_side) over ({line}) is null as _medallion_last, \
             lead(_medallion_from) over ({line}) as _medallion_next, \
             max(case when _medallion_side = 0 then coalesce(_medallion_to, _medallion_from) end) over ({line} {so_far}) as _medallion_until, \
             max(case when _medallion_side = 0 and _medallion_to is null and not _medallion_deleted then 1 else 0 end) \
             over ({line} {so_far}) = 1 as _medallion_open, {known} as _medallion_known, {differs} as _medallion_differs \
             from both_sides\n\
             ), events as (\n\
             select {content}, _medallion_id, _medallion_from, _medallion_time, _medallion_deleted, 1 as _medallion_begins \
             from line where _medallion_side = 0\n\
             union all {closing} where _medallion_side = 0 and _medallion_to is not null and coalesce(_medallion_next > _medallion_to, true)\n\
             union all {added}{gone}\n\
             ), versions as (\n\
             select {content}, _medallion_id, _medallion_from, _medallion_time, _medallion_deleted, _medallion_begins, \
             lead(_medallion_from) over (partition by {key} order by _medallion_from, _medallion_begins, _medallion_deleted desc) \
             as _medallion_next from events\n\
             ) select {select} from versions where _medallion_begins = 1",
            id = quoted(&meta.scd_id),
            from = quoted(&meta.valid_from),
            ends = self.ends(),
            updated = quoted(&meta.updated_at),
            deletion = self.is_deletion(),
            never = time("null"),
            kept = table(KEPT),
            given = table(GIVEN),
            closing = event(&content, "_medallion_to", &time("null"), "false", 0),
            added = self.added(&content),
            gone = self.gone(&content),
            select = select.join(", "),
        )
    }

    /// Versions that begin with a given row.
    fn added(&self, content: &str) -> String {
        let now = self.at_once();
        match self.config.versioned_by {
            // One that is not newer than the end of its key begins now, since it is there now.
            VersionedBy::Time { .. } => format!(
                "{} where _medallion_side = 1 and not _medallion_known\n\
                 union all {} where _medallion_side = 1 and _medallion_last and not _medallion_open \
                 and _medallion_until >= _medallion_time",
                event(content, "_medallion_time", "_medallion_time", "false", 1),
                event(content, &now, "_medallion_time", "false", 1),
            ),
            VersionedBy::Values { .. } => {
                let begins = format!(
                    "case when coalesce(_medallion_time > _medallion_until, _medallion_until is null and _medallion_time is not null) \
                     then _medallion_time else {now} end"
                );
                format!(
                    "{} where _medallion_side = 1 \
                     and (_medallion_until is null or not _medallion_open or _medallion_differs)",
                    event(content, &begins, &begins, "false", 1),
                )
            }
        }
    }

    /// The ends of versions whose key is given no more.
    fn gone(&self, content: &str) -> String {
        let now = self.at_once();
        let ended = |time: &str, deleted, begins| {
            let event = event(content, &now, time, deleted, begins);
            format!("\nunion all {event} where _medallion_side = 0 and _medallion_last and _medallion_open")
        };
        match self.config.deletions {
            Deletions::Ignore => String::new(),
            Deletions::Invalidate => ended(&time("null"), "false", 0),
            Deletions::NewRecord => ended(&now, "true", 1),
        }
    }

    /// The time of this run, or the moment after whatever the key has, should a clock have gone back.
    fn at_once(&self) -> String {
        let now = time(&format!("'{}'", self.now.to_rfc3339_opts(SecondsFormat::Micros, true)));
        format!("greatest({now}, _medallion_until + interval '1 microsecond')")
    }

    /// The window of a key: kept versions as they follow each other, then given rows.
    fn line(&self) -> String {
        let by = "_medallion_side, coalesce(_medallion_from, _medallion_time), _medallion_deleted desc";
        format!("partition by {} order by {by}", list(self.key))
    }

    /// When a kept version ends; NULL for one that is current.
    fn ends(&self) -> String {
        let to = quoted(&self.config.columns.valid_to);
        match &self.config.valid_to_current {
            Some(end) => format!("nullif({to}, {})", time(&format!("({end})"))),
            None => to,
        }
    }

    fn is_deletion(&self) -> String {
        match self.told_deletions {
            true => format!("coalesce({} = 'True', false)", quoted(&self.config.columns.is_deleted)),
            false => "false".to_owned(),
        }
    }

    fn checked(&self, columns: &[String]) -> Vec<String> {
        if columns.is_empty() { self.given.to_vec() } else { columns.to_vec() }
    }

    /// What tells a version from all others: its key and its beginning.
    fn id(&self) -> String {
        let parts = self.key.iter().map(|k| {
            let k = quoted(k);
            format!("coalesce('=' || cast({k} as varchar), 'NULL')")
        });
        let parts: Vec<String> = parts.collect();
        format!(
            "md5(concat_ws('|', {}, cast(_medallion_from as varchar), cast(_medallion_deleted as varchar)))",
            parts.join(", ")
        )
    }
}

fn table(name: &str) -> String {
    format!("\"_medallion\".{}", quoted(name))
}

/// What happens to the key of a row at a time: a version begins with the row's content, or the one before ends.
fn event(content: &str, from: &str, time: &str, deleted: &str, begins: u8) -> String {
    format!(
        "select {content}, null as _medallion_id, {from} as _medallion_from, {time} as _medallion_time, \
         {deleted} as _medallion_deleted, {begins} as _medallion_begins from line"
    )
}
