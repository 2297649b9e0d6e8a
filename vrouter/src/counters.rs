use std::sync::atomic::{AtomicU64, Ordering};

/// What the vRouter has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Operations that the kernel did.
    pub applied: u64,
    /// Operations that the kernel refused.
    pub failed: u64,
    /// Times everything was looked at anew.
    pub resyncs: u64,
    /// Routes and groups put right after someone else, or the kernel itself, had changed them.
    pub mended: u64,
    /// Notifications lost because they came faster than they were read.
    pub overruns: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) applied: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) resyncs: AtomicU64,
    pub(crate) mended: AtomicU64,
    pub(crate) overruns: AtomicU64,
}

impl Counters {
    pub(crate) fn values(&self) -> CounterValues {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            applied: load(&self.applied),
            failed: load(&self.failed),
            resyncs: load(&self.resyncs),
            mended: load(&self.mended),
            overruns: load(&self.overruns),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}
