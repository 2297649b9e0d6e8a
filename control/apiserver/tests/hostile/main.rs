//! An API server under attack, in a process of its own: what is sent to it is refused in words that
//! clients understand, its memory stays within bounds, and a neighbour that asks politely beside
//! the attack is answered in time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bodies;
#[path = "../api/ca.rs"]
#[expect(dead_code, reason = "the clients here read their certificates from files")]
mod ca;
mod connections;
mod http2;
mod neighbour;
mod patches;
mod queries;
mod serve;
mod streams;
mod target;

use std::{future::Future, pin::Pin, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{neighbour::Neighbour, target::Target};

type Running<'a> = Pin<Box<dyn Future<Output = String> + Send + 'a>>;

/// One attack: what the server's memory may grow by meanwhile, and what is done. The attack checks
/// the answers itself and says what it saw.
struct Case {
    name: &'static str,
    growth_mb: u64,
    attack: for<'a> fn(&'a Target) -> Running<'a>,
}

macro_rules! cases {
    ($($module:ident::$name:ident: $growth_mb:expr,)*) => {
        &[$(Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            growth_mb: $growth_mb,
            attack: |target| Box::pin($module::$name(target)),
        },)*]
    };
}

const CASES: &[Case] = cases! {
    bodies::announced_as_huge: 100,
    bodies::without_an_end: 200,
    bodies::as_large_as_may_be: 700,
    bodies::deep_and_multiplying: 400,
    bodies::thousands_of_entries: 400,
    bodies::not_what_they_say: 100,
    queries::selectors_and_tokens: 100,
    queries::paths_in_disguise: 50,
    patches::that_multiply: 400,
    patches::of_long_lists: 400,
    connections::that_trickle: 200,
    connections::bodies_that_trickle: 200,
    connections::half_closed: 100,
    connections::of_strangers: 200,
    connections::pipelined: 100,
    http2::rapid_reset: 200,
    http2::more_streams_than_allowed: 200,
    http2::floods_of_frames: 200,
    streams::watches_that_nobody_reads: 400,
    streams::watches_that_come_and_go: 200,
    streams::lists_of_everything: 400,
    streams::a_log_that_nobody_reads: 100,
};

/// Of the neighbour's requests. What it is to see on a machine that does nothing else is a tenth.
const P99_LIMIT: Duration = Duration::from_secs(1);

fn main() {
    if let Some(folder) = serve::asked_for() {
        return serve::serve(&folder);
    }
    let mut arguments = Arguments::from_args();
    // Each measures latencies and memory.
    arguments.test_threads = Some(1);
    let trials = CASES.iter().map(|case| Trial::test(case.name, move || run(case)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn run(case: &'static Case) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async { tokio::spawn(under_attack(case)).await });
    runtime.shutdown_background();
    outcome.map_err(|error| Failed::from(format!("{error}")))
}

async fn under_attack(case: &'static Case) {
    let target = Target::start().await;
    let calm = Neighbour::move_in(&target).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let calm = calm.move_out().await;
    target.forget_peak();
    let before = target.memory().now_mb;
    let neighbour = Neighbour::move_in(&target).await;
    let seen = (case.attack)(&target).await;
    let troubled = neighbour.move_out().await;
    let memory = target.memory();
    println!(
        "{}: {seen}; memory {before} MB, at most {} MB, then {} MB; neighbour {calm} before, {troubled} beside",
        case.name, memory.peak_mb, memory.now_mb
    );
    target.assert_well().await;
    assert!(
        memory.peak_mb <= before + case.growth_mb,
        "memory grew from {before} to {} MB, more than {} MB",
        memory.peak_mb,
        case.growth_mb
    );
    assert!(troubled.p99 <= P99_LIMIT, "the neighbour waited for {:?} (p99)", troubled.p99);
}
