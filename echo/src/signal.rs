//! SIGTERM and SIGINT.
//!
//! The first process of a PID namespace has no default action for SIGTERM: without a handler the
//! kernel drops the signal and every pod would wait for its SIGKILL.
#![expect(unsafe_code, reason = "the standard library has no signal handlers")]

use std::{
    ffi::c_int,
    sync::atomic::{AtomicBool, Ordering},
};

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;

unsafe extern "C" {
    fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn _exit(code: c_int) -> !;
}

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn exit_now(_signal: c_int) {
    // SAFETY: _exit is async-signal-safe and does not return.
    unsafe { _exit(0) }
}

extern "C" fn note(_signal: c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// Ends the process with code 0 as soon as it is asked to stop.
pub(crate) fn exit_on_stop() {
    install(exit_now);
}

/// Lets [`stopped`] tell that the process was asked to stop.
pub(crate) fn note_stop() {
    install(note);
}

pub(crate) fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

fn install(handler: extern "C" fn(c_int)) {
    for number in [SIGTERM, SIGINT] {
        // SAFETY: both handlers do only what is async-signal-safe and live as long as the program.
        unsafe { signal(number, handler) };
    }
}
