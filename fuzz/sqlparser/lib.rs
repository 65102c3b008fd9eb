//! The one part of DataFusion that contracts need, at the path where they look for it.

pub mod sql {
    pub use sqlparser;
}
