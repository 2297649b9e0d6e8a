#![expect(unsafe_code, reason = "no crate of ours has a word for the scheduler of a thread")]
//! A thread that may not be late.

use std::{io, mem};

/// The lowest of the real-time priorities: before all that is not real time, behind all that is.
const PRIORITY: libc::c_int = 1;

/// Makes the calling thread a real-time one (SCHED_FIFO).
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE; the thread goes on as it was.
pub(super) fn be_real_time() -> io::Result<()> {
    // SAFETY: a structure of integers; all zeros are a value of it.
    let mut parameters: libc::sched_param = unsafe { mem::zeroed() };
    parameters.sched_priority = PRIORITY;
    // SAFETY: the parameters live as long as the call, which keeps nothing of them. 0 is the caller.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
