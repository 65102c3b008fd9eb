//! medallion: a lakehouse in one binary.
//!
//! ```text
//!     main ─> cli ─┬─> ingest    Kafka to Bronze, exactly once: the only loop
//!                  ├─> load      files to Bronze
//!                  ├─> build     the project's models to Silver and Gold: stage, test, publish, release
//!                  ├─> shell     SQL for people
//!                  ├─> generate  synthetic streams
//!                  ├─> docs      catalogue, lineage of columns, a site of one file
//!                  └─> care      status, verify, replay
//!                         │
//!                         ├─> engine     DataFusion sessions: catalogue, table provider, changes, functions
//!                         ├─> maintenance  checkpoints, log clean-up, compaction, vacuum: beside whoever writes
//!                         ├─> models     SQL, YAML and Jinja to a checked graph; no engine, no network
//!                         ├─> contracts  what records must look like, and how they become rows
//!                         └─> lake       object stores and Delta logs: snapshots, files, commits, leases
//!                                │
//!                                └─> registry   schemas by their ids, over HTTP
//!                                       │
//!                                       └─> config ─┬─> error
//!                                                   └─> runtime   time, chance and tasks: the machine's, or a seed's
//! ```
//!
//! A room may call those below it and none beside it; a test reads the imports and holds that table.

pub mod build;
pub mod care;
pub mod cli;
pub mod config;
pub mod contracts;
pub mod docs;
pub mod engine;
pub mod error;
pub mod generate;
pub mod ingest;
pub mod lake;
pub mod load;
pub mod maintenance;
pub mod models;
pub mod registry;
pub mod runtime;
pub mod shell;
