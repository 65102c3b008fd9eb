//! Whether a turn may still be given up: until it begins to publish, and no longer.

use std::sync::atomic::{AtomicU8, Ordering};

const OPEN: u8 = 0;
const PUBLISHING: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Whoever comes first, the turn that publishes or the one who gives it up, decides for good.
#[derive(Debug, Default)]
pub struct Gate(AtomicU8);

impl Gate {
    /// False if the turn was given up: it must not commit.
    pub fn publish(&self) -> bool {
        self.close(PUBLISHING)
    }

    pub fn is_publishing(&self) -> bool {
        self.0.load(Ordering::Acquire) == PUBLISHING
    }

    /// False if the turn is publishing: it has to be waited for.
    pub fn give_up(&self) -> bool {
        self.close(GIVEN_UP)
    }

    fn close(&self, to: u8) -> bool {
        match self.0.compare_exchange(OPEN, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(was) => was == to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;

    #[test]
    fn who_comes_first_decides() {
        let published = Gate::default();
        assert!(published.publish() && !published.give_up() && published.publish());
        let given_up = Gate::default();
        assert!(given_up.give_up() && !given_up.publish() && given_up.give_up());
    }
}
