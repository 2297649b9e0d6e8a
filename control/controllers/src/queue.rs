//! What to reconcile next: each task once, none while it is being worked on, later after failures.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

const FIRST_DELAY: Duration = Duration::from_millis(10);
/// Rounds in a row that no one would call a loop: a large ReplicaSet is made in several.
const ROUNDS: u32 = 32;
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Times are uptimes. Bounded by the number of distinct tasks, which the objects bound.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    ready: VecDeque<T>,
    /// What is in `ready`.
    queued: BTreeSet<T>,
    later: BTreeSet<(Duration, T)>,
    /// Being worked on; whether it was asked for again meanwhile.
    working: BTreeMap<T, bool>,
    failures: BTreeMap<T, u32>,
    /// How often in a row there was something to do.
    rounds: BTreeMap<T, u32>,
}

fn delay(times: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << times.min(16)).min(LONGEST_DELAY)
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            later: BTreeSet::new(),
            working: BTreeMap::new(),
            failures: BTreeMap::new(),
            rounds: BTreeMap::new(),
        }
    }
}

impl<T: Ord + Clone> Queue<T> {
    /// Something of the task's has changed. Also ends the wait after a failure: what has changed
    /// may be what it failed for.
    pub(crate) fn add(&mut self, task: T) {
        if let Some(again) = self.working.get_mut(&task) {
            *again = true;
        } else if self.queued.insert(task.clone()) {
            self.ready.push_back(task);
        }
    }

    /// The soonest of several dates counts.
    pub(crate) fn add_at(&mut self, task: T, at: Duration) {
        let sooner = self.later.iter().find(|(_, other)| *other == task).cloned();
        match sooner {
            Some((other, _)) if other <= at => return,
            Some(found) => {
                self.later.remove(&found);
            }
            None => {}
        }
        self.later.insert((at, task));
    }

    /// The next task; it is being worked on until [`Self::done`] or [`Self::failed`].
    pub(crate) fn pop(&mut self, now: Duration) -> Option<T> {
        while let Some((at, _)) = self.later.first()
            && *at <= now
        {
            if let Some((_, task)) = self.later.pop_first() {
                self.add(task);
            }
        }
        let task = self.ready.pop_front()?;
        self.queued.remove(&task);
        self.working.insert(task.clone(), false);
        Some(task)
    }

    /// `acted` says whether there was anything to do. A task that always finds something to do
    /// and never comes to an end is slowed down.
    pub(crate) fn done(&mut self, task: &T, acted: bool, now: Duration) {
        self.failures.remove(task);
        let again = self.working.remove(task) == Some(true);
        let rounds = match acted {
            true => *self.rounds.entry(task.clone()).and_modify(|n| *n += 1).or_insert(1),
            false => self.rounds.remove(task).map_or(0, |_| 0),
        };
        if again && rounds > ROUNDS {
            self.add_at(task.clone(), now + delay(rounds - ROUNDS));
        } else if again {
            self.add(task.clone());
        }
    }

    /// Tries again after a while that doubles with every failure; gives the while.
    pub(crate) fn failed(&mut self, task: &T, now: Duration) -> Duration {
        let failures = self.failures.entry(task.clone()).or_default();
        let delay = delay(*failures);
        *failures += 1;
        self.working.remove(task);
        self.add_at(task.clone(), now + delay);
        delay
    }

    /// When [`Self::pop`] will have something that it does not have now.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.later.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_task_is_worked_on_once_at_a_time() {
        let mut queue = Queue::default();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!(queue.pop(MS), Some("a"));
        queue.add("a");
        assert_eq!(queue.pop(MS), Some("b"));
        assert_eq!(queue.pop(MS), None);
        queue.done(&"a", true, MS);
        assert_eq!(queue.pop(MS), Some("a"));
        queue.done(&"a", true, MS);
        assert_eq!(queue.pop(MS), None);
    }

    #[test]
    fn failures_wait_longer_each_time_unless_something_changes() {
        let mut queue = Queue::default();
        queue.add("a");
        let mut delays = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..14 {
            assert_eq!(queue.pop(now), Some("a"));
            delays.push(queue.failed(&"a", now));
            assert_eq!(queue.pop(now), None);
            now = queue.next_at().unwrap();
        }
        assert_eq!(&delays[..3], [10 * MS, 20 * MS, 40 * MS]);
        assert_eq!(delays[13], LONGEST_DELAY);
        queue.add("a");
        assert_eq!(queue.pop(Duration::ZERO), Some("a"));
    }

    #[test]
    fn a_task_without_an_end_is_slowed_down() {
        let mut queue = Queue::default();
        queue.add("a");
        let mut rounds = 0;
        while queue.pop(Duration::ZERO).is_some() {
            queue.add("a");
            queue.done(&"a", true, Duration::ZERO);
            rounds += 1;
            assert!(rounds < 100);
        }
        assert!(queue.next_at().is_some());
    }

    #[test]
    fn the_soonest_date_counts() {
        let mut queue = Queue::default();
        queue.add_at("a", 20 * MS);
        queue.add_at("a", 10 * MS);
        queue.add_at("a", 30 * MS);
        assert_eq!(queue.next_at(), Some(10 * MS));
        assert_eq!(queue.pop(9 * MS), None);
        assert_eq!(queue.pop(10 * MS), Some("a"));
        assert_eq!(queue.next_at(), None);
    }
}
