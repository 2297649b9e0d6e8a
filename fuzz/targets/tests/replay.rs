//! Every input of the corpora, and what is near it.

use viaduct_fuzz_targets::{TARGETS, corpus};

#[test]
fn what_fuzzing_has_found_stays_found() {
    for target in TARGETS {
        let file = corpus::folder().join(target.name);
        let inputs = corpus::read(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        assert!(inputs.len() >= 10, "{}: {} inputs", target.name, inputs.len());
        for (number, input) in inputs.iter().enumerate() {
            let run = || (target.run)(input);
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("{}: input {number}: {input:02x?}", target.name);
                std::panic::resume_unwind(panic);
            }
        }
    }
}
