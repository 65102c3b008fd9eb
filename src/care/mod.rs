//! Looking after a lake: what is there, whether it is right, maintenance by hand, and rejected rows that can be read now.

pub mod by_hand;
pub mod replay;
pub mod status;
pub mod verify;
