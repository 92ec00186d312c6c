//! Waiting for the lock that another framework has on a record: by asking again, with pauses that grow, up to a limit. No thread sleeps.

use std::time::{Duration, Instant};

use super::StoreError;

/// How long a framework's lock is waited for unless that is set.
pub(super) const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// A touch that waited so long for the lock is left to the request that has it, which moves the expiry itself when it ends.
pub(super) const TOUCH_LIMIT: Duration = Duration::from_millis(50);

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

/// Of one call, from its first attempt on.
pub(super) struct Patience {
    began: Instant,
    limit: Duration,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { began: Instant::now(), limit, pause: FIRST }
    }

    /// Returns when it is time for another attempt. `false`: the limit was met, and so much was waited for nothing.
    pub(super) async fn pause(&mut self) -> bool {
        let left = self.limit.saturating_sub(self.began.elapsed());
        if left.is_zero() {
            return false;
        }
        futures_timer::Delay::new(self.pause.min(left)).await;
        self.pause = (self.pause * 3 / 2).min(LONGEST);
        true
    }

    /// What to say then of a write, which surely was not done.
    pub(super) fn error(&self, store: &str, what: &str) -> StoreError {
        let waited = self.began.elapsed().as_secs_f32();
        StoreError::new(format!(
            "{store}: cannot {what}: another request holds the lock of this session, after {waited:.1} s still; as a rule one of PHP, \
             which keeps it until it ends or calls session_write_close()"
        ))
        .for_good()
    }
}
