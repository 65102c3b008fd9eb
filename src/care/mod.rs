//! Looking after a lake: what is there, and whether it is right.

pub mod status;
pub mod verify;
