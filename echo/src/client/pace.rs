//! Requests that are sent when their time has come, however late the answers of others are: a
//! server that stalls is asked as often as before, and its stall is seen in full.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::Options;
use crate::signal;

const STACK_BYTES: usize = 256 * 1024;
/// How soon a signal is heeded while nothing else happens.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) sequence: u64,
    /// When it should have been sent; its answer is as late as it is after that.
    pub(crate) due: Instant,
}

/// Makes the requests of `options`, until all are answered. Where as many are under way as are
/// allowed, the next one waits, and the wait counts as its own.
pub(crate) fn run(
    options: &Options,
    ask: impl Fn(Request) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let slots = Slots::new(options.in_flight);
    let (slots, ask) = (&slots, &ask);
    let begun = Instant::now();
    thread::scope(|scope| {
        let mut sequence = 0;
        while options.count == 0 || sequence < options.count {
            sequence += 1;
            let due = begun + options.interval.mul_f64((sequence - 1) as f64);
            if !sleep_until(due) || !slots.take()? {
                break;
            }
            let request = Request { sequence, due };
            let spawned = thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || slots.give_back(ask(request)));
            spawned.map_err(|error| format!("thread: {error}"))?;
        }
        Ok::<(), String>(())
    })?;
    slots.failure()
}

/// Whether nobody asked for the end in the meantime.
fn sleep_until(due: Instant) -> bool {
    while !signal::stopped() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(LOOK_AGAIN));
    }
    false
}

/// Room for requests under way, and the first error of one that could not tell of itself.
struct Slots {
    state: Mutex<(u64, Result<(), String>)>,
    changed: Condvar,
}

impl Slots {
    fn new(free: u64) -> Self {
        Self { state: Mutex::new((free, Ok(()))), changed: Condvar::new() }
    }

    /// Waits for room; false where the end was asked for instead.
    fn take(&self) -> Result<bool, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            state.1.clone()?;
            if state.0 > 0 {
                state.0 -= 1;
                return Ok(true);
            }
            if signal::stopped() {
                return Ok(false);
            }
            let waited = self.changed.wait_timeout(state, LOOK_AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn give_back(&self, result: Result<(), String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        state.1 = state.1.clone().and(result);
        self.changed.notify_one();
    }

    fn failure(&self) -> Result<(), String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn options(words: &[&str]) -> Options {
        Options::parse(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_late_answer_holds_nobody_up() {
        let options = options(&["x", "-n", "40", "--interval-ms", "5"]);
        let (running, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let begun = Instant::now();
        run(&options, |_| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(500));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        // One after another they would take 20 s.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(most.into_inner() > 4);
    }

    #[test]
    fn no_more_than_allowed_are_under_way_and_the_wait_counts() {
        let options = options(&["x", "-n", "6", "--interval-ms", "1", "--in-flight", "2"]);
        let (running, latest) = (AtomicU64::new(0), AtomicU64::new(0));
        run(&options, |request| {
            assert!(running.fetch_add(1, Ordering::SeqCst) < 2);
            thread::sleep(Duration::from_millis(20));
            running.fetch_sub(1, Ordering::SeqCst);
            latest.fetch_max(request.due.elapsed().as_millis() as u64, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert!(latest.into_inner() >= 50);
    }

    #[test]
    fn an_error_ends_it() {
        let options = options(&["x", "-n", "0", "--interval-ms", "1"]);
        assert_eq!(run(&options, |_| Err("no output".to_owned())), Err("no output".to_owned()));
    }
}
