//! The versions a model was built from: read from its table, compared with what there is now.
//!
//! They are Delta transactions of the target's own commits, so that rows and cursor cannot part, and so that
//! checkpoints and log clean-up keep them. An input is known by its table's id as well: a table that was dropped and
//! made again counts its versions from zero.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use crate::lake::log::Txn;
use crate::lake::{Snapshot, TableName};

/// The version of an input that does not exist yet.
const ABSENT: i64 = -1;

/// What a node depends on: the tables below it, each at a version. A view stands for the tables that it reads.
#[derive(Debug, Clone, Default)]
pub struct Input {
    pub tables: BTreeMap<TableName, Cursor>,
    /// Set where the input is a table itself, which can be reduced to touched keys.
    pub own: Option<TableName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    version: i64,
    /// 63 bits of the table's id.
    identity: i64,
}

impl Input {
    pub fn table(snapshot: &Snapshot) -> Input {
        let version = i64::try_from(snapshot.version).unwrap_or(i64::MAX);
        let cursor = Cursor { version, identity: fingerprint(&snapshot.table_id) };
        Input { tables: [(snapshot.name.clone(), cursor)].into(), own: Some(snapshot.name.clone()) }
    }

    pub fn absent(name: &TableName) -> Input {
        let cursor = Cursor { version: ABSENT, identity: 0 };
        Input { tables: [(name.clone(), cursor)].into(), own: Some(name.clone()) }
    }

    pub fn through<'a>(inputs: impl Iterator<Item = &'a Input>) -> Input {
        Input { tables: inputs.flat_map(|i| i.tables.clone()).collect(), own: None }
    }
}

impl Cursor {
    /// The version that changes are to be told from: None where the input did not exist.
    pub fn version(self) -> Option<u64> {
        u64::try_from(self.version).ok()
    }

    pub fn is_same_table(self, other: Cursor) -> bool {
        self.identity == other.identity
    }

    pub fn marks(self, input: &TableName) -> [Txn; 2] {
        let mark =
            |what: &str, version| Txn { app_id: format!("medallion:{what}:{input}"), version, last_updated: None };
        [mark("input", self.version), mark("input-id", self.identity)]
    }

    pub fn recorded(log: &HashMap<String, i64>, input: &TableName) -> Option<Cursor> {
        Some(Cursor {
            version: *log.get(&format!("medallion:input:{input}"))?,
            identity: *log.get(&format!("medallion:input-id:{input}"))?,
        })
    }
}

/// The inputs that a target's log names.
pub fn recorded_names(log: &HashMap<String, i64>) -> impl Iterator<Item = &str> {
    log.keys().filter_map(|id| id.strip_prefix("medallion:input:"))
}

/// Any text as a number that a transaction can carry: equal texts give equal numbers, others practically never.
pub fn fingerprint(text: &str) -> i64 {
    let digest = Sha256::digest(text.as_bytes());
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(first) >> 1) as i64
}

/// Marks of what a table was made by.
pub fn code_mark(code_hash: &str) -> Txn {
    Txn { app_id: CODE.to_owned(), version: fingerprint(code_hash), last_updated: None }
}

pub fn tests_mark(tests: &str) -> Txn {
    Txn { app_id: TESTS.to_owned(), version: fingerprint(tests), last_updated: None }
}

pub const CODE: &str = "medallion:code";
pub const TESTS: &str = "medallion:tests";
