//! The BGP bench with small cases: Viaduct and BIRD deliver everything, and what is printed can be
//! read. Needs root, `bird`, and the `viaduct` of `make test`; what is missing fails the test.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

use std::process::Command;

use serde_json::Value;

/// What the bench prints for these arguments, with BIRD beside Viaduct.
fn bench(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct-bench"));
    command.args(["bgp", "--daemons", "viaduct,bird", "--rounds", "1", "--limit", "15", "--json"]);
    let output = command.args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_measured(case: &Value) {
    for daemon in ["viaduct", "bird"] {
        for value in ["wallSecs", "cpuSecs", "peakRssMib", "generatorCpuSecs"] {
            let value = case["daemons"][daemon][value].as_f64();
            assert!(value.is_some_and(|value| value > 0.0), "{case:#}");
        }
    }
    assert_eq!(case["daemons"]["viaduct"]["viaductRatio"]["cpu"], 1.0, "{case:#}");
    assert!(case["failures"].as_object().unwrap().is_empty(), "{case:#}");
}

#[test]
fn both_deliver_everything() {
    let report = bench(&["--only", "2x500,2x500-single,withdraw-2x500"]);
    let cases = report["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    cases.iter().for_each(assert_measured);
    // To the far end what both have sent, and back to each of three peers the tables of both.
    assert_eq!(cases[0]["generatorAlone"]["prefixes"], 1000 + 3 * 1000);
}

#[test]
fn the_best_of_overlapping_paths_wins() {
    let report = bench(&["--only", "3x200", "--overlap"]);
    assert_measured(&report["cases"][0]);
}

#[test]
fn clients_of_a_reflector_come_and_go() {
    let clients = ["--clients", "4", "--routes", "30", "--flaps", "2"];
    let report = bench(&[&["--only", "reflector,flap,restart"], &clients[..]].concat());
    report["cases"].as_array().unwrap().iter().for_each(assert_measured);
}

#[test]
fn updates_are_timed_one_by_one() {
    let report = bench(&["--only", "churn-2x500", "--churn-rate", "100", "--churn-secs", "1"]);
    let case = &report["cases"][0];
    assert_measured(case);
    for daemon in ["viaduct", "bird"] {
        let [p50, p99] = ["p50Secs", "p99Secs"].map(|name| case["daemons"][daemon][name].as_f64());
        assert!(p50.unwrap() > 0.0 && p99.unwrap() >= p50.unwrap(), "{case:#}");
    }
}

#[test]
fn questions_are_answered_while_the_table_moves() {
    let report = bench(&["--only", "admin-2x500"]);
    let case = &report["cases"][0];
    assert!(case["daemons"]["bird"].is_null(), "{case:#}");
    let answers = case["daemons"]["viaduct"]["answers"].as_array().unwrap();
    assert!(answers.len() > 5);
    for answer in answers {
        let [count, most] = ["answers", "maxSecs"].map(|name| answer[name].as_f64().unwrap());
        // Ten times what is promised, in a build that is not optimized.
        assert!(count > 0.0 && most < 1.0, "{answer:#}");
    }
}

/// A daemon that does not deliver is told of with the numbers, and fails the bench.
#[test]
fn what_is_not_delivered_fails() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct-bench"));
    command.args(["bgp", "--daemons", "bird", "--rounds", "1", "--limit", "0", "--only", "2x500"]);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("time limit"), "{error}");
}
