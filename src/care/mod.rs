//! Looking after a lake: what is there, whether it is right, and maintenance by hand.

pub mod by_hand;
pub mod status;
pub mod verify;
